"""Tables in markdown. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Sequence


def line(cells: Sequence[str]) -> str:
    """Return one line of a table."""
    return f"| {' | '.join(cells)} |"


def head(cells: Sequence[str]) -> str:
    """Return the first line of a table and the rule below it."""
    return f"{line(cells)}\n{line(['---'] * len(cells))}"


def shown(value: float | None, form: str) -> str:
    """Return the number in this format, or a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else format(value, form)
