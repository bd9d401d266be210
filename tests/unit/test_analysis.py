"""hpo.analysis on homes that the real ledger wrote, and its times in closed form on event logs written by hand."""

from __future__ import annotations

import dataclasses
import io
import json
import math
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from rich.console import Console
from searched import SPACE, Fate, open_ledger, search, study, train

from hpo import analysis
from hpo.errors import RequestError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.journal import Journal
from hpo.messages import Event, Params, Start
from hpo.progress import comparison, summary_table

FATES = {
    1: Fate(end="pruned", epochs=3, values={3: 7.0}),
    2: Fate(end="died", epochs=2, cause="loss is nan"),
    3: Fate(end="lost", epochs=1, cause="Traceback\nValueError: a bug"),
}


def mixed(number: int, params: Params) -> Fate:
    """Trial 0 is done at 5, 1 pruned, 2 died, 3 lost; later ones are done at 10 plus their number."""
    return FATES.get(number, Fate(values={3: 20.0, 9: 5.0 if number == 0 else 10.0 + number}))


def by_lr(number: int, params: Params) -> Fate:
    return Fate(values={9: abs(math.log10(float(params["lr"])) + 2.5)})


def test_every_trial_is_a_row_that_agrees_with_optuna(tmp_path: Path) -> None:
    home = search(tmp_path / "home", study(trials=7), mixed)
    frame = analysis.trials(home).set_index("number")
    assert frame["end"].to_dict() == {
        0: "done", 1: "pruned", 2: "died", 3: "lost", 4: "done", 5: "done", 6: "done", 7: "done",
    }  # fmt: skip
    assert frame["step"].to_dict() == {0: 9, 1: 3, 2: 2, 3: 1, 4: 9, 5: 9, 6: 9, 7: 9}
    assert frame.loc[1, "value"] == 7.0
    assert frame.loc[[2, 3], "value"].isna().all()
    assert frame.loc[2, "cause"] == "loss is nan"
    ledger = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(Journal(home.ledger)))
    for trial in ledger.trials:
        found = frame.loc[trial.number].filter(like="params.").dropna()
        assert {name.removeprefix("params."): value for name, value in found.items()} == trial.params
        if trial.value is not None:
            assert frame.loc[trial.number, "value"] == trial.value


def test_a_conditional_parameter_is_absent_where_its_condition_fails(tmp_path: Path) -> None:
    frame = analysis.trials(search(tmp_path / "home", study(trials=12), mixed))
    with_momentum = frame["params.optimizer"] == "sgd"
    assert with_momentum.any()
    assert not with_momentum.all()
    assert (frame["params.momentum"].notna() == with_momentum).all()
    assert frame["params.depth"].dtype.kind == "i"


def test_reading_changes_no_byte_while_a_search_goes_on(tmp_path: Path) -> None:
    home = search(tmp_path / "home", study(trials=3), mixed)

    def bytes_of_all() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}

    with home.locked():
        before = bytes_of_all()
        analysis.summary(home)
        analysis.curves(home)
        assert bytes_of_all() == before


def test_a_torn_last_line_is_not_read(tmp_path: Path) -> None:
    home = search(tmp_path / "home", study(trials=3), mixed)
    for path in (home.ledger, home.events / "events.jsonl"):
        path.write_bytes(path.read_bytes() + b'{"kind": "ev')
    assert len(analysis.trials(home)) == 3


def test_curves_hold_every_measurement_once_under_its_name(tmp_path: Path) -> None:
    home = search(tmp_path / "home", study(trials=7), mixed)
    log = EventLog(home)
    # The server's verdict repeats the step and value that it judged.
    log.append([Event(trial=1, step=3, time=1e9, metrics={}, value=7.0, end="pruned")])
    log.close()
    frame = analysis.curves(home)
    first = frame[frame["trial"] == 0]
    assert first[first["metric"] == "score"][["step", "value"]].to_numpy().tolist() == [[3, 20.0], [9, 5.0]]
    assert first[first["metric"] == "loss"]["step"].tolist() == list(range(1, 10))
    assert frame[(frame["trial"] == 1) & (frame["metric"] == "score")]["value"].tolist() == [7.0]
    assert str(frame["time"].dt.tz) == "UTC"
    assert abs(frame["time"].max() - pd.Timestamp.now("UTC")) < pd.Timedelta(minutes=5)


