"""Optuna's journal on a file of the home, in the format of Optuna's own `JournalFileBackend`.

What differs is when it writes: records are held until `flush` and then go out in one write. An ask over a dozen
parameters is one fsync instead of fifteen, and what belongs together reaches the disk together. It takes no
lock of its own, as the home's lock admits one writer. Imports Optuna's public backend class.
"""

from __future__ import annotations

import copy
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import FrozenTrial

from hpo.line_file import Appender, read_lines

_CREATE_TRIAL = 4  # the `op_code` of that record in Optuna's format


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

    def flush(self, *, sync: bool = True) -> None:
        """Write what is held, whichever thread brought it. sync: make it survive a power cut, with all before it."""
        with self._mutex:
            if self._file is None or not self._held:
                return
            lines = b"".join(line for _, line in self._held)
            self._file.append(lines, sync=sync)
            self._offset += len(lines)
            self._number += len(self._held)
            self._held.clear()

    def __getstate__(self) -> Path:
        self.flush()
        return self._path

    def __setstate__(self, state: Path) -> None:
        """A copy, in another process say, can only read: one file has one writer."""
        self.__init__(state)  # type: ignore[misc]

    def _stored(self, log_number_from: int) -> list[dict[str, Any]]:
        known = self._number
        if log_number_from < known:
            values, self._offset = read_lines(self._path)
            self._number = len(values)
            return values[log_number_from:]
        values, self._offset = read_lines(self._path, offset=self._offset)  # a reader that follows: only what is new
        self._number += len(values)
        return values[log_number_from - known :]


def cut_back(path: Path, *, last_words: tuple[str, ...]) -> None:
    """Drop the last trial of a journal that nobody writes, if the ask for it was cut off and nothing else came since.

    last_words: user attributes, one of which ends a whole ask. A sampler that went on in the middle of a draw would
    give other values than it gave the first time, so the draw never was, and the next ask makes it again. Where other
    trials were written to in between, the trial stays.
    """
    lines, _ = read_lines(path)
    created = [index for index, line in enumerate(lines) if line["op_code"] == _CREATE_TRIAL]
    if not created or "state" in lines[created[-1]]:  # one that was queued is no ask
        return
    number = len(created) - 1
    for line in lines[created[-1] + 1 :]:
        if line.get("trial_id", number) != number or any(word in line.get("user_attr", ()) for word in last_words):
            return
    with path.open("r+b") as file:
        for _ in range(created[-1]):
            file.readline()
        file.truncate(file.tell())
        os.fsync(file.fileno())


class LedgerStorage(JournalStorage):
    """Optuna's journal storage, safe to write in one thread while a sampler reads in another.

    `optuna.Trial` writes into the record that `get_trial` gives it, and Optuna's own gives the one that a sampler may
    be walking: "dictionary changed size during iteration". So this one gives a copy.
    """

    def get_trial(self, trial_id: int) -> FrozenTrial:
        trial = copy.copy(super().get_trial(trial_id))
        trial.params = dict(trial.params)
        trial.distributions = dict(trial.distributions)
        trial.user_attrs = dict(trial.user_attrs)
        trial.system_attrs = dict(trial.system_attrs)
        trial.intermediate_values = dict(trial.intermediate_values)
        return trial
