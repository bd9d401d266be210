"""Ledger and event log of a home as they stood at one moment, read without a lock: what every analysis starts from.

No byte is written and no plug-in is imported, so a home from elsewhere can be looked at. Imports Optuna for the kinds
of its distributions.
"""

from __future__ import annotations

import dataclasses
import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Record, Start
from hpo.rows import TrialRow, read_ledger, row_of
from hpo.study import Objective, Study

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


def read(home: Home) -> Reading:
    """Return what the home holds now. Raises RequestError where it is no home."""
    study = Study.load(home.require().study)
    ledger = read_ledger(home, study)
    rows = tuple(row for row in map(row_of, ledger.trials) if row.end in STATES)
    records, _ = EventLog(home).read(0)
    events: dict[int, list[Event]] = defaultdict(list)
    for record in records:
        if isinstance(record, Event):
            events[record.trial].append(record)
    done = [row for row in rows if row.end == "done" and finite(row.value) is not None]
    # What breaks a constraint is no example of what is good, unless there is nothing else.
    ended_done = {row.number for row in done if row.feasible} or {row.number for row in done}
    return Reading(
        study=study,
        objective=Objective.model_validate({"metric": study.objective_name, "direction": ledger.direction}),
        axes=_axes(ledger.trials),
        rows=rows,
        events={number: tuple(of_trial) for number, of_trial in events.items()},
        spans=_spans(records),
        done=tuple(trial for trial in ledger.trials if trial.number in ended_done),
        fits=tuple(ledger.fits),
        slots=ledger.slots,
    )


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


def _spans(records: list[Record]) -> dict[int, tuple[Span, ...]]:
    """Return each trial's stays in groups: in the log an event belongs to the last placement before it."""
    found: dict[int, list[Span]] = defaultdict(list)
    for record in records:
        spans = found[record.trial]
        if isinstance(record, Start):
            spans.append(Span(trial=record.trial, group=record.group, start=record.time, end=record.time))
        elif spans:
            spans[-1] = dataclasses.replace(spans[-1], end=max(spans[-1].end, record.time))
    return {number: tuple(spans) for number, spans in found.items()}
