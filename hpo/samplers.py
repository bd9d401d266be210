"""What to try next: Optuna's samplers by name, seeded so that a rebuilt server asks as the first one did.

A sampler whose stream of random numbers starts again after a restart proposes what it proposed before. So one is built
for each trial, from (study seed, trial number). Imports optuna, no ray.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from optuna import Study as OptunaStudy
from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    BruteForceSampler,
    CmaEsSampler,
    GPSampler,
    GridSampler,
    NSGAIIISampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from hpo.errors import RequestError
from hpo.methods import check_options, construct, resolve
from hpo.study import Method
from search_spaces import Choice, Float, Int, ParameterValue, Space

KNOWN: dict[str, type[BaseSampler]] = {
    "bruteforce": BruteForceSampler,
    "cmaes": CmaEsSampler,
    "gp": GPSampler,
    "grid": GridSampler,
    "nsgaii": NSGAIISampler,
    "nsgaiii": NSGAIIISampler,
    "qmc": QMCSampler,
    "random": RandomSampler,
    "tpe": TPESampler,
}
_FINITE = (GridSampler, BruteForceSampler)
_KEY = "sampler"
_OURS = {"seed": "it comes from the study's `seed`", "search_space": "it comes from the study's `space`"}


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of one trial's own generators, below 2**63; the same at every placement."""
    return int(np.random.SeedSequence([study_seed, number]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def sampler_class(method: Method) -> type[BaseSampler]:
    """Return the class of the sampler that the study names; RequestError where there is none."""
    found = resolve(method, key=_KEY, known=KNOWN)
    if not issubclass(found, BaseSampler):
        raise RequestError(
            f"{_KEY}: a dotted path must lead to an optuna.samplers.BaseSampler; {method.name} does not."
        )
    return found


def make_sampler(method: Method, *, space: Space, seed: int) -> BaseSampler:
    """Return the sampler that the study names, with its options, for this space and study seed.

    Raises RequestError for a name or option that does not exist, and for a space that the sampler cannot walk.
    """
    found = sampler_class(method)
    check_options(method, key=_KEY, takes=found, ours=_OURS)
    options: dict[str, Any] = dict(method.options)
    if issubclass(found, _FINITE):
        grid = {name: _finite(method, name, entry) for name, entry in space.parameters.items()}
        if issubclass(found, GridSampler):
            _refuse_conditions(method, space)
            options["search_space"] = grid
    seeded = "seed" in inspect.signature(found).parameters

    def build(number: int) -> BaseSampler:
        own = _sampler_seed(seed, number)
        if issubclass(found, QMCSampler):  # one point set for the study; a trial draws for itself what lies beside it
            seeds = {"seed": _sampler_seed(seed), "independent_sampler": RandomSampler(seed=own)}
        elif issubclass(found, GridSampler):  # one order of the grid
            seeds = {"seed": _sampler_seed(seed)}
        else:
            seeds = {"seed": own} if seeded else {}
        built = construct(method, key=_KEY, takes=found, options=options | seeds)
        assert isinstance(built, BaseSampler)
        return built

    return SeededSampler(build) if seeded else build(0)


def ends_by_itself(sampler: type[BaseSampler]) -> bool:
    """Whether the sampler has a last configuration; asked on, it repeats itself and says nothing."""
    return issubclass(sampler, _FINITE)


class SeededSampler(BaseSampler):
    """Builds a fresh sampler for each trial, from its number; what it knows, it reads in the study."""

    def __init__(self, build: Callable[[int], BaseSampler]) -> None:
        self._build = build
        self._current = build(0)  # a bad option is found now, not at the first ask

    def reseed_rng(self) -> None:
        """Do nothing: the seed of a trial is fixed."""

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        self._current = self._build(trial.number)
        self._current.before_trial(study, trial)

    def infer_relative_search_space(self, study: OptunaStudy, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._current.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._current.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: OptunaStudy, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._current.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self, study: OptunaStudy, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        """Do nothing: the sampler that proposed this trial is gone, and the next one reads the study."""


class OptunaDraw:
    """A `search_spaces.Suggest` on one Optuna trial: the declared space in Optuna's terms."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial

    def float(self, name: str, parameter: Float, /) -> float:
        return self._trial.suggest_float(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)

    def int(self, name: str, parameter: Int, /) -> int:
        return self._trial.suggest_int(name, parameter.low, parameter.high, log=parameter.log, step=parameter.step)

    def choice(self, name: str, parameter: Choice, /) -> ParameterValue:
        value = self._trial.suggest_categorical(name, parameter.options)
        assert value is not None  # no option of a Choice is
        return value


def _sampler_seed(*parts: int) -> int:
    """Return a seed below 2**32, which is what the samplers' generators take; apart from `trial_seed`'s stream."""
    return int(np.random.SeedSequence([*parts, 0x5A]).generate_state(1, np.uint32)[0])


def _finite(method: Method, name: str, entry: Float | Int | Choice | ParameterValue) -> list[ParameterValue]:
    if isinstance(entry, Choice):
        return list(entry.options)
    if isinstance(entry, Int):
        return list(range(entry.low, entry.high + 1, entry.step))
    if isinstance(entry, Float):
        if entry.step is None:
            raise RequestError(
                f"{_KEY}: {method.name} needs a space of finitely many values; {name!r} runs from {entry.low} to "
                f"{entry.high} without a step. Give it a `step`, list its values, or take another sampler."
            )
        count = round((entry.high - entry.low) / entry.step) + 1
        return [entry.at((index + 0.5) / count) for index in range(count)]
    return [entry]


def _refuse_conditions(method: Method, space: Space) -> None:
    for name, entry in space.parameters.items():
        if isinstance(entry, Float | Int | Choice) and entry.conditions:
            raise RequestError(
                f"{_KEY}: {method.name} takes no conditional parameters; {name!r} has a condition. Take bruteforce, "
                "which walks a space with conditions, or fix the parameter."
            )
