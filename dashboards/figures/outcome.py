"""What came of it: each technique's effect, finalists over fresh seeds, trials that none beats in two metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from dashboards.figures import _base as base
from hpo.effects import Effect
from hpo.study import Objective


def effects(found: Sequence[Effect], *, objective: Objective) -> go.Figure:
    """Return of each technique how far its best and its worst level move the objective from the default's.

    One row a technique of which something can be said, each level with its interval; what touches the line at 0 cannot
    be told from noise.
    """
    told = [effect for effect in found if effect.best is not None and effect.worst is not None]
    told.reverse()  # Plotly draws from the bottom
    sign, way = (1.0 if objective.direction == "minimize" else -1.0), {"best": -1, "worst": 1}
    figure = base.blank(f"Effect of each technique on {objective.metric}", height=150 + 62 * max(len(told), 1))
    for place, color, label in (("best", base.BLUE, "best level"), ("worst", base.VERMILION, "worst level")):
        found_at = [(row, effect.best if place == "best" else effect.worst) for row, effect in enumerate(told)]
        # Where every level is worse than the default, the default is the best, and lies at 0.
        kept = [(row, pair) for row, pair in found_at if pair is not None and sign * pair[1].change * way[place] > 0]
        pairs = [pair for _, pair in kept]
        changes = [level.change for _, level in pairs]
        shift = 0.13 if place == "best" else -0.13  # one above the other
        figure.add_trace(
            go.Scatter(
                x=changes, y=[row + shift for row, _ in kept], mode="markers+text", name=label,
                marker={"color": color, "size": 9, "symbol": "circle" if place == "best" else "square"},
                text=[base.escape(f"{of.parameter} {level.text}") for of, level in pairs],
                textposition="top center" if place == "best" else "bottom center", textfont={"size": 11},
                error_x={"type": "data", "symmetric": False, "color": color, "thickness": 1.5,
                         "array": [level.high - level.change for _, level in pairs],
                         "arrayminus": [level.change - level.low for _, level in pairs]},
                customdata=[base.escape(f"{of.parameter} {level.text}, {level.trials} trials: {level.change:.4g} "
                                        f"({level.low:.4g} to {level.high:.4g})") for of, level in pairs],
                hovertemplate="%{customdata}<extra></extra>", cliponaxis=False,
            )
        )  # fmt: skip
    if told:
        figure.add_vline(x=0, line={"color": base.BLACK, "width": 1})
    figure.update_xaxes(title=f"change of {base.escape(objective.metric)} ({base.better(objective.direction)})")
    figure.update_yaxes(tickvals=list(range(len(told))), ticktext=[effect.technique for effect in told],
                        range=[-0.7, len(told) - 0.3], showgrid=False)  # fmt: skip
    base.legend_below(figure)
    if not told:
        return base.explained(figure, found[0].words if found else "No trial yet.")
    sure = [effect.technique for effect in found if effect.helps or effect.harms]
    said = f"told apart from noise: {', '.join(sure)}" if sure else "told apart from noise: none"
    pruned = f", {told[0].pruned} of them pruned and taken at what they could be expected to reach" \
        if told[0].pruned else ""  # fmt: skip
    text = (
        "How far the best and the worst level of each technique move the objective from the level of the default, all "
        f"else as it was in the trials; the lines are 95 % intervals over all levels of a technique at once. "
        f"{said.capitalize()}. It rests on {told[0].trials} trials{pruned}."
    )
    return base.explained(figure, text)


def finalists(frame: pd.DataFrame, *, objective: Objective, floor: float | None = None) -> go.Figure:
    """Return each finalist's values over fresh seeds with the interval of its mean, the best mean on top.

    frame: one row for each run: name, seed, value (NaN where it died), and of its finalist mean, low, high (the
    interval of the mean, NaN where there is none), searched (its value in the search, NaN if it had none), eliminated
    (whether the race let it go).
    """
    figure = base.blank(f"Finalists over fresh seeds: {objective.metric}")
    of_each = frame.drop_duplicates("name").sort_values("mean", ascending=objective.direction == "maximize",
                                                        na_position="first")  # fmt: skip
    names = [base.escape(name) for name in of_each["name"]]
    figure.update_layout(height=190 + 44 * max(len(names), 1), margin={"l": 10, "r": 20})
    runs = frame[np.isfinite(frame["value"])]
    for out, color, label in ((True, base.GREY, "a seed, eliminated"), (False, base.SKY, "a seed")):
        rows = runs[runs["eliminated"].astype(bool) == out]
        if len(rows):
            figure.add_trace(
                go.Scatter(
                    x=rows["value"], y=[base.escape(name) for name in rows["name"]], mode="markers", name=label,
                    marker={"color": color, "size": 9, "symbol": "circle-open", "line": {"width": 2}},
                    customdata=rows["seed"], hovertemplate="%{y}, seed %{customdata}: %{x:.5g}<extra></extra>",
                )
            )  # fmt: skip
    known = of_each[np.isfinite(of_each["mean"])]
    figure.add_trace(
        go.Scatter(
            x=known["mean"], y=[base.escape(name) for name in known["name"]], mode="markers",
            name="mean with its interval", marker={"color": base.BLUE, "size": 10, "symbol": "diamond"},
            error_x={"type": "data", "symmetric": False, "array": (known["high"] - known["mean"]).fillna(0.0),
                     "arrayminus": (known["mean"] - known["low"]).fillna(0.0), "color": base.BLUE, "thickness": 2},
            hovertemplate="%{y}, mean %{x:.5g}<extra></extra>",
        )
    )  # fmt: skip
    lucky = of_each[np.isfinite(of_each["searched"])]
    figure.add_trace(
        go.Scatter(
            x=lucky["searched"], y=[base.escape(name) for name in lucky["name"]], mode="markers",
            name="value in the search", marker={"color": base.VERMILION, "size": 10, "symbol": "x-thin",
                                                "line": {"width": 2, "color": base.VERMILION}},
            hovertemplate="%{y}, in the search: %{x:.5g}<extra></extra>",
        )
    )  # fmt: skip
    said = base.floor_line(figure, floor, over=names, upright=True) if names else ""
    base.legend_below(figure)
    figure.update_xaxes(title=base.axis_title(objective))
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=names, showgrid=True)
    text = (
        f"Each circle is one training of a finalist under a fresh seed, {len(runs)} in all; the diamond is their mean "
        "with its interval. The cross is what the search had seen, which flatters: the luckiest of many was picked."
    )
    return base.explained(figure, text + said)


def pareto(
    finals: pd.DataFrame, *, objectives: tuple[Objective, Objective], floors: Mapping[str, float] | None = None
) -> go.Figure:
    """Return two metrics of the done trials against each other, with those that no other trial beats in both.

    finals: one row for each done trial: number, feasible, vetoed, and a column for each metric. objectives: what is on
    the x and on the y axis. floors: what each metric says of real rows.
    """
    across, up = objectives
    figure = base.blank(f"{up.metric} against {across.metric}")
    both = finals[np.isfinite(finals[across.metric]) & np.isfinite(finals[up.metric])]
    front = both[non_dominated(both, objectives)].sort_values(across.metric)
    trace = go.Scattergl if len(both) > base.WEBGL_POINTS else go.Scatter
    for keeps, color, symbol, name in ((False, base.GREY, "circle-open", "breaks a constraint"),
                                       (True, base.SKY, "circle", "done")):  # fmt: skip
        rows = both[both["feasible"].astype(bool) == keeps]
        if len(rows):
            figure.add_trace(
                trace(
                    x=rows[across.metric], y=rows[up.metric], mode="markers", name=base.counted(name, len(rows)),
                    marker={"color": color, "symbol": symbol, "size": 7 if len(both) < 300 else 5},
                    customdata=rows["number"], hovertemplate="trial %{customdata}: %{x:.5g}, %{y:.5g}<extra></extra>",
                )
            )  # fmt: skip
    if len(front):
        shape = "hv" if across.direction == "minimize" else "vh"
        figure.add_trace(
            go.Scatter(
                x=front[across.metric], y=front[up.metric], mode="lines+markers", customdata=front["number"],
                name=base.counted("Pareto front", len(front)), line={"color": base.BLACK, "width": 2, "shape": shape},
                marker={"size": 9, "color": base.BLACK},
                hovertemplate="front, trial %{customdata}: %{x:.5g}, %{y:.5g}<extra></extra>",
            )
        )  # fmt: skip
    said = ""
    for objective, upright in ((across, True), (up, False)):
        other = sorted(both[(up if upright else across).metric])
        if base.floor_line(figure, (floors or {}).get(objective.metric), over=other, upright=upright):
            figure.data[-1].name = f"{base.escape(objective.metric)} of {figure.data[-1].name}"
            said = "A dashed line is what a metric says of real rows beside other real rows."
    figure.update_xaxes(title=base.axis_title(across))
    figure.update_yaxes(title=base.axis_title(up))
    numbers = ", ".join(str(number) for number in front["number"].head(8)) + (", ..." if len(front) > 8 else "")
    text = (
        f"{len(both)} done trials by two metrics. The line joins the {len(front)} that no other beats in both, among "
        f"those that break no constraint where there are any: trial {numbers}. "
    )
    if not len(both):
        return base.explained(figure, f"No done trial has both {across.metric} and {up.metric}.")
    return base.explained(figure, (text + said).strip())


def non_dominated(frame: pd.DataFrame, objectives: Sequence[Objective]) -> pd.Series:
    """Return whether no other row is at least as good in every metric and better in one.

    No vetoed row is, and none that breaks a constraint (`feasible`), unless all do. Equal rows do not beat each other.
    """
    candidates = base.candidates(frame)
    signs = np.array([1.0 if objective.direction == "minimize" else -1.0 for objective in objectives])
    costs = frame.loc[candidates, [objective.metric for objective in objectives]].to_numpy(dtype=float) * signs
    kept = [not bool(((costs <= cost).all(axis=1) & (costs < cost).any(axis=1)).any()) for cost in costs]
    found = np.zeros(len(frame), dtype=bool)
    found[candidates.to_numpy()] = kept
    return pd.Series(found, index=frame.index)
