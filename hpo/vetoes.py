"""Trials that a person does not want: a file each in the home, written by anyone who may write there.

The study server looks at the folder whenever a group calls, and ends a vetoed trial that runs as `pruned`; one that is
done keeps its end, and is no longer the best. Needs no lock and no search. Imports the home and errors alone.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from hpo.errors import RequestError
from hpo.home import Home

CAUSE = "veto"  # of a trial that ended so; a reason follows after a colon
REASON_LENGTH = 500  # characters, one line
# So old must a folder be that a file written since would show in its time: file systems count in coarse steps.
SETTLED_SECONDS = 2.0

_FILE = re.compile(r"trial-(\d{6,})\.txt")


def veto(home: Home, trial: int, reason: str = "") -> None:
    """Put a trial out of the running; again with another reason, which then counts. Raises RequestError for no number.

    A running one is stopped when its group calls next, within some seconds.
    """
    file = _file(home.require(), trial)
    file.parent.mkdir(exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(_one_line(reason), encoding="utf-8")
    draft.replace(file)


def lift(home: Home, trial: int) -> None:
    """Take a veto back, if there is one. A trial that it stopped stays stopped."""
    _file(home, trial).unlink(missing_ok=True)


def vetoed(home: Home) -> dict[int, str]:
    """Return each vetoed trial with the reason, which may be empty."""
    try:
        names = sorted(os.listdir(home.vetoes))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for name in names:
        if (match := _FILE.fullmatch(name)) and (reason := _read(home.vetoes / name)) is not None:
            found[int(match[1])] = reason
    return found


def cause_of(reason: str) -> str:
    """Return the cause of a trial that ended by a veto with this reason."""
    return f"{CAUSE}: {reason}" if reason else CAUSE


class Vetoes:
    """The vetoes of a home for one who asks often: the folder is read again only where it changed."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._seen: int | None = None  # the folder's time when it was read, once that says all
        self._vetoed: dict[int, str] = {}

    def now(self) -> dict[int, str]:
        """Return what `vetoed` does."""
        try:
            changed = os.stat(self._home.vetoes).st_mtime_ns
        except OSError:
            changed = 0
        if changed != self._seen:
            self._vetoed = vetoed(self._home)
            self._seen = changed if time.time() - changed / 1e9 > SETTLED_SECONDS else None
        return self._vetoed


def _file(home: Home, trial: int) -> Path:
    if isinstance(trial, bool) or not isinstance(trial, int) or trial < 0:
        raise RequestError(f"A veto is on a trial's number, 0 or more; {trial!r} came. Give the number that is shown.")
    return home.vetoes / f"trial-{trial:06d}.txt"


def _read(file: Path) -> str | None:
    """Return the reason in a file, None where it was lifted meanwhile or is no file that can be read."""
    if not file.is_file():
        return None
    try:
        with file.open("rb") as opened:
            return _one_line(opened.read(4 * REASON_LENGTH).decode("utf-8", errors="replace"))
    except OSError:
        return None


def _one_line(text: str) -> str:
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:REASON_LENGTH]
