"""A race of a few configurations over fresh seeds, as a sampler: which of them is trained next, and which is out.

Rounds of one more seed for whoever is still in, as in a racing procedure (Maron and Moore 1994, "Hoeffding races"; for
tuning Birattari et al. 2002, "A racing algorithm for configuring metaheuristics"), here by the one-sided t-test with a
variance pooled over the configurations and Bonferroni's correction for their number. Imports optuna, no ray.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from optuna import Study as OptunaStudy
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial
from scipy import stats

from hpo.messages import Params
from hpo.rows import END, HIDDEN

LEVEL = 0.05  # of a race: the chance that the best of equals is eliminated in one round
LEAST = 2  # runs that a configuration has before it is compared
DEATHS = 2  # a configuration that died so many times more often than the leader is out
DRAWS = 100_000  # for the probabilities of being the best

Key = tuple[tuple[str, object], ...]


@runtime_checkable
class Bounded(Protocol):
    """A sampler that knows when it has nothing to propose."""

    def is_done(self, study: OptunaStudy) -> bool:
        """Whether nothing is to be asked now; ends to come may change that."""


@dataclass(frozen=True)
class Standing:
    """What the runs of one configuration came to. values: of those that lived. died: how many did not.

    broken: the mean by which constraints are broken, the worst of them; 0 or less where all are kept on the average.
    """

    values: tuple[float, ...] = ()
    died: int = 0
    broken: float = -1.0

    @property
    def count(self) -> int:
        return len(self.values) + self.died

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values) if self.values else math.nan

    def rank(self, sign: float) -> tuple[int, bool, float]:
        """Lower is better: fewer deaths, then constraints kept on the average, then the median. sign: 1 to minimize.

        A run that collapsed without dying moves the mean of a few runs by more than configurations differ.
        """
        return self.died, self.broken > 0, sign * statistics.median(self.values) if self.values else math.inf


def pooled_variance(standings: Sequence[Standing]) -> tuple[float, int]:
    """Return the variance between seeds, pooled over configurations, and its degrees of freedom."""
    squares = sum(sum((value - one.mean) ** 2 for value in one.values) for one in standings)
    freedom = sum(max(0, len(one.values) - 1) for one in standings)
    return (squares / freedom if freedom else math.nan), freedom


def eliminated(standings: Sequence[Standing], *, sign: float, level: float = LEVEL) -> set[int]:
    """Return the places of those that are out: worse than the leader beyond what seeds explain.

    sign: 1 to minimize, -1 to maximize. Out is whose mean is worse at `level`, shared among all that are compared, or
    who died `DEATHS` times more often than the leader. Nobody is before `LEAST` runs of his own and of the leader.
    """
    compared = [place for place, one in enumerate(standings) if one.count >= LEAST]
    if len(compared) < 2 or level <= 0:
        return set()
    leader = min(compared, key=lambda place: standings[place].rank(sign))
    first = standings[leader]
    variance, freedom = pooled_variance(standings)
    out = set()
    for place in compared:
        one = standings[place]
        if place == leader:
            continue
        if one.died - first.died >= DEATHS:
            out.add(place)
        elif one.values and first.values and freedom:
            error = math.sqrt(variance * (1 / len(one.values) + 1 / len(first.values)))
            bound = float(stats.t.ppf(1 - level / (len(standings) - 1), freedom))
            if sign * (one.mean - first.mean) > bound * error:
                out.add(place)
    return out


def chances(standings: Sequence[Standing], *, sign: float, seed: int = 0) -> list[float]:
    """Return for each configuration the probability that its mean is the best of all.

    Under a normal model with one variance for all and the usual prior, 1/variance (Box and Tiao 1973, "Bayesian
    Inference in Statistical Analysis", chapter 2): the variance is pooled / chi-squared, each mean normal around the
    observed one; by `DRAWS` draws. A configuration that died more often than the best does not compete, and has 0.
    While no configuration has two runs nothing is known, and all that compete are equal.
    """
    fewest = min(one.died for one in standings)
    competing = [place for place, one in enumerate(standings) if one.values and one.died == fewest]
    if not competing:
        return [0.0] * len(standings)
    variance, freedom = pooled_variance([standings[place] for place in competing])
    found = [0.0] * len(standings)
    if not freedom:
        for place in competing:
            found[place] = 1.0 / len(competing)
        return found
    generator = np.random.default_rng(seed)
    deviation = np.sqrt(variance * freedom / generator.chisquare(freedom, DRAWS))
    counts = np.array([len(standings[place].values) for place in competing])
    means = np.array([sign * standings[place].mean for place in competing])
    drawn = means + deviation[:, None] / np.sqrt(counts) * generator.standard_normal((DRAWS, len(competing)))
    wins = np.bincount(drawn.argmin(axis=1), minlength=len(competing))
    for place, won in zip(competing, wins, strict=True):
        found[place] = float(won) / DRAWS
    return found


class Race(BaseSampler):
    """Proposes each candidate again under fresh seeds until all that are still in have had `seeds` runs.

    candidates: configurations, each a JSON object of all its parameters. level: see `eliminated`; 0 eliminates nobody.
    It reads everything in the study, so a rebuilt one goes on as this one would.
    """

    def __init__(self, *, candidates: Sequence[str], seeds: int, level: float = LEVEL) -> None:
        if seeds < 1:
            raise ValueError(f"seeds must be at least 1; {seeds!r} came")
        self.candidates: list[Params] = [json.loads(text) for text in candidates]
        self._places = {key_of(params): place for place, params in enumerate(self.candidates)}
        if len(self._places) < max(1, len(self.candidates)):
            raise ValueError("candidates must differ from each other, and there must be one")
        self._seeds, self._level = seeds, level
        self._next: Params = self.candidates[0]

    def is_done(self, study: OptunaStudy) -> bool:
        """Whether all that are still in have had, or are having, their runs."""
        return self._chosen(study) is None

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        place = self._chosen(study, besides=trial.number)
        self._next = self.candidates[0 if place is None else place]

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._next[param_name]

    def _chosen(self, study: OptunaStudy, *, besides: int | None = None) -> int | None:
        """The place of who runs next: of those still in the one with the fewest runs; None where all have theirs."""
        given = [0] * len(self.candidates)
        ended: list[list[FrozenTrial]] = [[] for _ in self.candidates]
        for trial in study.get_trials(deepcopy=False):
            place = self._places.get(key_of(trial.params))
            if place is None or trial.number == besides or HIDDEN in trial.user_attrs:
                continue
            end = trial.user_attrs.get(END)
            if end == "lost":
                continue
            given[place] += 1
            if end is not None:
                ended[place].append(trial)
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        out = eliminated([_standing(trials) for trials in ended], sign=sign, level=self._level)
        left = [place for place in range(len(self.candidates)) if place not in out and given[place] < self._seeds]
        return min(left, key=lambda place: (given[place], place), default=None)


def key_of(params: Mapping[str, object]) -> Key:
    """What two configurations have in common that are one: names and values, whole numbers as they are written."""
    return tuple(sorted((name, _plain(value)) for name, value in params.items()))


def _plain(value: object) -> object:
    """Tell true from 1, which are equal in Python and are two options of a choice."""
    return ("bool", value) if isinstance(value, bool) else value


def _standing(trials: Sequence[FrozenTrial]) -> Standing:
    done = [trial for trial in trials if trial.user_attrs.get(END) == "done" and trial.value is not None]
    return Standing(
        values=tuple(float(trial.value) for trial in done if trial.value is not None),
        died=len(trials) - len(done),
        broken=mean_broken([trial.constraints for trial in done]),
    )


def mean_broken(constraints: Sequence[Mapping[str, float]]) -> float:
    """The worst of the constraints by its mean over runs; -1 where there is none."""
    names = {name for of_run in constraints for name in of_run}
    return max(
        (sum(of_run.get(name, -1.0) for of_run in constraints) / len(constraints) for name in names), default=-1.0
    )
