"""What one trial of the ledger is: the attributes we write beside Optuna's own fields, and how they are read back.

Reading takes no lock and writes nothing, so it may run beside a search. Imports optuna, no ray.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from optuna.storages import JournalStorage
from optuna.trial import FrozenTrial, TrialState

from hpo.errors import RequestError
from hpo.home import Home, searched_name
from hpo.journal import Journal
from hpo.messages import Params
from hpo.study import Study

# User attributes of a trial. An ask is complete once the seed is there: it is written last.
SEED: Final = "seed"
PLACEMENT: Final = "placement"
REPEATED: Final = "repeated"
PASSED: Final = "passed"
END: Final = "end"
CAUSE: Final = "cause"
STEP: Final = "step"
HIDDEN: Final = "hidden"
# User attributes of the study.
FITS: Final = "fits"
SLOTS: Final = "slots:"  # the name of a group follows
OVER: Final = "over"


@dataclass(frozen=True, kw_only=True)
class Stay:
    """Where a trial was placed last. group: empty where it waits to be placed again. run: the driver's life.

    count: placements so far. tries: those that ended because the group failed.
    """

    group: str = ""
    seq: int = 0
    slot: int = 0
    run: str = ""
    count: int = 0
    tries: int = 0


@dataclass(frozen=True, kw_only=True)
class TrialRow:
    """One trial as the ledger has it.

    end: done, pruned, died, lost; running, waiting (interrupted, to be placed again) or queued (asked ahead). value:
    the objective of a done trial; of any other the last one reported. values: the objective by step. step: finished
    epochs once it ended, until then the last step with a value. repeated: epochs executed again after a crash.
    constraints: of an ended trial, feasible at <= 0.
    """

    number: int
    end: str
    params: Params
    seed: int
    value: float | None = None
    values: dict[int, float] = field(default_factory=dict)
    step: int = 0
    cause: str = ""
    tries: int = 0
    placements: int = 0
    repeated: int = 0
    constraints: dict[str, float] = field(default_factory=dict)

    @property
    def feasible(self) -> bool:
        """Whether it broke no constraint that was measured."""
        return all(value <= 0 for value in self.constraints.values())


def read_trials(home: Home, study: Study) -> list[TrialRow]:
    """Return the trials of a home in order of their number, also while a search runs; hidden ones are left out."""
    return [row_of(trial) for trial in read_ledger(home, study).trials]


@dataclass(frozen=True, kw_only=True)
class Records:
    """The ledger at one moment. trials: Optuna's records of those that are shown.

    fits: what widths cost, as `trainables.training.widths.Fit` writes it. slots: of each group with more than one, how
    many, and when it was first heard of. over: whether the last search left because its budget was used.
    """

    direction: str
    trials: list[FrozenTrial]
    fits: list[dict[str, Any]]
    slots: dict[str, tuple[int, float]]
    over: bool = False


def read_ledger(home: Home, study: Study, *, storage: JournalStorage | None = None) -> Records:
    """Return what the ledger holds. A home killed before it was begun has none, and its direction is a guess.

    storage: what `open_ledger` gave before; asked again, it reads only what is new.
    """
    storage = open_ledger(home) if storage is None else storage
    try:
        study_id = storage.get_study_id_from_name(study.name)
    except KeyError:
        known = storage.get_all_studies()
        if known and all(searched_name(other.study_name) != searched_name(study.name) for other in known):
            raise RequestError(
                f"A home holds one study; the ledger of {home.path} holds another than {study.name!r}. Give the home "
                "of that study."
            ) from None
        return Records(direction="minimize", trials=[], fits=[], slots={})
    (direction,) = storage.get_study_directions(study_id)
    trials = storage.get_all_trials(study_id, deepcopy=False)
    attrs = storage.get_study_user_attrs(study_id)
    return Records(
        direction=direction.name.lower(),
        trials=[trial for trial in trials if HIDDEN not in trial.user_attrs],
        fits=fits_of(attrs),
        slots=slots_of(attrs),
        over=bool(attrs.get(OVER, False)),
    )


def open_ledger(home: Home) -> JournalStorage:
    """Return the ledger of a home to read, beside whoever writes it. Its trials are replaced, never changed."""
    return JournalStorage(Journal(home.ledger))


def fits_of(attrs: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fits in the study's user attributes, in the order in which they were recorded."""
    return [dict(fit) for fit in attrs.get(FITS, ())]


def slots_of(attrs: Mapping[str, Any]) -> dict[str, tuple[int, float]]:
    """Return of each group with more than one slot how many it has, and when it was first heard of."""
    return {
        name.removeprefix(SLOTS): (int(value[0]), float(value[1]))
        for name, value in attrs.items()
        if name.startswith(SLOTS)
    }


def row_of(trial: FrozenTrial) -> TrialRow:
    """Return what Optuna's record says of one trial."""
    attrs = trial.user_attrs
    last = None if trial.last_step is None else trial.intermediate_values[trial.last_step]
    end = str(attrs.get(END, "")) if trial.state.is_finished() else ""
    stay = stay_of(trial)
    return TrialRow(
        number=trial.number,
        end=end or ("queued" if stay.count == 0 else "running" if stay.group else "waiting"),
        params=dict(trial.params),
        seed=int(attrs.get(SEED, 0)),
        value=trial.value if end == "done" and trial.state == TrialState.COMPLETE else last,
        values=dict(trial.intermediate_values),
        step=int(attrs.get(STEP, trial.last_step or 0)),
        cause=str(attrs.get(CAUSE, "")),
        tries=stay.tries,
        placements=stay.count,
        repeated=repeated_of(trial)[0],
        constraints=dict(trial.constraints),
    )


def stay_of(trial: FrozenTrial) -> Stay:
    """Return where a trial was placed last; `count` is 0 where it never was."""
    value: dict[str, Any] = trial.user_attrs.get(PLACEMENT, {})
    return Stay(**value)


def repeated_of(trial: FrozenTrial) -> tuple[int, float]:
    """Return the epochs executed again, and the worker's time of the last report of one."""
    count, heard = trial.user_attrs.get(REPEATED, (0, 0.0))
    return int(count), float(heard)
