"""What MLflow should hold, folded from the event log: plain values, and no MLflow.

The fold is a pure function of where the mirror stands and the records that came, so a chunk that failed to reach MLflow
is folded again with the same outcome: same points, same timestamps, same tags. `tracking.py` writes what comes out.
Imports messages and errors alone.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import os
import posixpath
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from hpo.messages import ENDS, End, Event, Record, Start

Ending = Literal["finished", "interrupted", "stopped"]

FORMAT = 1  # of the position file
NAME_LENGTH = 250  # MLflow refuses longer names
LOGGED_IMAGES = "mlflow.loggedImages"  # MLflow's page looks for images where a run has this tag
VALUE_LENGTH = 5000  # every MLflow server takes tags of this length; 3.x alone takes more


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of one metric. The time is the event's own: MLflow then takes a repeat for the same point."""

    name: str
    value: float
    step: int
    time_ms: int


@dataclass(frozen=True, kw_only=True)
class Sheet:
    """One sample sheet of a trial. name: its path in the home. step, time_ms: of the event that names it."""

    name: str
    step: int
    time_ms: int


@dataclass(kw_only=True)
class OpenTrial:
    """What must be remembered of a trial between its start and its end. seconds: spent in attempts, gaps left out."""

    attempts: int = 0
    seconds: float = 0.0
    last_time: float = 0.0


@dataclass(kw_only=True)
class Position:
    """How far MLflow has followed the event log. Its file can be lost: everything is then found and written again.

    identity: tells this home's runs from another's on one server; from the first record, so it survives a move.
    parent: id of the study's run in MLflow. began_ms, last_ms: times of the first record and of the latest written.
    ending: how the search ended, where MLflow has not been told yet. best_feasible: whether the best keeps all
    constraints.
    """

    identity: str = ""
    parent: str = ""
    began_ms: int = 0
    last_ms: int = 0
    offset: int = 0
    trials: dict[int, OpenTrial] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDS, 0))
    best_trial: int | None = None
    best_value: float | None = None
    best_feasible: bool = True
    ending: Ending | None = None

    def anew(self, *, parent: str) -> Position:
        """Return the beginning of the same log, to be written below another run of the study."""
        return Position(identity=self.identity, parent=parent, began_ms=self.began_ms, ending=self.ending)

    @classmethod
    def load(cls, path: Path) -> Position:
        """Return what the file says; the beginning where there is none, or none of this format."""
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
            if value.pop("format") != FORMAT:
                return cls()
            trials = {int(number): OpenTrial(**fields) for number, fields in value.pop("trials").items()}
            return cls(trials=trials, **value)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return cls()

    def save(self, path: Path) -> None:
        """Replace the file in one step, so that a crash leaves the old one or the new one."""
        draft = path.with_suffix(".draft")
        with draft.open("w", encoding="utf-8") as file:
            json.dump({"format": FORMAT} | asdict(self), file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)


