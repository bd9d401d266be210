"""hpo.progress on consoles of given widths: what is cut, what is not, and what a log gets."""

from __future__ import annotations

import io
import re
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from searched import Fate, search, study

from hpo import analysis, progress
from hpo.messages import Params
from hpo.progress import Display, packed, printable, summary_table

STATUS: dict[str, Any] = {
    "budget": 64, "done": 5, "pruned": 18, "died": 1, "lost": 0, "running": 2, "waiting": 0, "queued": 1,
    "best_trial": 23, "best_value": 94.2568, "best_params": {}, "floor": 80.125, "epochs": 222, "repeated": 0,
    "epochs_left": None, "seconds_left": None, "seconds": 300.0, "over": False, "stopped": "", "notes": (),
    "draining": False,
}  # fmt: skip
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def drawn(width: int, *statuses: dict[str, Any], clock: Clock) -> list[str]:
    """The lines of the live display after the last status, a minute after the first."""
    with Display(Console(width=width, file=io.StringIO(), force_terminal=True)) as display:
        for status in statuses:
            display.show(status)
            clock.now += 60
        out = io.StringIO()
        Console(width=width, file=out).print(display._drawn(statuses[-1], clock.now - 60))
    return out.getvalue().splitlines()


LATER = STATUS | {"done": 8, "pruned": 21}


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_every_width_shows_everything_and_nothing_is_cut(width: int, clock: Clock) -> None:
    lines = drawn(width, STATUS, LATER, clock=clock)
    assert all(len(line) <= width for line in lines)
    text = "  ".join(line.strip() for line in lines)
    for part in ("30/64 trials", "8 done, 21 pruned, 1 died", "best 94.257 (trial 23, real rows 80.125)",
                 "6 trials/min", "5:40 left"):  # fmt: skip
        assert part in text
    assert "…" not in text
    assert len(lines) == {40: 4, 60: 3, 80: 2, 120: 2, 200: 1}[width]


def test_a_terminal_gets_colors_unless_they_are_not_wanted(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    def output() -> str:
        file = io.StringIO()
        with Display(Console(width=80, file=file, force_terminal=True, color_system="256")) as display:
            display.show(STATUS)
        return file.getvalue()

    monkeypatch.delenv("NO_COLOR", raising=False)
    assert re.search(r"\x1b\[[39]\dm", output())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[39]\dm", output())


def test_a_log_gets_plain_whole_lines_at_a_sane_rate(clock: Clock) -> None:
    file = io.StringIO()
    with Display(Console(width=40, file=file)) as display:
        for second in range(121):
            display.show(STATUS | {"done": 5 + second})
            clock.now += 1
        display.show(STATUS | {"done": 200, "over": True})
    text = file.getvalue()
    lines = text.splitlines()
    assert lines[0] == "starting ..."
    assert not CONTROL.search(text)
    assert "\x1b" not in text
    assert len(lines) == 1 + 1 + 12 + 1  # at once, each ten seconds of two minutes, and the end
    assert lines[1].startswith("24/64 trials  5 done, 18 pruned, 1 died  best 94.257 (trial 23, real rows 80.125)")
    assert len(lines[-1]) > 40


def test_a_long_search_fills_no_log(clock: Clock) -> None:
    file = io.StringIO()
    with Display(Console(file=file)) as display:
        for minute in range(600):
            display.show(STATUS | {"done": 5 + minute})
            clock.now += 60
    assert len(file.getvalue().splitlines()) < 250  # six a minute would be 3,600


def test_a_status_that_says_nothing_new_is_not_repeated(clock: Clock) -> None:
    file = io.StringIO()
    with Display(Console(file=file)) as display:
        for _ in range(10):
            display.show(STATUS)
            clock.now += 30
    assert len(file.getvalue().splitlines()) == 2


def test_what_is_not_known_is_not_shown_and_stopping_is(clock: Clock) -> None:
    first = STATUS | {"done": 0, "pruned": 0, "died": 0, "best_value": None, "best_trial": None, "floor": None}
    (line,) = drawn(160, first, clock=clock)
    assert "best" not in line
    assert "left" not in line
    assert "2 training" in line
    text = " ".join(drawn(60, STATUS | {"draining": True, "floor": None}, clock=clock))
    assert "stopping: checkpoints are being written ..." in text
    assert "real rows" not in text


def test_the_time_left_is_that_to_the_first_bound_of_the_budget(clock: Clock) -> None:
    def told(**bounds: float) -> str:
        return "  ".join(drawn(200, STATUS | bounds, LATER | {"epochs": 222 + 60} | bounds, clock=clock))

    assert "5:40 left" in told()
    assert "1:30 left" in told(seconds_left=90.0)
    assert "5:40 left" in told(seconds_left=900.0)
    assert "0:30 left" in told(seconds_left=90.0, epochs_left=30)


def test_parts_are_packed_into_lines_without_breaking_one() -> None:
    assert packed(["aaa", "bb", "c", "dddddddd"], width=6, first=4) == ["aaa", "bb  c", "dddddddd"]
    assert packed(["aaaaaaaa"], width=4, first=2) == ["aaaaaaaa"]


EVIL = "\x1b[2J\x07gone\r\nRuntimeError: \x1b[31mred\x1b[0m \u202e"


def fate(number: int, params: Params) -> Fate:
    if number == 2:
        return Fate(end="died", epochs=2, cause=EVIL)
    return Fate(values={9: 5.0 + number})


def shown(width: int, home: Any, *, most: int | None = None) -> str:
    out = io.StringIO()
    Console(width=width, file=out).print(summary_table(analysis.summary(home), width=width, most=most))
    return out.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_show_fits_its_width_and_moves_no_cursor(width: int, tmp_path: Path) -> None:
    text = shown(width, search(tmp_path / "home", study(trials=12), fate))
    assert not CONTROL.search(text)
    assert "\u202e" not in text
    assert all(len(line) <= width for line in text.splitlines())
    assert "best: trial 0, score 5" in text
    rows = [line.split() for line in text.splitlines() if re.match(r" *\d+ ", line) and " done " in line]
    assert len(rows) == 11
    assert ("RuntimeError" in text) == (width >= progress.NARROW)
    if width < progress.NARROW:
        assert "  lr: 0.01" in text  # of the best, one a line
    else:
        assert "width=64" not in text  # all trials share it
        assert "lr=" in text


def test_without_causes_there_is_no_column_of_them(tmp_path: Path) -> None:
    text = shown(120, search(tmp_path / "home", study(trials=3), lambda number, params: Fate(values={9: 1.0})))
    assert "cause" not in text


def test_a_terminal_shows_the_best_and_says_how_to_see_the_rest(tmp_path: Path) -> None:
    text = shown(120, search(tmp_path / "home", study(trials=12), fate), most=3)
    numbers = [int(line.split()[0]) for line in text.splitlines() if re.match(r" *\d+ +done", line)]
    assert numbers == [0, 1, 3]
    assert "9 more: hpo show --json" in text


def test_what_is_not_printable_becomes_a_space() -> None:
    assert printable("a\x1bb\nc\u202ed \x1b[1;31mred\x1b[0m") == "a b c d red"
