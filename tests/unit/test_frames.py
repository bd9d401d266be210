"""hpo.frames in closed form: what slots held over time, the metrics at the end, and a race as rows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from searched import Fate, search, study
from test_effects import reading
from test_report import chosen

from hpo import frames
from hpo.event_log import EventLog
from hpo.messages import Event
from hpo.reading import Reading, Span
from hpo.rows import TrialRow


def loaded(spans: list[Span], events: list[Event], **slots: tuple[int, float]) -> Reading:
    plain = reading([])
    by_trial = {
        number: tuple(span for span in spans if span.trial == number) for number in {span.trial for span in spans}
    }
    told = {number: tuple(event for event in events if event.trial == number) for number in {e.trial for e in events}}
    return Reading(study=plain.study, objective=plain.objective, axes=(), rows=(), events=told, spans=by_trial, done=(),
                   slots=slots)  # fmt: skip


def span(trial: int, group: str, start: float, end: float) -> Span:
    return Span(trial=trial, group=group, start=start, end=end)


def test_slots_taken_over_time_in_closed_form() -> None:
    """Two slots of g from 0 to 120 s: trial 0 all the time, trial 1 the first half. One of h from 60 to 120 s."""
    frame = frames.load(
        loaded(
            [span(0, "g", 0, 120), span(1, "g", 0, 60), span(2, "h", 60, 120)],
            [Event(trial=0, step=1, time=30.5), Event(trial=0, step=1, time=31.5), Event(trial=2, step=1, time=90.5)],
            g=(2, 0.0),
        )
    )
    assert frame["length"].unique().tolist() == pytest.approx([1 / 60])
    by_group = frame.groupby("group")
    assert by_group["taken"].sum().to_dict() == pytest.approx({"g": 180, "h": 60})  # stretches are a second long
    assert by_group["slots"].sum().to_dict() == pytest.approx({"g": 240, "h": 60})
    assert frame[frame["epochs"] > 0][["minute", "group", "epochs"]].to_numpy().tolist() == [
        [pytest.approx(30 / 60), "g", 1], [pytest.approx(90 / 60), "h", 1],
    ]  # fmt: skip
    early = frame[(frame["group"] == "g") & (frame["minute"] < 0.9)]
    assert early["taken"].tolist() == pytest.approx([2.0] * len(early))
    assert frame[frame["group"] == "h"]["minute"].min() == pytest.approx(1.0)


def test_an_epoch_belongs_to_the_stay_in_which_it_was_finished() -> None:
    moved = loaded([span(0, "a", 0, 10), span(0, "b", 50, 120)],
                   [Event(trial=0, step=1, time=5), Event(trial=0, step=2, time=70)])  # fmt: skip
    assert frames.load(moved).groupby("group")["epochs"].sum().to_dict() == {"a": 1, "b": 1}


def test_before_the_first_trial_there_is_no_load() -> None:
    frame = frames.load(loaded([], []))
    assert frame.empty
    assert list(frame.columns) == ["minute", "length", "group", "taken", "slots", "epochs"]


def test_finals_are_the_metrics_at_the_end_of_done_trials(tmp_path: Path) -> None:
    fates = {1: Fate(end="pruned", epochs=3, values={3: 7.0})}
    home = search(tmp_path / "home", study(trials=3), lambda number, params: fates.get(number, Fate(values={9: 5.0})))
    log = EventLog(home)
    log.append([Event(trial=0, step=9, time=1e9, metrics={"coverage": 0.5}, value=5.0, end="done")])
    log.close()
    frame = frames.finals(home).set_index("number")
    assert frame.index.tolist() == [0, 2]
    assert frame["score"].tolist() == [5.0, 5.0]
    assert frame.loc[0, "coverage"] == 0.5
    assert math.isnan(frame.loc[2, "coverage"])
    assert frames.finals(reading([TrialRow(number=0, end="died", params={}, seed=0)])).empty


def test_a_race_is_a_row_for_each_run() -> None:
    frame = frames.race(chosen())
    assert frame["name"].tolist() == ["trial 4"] * 3 + ["trial 0"] * 2 + ["default"]
    first = frame.iloc[0]
    assert (first["value"], first["mean"], first["searched"], first["eliminated"]) == (6.0, 6.5, 5.5, False)
    assert first["high"] - first["mean"] == pytest.approx(0.5 * 12.706, rel=1e-3)  # Student's, one degree of freedom
    assert math.isnan(frame.iloc[2]["value"])
    assert bool(frame.iloc[3]["eliminated"])
    assert frame.iloc[5][["low", "high", "searched"]].isna().all()
