"""Figures of a search: pure functions from the frames of `hpo.analysis` to Plotly figures.

One palette, one layout, units on every axis. Each figure carries the sentence that explains it (`sentence`), so that
whoever shows it shows that too. Nothing is read from disk here. Text that a user can choose is escaped, as Plotly
takes text for a subset of HTML.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hpo.analysis import PARAMS, Axis
from hpo.study import Objective

# Okabe and Ito (2008), Color Universal Design: told apart under the three common kinds of color blindness.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"
SCALE = "Cividis"  # for values: even in lightness, so it holds for color-blind eyes and in grey print
END_COLORS = {"done": BLUE, "pruned": ORANGE, "died": VERMILION, "lost": GREY, "running": GREEN, "waiting": SKY}
END_SYMBOLS = {
    "done": "circle",
    "pruned": "triangle-down",
    "died": "x",
    "lost": "diamond-open",
    "running": "circle-open",
}

MARKED = ("pruned", "died", "lost")  # ends that stop a curve early, so its last point gets a mark

WEBGL_POINTS = 1500  # beyond this SVG gets slow to draw; below it works everywhere and prints sharp
MAX_RUNGS = 12  # a pruner that decides at every epoch has no rungs worth a line each
MAX_AXES = 12  # more parallel axes than this cannot be read
ABSENT = "absent"
_WIDE_RATIO = 50.0  # all values positive and farther apart than this: a log axis


def sentence(figure: go.Figure) -> str:
    """Return what the figure shows, in words for the page around it. Plain text, not escaped."""
    return str(figure.layout.meta["sentence"])


def title(figure: go.Figure) -> str:
    """Return the title of a figure. Plain text, not escaped."""
    return html.unescape(str(figure.layout.title.text))


def history(trials: pd.DataFrame, *, objective: Objective) -> go.Figure:
    """Return every trial's value against its number, with the best so far as a line.

    Only done trials make the line: a pruned one's value is that of a shorter training.
    """
    ended = trials[trials["end"].isin(["done", "pruned"])]
    shown = ended[np.isfinite(ended["value"])]
    done, winnable = shown[shown["end"] == "done"], _winnable(shown)
    figure = _figure(f"Value of each trial: {objective.metric}")
    for end in ("pruned", "done"):
        rows = shown[shown["end"] == end]
        _markers(figure, rows["number"], rows["value"], end=end, name=_counted(end, len(rows)), total=len(shown))
    if len(winnable):
        best = winnable["value"].cummin() if objective.direction == "minimize" else winnable["value"].cummax()
        figure.add_trace(
            go.Scatter(
                x=winnable["number"], y=best, mode="lines", name="best so far",
                line={"color": BLACK, "width": 2, "shape": "hv"},
                hovertemplate="best so far after trial %{x}: %{y:.5g}<extra></extra>",
            )
        )  # fmt: skip
    dead = trials[trials["end"].isin(["died", "lost"])]
    _rug(figure, dead)
    figure.update_xaxes(title="trial number")
    focus = done["value"] if len(done) else shown["value"]
    beyond = _value_axis(figure, shown["value"], _axis_title(objective), direction=objective.direction, focus=focus)
    text = (
        f"Each mark is one trial: {len(done)} done, {len(shown) - len(done)} pruned at the value they had when they "
        f"were stopped, so after a shorter training. {len(dead)} that died or were lost are marked along the bottom. "
        "The line is the best done trial so far, of those that break no constraint where there are any."
    )
    return _explained(figure, text + _beyond(beyond))


def learning_curves(
    curves: pd.DataFrame,
    trials: pd.DataFrame,
    *,
    metric: str,
    objective: Objective,
    epochs: int,
    rungs: Sequence[int] = (),
) -> go.Figure:
    """Return one line a trial of `metric` over finished epochs, colored by how the trial ended.

    curves: the long form, filtered here by `metric`, the objective or another. rungs: steps drawn as vertical lines.
    The trial that is best by the objective is drawn thick.
    """
    points = curves[(curves["metric"] == metric) & np.isfinite(curves["value"])].sort_values(["trial", "step"])
    ends = trials.set_index("number")["end"]
    points = points.assign(end=points["trial"].map(ends))
    last = points.groupby("trial").tail(1)
    best = _best_number(trials, objective) if len(points) else None
    figure = _figure(f"Learning curves: {metric}")
    for step in rungs if len(rungs) <= MAX_RUNGS else ():
        figure.add_vline(x=step, line={"color": GREY, "width": 1, "dash": "dot"}, layer="below")
    for end in ("pruned", "died", "lost", "running", "done"):
        rows = points[points["end"] == end]
        if len(rows):
            _curve(figure, rows, end=end, total=len(points))
        tips = last[last["end"] == end]
        if end in MARKED and len(tips):
            _markers(figure, tips["step"], tips["value"], end=end, name=_counted(end, len(tips)),
                     total=len(points), number=tips["trial"])  # fmt: skip
    if best is not None and len(points[points["trial"] == best]):
        rows = points[points["trial"] == best]
        figure.add_trace(_line(rows["step"], rows["value"], numbers=rows["trial"], total=0, name=f"best: trial {best}",
                               line={"color": BLACK, "width": 3}, mode="lines+markers"))  # fmt: skip
    figure.update_xaxes(title="finished epochs", range=[0, epochs * 1.02])
    known = metric == objective.metric
    done = points[points["end"] == "done"]["value"]
    beyond = _value_axis(
        figure, points["value"], _axis_title(objective) if known else _escape(metric),
        direction=objective.direction if known else None, focus=done if len(done) else points["value"],
    )  # fmt: skip
    count = points["trial"].nunique()
    text = (
        f"One line for each of {count} trials; a triangle is where one was pruned, a cross where one died, a diamond "
        "where one was lost."
    )
    if 0 < len(rungs) <= MAX_RUNGS:
        text += " The dotted lines are the rungs, where the pruner decides."
    return _explained(figure, text + _beyond(beyond))


def parallel_coordinates(trials: pd.DataFrame, *, axes: Sequence[Axis], objective: Objective) -> go.Figure:
    """Return one line for each done trial through its value and the parameters that vary, colored by value.

    axes: in the order to draw; the first `MAX_AXES` that vary are taken.
    Pruned and dead trials are left out: their values belong to shorter trainings. A conditional parameter that a
    trial does not have lies at the tick `absent`.
    """
    done = trials[(trials["end"] == "done") & np.isfinite(trials["value"])]
    varied = [
        axis for axis in axes if PARAMS + axis.name in done and done[PARAMS + axis.name].nunique(dropna=False) > 1
    ]
    drawn = varied[:MAX_AXES]
    dimensions = [_dimension(done[PARAMS + axis.name], axis) for axis in drawn]
    figure = _figure(f"Parameters of the done trials: {objective.metric}")
    if len(done) and dimensions:
        values = done["value"]
        goodness = values if objective.direction == "maximize" else -values  # lines of high color are drawn on top
        low, high = _robust(goodness, "maximize")
        dimensions.insert(0, {"label": _escape(objective.metric), "values": values.to_numpy(), "tickformat": ".4~g"})
        figure.add_trace(
            go.Parcoords(
                dimensions=dimensions,
                line={
                    "color": goodness.to_numpy(), "colorscale": SCALE, "cmin": low, "cmax": high, "reversescale": True,
                },
                unselected={"line": {"color": GREY, "opacity": 0.05}},
                labelangle=-20, labelfont={"size": 12, "color": BLACK}, tickfont={"size": 11, "color": BLACK},
                rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
            )
        )  # fmt: skip
    figure.update_layout(margin={"l": 60, "r": 30, "t": 70, "b": 30})
    text = (
        f"One line for each of {len(done)} done trials, from its value on the left through {len(drawn)} of the "
        f"{len(varied)} parameters that vary; dark lines are the best. Drag along an axis to keep only a range of it. "
        "Parameters sampled by size have log axes; pruned and dead trials are left out."
    )
    return _explained(figure, text)


def importances(frame: pd.DataFrame, *, objective: Objective, num_trials: int) -> go.Figure:
    """Return a bar for each parameter: its share of the importance, most important on top."""
    rows = frame.sort_values("importance")
    figure = _figure(f"Importance of each parameter for {objective.metric}")
    share = rows["importance"] * 100
    figure.add_trace(
        go.Bar(
            x=share, y=[_escape(name) for name in rows["parameter"]], orientation="h", marker={"color": BLUE},
            text=[f"{value:.0f} %" for value in share], textposition="outside", cliponaxis=False,
            hovertemplate="%{y}: %{x:.1f} %<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="share of the importance, %", rangemode="tozero")
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(height=120 + 26 * max(len(rows), 1), showlegend=False, margin={"l": 10, "r": 50})
    if not len(rows):
        return _explained(figure, f"There are too few done trials yet to say what matters: {num_trials}.")
    text = (
        f"How much each parameter sets the best trials apart (PED-ANOVA, Watanabe et al. 2023), over {num_trials} done "
        "trials. Pruned and dead trials are left out, so a parameter that only kills trials shows no importance here."
    )
    return _explained(figure, text)


def _figure(heading: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        template="none", title={"text": _escape(heading), "x": 0, "xanchor": "left"}, height=460,
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "#222222"},
        margin={"l": 70, "r": 20, "t": 45, "b": 50}, hovermode="closest", paper_bgcolor="white", plot_bgcolor="white",
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "itemsizing": "constant"},
    )  # fmt: skip
    figure.update_xaxes(gridcolor="#E5E5E5", zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor="#E5E5E5", zeroline=False, automargin=True)
    return figure


def _explained(figure: go.Figure, text: str) -> go.Figure:
    figure.update_layout(meta={"sentence": text})
    return figure


def _escape(text: object) -> str:
    return html.escape(str(text), quote=False)


def _counted(end: str, count: int) -> str:
    return f"{end} ({count})"


def _axis_title(objective: Objective) -> str:
    better = "lower" if objective.direction == "minimize" else "higher"
    return f"{_escape(objective.metric)} ({better} is better)"


def _line(
    x: pd.Series, y: pd.Series, *, numbers: pd.Series, total: int, name: str,
    line: dict[str, str | float], mode: str = "lines", opacity: float = 1.0, legend: bool = True,
) -> go.Scatter | go.Scattergl:  # fmt: skip
    trace = go.Scattergl if total > WEBGL_POINTS else go.Scatter
    return trace(
        x=x, y=y, mode=mode, name=name, line=line, opacity=opacity, customdata=numbers, showlegend=legend,
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.5g}<extra></extra>",
    )  # fmt: skip


def _curve(figure: go.Figure, rows: pd.DataFrame, *, end: str, total: int) -> None:
    """Add all curves of one end as one trace, a gap between two trials: a trace for each is slow at 1,000."""
    gaps = pd.DataFrame({"trial": rows["trial"].unique(), "step": math.inf, "value": math.nan})
    drawn = pd.concat([rows[["trial", "step", "value"]], gaps]).sort_values(["trial", "step"])
    x = drawn["step"].replace(math.inf, math.nan)
    count = rows["trial"].nunique()
    figure.add_trace(
        _line(x, drawn["value"], numbers=drawn["trial"], total=total, name=end, legend=False,
              line={"color": END_COLORS[end], "width": 1}, opacity=min(0.7, max(0.15, 30 / count)))
    )  # fmt: skip
    if end not in MARKED:  # a key of its own: that of a thin pale line cannot be seen
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="lines", name=_counted(end, count),
                       line={"color": END_COLORS[end], "width": 2})
        )  # fmt: skip


def _markers(
    figure: go.Figure, x: pd.Series, y: pd.Series, *, end: str, name: str, total: int, number: pd.Series | None = None
) -> None:
    if not len(x):
        return
    trace = go.Scattergl if total > WEBGL_POINTS else go.Scatter
    where = "trial %{x}" if number is None else "trial %{customdata}, epoch %{x}"
    figure.add_trace(
        trace(
            x=x, y=y, mode="markers", name=name, customdata=number, opacity=0.9 if len(x) < 300 else 0.55,
            marker={"color": END_COLORS[end], "symbol": END_SYMBOLS[end], "size": 7 if len(x) < 300 else 5},
            hovertemplate=f"{where}, {end}: %{{y:.5g}}<extra></extra>",
        )
    )  # fmt: skip


def _rug(figure: go.Figure, dead: pd.DataFrame) -> None:
    """Mark trials without a comparable value along the bottom, with their cause in the hover text."""
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})
    for end in ("died", "lost"):
        rows = dead[dead["end"] == end]
        if len(rows):
            causes = [_escape(cause.strip().splitlines()[-1][:120]) if cause.strip() else "" for cause in rows["cause"]]
            figure.add_trace(
                go.Scatter(
                    x=rows["number"], y=[0.015] * len(rows), yaxis="y2", mode="markers", name=_counted(end, len(rows)),
                    marker={"color": END_COLORS[end], "symbol": END_SYMBOLS[end], "size": 7}, customdata=causes,
                    hovertemplate=f"trial %{{x}} {end}: %{{customdata}}<extra></extra>",
                )
            )  # fmt: skip


def _dimension(column: pd.Series, axis: Axis) -> dict[str, object]:
    """Return one axis of the parallel coordinates; trials without the parameter lie at `absent`, below the range."""
    missing = column.isna()
    if axis.options:
        position = {_key(option): index for index, option in enumerate(axis.options)}
        numbers = column.map(lambda value: position.get(_key(value), math.nan)).astype(float)
        ticks = {
            float(index): _escape(f"{option:.4g}" if isinstance(option, float) else option)
            for index, option in enumerate(axis.options)
        }
        low, high = 0.0, float(max(len(axis.options) - 1, 1))
    else:
        numbers = column.astype(float)
        numbers = numbers.map(math.log10) if axis.log else numbers
        low, high = (math.log10(axis.low), math.log10(axis.high)) if axis.log else (axis.low, axis.high)
        ticks = _ticks(axis)
    if missing.any():
        below = low - 0.12 * (high - low)
        numbers = numbers.mask(missing, below)
        ticks = {below: ABSENT} | ticks
        low = below
    return {
        "label": _escape(axis.name), "values": numbers.to_numpy(dtype=float), "range": [low, high],
        "tickvals": list(ticks), "ticktext": list(ticks.values()),
    }  # fmt: skip


def _key(value: object) -> str:
    """Two options may be equal and not the same (True and 1, 1 and 1.0)."""
    return f"{type(value).__name__}:{value}"


def _ticks(axis: Axis) -> dict[float, str]:
    if axis.log:
        low, high = math.log10(axis.low), math.log10(axis.high)
        inner = [float(power) for power in range(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)]
        return {power: f"{10.0**power:.3g}" for power in sorted({low, high, *inner} if len(inner) < 2 else inner)}
    rough = (axis.high - axis.low) / 4
    unit = 10.0 ** math.floor(math.log10(rough))
    step = unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough)
    step = max(1.0, step) if axis.whole else step
    first, last = math.ceil(axis.low / step - 1e-9), math.floor(axis.high / step + 1e-9)
    return {index * step: f"{index * step:.3g}" for index in range(first, last + 1)}


def _best_number(trials: pd.DataFrame, objective: Objective) -> int | None:
    done = _winnable(trials[np.isfinite(trials["value"])])
    if not len(done):
        return None
    values = done["value"].to_numpy()
    row = np.argmin(values) if objective.direction == "minimize" else np.argmax(values)
    return int(done["number"].to_numpy()[row])


def _winnable(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the done trials of which one is the best: those that break no constraint, or all where there are none."""
    done = trials[trials["end"] == "done"]
    feasible = done[done["feasible"].astype(bool)]
    return feasible if len(feasible) else done


