"""Server and crew together, in one process and without Ray: the life of a study from first placement to last end."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from crews import crew, finish, serve

from hpo import analysis
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Start
from hpo.rows import TrialRow, read_trials
from hpo.server import StudyServer
from hpo.study import Study


def study(model: str, **changes: Any) -> Study:
    values: dict[str, Any] = {
        "name": "own",
        "model": f"own_trainings.{model}",
        "space": {"x": {"low": 0.0, "high": 1.0, "default": 0.5}},
        "objective": {"metric": "loss", "direction": "minimize"},
        "budget": {"trials": 12, "epochs": 9},
    }
    return Study(**values | changes)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def rows(request: Study, home: Home) -> list[TrialRow]:
    return read_trials(home, request)


def ends(status: Mapping[str, Any]) -> dict[str, int]:
    return {end: status[end] for end in ("done", "pruned", "died", "lost") if status[end]}


def test_one_group_takes_trial_after_trial_until_the_budget_is_used(home: Home) -> None:
    request = study("curve")
    server = serve(request, home)
    assert finish(server) == 1
    status = server.close()
    assert status["over"]
    assert status["done"] + status["pruned"] == 12
    assert 1 <= status["done"] < 12
    found = rows(request, home)
    assert found[0].params == {"x": 0.5}
    assert [row.number for row in found] == list(range(12))
    assert {row.step for row in found if row.end == "done"} == {9}
    assert {row.step for row in found if row.end == "pruned"} == {3}
    best = min((row for row in found if row.end == "done"), key=lambda row: row.value or 0.0)
    assert status["best_trial"] == best.number
    assert best.value == pytest.approx(best.params["x"] ** 2 + 1 / 9)


@pytest.mark.parametrize(("limit", "groups"), [(1, 12), (5, 3)])
def test_a_group_takes_as_many_trials_as_it_may(home: Home, limit: int, groups: int) -> None:
    server = serve(study("curve", resources={"trials_per_group": limit}), home)
    assert finish(server) == groups
    assert server.close()["done"] + server.status()["pruned"] == 12


def test_a_repeated_message_is_answered_alike_and_changes_nothing(home: Home) -> None:
    server = serve(study("curve"), home)
    first = server.open_group("g")
    assert server.open_group("g") == first
    trial = first["place"][0]["trial"]
    event = {"trial": trial, "step": 3, "time": 1.0, "value": 0.4, "metrics": {"loss": 0.4}, "end": "done"}
    reply = server.sync("g", 1, [event], {0: trial}, True)
    status = server.status()
    assert server.sync("g", 1, [event], {0: trial}, True) == reply
    assert server.status() | {"seconds": 0} == status | {"seconds": 0}
    assert reply["free"] == [trial]
    assert reply["place"][0]["trial"] == trial + 1
    server.close()


def test_a_restarted_server_knows_its_groups_and_gives_a_repeated_message_the_same_trial(home: Home) -> None:
    request = study("curve")
    server = serve(request, home)
    trial = server.open_group("g")["place"][0]["trial"]
    done = {"trial": trial, "step": 9, "time": 1.0, "value": 0.4, "metrics": {"loss": 0.4}, "end": "done"}
    reply = server.sync("g", 1, [done], {0: trial}, True)
    server.close()
    again = serve(request, home)  # the same driver's life: its groups are alive
    assert again.sync("g", 1, [done], {0: trial}, True) == reply
    assert again.status()["running"] == 1
    assert again.status()["waiting"] == 0
    again.close()


def test_an_earlier_drivers_trials_wait_and_are_placed_first(home: Home) -> None:
    request = study("curve")
    server = serve(request, home)
    placement = server.open_group("g")["place"][0]
    server.close()
    later = serve(request, home, run="later")
    assert later.status()["waiting"] == 1
    assert later.open_group("h")["place"][0] == placement
    later.close()


def test_a_trial_whose_worker_went_away_is_placed_again_until_its_tries_are_used(home: Home) -> None:
    request = study("curve", resources={"retries": 1})
    server = serve(request, home)
    first = server.open_group("g0")["place"][0]
    server.close_group("g0", failed=True)
    again = server.open_group("g1")["place"][0]
    assert (again["trial"], again["params"], again["seed"]) == (first["trial"], first["params"], first["seed"])
    server.close_group("g1", failed=True)
    assert server.open_group("g2")["place"][0]["trial"] == first["trial"] + 1
    assert ends(server.status()) == {"lost": 1}
    server.close_group("g2", failed=False)
    finish(server, name="h")
    status = server.close()
    assert status["done"] + status["pruned"] == 12  # a fresh trial took its place
    lost = rows(request, home)[first["trial"]]
    assert (lost.end, lost.placements) == ("lost", 2)
    assert "the worker process went away" in lost.cause


def test_a_group_that_is_gone_is_given_nothing_more(home: Home) -> None:
    server = serve(study("curve"), home)
    server.open_group("g")
    server.close_group("g", failed=True)
    late = server.sync("g", 1, [], {0: None}, True)
    assert late["place"] == []
    assert (server.status()["running"], server.status()["waiting"]) == (0, 1)
    server.close()
    assert server.close() == server.status(), "a repeated call is answered alike"


def test_what_cannot_be_written_ends_the_study_in_good_order(home: Home) -> None:
    request = study("slow_curve", budget={"trials": 2, "epochs": 100}, resources={"checkpoint_seconds": 0.1})
    server = serve(request, home)
    home.checkpoints.touch()  # a file where the folder should be: no checkpoint can be written
    finish(server)
    status = server.close()
    assert "The home must be writable" in status["stopped"]
    assert ends(status) == {}
    home.checkpoints.unlink()
    later = serve(request, home, run="later")
    assert later.status()["waiting"] == 1
    assert later.status()["stopped"] == ""
    later.close()


def test_draining_ends_groups_with_checkpoints_and_the_next_run_goes_on(home: Home) -> None:
    request = study("slow_curve", budget={"trials": 1, "epochs": 120}, pruner="none")
    server = serve(request, home)
    group = crew(server, "g")
    assert group is not None
    group.work(seconds=0.01)  # one exchange, after about two seconds of training
    before = rows(request, home)[0]
    server.drain()
    group.work(seconds=60)
    assert group.over
    assert server.over()
    server.close_group("g", failed=False)
    server.close()
    assert before.step > 0
    later = serve(request, home, run="later")
    placement = later.open_group("h")["place"][0]
    assert placement["trial"] == 0
    assert placement["checkpoint"] == str(home.checkpoint(0))
    later.close_group("h", failed=False)
    finish(later)
    status = later.close()
    assert (status["done"], status["repeated"], status["epochs"]) == (1, 0, 120)


def test_a_training_that_returns_early_is_done_with_its_last_value(home: Home) -> None:
    request = study("returns_early", pruner="none", budget={"trials": 3, "epochs": 9})
    server = serve(request, home)
    finish(server)
    assert ends(server.close()) == {"done": 3}
    for row in rows(request, home):
        assert (row.step, row.value) == (2, row.params["x"] + 1)


def test_what_is_not_finite_died_with_its_graded_constraint(home: Home) -> None:
    import optuna

    request = study("diverges", pruner="none")
    server = serve(request, home)
    finish(server)
    assert ends(server.close()) == {"done": 1, "died": 11}
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(home.ledger)))
    for trial in optuna.load_study(study_name="own", storage=storage).trials:
        broken = trial.user_attrs["end"] == "died"
        assert list(trial.constraints) == ["diverged", "collapsed", "memory"]
        assert trial.constraints["diverged"] == (pytest.approx(8 / 9) if broken else -1.0)
    assert "loss is nan" in rows(request, home)[1].cause


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        ("raises", "RuntimeError: the user's own bug"),
        ("reads_nothing", "parameter 'x'.*read by nothing"),
        ("misses_the_objective", "loss"),
    ],
)
def test_a_bug_loses_the_trial_with_its_cause_and_ten_in_a_row_stop_the_study(
    home: Home, model: str, cause: str
) -> None:
    request = study(model, pruner="none")
    server = serve(request, home)
    finish(server)
    status = server.close()
    assert ends(status) == {"lost": 10}
    assert not status["over"]
    assert re.search(cause, status["stopped"]), status["stopped"]
    assert re.search(cause, rows(request, home)[0].cause)


def test_checkpoints_are_written_as_often_as_asked(home: Home) -> None:
    request = study(
        "slow_curve", budget={"trials": 1, "epochs": 120}, resources={"checkpoint_seconds": 2.5}, pruner="none"
    )
    server = serve(request, home)
    group = crew(server, "g")
    assert group is not None
    written = []
    for _ in range(3):  # news after 2 s; a checkpoint after 2.5 s; news after 4.5 s
        group.work(seconds=0.01)
        written.append(home.checkpoint(0).is_dir())
    assert written == [False, True, True]
    server.close_group("g", failed=True)
    placement = server.open_group("h")["place"][0]
    assert placement["checkpoint"] == str(home.checkpoint(0))
    server.close_group("h", failed=False)
    finish(server)
    status = server.close()
    assert status["done"] == 1
    assert 0 < status["repeated"] <= 2.5 / 0.05 + 1  # at most one interval


def test_the_queue_is_asked_ahead_and_left_over_trials_are_hidden(home: Home) -> None:
    request = study("curve")
    server = serve(request, home, workers=2)
    finish(server)
    status = server.close()
    assert status["done"] + status["pruned"] == 12
    assert len(rows(request, home)) == 12


def test_one_worker_and_one_seed_give_one_study_however_often_the_server_restarts(tmp_path: Path) -> None:
    request = study("curve", resources={"trials_per_group": 1})
    found = []
    for name, restarts in (("a", False), ("b", True)):
        home = Home(tmp_path / name)
        home.path.mkdir()
        server = serve(request, home)
        for number in range(12):
            group = crew(server, f"g{number}")
            assert group is not None
            while not group.over:
                group.work(seconds=60)
            server.close_group(f"g{number}", failed=False)
            if restarts:
                server.close()
                server = serve(request, home, run=f"run{number}")
        server.close()
        found.append([(row.number, row.params, row.end, row.value, row.seed) for row in rows(request, home)])
    assert found[0] == found[1]
    assert len(found[0]) == 12


def test_the_starts_of_a_group_say_who_has_it_once_a_process_does(home: Home) -> None:
    request = study("curve")
    server = serve(request, home)
    server.open_group("g")
    for _ in range(2):
        server.meet("g", worker="host:1", device="cpu")
    done = {"trial": 0, "step": 9, "time": time.time(), "value": 0.4, "metrics": {"loss": 0.4}, "end": "done"}
    server.sync("g", 1, [done], {0: 0}, 1)
    again = serve_again(server, request, home)
    again.sync("g", 2, [done | {"trial": 1}], {0: 1}, 1)
    again.close_group("g", failed=True)
    again.open_group("h")
    again.meet("h", worker="other:2", device="NVIDIA H200")
    again.close()
    starts = [record for record in EventLog(home).read()[0] if isinstance(record, Start)]
    assert [(start.trial, start.group, start.worker, start.device) for start in starts] == [
        (0, "g", "", ""),
        (0, "g", "host:1", "cpu"),
        (1, "g", "host:1", "cpu"),
        (2, "g", "host:1", "cpu"),
        (2, "h", "", ""),
        (2, "h", "other:2", "NVIDIA H200"),
    ]
    assert starts[0].time == starts[1].time
    frame = analysis.trials(home)
    assert frame["worker"].tolist() == ["host:1", "host:1", "other:2"]
    assert frame["device"].tolist() == ["cpu", "cpu", "NVIDIA H200"]
    assert frame["attempts"].tolist() == [1, 1, 2]
    assert {number: len(spans) for number, spans in analysis.read(home).spans.items()} == {0: 1, 1: 1, 2: 2}


def test_a_server_that_died_before_a_process_had_its_group_tells_the_start_again(home: Home) -> None:
    request = study("curve")
    server = serve(request, home)
    server.open_group("g")
    again = serve_again(server, request, home)
    again.meet("g", worker="host:1", device="cpu")
    again.close()
    starts = [record for record in EventLog(home).read()[0] if isinstance(record, Start)]
    assert [start.worker for start in starts] == ["", "host:1"]
    assert len({start.time for start in starts}) == 1


def serve_again(server: StudyServer, request: Study, home: Home) -> StudyServer:
    """The server of the same driver's life, after a crash."""
    server.close()
    return serve(request, home)
