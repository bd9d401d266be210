"""A home that is followed while it grows: each look takes from ledger and event log only what was written since.

For whoever looks again and again, such as a page that is open beside a search. No lock is taken and no byte is written.
"""

from __future__ import annotations

from optuna.trial import FrozenTrial

from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event
from hpo.reading import Reading, Span, assemble, fold
from hpo.rows import TrialRow, open_ledger, read_ledger, row_of
from hpo.study import Study
from hpo.vetoes import vetoed


class Follower:
    """Reads a home again and again. Raises RequestError where it is no home.

    Not for two threads at once.
    """

    def __init__(self, home: Home) -> None:
        self._home = home
        self._study = Study.load(home.require().study)
        self._log = EventLog(home)
        self._storage = open_ledger(home)
        self._offset = 0
        self._events: dict[int, tuple[Event, ...]] = {}
        self._spans: dict[int, tuple[Span, ...]] = {}
        self._rows: dict[int, tuple[FrozenTrial, TrialRow]] = {}

    def version(self) -> str:
        """Return a text that changes when there is something new to read: the sizes of the files that only grow."""
        paths = (self._log.path, self._home.ledger)
        return "-".join(str(path.stat().st_size if path.exists() else 0) for path in paths)

    def read(self) -> Reading:
        """Return the home as it stands now. What an earlier reading holds is not changed."""
        self._study = Study.load(self._home.study)  # its budget may grow
        ledger = read_ledger(self._home, self._study, storage=self._storage)
        # After the ledger: whatever it says of a trial, the log has said before.
        records, self._offset = self._log.read(self._offset)
        events, spans = dict(self._events), dict(self._spans)
        fold(records, events=events, spans=spans)
        self._events, self._spans = events, spans
        rows = [self._row(trial) for trial in ledger.trials]
        return assemble(self._study, ledger, rows=rows, events=events, spans=spans, vetoed=vetoed(self._home))

    def _row(self, trial: FrozenTrial) -> TrialRow:
        """Return the trial's row, the one of before where Optuna's record is the one of before."""
        known = self._rows.get(trial.number)
        if known is None or known[0] is not trial:
            known = self._rows[trial.number] = (trial, row_of(trial))
        return known[1]
