"""Homes as the pages see them: followed, and read no more often than the machine can spare.

A `Snapshot` is a home at one moment, with each frame made once and only where a page asks for it.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd

from hpo import analysis
from hpo.analysis import Reading, Summary
from hpo.effects import Effect, effects
from hpo.following import Follower
from hpo.home import Home
from hpo.pruning import decision_steps
from hpo.selected import Selection

SHARE = 0.2  # of one core, that reading may take while a home grows
LEAST_SECONDS = 0.5
MORE_DONE = 1.05  # importances are made anew once so many times as many trials are done
_NOTHING_TOLD = pd.DataFrame({"parameter": [], "importance": []})

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Told:
    """What takes seconds to say, as of `done` done trials: the importances, and what each technique did."""

    done: int
    shares: pd.DataFrame
    effects: tuple[Effect, ...]


class Snapshot:
    """A home at one moment.

    state: running, finished or interrupted. told: of this moment or of one before, None while it is made first. kept:
    what earlier snapshots of the home drew.
    """

    def __init__(
        self, home: Home, reading: Reading, *, version: str, holder: str | None, told: Told | None,
        kept: dict[str, tuple[Hashable, Any]],
    ) -> None:  # fmt: skip
        self.home, self.reading, self.version, self.holder, self.told = home, reading, version, holder, told
        self._kept = kept
        self.state = "running" if holder else "finished" if reading.over else "interrupted"

    @cached_property
    def trials(self) -> pd.DataFrame:
        return analysis.trials(self.reading)

    @cached_property
    def summary(self) -> Summary:
        return analysis.summary(self.reading, shares=_NOTHING_TOLD if self.told is None else self.told.shares)

    @cached_property
    def progress(self) -> tuple[int, ...]:
        """How many trials there are of each end, which together say whether any trial has ended since."""
        return tuple(self.summary.counts[end] for end in ("done", "pruned", "died", "lost"))

    @cached_property
    def measurements(self) -> tuple[int, int]:
        """How many events there are, and how many of them have the objective."""
        of_all = self.reading.events.values()
        return sum(map(len, of_all)), sum(event.value is not None for events in of_all for event in events)

    def once(self, name: str, key: Hashable, make: Callable[[], T]) -> T:
        """Return what was made under this name before, where the key is the same, and else what is made now."""
        known = self._kept.get(name)
        if known is None or known[0] != key:
            known = self._kept[name] = (key, make())
        made: T = known[1]
        return made

    def curves_of(self, number: int) -> pd.DataFrame:
        """Return every measurement of one trial, as `analysis.curves` does."""
        events = {number: self.reading.events.get(number, ())}
        return analysis.curves(dataclasses.replace(self.reading, events=events))

    def curves(self, metric: str) -> pd.DataFrame:
        """Return the measurements of one metric: trial, step, metric, value. Those of all metrics take much longer."""
        objective = self.reading.objective.metric
        found: dict[tuple[int, int], float] = {}
        for events in self.reading.events.values():
            for event in events:
                value = event.value if metric == objective and event.value is not None else event.metrics.get(metric)
                if value is not None:
                    found.setdefault((event.trial, event.step), value)
        frame = pd.DataFrame(list(found), columns=["trial", "step"], dtype=int)
        return frame.assign(metric=metric, value=pd.Series(list(found.values()), dtype=float))

    def last(self, metric: str, number: int) -> float | None:
        """Return a trial's last finite value of a metric, None where it has none."""
        objective = self.reading.objective.metric
        for event in reversed(self.reading.events.get(number, ())):
            value = event.value if metric == objective and event.value is not None else event.metrics.get(metric)
            if value is not None and math.isfinite(value):
                return value
        return None

    @cached_property
    def selection(self) -> Selection | None:
        return Selection.load(self.home)

    @property
    def rungs(self) -> tuple[int, ...]:
        """Where the pruner decides; a dotted name would be imported, and a page runs nothing that a home names."""
        study = self.reading.study
        return () if "." in study.pruner.name else tuple(decision_steps(study.pruner, epochs=study.budget.epochs))

    @property
    def floor(self) -> float | None:
        """What the objective says of real rows beside other real rows, where that was measured."""
        return self.summary.yardsticks.get(self.reading.objective.metric, {}).get("floor")

    def ordered_axes(self) -> list[analysis.Axis]:
        """Return the parameters, the most important first."""
        names = [] if self.told is None else list(self.told.shares["parameter"])
        rank = {name: index for index, name in enumerate(names)}
        return sorted(self.reading.axes, key=lambda axis: rank.get(axis.name, len(rank)))


class View:
    """One home, for several threads. Raises RequestError where it is no home."""

    def __init__(self, home: Home) -> None:
        self.home = home.require()
        self._follower = Follower(home)
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._next = 0.0  # when reading is due again, by the monotonic clock
        self._told: Told | None = None
        self._telling: threading.Thread | None = None
        self._kept: dict[str, tuple[Hashable, Any]] = {}

    def version(self) -> str:
        """Return the version that `snapshot` would give now."""
        known = self._snapshot
        return self._now()[0] if known is None or time.monotonic() >= self._next else known.version

    def snapshot(self) -> Snapshot:
        """Return the home as it stands, or as it stood a moment ago where reading has taken its share of time."""
        with self._lock:
            known = self._snapshot
            if known is not None and time.monotonic() < self._next:
                return known
            version, holder = self._now()
            if known is not None and known.version == version:
                return known
            began = time.monotonic()
            reading = self._follower.read()
            made = Snapshot(self.home, reading, version=version, holder=holder, told=self._told, kept=self._kept)
            took = time.monotonic() - began
            self._snapshot = made
            self._next = time.monotonic() + max(LEAST_SECONDS, took / SHARE)
            self._tell(reading)
            return made

    def _now(self) -> tuple[str, str | None]:
        """Return a text that changes with whatever is shown, and who holds the home."""
        holder = self.home.holder()
        others = "-".join(
            _changed(path) for path in (self.home.selection, self.home.card, self.home.vetoes, self.home.study)
        )
        told = -1 if self._told is None else self._told.done
        return f"{self._follower.version()}-{others}-{told}-{'held' if holder else 'free'}", holder

    def _tell(self, reading: Reading) -> None:
        """Let a thread say what mattered, where clearly more trials are done than when it was said last."""
        told, count = self._told, len(reading.done)
        enough = told is None or not told.done <= count < max(told.done + 1, told.done * MORE_DONE)
        if enough and (self._telling is None or not self._telling.is_alive()):
            self._telling = threading.Thread(target=self._say, args=(reading,), name="told", daemon=True)
            self._telling.start()

    def _say(self, reading: Reading) -> None:
        shares = analysis.importances(reading)
        self._told = Told(done=len(reading.done), shares=shares, effects=tuple(effects(reading)))


def _changed(path: Path) -> str:
    """Return when a file or folder changed last; nothing where there is none."""
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return ""
