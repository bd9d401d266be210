"""The ledger: asking, placing, recording, deciding, telling, and coming back, without Ray and without a clock."""

import dataclasses
import json
import math
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from ledgers import SPACE, loss, opened, report, search, toy_study, train
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from hpo.errors import RequestError, SearchFailed
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.line_file import LineFile
from hpo.messages import Event, Placement, Start
from hpo.rows import read_trials
from hpo.samplers import trial_seed
from hpo.study import Budget, Study
from search_spaces import Choice, Float, Space
from trainables.training.checkpoint import FILE
from trainables.training.loop import CONSTRAINTS


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def optuna_study(home: Home) -> optuna.Study:
    """The study as anyone with Optuna alone opens it."""
    storage = JournalStorage(JournalFileBackend(str(home.ledger)))
    return optuna.load_study(study_name="toy", storage=storage)


def placed(ledger: Ledger, *, seq: int = 1, group: str = "group") -> Placement:
    placement = ledger.place(group, seq, 0)
    assert placement is not None
    return placement


def half_drawn(home: Home) -> Home:
    """A copy of a home whose last ask was cut off, but not as the last thing that was written."""
    copy = Home(shutil.copytree(home.path, home.path.with_name("half")))
    create = next(
        line for line in copy.ledger.read_text().splitlines() if '"op_code":4' in line and '"state"' not in line
    )
    end = next(line for line in copy.ledger.read_text().splitlines() if '"trial_id":0' in line)
    copy.ledger.write_text(copy.ledger.read_text() + f"{create}\n{end}\n")
    return copy


def event(placement: Placement, step: int, **values: Any) -> Event:
    return Event(**{"trial": placement.trial, "step": step, "time": float(step)} | values)


# -- asking -----------------------------------------------------------------------------------------------------------


def test_the_first_trial_is_the_default(home: Home) -> None:
    ledger = opened(toy_study(), home)
    assert placed(ledger).params == SPACE.default()
    ledger.close()


def test_params_are_complete_and_of_the_space(home: Home) -> None:
    ledger = opened(toy_study(trials=30, pruner="none"), home)
    placements = search(ledger)
    ledger.close()
    for placement in placements:
        SPACE.check(placement.params)
    assert {"momentum" in placement.params for placement in placements} == {True, False}
    assert all(placement.params["width"] == 64 for placement in placements)


def test_each_trial_has_a_seed_of_its_own_that_stays(home: Home) -> None:
    ledger = opened(toy_study(seed=5), home)
    seeds = [placement.seed for placement in search(ledger)]
    ledger.close()
    assert seeds == [trial_seed(5, number) for number in range(6)]
    assert len(set(seeds)) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_queue_is_filled_ahead_and_never_beyond_the_budget(home: Home) -> None:
    ledger = opened(toy_study(trials=4), home, ahead=3)
    assert ledger.place("group", 1, 0) is None  # nothing is asked on the way when there is a queue
    assert [ledger.ask_ahead() for _ in range(5)] == [True, True, True, False, False]
    assert (ledger.status().queued, ledger.left()) == (3, 1)
    placed(ledger)
    assert [ledger.ask_ahead() for _ in range(3)] == [True, False, False]
    placed(ledger, seq=2)
    assert not ledger.ask_ahead()  # there is room in the queue, and none in the budget
    assert (ledger.status().queued, ledger.left()) == (2, 0)
    assert not ledger.over()
    ledger.close()


def test_events_do_not_wait_for_a_slow_sampler(home: Home) -> None:
    ledger = opened(toy_study(sampler="ledger_samplers.SlowSampler"), home, ahead=2)
    assert ledger.ask_ahead()  # the default is not sampled
    first = placed(ledger)
    asking = threading.Thread(target=ledger.ask_ahead)
    asking.start()
    began = time.monotonic()
    ledger.record([report(first, 1, epochs=4)])
    ledger.status()
    assert ledger.place("other", 1, 0) is None
    spent = time.monotonic() - began
    assert asking.is_alive()
    asking.join()
    assert spent < 0.5
    assert ledger.status().queued == 1
    ledger.close()