@dataclass(kw_only=True)
class Batch:
    """What one chunk of the log adds to the run of one trial.

    started: the chunk places the trial, for the first time or again. start_time_ms: of its first record here.
    """

    trial: int
    start_time_ms: int
    started: bool = False
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    points: dict[tuple[str, int], Point] = field(default_factory=dict)
    sheets: list[Sheet] = field(default_factory=list)
    end: End | None = None
    end_time_ms: int = 0
    cause: str = ""

    def add(self, name: str, value: float, event: Event) -> None:
        point = Point(name=safe_name(name), value=value, step=event.step, time_ms=milliseconds(event.time))
        self.points[point.name, point.step] = point


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A part of the event log, folded. position: where the mirror stands once all of it is written."""

    batches: tuple[Batch, ...]
    summary: tuple[Point, ...]
    position: Position


def fold(records: Sequence[Record], *, position: Position, offset: int, objective: str, direction: str) -> Chunk:
    """Return what the records add to each trial's run and to the study's. Leaves `position` as it is.

    objective: the name under which an event's value is shown. direction: minimize or maximize, for the best so far.
    offset: that of the log behind these records.
    """
    position = copy.deepcopy(position)
    position.offset = offset
    batches: dict[int, Batch] = {}
    summary: list[Point] = []
    for record in records:
        time_ms = milliseconds(record.time)
        position.last_ms = max(position.last_ms, time_ms)
        batch = batches.setdefault(record.trial, Batch(trial=record.trial, start_time_ms=time_ms))
        if isinstance(record, Start):
            _start(batch, record, position)
            continue
        _observe(batch, record, position, objective)
        if record.end is not None:
            _end(batch, record, position)
            _count(record, position, direction)
            summary += _summary(position, time_ms)
    return Chunk(batches=tuple(batches.values()), summary=tuple(summary), position=position)


def _start(batch: Batch, start: Start, position: Position) -> None:
    trial = position.trials.setdefault(start.trial, OpenTrial())
    trial.attempts += trial.last_time != start.time  # else the same placement, told again
    trial.last_time = start.time
    batch.started = True
    batch.params = {safe_name(name): str(value) for name, value in start.params.items()}
    batch.tags |= {"seed": str(start.seed), "group": start.group, "attempts": str(trial.attempts)}
    batch.tags |= {name: value for name, value in (("worker", start.worker), ("device", start.device)) if value}


def _observe(batch: Batch, event: Event, position: Position, objective: str) -> None:
    trial = position.trials.get(event.trial)
    if trial is not None:
        trial.seconds += max(0.0, event.time - trial.last_time)  # clocks of two workers may differ
        trial.last_time = event.time
    for name, value in event.metrics.items():
        batch.add(name, value, event)
    if event.value is not None:
        batch.add(objective, event.value, event)
    for name in event.files:
        batch.sheets.append(Sheet(name=name, step=event.step, time_ms=milliseconds(event.time)))
        if name.endswith(".png"):
            batch.tags[LOGGED_IMAGES] = "True"


def _end(batch: Batch, event: Event, position: Position) -> None:
    trial = position.trials.pop(event.trial, OpenTrial())
    batch.end = event.end
    batch.end_time_ms = milliseconds(event.time)
    batch.tags["end"] = str(event.end)
    batch.tags["feasible"] = str(event.feasible).lower()
    batch.add("trial_seconds", round(trial.seconds, 3), event)
    if event.cause:
        batch.cause = event.cause
        batch.tags["cause"] = event.cause[:VALUE_LENGTH]


def _count(event: Event, position: Position, direction: str) -> None:
    position.counts[str(event.end)] += 1
    value = event.value
    if event.end != "done" or value is None or not math.isfinite(value):
        return
    feasible = event.feasible
    best = position.best_value
    if (
        best is None
        or feasible > position.best_feasible
        or (feasible == position.best_feasible and (value < best if direction == "minimize" else value > best))
    ):
        position.best_trial, position.best_value, position.best_feasible = event.trial, value, feasible


def _summary(position: Position, time_ms: int) -> list[Point]:
    """Return the study's figures after one more trial has ended; the step is the number of trials ended so far."""
    figures: dict[str, float] = dict(position.counts)
    if position.best_value is not None:
        figures["best_value"] = position.best_value
    step = sum(position.counts.values())
    return [Point(name=name, value=value, step=step, time_ms=time_ms) for name, value in figures.items()]


def identity_of(first: Record) -> str:
    """Return a short name for the home whose event log begins with this record."""
    text = json.dumps(first.to_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def safe_name(name: str) -> str:
    """Return the name as MLflow takes it: other characters become underscores, and so do slashes in odd paths."""
    clean = re.sub(r"[^\w.\- :/]", "_", name)[:NAME_LENGTH]
    if clean == posixpath.normpath(clean) and not clean.startswith((".", "/")):
        return clean
    return re.sub(r"^\.|/", "_", clean) or "_"


def plain(value: Any) -> str:
    """Return a tag's value: text as it is, anything else as JSON, cut to what MLflow takes."""
    return (value if isinstance(value, str) else json.dumps(value))[:VALUE_LENGTH]
