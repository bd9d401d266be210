"""What travels between group, server, ledger and tracking: plain values that survive JSON unchanged.

A group is sent `Placement`s and answers with `Event`s. The event log of the home holds `Start`s and `Event`s, one JSON
object a line, so that whoever tails it needs no other source. Imports nothing of ours and no library.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Params = dict[str, bool | int | float | str]

End = Literal["done", "pruned", "died", "lost"]
ENDS: tuple[str, ...] = get_args(End)
COUNTED = ("done", "pruned", "died")  # ends that count against the budget: a lost trial is replaced

# What is reported beside a metric, such as `metric.floor`: what a metric of samples says of real rows that no model saw
# and of the training rows, and what one of text says of a 5-gram model.
YARDSTICKS = ("floor", "copy_of_train", "five_gram")


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One trial given to one slot of a group; `checkpoint` is the folder to go on from, None to begin."""

    trial: int
    slot: int
    params: Params
    seed: int
    checkpoint: str | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Placement:
        return cls(**value)


@dataclass(frozen=True, kw_only=True)
class Start:
    """A trial went to a group: the first line of a trial in the event log, once more at each later placement.

    worker: the group's process, as host:pid. device: where it computes, named as in what is measured of widths.
    Both are empty while no process has the group; once one has, the start is told again, with the same time.
    """

    trial: int
    time: float
    params: Params
    seed: int
    group: str
    worker: str = ""
    device: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"kind": "start"} | asdict(self)


@dataclass(frozen=True, kw_only=True)
class Event:
    """One trial's metrics at one step, or its end.

    step: finished epochs, 0 where a trial ended before its first. time: seconds since 1970, by the worker's clock.
    value: the objective where it was measured at this step, None elsewhere. end: None while the trial goes on.
    constraints: at an end every key of `trainables.training.loop.CONSTRAINTS`, in that order, and then those of the
    study; feasible at <= 0. cause: why it ended, or what it broke, in words. files: sample sheets, relative to the
    home.
    """

    trial: int
    step: int
    time: float
    metrics: dict[str, float] = field(default_factory=dict)
    value: float | None = None
    end: End | None = None
    constraints: dict[str, float] = field(default_factory=dict)
    cause: str = ""
    files: tuple[str, ...] = ()

    @property
    def feasible(self) -> bool:
        """Whether the trial broke no constraint; one that died did."""
        return all(value <= 0 for value in self.constraints.values())

    def to_json(self) -> dict[str, Any]:
        return {"kind": "event"} | asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Event:
        fields = {key: item for key, item in value.items() if key != "kind"}
        return cls(**fields | {"files": tuple(fields.get("files", ()))})


Record = Start | Event


def record_from_json(value: Mapping[str, Any]) -> Record:
    """Return the `Start` or `Event` that a line of the event log holds."""
    if value["kind"] == "event":
        return Event.from_json(value)
    return Start(**{key: item for key, item in value.items() if key != "kind"})