def _robust(values: pd.Series, direction: str | None) -> tuple[float, float]:
    """Return the range from the best value to the one that nine in ten reach: a few bad ones would flatten the rest.

    Without a direction one in twenty may lie beyond on either side.
    """
    low, high = float(values.min()), float(values.max())
    if len(values) >= 10:
        low = low if direction == "minimize" else _quantile(values, 0.1 if direction else 0.05)
        high = high if direction == "maximize" else _quantile(values, 0.9 if direction else 0.95)
    return low, high


def _quantile(values: pd.Series, share: float) -> float:
    """Return one of the values, the inner neighbor: a mean with an extreme outlier would be an outlier itself."""
    return float(values.quantile(share, interpolation="higher" if share < 0.5 else "lower"))


def _value_axis(figure: go.Figure, values: pd.Series, label: str, *, direction: str | None, focus: pd.Series) -> int:
    """Set the y axis so that the best and nearly all of `focus` are told apart; return how many values lie beyond it.

    Log where these are positive and far apart. A few values far out, as of trials that exploded, do not set the scale.
    """
    figure.update_layout(yaxis={"title": {"text": label}})
    if not len(values):
        return 0
    near, far = _robust(values, direction)
    near = min(near, _quantile(focus, 0.02))
    far = max(far, _quantile(focus, 0.98))
    is_log = near > 0 and far / near > _WIDE_RATIO
    if is_log:
        figure.update_layout(yaxis={"type": "log", "dtick": 1 if far / near > 1e3 else None})
        near, far = math.log10(near), math.log10(far)
        values = values.map(lambda value: math.log10(value) if value > 0 else -math.inf)
    if not float(values.max() - values.min()) > 3 * (far - near) > 0:
        return 0
    pad = 0.08 * (far - near)
    figure.update_layout(yaxis={"range": [near - pad, far + pad]})
    return int(((values < near - pad) | (values > far + pad)).sum())


def _beyond(count: int) -> str:
    return f" Beyond the axis lie {count} more; double click to see all." if count else ""