def test_what_the_best_trial_measured_is_shown_and_what_it_is_read_beside(tmp_path: Path) -> None:
    asked = study(trials=7).model_copy(update={"metrics": ["mine.size", "absent"]})
    home = search(tmp_path / "home", asked, mixed)
    measured = {"score": 5.0, "score.mle_70": 6.5, "score.mle_100": 6.25, "score.floor": 1.0, "control.loss": 2.0,
                "bits": 2.125, "bits.five_gram": 2.5, "size": 77.0, "loss": 1.0, "score.other": 9.0}  # fmt: skip
    log = EventLog(home)
    log.append([Event(trial=0, step=9, time=1e9, metrics=measured, value=5.0, end="done")])
    log.close()
    found = analysis.summary(home)
    assert found.best is not None
    assert found.best.controls == {"score": {"mle_70": 6.5, "mle_100": 6.25, "other": 9.0}}
    assert list(found.best.metrics.items()) == [("score", 5.0), ("size", 77.0), ("bits", 2.125)]
    assert {name: found.to_json()["best"][name] for name in ("controls", "metrics")} == {
        "controls": found.best.controls, "metrics": found.best.metrics,
    }  # fmt: skip
    rows = comparison(found)
    assert {tuple(row) for row in rows} == {
        ("", "score", "size", "bits"), ("trial 0", "5", "77", "2.125"), ("real rows", "1", "", ""),
        ("a 5-gram model", "", "", "2.5"), ("likelihood alone at temperature 0.7", "6.5", "", ""),
        ("likelihood alone at temperature 1", "6.25", "", ""), ("other", "9", "", ""),
    }  # fmt: skip
    assert [row[0] for row in rows[:2]] == ["", "trial 0"]
    lines = [line.split() for line in _shown(found).splitlines()]
    for row in rows:
        assert " ".join(row).split() in lines


def test_an_objective_with_nothing_beside_it_is_said_once(tmp_path: Path) -> None:
    found = analysis.summary(search(tmp_path / "home", study(trials=7), mixed))
    assert found.best is not None
    assert found.best.metrics == {"score": 5.0}
    assert comparison(found) == []
    assert "trial 0 " not in _shown(found)
    assert "best: trial 0, score 5\n" in _shown(found)


def _shown(found: analysis.Summary) -> str:
    out = io.StringIO()
    Console(width=300, file=out).print(summary_table(found))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_the_parameter_that_decides_comes_first(tmp_path: Path, direction: str) -> None:
    sign = 1 if direction == "minimize" else -1

    def fate(number: int, params: Params) -> Fate:
        return Fate(values={9: sign * abs(math.log10(float(params["lr"])) + 2.5)})

    frame = analysis.importances(search(tmp_path / "home", study(trials=60, direction=direction), fate))  # type: ignore[arg-type]
    assert frame["parameter"].iloc[0] == "lr"
    assert frame["importance"].iloc[0] > 0.5
    assert frame["importance"].sum() == pytest.approx(1.0)
    assert set(frame["trials"]) == {60}
    assert "width" not in set(frame["parameter"])  # fixed


def test_too_few_trials_have_no_importances(tmp_path: Path) -> None:
    def fate(number: int, params: Params) -> Fate:
        return by_lr(number, params) if number < analysis.MIN_DONE - 1 else FATES[1]

    home = search(tmp_path / "home", study(trials=20), fate)
    assert analysis.importances(home).empty
    assert list(analysis.importances(home).columns) == ["parameter", "importance", "trials"]
    assert analysis.summary(home).importances == {}


def test_a_parameter_that_few_done_trials_have_is_left_out(tmp_path: Path) -> None:
    def fate(number: int, params: Params) -> Fate:
        return by_lr(number, params) if params["optimizer"] == "adam" or number % 5 == 0 else FATES[1]

    home = search(tmp_path / "home", study(trials=40), fate)
    done = analysis.trials(home).query("end == 'done'")
    assert 0 < done["params.momentum"].notna().sum() < analysis.MIN_DONE
    assert "momentum" not in set(analysis.importances(home)["parameter"])
    assert {"lr", "noise"} <= set(analysis.importances(home)["parameter"])


def test_the_best_is_the_earliest_of_equals_and_follows_the_direction(tmp_path: Path) -> None:
    def fate(number: int, params: Params) -> Fate:
        return Fate(values={9: float((3, 1, 1, 4, 4)[number])}, files=(f"samples/{number}.png",))

    low = analysis.best(search(tmp_path / "low", study(trials=5), fate))
    high = analysis.best(search(tmp_path / "high", study(trials=5, direction="maximize"), fate))
    assert low is not None
    assert high is not None
    assert (low.trial, low.value, low.files) == (1, 1.0, ("samples/1.png",))
    assert (high.trial, high.value) == (3, 4.0)
    assert set(low.params) >= {"lr", "optimizer", "width"}


