"""Optuna's journal on a file of the home, in the format of Optuna's own `JournalFileBackend`.

What differs is when it writes: records are held until `flush` and then go out in one write and one fsync. An ask over
a dozen parameters is one fsync instead of fifteen, and what belongs together reaches the disk together. It takes no
lock of its own, as the home's lock admits one writer. Imports Optuna's public backend class.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages.journal import BaseJournalBackend

from hpo.line_file import Appender, read_lines


class Journal(BaseJournalBackend):
    """A journal to hand to `optuna.storages.JournalStorage`. Without `file` it can only be read, beside a writer."""

    def __init__(self, path: Path, *, file: Appender | None = None) -> None:
        self._path = path
        self._file = file
        self._mutex = threading.Lock()
        self._held: list[tuple[dict[str, Any], bytes]] = []
        values, self._offset = read_lines(path)
        self._number = len(values)  # records in the file up to the byte `_offset`

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """Return the records from this number on: those in the file, then those held."""
        with self._mutex:
            stored = self._stored(log_number_from) if self._file is None or log_number_from < self._number else []
            return stored + [value for value, _ in self._held[max(0, log_number_from - self._number) :]]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Hold the records until `flush`."""
        if self._file is None:
            raise PermissionError(f"{self._path} was opened for reading")
        lines = [json.dumps(log, separators=(",", ":")).encode() + b"\n" for log in logs]
        with self._mutex:  # as read back from the file: the same types now as after a restart
            self._held.extend((json.loads(line), line) for line in lines)

    def flush(self) -> None:
        """Write what is held, whichever thread brought it. On return it survives a power cut."""
        with self._mutex:
            if self._file is None or not self._held:
                return
            lines = b"".join(line for _, line in self._held)
            self._file.append(lines)
            self._offset += len(lines)
            self._number += len(self._held)
            self._held.clear()

    def _stored(self, log_number_from: int) -> list[dict[str, Any]]:
        if log_number_from >= self._number:  # a reader that follows a writer: only what is new
            values, self._offset = read_lines(self._path, offset=self._offset)
            self._number += len(values)
            return values
        values, self._offset = read_lines(self._path)
        self._number = len(values)
        return values[log_number_from:]
