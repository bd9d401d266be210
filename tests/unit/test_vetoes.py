"""Vetoes: what stands in the folder, and what becomes of a trial that runs, waits, is asked ahead, or is done."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from crews import finish, serve
from rich.console import Console

from hpo import analysis
from hpo.errors import RequestError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.messages import Event
from hpo.parts import space_of
from hpo.progress import summary_table
from hpo.rows import read_trials
from hpo.study import Study
from hpo.tally import Account, Tally
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


# -- the server --------------------------------------------------------------------------------------------------------


def ended(home: Home) -> dict[int, tuple[str, str]]:
    """Of each trial its end and cause."""
    return {row.number: (row.end, row.cause) for row in read_trials(home, Study.load(home.study))}


def step(trial: int, number: int, *, end: str | None = None) -> dict[str, object]:
    return {"trial": trial, "step": number, "time": float(number), "value": 1.0 / number, "metrics": {}, "end": end}


def test_a_running_trial_is_pruned_at_the_next_message_and_another_takes_its_slot(home: Home) -> None:
    server = serve(study(), home)
    server.open_group("g")
    veto(home, 0, "blurred")
    reply = server.sync("g", 1, [step(0, 1)], {0: 0}, 1)
    assert (reply["free"], [place["trial"] for place in reply["place"]]) == ([0], [1])
    assert server.sync("g", 1, [step(0, 1)], {0: 0}, 1) == reply
    late = server.sync("g", 2, [step(0, 2, end="done")], {0: 1}, 1)
    assert late["free"] == []
    (end,) = [event for event in EventLog(home).read()[0] if isinstance(event, Event) and event.end]
    assert (end.trial, end.step, end.time, end.end, end.cause) == (0, 1, 1.0, "pruned", "veto: blurred")
    assert server.status()["pruned"] == 1
    server.close()
    assert ended(home)[0] == ("pruned", "veto: blurred")


def test_a_message_of_one_group_ends_the_trial_of_another(home: Home) -> None:
    server = serve(study(), home, workers=2)
    first, second = (server.open_group(name)["place"][0]["trial"] for name in "gh")
    veto(home, second)
    assert server.sync("g", 1, [step(first, 1)], {0: first}, 1)["free"] == []
    assert server.status()["pruned"] == 1
    assert server.sync("h", 1, [step(second, 1)], {0: second}, 1)["free"] == [second]
    server.close()
    assert ended(home)[second] == ("pruned", "veto")


def test_an_interrupted_trial_is_not_placed_again(home: Home) -> None:
    server = serve(study(), home)
    server.open_group("g")
    server.sync("g", 1, [step(0, 1)], {0: 0}, 1)
    server.close_group("g", failed=False)
    assert server.status()["waiting"] == 1
    veto(home, 0)
    assert server.open_group("h")["place"][0]["trial"] == 1
    server.close()
    veto(home, 1)
    later = serve(study(), home, run="later")
    assert (later.status()["waiting"], later.status()["pruned"]) == (0, 2)
    assert later.open_group("i")["place"][0]["trial"] == 2
    later.close()


def test_one_asked_ahead_is_never_placed_and_counts_for_nothing(home: Home) -> None:
    request = study()
    ledger = Ledger(request, home, space=space_of(request), direction="minimize", ahead=3)
    while ledger.ask_ahead():
        pass
    veto(home, 1)
    ledger.heed_vetoes()
    assert (ledger.status().queued, ledger.status().pruned, ledger.left()) == (2, 0, 4)
    placed = [ledger.place("g", 0, slot) for slot in range(3)]
    assert [placement.trial for placement in placed if placement] == [0, 2]
    ledger.close()
    again = Ledger(request, home, space=space_of(request), direction="minimize", ahead=0)
    again.close()
    assert sorted(ended(home)) == [0, 2]


def test_the_best_is_not_a_vetoed_one_until_the_veto_is_lifted(home: Home) -> None:
    server = serve(study(), home)
    finish(server)
    ranked = sorted(analysis.summary(home).trials, key=lambda trial: trial.value or 0.0)
    first, second = ranked[0].number, ranked[1].number
    assert server.status()["best_trial"] == first
    server.close()
    veto(home, first, "memorized")
    server = serve(study(), home, run="later")
    assert (server.status()["best_trial"], server.status()["done"]) == (second, 6)
    server.close()
    found = analysis.best(home)
    assert found is not None
    assert found.trial == second
    lines = shown(home)
    assert f"best: trial {second}" in lines
    assert "veto: memorized" in lines
    lift(home, first)
    found = analysis.best(home)
    assert found is not None
    assert found.trial == first
    assert "veto" not in shown(home)


def test_where_all_are_vetoed_there_is_no_best(home: Home) -> None:
    server = serve(study(budget={"trials": 1, "epochs": 9}), home)
    finish(server)
    veto(home, 0)
    server.drain()
    server.sync("h", 1, [], {0: None}, 1)
    assert server.close()["best_trial"] is None
    assert analysis.best(home) is None


def test_vetoed_trials_take_no_place_among_the_kept_weights(home: Home) -> None:
    tally = Tally(direction="minimize", kept=2)
    for number in range(5):
        tally.add(Account(number=number, params={}, seed=0, values={1: float(number)}, end="done"))
    assert tally.best_numbers() == {0, 1}
    tally.vetoed = {1}
    assert tally.best_numbers() == {0, 1, 2}
    tally.vetoed = {0, 1}
    best = tally.best()
    assert best is not None
    assert best.number == 2


def shown(home: Home) -> str:
    """What `hpo show` prints."""
    console = Console(width=200)
    with console.capture() as capture:
        console.print(summary_table(analysis.summary(home)))
    return capture.get()