def test_a_sampler_that_fails_stops_the_study_with_its_error(home: Home) -> None:
    ledger = opened(toy_study(sampler="ledger_samplers.BrokenSampler"), home)
    assert len(search(ledger)) == 1
    assert ledger.status().stopped == "The sampler ledger_samplers.BrokenSampler failed: ZeroDivisionError: no luck"
    assert ledger.left() == 0
    assert not ledger.over()
    ledger.close()
    with pytest.raises(SearchFailed, match=r"The sampler ledger_samplers\.BrokenSampler failed"):
        opened(toy_study(sampler="ledger_samplers.BrokenSampler"), half_drawn(home))
    resumed = opened(toy_study(), home)
    assert [placement.trial for placement in search(resumed)] == [1, 2, 3, 4, 5]
    resumed.close()


# -- placing ----------------------------------------------------------------------------------------------------------


def test_a_placement_is_in_both_files_before_it_is_given(home: Home) -> None:
    ledger = opened(toy_study(), home)
    placement = placed(ledger, seq=7)
    (start,) = EventLog(home).read()[0]
    assert start == Start(trial=0, time=start.time, params=placement.params, seed=placement.seed, group="group")
    row = read_trials(home, toy_study())[0]
    assert (row.end, row.placements, row.params, row.seed) == ("running", 1, placement.params, placement.seed)
    assert ledger.in_group("group") == {0}
    assert ledger.in_group("other") == set()
    ledger.close()


def test_a_repeated_call_finds_what_was_placed(home: Home) -> None:
    study = toy_study()
    ledger = opened(study, home, run="a")
    placement = placed(ledger, seq=7)
    ledger.close()
    restarted = opened(study, home, run="a")
    assert restarted.placed("group", 7) == [placement]
    assert restarted.placed("group", 8) == []
    assert restarted.placed("other", 7) == []
    assert restarted.in_group("group") == {0}
    assert restarted.status().waiting == 0
    restarted.close()


def test_another_run_places_interrupted_trials_again_first(home: Home) -> None:
    study = toy_study()
    ledger = opened(study, home, run="a")
    first, second = placed(ledger, seq=1), placed(ledger, seq=2)
    ledger.record([report(second, 1, epochs=4)])
    ledger.close()
    resumed = opened(study, home, run="b")
    assert (resumed.status().waiting, resumed.status().running) == (2, 0)
    assert resumed.placed("group", 1) == []
    again = [placed(resumed, seq=seq) for seq in (1, 2, 3)]
    assert [placement.trial for placement in again] == [0, 1, 2]
    assert again[0] == first
    assert again[1] == second
    resumed.close()


def test_a_placement_names_a_whole_checkpoint(home: Home) -> None:
    study = toy_study()
    ledger = opened(study, home)
    assert placed(ledger).checkpoint is None
    folder = home.checkpoint(0)
    folder.mkdir(parents=True)
    (folder / f".{FILE}.17").write_bytes(b"half")
    (folder / "weights.safetensors").write_bytes(b"whole, but of a trial whose end was not recorded")
    ledger.release("group", failed=False, cause="")
    assert placed(ledger).checkpoint is None
    (folder / FILE).write_bytes(b"whole")
    ledger.release("group", failed=False, cause="")
    assert placed(ledger).checkpoint == str(folder)
    ledger.close()


def test_a_trial_whose_group_keeps_failing_is_lost_and_replaced(home: Home) -> None:
    study = toy_study(trials=2, resources={"retries": 2})
    ledger = opened(study, home)
    for count in range(3):
        assert placed(ledger, group=f"g{count}").trial == 0
        ledger.release(f"g{count}", failed=True, cause="killed")
        ledger.release(f"g{count}", failed=True, cause="killed")  # a repeated call is no second try
    assert ledger.status().lost == 1
    assert ledger.left() == 2
    placements = search(ledger)
    assert [placement.trial for placement in placements] == [1, 2]
    assert ledger.over()
    ledger.close()
    row = read_trials(home, study)[0]
    assert (row.end, row.cause, row.tries, row.placements) == ("lost", "killed; 3 tries", 3, 3)
    assert optuna_study(home).trials[0].state == TrialState.FAIL


def test_a_group_that_ends_in_peace_costs_no_try(home: Home) -> None:
    ledger = opened(toy_study(trials=1, resources={"retries": 0}), home)
    for _ in range(5):
        placed(ledger)
        ledger.release("group", failed=False, cause="")
    assert ledger.status().waiting == 1
    ledger.close()


# -- recording --------------------------------------------------------------------------------------------------------


