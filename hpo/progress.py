"""What the person at the terminal sees of a running search: one live line and a bar, or plain lines in a log.

Pure display: it is handed the status figures and knows nothing of where they come from. Imports Rich alone.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

PLAIN_SECONDS = 10.0  # without a terminal: a line so often, and one at each end of the search


class Display:
    """A context manager whose `show` draws the latest status. Live on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._began = time.monotonic()
        self._first: tuple[float, int] | None = None  # when the first status came, and what had ended by then
        self._printed = 0.0
        self._last = ""

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
            self._live.update(Text("starting Ray and the workers ..."), refresh=True)
        else:
            self._console.print("starting Ray and the workers ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Mapping[str, Any]) -> None:
        """Draw this status; without a terminal, print it if the last line is some seconds old and says less."""
        now = time.monotonic()
        self._first = self._first or (now, counted(status))
        line = self._line(status, now)
        if self._live is not None:
            grid = Table.grid(padding=(0, 1))
            grid.add_row(ProgressBar(total=status["budget"], completed=counted(status), width=24), Text(line))
            self._live.update(grid, refresh=True)
        elif line != self._last and (now - self._printed >= PLAIN_SECONDS or status["over"]):
            self._console.print(line, highlight=False, soft_wrap=True)
            self._printed, self._last = now, line

    def _line(self, status: Mapping[str, Any], now: float) -> str:
        began, ended_before = self._first or (now, 0)
        ended, left = counted(status) - ended_before, status["budget"] - counted(status)
        parts = [f"{counted(status)}/{status['budget']} trials", ends(status)]
        if status["best_value"] is not None:
            parts.append(f"best {status['best_value']:.5g} (trial {status['best_trial']})")
        minutes = (now - began) / 60
        if ended > 0 and minutes > 0:
            parts.append(f"{ended / minutes:.3g} trials/min")
            if left > 0:
                parts.append(f"{clock(left * minutes * 60 / ended)} left")
        return "  ".join(part for part in parts if part)


def counted(status: Mapping[str, Any]) -> int:
    """Return how many trials count against the budget."""
    return int(status["done"] + status["pruned"] + status["died"])


def ends(status: Mapping[str, Any]) -> str:
    """Return the ends so far in words; lost trials only where there are any."""
    shown = [f"{status[end]} {end}" for end in ("done", "pruned", "died")]
    return ", ".join(shown + ([f"{status['lost']} lost"] if status["lost"] else []))


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
