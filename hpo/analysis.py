"""From a home to frames and numbers: what the search did, read-only, while it runs or after.

The ledger says which trials there are and how they ended, the event log when and with which metrics. No lock is taken,
no byte is written and no plug-in is imported, so a home from elsewhere can be looked at. `reading.py` reads,
`importances.py` says what mattered, and both are asked through this module. Imports pandas; no Ray, MLflow or Plotly.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hpo.home import Home
from hpo.importances import MIN_DONE as MIN_DONE
from hpo.importances import importances as importances
from hpo.messages import YARDSTICKS, Event, Params
from hpo.reading import PARAMS as PARAMS
from hpo.reading import STATES as STATES
from hpo.reading import Axis as Axis
from hpo.reading import Reading as Reading
from hpo.reading import Span, finite, reading_of
from hpo.reading import read as read
from hpo.rows import TrialRow as TrialRow
from hpo.study import Budget, Objective
from hpo.vetoes import cause_of

SCHEMA = 1  # version of `Summary.to_json`; a key may be added under the same number, none changed or removed
# Of `trials`, with their types: a frame without rows has them too.
_COLUMNS = {
    "number": "int64", "end": "str", "value": "float64", "step": "int64", "cause": "str", "seed": "Int64",
    "group": "str", "worker": "str", "device": "str", "start": "float64", "seconds": "float64", "attempts": "int64",
    "repeated": "int64", "feasible": "bool", "vetoed": "bool",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BestTrial:
    """The best done trial so far, the earliest of equals; one that breaks a constraint only while all do (`feasible`).

    files: its sample sheets, relative to the home. metrics: what it measured at its end: the objective, what the study
    names besides, and whatever has yardsticks or controls. controls: of each metric of samples, what it says of the
    models that the family keeps beside its own, by name.
    """

    trial: int
    value: float
    params: Params
    seed: int | None
    files: tuple[str, ...] = ()
    feasible: bool = True
    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    controls: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TrialSummary:
    """One trial of `Summary`. value: the objective at its end, None where it has none; steps: finished epochs.

    feasible: false where it broke a constraint; `cause` says which. A veto on a done trial is its cause.
    """

    number: int
    end: str
    params: Params
    value: float | None
    steps: int
    seed: int | None
    cause: str
    attempts: int
    seconds: float
    feasible: bool


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `hpo show --json` prints: one object, every number finite or null.

    counts: trials by `STATES`, queued ones left out. epochs_trained: epochs executed, those of `epochs_repeated` (after
    a crash) included. seconds: time in which at least one trial was training, over all resumes; the rates are over it.
    worker_busy: share of the workers' time spent inside trials, from the first start to the last event, pauses between
    resumes left out; null before the first event. over: whether a bound of the budget was met, and what ran then has
    ended. occupancy: share of the slots' time that held a trial: what trials spent in groups, over the slots of each
    group times the time from its first message (with one slot: its first start) to its last event; null before the
    first event. width: the slots of a group, the most where groups differ. fits: for each structure and device whose
    widths were measured, `seconds` a member-step and peak `memory` in bytes by width, the `width` chosen, and the
    seconds `spent` on it. importances: share of each parameter, over `importances_trials` done trials that break no
    constraint; empty where those are too few. yardsticks: of each metric of samples `floor`, what it says of real rows
    beside other real rows, and `copy_of_train`, of the training rows.
    """

    schema: int
    study: str
    objective: Objective
    budget: Budget
    counts: dict[str, int]
    best: BestTrial | None
    epochs_trained: int
    epochs_repeated: int
    seconds: float
    trials_a_minute: float | None
    epochs_a_minute: float | None
    over: bool
    worker_busy: float | None
    occupancy: float | None
    width: int
    fits: list[dict[str, Any]]
    importances: dict[str, float]
    importances_trials: int
    yardsticks: dict[str, dict[str, float]]
    trials: list[TrialSummary]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for strict JSON: what is not finite becomes None."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["objective"] = self.objective.model_dump(mode="json")
        values["budget"] = self.budget.model_dump(mode="json")
        values["best"] = None if self.best is None else dataclasses.asdict(self.best)
        values["trials"] = [dataclasses.asdict(trial) for trial in self.trials]
        return {key: _finite(value) for key, value in values.items()}


