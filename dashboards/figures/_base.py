"""What all figures share: one palette, one layout, words, axes that a few bad trials do not flatten, and thinning.

The lowest file of the package. Knows frames and Plotly, and nothing of homes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from hpo.study import Objective

# Okabe and Ito (2008), Color Universal Design: told apart under the three common kinds of color blindness.
BLACK, ORANGE, SKY, GREEN, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY = "#767676"
CYCLE = (BLUE, ORANGE, GREEN, PURPLE, SKY, VERMILION)  # for what has no color of its own, such as players and groups
SCALE = "Cividis"  # for values: even in lightness, so it holds for color-blind eyes and in grey print
END_COLORS = {"done": BLUE, "pruned": ORANGE, "died": VERMILION, "lost": GREY, "running": GREEN, "waiting": SKY}
END_SYMBOLS = {
    "done": "circle",
    "pruned": "triangle-down",
    "died": "x",
    "lost": "diamond-open",
    "running": "circle-open",
}

WEBGL_POINTS = 1500  # beyond this SVG gets slow to draw; below it works everywhere and prints sharp
MAX_POINTS = 30_000  # of the curves of one figure: more take seconds to draw, and none of them can be told from another
MAX_CURVES = 1_000
_WIDE_RATIO = 50.0  # all values positive and farther apart than this: a log axis


def sentence(figure: go.Figure) -> str:
    """Return what the figure shows, in words for the page around it. Plain text, not escaped."""
    return str(figure.layout.meta["sentence"])


def title(figure: go.Figure) -> str:
    """Return the title of a figure. Plain text, not escaped."""
    return html.unescape(str(figure.layout.title.text))


def blank(heading: str, *, height: int = 460) -> go.Figure:
    """Return a figure without a trace, in the one layout. The heading is escaped here."""
    figure = go.Figure()
    figure.update_layout(
        template="none", title={"text": escape(heading), "x": 0, "xanchor": "left"}, height=height,
        font={"family": "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 13, "color": "#222222"},
        margin={"l": 70, "r": 20, "t": 45, "b": 50}, hovermode="closest", paper_bgcolor="white", plot_bgcolor="white",
        legend={"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "itemsizing": "constant"},
    )  # fmt: skip
    plain_axes(figure)
    return figure


def plain_axes(figure: go.Figure) -> None:
    """Give every axis the one look; to be called again once a figure has more of them."""
    figure.update_xaxes(gridcolor="#E5E5E5", zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor="#E5E5E5", zeroline=False, automargin=True)


def legend_below(figure: go.Figure) -> None:
    """Put the legend below the title of the x axis, whatever the height; call it when the height is set."""
    figure.update_layout(legend={"y": -70 / (figure.layout.height - 95)})


def explained(figure: go.Figure, text: str) -> go.Figure:
    """Return the figure with its sentence."""
    figure.update_layout(meta={"sentence": text})
    return figure


def escape(text: object) -> str:
    """Return text that a user chose as Plotly is to be given it: it takes text for a subset of HTML."""
    return html.escape(str(text), quote=False)


def better(direction: str) -> str:
    """Return `lower is better` or `higher is better`."""
    return f"{'lower' if direction == 'minimize' else 'higher'} is better"


def axis_title(objective: Objective) -> str:
    """Return the name of the metric with its direction, escaped."""
    return f"{escape(objective.metric)} ({better(objective.direction)})"


def counted(end: str, count: int) -> str:
    """Return the entry of an end in the legend."""
    return f"{end} ({count})"


def shown(value: object) -> str:
    """Return a value of a parameter, escaped, a number with few digits."""
    return escape(f"{value:.4g}" if isinstance(value, float) else value)


def line(
    x: pd.Series, y: pd.Series, *, numbers: pd.Series, total: int, name: str,
    line: dict[str, str | float], mode: str = "lines", opacity: float = 1.0, legend: bool = True,
) -> go.Scatter | go.Scattergl:  # fmt: skip
    """Return one trace of curves over epochs, on WebGL where the figure has many points (`total`)."""
    trace = go.Scattergl if total > WEBGL_POINTS else go.Scatter
    return trace(
        x=x.to_numpy(dtype=np.float32), y=y.to_numpy(dtype=np.float32), mode=mode, name=name, line=line,
        opacity=opacity, customdata=numbers.to_numpy(dtype=np.int32), showlegend=legend,
        hovertemplate="trial %{customdata}, epoch %{x}: %{y:.5g}<extra></extra>",
    )  # fmt: skip


def curves_of_end(figure: go.Figure, rows: pd.DataFrame, *, end: str, total: int) -> None:
    """Add all curves of one end as one trace, a gap between two trials: a trace for each is slow at 1,000."""
    x, y, numbers = with_gaps(rows)
    count = rows["trial"].nunique()
    figure.add_trace(
        line(x, y, numbers=numbers, total=total, name=end, legend=False,
             line={"color": END_COLORS[end], "width": 1}, opacity=min(0.7, max(0.15, 30 / count)))
    )  # fmt: skip
    if end not in ("pruned", "died", "lost"):  # a key of its own: that of a thin pale line cannot be seen
        figure.add_trace(
            go.Scatter(x=[None], y=[None], mode="lines", name=counted(end, count),
                       line={"color": END_COLORS[end], "width": 2})
        )  # fmt: skip


def with_gaps(rows: pd.DataFrame) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Return step, value and trial of curves in long form, with a gap after each trial."""
    gaps = pd.DataFrame({"trial": rows["trial"].unique(), "step": math.inf, "value": math.nan})
    drawn = pd.concat([rows[["trial", "step", "value"]], gaps]).sort_values(["trial", "step"])
    return drawn["step"].replace(math.inf, math.nan), drawn["value"], drawn["trial"]


