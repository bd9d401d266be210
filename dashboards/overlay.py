"""Figures that lay a few trials, or a few searches, over each other: a color and a dash each, named at the side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures import _base as base
from hpo.study import Objective

DASHES = ("solid", "dash", "dot", "dashdot")  # with the colors 24 lines that are told apart
MAX_RUNGS = 12


def curves(
    of_each: Mapping[str, pd.DataFrame], *, metric: str, objective: Objective, rungs: Sequence[int] = ()
) -> go.Figure:
    """Return `metric` over finished epochs, one line a trial.

    of_each: by the name of the line, the trial's measurements in long form (step, metric, value).
    """
    figure = base.blank(metric, height=340)
    parts = {name: _finite(frame[frame["metric"] == metric]) for name, frame in of_each.items()}
    for step in rungs if len(rungs) <= MAX_RUNGS else ():
        figure.add_vline(x=step, line={"color": base.GREY, "width": 1, "dash": "dot"}, layer="below")
    for place, (name, rows) in enumerate(parts.items()):
        _line(figure, rows["step"], rows["value"], name=name, place=place, x_name="epoch")
    known = metric == objective.metric
    figure.update_xaxes(title="finished epochs", rangemode="tozero")
    _value_axis(figure, list(parts.values()), base.axis_title(objective) if known else base.escape(metric),
                direction=objective.direction if known else None)  # fmt: skip
    figure.update_layout(showlegend=len(parts) > 1)
    whose = next(iter(parts), "no trial") if len(parts) == 1 else f"{len(parts)} trials"
    text = f"{metric} of {whose} over the epochs."
    return base.explained(figure, text + (" The dotted lines are the rungs." if 0 < len(rungs) <= MAX_RUNGS else ""))


def best_so_far(of_each: Mapping[str, pd.DataFrame], *, objective: Objective) -> go.Figure:
    """Return the best value so far against the trials that were begun, one line a search.

    of_each: by the name of the line, the frame of trials. All are of one objective.
    """
    figure = base.blank(f"Best so far of each search: {objective.metric}", height=380)
    parts = []
    for place, (name, trials) in enumerate(of_each.items()):
        done = base.winnable(trials[np.isfinite(trials["value"])])
        best = done["value"].cummin() if objective.direction == "minimize" else done["value"].cummax()
        _line(figure, done["number"] + 1, best, name=name, place=place, x_name="trials", shape="hv")
        parts.append(pd.DataFrame({"value": best}))
    figure.update_xaxes(title="trials begun", rangemode="tozero")
    _value_axis(figure, parts, base.axis_title(objective), direction=objective.direction)
    figure.update_layout(showlegend=True)
    text = f"The best {objective.metric} of the done trials so far, for each of {len(of_each)} searches."
    return base.explained(figure, text)


def _finite(frame: pd.DataFrame) -> pd.DataFrame:
    finite: pd.DataFrame = frame[np.isfinite(frame["value"])]
    return finite.sort_values("step")


def _line(
    figure: go.Figure, x: pd.Series, y: pd.Series, *, name: str, place: int, x_name: str, shape: str = "linear"
) -> None:
    colors = len(base.CYCLE)
    look = {"color": base.CYCLE[place % colors], "dash": DASHES[place // colors % len(DASHES)], "width": 2}
    figure.add_trace(
        go.Scatter(
            x=x, y=y, mode="lines+markers", name=base.escape(name), line=look | {"shape": shape}, marker={"size": 5},
            hovertemplate=f"{base.escape(name)}, {x_name} %{{x}}: %{{y:.5g}}<extra></extra>",
        )
    )  # fmt: skip


def _value_axis(figure: go.Figure, parts: list[pd.DataFrame], label: str, *, direction: str | None) -> None:
    values = pd.concat([part["value"] for part in parts]) if parts else pd.Series(dtype=float)
    base.value_axis(figure, values, label, direction=direction, focus=values)
    if len(values) and values.min() == values.max():  # Plotly would show it from -1 to 1 about the value
        value = float(values.min())
        figure.update_yaxes(range=[value - 0.1 * abs(value or 1.0), value + 0.1 * abs(value or 1.0)])
