"""Epochs as they were trained, on a clock, and the figures that follow from them: the same for every arm.

The stock arms write them to side files, one a worker process; ours come from the event log of the home.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Record

EPOCH_SECONDS = (
    "epoch_seconds"  # the metric under which a worker of ours reports what an epoch took, measuring included
)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One finished epoch: start and end in seconds since 1970; value is None where the objective was not measured."""

    trial: int
    step: int
    start: float
    end: float
    value: float | None


class SideFile:
    """Takes the epochs of this process, one JSON line each; flushed, as a worker may be killed at any time."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / f"epochs-{os.getpid()}.jsonl").open("a", encoding="utf-8")

    def __enter__(self) -> SideFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def append(self, epoch: Epoch) -> None:
        self._file.write(json.dumps(asdict(epoch)) + "\n")
        self._file.flush()


def from_side_files(folder: Path) -> list[Epoch]:
    """Return the epochs that the workers of an arm wrote below this folder."""
    lines = [line for file in folder.glob("epochs-*.jsonl") for line in file.read_text(encoding="utf-8").splitlines()]
    return [Epoch(**json.loads(line)) for line in lines]


def from_home(path: Path) -> list[Epoch]:
    """Return the epochs of a study of ours, from the event log of its home.

    An epoch that does not say its length gets the start NaN, and what rests on it is unknown.
    """
    return [
        Epoch(
            trial=event.trial,
            step=event.step,
            start=event.time - event.metrics.get(EPOCH_SECONDS, math.nan),
            end=event.time,
            value=event.value,
        )
        for event in _records(path)
        if isinstance(event, Event) and event.metrics  # a verdict of the server has none
    ]


def first_to_last(path: Path) -> tuple[int, float]:
    """Return how many trials a home holds, and the seconds from its first event to its last.

    The first placement would be too early to begin at: it is made before the worker that gets it has started.
    """
    times = [record.time for record in _records(path) if isinstance(record, Event)]
    return len({record.trial for record in _records(path)}), times[-1] - times[0]


def _records(path: Path) -> list[Record]:
    return list(EventLog(Home(path)).read(0)[0])


def training_seconds(epochs: Iterable[Epoch]) -> float:
    """Return the worker seconds that were spent inside epochs."""
    return sum(epoch.end - epoch.start for epoch in epochs)


def training_share(epochs: Sequence[Epoch], *, workers: int) -> float:
    """Return the share of the workers' time spent training, from the first epoch's start to the last one's end.

    What came before the first epoch is start-up and does not count. An epoch that waits for the processor counts
    whole, so read it beside the milliseconds an epoch took.
    """
    span = max(epoch.end for epoch in epochs) - min(epoch.start for epoch in epochs)
    return training_seconds(epochs) / (workers * span)


def seconds_to(epochs: Iterable[Epoch], target: float, *, since: float) -> float | None:
    """Return the seconds from `since` until a minimized objective was first measured at `target` or below."""
    reached = [epoch.end for epoch in epochs if epoch.value is not None and epoch.value <= target]
    return min(reached) - since if reached else None


def best_value(epochs: Iterable[Epoch], *, step: int) -> float | None:
    """Return the lowest objective among trials that got to `step`, the full budget."""
    values = [epoch.value for epoch in epochs if epoch.value is not None and epoch.step == step]
    return min(values) if values else None
