"""The event log of a home: every start and every event of every trial, one JSON object a line.

The server appends to it before it tells Optuna, so a rebuild can replay what Optuna missed. Tracking tails it from a
saved offset. Imports messages and the home's paths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from hpo.home import Home
from hpo.line_file import Appender, LineFile, OpenFile, read_lines
from hpo.messages import Record, record_from_json


class EventLog:
    """`events/events.jsonl` of a home. Reading writes nothing; the first `append` opens the file and mends it."""

    def __init__(self, home: Home, *, open_file: OpenFile = LineFile) -> None:
        self.path = home.events / "events.jsonl"
        self._open_file = open_file
        self._file: Appender | None = None

    def append(self, records: Sequence[Record], *, sync: bool = True) -> None:
        """Add the records with one write. Only the holder of the home's lock may call it.

        sync: make them survive a power cut, with all before them.
        """
        if not records:
            return
        if self._file is None:
            self._file = self._open_file(self.path)
        self._file.append(b"".join(json.dumps(record.to_json()).encode() + b"\n" for record in records), sync=sync)

    def read(self, offset: int = 0, *, limit: int | None = None) -> tuple[list[Record], int]:
        """Return the records in the whole lines from byte `offset` on, and the offset to read from next.

        limit: read about so many bytes, and no more than the line at that place.
        """
        values, end = read_lines(self.path, offset=offset, limit=limit)
        return [record_from_json(value) for value in values], end

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
