"""What the workers did: the slots that held a trial, and the epochs that they finished, over time."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from dashboards.figures import _base as base

MAX_GROUPS = 6  # more cannot be told apart; then they are added up


def load(frame: pd.DataFrame) -> go.Figure:
    """Return slots and throughput over time: above the slots that held a trial, by group, below the epochs a minute.

    frame: `hpo.analysis.load`: minute (the beginning of a stretch, from the first start), length (minutes), group,
    taken and slots (means over the stretch), epochs (finished in it). With more than `MAX_GROUPS` groups, which is
    usual since groups are renewed, all are added up.
    """
    figure = base.blank("Slots taken, and epochs a minute", height=560)
    figure.set_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    groups = list(dict.fromkeys(frame["group"]))
    apart = len(groups) <= MAX_GROUPS
    shown = (
        [(name, frame[frame["group"] == name]) for name in groups] if apart else [(f"all {len(groups)} groups", frame)]
    )
    for (name, rows), color in zip(shown, base.CYCLE, strict=False):
        sums = rows.groupby("minute", as_index=False).agg({"length": "first", "taken": "sum", "epochs": "sum"})
        rate = sums["epochs"] / sums["length"]
        for row, values, unit in ((1, sums["taken"], "slots"), (2, rate, "epochs a minute")):
            figure.add_trace(
                go.Scatter(
                    x=sums["minute"], y=values, mode="lines", name=base.escape(name), showlegend=row == 1,
                    stackgroup=str(row), legendgroup=name, line={"color": color, "width": 1, "shape": "hv"},
                    hovertemplate=f"minute %{{x:.3g}}: %{{y:.3g}} {unit}<extra>{base.escape(name)}</extra>",
                ),
                row=row, col=1,
            )  # fmt: skip
    whole = frame.groupby("minute", as_index=False)["slots"].sum()
    if len(whole):
        figure.add_trace(
            go.Scatter(x=whole["minute"], y=whole["slots"], mode="lines", name="slots there",
                       line={"color": base.BLACK, "width": 2, "dash": "dash", "shape": "hv"},
                       hovertemplate="minute %{x:.3g}: %{y:.3g} slots there<extra></extra>"),
            row=1, col=1,
        )  # fmt: skip
    base.plain_axes(figure)
    figure.update_yaxes(title="slots with a trial", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="epochs a minute", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title="minutes since the first trial began", row=2, col=1)
    base.legend_below(figure)
    if not len(frame):
        return base.explained(figure, "No trial has begun yet.")
    weights = frame["length"]
    taken, slots = float((frame["taken"] * weights).sum()), float((frame["slots"] * weights).sum())
    span = frame.drop_duplicates("minute")["length"].sum()
    text = (
        f"{len(groups)} groups of slots over {span:.3g} minutes, pauses included. While a group was there, "
        f"{taken / slots:.0%} of its slots' time held a trial; {frame['epochs'].sum():,.0f} epochs were finished, "
        f"{frame['epochs'].sum() / span:,.3g} a minute."
    )
    if not apart:
        text += " There are too many groups to tell apart, so they are added up."
    return base.explained(figure, text)
