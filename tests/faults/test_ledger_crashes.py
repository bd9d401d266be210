"""The ledger dies before, within and after every single write of a study, and the same study is finished afterwards.

Crash points are enumerated, not drawn: a first run counts the writes to both files, then one forked process for each
(write, moment) dies there by `os._exit`, as kill -9 would, and this process resumes. What is checked is what a user is
promised: exact totals, nothing left running, nothing trained twice to its end, and two files that agree.
"""

import itertools
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from ledgers import BOUND, Worker, opened, toy_study
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import load_study

from hpo.event_log import EventLog
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.line_file import LineFile
from hpo.messages import Event, Placement, Start
from hpo.rows import read_trials
from hpo.samplers import trial_seed

EPOCHS = 4
EVERY = 2  # epochs from checkpoint to checkpoint
TRIALS = 5
STUDY = toy_study(trials=TRIALS, epochs=EPOCHS, seed=1, constraints=[BOUND.model_dump()])
DEATH = 13  # the exit status of a process that died where it was told

Moment = Literal["before", "half", "after"]


class Death(Exception):
    """The server's process is gone; its groups are not."""


@dataclass
class Reaper:
    """Counts the writes to all files it opened, and dies at one of them. at: -1 for never."""

    at: int = -1
    moment: Moment = "before"
    by_exit: bool = True
    count: int = -1
    opened: list["MortalFile"] = field(default_factory=list)

    def open(self, path: Path) -> "MortalFile":
        self.opened.append(MortalFile(path, self))
        return self.opened[-1]

    def die(self) -> None:
        if self.by_exit:
            os._exit(DEATH)
        for file in self.opened:
            file.cut()
        raise Death