def trials(source: Home | Reading) -> pd.DataFrame:
    """Return one row a trial, with these columns and one `params.NAME` for each parameter.

    number, end (one of `STATES`), value (the objective at the end; of a pruned trial the last one reported; NaN where
    there is none), step (finished epochs), cause, seed, group (the last one it was in), worker and device (that
    group's, empty where they are not known), start (first placement, UTC), seconds (in all its groups together),
    attempts (placements), repeated (epochs executed again after a crash), feasible (whether it broke no constraint,
    which a trial that died did), vetoed (by a person, who may lift it).
    A conditional parameter that a trial does not have is None, or NaN in a column of numbers.
    """
    reading = reading_of(source)
    rows = [
        {
            "number": row.number,
            "end": row.end,
            "value": math.nan if row.value is None else float(row.value),
            "step": _steps(reading, row.number),
            "cause": row.cause,
            "seed": row.seed,
            "group": spans[-1].group if spans else "",
            "worker": spans[-1].worker if spans else "",
            "device": spans[-1].device if spans else "",
            "start": spans[0].start if spans else math.nan,
            "seconds": sum(span.end - span.start for span in spans),
            "attempts": row.placements,
            "repeated": row.repeated,
            "feasible": row.feasible,
            "vetoed": row.number in reading.vetoed,
        }
        for row in reading.rows
        for spans in (reading.spans.get(row.number, ()),)
    ]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
    frame["start"] = pd.to_datetime(frame["start"], unit="s", utc=True)
    for axis in reading.axes:
        values = [row.params.get(axis.name) for row in reading.rows]
        # Choices stay as they are: pandas would turn whole numbers with a gap, or true among numbers, into floats.
        column = pd.Series(values, dtype=object)
        if not axis.options:  # whole numbers stay whole unless a trial lacks the parameter
            column = column.astype(float) if column.isna().any() else pd.to_numeric(column)
        frame[PARAMS + axis.name] = column
    return frame


def curves(source: Home | Reading) -> pd.DataFrame:
    """Return every measurement in long form: trial, step, metric, value, time (UTC). The objective has its own name."""
    reading = reading_of(source)
    table = []
    for events in reading.events.values():
        for event in events:
            measured = dict(event.metrics)
            if event.value is not None:
                measured[reading.objective.metric] = event.value
            table += [(event.trial, event.step, name, value, event.time) for name, value in measured.items()]
    frame = pd.DataFrame(table, columns=["trial", "step", "metric", "value", "time"])
    frame = frame.astype({"trial": int, "step": int, "metric": str, "value": float, "time": float})
    # The verdict of the pruner repeats the step it judged.
    frame = frame.drop_duplicates(["trial", "step", "metric"]).reset_index(drop=True)
    return frame.assign(time=pd.to_datetime(frame["time"], unit="s", utc=True))


def ranked(source: Home | Reading) -> list[TrialRow]:
    """Return the done trials, the best first and the earliest of equals; those that break a constraint come last.

    A vetoed one is left out.
    """
    reading = reading_of(source)
    sign = 1.0 if reading.objective.direction == "minimize" else -1.0
    shown = (row for row in reading.rows if row.number not in reading.vetoed)
    done = [row for row in shown if row.end == "done" and finite(row.value) is not None]
    return sorted(done, key=lambda row: (not row.feasible, sign * (row.value or 0.0), row.number))


def best(source: Home | Reading) -> BestTrial | None:
    """Return the best done trial that nobody vetoed, the earliest of equals; None while none is done."""
    reading = reading_of(source)
    row = next(iter(ranked(reading)), None)
    if row is None or row.value is None:
        return None
    return BestTrial(
        trial=row.number,
        value=row.value,
        params=row.params,
        seed=row.seed,
        files=files(reading, row.number),
        feasible=row.feasible,
        metrics={reading.objective.metric: row.value} | _measured(reading, row.number),
        controls=_controls(reading.events.get(row.number, ())),
    )


def files(source: Home | Reading, number: int) -> tuple[str, ...]:
    """Return the sample sheets that a trial left, in the order of the log, relative to the home."""
    return tuple(file for event in reading_of(source).events.get(number, ()) for file in event.files)


def summary(source: Home | Reading, *, shares: pd.DataFrame | None = None) -> Summary:
    """Return the whole search in one object; see `Summary`. shares: the importances, where they are known already."""
    reading = reading_of(source)
    spans = [span for of_trial in reading.spans.values() for span in of_trial]
    seconds, busy = _active(spans)
    ended = Counter(row.end for row in reading.rows)
    repeated = sum(row.repeated for row in reading.rows)
    epochs = sum(_steps(reading, row.number) for row in reading.rows) + repeated
    finished = sum(ended[end] for end in ("done", "pruned", "died", "lost"))
    shares = importances(reading) if shares is None else shares
    return Summary(
        schema=SCHEMA,
        study=reading.study.name,
        objective=reading.objective,
        budget=reading.study.budget,
        counts={state: ended[state] for state in STATES},
        best=best(reading),
        epochs_trained=epochs,
        epochs_repeated=repeated,
        seconds=seconds,
        trials_a_minute=60 * finished / seconds if seconds > 0 else None,
        epochs_a_minute=60 * epochs / seconds if seconds > 0 else None,
        over=reading.over,
        worker_busy=busy,
        occupancy=_occupancy(spans, reading.slots),
        width=max([reading.slots.get(span.group, (1, 0.0))[0] for span in spans], default=1),
        fits=[dict(fit) for fit in reading.fits],
        importances=dict(zip(shares["parameter"], shares["importance"], strict=True)),
        importances_trials=len(reading.done),
        yardsticks=_yardsticks(reading),
        trials=[_trial_summary(reading, row) for row in reading.rows],
    )


