"""Append-only files of whole lines: the one way this package writes what must survive a crash.

Ledger and event log both stand on it. A process may die inside a write and leave half a line; opening the file for
writing cuts that half off, and readers stop at the last newline. Imports errors alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from hpo.errors import RequestError

_CHUNK = 1 << 16


class Appender(Protocol):
    """Where whole lines go. `LineFile` is the real one; a test that dies at the n-th write brings its own."""

    def append(self, lines: bytes, *, sync: bool) -> None: ...

    def close(self) -> None: ...


OpenFile = Callable[[Path], Appender]


class LineFile:
    """A file opened for appending. The caller holds the home's lock: one writer at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        self._file = path.open("ab", buffering=0)
        if is_new:
            _sync_folder(path.parent)
        self._size = mend(path)
        self._failure: OSError | None = None

    def append(self, lines: bytes, *, sync: bool) -> None:
        """Add whole lines with one write: on return they survive the death of this process.

        sync: that they survive a power cut too, with everything written before; it costs milliseconds on a busy disk.
        Raises OSError where the disk takes no more, then and at every later call: what stands in memory is ahead of
        the file from there on, so the study must stop. The file itself stays whole and can be resumed from.
        """
        if self._failure is not None:
            raise OSError(self._failure.errno, self._failure.strerror, str(self.path))
        try:
            view = memoryview(lines)
            while view:
                view = view[self._file.write(view) :]  # a nearly full disk takes a part and refuses the rest
            if sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            self._failure = error
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(lines)

    def close(self) -> None:
        self._file.close()


def mend(path: Path) -> int:
    """Cut `path` back to its last newline and return its size. A line without an end was never acknowledged."""
    with path.open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        whole = size
        while whole > 0:
            start = max(0, whole - _CHUNK)
            file.seek(start)
            found = file.read(whole - start).rfind(b"\n")
            if found >= 0:
                whole = start + found + 1
                break
            whole = start
        if whole < size:
            file.truncate(whole)
            os.fsync(file.fileno())
    return whole


def read_lines(path: Path, *, offset: int = 0, limit: int | None = None) -> tuple[list[dict[str, Any]], int]:
    """Return the JSON objects in the whole lines from byte `offset` on, and the offset behind them.

    limit: read about so many bytes, and no more than the line at that place.

    A file that does not exist has none. Writes nothing, so it may run beside a writer. Raises RequestError where a
    whole line is not JSON: that is damage, not a crash, and guessing would hide it.
    """
    try:
        with path.open("rb") as file:
            file.seek(offset)
            content = file.read(limit) + (file.readline() if limit is not None else b"")
    except FileNotFoundError:
        return [], offset
    content = content[: content.rfind(b"\n") + 1]
    values = []
    for line in content.splitlines():
        try:
            values.append(json.loads(line))
        except ValueError:
            raise RequestError(
                f"Every whole line of {path} must be JSON; one is not: {line[:80]!r}. The file was damaged from "
                "outside. Restore it from a backup, or search in another --home."
            ) from None
    return values, offset + len(content)


def _sync_folder(folder: Path) -> None:
    """Make the entry of a new file durable, not only its content."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