class MortalFile:
    """A `LineFile` that its reaper is told of. Leaves fsync out: no power is cut here."""

    def __init__(self, path: Path, reaper: Reaper) -> None:
        self._file = LineFile(path)
        self._reaper = reaper
        self._cut = False

    def append(self, lines: bytes, *, sync: bool) -> None:
        if self._cut:
            raise Death
        reaper = self._reaper
        reaper.count += 1
        doomed = reaper.count == reaper.at
        if doomed and reaper.moment == "before":
            reaper.die()
        if doomed and reaper.moment == "half":
            self._file.append(lines[: len(lines) // 2], sync=False)
            reaper.die()
        self._file.append(lines, sync=False)
        if doomed:
            reaper.die()

    def close(self) -> None:
        self._file.close()

    def cut(self) -> None:
        """Close for good, as the kernel does for a dead process: what it would still have written is gone."""
        self._file.close()
        self._cut = True


def drive(home: Home, *, run: str, slots: int, ahead: int, reaper: Reaper) -> None:
    """One driver's life, with one group to a slot, epoch by epoch in turn, until the study is over."""
    clock = itertools.count(float(run) * 1000)
    worker = Worker(home, epochs=EPOCHS, every=EVERY, clock=lambda: next(clock))
    ledger = opened(STUDY, home, ahead=ahead, run=run, open_file=reaper.open)
    seated: dict[int, tuple[Placement, int]] = {}
    for seq in itertools.count():
        for slot in range(slots):
            if slot not in seated:
                while ledger.ask_ahead():
                    pass
                placement = ledger.place(f"{run}-{slot}", seq, 0)
                if placement is None:
                    continue
                seated[slot] = (placement, worker.start(placement))
            placement, step = seated.pop(slot)
            if not ledger.record([worker.epoch(placement, step + 1)]):
                worker.recorded(placement, step + 1)
                seated[slot] = (placement, step + 1)
        if not seated and ledger.over():
            break
    ledger.close()


def die_at(home: Home, *, slots: int, ahead: int, reaper: Reaper, run: str = "1") -> None:
    """Search in a process of its own, which must die where the reaper says."""
    child = os.fork()
    if child == 0:
        try:
            drive(home, run=run, slots=slots, ahead=ahead, reaper=reaper)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == DEATH


def new_home(path: Path) -> Home:
    path.mkdir()
    (path / "diary").touch()
    return Home(path)


def outcome(home: Home) -> list[tuple[object, ...]]:
    rows = read_trials(home, STUDY)
    return [(row.number, row.params, row.seed, row.end, row.value, row.step, row.constraints) for row in rows]


def check(home: Home, *, slots: int) -> None:
    """Assert all that is promised of a study that was interrupted once and finished."""
    rows = read_trials(home, STUDY)
    assert [row.end in ("done", "pruned", "died") for row in rows] == [True] * TRIALS
    storage = JournalStorage(JournalFileBackend(str(home.ledger)))
    trials = load_study(study_name="toy", storage=storage).trials
    shown = [trial for trial in trials if "hidden" not in trial.user_attrs]
    assert all(trial.state.is_finished() for trial in trials)
    assert [trial.number for trial in shown] == [row.number for row in rows]
    assert [trial.params for trial in shown] == [row.params for row in rows]
    records, end = EventLog(home).read()
    assert end == EventLog(home).path.stat().st_size
    for row in rows:
        starts = [record for record in records if isinstance(record, Start) and record.trial == row.number]
        events = [record for record in records if isinstance(record, Event) and record.trial == row.number]
        assert starts
        assert all((start.params, start.seed) == (row.params, row.seed) for start in starts)
        assert row.seed == trial_seed(STUDY.seed, row.number)
        assert [event.end for event in events if event.end is not None] == [row.end]
        assert events[-1].end == row.end
        assert events[-1].constraints == row.constraints
        assert BOUND.key in row.constraints
        assert sorted({event.step for event in events}) == list(range(1, row.step + 1))
        assert {event.step: event.value for event in events if event.value is not None} == row.values
    trained = Counter(Worker.diary(home))
    assert set(trained) == {(row.number, step) for row in rows for step in range(1, row.step + 1)}
    again = trained.total() - len(trained)
    repeated = sum(row.repeated for row in rows)
    # An epoch that the ledger had not heard of yet is executed again without being news twice: one a slot at most.
    assert repeated <= again <= repeated + slots
    assert again <= EVERY * slots


def count_writes(path: Path, *, slots: int, ahead: int) -> tuple[int, Home]:
    """Run the study once without a death: the writes that it takes, and its home."""
    home, reaper = new_home(path), Reaper()
    drive(home, run="1", slots=slots, ahead=ahead, reaper=reaper)
    check(home, slots=slots)
    return reaper.count + 1, home


@pytest.mark.parametrize("moment", ["before", "half", "after"])
@pytest.mark.parametrize(("slots", "ahead"), [(1, 0), (2, 2)])
def test_a_driver_killed_at_any_write_is_resumed(tmp_path: Path, slots: int, ahead: int, moment: Moment) -> None:
    num_writes, uninterrupted = count_writes(tmp_path / "whole", slots=slots, ahead=ahead)
    assert num_writes > 5 * TRIALS
    expected = outcome(uninterrupted)
    for at in range(num_writes):
        home = new_home(tmp_path / f"{at}")
        die_at(home, slots=slots, ahead=ahead, reaper=Reaper(at=at, moment=moment))
        drive(home, run="2", slots=slots, ahead=ahead, reaper=Reaper())
        check(home, slots=slots)
        if slots == 1:  # with one worker the whole study is promised to be the same
            assert outcome(home) == expected


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_home_killed_again_on_its_way_back_is_resumed(tmp_path: Path, moment: Moment) -> None:
    """The mending itself dies, at each of its own writes, on a home that needs all of it."""
    num_writes, _ = count_writes(tmp_path / "whole", slots=2, ahead=2)
    for at in range(num_writes // 3, 2 * num_writes // 3, 3):
        for second in range(3):
            home = new_home(tmp_path / f"{at}-{second}")
            die_at(home, slots=2, ahead=2, reaper=Reaper(at=at, moment="half"))
            die_at(home, slots=2, ahead=2, reaper=Reaper(at=second, moment=moment), run="2")
            drive(home, run="3", slots=2, ahead=2, reaper=Reaper())
            rows = read_trials(home, STUDY)
            assert [row.end in ("done", "pruned", "died") for row in rows] == [True] * TRIALS


class Group:
    """A group that outlives the server: it repeats its message until it is answered."""

    def __init__(self, home: Home, *, name: str, reaper: Reaper) -> None:
        self._home = home
        self._name = name
        self._reaper = reaper
        clock = itertools.count()
        self._worker = Worker(home, epochs=EPOCHS, every=EVERY, clock=lambda: float(next(clock)))
        self._seq = 0
        self._seated: Placement | None = None
        self._step = 0

    def message(self, ledger: Ledger) -> Ledger:
        """Train an epoch, send it, take what is placed. Returns the ledger of the server that answered."""
        events = []
        if self._seated is not None:
            self._step += 1
            events = [self._worker.epoch(self._seated, self._step)]
        self._seq += 1
        while True:
            try:
                free = self._seated is None
                if events and (ledger.record(events) or events[0].trial not in ledger.in_group(self._name)):
                    free = True
                while ledger.ask_ahead():
                    pass
                if not free and self._seated is not None:
                    self._worker.recorded(self._seated, self._step)
                if free:
                    placed = ledger.placed(self._name, self._seq)
                    given = placed[0] if placed else ledger.place(self._name, self._seq, 0)
                    self._seated = given
                    self._step = 0 if given is None else self._worker.start(given)
                return ledger
            except Death:
                ledger = restarted(self._home, reaper=self._reaper)


def restarted(home: Home, *, reaper: Reaper) -> Ledger:
    while True:
        try:
            return opened(STUDY, home, ahead=2, run="1", open_file=reaper.open)
        except Death:
            pass


@pytest.mark.parametrize("moment", ["before", "half", "after"])
def test_a_server_that_dies_at_any_write_goes_on_with_its_groups(tmp_path: Path, moment: Moment) -> None:
    """The groups live on: nothing is placed twice, and no epoch is trained again."""
    num_writes, _ = count_writes(tmp_path / "whole", slots=2, ahead=2)
    for at in range(num_writes):
        home = new_home(tmp_path / f"{at}")
        reaper = Reaper(at=at, moment=moment, by_exit=False)
        ledger = restarted(home, reaper=reaper)
        groups = [Group(home, name=name, reaper=reaper) for name in ("a", "b")]
        while not ledger.over():
            for group in groups:
                ledger = group.message(ledger)
        try:
            ledger.close()
        except Death:
            restarted(home, reaper=reaper).close()
        check(home, slots=0)
        assert sum(row.placements for row in read_trials(home, STUDY)) == TRIALS
