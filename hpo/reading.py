"""Ledger and event log of a home as they stood at one moment, read without a lock: what every analysis starts from.

No byte is written and no plug-in is imported, so a home from elsewhere can be looked at. Imports Optuna for the kinds
of its distributions.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import COUNTED, Event, Record, Start
from hpo.rows import Records, TrialRow, read_ledger, row_of
from hpo.study import Objective, Study
from hpo.vetoes import vetoed

PARAMS = "params."  # column prefix of a parameter in `trials`, as in MLflow's frames
STATES = ("done", "pruned", "died", "lost", "running", "waiting")


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One parameter as it was sampled: a range (`low`, `high`, `log`, `whole` numbers or not), or `options`."""

    name: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    options: tuple[bool | int | float | str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Span:
    """One stay of a trial in a group: from its placement to its last sign of life there, seconds since 1970."""

    trial: int
    group: str
    start: float
    end: float
    worker: str = ""
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Ledger and event log as they stood at one moment. Read once, then ask it as often as you like."""

    study: Study
    objective: Objective
    axes: tuple[Axis, ...]
    rows: tuple[TrialRow, ...]
    events: Mapping[int, tuple[Event, ...]]
    spans: Mapping[int, tuple[Span, ...]]
    done: tuple[optuna.trial.FrozenTrial, ...]
    fits: tuple[dict[str, Any], ...] = ()
    slots: Mapping[str, tuple[int, float]] = dataclasses.field(default_factory=dict)
    vetoed: Mapping[int, str] = dataclasses.field(default_factory=dict)
    budget_used: bool = False

    @property
    def counted(self) -> int:
        """How many trials count against the budget."""
        return sum(row.end in COUNTED for row in self.rows)

    @property
    def over(self) -> bool:
        """Whether the search is finished: its trials ended, or no more of them may begin. Nobody may be at it."""
        return self.budget_used or self.counted >= self.study.budget.trials


def read(home: Home) -> Reading:
    """Return what the home holds now. Raises RequestError where it is no home."""
    study = Study.load(home.require().study)
    ledger = read_ledger(home, study)
    records, _ = EventLog(home).read(0)
    events: dict[int, tuple[Event, ...]] = {}
    spans: dict[int, tuple[Span, ...]] = {}
    fold(records, events=events, spans=spans)
    rows = map(row_of, ledger.trials)
    return assemble(study, ledger, rows=rows, events=events, spans=spans, vetoed=vetoed(home))


def assemble(
    study: Study,
    ledger: Records,
    *,
    rows: Iterable[TrialRow],
    events: Mapping[int, tuple[Event, ...]],
    spans: Mapping[int, tuple[Span, ...]],
    vetoed: Mapping[int, str],
) -> Reading:
    """Return the reading of a ledger, its rows, the event log as `fold` parts it, and the vetoes."""
    shown = tuple(row for row in rows if row.end in STATES)
    done = [row for row in shown if row.end == "done" and finite(row.value) is not None]
    # What breaks a constraint is no example of what is good, unless there is nothing else.
    ended_done = {row.number for row in done if row.feasible} or {row.number for row in done}
    return Reading(
        study=study,
        objective=Objective.model_validate({"metric": study.objective_name, "direction": ledger.direction}),
        axes=_axes(ledger.trials),
        rows=shown,
        events=events,
        spans=spans,
        done=tuple(trial for trial in ledger.trials if trial.number in ended_done),
        fits=tuple(ledger.fits),
        slots=ledger.slots,
        vetoed=vetoed,
        budget_used=ledger.over,
    )


def fold(
    records: Sequence[Record], *, events: dict[int, tuple[Event, ...]], spans: dict[int, tuple[Span, ...]]
) -> None:
    """Add the next records of the log to each trial's events and stays in groups.

    In the log an event belongs to the last placement before it.
    """
    added: dict[int, list[Event]] = defaultdict(list)
    stays: dict[int, list[Span]] = {}
    for record in records:
        number = record.trial
        of_trial = stays.setdefault(number, list(spans.get(number, ())))
        if isinstance(record, Start):
            if of_trial and of_trial[-1].start == record.time:  # the same placement, told again
                of_trial.pop()
            of_trial.append(
                Span(
                    trial=number,
                    group=record.group,
                    start=record.time,
                    end=record.time,
                    worker=record.worker,
                    device=record.device,
                )
            )
            continue
        added[number].append(record)
        if of_trial and record.time > of_trial[-1].end:
            of_trial[-1] = dataclasses.replace(of_trial[-1], end=record.time)
    events.update({number: (*events.get(number, ()), *more) for number, more in added.items()})
    spans.update({number: tuple(of_trial) for number, of_trial in stays.items()})


def reading_of(source: Home | Reading) -> Reading:
    """Return the reading itself, or that of a home as it is now."""
    return source if isinstance(source, Reading) else read(source)


def finite(value: float | None) -> float | None:
    """Return the value, or None where it is no finite number."""
    return float(value) if value is not None and math.isfinite(value) else None


def _axes(frozen: list[optuna.trial.FrozenTrial]) -> tuple[Axis, ...]:
    """Return each parameter in the order in which the trials first had it."""
    found: dict[str, Axis] = {}
    for trial in frozen:
        for name, kind in trial.distributions.items():
            if name in found:
                continue
            if isinstance(kind, optuna.distributions.CategoricalDistribution):
                found[name] = Axis(name=name, options=tuple(kind.choices))  # type: ignore[arg-type]  # never None
            elif isinstance(kind, optuna.distributions.FloatDistribution | optuna.distributions.IntDistribution):
                whole = isinstance(kind, optuna.distributions.IntDistribution)
                found[name] = Axis(name=name, low=kind.low, high=kind.high, log=kind.log, whole=whole)
    return tuple(found.values())
