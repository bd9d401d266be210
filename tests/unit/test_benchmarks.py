"""The arithmetic of the benchmarks, and that their peer searches the same space; no search is run here."""

import math
import sys
from pathlib import Path

import optuna
import pytest

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks is no installed package

from benchmarks import epochs, fake, orchestration, processes
from benchmarks.epochs import EPOCH_SECONDS, Epoch, SideFile
from benchmarks.peers.stock_stack import DefineByRun
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Start


def epoch(trial: int, step: int, start: float, end: float, value: float | None = None) -> Epoch:
    return Epoch(trial=trial, step=step, start=start, end=end, value=value)


# Two workers over ten seconds: one trains all the time, the other for half of it.
RUN = [epoch(0, 1, 100, 105, 9.0), epoch(0, 2, 105, 110, 5.0), epoch(1, 1, 102, 107, 7.0)]


def test_share_counts_worker_seconds_from_first_start_to_last_end() -> None:
    assert epochs.training_share(RUN, workers=2) == pytest.approx(0.75)


def test_home_gives_the_epochs_that_were_trained_and_not_the_verdicts(tmp_path: Path) -> None:
    timed = Event(trial=0, step=1, time=107.0, metrics={"nll": 8.0, EPOCH_SECONDS: 3.0}, value=8.0)
    untimed = Event(trial=1, step=1, time=109.0, metrics={"loss": 9.0})
    verdict = Event(trial=1, step=1, time=110.0, end="pruned", cause="lost at step 1")
    start = Start(trial=0, time=100.0, params={"lr": 0.1}, seed=1, group="a")
    log = EventLog(Home(tmp_path))
    log.append([start, timed, untimed, verdict])
    log.close()
    known, unknown = epochs.from_home(tmp_path)
    assert known == epoch(0, 1, 104.0, 107.0, 8.0)
    assert math.isnan(unknown.start)
    assert math.isnan(epochs.training_share([known, unknown], workers=2))
    assert epochs.first_to_last(tmp_path) == (2, 3.0)


def test_time_to_a_value_is_that_of_the_first_measurement_at_or_below_it() -> None:
    assert epochs.seconds_to(RUN, 7.0, since=90) == 17
    assert epochs.seconds_to(RUN, 4.9, since=90) is None


def test_best_value_is_taken_at_the_full_budget_alone() -> None:
    lucky = epoch(2, 1, 100, 101, 1.0)
    assert epochs.best_value([*RUN, lucky], step=2) == 5.0
    assert epochs.best_value([lucky], step=2) is None


def test_side_file_gives_back_what_it_took(tmp_path: Path) -> None:
    with SideFile(tmp_path) as side:
        for item in RUN:
            side.append(item)
    assert epochs.from_side_files(tmp_path) == RUN


def test_row_counts_trials_once_and_epochs_each() -> None:
    clock = processes.Clock(began=90, wall=30)
    row = orchestration.row_of("ours", RUN, clock=clock, workers=2, full=2, target=5.0)
    assert (row.trials, row.epochs) == (2, 3)
    assert (row.trials_a_minute, row.epochs_a_minute) == (4.0, 6.0)
    assert row.epoch_ms == pytest.approx(5000)
    assert len(row.cells()) == len(orchestration.HEADER)


def test_ratio_takes_the_median_of_the_repeats() -> None:
    def row(arm: str, wall: float) -> orchestration.Row:
        return orchestration.row_of(arm, RUN, clock=processes.Clock(began=90, wall=wall), workers=2, full=2, target=0.0)

    rows = [row("ours", 10), row("stock", 40), row("stock", 1000), row("stock", 60), row("ours", 10), row("ours", 10)]
    assert orchestration.ratios(rows) == ["ours / stock: 6.0 times the epochs a minute, 6.0 times the trials"]
    fused = orchestration.ratios([*rows, row("ours-fused", 5)])
    assert [line.partition(":")[0] for line in fused] == ["ours / stock", "ours-fused / ours", "ours-fused / stock"]
    assert fused[1].startswith("ours-fused / ours: 2.0 times")


def test_command_that_fails_says_what_it_printed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such luck')"]
    with pytest.raises(processes.RunFailed, match="no such luck"):
        processes.run(command, folder=tmp_path, timeout=30)


def test_what_outlives_a_command_is_killed(tmp_path: Path) -> None:
    orphan = (
        "import subprocess, sys, time; child = subprocess.Popen(['sleep', '300'], start_new_session=True);"
        "print(child.pid, flush=True); time.sleep(300)"
    )
    with pytest.raises(processes.RunFailed, match="took more than"):
        processes.run([sys.executable, "-c", orphan], folder=tmp_path, timeout=1.5)
    pid = int((tmp_path / "log.txt").read_text())
    state = Path(f"/proc/{pid}/stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def test_the_peer_asks_optuna_for_every_parameter_of_the_space_and_no_other() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    space = DefineByRun(fake.SPACE, seed=3)
    seeds = set()
    for _ in range(30):
        trial = study.ask()
        extra = space(trial)
        assert extra["number"] == trial.number
        seeds.add(extra["seed"])
        fake.SPACE.check(trial.params)
    assert len(seeds) == 30
    assert {"momentum" in trial.params for trial in study.get_trials()} == {True, False}


def test_fake_loss_falls_and_is_lowest_at_its_optimum() -> None:
    best = {"lr": 1e-2, "width": 128, "optimizer": "adam"}
    losses = [metrics["loss"] for metrics in fake.train(best, seed=0, budget=9)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < list(fake.train(best | {"optimizer": "rmsprop"}, seed=999, budget=9))[-1]["loss"]