def test_a_dead_trial_is_never_the_best_though_its_sampler_was_told_a_value(tmp_path: Path) -> None:
    def fate(number: int, params: Params) -> Fate:
        died = Fate(end="died", epochs=3, values={3: -100.0}, cause="loss is nan")
        return died if number == 2 else Fate(values={9: 1.0 + number})

    home = search(tmp_path / "home", study(trials=14, sampler="nsgaii"), fate)
    told = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(Journal(home.ledger))).trials[2]
    assert (told.state.name, told.value) == ("COMPLETE", -100.0)
    best = analysis.best(home)
    assert best is not None
    assert best.trial == 0
    assert analysis.summary(home).importances_trials == 13


def test_the_summary_is_strict_json_and_counts(tmp_path: Path) -> None:
    home = search(tmp_path / "home", study(trials=7), mixed)
    made = json.loads(json.dumps(analysis.summary(home).to_json(), allow_nan=False))
    assert made["schema"] == 1
    assert made["counts"] == {"done": 5, "pruned": 1, "died": 1, "lost": 1, "running": 0, "waiting": 0}
    assert made["epochs_trained"] == 5 * 9 + 3 + 2 + 1
    assert made["objective"] == {"metric": "score", "direction": "minimize"}
    assert made["budget"]["trials"] == 7
    assert made["best"]["trial"] == 0
    assert made["trials"][1] | {"params": None, "seed": None, "seconds": None} == {
        "number": 1, "end": "pruned", "params": None, "value": 7.0, "steps": 3, "seed": None, "cause": "",
        "attempts": 1, "seconds": None, "feasible": True,
    }  # fmt: skip
    assert made["trials"][2]["value"] is None


def test_what_is_not_finite_becomes_null() -> None:
    assert analysis._finite({"a": [math.nan, (math.inf, 1.0)], "b": "nan"}) == {"a": [None, [None, 1.0]], "b": "nan"}


def test_a_trial_that_goes_on_is_running_and_an_interrupted_one_waits(tmp_path: Path) -> None:
    made = study(trials=4)

    def fate(number: int, params: Params) -> Fate:
        return Fate(end=None, epochs=2) if number >= 2 else Fate(values={9: 1.0})

    home = search(tmp_path / "home", made, fate)
    assert analysis.summary(home).counts["running"] == 2
    ledger = open_ledger(home, made)
    ledger.release("g0", failed=False, cause="")
    assert analysis.summary(home).counts == dict.fromkeys(analysis.STATES, 0) | {"done": 2, "waiting": 2}
    ledger.close()


def test_a_search_is_over_where_any_bound_of_its_budget_was_met(tmp_path: Path) -> None:
    made = study(trials=8)
    epochs = made.model_copy(update={"budget": made.budget.model_copy(update={"epochs_total": 20})})
    home = search(tmp_path / "epochs", epochs, lambda number, params: Fate(values={9: 1.0}))
    found = analysis.summary(home)
    assert (found.counts["done"], found.over) == (3, True)
    made.save(home.study)
    open_ledger(home, made).close()  # the budget has grown
    assert not analysis.summary(home).over
    by_trials = search(tmp_path / "trials", made, lambda number, params: Fate(values={9: 1.0}))
    assert analysis.summary(by_trials).over


def test_epochs_repeated_after_an_interruption_are_counted(tmp_path: Path) -> None:
    made = study(trials=1)
    home = search(tmp_path / "home", made, lambda number, params: Fate(end=None, epochs=4))
    ledger = open_ledger(home, made)
    ledger.release("g0", failed=True, cause="gone")
    again = ledger.place("g1", 1, 0)
    assert again is not None
    train(ledger, again, Fate(values={9: 1.0}), epochs=9)  # from the start: four epochs a second time
    ledger.close()
    found = analysis.summary(home)
    assert (found.epochs_trained, found.epochs_repeated) == (13, 4)
    assert found.trials[0].attempts == 2
    assert analysis.trials(home)["group"].tolist() == ["g1"]


LOG = Callable[[list[Start | Event]], analysis.Reading]