def test_events_reach_the_log_and_optuna(home: Home) -> None:
    study = toy_study(trials=1)
    ledger = opened(study, home)
    placement = placed(ledger)
    events = [report(placement, step, epochs=4) for step in (1, 2, 3)]
    assert ledger.record(events[:2]) == []
    assert ledger.record(events[2:]) == []
    assert EventLog(home).read()[0][1:] == events
    assert ledger.record([report(placement, 4, epochs=4)]) == [0]
    assert ledger.over()
    ledger.close()
    trial = optuna_study(home).best_trial
    assert trial.intermediate_values == {step: loss(placement.params, step) for step in (1, 2, 3, 4)}
    assert trial.value == loss(placement.params, 4)


def test_a_repeated_batch_changes_nothing(home: Home) -> None:
    ledger = opened(toy_study(trials=1), home)
    placement = placed(ledger)
    batch = [report(placement, step, epochs=4) for step in (1, 2)]
    ledger.record(batch)
    log, status = EventLog(home).read(), ledger.status()
    ledger.record(batch)
    assert EventLog(home).read() == log
    assert dataclasses.replace(ledger.status(), seconds=status.seconds) == status
    last = [report(placement, step, epochs=4) for step in (3, 4)]
    assert ledger.record(last) == [0]
    log = EventLog(home).read()
    assert ledger.record(last) == [0]  # told before: the slot is free
    assert EventLog(home).read() == log
    ledger.close()


def test_epochs_trained_again_are_counted_once_and_not_logged(home: Home) -> None:
    study = toy_study(trials=1)
    ledger = opened(study, home, run="a")
    placement = placed(ledger)
    ledger.record([report(placement, step, epochs=4, time=10.0 + step) for step in (1, 2, 3)])
    ledger.close()
    ledger = opened(study, home, run="b")
    placement = placed(ledger)
    again = [report(placement, step, epochs=4, time=20.0 + step) for step in (2, 3)]
    for _ in range(2):  # the second is the same message once more
        ledger.record(again)
        assert (ledger.status().epochs, ledger.status().repeated) == (3, 2)
    ledger.close()
    ledger = opened(study, home, run="b")  # the server alone died: its groups repeat their last message
    ledger.record(again)
    assert ledger.status().repeated == 2
    ledger.record([report(placement, 4, epochs=4, time=30.0)])
    ledger.close()
    assert read_trials(home, study)[0].repeated == 2
    assert [record.step for record in EventLog(home).read()[0] if isinstance(record, Event)] == [1, 2, 3, 4]


def test_a_worker_whose_clock_is_behind_has_its_epochs_counted_too(home: Home) -> None:
    ledger = opened(toy_study(trials=1), home)
    ledger.record([report(placed(ledger), 1, epochs=4, time=1000.0)])
    ledger.release("group", failed=False, cause="")
    ledger.record([report(placed(ledger), 1, epochs=4, time=3.0)])
    assert ledger.status().repeated == 1
    ledger.close()


def test_a_batch_is_recorded_before_it_is_decided(home: Home) -> None:
    """The first of two is the worse: decided on its own it would be the best of one."""
    ledger = opened(toy_study(epochs=4), home)
    worse, better = placed(ledger, seq=1), placed(ledger, seq=2)
    batch = [event(worse, 1, value=9.0), event(better, 1, value=1.0)]
    assert ledger.record(batch) == [worse.trial]
    ledger.close()
    last = EventLog(home).read()[0][-1]
    assert last == event(worse, 1, end="pruned", cause="lost at step 1", constraints=dict.fromkeys(CONSTRAINTS, -1.0))


def test_a_rung_is_decided_once(home: Home) -> None:
    """What went on at a rung is not judged there again, however many better ones come."""
    study = toy_study(epochs=8)
    ledger = opened(study, home, run="a")
    early = placed(ledger, seq=1)
    assert ledger.record([event(early, 1, value=9.0)]) == []
    late = placed(ledger, seq=2)
    assert ledger.record([event(late, 1, value=1.0)]) == []
    ledger.close()
    ledger = opened(study, home, run="a")
    assert ledger.status().pruned == 0
    assert ledger.record([event(early, 2, value=8.0)]) == []  # alone at the second rung
    assert ledger.record([event(early, 3, value=9.0)]) == []  # between rungs
    assert ledger.record([event(late, 2, value=1.0), event(early, 4, value=9.0)]) == []
    assert ledger.record([event(late, 4, value=0.0), event(early, 5, value=9.0)]) == []
    assert ledger.status().running == 2
    ledger.close()


