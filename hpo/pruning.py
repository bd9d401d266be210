"""When to stop a trial: our rung rule, and Optuna's pruners by name.

The rule is the promotion rule of asynchronous successive halving (Li et al. 2020, arXiv 1810.05934, Algorithm 2), used
for stopping. It is a pure function of the values reported at fixed rungs: asked again it answers the same, and a batch
that is recorded first and decided afterwards does not depend on the order of its slots. Imports optuna, no ray.
"""

from __future__ import annotations

import inspect
import math
from typing import Any

from optuna import Study as OptunaStudy
from optuna.pruners import (
    BasePruner,
    HyperbandPruner,
    MedianPruner,
    PercentilePruner,
    SuccessiveHalvingPruner,
    ThresholdPruner,
)
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hpo.errors import RequestError
from hpo.methods import check_options, construct, resolve
from hpo.study import Method


class RungPruner(BasePruner):
    """Keeps a trial at a rung while it is among the best `1 / eta` of all that reported there, or the best of all.

    eta: one in so many goes on. grace: the first rung, in finished epochs. epochs: the full budget, where nothing is
    decided any more. Ties go to the lower trial number; a value that is not finite loses.
    """

    def __init__(self, *, eta: int = 3, grace: int = 3, epochs: int) -> None:
        for name, value, least in (("eta", eta, 2), ("grace", grace, 1), ("epochs", epochs, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} must be a whole number of at least {least}; {value!r} came")
        self.eta = eta
        self.rungs = rungs(eta=eta, grace=grace, epochs=epochs)

    def prune(self, study: OptunaStudy, trial: FrozenTrial) -> bool:
        """Whether the trial loses at the highest rung it has reached; before the first rung, never."""
        last = trial.last_step
        rung = max((rung for rung in self.rungs if last is not None and rung <= last), default=None)
        if rung is None or rung not in trial.intermediate_values:
            return False
        sign = -1.0 if study.direction == StudyDirection.MAXIMIZE else 1.0
        mine = sign * trial.intermediate_values[rung]
        if not math.isfinite(mine):
            return True
        reported = [
            (sign * other.intermediate_values[rung], other.number)
            for other in study.get_trials(deepcopy=False)
            if rung in other.intermediate_values
        ]
        ahead = sum(math.isfinite(value) and (value, number) < (mine, trial.number) for value, number in reported)
        return ahead >= max(1, len(reported) // self.eta)


def rungs(*, eta: int, grace: int, epochs: int) -> tuple[int, ...]:
    """Return the steps grace * eta**k below `epochs`; none where grace is the whole budget or more."""
    steps = []
    step = grace
    while step < epochs:
        steps.append(step)
        step *= eta
    return tuple(steps)


KNOWN: dict[str, type[BasePruner]] = {
    "asha": RungPruner,
    "hyperband": HyperbandPruner,
    "median": MedianPruner,
    "percentile": PercentilePruner,
    "successive_halving": SuccessiveHalvingPruner,
    "threshold": ThresholdPruner,
}
_KEY = "pruner"
_OURS = {"epochs": "it is budget.epochs", "max_resource": "it is budget.epochs"}


def make_pruner(method: Method, *, epochs: int) -> BasePruner | None:
    """Return the pruner that the study names, None for `none`. Raises RequestError for a name or option unknown."""
    if method.name == "none":
        check_options(method, key=_KEY, takes=_no_options, ours={})
        return None
    found = resolve(method, key=_KEY, known=KNOWN | {"none": BasePruner})
    if not issubclass(found, BasePruner):
        raise RequestError(f"{_KEY}: a dotted path must lead to an optuna.pruners.BasePruner; {method.name} does not.")
    check_options(method, key=_KEY, takes=found, ours=_OURS)
    options: dict[str, Any] = dict(method.options)
    takes = inspect.signature(found).parameters
    if issubclass(found, RungPruner):
        options["epochs"] = epochs
    # Optuna's "auto" is estimated from the trials that one pruner object saw, so a rebuild may answer otherwise.
    if "min_resource" in takes:
        options.setdefault("min_resource", 1)
    if "max_resource" in takes:
        options["max_resource"] = epochs
    pruner = construct(method, key=_KEY, takes=found, options=options)
    assert isinstance(pruner, BasePruner)
    return pruner


def decision_steps(method: Method, *, epochs: int) -> tuple[int, ...]:
    """Return the steps at which the pruner decides, all below `epochs`; the objective must be measured there."""
    pruner = make_pruner(method, epochs=epochs)
    if pruner is None:
        return ()
    return pruner.rungs if isinstance(pruner, RungPruner) else tuple(range(1, epochs))


def _no_options() -> None: ...
