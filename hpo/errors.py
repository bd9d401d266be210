"""The exceptions of hpo, and the exit code that the command line gives each.

    HpoError
     |- RequestError    what was asked for cannot be done: bad study, home, space, a second driver    exit 2
     |   `- NotBuilt    a key or verb that the design names and no release has yet                    exit 2
     `- SearchFailed    the search began and could not be finished                                    exit 1

Every message has three parts: the rule, the value that came, and the remedy. This module imports nothing of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class HpoError(Exception):
    """Anything that hpo itself raises; its text is meant for the person at the terminal."""


class RequestError(HpoError):
    """The request cannot be done as written; nothing was created or changed."""


class NotBuilt(RequestError):
    """A part of the design that this release does not have yet."""


class SearchFailed(HpoError):
    """The search began and stopped before its budget was used; the home can be resumed."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that lists `known`, with the nearest spelling of `name` first."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    listed = ", ".join(names) if names else "none"
    return f"did you mean {close[0]!r}? There are: {listed}" if close else f"there are: {listed}"