def test_a_dead_batch_mate_counts_at_the_rung(home: Home) -> None:
    ledger = opened(toy_study(), home)
    first, second = placed(ledger, seq=1), placed(ledger, seq=2)
    freed = ledger.record([event(first, 1, value=1.0, end="died", cause="x"), event(second, 1, value=2.0)])
    assert freed == [first.trial, second.trial]
    assert (ledger.status().died, ledger.status().pruned) == (1, 1)
    ledger.close()


def test_an_unknown_trial_is_refused(home: Home) -> None:
    ledger = opened(toy_study(), home)
    with pytest.raises(ValueError, match="it has no trial 99"):
        ledger.record([Event(trial=99, step=1, time=0.0)])
    ledger.close()


# -- ends -------------------------------------------------------------------------------------------------------------


def ends_of(home: Home, last: dict[str, Any], *, sampler: str = "random", direction: str = "minimize") -> Any:
    """Train one good trial to 1.0 with 2.0 before, then one that ends as told; return Optuna's record of the second."""
    study = toy_study(trials=2, sampler=sampler, pruner="none")
    ledger = Ledger(study, home, space=SPACE, direction=direction, ahead=0)
    good = placed(ledger, seq=1)
    ledger.record([event(good, 1, value=2.0), event(good, 4, value=1.0, end="done")])
    bad = placed(ledger, seq=2)
    ledger.record([event(bad, 1, value=1.5), event(bad, 2, **last)])
    ledger.close()
    trial = optuna_study(home).trials[1]
    (ended,) = [record for record in EventLog(home).read()[0] if isinstance(record, Event) and record.trial == 1][1:]
    row = read_trials(home, study)[1]
    assert row.end == trial.user_attrs["end"] == ended.end
    assert row.cause == trial.user_attrs["cause"] == ended.cause
    assert list(trial.constraints) == list(CONSTRAINTS)
    assert ended.constraints == trial.constraints
    return trial


DIED = {"end": "died", "cause": "loss is nan", "constraints": {"collapsed": 0.5}}


@pytest.mark.parametrize(
    ("sampler", "state", "value"),
    [
        ("tpe", TrialState.PRUNED, 1.5),
        ("random", TrialState.PRUNED, 1.5),
        ("qmc", TrialState.PRUNED, 1.5),
        ("optuna.samplers.TPESampler", TrialState.PRUNED, 1.5),
        ("nsgaii", TrialState.COMPLETE, 1.5),
        ("nsgaiii", TrialState.COMPLETE, 1.5),
        ("gp", TrialState.COMPLETE, 2.1),
        ("cmaes", TrialState.COMPLETE, 2.1),
        ("optuna.samplers.GPSampler", TrialState.COMPLETE, 2.1),
    ],
)
def test_how_a_dead_trial_is_told(home: Home, sampler: str, state: TrialState, value: float) -> None:
    trial = ends_of(home, DIED, sampler=sampler)
    assert (trial.state, trial.value) == (state, pytest.approx(value))
    assert trial.constraints == {"diverged": -1.0, "collapsed": 0.5, "memory": -1.0}
    study = optuna_study(home)
    assert study.best_trial.number == 0
    row = read_trials(home, toy_study())[1]
    assert row.value == 1.5  # what was measured, not what the sampler was told


def test_worse_than_any_is_lower_where_more_is_better(home: Home) -> None:
    assert ends_of(home, DIED, sampler="gp", direction="maximize").value == pytest.approx(0.9)


def test_nsga_is_told_the_worst_seen_where_nothing_was_measured(home: Home) -> None:
    ledger = opened(toy_study(trials=3, sampler="nsgaii", pruner="none"), home)
    early = placed(ledger, seq=1)
    ledger.record([event(early, 0, end="died", cause="x")])  # before any value there is none to tell
    good = placed(ledger, seq=2)
    ledger.record([event(good, 1, value=7.0), event(good, 4, value=1.0, end="done")])
    ledger.record([event(placed(ledger, seq=3), 0, end="died", cause="x")])
    ledger.close()
    trials = optuna_study(home).trials
    assert [trial.state for trial in trials] == [TrialState.PRUNED, TrialState.COMPLETE, TrialState.COMPLETE]
    assert trials[2].value == 7.0


