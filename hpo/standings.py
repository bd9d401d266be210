"""What the person at the terminal sees of a selection: which stage runs, who stood where, and what tuning gained.

Pure display. Imports Rich, and the display of a search.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from hpo.progress import Display
from hpo.selected import Interval, Selection

_STAGES = {
    "finalists": "the best trials and the default configuration, trained again under fresh seeds:",
    "final": "the winner and the default configuration, under seeds that took no part in the choice:",
}


class Stages:
    """A context manager whose `show` draws the status of the stage that runs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._open = contextlib.ExitStack()
        self._stage, self._display = "", Display(console)

    def __enter__(self) -> Stages:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def show(self, stage: str, status: Mapping[str, Any]) -> None:
        if stage != self._stage:
            self._open.close()
            self._console.print(_STAGES[stage])
            self._stage, self._display = stage, self._open.enter_context(Display(self._console))
        self._display.show(status)


def standings(found: Selection) -> Group:
    """Return the finalists, the best first, and what the winner is worth, in words."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "in the search", "runs", "mean", "error", "median", "chance of being best"):
        table.add_column(column, justify="right" if column else "left")
    sign = 1.0 if found.direction == "minimize" else -1.0
    ordered = sorted(found.finalists, key=lambda one: (one.name != found.winner.name, sign * (one.median or 0.0)))
    for one in ordered:
        died = sum(run.value is None for run in one.runs)
        runs = f"{len(one.runs)}{f' ({died} died)' if died else ''}{' out' if one.out_after is not None else ''}"
        numbers = (_number(value) for value in (one.mean, one.error, one.median))
        table.add_row(Text(one.name), _number(one.searched), runs, *numbers, f"{one.chance:.0%}")
    return Group(table, *map(Text, worth(found)))


def worth(found: Selection) -> list[str]:
    """Return sentences on the winner: its interval, its shrinkage, and its gain over the default."""
    lines = [f"winner: {found.winner.name}"]
    if (expected := found.winner.expected) is not None:
        lines.append(f"  {found.objective} {told(expected)} over {_alive(found)} seeds that took no part in the choice")
    if found.shrinkage is not None and found.chosen.searched is not None:
        word = "worse" if found.shrinkage > 0 else "better"
        lines.append(
            f"  {abs(found.shrinkage):.1%} {word} than the {found.chosen.searched:.5g} of its one run in the search"
        )
    if found.gain is not None:
        sure = "" if found.gain.low > 0 else "; it may be no gain at all"
        lines.append(f"  gain over the default configuration on the test rows: {told(found.gain)}{sure}")
    else:
        lines.append(f"  {found.gain_note}")
    if found.stage > 1:
        lines.append(f"  the test rows were touched {found.stage} times, once for each selection in this home")
    return lines


def told(interval: Interval) -> str:
    """An interval in words."""
    return f"{interval.mean:.5g} ({interval.low:.5g} to {interval.high:.5g} at 95 %)"


def _alive(found: Selection) -> int:
    return sum(run.value is not None for run in found.winner.runs)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.5g}"
