"""dashboards.figures, checked by the data that they draw."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from dashboards import figures
from hpo.analysis import Axis
from hpo.study import Objective

LOW = Objective(metric="nll", direction="minimize")
HIGH = Objective(metric="score", direction="maximize")
NAN = math.nan


def trials(*rows: tuple[str, float], cause: str = "loss is nan", **params: list[Any]) -> pd.DataFrame:
    """One trial for each (end, value), numbered from 0."""
    frame = pd.DataFrame(
        {
            "number": range(len(rows)),
            "end": [end for end, _ in rows],
            "value": [value for _, value in rows],
            "cause": [cause if end in ("died", "lost") else "" for end, _ in rows],
            "feasible": [end != "died" for end, _ in rows],
            "vetoed": False,
        }
    )
    return frame.assign(**{f"params.{name}": pd.Series(values, dtype=object) for name, values in params.items()})


def curves(metric: str, **of_trial: list[float]) -> pd.DataFrame:
    """t0=[...] is the curve of trial 0, from step 1 on."""
    rows = [
        (int(name[1:]), step, metric, value)
        for name, values in of_trial.items()
        for step, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows, columns=["trial", "step", "metric", "value"])


def trace(figure: go.Figure, name: str) -> Any:
    found = [item for item in figure.data if item.name and item.name.split(" (")[0] == name]
    assert found, [item.name for item in figure.data]
    return found[0]


MIXED = trials(
    ("done", 5.0), ("pruned", 9.0), ("done", 7.0), ("died", NAN), ("done", 2.0), ("lost", NAN), ("running", NAN)
)


def test_history_draws_each_trial_at_its_number_and_value() -> None:
    figure = figures.history(MIXED, objective=LOW)
    assert (list(trace(figure, "done").x), list(trace(figure, "done").y)) == ([0, 2, 4], [5.0, 7.0, 2.0])
    assert (list(trace(figure, "pruned").x), list(trace(figure, "pruned").y)) == ([1], [9.0])
    assert list(trace(figure, "died").x) == [3]
    assert list(trace(figure, "lost").x) == [5]
    assert trace(figure, "died").yaxis == "y2"  # they have no value on the value axis
    assert list(trace(figure, "died").customdata) == ["loss is nan"]


@pytest.mark.parametrize(("objective", "expected"), [(LOW, [5.0, 5.0, 2.0]), (HIGH, [5.0, 7.0, 7.0])])
def test_the_best_so_far_follows_the_direction_and_done_trials_alone(
    objective: Objective, expected: list[float]
) -> None:
    line = trace(figures.history(MIXED, objective=objective), "best so far")
    assert (list(line.x), list(line.y)) == ([0, 2, 4], expected)


def test_a_vetoed_trial_is_shown_and_is_not_the_best() -> None:
    vetoed = MIXED.assign(vetoed=MIXED["number"] == 4)
    figure = figures.history(vetoed, objective=LOW)
    assert list(trace(figure, "best so far").y) == [5.0, 5.0]
    assert 4 in trace(figure, "done").x
    assert "1 that you vetoed is no part of it" in figures.sentence(figure)
    assert "vetoed" not in figures.sentence(figures.history(MIXED, objective=LOW))


def test_a_history_without_a_done_trial_has_no_line() -> None:
    names = [item.name for item in figures.history(trials(("pruned", 3.0), ("died", NAN)), objective=LOW).data]
    assert names == ["pruned (1)", "died (1)"]


def test_one_value_out_of_range_does_not_flatten_the_rest() -> None:
    values = [-1.0, *np.linspace(0, 1, 30), 500.0]
    figure = figures.history(trials(*(("done", value) for value in values)), objective=LOW)
    low, high = figure.layout.yaxis.range
    assert low < -0.5
    assert high < 20
    assert "Beyond the axis lie 1 more" in figures.sentence(figure)


def test_one_exploded_trial_gives_no_log_axis_either() -> None:
    values = [*np.linspace(97, 180, 30), 4e6]
    figure = figures.history(trials(*(("done", value) for value in values)), objective=LOW)
    assert figure.layout.yaxis.type is None
    assert figure.layout.yaxis.range[1] < 250


def test_a_log_axis_is_cut_too_and_shows_the_best() -> None:
    values = [1e-30, *np.geomspace(0.01, 100, 60)]
    figure = figures.history(trials(*(("done", value) for value in values)), objective=HIGH)
    assert figure.layout.yaxis.type == "log"
    low, high = figure.layout.yaxis.range
    assert -3 < low < -1
    assert 2 < high < 3
    assert "Beyond the axis lie" in figures.sentence(figure)


CURVES = curves("nll", t0=[9.0, 6.0, 5.0], t1=[9.0, 8.0], t2=[7.0], t3=[8.0, 6.0, 4.0])
ENDS = trials(("done", 5.0), ("pruned", 8.0), ("died", NAN), ("done", 4.0))


def test_curves_of_one_end_are_one_trace_with_a_gap_between_trials() -> None:
    figure = figures.learning_curves(CURVES, ENDS, metric="nll", objective=LOW, epochs=3)
    done = trace(figure, "done")
    np.testing.assert_array_equal(done.x, [1, 2, 3, NAN, 1, 2, 3, NAN])
    np.testing.assert_array_equal(done.y, [9, 6, 5, NAN, 8, 6, 4, NAN])
    assert list(done.customdata) == [0, 0, 0, 0, 3, 3, 3, 3]


def test_pruned_and_dead_trials_are_marked_where_they_stopped() -> None:
    figure = figures.learning_curves(CURVES, ENDS, metric="nll", objective=LOW, epochs=3)
    for end, number, step, value in (("pruned", 1, 2, 8.0), ("died", 2, 1, 7.0)):
        marks = next(item for item in figure.data if item.name == f"{end} (1)")
        assert (list(marks.x), list(marks.y), list(marks.customdata)) == ([step], [value], [number])
        assert marks.mode == "markers"
        assert marks.marker.symbol == figures.END_SYMBOLS[end]


@pytest.mark.parametrize(("objective", "best"), [(LOW, 3), (HIGH, 0)])
def test_the_best_trial_is_drawn_thick(objective: Objective, best: int) -> None:
    figure = figures.learning_curves(CURVES, ENDS, metric="nll", objective=objective, epochs=3)
    line = figure.data[-1]
    assert line.name == f"best: trial {best}"
    assert list(line.y) == CURVES[CURVES["trial"] == best]["value"].tolist()
    assert line.line.width > max(item.line.width for item in figure.data[:-1] if item.mode == "lines" and item.x[0])


def test_rungs_are_vertical_lines_and_a_pruner_of_every_epoch_has_none() -> None:
    options = {"metric": "nll", "objective": LOW, "epochs": 27}
    figure = figures.learning_curves(CURVES, ENDS, rungs=(3, 9), **options)
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(3, 3), (9, 9)]
    assert "rungs" in figures.sentence(figure)
    assert not figures.learning_curves(CURVES, ENDS, rungs=tuple(range(1, 27)), **options).layout.shapes


def test_a_dead_trial_does_not_set_the_scale_of_a_metric_of_unknown_direction() -> None:
    points = pd.concat(
        [
            curves("elbo", t0=[-120.0, -110.0, -100.0] * 9, t3=[-115.0] * 27, t1=[-118.0] * 6),
            curves("elbo", t2=[-4e7, -5e7, -6e7]),
        ]
    )
    figure = figures.learning_curves(points, ENDS, metric="elbo", objective=LOW, epochs=27)
    low, high = figure.layout.yaxis.range
    assert -200 < low < -120
    assert -100 < high < 0
    assert "Beyond the axis lie 3 more" in figures.sentence(figure)
    assert figure.layout.yaxis.title.text == "elbo"


def test_a_metric_that_nobody_measured_gives_no_curve() -> None:
    figure = figures.learning_curves(CURVES, ENDS, metric="fid", objective=LOW, epochs=3)
    assert not figure.data


def test_a_thousand_trials_are_few_traces_on_webgl() -> None:
    many = trials(*((("done", 1.0), ("pruned", 2.0), ("died", NAN), ("running", NAN))[k % 4] for k in range(1000)))
    long = curves("nll", **{f"t{k}": [1.0, 2.0, 3.0] for k in range(1000)})
    figure = figures.learning_curves(long, many, metric="nll", objective=LOW, epochs=3)
    assert len(figure.data) < 12
    lines = trace(figure, "done")
    assert lines.type == "scattergl"
    assert lines.opacity < 0.3
    few = figures.learning_curves(CURVES, ENDS, metric="nll", objective=LOW, epochs=3)
    assert trace(few, "done").type == "scatter"


LR = Axis(name="lr", low=1e-4, high=1e-1, log=True)
NOISE = Axis(name="noise", low=0.0, high=1.0)
OPTIMIZER = Axis(name="optimizer", options=("adam", "sgd"))
FIXED = Axis(name="width", options=(64,))


def parallel(frame: pd.DataFrame, *axes: Axis, objective: Objective = LOW) -> Any:
    figure = figures.parallel_coordinates(frame, axes=axes, objective=objective)
    assert len(figure.data) == 1
    return figure.data[0]


def test_parallel_axes_are_log_where_the_space_is_and_fixed_values_are_left_out() -> None:
    frame = trials(("done", 5.0), ("done", 7.0), lr=[1e-3, 1e-2], noise=[0.25, 0.5], width=[64, 64])
    value, lr, noise = parallel(frame, LR, NOISE, FIXED).dimensions
    assert (value.label, list(value["values"])) == ("nll", [5.0, 7.0])
    np.testing.assert_allclose(lr["values"], [-3, -2])
    np.testing.assert_allclose(lr.range, [-4, -1])
    assert dict(zip(lr.tickvals, lr.ticktext, strict=True)) == {-4: "0.0001", -3: "0.001", -2: "0.01", -1: "0.1"}
    np.testing.assert_allclose(noise["values"], [0.25, 0.5])
    assert list(noise.ticktext) == ["0", "0.5", "1"]


def test_a_parameter_that_a_trial_lacks_lies_below_the_range() -> None:
    frame = trials(("done", 5.0), ("done", 7.0), lr=[1e-3, None], optimizer=["sgd", None])
    _, lr, optimizer = parallel(frame, LR, OPTIMIZER).dimensions
    assert lr["values"][1] < -4
    assert lr.ticktext[0] == "absent"
    assert lr.tickvals[0] == lr["values"][1] == lr.range[0]
    assert list(optimizer.ticktext) == ["absent", "adam", "sgd"]
    assert list(optimizer["values"]) == [1.0, optimizer.tickvals[0]]


def test_options_that_are_equal_and_not_the_same_stay_apart() -> None:
    switch = Axis(name="switch", options=(True, 2, "2"))
    found = parallel(trials(("done", 1.0), ("done", 2.0), ("done", 3.0), switch=["2", True, 2]), switch).dimensions[1]
    assert list(found["values"]) == [2.0, 0.0, 1.0]
    assert list(found.ticktext) == ["True", "2", "2"]


def test_whole_numbers_get_whole_ticks() -> None:
    depth = Axis(name="depth", low=1, high=3, whole=True)
    assert list(parallel(trials(("done", 1.0), ("done", 2.0), depth=[1, 3]), depth).dimensions[1].tickvals) == [1, 2, 3]


@pytest.mark.parametrize(("objective", "best"), [(LOW, 0), (HIGH, 2)])
def test_the_best_lines_are_the_darkest_and_on_top(objective: Objective, best: int) -> None:
    frame = trials(("done", 1.0), ("done", 2.0), ("done", 3.0), ("pruned", 0.0), lr=[1e-3, 1e-2, 1e-4, 1e-1])
    line = parallel(frame, LR, objective=objective).line
    assert int(np.argmax(line.color)) == best  # Plotly draws high colors last
    assert line.reversescale  # and Cividis is dark at its low end
    assert len(line.color) == 3


def test_parallel_coordinates_take_the_first_axes_and_no_more_than_can_be_read() -> None:
    axes = [Axis(name=f"p{k}", low=0.0, high=1.0) for k in range(20)]
    frame = trials(("done", 1.0), ("done", 2.0), **{axis.name: [0.1, 0.9] for axis in axes})
    drawn = parallel(frame, *axes).dimensions
    assert [dimension.label for dimension in drawn] == ["nll", *(f"p{k}" for k in range(figures.MAX_AXES))]


def test_importances_are_percent_with_the_greatest_on_top() -> None:
    frame = pd.DataFrame({"parameter": ["lr", "depth", "beta"], "importance": [0.5, 0.2, 0.3], "trials": 40})
    figure = figures.importances(frame, objective=LOW, num_trials=40)
    assert list(figure.data[0].y) == ["depth", "beta", "lr"]  # Plotly draws from the bottom
    assert list(figure.data[0].x) == pytest.approx([20, 30, 50])
    assert "over 40 done trials" in figures.sentence(figure)
    assert "Pruned and dead trials are left out" in figures.sentence(figure)


def test_no_importances_are_said_in_words() -> None:
    figure = figures.importances(pd.DataFrame({"parameter": [], "importance": []}), objective=LOW, num_trials=3)
    assert "too few done trials" in figures.sentence(figure)


def every_figure(objective: Objective, frame: pd.DataFrame, name: str) -> list[go.Figure]:
    axis = Axis(name=name, options=("<b>x</b>", "y"))
    shares = pd.DataFrame({"parameter": [name], "importance": [1.0]})
    points = curves(objective.metric, t0=[1.0, 2.0], t1=[2.0])
    return [
        figures.history(frame, objective=objective),
        figures.learning_curves(points, frame, metric=objective.metric, objective=objective, epochs=2),
        figures.parallel_coordinates(frame, axes=[axis], objective=objective),
        figures.importances(shares, objective=objective, num_trials=2),
    ]


def test_text_that_a_user_chose_is_never_markup() -> None:
    """Plotly shows <b>, <i>, <a> and more as markup, wherever it takes text."""
    name = "<a href='x'>p</a>"
    frame = trials(("done", 1.0), ("done", 2.0), ("died", NAN), cause="<b>boom</b>", **{name: ["<b>x</b>", "y", "y"]})
    for figure in every_figure(Objective(metric="<i>m</i>", direction="minimize"), frame, name):
        text = str(figure.to_dict()).replace("<extra></extra>", "")
        for tag in ("<i>", "<b>", "<a "):
            assert tag not in text.replace(figures.sentence(figure), "")
        assert figures.title(figure).count("<i>m</i>") == 1


def test_every_figure_has_a_title_a_sentence_and_named_axes() -> None:
    frame = trials(("done", 1.0), ("done", 2.0), p=["<b>x</b>", "y"])
    for figure in every_figure(LOW, frame, "p"):
        assert "nll" in figures.title(figure)
        assert len(figures.sentence(figure)) > 40
        if figure.data[0].type in ("scatter", "scattergl"):
            assert figure.layout.xaxis.title.text in ("trial number", "finished epochs")
            assert figure.layout.yaxis.title.text == "nll (lower is better)"
    bars = every_figure(LOW, frame, "p")[-1]
    assert bars.layout.xaxis.title.text.endswith("%")


def test_colors_come_from_one_palette_and_differ() -> None:
    okabe_ito = {"#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    colors = list(figures.END_COLORS.values())
    assert len(set(colors)) == len(colors)
    assert set(colors) - okabe_ito == {figures.GREY}
    symbols = list(figures.END_SYMBOLS.values())
    assert len(set(symbols)) == len(symbols)  # told apart without any color