@pytest.mark.parametrize(("step", "left"), [(0, 1.0), (1, 1.0), (4, 0.25)])
def test_the_severity_of_a_death_is_the_budget_left(home: Home, step: int, left: float) -> None:
    ledger = opened(toy_study(trials=1), home)
    ledger.record([event(placed(ledger), step, end="died", cause="x")])
    ledger.close()
    assert optuna_study(home).trials[0].constraints == {"diverged": left, "collapsed": -1.0, "memory": -1.0}


@pytest.mark.parametrize(
    ("last", "state", "end", "cause"),
    [
        ({"value": 1.2, "end": "done"}, TrialState.COMPLETE, "done", ""),
        ({"value": math.nan, "end": "done"}, TrialState.PRUNED, "died", "loss is nan"),
        ({"value": math.inf}, TrialState.PRUNED, "died", "loss is inf"),
        ({"end": "lost", "cause": "boom"}, TrialState.FAIL, "lost", "boom"),
        (
            {"end": "done", "metrics": {"lost": 1.0, "acc": 0.5}},
            TrialState.FAIL,
            "lost",
            "A finished trial must have measured its objective 'loss'; the metrics of its last step are: acc, lost.",
        ),
    ],
)
def test_ends(home: Home, last: dict[str, Any], state: TrialState, end: str, cause: str) -> None:
    trial = ends_of(home, last)
    assert (trial.state, trial.user_attrs["end"], trial.user_attrs["cause"]) == (state, end, cause)
    assert (trial.constraints["diverged"] > 0) == (end == "died")


def test_an_end_may_follow_at_the_step_that_was_reported(home: Home) -> None:
    ledger = opened(toy_study(trials=2, pruner="none"), home)
    placement = placed(ledger)
    ledger.record([event(placement, 4, value=0.5)])
    assert ledger.record([event(placement, 4, end="done")]) == [0]
    other = placed(ledger, seq=2)
    ledger.record([event(other, 2, value=0.5)])
    assert ledger.record([event(other, 2, end="died", cause="x")]) == [1]
    assert (ledger.status().done, ledger.status().died) == (1, 1)
    ledger.close()
    assert optuna_study(home).trials[0].value == 0.5
    ended = EventLog(home).read()[0][2]
    assert isinstance(ended, Event)
    assert ended.value == 0.5  # the log says the value too: tracking reads nothing else


def test_ten_lost_in_a_row_stop_the_study(home: Home) -> None:
    study = toy_study(trials=30)
    ledger = opened(study, home)
    for number in range(13):
        placement = placed(ledger, seq=number)
        end = {"end": "done", "value": 1.0} if number == 2 else {"end": "lost", "cause": f"boom {number}"}
        ledger.record([event(placement, 4, **end)])
    assert ledger.status().stopped == "10 trials in a row were lost, the last with: boom 12"
    assert (ledger.left(), ledger.over()) == (0, False)
    assert ledger.place("group", 99, 0) is None
    ledger.close()
    resumed = opened(study, home)  # the user gives the same command again when the cause is gone
    assert (resumed.status().stopped, resumed.left()) == ("", 29)
    resumed.close()


def test_ten_lost_that_optuna_had_not_heard_of_do_not_stop_the_resume(home: Home) -> None:
    study = toy_study(trials=30)
    ledger = opened(study, home)
    placements = [placed(ledger, seq=seq) for seq in range(10)]
    ledger.close()
    log = EventLog(home)
    log.append([event(placement, 0, end="lost", cause="boom") for placement in placements])
    log.close()
    resumed = opened(study, home)
    assert (resumed.status().lost, resumed.status().stopped, resumed.left()) == (10, "", 30)
    resumed.close()


# -- budget -----------------------------------------------------------------------------------------------------------


def test_totals_are_exact(home: Home) -> None:
    study = toy_study(trials=12)
    ledger = opened(study, home)
    search(ledger)
    status = ledger.status()
    ledger.close()
    assert status.done + status.pruned + status.died == 12
    assert min(status.done, status.pruned, status.died) > 0  # all three happened
    assert status.over
    rows = read_trials(home, study)
    assert status.epochs == sum(row.step for row in rows)
    best = min((row for row in rows if row.end == "done"), key=lambda row: row.value)
    assert (status.best_trial, status.best_value, status.best_params) == (best.number, best.value, best.params)
    json.dumps(dataclasses.asdict(status), allow_nan=False)