def _active(spans: list[Span]) -> tuple[float, float | None]:
    """Return the seconds in which any trial was in a group, and the share of the workers' time that was inside trials.

    A worker is inside trials while its group holds one, however many. The number of workers is taken to be the most
    groups that were ever at once.
    """
    held = [stretch for of_group in _by_group(spans).values() for stretch in _union(of_group)]
    edges = sorted([(start, 1) for start, _ in held] + [(end, -1) for _, end in held])
    seconds, running, most, since = 0.0, 0, 0, 0.0
    for time, change in edges:
        if running:
            seconds += time - since
        running, since = running + change, time
        most = max(most, running)
    inside = sum(end - start for start, end in held)
    return seconds, inside / (most * seconds) if seconds > 0 else None


def _occupancy(spans: list[Span], slots: Mapping[str, tuple[int, float]]) -> float | None:
    """Return the share of the slots' time that held a trial."""
    held = whole = 0.0
    for group, of_group in _by_group(spans).items():
        count, since = slots.get(group, (1, -math.inf))
        begin = max(since, min(span.start for span in of_group))
        held += sum(max(0.0, span.end - max(span.start, begin)) for span in of_group)
        whole += count * max(0.0, max(span.end for span in of_group) - begin)
    return held / whole if whole > 0 else None


def _by_group(spans: list[Span]) -> dict[str, list[Span]]:
    found: dict[str, list[Span]] = defaultdict(list)
    for span in spans:
        found[span.group].append(span)
    return found


def _union(spans: list[Span]) -> list[tuple[float, float]]:
    """Return the stretches of time that the spans cover, in order, none touching another."""
    found: list[tuple[float, float]] = []
    for span in sorted(spans, key=lambda span: span.start):
        if found and span.start <= found[-1][1]:
            found[-1] = (found[-1][0], max(found[-1][1], span.end))
        else:
            found.append((span.start, span.end))
    return found


def _steps(reading: Reading, number: int) -> int:
    return max((event.step for event in reading.events.get(number, ())), default=0)


def _trial_summary(reading: Reading, row: TrialRow) -> TrialSummary:
    spans = reading.spans.get(row.number, ())
    return TrialSummary(
        number=row.number,
        end=row.end,
        params=row.params,
        value=finite(row.value),
        steps=_steps(reading, row.number),
        seed=row.seed,
        cause=cause_of(reading.vetoed[row.number]) if row.number in reading.vetoed and row.end == "done" else row.cause,
        attempts=row.placements,
        seconds=sum(span.end - span.start for span in spans),
        feasible=row.feasible,
    )


def _measured(reading: Reading, number: int) -> dict[str, float]:
    """Return what a done trial measured at its end, without the logs of its training, in the order of the study."""
    study, events = reading.study, reading.events.get(number, ())
    asked = [bound.name for bound in study.constraints] + [name.rpartition(".")[2] for name in study.metrics]
    named = dict.fromkeys([*asked, *_yardsticks(reading), *_controls(events)])
    last = {name: value for event in events if event.end == "done" for name, value in event.metrics.items()}
    return {name: last[name] for name in named if name in last}


def _controls(events: Iterable[Event]) -> dict[str, dict[str, float]]:
    """Return what a done trial measured of the models beside its own: `metric.name` beside `metric`."""
    found: dict[str, dict[str, float]] = {}
    for event in (event for event in events if event.end == "done"):
        for name, value in event.metrics.items():
            metric, _, control = name.rpartition(".")
            if metric in event.metrics and control not in YARDSTICKS:
                found.setdefault(metric, {})[control] = value
    return found


def _yardsticks(reading: Reading) -> dict[str, dict[str, float]]:
    """Return what done trials were measured beside; it is the same for all, but an older release knew none."""
    found: dict[str, dict[str, float]] = {}
    for event in (event for events in reading.events.values() for event in events if event.end == "done"):
        for name, value in event.metrics.items():
            metric, dot, kind = name.rpartition(".")
            if dot and kind in YARDSTICKS:
                found.setdefault(metric, {})[kind] = value
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
