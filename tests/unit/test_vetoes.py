"""Vetoes: what stands in the folder, and what becomes of a trial that runs, waits, is asked ahead, or is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpo.errors import RequestError
from hpo.home import Home
from hpo.study import Study
from hpo.vetoes import REASON_LENGTH, SETTLED_SECONDS, Vetoes, cause_of, lift, veto, vetoed


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = Home(tmp_path / "home")
    found.path.mkdir()
    study().save(found.study)
    return found


def study(**changes: object) -> Study:
    values = {
        "name": "own",
        "model": "own_trainings.curve",
        "space": {"x": {"low": 0.0, "high": 1.0, "default": 0.5}},
        "objective": {"metric": "loss", "direction": "minimize"},
        "budget": {"trials": 6, "epochs": 9},
        "pruner": "none",
    }
    return Study.model_validate(values | changes)


# -- the folder --------------------------------------------------------------------------------------------------------


def test_a_veto_is_a_file_that_can_be_lifted(home: Home) -> None:
    assert vetoed(home) == {}
    lift(home, 3)
    veto(home, 3)
    veto(home, 1_234_567, "blurred")
    veto(home, 12, "first")
    veto(home, 12, "second")
    assert vetoed(home) == {3: "", 12: "second", 1_234_567: "blurred"}
    assert [file.name for file in sorted(home.vetoes.iterdir())] == [
        "trial-000003.txt", "trial-000012.txt", "trial-1234567.txt",
    ]  # fmt: skip
    lift(home, 12)
    lift(home, 12)
    assert vetoed(home) == {3: "", 1_234_567: "blurred"}
    assert (cause_of(""), cause_of("blurred")) == ("veto", "veto: blurred")


@pytest.mark.parametrize("trial", [-1, True, "../../evil", "3", 1.0])
def test_a_veto_stays_in_its_folder(home: Home, trial: int) -> None:
    with pytest.raises(RequestError, match="a trial's number, 0 or more"):
        veto(home, trial)
    with pytest.raises(RequestError, match="a trial's number, 0 or more"):
        lift(home, trial)
    assert not home.vetoes.exists()


def test_a_veto_outside_a_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has none"):
        veto(Home(tmp_path / "nowhere"), 0)
    assert list(tmp_path.iterdir()) == []


def test_what_else_lies_in_the_folder_is_no_veto(home: Home) -> None:
    veto(home, 1)
    for name in ("trial-2.txt", "trial-000003", "xtrial-000004.txt", ".trial-000005.txt.77", "trial-000006.txt~"):
        (home.vetoes / name).write_text("", encoding="utf-8")
    (home.vetoes / "trial-000007.txt").mkdir()
    os.mkfifo(home.vetoes / "trial-000008.txt")
    (home.vetoes / "trial-000009.txt").symlink_to(home.vetoes / "gone")
    assert vetoed(home) == {1: ""}


def test_a_reason_is_one_line_of_some_length_whatever_was_written(home: Home) -> None:
    veto(home, 1, "two\nlines\t\x1b[31m and \x00 control\u2028signs ")
    veto(home, 2, "x" * 3 * REASON_LENGTH)
    (home.vetoes / "trial-000003.txt").write_bytes(b"\xff\xfe bytes" + b"y" * 10**6)
    found = vetoed(home)
    assert found[1] == "two lines [31m and control signs"
    assert found[2] == "x" * REASON_LENGTH
    assert found[3].startswith("\ufffd\ufffd bytes")
    assert len(found[3]) == REASON_LENGTH


def test_who_asks_often_reads_the_folder_again_only_where_it_changed(home: Home) -> None:
    seen = Vetoes(home)
    assert seen.now() == {}
    veto(home, 1)
    assert seen.now() == {1: ""}
    before = os.stat(home.vetoes).st_mtime_ns
    veto(home, 2)
    os.utime(home.vetoes, ns=(before, before))  # in one tick of the file system's clock: no other time to see
    assert seen.now() == {1: "", 2: ""}
    old = before - int(2 * SETTLED_SECONDS * 1e9)
    os.utime(home.vetoes, ns=(old, old))
    first = seen.now()
    assert first == {1: "", 2: ""}
    assert seen.now() is first, "not read again"
    lift(home, 1)
    assert seen.now() == {2: ""}