def test_no_trial_begins_after_the_epochs_are_used(home: Home) -> None:
    study = toy_study(budget=Budget(trials=50, epochs=4, epochs_total=9), pruner="none")
    ledger = opened(study, home, ahead=2)
    ledger.ask_ahead(), ledger.ask_ahead()
    for number in range(3):
        ledger.ask_ahead()
        train(ledger, placed(ledger, seq=number))
    assert ledger.status().epochs in range(9, 13)
    assert ledger.status().queued > 0
    assert ledger.place("group", 99, 0) is None
    assert (ledger.ask_ahead(), ledger.left(), ledger.over()) == (False, 0, True)
    ledger.close()


def test_hours_are_summed_over_resumes(home: Home) -> None:
    study = toy_study(budget=Budget(trials=50, epochs=4, hours=0.4 / 3600), pruner="none")
    ledger = opened(study, home)
    assert ledger.place("group", 1, 0) is not None
    time.sleep(0.25)
    assert ledger.left() > 0
    ledger.close()
    resumed = opened(study, home, run="b")
    assert 0.25 < resumed.status().seconds < 0.4
    time.sleep(0.2)
    assert (resumed.left(), resumed.over()) == (0, False)
    assert placed(resumed).trial == 0  # it had begun
    resumed.record([event(placed_now, 4, value=1.0, end="done") for placed_now in resumed.placed("group", 1)])
    assert (resumed.place("group", 2, 0), resumed.over()) == (None, True)
    resumed.close()


def test_the_queue_is_hidden_at_the_end_and_kept_for_a_resume(home: Home) -> None:
    study = toy_study(budget=Budget(trials=50, epochs=4, epochs_total=4), pruner="none")
    ledger = opened(study, home, ahead=2)
    ledger.ask_ahead(), ledger.ask_ahead()
    ledger.close()
    resumed = opened(study, home, ahead=2)
    assert resumed.status().queued == 2
    train(resumed, placed(resumed))
    assert resumed.over()
    resumed.close()
    assert [row.number for row in read_trials(home, study)] == [0]
    trials = optuna_study(home).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE, TrialState.FAIL]
    assert trials[1].user_attrs["hidden"] is True
    more = toy_study(budget=Budget(trials=2, epochs=4), pruner="none")
    ledger = opened(more, home)  # the hidden one counts for nothing and its number is not used again
    assert [placement.trial for placement in search(ledger)] == [2]
    assert ledger.status().done == 2
    ledger.close()


# -- coming back ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_one_slot_and_one_seed_give_one_study(tmp_path: Path, sampler: str) -> None:
    """Also where the ledger is rebuilt after every few trials."""
    study = toy_study(trials=16, sampler=sampler, seed=3)
    params = []
    for name, chunk in (("a", 16), ("b", 16), ("c", 3)):
        home = Home(tmp_path / name)
        while True:
            ledger = opened(study, home, run=str(time.monotonic()))
            search(ledger, trials=chunk)
            over = ledger.over()
            ledger.close()
            if over:
                break
        params.append([(row.number, row.params, row.seed, row.end, row.value) for row in read_trials(home, study)])
    assert params[0] == params[1]
    assert params[0] == params[2]
    other = opened(toy_study(trials=16, sampler=sampler, seed=4), Home(tmp_path / "d"))
    assert [placement.params for placement in search(other)] != [row[1] for row in params[0]]
    other.close()


def test_no_process_that_forgot_its_close_is_missed(home: Home) -> None:
    """A crash closes nothing: whatever was given away must be on the disk already."""
    study = toy_study()
    crashed = opened(study, home, run="a")
    first = placed(crashed)
    crashed.record([report(first, 1, epochs=4)])
    resumed = opened(study, home, run="b")
    assert placed(resumed).trial == 0
    assert resumed.status().epochs == 1
    resumed.close()
    crashed.close()


