"""What the parameters did: parallel coordinates, the value against each, and which of them mattered."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures import _base as base
from hpo.analysis import PARAMS, Axis
from hpo.study import Objective

MAX_AXES = 12  # more parallel axes than this cannot be read
MAX_PANELS = 12
ABSENT = "absent"
SLICE_SCALE = [[0.0, "#C6DCEB"], [1.0, "#00325B"]]


def parallel_coordinates(trials: pd.DataFrame, *, axes: Sequence[Axis], objective: Objective) -> go.Figure:
    """Return one line for each done trial through its value and the parameters that vary, colored by value.

    axes: in the order to draw; the first `MAX_AXES` that vary are taken.
    Pruned and dead trials are left out: their values belong to shorter trainings. A conditional parameter that a
    trial does not have lies at the tick `absent`.
    """
    done = trials[(trials["end"] == "done") & np.isfinite(trials["value"])]
    varied = _varied(done, axes)
    drawn = varied[:MAX_AXES]
    dimensions = [_dimension(done[PARAMS + axis.name], axis) for axis in drawn]
    figure = base.blank(f"Parameters of the done trials: {objective.metric}")
    if len(done) and dimensions:
        values = done["value"]
        goodness = values if objective.direction == "maximize" else -values  # lines of high color are drawn on top
        low, high = base.robust(goodness, "maximize")
        dimensions.insert(
            0, {"label": base.escape(objective.metric), "values": values.to_numpy(), "tickformat": ".4~g"}
        )
        figure.add_trace(
            go.Parcoords(
                dimensions=dimensions,
                line={
                    "color": goodness.to_numpy(), "colorscale": base.SCALE, "cmin": low, "cmax": high,
                    "reversescale": True,
                },
                unselected={"line": {"color": base.GREY, "opacity": 0.05}},
                labelangle=-20, labelfont={"size": 12, "color": base.BLACK}, tickfont={"size": 11, "color": base.BLACK},
                rangefont={"size": 1, "color": "rgba(0,0,0,0)"},
            )
        )  # fmt: skip
    figure.update_layout(margin={"l": 60, "r": 60, "t": 70, "b": 30})
    text = (
        f"One line for each of {len(done)} done trials, from its value on the left through {len(drawn)} of the "
        f"{len(varied)} parameters that vary; dark lines are the best. Drag along an axis to keep only a range of it. "
        "Parameters sampled by size have log axes; pruned and dead trials are left out."
    )
    return base.explained(figure, text)


def slices(
    trials: pd.DataFrame, *, axes: Sequence[Axis], objective: Objective, columns: int = 3, floor: float | None = None
) -> go.Figure:
    """Return the value of each done trial against each parameter: a panel for each that varies, log where sampled so.

    axes: in the order to draw; the first `MAX_PANELS` that vary are taken. A trial without a conditional parameter is
    left out of its panel. Darker marks are later trials, so that one sees where the sampler went.
    """
    done = trials[(trials["end"] == "done") & np.isfinite(trials["value"])]
    varied = _varied(done, axes)
    drawn = varied[:MAX_PANELS]
    rows = max(1, -(-len(drawn) // columns))
    figure = base.blank(f"Value against each parameter: {objective.metric}", height=110 + 235 * rows)
    if drawn:
        figure.set_subplots(rows=rows, cols=columns, shared_yaxes=True, vertical_spacing=0.32 / rows,
                            horizontal_spacing=0.05)  # fmt: skip
    total = len(done) * len(drawn)
    trace = go.Scattergl if total > base.WEBGL_POINTS else go.Scatter
    for index, axis in enumerate(drawn):
        place = {"row": index // columns + 1, "col": index % columns + 1}
        there = done[done[PARAMS + axis.name].notna()]
        x = [base.shown(value) for value in there[PARAMS + axis.name]] if axis.options else there[PARAMS + axis.name]
        figure.add_trace(
            trace(
                x=x, y=there["value"], mode="markers", customdata=there["number"], showlegend=False,
                marker={"color": there["number"], "colorscale": SLICE_SCALE, "cmin": 0, "cmax": done["number"].max(),
                        "size": 6 if len(done) < 300 else 4, "line": {"color": "white", "width": 0.5}},
                hovertemplate="trial %{customdata}, %{x}: %{y:.5g}<extra></extra>",
            ),
            **place,
        )  # fmt: skip
        name = base.escape(axis.name) + (" (log)" if axis.log else "")
        figure.update_xaxes(title={"text": name, "standoff": 6}, **_slice_axis(axis), **place)
    base.plain_axes(figure)
    return base.explained(figure, _sliced(figure, done, drawn, varied, objective, columns=columns, floor=floor))


def _slice_axis(axis: Axis) -> dict[str, object]:
    """Return the look of an x axis: the whole range of the space, so that one sees where nothing was tried."""
    if axis.options:
        options = [base.shown(option) for option in axis.options]
        return {
            "type": "category",
            "categoryorder": "array",
            "categoryarray": options,
            "range": [-0.5, len(options) - 0.5],
        }
    low, high = (math.log10(axis.low), math.log10(axis.high)) if axis.log else (axis.low, axis.high)
    pad = 0.04 * (high - low)
    ticks = _ticks(axis)
    places = [10.0**place for place in ticks] if axis.log else list(ticks)
    return {"type": "log" if axis.log else "linear", "range": [low - pad, high + pad], "tickvals": places,
            "ticktext": list(ticks.values())}  # fmt: skip


def _sliced(
    figure: go.Figure, done: pd.DataFrame, drawn: Sequence[Axis], varied: Sequence[Axis], objective: Objective, *,
    columns: int, floor: float | None,
) -> str:  # fmt: skip
    """Set the one value axis of all panels, with the floor in each, and return the sentence."""
    said, beyond = "", 0
    if drawn:
        one = go.Figure()  # the axis is settled as that of a single panel, then given to all
        said = base.floor_line(one, floor, over=[0, 1])
        beyond = base.value_axis(one, done["value"], "", direction=objective.direction, focus=done["value"],
                                 floor=floor)  # fmt: skip
        figure.update_yaxes(type=one.layout.yaxis.type, range=one.layout.yaxis.range, dtick=one.layout.yaxis.dtick)
        figure.update_yaxes(title=base.axis_title(objective), col=1)
        if said:
            figure.add_hline(y=floor, line={"color": base.PURPLE, "width": 2, "dash": "dash"})
    text = (
        f"One mark for each of {len(done)} done trials in each panel, darker the later it was drawn, for {len(drawn)} "
        f"of the {len(varied)} parameters that vary. Values at one place differ by all other parameters and the seed."
    )
    return text + said + base.beyond(beyond)


def _varied(done: pd.DataFrame, axes: Sequence[Axis]) -> list[Axis]:
    return [axis for axis in axes if PARAMS + axis.name in done and done[PARAMS + axis.name].nunique(dropna=False) > 1]


def importances(frame: pd.DataFrame, *, objective: Objective, num_trials: int) -> go.Figure:
    """Return a bar for each parameter: its share of the importance, most important on top.

    frame: parameter, importance and, where an interval was made, its ends low and high, all in shares of 1.
    """
    rows = frame.sort_values("importance")
    figure = base.blank(f"Importance of each parameter for {objective.metric}", height=120 + 26 * max(len(rows), 1))
    share = rows["importance"] * 100
    known = {"low", "high"} <= set(rows)
    low, high = (rows["low"] * 100, rows["high"] * 100) if known else (share, share)
    # The text stands beyond the interval, where the bar alone would put it on the line.
    figure.add_trace(
        go.Bar(
            x=share, y=[base.escape(name) for name in rows["parameter"]], orientation="h",
            marker={"color": base.SKY if known else base.BLUE},
            error_x={"type": "data", "symmetric": False, "array": high - share, "arrayminus": share - low,
                     "color": base.BLACK, "thickness": 1.2, "width": 3} if known else None,
            customdata=[f"{a:.0f} to {b:.0f} %" for a, b in zip(low, high, strict=True)],
            hovertemplate="%{y}: %{x:.1f} %" + (", interval %{customdata}" if known else "") + "<extra></extra>",
        )
    )  # fmt: skip
    for name, value, end in zip(rows["parameter"], share, np.maximum(share, high), strict=True):
        figure.add_annotation(x=end, y=base.escape(name), text=f"{value:.0f} %", showarrow=False, xanchor="left",
                              xshift=6, font={"size": 12})  # fmt: skip
    figure.update_xaxes(title="share of the importance, %", rangemode="tozero")
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(showlegend=False, margin={"l": 10, "r": 50})
    if not len(rows):
        return base.explained(figure, f"There are too few done trials yet to say what matters: {num_trials}.")
    text = (
        f"How much each parameter sets the best trials apart (PED-ANOVA, Watanabe et al. 2023), over {num_trials} done "
        "trials. Pruned and dead trials are left out, so a parameter that only kills trials shows no importance here."
    )
    if known:
        first = rows.iloc[-1]
        text += (
            " The lines are 95 % intervals over resampled trials; where they overlap, the order is chance, and a "
            "parameter without any effect has some share too. First is "
            f"{first['parameter']} with {100 * first['importance']:.0f} % ({100 * first['low']:.0f} to "
            f"{100 * first['high']:.0f} %)."
        )
    return base.explained(figure, text)


def _dimension(column: pd.Series, axis: Axis) -> dict[str, object]:
    """Return one axis of the parallel coordinates; trials without the parameter lie at `absent`, below the range."""
    missing = column.isna()
    if axis.options:
        position = {_key(option): index for index, option in enumerate(axis.options)}
        numbers = column.map(lambda value: position.get(_key(value), math.nan)).astype(float)
        ticks = {float(index): base.shown(option) for index, option in enumerate(axis.options)}
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
        "label": base.escape(axis.name), "values": numbers.to_numpy(dtype=float), "range": [low, high],
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
