"""A group of several slots: trials at different epochs, in stacks and by themselves, that come, go, fail and rest."""

from __future__ import annotations

import functools
import itertools
import math
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from crews import crew, finish, serve
from rich.console import Console

from hpo import group, widths
from hpo.analysis import summary
from hpo.event_log import EventLog
from hpo.group import Crew
from hpo.home import Home
from hpo.messages import Event, Start
from hpo.progress import summary_table
from hpo.rows import TrialRow, read_ledger, read_trials
from hpo.server import StudyServer
from hpo.study import Study
from trainables.metrics.elbo import Metric
from trainables.training.company import Company
from trainables.training.stack import Stack
from trainables.training.widths import Fit

SLOTS = 4


def formula(model: str, **changes: Any) -> Study:
    """A study of a training that is a formula: nothing of it is ever stacked."""
    values: dict[str, Any] = {
        "name": "own",
        "model": f"own_trainings.{model}",
        "space": {"x": {"low": 0.0, "high": 1.0, "default": 0.5}},
        "objective": {"metric": "loss", "direction": "minimize"},
        "budget": {"trials": 12, "epochs": 9},
    }
    return Study(**values | changes)


def vae(**changes: Any) -> Study:
    """A study of small VAEs of one structure, without verdicts: what a trial becomes is its own."""
    values: dict[str, Any] = {
        "name": "small",
        "model": "vae",
        "data": "digits",
        "space": {"base": "vae", "latent": 2, "width": 64, "depth": 1, "batch_size": 256},
        "objective": "elbo",
        "budget": {"trials": 8, "epochs": 3},
        "sampler": "random",
        "pruner": "none",
        "fuse": SLOTS,
    }
    return Study(**values | changes)