def test_a_log_ahead_of_optuna_is_replayed(home: Home) -> None:
    study = toy_study(trials=3)
    ledger = opened(study, home, run="a")
    first, second = placed(ledger, seq=1), placed(ledger, seq=2)
    ledger.close()
    log = EventLog(home)
    log.append([event(first, 1, value=5.0), event(second, 1, value=1.0), event(first, 2, value=0.5, end="done")])
    log.close()
    resumed = opened(study, home, run="b")
    assert (resumed.status().done, resumed.status().best_value) == (1, 0.5)
    resumed.close()
    trials = optuna_study(home).trials
    assert trials[0].value == 0.5
    assert trials[1].intermediate_values == {1: 1.0}


def test_a_rung_that_was_not_decided_is_decided_on_the_way_back(home: Home) -> None:
    study = toy_study(trials=3)
    ledger = opened(study, home, run="a")
    first, second = placed(ledger, seq=1), placed(ledger, seq=2)
    ledger.close()
    log = EventLog(home)
    log.append([event(first, 1, value=5.0), event(second, 1, value=1.0)])
    log.close()
    resumed = opened(study, home, run="b")
    assert (resumed.status().pruned, resumed.status().waiting) == (1, 1)
    assert placed(resumed).trial == second.trial
    resumed.close()


def test_an_ask_that_was_half_written_among_other_records_is_finished(home: Home, tmp_path: Path) -> None:
    """The disk as it is while a slow ask is under way and an event comes in between."""
    study = toy_study(sampler="ledger_samplers.SlowSampler")
    ledger = opened(study, home, ahead=2)
    ledger.ask_ahead()
    first = placed(ledger)
    asking = threading.Thread(target=ledger.ask_ahead)
    asking.start()
    time.sleep(0.3)
    ledger.record([report(first, 1, epochs=4)])
    copy = Home(shutil.copytree(home.path, tmp_path / "copy"))
    asking.join()
    ledger.close()
    resumed = opened(toy_study(), copy, ahead=2)
    assert (resumed.status().waiting, resumed.status().queued) == (1, 1)
    assert [placed(resumed, seq=seq).trial for seq in (1, 2)] == [0, 1]
    SPACE.check(resumed.placed("group", 2)[0].params)
    resumed.close()


def test_a_leftover_lock_of_optunas_tools_is_removed(home: Home) -> None:
    ledger = opened(toy_study(), home)
    ledger.close()
    lock = home.path / "ledger.journal.lock"
    lock.symlink_to(home.ledger)
    ledger = opened(toy_study(), home)
    assert not lock.is_symlink()
    ledger.close()


def test_a_log_of_another_home_is_refused(home: Home) -> None:
    opened(toy_study(), home).close()
    log = EventLog(home)
    log.append([Event(trial=5, step=1, time=0.0)])
    log.close()
    with pytest.raises(RequestError, match=r"speaks of trial 5, and .* has none of that number"):
        opened(toy_study(), home)


def test_another_study_or_direction_is_refused(home: Home) -> None:
    study = toy_study()
    opened(study, home).close()
    with pytest.raises(RequestError, match=r"holds 'toy' \(minimize\), and 'other' \(minimize\) came"):
        opened(study.model_copy(update={"name": "other"}), home)
    with pytest.raises(RequestError, match=r"and 'toy' \(maximize\) came"):
        Ledger(study, home, space=SPACE, direction="maximize", ahead=0)
    with pytest.raises(RequestError, match="holds another than 'other'"):
        read_trials(home, study.model_copy(update={"name": "other"}))


def test_a_bad_method_makes_nothing(home: Home) -> None:
    for options in ({"sampler": "tpee"}, {"pruner": "ashaa"}):
        with pytest.raises(RequestError, match="did you mean"):
            opened(toy_study(**options), home)
    assert not home.path.exists()


def test_reading_a_home_without_a_ledger_makes_nothing(home: Home) -> None:
    assert read_trials(home, toy_study()) == []
    assert not home.path.exists()


# -- files ------------------------------------------------------------------------------------------------------------


