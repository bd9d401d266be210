"""How the search went: values trial by trial, learning curves, learning rates, and why trials ended."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures import _base as base
from hpo.study import Objective

MARKED = ("pruned", "died", "lost")  # ends that stop a curve early, so its last point gets a mark
MAX_RUNGS = 12  # a pruner that decides at every epoch has no rungs worth a line each
MAX_CAUSES = 15
CAUSE_LENGTH = 48  # characters of a cause on an axis
_RATE = re.compile(r"(?:(.+)\.)?lr")
# From ocher to pale: the later the rung, the stronger.
_RUNG_SHADES = ("#F6D58F", "#EFBC4E", base.ORANGE, "#B87F00", "#8A5F00")


def history(
    trials: pd.DataFrame, *, objective: Objective, rungs: Sequence[int] = (), floor: float | None = None
) -> go.Figure:
    """Return every trial's value against its number, with the best so far as a line.

    Only done trials make the line: a pruned one's value is that of a shorter training. rungs: where the pruner decides;
    the pruned trials of each get a shade of their own. floor: what the objective says of real rows.
    """
    ended = trials[trials["end"].isin(["done", "pruned"])]
    points = ended[np.isfinite(ended["value"])]
    done, winnable = points[points["end"] == "done"], base.winnable(points)
    pruned = points[points["end"] == "pruned"]
    figure = base.blank(f"Value of each trial: {objective.metric}")
    at_rungs = _by_rung(pruned, rungs)
    for (name, rows), shade in zip(at_rungs, _shades(len(at_rungs)), strict=True):
        base.markers(figure, rows["number"], rows["value"], end="pruned", name=base.counted(name, len(rows)),
                     total=len(points), color=shade)  # fmt: skip
    base.markers(figure, done["number"], done["value"], end="done", name=base.counted("done", len(done)),
                 total=len(points))  # fmt: skip
    if len(winnable):
        best = winnable["value"].cummin() if objective.direction == "minimize" else winnable["value"].cummax()
        figure.add_trace(
            go.Scatter(
                x=winnable["number"], y=best, mode="lines", name="best so far",
                line={"color": base.BLACK, "width": 2, "shape": "hv"},
                hovertemplate="best so far after trial %{x}: %{y:.5g}<extra></extra>",
            )
        )  # fmt: skip
    dead = trials[trials["end"].isin(["died", "lost"])]
    _rug(figure, dead)
    figure.update_xaxes(title="trial number")
    said = base.floor_line(figure, floor, over=sorted(points["number"]))
    focus = done["value"] if len(done) else points["value"]
    beyond = base.value_axis(figure, points["value"], base.axis_title(objective), direction=objective.direction,
                             focus=focus, floor=floor)  # fmt: skip
    text = (
        f"Each mark is one trial: {len(done)} done, {len(pruned)} pruned at the value they had when they "
        "were stopped, so after a shorter training. The line is the best done trial so far, of those that break no "
        "constraint where there are any."
    )
    if vetoed := int(done["vetoed"].sum()):
        text += f" {vetoed} that you vetoed {'are' if vetoed > 1 else 'is'} no part of it."
    if len(dead):
        text += f" {len(dead)} that died or were lost are marked along the bottom."
    if len(at_rungs) > 1:
        text += " The later the rung at which a trial was stopped, the darker its triangle."
    return base.explained(figure, text + _found_at(winnable, objective) + said + base.beyond(beyond))


def _found_at(winnable: pd.DataFrame, objective: Objective) -> str:
    """Say when the best was found, and what the default configuration, which is trial 0, had."""
    if not len(winnable):
        return ""
    sign = 1.0 if objective.direction == "minimize" else -1.0
    row = (sign * winnable["value"]).to_numpy().argmin()
    number, value = int(winnable["number"].iloc[row]), float(winnable["value"].iloc[row])
    first = winnable[winnable["number"] == 0]["value"]
    beside = f", beside {float(first.iloc[0]):.4g} of trial 0, the default configuration" if len(first) else ""
    return f" The best, {value:.4g}, is trial {number}{beside}."


def _by_rung(pruned: pd.DataFrame, rungs: Sequence[int]) -> list[tuple[str, pd.DataFrame]]:
    """Return the pruned trials by the rung that stopped them; together where rungs are none or too many."""
    if not 0 < len(rungs) <= MAX_RUNGS or not len(pruned):
        return [("pruned", pruned)] if len(pruned) else []
    return [(f"pruned at epoch {step}", rows) for step, rows in pruned.groupby("step")]


def _shades(count: int) -> list[str]:
    if count < 2:
        return [base.ORANGE] * count
    places = np.linspace(0, len(_RUNG_SHADES) - 1, count).round().astype(int)
    return [_RUNG_SHADES[place] for place in places]


def learning_curves(
    curves: pd.DataFrame,
    trials: pd.DataFrame,
    *,
    metric: str,
    objective: Objective,
    epochs: int,
    rungs: Sequence[int] = (),
    floor: float | None = None,
) -> go.Figure:
    """Return one line a trial of `metric` over finished epochs, colored by how the trial ended.

    curves: the long form, filtered here by `metric`, the objective or another. rungs: steps drawn as vertical lines.
    The trial that is best by the objective is drawn thick. floor: what `metric` says of real rows.
    """
    points = curves[(curves["metric"] == metric) & np.isfinite(curves["value"])].sort_values(["trial", "step"])
    best = base.best_number(trials, objective) if len(points) else None
    points = points.assign(end=points["trial"].map(trials.set_index("number")["end"]))
    count, every = points["trial"].nunique(), points
    points, thinning = base.thinned(points, keep=() if best is None else (best,))
    last = points.groupby("trial").tail(1)
    figure = base.blank(f"Learning curves: {metric}")
    for step in rungs if len(rungs) <= MAX_RUNGS else ():
        figure.add_vline(x=step, line={"color": base.GREY, "width": 1, "dash": "dot"}, layer="below")
    for end in ("pruned", "died", "lost", "running", "done"):
        rows = points[points["end"] == end]
        if len(rows):
            base.curves_of_end(figure, rows, end=end, total=len(points))
        tips = last[last["end"] == end]
        if end in MARKED and len(tips):
            base.markers(figure, tips["step"], tips["value"], end=end, name=base.counted(end, len(tips)),
                         total=len(points), number=tips["trial"])  # fmt: skip
    said = base.floor_line(figure, floor, over=[0, epochs] if len(points) else [])
    if best is not None and len(points[points["trial"] == best]):
        rows = points[points["trial"] == best]
        figure.add_trace(base.line(rows["step"], rows["value"], numbers=rows["trial"], total=0,
                                   name=f"best: trial {best}", line={"color": base.BLACK, "width": 3},
                                   mode="lines+markers"))  # fmt: skip
    figure.update_xaxes(title="finished epochs", range=[0, epochs * 1.02])
    known = metric == objective.metric
    done = every[every["end"] == "done"]["value"]
    beyond = base.value_axis(
        figure, every["value"], base.axis_title(objective) if known else base.escape(metric),
        direction=objective.direction if known else None, focus=done if len(done) else every["value"], floor=floor,
    )  # fmt: skip
    text = (
        f"One line for each of {count} trials; a triangle is where one was pruned, a cross where one died, a diamond "
        "where one was lost."
    )
    if 0 < len(rungs) <= MAX_RUNGS:
        text += " The dotted lines are the rungs, where the pruner decides."
    of_best = every[every["trial"] == best]["value"]
    if len(of_best):
        text += f" The best trial, {best}, went from {of_best.iloc[0]:.4g} to {of_best.iloc[-1]:.4g}."
    return base.explained(figure, text + thinning + said + base.beyond(beyond))


def learning_rates(curves: pd.DataFrame, trials: pd.DataFrame, *, objective: Objective, epochs: int) -> go.Figure:
    """Return the learning rate in force over finished epochs, a panel for each player, the best trial thick.

    It is what the optimizer was given: the initial rate under warm-up and schedule. Where a metric `lr`, or `P.lr` of
    a player P, was not measured there is nothing to draw.
    """
    metrics = sorted({str(name) for name in curves["metric"].unique() if _RATE.fullmatch(str(name))})
    figure = base.blank("Learning rate in force", height=160 + 300 * max(len(metrics), 1))
    if metrics:
        figure.set_subplots(rows=len(metrics), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    best, drawn, said, rates = base.best_number(trials, objective), set(), "", []
    ends = trials.set_index("number")["end"]
    for row, metric in enumerate(metrics, start=1):
        points = curves[(curves["metric"] == metric) & (curves["value"] > 0)].sort_values(["trial", "step"])
        points = points.assign(end=points["trial"].map(ends))
        drawn |= set(points["trial"])
        points, thinning = base.thinned(points, keep=() if best is None else (best,))
        said = said or thinning
        panel = go.Figure()
        for end in ("pruned", "died", "lost", "done"):
            rows = points[points["end"] == end]
            if len(rows):
                x, y, numbers = base.with_gaps(rows)
                opacity = min(0.7, max(0.15, 30 / rows["trial"].nunique()))
                style: dict[str, str | float] = {"color": base.END_COLORS[end], "width": 1}
                panel.add_trace(base.line(x, y, numbers=numbers, total=len(points), name=end, legend=row == 1,
                                          line=style, opacity=opacity))  # fmt: skip
        rows = points[points["trial"] == best]
        if len(rows):
            first, last = rows["value"].iloc[0], rows["value"].iloc[-1]
            rates.append(
                f"{metric} from {first:.3g} to {last:.3g}" if first != last else f"{metric} {first:.3g} throughout"
            )
            panel.add_trace(base.line(rows["step"], rows["value"], numbers=rows["trial"], total=0, legend=row == 1,
                                      name=f"best: trial {best}", line={"color": base.BLACK, "width": 3}))  # fmt: skip
        for trace in panel.data:
            figure.add_trace(trace, row=row, col=1)
        figure.update_yaxes(title=base.escape(metric), type="log", exponentformat="power", dtick=1, row=row, col=1)
    base.plain_axes(figure)
    figure.update_xaxes(range=[0, epochs * 1.02])
    if metrics:
        figure.update_xaxes(title="finished epochs", row=len(metrics), col=1)
    base.legend_below(figure)
    text = (
        f"The rate that the optimizer was given at each epoch, of {len(drawn)} trials: the initial one, under warm-up "
        "and schedule. The axis is log, so an exponential schedule is a straight line."
    )
    if rates:
        text += f" The best trial, {best}, had {', '.join(rates)}."
    return base.explained(figure, text + said if drawn else "No learning rate was measured.")


def ends(trials: pd.DataFrame) -> go.Figure:
    """Return a bar for each end and cause with the number of its trials, the most frequent on top.

    Of a long cause, such as a traceback, its last line. Beyond `MAX_CAUSES` the rest is one bar. Trials that go on are
    left out.
    """
    ended = trials[trials["end"].isin(["done", "pruned", "died", "lost"])]
    told = [_told(end, cause) for end, cause in zip(ended["end"], ended["cause"], strict=True)]
    order = Counter(told).most_common()
    rest = sum(count for _, count in order[MAX_CAUSES:])
    rows = [(end, text, count) for (end, text), count in order[:MAX_CAUSES]]
    if rest:
        rows.append(("lost", f"{len(order) - MAX_CAUSES} rarer causes", rest))
    figure = base.blank("How trials ended", height=120 + 28 * max(len(rows), 1))
    rows.reverse()  # Plotly draws from the bottom
    figure.add_trace(
        go.Bar(
            x=[count for _, _, count in rows], y=[base.escape(text) for _, text, _ in rows], orientation="h",
            marker={"color": [base.END_COLORS[end] for end, _, _ in rows]}, text=[count for _, _, count in rows],
            textposition="outside", cliponaxis=False, hovertemplate="%{y}: %{x} trials<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="number of trials", rangemode="tozero")
    figure.update_yaxes(type="category", showgrid=False)
    figure.update_layout(showlegend=False, margin={"l": 10, "r": 50})
    number = {end: int((ended["end"] == end).sum()) for end in ("done", "pruned", "died", "lost")}
    text = (
        f"Of {len(ended)} trials that ended {number['done']} are done: trained to the end. {number['pruned']} were "
        f"pruned: stopped at a rung. {number['died']} died: the training itself failed, which says something about the "
        f"parameters. {number['lost']} were lost: the machine or the code failed, and another trial took its place."
    )
    return base.explained(figure, text)


def _told(end: str, cause: str) -> tuple[str, str]:
    """Return end and cause in one line that fits beside an axis. A done trial is done, whatever it broke."""
    lines = cause.strip().splitlines()
    if end in ("done", "pruned") or not lines:
        return end, end
    last = lines[-1]
    return end, f"{end}: {last[: CAUSE_LENGTH - 3] + '...' if len(last) > CAUSE_LENGTH else last}"


def _rug(figure: go.Figure, dead: pd.DataFrame) -> None:
    """Mark trials without a comparable value along the bottom, with their cause in the hover text."""
    figure.update_layout(yaxis2={"overlaying": "y", "range": [0, 1], "visible": False, "fixedrange": True})
    for end in ("died", "lost"):
        rows = dead[dead["end"] == end]
        if len(rows):
            causes = [
                base.escape(cause.strip().splitlines()[-1][:120]) if cause.strip() else "" for cause in rows["cause"]
            ]
            figure.add_trace(
                go.Scatter(
                    x=rows["number"], y=[0.015] * len(rows), yaxis="y2", mode="markers",
                    name=base.counted(end, len(rows)), customdata=causes,
                    marker={"color": base.END_COLORS[end], "symbol": base.END_SYMBOLS[end], "size": 7},
                    hovertemplate=f"trial %{{x}} {end}: %{{customdata}}<extra></extra>",
                )
            )  # fmt: skip