# Epochs of different length: while one member ends its own, others stand amidst theirs.
UNEVEN = dict(vae().space) | {"batch_size": [64, 96, 160, 256]}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def stacked(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The sizes of the stacks that were trained."""
    sizes: set[int] = set()
    advance = Company.advance

    def watched(company: Company) -> Any:
        sizes.update(size for _, size in company.stacks())
        return advance(company)

    monkeypatch.setattr(Company, "advance", watched)
    return sizes


def search(request: Study, home: Home, *, workers: int = 1, slots: int | None = None) -> list[TrialRow]:
    server = serve(request, home, workers=workers)
    finish(server, make=functools.partial(crew, slots=slots))
    server.close()
    return read_trials(home, request)


def starts(home: Home) -> list[Start]:
    return [record for record in EventLog(home).read()[0] if isinstance(record, Start)]


def events(home: Home) -> list[Event]:
    return [record for record in EventLog(home).read()[0] if isinstance(record, Event)]


def assert_close(found: list[TrialRow], alone: list[TrialRow], *, relative: float) -> None:
    assert [(row.number, row.params, row.seed, row.end, row.step) for row in found] == [
        (row.number, row.params, row.seed, row.end, row.step) for row in alone
    ]
    for one, other in zip(found, alone, strict=True):
        assert one.values == pytest.approx(other.values, rel=relative), one


# -- one study, alone and in company -----------------------------------------------------------------------------------


def test_trials_have_the_same_values_alone_and_in_company(tmp_path: Path, stacked: set[int]) -> None:
    alone = search(vae(fuse=1), Home(tmp_path / "alone"))
    assert stacked == set()
    found = search(vae(), Home(tmp_path / "company"))
    assert max(stacked) == SLOTS
    assert_close(found, alone, relative=1e-3)


def test_several_structures_in_one_group_have_the_same_values_too(tmp_path: Path, stacked: set[int]) -> None:
    space = {"base": "vae", "latent": [2, 4], "width": 64, "depth": 1, "batch_size": [64, 256]}
    alone = search(vae(fuse=1, space=space), Home(tmp_path / "alone"))
    found = search(vae(fuse=8, space=space, budget={"trials": 16, "epochs": 3}), Home(tmp_path / "company"))
    assert stacked >= {2, 3}
    assert len({(row.params["latent"], row.params["batch_size"]) for row in found}) == 4
    assert_close(found[: len(alone)], alone, relative=1e-3)


def test_one_worker_and_one_seed_give_one_study_at_a_given_width(tmp_path: Path) -> None:
    request = vae(sampler="tpe", pruner={"name": "asha", "grace": 1}, budget={"trials": 14, "epochs": 3})
    first, second = (search(request, Home(tmp_path / name)) for name in "ab")
    assert first == second
    assert {"done", "pruned"} <= {row.end for row in first}


# -- slots -----------------------------------------------------------------------------------------------------------


def test_freed_slots_are_filled_at_once_and_totals_are_exact(home: Home) -> None:
    rows = search(formula("curve", budget={"trials": 30, "epochs": 9}), home, slots=SLOTS)
    assert Counter(row.end for row in rows).keys() == {"done", "pruned"}
    assert len(rows) == 30
    records = EventLog(home).read()[0]
    running: set[int] = set()
    ages: set[int] = set()
    step: dict[int, int] = {}
    for record in records:
        if isinstance(record, Start):
            running.add(record.trial)
            assert len(running) <= SLOTS
        else:
            step[record.trial] = record.step
            ages.add(max(step.get(trial, 0) for trial in running) - min(step.get(trial, 0) for trial in running))
            if record.end:
                running.remove(record.trial)
    assert max(ages) >= 3, "members stand at different epochs"
    assert {start.group for start in starts(home)} == {"g0"}
    assert {group: slots for group, (slots, _) in read_ledger(home, formula("curve")).slots.items()} == {"g0": SLOTS}


def test_a_group_takes_no_more_trials_than_it_may(home: Home) -> None:
    request = formula("curve", resources={"trials_per_group": 5})
    search(request, home, slots=SLOTS)
    assert Counter(start.group for start in starts(home)) == {"g0": 5, "g1": 5, "g2": 2}


def test_a_queue_fills_the_slots_of_several_workers(home: Home) -> None:
    rows = search(formula("curve", budget={"trials": 30, "epochs": 9}), home, workers=2, slots=8)
    assert len(rows) == 30


def test_a_restarted_server_fills_the_slots_of_a_repeated_message_as_before(home: Home) -> None:
    request = formula("curve")
    server = serve(request, home)
    first = server.open_group("g")["place"][0]["trial"]
    filled = server.sync("g", 1, [], {0: first, 1: None, 2: None, 3: None}, SLOTS)
    assert [(placement["trial"], placement["slot"]) for placement in filled["place"]] == [(1, 1), (2, 2), (3, 3)]
    ended = Event(trial=2, step=9, time=1.0, value=0.4, end="done").to_json()
    reply = server.sync("g", 2, [ended], {0: 0, 1: 1, 2: 2, 3: 3}, SLOTS)
    server.close()
    again = serve(request, home)
    assert again.sync("g", 2, [ended], {0: 0, 1: 1, 2: 2, 3: 3}, SLOTS) == reply
    assert [(placement["trial"], placement["slot"]) for placement in reply["place"]] == [(4, 2)]
    assert again.status()["running"] == SLOTS
    again.close()


def test_what_cannot_be_stacked_has_one_slot(home: Home) -> None:
    server = serve(formula("curve", fuse=8), home)
    made = crew(server, "g")
    assert made is not None
    made.work(seconds=0.01)
    server.close_group("g", failed=False)
    server.close()
    assert read_ledger(home, formula("curve")).slots == {}


def test_one_trials_fault_is_its_own(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = Metric.measure
    calls = itertools.count()

    def fault(self: Metric, *arguments: Any) -> Any:
        if next(calls) == 2:
            raise ZeroDivisionError("a metric's own bug")
        return measured(self, *arguments)

    monkeypatch.setattr(Metric, "measure", fault)
    rows = search(vae(), home)
    assert Counter(row.end for row in rows) == {"done": 8, "lost": 1}
    assert "ZeroDivisionError: a metric's own bug" in next(row.cause for row in rows if row.end == "lost")
    assert {start.group for start in starts(home)} == {"g0"}


def test_a_trial_that_dies_of_nan_leaves_its_company_as_it_was(tmp_path: Path, stacked: set[int]) -> None:
    space = dict(vae().space) | {"optimizer": "sgd", "momentum": 0.0, "lr": [0.001, 1e25, 1e30]}
    alone = search(vae(fuse=1, space=space), Home(tmp_path / "alone"))
    found = search(vae(space=space), Home(tmp_path / "company"))
    assert max(stacked) == SLOTS
    assert {row.end for row in alone} == {"done", "died"}
    assert_close(found, alone, relative=1e-3)


# -- stacks that fail --------------------------------------------------------------------------------------------------


def test_a_stack_that_does_not_fit_is_halved_until_it_does(home: Home, stacked: set[int]) -> None:
    rows = search(vae(model="tight_models.Model", fuse=8), home)
    assert {row.end for row in rows} == {"done"}
    assert stacked == {8, 4, 2}
    assert {start.group for start in starts(home)} == {"g0"}, "the group goes on"
    assert [row.tries for row in rows] == [0] * 8


def test_a_stack_for_which_there_is_no_room_is_halved_too(
    home: Home, stacked: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    added = Stack.add

    def full(self: Stack, training: Any) -> None:
        if len(self) == 3:
            raise torch.OutOfMemoryError
        added(self, training)

    monkeypatch.setattr(Stack, "add", full)
    server = serve(vae(), home)
    finish(server)
    assert server.status()["done"] == 8, "nobody dies of it"
    server.close()
    assert max(stacked) == 2


def test_a_stack_that_raises_is_halved_until_the_guilty_trial_is_alone(home: Home) -> None:
    space = dict(vae().space) | {"beta": [0.5, 1.0, 1.5, 4.0], "kl_warmup": 0.0}
    rows = search(vae(model="tight_models.Bug", space=space, budget={"trials": 12, "epochs": 3}), home)
    lost = [row for row in rows if row.end == "lost"]
    assert lost
    assert {row.params["beta"] for row in lost} == {4.0}
    assert {row.end for row in rows if row.params["beta"] != 4.0} == {"done"}
    assert all("beta is too much for this model" in row.cause for row in lost)
    assert Counter(start.trial for start in starts(home)).most_common(1)[0][1] == 1, "no one was placed again"


def test_members_of_a_failed_stack_go_on_from_their_checkpoints(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    request = vae(budget={"trials": 4, "epochs": 6}, resources={"checkpoint_seconds": 1e-3})
    advance = Stack.advance
    calls = itertools.count()

    def fails_once(self: Stack) -> Any:
        found = advance(self)
        if next(calls) == 3:
            raise RuntimeError("once")
        return found

    monkeypatch.setattr(Stack, "advance", fails_once)
    rows = search(request, home)
    assert [(row.end, row.step, row.repeated) for row in rows] == [("done", 6, 0)] * 4
    steps = Counter((event.trial, event.step) for event in events(home))
    assert set(steps.values()) == {1}


# -- rest and hand over ------------------------------------------------------------------------------------------------


def interrupted(server: StudyServer, home: Home, *, epochs: int) -> Crew:
    """A crew whose trials have trained so many epochs together."""
    made = crew(server, "g")
    assert made is not None
    while len(events(home)) < epochs:
        made.work(seconds=0.01)
    return made


def test_draining_brings_every_member_to_the_end_of_its_epoch_and_repeats_nothing(home: Home) -> None:
    request = vae(space=UNEVEN, budget={"trials": 8, "epochs": 60}, resources={"checkpoint_seconds": 3600.0})
    server = serve(request, home)
    made = interrupted(server, home, epochs=30)
    server.drain()
    made.work(seconds=60)
    assert made.over
    server.close_group("g", failed=False)
    server.close()
    rows = read_trials(home, request)
    steps = {row.number: max(e.step for e in events(home) if e.trial == row.number) for row in rows}
    assert len(set(steps.values())) > 1, "members stood at different epochs"
    later = serve(request, home, run="later")
    assert later.status()["waiting"] == SLOTS
    again = crew(later, "h")
    assert again is not None
    again.work(seconds=1)
    assert later.status()["repeated"] == 0
    seen = {(event.trial, event.step) for event in events(home)}
    assert all((trial, step + 1) in seen for trial, step in steps.items()), "each goes on where it was"
    later.close_group("h", failed=False)
    later.close()


def test_a_group_that_is_old_hands_its_trials_over(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "LONG_LIFE_SECONDS", 0.5)
    request = vae(space=UNEVEN, budget={"trials": 10, "epochs": 10})
    rows = search(request, home)
    assert [(row.end, row.step, row.tries, row.repeated) for row in rows] == [("done", 10, 0, 0)] * 10
    groups = Counter(start.group for start in starts(home))
    assert len(groups) > 2
    assert max(row.placements for row in rows) > 1


@pytest.mark.parametrize("checkpoint_seconds", [1e-3, 3600.0])
def test_a_worker_that_dies_costs_its_trials_what_was_not_saved(
    home: Home, monkeypatch: pytest.MonkeyPatch, checkpoint_seconds: float
) -> None:
    monkeypatch.setattr(group, "NEWS_SECONDS", 0.1)
    request = vae(
        space=UNEVEN, budget={"trials": 6, "epochs": 20}, resources={"checkpoint_seconds": checkpoint_seconds}
    )
    server = serve(request, home)
    interrupted(server, home, epochs=12)
    heard = len(events(home))
    assert server.status()["running"] == SLOTS
    server.close_group("g", failed=True)  # nothing of it is heard again
    finish(server, name="h")
    status = server.close()
    assert (status["done"], status["lost"]) == (6, 0)
    assert Counter(start.trial for start in starts(home)) == {**dict.fromkeys(range(4), 2), 4: 1, 5: 1}
    if checkpoint_seconds < 1.0:
        assert status["repeated"] <= SLOTS, "what had been saved is not trained again"
    else:
        assert status["repeated"] == heard


# -- widths ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The structures that were measured, each found to be fastest at width 2."""
    found: list[str] = []

    def fit(make: Any, *, limit: int, seconds: float, kinds: int) -> Fit:
        structure = make(0).structure
        assert make(1).structure == structure
        found.append(structure)
        return Fit(
            structure=structure, device="cpu", seconds={1: 2e-3, 2: 1e-3, 4: 1e-3}, memory={}, width=2, spent=0.1
        )

    monkeypatch.setattr("trainables.training.widths.fit", fit)
    return found


def test_auto_measures_once_records_it_and_a_resume_uses_the_record(home: Home, fitted: list[str]) -> None:
    request = vae(fuse="auto", budget={"trials": 20, "epochs": 2}, resources={"trials_per_group": 8})
    server = serve(request, home)
    made = crew(server, "g")
    assert made is not None
    made.work(seconds=0.01)
    server.close_group("g", failed=False)
    server.close()
    later = serve(request, home, run="later")
    finish(later, name="h")
    assert later.status()["done"] == 20
    later.close()
    assert len(fitted) == 1
    ledger = read_ledger(home, request)
    assert [fit["width"] for fit in ledger.fits] == [2]
    assert {slots for slots, _ in ledger.slots.values()} == {2}


def test_auto_keeps_an_eighth_of_the_budget_in_flight_at_most(home: Home, fitted: list[str]) -> None:
    server = serve(vae(fuse="auto", budget={"trials": 15, "epochs": 2}), home, workers=2)
    assert server.brief()["most_slots"] == 1
    finish(server)
    server.close()
    assert fitted == [], "one slot needs no measuring"
    larger = Home(home.path.with_name("larger"))
    assert serve(vae(fuse="auto", budget={"trials": 64, "epochs": 2}), larger, workers=2).brief()["most_slots"] == 4


def test_another_structure_is_measured_when_two_of_it_meet_and_there_is_time(
    home: Home, fitted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    request = vae(
        fuse="auto",
        space=dict(vae().space) | {"latent": [2, 4], "width": [64, 128]},
        budget={"trials": 30, "epochs": 2},
    )
    monkeypatch.setattr(widths, "FIT_SHARE", math.inf)
    # Four structures seldom meet in two slots, for which `auto` would take one.
    monkeypatch.setattr(widths.Widths, "_meet_often", lambda self, slots, *, fewest: True)
    rows = search(request, home)
    assert {row.end for row in rows} == {"done"}
    assert len(fitted) == len(set(fitted)) > 1
    assert [fit["structure"] for fit in read_ledger(home, request).fits] == fitted


def test_what_fails_to_be_measured_trains_alone(home: Home, stacked: set[int]) -> None:
    request = vae(model="tight_models.Bug", fuse="auto", space=dict(vae().space) | {"beta": 3.0})
    rows = search(request, home)
    assert {row.end for row in rows} == {"lost"}
    assert stacked == set()
    assert read_ledger(home, request).fits == []


def test_a_real_measurement_is_one_that_show_can_print(home: Home) -> None:
    request = vae(fuse="auto", budget={"trials": 16, "epochs": 2})
    search(request, home)
    found = summary(home)
    (fit,) = found.fits
    assert {"1"} < fit["seconds"].keys()
    assert fit["width"] == 1 or fit["seconds"][str(fit["width"])] < fit["seconds"]["1"]
    assert found.width in (1, fit["width"])
    console = Console(width=400)
    with console.capture() as captured:
        console.print(summary_table(found))
    assert f"width {fit['width']} for {fit['structure']} on cpu" in captured.get()
