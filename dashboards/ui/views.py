"""Homes as the pages see them: followed, and read no more often than the machine can spare.

A `Snapshot` is a home at one moment, with each frame made once and only where a page asks for it.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd

from hpo import analysis
from hpo.analysis import Reading, Summary
from hpo.effects import effects
from hpo.following import Follower
from hpo.home import Home
from hpo.pruning import decision_steps
from hpo.selected import Selection

SHARE = 0.2  # of one core, that reading may take while a home grows
LEAST_SECONDS = 0.5
MORE_DONE = 1.05  # importances are made anew once so many times as many trials are done


@dataclass(frozen=True, kw_only=True)
class Told:
    """What takes seconds to say, as of `done` done trials: the importances, and what each technique did, in words."""

    done: int
    shares: pd.DataFrame
    words: tuple[str, ...]


class Snapshot:
    """A home at one moment.

    state: running, finished or interrupted. told: of this moment or of one before, None while it is made first.
    """

    def __init__(self, home: Home, reading: Reading, *, version: str, holder: str | None, told: Told | None) -> None:
        self.home, self.reading, self.version, self.holder, self.told = home, reading, version, holder, told
        self.counted = sum(row.end in ("done", "pruned", "died") for row in reading.rows)
        over = self.counted >= reading.study.budget.trials
        self.state = "running" if holder else "finished" if over else "interrupted"

    @cached_property
    def trials(self) -> pd.DataFrame:
        return analysis.trials(self.reading)

    @cached_property
    def curves(self) -> pd.DataFrame:
        return analysis.curves(self.reading)

    @cached_property
    def summary(self) -> Summary:
        return analysis.summary(self.reading)

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
        names = [] if self.told is None else self.told.shares["parameter"]
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
            made = Snapshot(self.home, reading, version=version, holder=holder, told=self._told)
            took = time.monotonic() - began
            self._snapshot = made
            self._next = time.monotonic() + max(LEAST_SECONDS, took / SHARE)
            self._tell(reading)
            return made

    def _now(self) -> tuple[str, str | None]:
        """Return a text that changes with whatever is shown, and who holds the home."""
        holder = self.home.holder()
        others = "-".join(_changed(path) for path in (self.home.selection, self.home.vetoes, self.home.study))
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
        words = tuple(effect.words for effect in effects(reading))
        self._told = Told(done=len(reading.done), shares=shares, words=words)


def _changed(path: Path) -> str:
    """Return when a file or folder changed last; nothing where there is none."""
    try:
        return str(path.stat().st_mtime_ns)
    except OSError:
        return ""