def test_only_the_best_ten_and_the_open_keep_their_files(home: Home) -> None:
    study = toy_study(trials=16, pruner="none")
    ledger = opened(study, home)
    for number in range(14):
        placement = placed(ledger, seq=number)
        home.checkpoint(number).mkdir(parents=True)
        home.weights(number).parent.mkdir(exist_ok=True)
        home.weights(number).touch()
        end = {"end": "died", "cause": "x"} if number == 3 else {"value": float(20 - number), "end": "done"}
        ledger.record([event(placement, 4, **end)])
    home.checkpoint(placed(ledger, seq=14).trial).mkdir()
    kept = {home.weights(number) for number in range(4, 14)}
    assert set(home.weights(0).parent.iterdir()) == kept
    assert list(home.checkpoints.iterdir()) == [home.checkpoint(14)]
    ledger.close()
    home.checkpoint(2).mkdir()  # as a crash between the tell and the removal leaves it
    home.weights(2).touch()
    opened(study, home, run="b").close()
    assert set(home.weights(0).parent.iterdir()) == kept
    assert list(home.checkpoints.iterdir()) == [home.checkpoint(14)]


def test_writes_a_trial_and_fsyncs(home: Home) -> None:
    """Counted, since they are the cost of a ledger on a busy disk."""
    calls: list[tuple[str, bool]] = []

    class Counting:
        def __init__(self, path: Path) -> None:
            self._file = LineFile(path)
            self._name = path.name

        def append(self, lines: bytes, *, sync: bool) -> None:
            calls.append((self._name, sync))
            self._file.append(lines, sync=sync)

        def close(self) -> None:
            self._file.close()

    ledger = opened(toy_study(), home, open_file=Counting)
    calls.clear()
    placement = placed(ledger)
    ask, start, place = calls
    assert (ask, start, place) == (("ledger.journal", True), ("events.jsonl", False), ("ledger.journal", False))
    calls.clear()
    ledger.record([report(placement, 1, epochs=4), report(placement, 2, epochs=4)])
    assert calls == [("events.jsonl", True), ("ledger.journal", False)]
    worse = placed(ledger, seq=2)
    calls.clear()
    assert ledger.record([event(worse, 1, value=99.0)]) == [worse.trial]  # one more write where a trial is pruned
    assert calls == [("events.jsonl", True), ("events.jsonl", False), ("ledger.journal", False)]
    ledger.close()


def test_values_of_numpy_are_plain_in_the_files(home: Home) -> None:
    ledger = opened(toy_study(trials=1), home)
    ledger.record([event(placed(ledger), 1, value=float(np.float32(0.5)), metrics={"loss": np.float64(0.5)})])
    ledger.close()
    assert "0.5" in (home.events / "events.jsonl").read_text()


# -- samplers that end ------------------------------------------------------------------------------------------------

GRID = Space("toy", {"lr": Float(0.01, 0.03, default=0.01, step=0.01), "depth": Choice((1, 2), default=1)})


@pytest.mark.parametrize("sampler", ["grid", "bruteforce"])
@pytest.mark.parametrize("ahead", [0, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_sampler_that_comes_to_its_end_ends_the_study(home: Home, sampler: str, ahead: int, seed: int) -> None:
    study: Study = toy_study(trials=50, sampler=sampler, pruner="none", seed=seed)
    ledger = opened(study, home, space=GRID, ahead=ahead)
    seen = []
    for seq in range(40):
        if seq == 3:
            ledger.close()
            ledger = opened(study, home, space=GRID, ahead=ahead)
        while ledger.ask_ahead():
            pass
        placement = ledger.place("group", seq, 0)
        if placement is None:
            break
        seen.append((placement.params["lr"], placement.params["depth"]))
        train(ledger, placement)
    assert sorted(seen) == [(lr, depth) for lr in (0.01, 0.02, 0.03) for depth in (1, 2)]
    assert (ledger.over(), ledger.left()) == (True, 0)
    ledger.close()
    resumed = opened(study, home, space=GRID, ahead=ahead)
    assert (resumed.over(), resumed.ask_ahead()) == (True, False)
    resumed.close()
    assert len(read_trials(home, study)) == 6


def test_cmaes_is_not_resumed_from_its_pickle(home: Home) -> None:
    study = toy_study(sampler="cmaes")
    ledger = opened(study, home, run="a")
    assert "pickle" in ledger.status().notes[0]
    placed(ledger)
    ledger.close()
    opened(study, home, run="a").close()  # the same driver's own server, restarted
    for run in ("b", ""):
        with pytest.raises(RequestError, match="cannot be resumed"):
            opened(study, home, run=run)
    tpe = home.path.with_name("tpe")
    opened(toy_study(), Home(tpe)).close()
    with pytest.raises(RequestError, match="cannot be resumed"):
        opened(study, Home(tpe))
