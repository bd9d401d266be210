"""Sample sheets on their way into the home: when a trial leaves one, how it travels, and where it is put.

A group need not reach the home's disk: it sends the files in its message, under their paths in the home, and the server
puts them there before it records the event that names them. Imports the home alone.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping

from hpo.home import Home

MOST = 6  # sheets of a trial, the one at its end among them

_NAME = re.compile(r"samples/trial-\d{6,}/step-\d{6,}\.(png|wav|txt)")


def sheet_steps(decisions: Collection[int], *, epochs: int) -> frozenset[int]:
    """Return the steps before the last at which a trial leaves a sheet: where it is decided on, and so measured anyway.

    Where that is oftener than `MOST` sheets allow, the steps nearest to equal factors from the first to `epochs`.
    """
    if len(decisions) < MOST:
        return frozenset(decisions)
    first = min(decisions)
    wanted = (math.log(first) + math.log(epochs / first) * part / (MOST - 1) for part in range(MOST - 1))
    return frozenset(min(decisions, key=lambda step: (abs(math.log(step) - place), step)) for place in wanted)


def named(home: Home, trial: int, step: int, *, drawn: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return the files of a sheet under their paths in the home. drawn: their content by suffix."""
    path = home.sheet(trial, step).relative_to(home.path)
    return {path.with_suffix(suffix).as_posix(): content for suffix, content in drawn.items()}


def keep(home: Home, sheets: Mapping[str, bytes]) -> None:
    """Write sheets into the home, each whole or not at all; again is harmless. Raises OSError where it cannot."""
    for name, content in sheets.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"a sample sheet has a name of its own in the home, and {name!r} is none")
        file = home.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}")
        draft.write_bytes(content)
        draft.replace(file)