def markers(
    figure: go.Figure, x: pd.Series, y: pd.Series, *, end: str, name: str, total: int,
    number: pd.Series | None = None, color: str = "",
) -> None:  # fmt: skip
    """Add one mark a trial, in the color and shape of its end; nothing where there is none."""
    if not len(x):
        return
    trace = go.Scattergl if total > WEBGL_POINTS else go.Scatter
    where = "trial %{x}" if number is None else "trial %{customdata}, epoch %{x}"
    figure.add_trace(
        trace(
            x=x, y=y, mode="markers", name=name, customdata=number, opacity=0.9 if len(x) < 300 else 0.55,
            marker={
                "color": color or END_COLORS[end], "symbol": END_SYMBOLS[end], "size": 7 if len(x) < 300 else 5,
            },
            hovertemplate=f"{where}, {end}: %{{y:.5g}}<extra></extra>",
        )
    )  # fmt: skip


def floor_line(figure: go.Figure, floor: float | None, *, over: Sequence[float | str], upright: bool = False) -> str:
    """Draw what the metric says of real rows beside other real rows, and return what the sentence says of it.

    over: where on the other axis the line begins and ends; of more positions, the first and the last. upright: the
    metric is on the x axis. Nothing where the metric has no floor, or there are no positions.
    """
    if floor is None or not math.isfinite(floor) or not len(over):
        return ""
    ends, level = [over[0], over[-1]], [floor, floor]
    figure.add_trace(
        go.Scatter(
            x=level if upright else ends, y=ends if upright else level, mode="lines", name=f"real rows: {floor:.4g}",
            line={"color": PURPLE, "width": 2, "dash": "dash"}, meta={"floor": floor},
            hovertemplate=f"real rows beside other real rows: {floor:.5g}<extra></extra>",
        )
    )  # fmt: skip
    return f" The dashed line, {floor:.4g}, is what the metric says of real rows beside other real rows."


def best_number(trials: pd.DataFrame, objective: Objective) -> int | None:
    """Return the number of the best done trial, None while there is none."""
    done = winnable(trials[np.isfinite(trials["value"])])
    if not len(done):
        return None
    values = done["value"].to_numpy()
    row = np.argmin(values) if objective.direction == "minimize" else np.argmax(values)
    return int(done["number"].to_numpy()[row])


def winnable(trials: pd.DataFrame) -> pd.DataFrame:
    """Return the done trials of which one is the best; see `candidates`."""
    done = trials[trials["end"] == "done"]
    return done[candidates(done)]


def candidates(done: pd.DataFrame) -> pd.Series:
    """Return which done trials may win: no vetoed one, and none that breaks a constraint unless all do."""
    wanted = ~done["vetoed"].astype(bool)
    feasible = wanted & done["feasible"].astype(bool)
    return feasible if feasible.any() else wanted


def robust(values: pd.Series, direction: str | None) -> tuple[float, float]:
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


def value_axis(figure: go.Figure, values: pd.Series, label: str, *, direction: str | None, focus: pd.Series,
               floor: float | None = None) -> int:  # fmt: skip
    """Set the y axis so that the best and nearly all of `focus` are told apart; return how many values lie beyond it.

    Log where these are positive and far apart. A few values far out, as of trials that exploded, do not set the scale;
    nor does a floor that would halve it.
    """
    figure.update_layout(yaxis={"title": {"text": label}})
    if not len(values):
        return 0
    near, far = robust(values, direction)
    near = min(near, _quantile(focus, 0.02))
    far = max(far, _quantile(focus, 0.98))
    is_log = near > 0 and far / near > _WIDE_RATIO and not (floor is not None and floor <= 0)
    if is_log:
        figure.update_layout(yaxis={"type": "log", "dtick": 1 if far / near > 1e3 else None})
        near, far = math.log10(near), math.log10(far)
        values = values.map(lambda value: math.log10(value) if value > 0 else -math.inf)
        floor = math.log10(floor) if floor is not None else None
    if not float(values.max() - values.min()) > 3 * (far - near) > 0:
        return 0
    if floor is not None and far - near >= max(near - floor, floor - far):
        near, far = min(near, floor), max(far, floor)
    pad = 0.08 * (far - near)
    figure.update_layout(yaxis={"range": [near - pad, far + pad]})
    return int(((values < near - pad) | (values > far + pad)).sum())


def beyond(count: int) -> str:
    """Return what the sentence says of values that lie beyond the axis."""
    return f" Beyond the axis lie {count} more; double click to see all." if count else ""


def thinned(points: pd.DataFrame, *, keep: Sequence[int] = ()) -> tuple[pd.DataFrame, str]:
    """Return curves in long form (trial, step, value) with at most about `MAX_POINTS`, and what to say of it.

    Beyond `MAX_CURVES` trials an even share of them is left, those in `keep` for sure; then every curve keeps its ends
    and an even share of its steps.
    """
    numbers = points["trial"].unique()
    said = ""
    if len(numbers) > MAX_CURVES:
        some = set(numbers[np.linspace(0, len(numbers) - 1, MAX_CURVES).round().astype(int)]) | set(keep)
        points = points[points["trial"].isin(some)]
        said = f" {points['trial'].nunique():,} of {len(numbers):,} trials are drawn, evenly chosen."
    if len(points) > MAX_POINTS:
        stride = math.ceil(len(points) / MAX_POINTS)
        of_trial = points.groupby("trial")
        place, left = of_trial.cumcount(), of_trial.cumcount(ascending=False)
        points = points[(place % stride == 0) | (left == 0)]
        said += f" Of each curve one point in {stride} is drawn, and the last."
    return points, said
