"""The event log and the files of whole lines below it."""

import errno
import json
import os
import resource
from pathlib import Path

import pytest

from hpo.errors import RequestError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.line_file import LineFile, mend, read_lines
from hpo.messages import Event, Record, Start, record_from_json

START = Start(trial=3, time=1.5, params={"lr": 0.1, "optimizer": "adam", "n": 2, "on": True}, seed=2**62, group="g")
EVENT = Event(trial=3, step=1, time=2.5, metrics={"loss": 0.25}, value=0.25, files=("samples/a.png",))
END = Event(trial=3, step=2, time=3.5, end="died", constraints={"diverged": 0.5}, cause="loss is nan\nat step 2")


def written(home: Home, *records: Record) -> EventLog:
    log = EventLog(home)
    log.append(records)
    log.close()
    return log


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    log = written(Home(tmp_path), START, EVENT, END)
    records, offset = log.read()
    assert records == [START, EVENT, END]
    assert offset == log.path.stat().st_size


def test_a_start_of_an_earlier_release_has_no_worker() -> None:
    line = {key: value for key, value in START.to_json().items() if key not in ("worker", "device")}
    assert record_from_json(line) == START
    assert (START.worker, START.device) == ("", "")


def test_a_reader_goes_on_from_its_offset(tmp_path: Path) -> None:
    log = EventLog(Home(tmp_path))
    log.append([START])
    _, offset = log.read()
    assert log.read(offset) == ([], offset)
    log.append([EVENT])
    log.append([])
    assert log.read(offset) == ([EVENT], log.path.stat().st_size)
    log.close()


def test_reading_makes_nothing(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert EventLog(home).read() == ([], 0)
    assert not home.path.exists()


def test_each_record_is_one_line_with_its_kind(tmp_path: Path) -> None:
    log = written(Home(tmp_path), START, END)
    assert [json.loads(line)["kind"] for line in log.path.read_text().splitlines()] == ["start", "event"]


def test_a_torn_line_is_not_read_and_is_cut_by_the_next_writer(tmp_path: Path) -> None:
    home = Home(tmp_path)
    log = written(home, START, EVENT)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-7])
    records, offset = log.read()
    assert records == [START]
    written(home, END)
    assert log.read(offset) == ([END], log.path.stat().st_size)
    assert log.read()[0] == [START, END]


@pytest.mark.parametrize(
    ("content", "size"),
    [
        (b"", 0),
        (b"{}\n", 3),
        (b"{}\n{}\n{", 6),
        (b"{", 0),
        (b"{}\n{", 3),
        (b"{}\n" + b"x" * 200_000, 3),
        (b"x" * 200_000, 0),
    ],
)
def test_mend_cuts_back_to_the_last_newline(tmp_path: Path, content: bytes, size: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert mend(path) == size
    assert path.read_bytes() == content[:size]


def test_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b'{"a": 1}\n{"b": \n{"c": 3}\n')
    with pytest.raises(RequestError, match=r"Every whole line of .*file must be JSON"):
        read_lines(path)


def test_a_full_disk_leaves_the_file_whole_and_stops_every_later_write(tmp_path: Path) -> None:
    """In a child process, with a file size limit: the write takes a part of the line and refuses the rest."""
    path = tmp_path / "file"
    child = os.fork()
    if child == 0:
        status = 1
        try:
            file = LineFile(path)
            file.append(b"x" * 99 + b"\n", sync=True)
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (150, limits[1]))
            failures = 0
            for _ in range(2):
                try:
                    file.append(b"y" * 99 + b"\n", sync=True)
                except OSError as error:
                    failures += error.errno == errno.EFBIG and str(path) in str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            try:
                file.append(b"z\n", sync=True)  # room again, but what stands in memory is ahead of the file
            except OSError:
                failures += 1
            status = 0 if failures == 3 else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert path.read_bytes() == b"x" * 99 + b"\n"
