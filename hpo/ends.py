"""How each end of a trial is told to Optuna: one table, by what the sampler learns from.

    end     TPE, and samplers that learn nothing    NSGA-II, NSGA-III             GP, CMA-ES
    done    COMPLETE, and what it breaks            COMPLETE                      COMPLETE
    pruned  PRUNED, its reports kept                PRUNED                        PRUNED
    died    PRUNED and a graded constraint          COMPLETE and the constraint   COMPLETE, worse than any seen
    lost    FAIL                                    FAIL                          FAIL

No model of Optuna reads FAIL, so a dead trial told that way teaches nothing: where the tempting region of a space dies,
TPE went on to spend nearly all its trials there. Imports optuna, no ray.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIIISampler, NSGAIISampler
from optuna.trial import TrialState

from hpo.messages import End
from trainables.training.loop import CONSTRAINTS, FINE, share_left


@dataclass(frozen=True, kw_only=True)
class Told:
    """What Optuna is told: the state, and the value where the state takes one."""

    state: TrialState
    value: float | None = None


class Seen:
    """The best and worst finite value of the study so far, at any step."""

    def __init__(self, *, direction: str) -> None:
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._values: tuple[float, float] | None = None

    def add(self, value: float) -> None:
        signed = self._sign * value
        best, worst = self._values or (signed, signed)
        self._values = (min(best, signed), max(worst, signed))

    def worst(self) -> float | None:
        """The worst value, None where there was none yet."""
        return None if self._values is None else self._sign * self._values[1]

    def beyond(self) -> float | None:
        """A finite value worse than any, by a tenth of their spread so that a model keeps its scale."""
        if self._values is None:
            return None
        best, worst = self._values
        margin = 0.1 * (worst - best) or 0.1 * abs(worst) or 0.1
        return self._sign * min(worst + margin, 1e300)


def told(end: End, *, sampler: type[BaseSampler], value: float | None, last: float | None, seen: Seen) -> Told:
    """Return what Optuna is told. value: the objective of a `done` trial; last: the last one that a trial reported."""
    if end == "done":
        return Told(state=TrialState.COMPLETE, value=value)
    if end == "lost":
        return Told(state=TrialState.FAIL)
    if end == "died":
        substitute = None
        if issubclass(sampler, NSGAIISampler | NSGAIIISampler):
            substitute = last if last is not None else seen.worst()
        elif issubclass(sampler, GPSampler | CmaEsSampler):
            substitute = seen.beyond()
        if substitute is not None:  # before any value was seen there is none to be worse than
            return Told(state=TrialState.COMPLETE, value=substitute)
    return Told(state=TrialState.PRUNED)


def heeds_constraints(sampler: type[BaseSampler]) -> bool:
    """Whether a done trial that breaks a constraint teaches this sampler so; one that learns nothing does no harm."""
    return not issubclass(sampler, CmaEsSampler)


def complete(
    constraints: Mapping[str, float], *, end: End, step: int, epochs: int, of_study: Sequence[str] = ()
) -> dict[str, float]:
    """Return every constraint in the fixed order, those of the study last, as a trial with this end must set them.

    A dead trial's broken ones hold the share of the budget left at its death, in (0, 1]; where the worker named none it
    is `diverged`. Those of the study are measured of done trials alone; of others nothing is known, and they hold.
    """
    measured = {key: constraints.get(key, FINE) if end == "done" else FINE for key in of_study}
    return _alive(constraints, end=end, step=step, epochs=epochs) | measured


def _alive(constraints: Mapping[str, float], *, end: End, step: int, epochs: int) -> dict[str, float]:
    if end != "died":
        return dict.fromkeys(CONSTRAINTS, FINE)
    left = share_left(step=max(step, 1), epochs=epochs)
    values = {key: constraints.get(key, FINE) for key in CONSTRAINTS}
    graded = {key: value if math.isfinite(value) else left for key, value in values.items()}
    return graded if any(value > 0 for value in graded.values()) else graded | {"diverged": left}
