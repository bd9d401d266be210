"""dashboards.figures beyond the first four: floors, rungs, thinning, slices, rates, ends, groups, finalists, fronts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from test_figures import CURVES, ENDS, HIGH, LOW, LR, MIXED, NAN, NOISE, OPTIMIZER, curves, trace, trials

from dashboards import figures
from dashboards.figures import _base as base
from hpo.effects import Effect, Level, Marginal
from hpo.study import Objective


def test_pruned_trials_stand_by_the_rung_that_stopped_them() -> None:
    frame = trials(("pruned", 9.0), ("pruned", 8.0), ("done", 1.0), ("pruned", 7.0)).assign(step=[3, 3, 27, 9])
    figure = figures.history(frame, objective=LOW, rungs=(3, 9))
    assert (list(trace(figure, "pruned at epoch 3").x), list(trace(figure, "pruned at epoch 9").x)) == ([0, 1], [3])
    assert trace(figure, "pruned at epoch 3").marker.color != trace(figure, "pruned at epoch 9").marker.color
    every = figures.history(frame, objective=LOW, rungs=tuple(range(1, 27)))
    assert list(trace(every, "pruned").x) == [0, 1, 3]


@pytest.mark.parametrize(
    "draw",
    [
        lambda floor: figures.history(MIXED, objective=LOW, floor=floor),
        lambda floor: figures.learning_curves(CURVES, ENDS, metric="nll", objective=LOW, epochs=3, floor=floor),
    ],
)
def test_the_floor_is_a_line_and_in_words(draw: Any) -> None:
    figure = draw(1.25)
    line = trace(figure, "real rows: 1.25")
    assert list(line.y) == [1.25, 1.25]
    assert line.x[0] < line.x[1]
    assert "1.25, is what the metric says of real rows" in figures.sentence(figure)
    assert "real rows" not in figures.sentence(draw(None))
    assert not [item for item in draw(None).data if item.name and "real rows" in item.name]


def test_a_floor_near_a_cut_axis_is_on_it_and_a_far_one_does_not_squeeze_it() -> None:
    values = [*np.linspace(100, 110, 30), 5000.0]
    near = figures.history(trials(*(("done", value) for value in values)), objective=LOW, floor=95.0)
    assert near.layout.yaxis.range[0] < 95 < near.layout.yaxis.range[1]
    far = figures.history(trials(*(("done", value) for value in values)), objective=LOW, floor=1.0)
    assert far.layout.yaxis.range[0] > 90


def test_ten_thousand_curves_are_thinned_and_it_is_said() -> None:
    number = np.repeat(np.arange(10_000), 27)
    long = pd.DataFrame({"trial": number, "step": np.tile(np.arange(1, 28), 10_000), "metric": "nll", "value": 1.0})
    long.loc[long["trial"] == 7773, "value"] = 0.5
    many = pd.DataFrame(
        {"number": np.arange(10_000), "end": "done", "value": 1.0, "cause": "", "feasible": True, "vetoed": False}
    )
    many.loc[7773, "value"] = 0.5
    figure = figures.learning_curves(long, many, metric="nll", objective=LOW, epochs=27)
    assert sum(len(item.x) for item in figure.data) < 2 * base.MAX_POINTS
    assert "1,001 of 10,000 trials are drawn" in figures.sentence(figure)
    assert "One line for each of 10000 trials" in figures.sentence(figure)
    assert figure.data[-1].name == "best: trial 7773"
    assert len(figure.data[-1].x) == 27


def test_long_curves_keep_their_first_and_last_points() -> None:
    long = pd.DataFrame({"trial": np.repeat([1, 2], 40_001), "step": np.tile(np.arange(40_001), 2), "value": 1.0})
    kept, said = base.thinned(long)
    assert len(kept) <= base.MAX_POINTS + 2
    assert kept.groupby("trial")["step"].agg(["min", "max"]).to_numpy().tolist() == [[0, 40_000]] * 2
    assert "one point in 3" in said
    assert base.thinned(long.head(10))[1] == ""


def test_a_slice_is_log_where_the_space_is_and_spans_it() -> None:
    frame = trials(("done", 5.0), ("pruned", 6.0), ("done", 7.0), lr=[1e-3, 1e-2, 1e-2], noise=[0.5, 0.5, None],
                   optimizer=["sgd", "adam", "adam"])  # fmt: skip
    figure = figures.slices(frame, axes=[LR, NOISE, OPTIMIZER], objective=LOW, floor=4.0)
    lr, noise, kind = figure.data
    assert (list(lr.x), list(lr.y), list(lr.customdata)) == ([1e-3, 1e-2], [5.0, 7.0], [0, 2])
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.xaxis.range[0] < -4 < -1 < figure.layout.xaxis.range[1]
    assert figure.layout.xaxis.title.text == "lr (log)"
    assert list(noise.x) == [0.5]  # a trial without the parameter is not in its panel
    assert list(figure.layout.xaxis3.categoryarray) == ["adam", "sgd"]
    assert list(kind.x) == ["sgd", "adam"]
    assert figure.layout.yaxis.title.text == "nll (lower is better)"
    assert len([shape for shape in figure.layout.shapes if shape.y0 == 4.0]) == 3


def test_slices_of_a_thousand_trials_are_on_webgl() -> None:
    frame = trials(*(("done", float(k)) for k in range(1000)), lr=[1e-3] * 999 + [1e-2], noise=[0.5] * 999 + [0.1])
    assert {item.type for item in figures.slices(frame, axes=[LR, NOISE], objective=LOW).data} == {"scattergl"}


def test_each_player_has_a_panel_of_its_rate() -> None:
    rates = pd.concat([curves("generator.lr", t0=[1e-3, 1e-4], t3=[1e-2]), curves("discriminator.lr", t0=[2e-3, 2e-3]),
                       curves("nll", t0=[1.0]), curves("color", t0=[1.0])])  # fmt: skip
    figure = figures.learning_rates(rates, ENDS, objective=HIGH, epochs=2)
    assert [axis.title.text for axis in (figure.layout.yaxis, figure.layout.yaxis2)] == [
        "discriminator.lr",
        "generator.lr",
    ]
    assert {figure.layout.yaxis.type, figure.layout.yaxis2.type} == {"log"}
    assert "discriminator.lr 0.002 throughout, generator.lr from 0.001 to 0.0001" in figures.sentence(figure)
    none = figures.learning_rates(CURVES, ENDS, objective=LOW, epochs=3)
    assert not none.data
    assert figures.sentence(none) == "No learning rate was measured."


def test_ends_are_counted_by_their_cause() -> None:
    frame = trials(("done", 1.0), ("died", NAN), ("died", NAN), ("lost", NAN), ("pruned", 2.0), ("running", NAN),
                   cause="Traceback\n  somewhere\nValueError: <b>x</b>")  # fmt: skip
    bars = figures.ends(frame).data[0]
    found = dict(zip(bars.y, bars.x, strict=True))
    assert found == {"died: ValueError: &lt;b&gt;x&lt;/b&gt;": 2, "done": 1, "pruned": 1,
                     "lost: ValueError: &lt;b&gt;x&lt;/b&gt;": 1}  # fmt: skip
    assert bars.y[-1].startswith("died")  # the most frequent is on top
    assert "Of 5 trials that ended 1 are done" in figures.sentence(figures.ends(frame))


def test_rare_causes_share_a_bar() -> None:
    frame = trials(*[("died", NAN)] * 40).assign(cause=[f"cause {k}" for k in range(40)])
    bars = figures.ends(frame).data[0]
    assert len(bars.y) == 16
    assert (bars.y[0], bars.x[0]) == ("25 rarer causes", 25)


def load_frame(groups: int) -> pd.DataFrame:
    rows = [(minute, 0.5, f"g{group}", 0.5, 1.0, 4) for group in range(groups) for minute in (0.0, 0.5)]
    return pd.DataFrame(rows, columns=["minute", "length", "group", "taken", "slots", "epochs"])


def test_groups_are_stacked_while_they_can_be_told_apart() -> None:
    few, many = figures.load(load_frame(2)), figures.load(load_frame(9))
    names = [item.name for item in few.data]
    assert names == ["g0", "g0", "g1", "g1", "slots there"]
    assert list(few.data[1].y) == [8.0, 8.0]  # four epochs in half a minute
    assert list(few.data[-1].y) == [2.0, 2.0]
    assert [item.name for item in many.data] == ["all 9 groups", "all 9 groups", "slots there"]
    assert list(many.data[0].y) == [4.5, 4.5]
    assert "50% of its slots' time held a trial; 16 epochs were finished, 16 a minute" in figures.sentence(few)
    assert "too many groups" in figures.sentence(many)
    assert figures.sentence(figures.load(load_frame(0))) == "No trial has begun yet."


FINALISTS = pd.DataFrame(
    {
        "name": ["trial 4", "trial 4", "<b>x</b>", "<b>x</b>"], "seed": [1, 2, 1, 2], "value": [6.0, 7.0, 9.0, NAN],
        "mean": [6.5, 6.5, 9.0, 9.0], "low": [5.5, 5.5, NAN, NAN], "high": [7.5, 7.5, NAN, NAN],
        "searched": [5.0, 5.0, NAN, NAN], "eliminated": [False, False, True, True],
    }
)  # fmt: skip


def test_finalists_are_runs_with_the_interval_of_their_mean() -> None:
    figure = figures.finalists(FINALISTS, objective=LOW, floor=4.0)
    assert list(trace(figure, "a seed").x) == [6.0, 7.0]
    assert list(trace(figure, "a seed, eliminated").x) == [9.0]
    means = trace(figure, "mean with its interval")
    by_name = dict(zip(means.y, zip(means.x, means.error_x.arrayminus, means.error_x.array, strict=True), strict=True))
    assert by_name == {"trial 4": (6.5, 1.0, 1.0), "&lt;b&gt;x&lt;/b&gt;": (9.0, 0.0, 0.0)}
    assert list(trace(figure, "value in the search").x) == [5.0]
    assert figure.layout.yaxis.categoryarray[-1] == "trial 4"  # the best on top
    assert figures.finalists(FINALISTS, objective=HIGH).layout.yaxis.categoryarray[-1] == "&lt;b&gt;x&lt;/b&gt;"
    assert list(trace(figure, "real rows: 4").x) == [4.0, 4.0]


COVERAGE = Objective(metric="coverage", direction="maximize")


def finals(*rows: tuple[float, float, bool]) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=["nll", "coverage", "feasible"])
    return frame.assign(number=range(len(rows)), vetoed=False)


def test_the_front_is_what_no_other_beats_in_both() -> None:
    frame = finals(
        (1.0, 0.2, True), (2.0, 0.5, True), (3.0, 0.4, True), (4.0, 0.9, True), (0.5, 0.95, False), (NAN, 1.0, True)
    )
    assert figures.non_dominated(frame.head(5), (LOW, COVERAGE)).tolist() == [True, True, False, True, False]
    figure = figures.pareto(frame, objectives=(LOW, COVERAGE), floors={"coverage": 0.8})
    front = trace(figure, "Pareto front")
    assert (list(front.customdata), list(front.x)) == ([0, 1, 3], [1.0, 2.0, 4.0])
    assert list(trace(figure, "breaks a constraint").x) == [0.5]
    assert list(trace(figure, "coverage of real rows: 0.8").y) == [0.8, 0.8]
    assert figure.layout.xaxis.title.text == "nll (lower is better)"
    assert figure.layout.yaxis.title.text == "coverage (higher is better)"
    assert "trial 0, 1, 3" in figures.sentence(figure)


def test_a_vetoed_trial_is_on_no_front() -> None:
    frame = finals((1.0, 0.5, True), (2.0, 0.4, True), (3.0, 0.9, False))
    frame.loc[0, "vetoed"] = True
    assert figures.non_dominated(frame, (LOW, COVERAGE)).tolist() == [False, True, False]
    frame["vetoed"] = True
    assert not figures.non_dominated(frame, (LOW, COVERAGE)).any()


def test_equal_trials_are_both_on_the_front_and_all_count_where_all_break_a_constraint() -> None:
    frame = finals((1.0, 0.5, False), (1.0, 0.5, False), (1.0, 0.4, False))
    assert figures.non_dominated(frame, (LOW, COVERAGE)).tolist() == [True, True, False]


def test_a_front_of_nothing_says_so() -> None:
    figure = figures.pareto(finals((NAN, 1.0, True)), objectives=(LOW, COVERAGE))
    assert figures.sentence(figure) == "No done trial has both nll and coverage."


def effect(technique: str, *, best: Level | None, worst: Level | None, sure: bool = False) -> Effect:
    levels = tuple(level for level in (best, worst) if level)
    of = Marginal(parameter="<b>lr</b>", reference="1", default=True, expected=10.0, levels=levels, trials=40)
    return Effect(
        technique=technique, parameters=("lr",), trials=40, pruned=12, marginals=(of,), helps=sure, words="w.",
        best=None if best is None else (of, best), worst=None if worst is None else (of, worst),
    )  # fmt: skip


def test_effects_are_best_and_worst_levels_with_their_intervals() -> None:
    down = Level(text="0.1", trials=9, change=-2.0, low=-3.0, high=-1.0)
    up = Level(text="<i>9</i>", trials=9, change=1.0, low=-1.0, high=3.0)
    found = [effect("optimizer", best=down, worst=up, sure=True), effect("batch size", best=up, worst=up),
             effect("transfer", best=None, worst=None)]  # fmt: skip
    figure = figures.effects(found, objective=LOW)
    best, worst = figure.data
    assert (list(best.x), list(best.error_x.arrayminus), list(best.error_x.array)) == ([-2.0], [1.0], [1.0])
    assert list(worst.x) == [1.0, 1.0]  # of the batch size every level is worse than the default
    assert list(figure.layout.yaxis.ticktext) == ["batch size", "optimizer"]
    assert figure.layout.xaxis.title.text == "change of nll (lower is better)"
    assert "Told apart from noise: optimizer." in figures.sentence(figure)
    assert "40 trials, 12 of them pruned" in figures.sentence(figure)
    assert "<b>" not in str(figure.to_dict())
    assert "<i>" not in str(figure.to_dict())
    high = figures.effects(found, objective=HIGH)
    assert list(high.data[0].x) == [1.0]
    assert not figures.effects([found[-1]], objective=LOW).data[0].x


def test_importances_have_intervals_where_they_were_made() -> None:
    frame = pd.DataFrame({"parameter": ["lr", "depth"], "importance": [0.7, 0.3], "trials": 40, "low": [0.5, 0.0],
                          "high": [0.9, 0.45]})  # fmt: skip
    figure = figures.importances(frame, objective=LOW, num_trials=40)
    bars = figure.data[0]
    assert list(bars.y) == ["depth", "lr"]
    np.testing.assert_allclose(bars.error_x.arrayminus, [30, 20])
    np.testing.assert_allclose(bars.error_x.array, [15, 20])
    assert "First is lr with 70 % (50 to 90 %)" in figures.sentence(figure)


def test_every_figure_speaks_of_units_and_direction() -> None:
    drawn: list[go.Figure] = [
        figures.slices(trials(("done", 1.0), ("done", 2.0), lr=[1e-3, 1e-2]), axes=[LR], objective=HIGH),
        figures.finalists(FINALISTS, objective=HIGH),
        figures.pareto(finals((1.0, 0.2, True)), objectives=(LOW, COVERAGE)),
        figures.load(load_frame(2)),
        figures.ends(MIXED),
    ]
    for figure in drawn:
        titles = [axis.title.text for axis in figure.select_xaxes()] + [
            axis.title.text for axis in figure.select_yaxes()
        ]
        assert any(title for title in titles)
        assert len(figures.sentence(figure)) > 40
        assert figures.title(figure)
    assert not math.isnan(drawn[0].layout.height)