@pytest.fixture
def logged(tmp_path: Path) -> LOG:
    """A home without trials in its ledger, and with these records in its event log."""

    def write(records: list[Start | Event]) -> analysis.Reading:
        home = search(tmp_path / "home", study(trials=1), lambda number, params: Fate(values={9: 1.0}))
        (home.events / "events.jsonl").unlink()
        log = EventLog(home)
        log.append(records)
        log.close()
        return analysis.read(home)

    return write


def start(trial: int, time: float) -> Start:
    return Start(trial=trial, time=time, params={}, seed=0, group=f"g{trial}")


def test_time_and_occupancy_in_closed_form(logged: LOG) -> None:
    """Two workers: one is inside trials for 10 s of 10, the other for 4 s and 2 s with a gap of 4 s."""
    reading = logged(
        [
            start(0, 100.0), start(1, 100.0), Event(trial=1, step=1, time=104.0, end="done"), start(2, 108.0),
            Event(trial=2, step=1, time=110.0, end="done"), Event(trial=0, step=1, time=110.0, end="done"),
        ]
    )  # fmt: skip
    found = analysis.summary(reading)
    assert found.seconds == pytest.approx(10.0)
    assert found.worker_busy == pytest.approx(16 / 20)
    assert found.trials_a_minute == pytest.approx(60 / 10.0)  # one trial in the ledger


def test_the_slots_of_a_group_are_taken_while_they_hold_a_trial(logged: LOG) -> None:
    """Three slots from 102 to 110: held for 8, 6 and 2 s. One slot of another worker: held for 4 of 4 s."""

    def placed(trial: int, time: float, group: str = "g") -> Start:
        return dataclasses.replace(start(trial, time), group=group)

    reading = logged(
        [
            placed(0, 100.0), placed(1, 102.0), placed(2, 102.0), placed(3, 102.0, "h"),
            Event(trial=2, step=1, time=104.0, end="done"), Event(trial=1, step=1, time=106.0, end="done"),
            placed(4, 108.0),
            Event(trial=3, step=1, time=106.0, end="done"),
            Event(trial=4, step=1, time=110.0), Event(trial=0, step=1, time=110.0),
        ]
    )  # fmt: skip
    found = analysis.summary(dataclasses.replace(reading, slots={"g": (3, 102.0)}))
    assert found.occupancy == pytest.approx((8 + 6 + 2 + 4) / (3 * 8 + 4))
    assert found.width == 3
    assert found.worker_busy == pytest.approx((10 + 4) / 20), "a worker is busy while it holds any trial"
    assert analysis.summary(reading).width == 1


def test_the_pause_before_a_resume_is_no_time_of_the_search(logged: LOG) -> None:
    reading = logged(
        [start(0, 100.0), Event(trial=0, step=1, time=105.0), start(0, 1000.0), Event(trial=0, step=2, time=1003.0)]
    )
    found = analysis.summary(reading)
    assert found.seconds == pytest.approx(8.0)
    assert found.worker_busy == pytest.approx(1.0)
    assert analysis.trials(reading)["seconds"].tolist() == pytest.approx([8.0])


def test_a_worker_whose_clock_is_behind_makes_no_negative_time(logged: LOG) -> None:
    found = analysis.summary(logged([start(0, 100.0), Event(trial=0, step=1, time=40.0)]))
    assert found.seconds == 0.0
    assert found.worker_busy is None
    assert found.epochs_a_minute is None


def test_a_home_before_its_first_trial_is_empty_and_not_an_error(tmp_path: Path) -> None:
    home = Home(tmp_path)
    study().save(home.study)
    assert analysis.trials(home).empty
    assert analysis.trials(home)["value"].dtype == float
    assert analysis.curves(home).empty
    assert analysis.importances(home).empty
    assert analysis.best(home) is None
    json.dumps(analysis.summary(home).to_json(), allow_nan=False)


def test_a_folder_that_is_no_home_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has none"):
        analysis.trials(Home(tmp_path / "nowhere"))


def test_axes_are_what_the_sampler_saw(tmp_path: Path) -> None:
    reading = analysis.read(search(tmp_path / "home", study(trials=12), mixed))
    axes = {axis.name: axis for axis in reading.axes}
    assert set(axes) == set(SPACE.names())
    assert axes["lr"] == analysis.Axis(name="lr", low=1e-4, high=1e-1, log=True)
    assert axes["depth"] == analysis.Axis(name="depth", low=1, high=3, whole=True)
    assert axes["optimizer"].options == ("adam", "sgd")
