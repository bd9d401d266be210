"""One self-contained HTML page about one search: nothing is loaded from anywhere, so it can be mailed or archived.

Reads the home through `hpo.analysis` alone and may do so while the search runs. Every text that comes from the home is
escaped, and the page's own policy forbids it to fetch anything.
"""

from __future__ import annotations

import html
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards import figures, sections
from hpo import analysis, frames, plugins
from hpo.analysis import Reading, Summary
from hpo.effects import effects
from hpo.home import Home
from hpo.pruning import decision_steps
from hpo.selected import Selection
from hpo.study import Objective

_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
# plotly.js 4 shows by default a button that sends the figure to a server of its makers.
_CONFIG = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
_AXIS_WIDTH = 74  # pixels for one axis of the parallel coordinates; a phone scrolls sideways
_PANELS_WIDTH = 640  # of the slices, three beside each other

_STYLE = """
:root { color-scheme: light; --ink: #222; --soft: #666; --line: #ddd; --accent: #0072B2; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: var(--ink); background: #fff;
  max-width: 1080px; margin: 0 auto; padding: 1.2rem; }
h1 { font-size: 1.7rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .2rem; border-top: 1px solid var(--line); padding-top: 1rem; }
p { margin: .3rem 0 .6rem; max-width: 75ch; }
.soft, figcaption { color: var(--soft); font-size: .9rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(8.5rem, 1fr)); gap: .6rem; margin: 1rem 0; }
.tiles div { border: 1px solid var(--line); border-radius: 6px; padding: .5rem .7rem; }
.tiles dt { color: var(--soft); font-size: .8rem; }
.tiles dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.sides { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92rem; }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td { overflow-wrap: anywhere; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; overflow-wrap: normal; }
figure { margin: 0; }
ul.words { padding-left: 1.2rem; max-width: 80ch; }
.words li { margin: .35rem 0; }
pre { white-space: pre-wrap; font-size: .8rem; }
.sheets { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 1rem; }
img { max-width: 100%; height: auto; image-rendering: pixelated; border: 1px solid var(--line); }
.sheets img { width: 100%; }
.sides img { width: 360px; }
.sheets .text { grid-column: 1 / -1; }
.text pre { margin: 0; max-height: 22rem; overflow-y: auto; border: 1px solid var(--line); padding: .4rem; }
@media print {
  body { max-width: none; padding: 0; font-size: 11pt; }
  .plot, figure, tr { break-inside: avoid; }
  h2, h2 + p { break-after: avoid; }
  .modebar { display: none !important; }
  .plot { zoom: .64; overflow: hidden; }
}
"""

# A finger that drags must scroll the page, not zoom a figure.
_SCRIPT = """
if (matchMedia("(pointer: coarse)").matches)
  document.querySelectorAll(".js-plotly-plot").forEach(plot => Plotly.relayout(plot, {dragmode: false}));
"""


def write(home: Home, path: Path | None = None) -> Path:
    """Write the report of a home, whole or not at all, and return where it lies; None is `report.html` in the home.

    Raises RequestError where there is no study in the home.
    """
    target = home.report if path is None else path
    text = page(home, analysis.read(home), now=datetime.now(UTC))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=".report-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)  # a temporary file is private; a report is to be read
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    return target


def page(home: Home, reading: Reading, *, now: datetime) -> str:
    """Return the whole page as text. `now` is printed as the time of the report."""
    summary = analysis.summary(reading)
    name = html.escape(summary.study)
    chosen = Selection.load(home)
    found = effects(reading)
    body = [
        sections.head(summary, now),
        sections.selection(chosen, summary.objective.metric),
        *_finalists(reading, summary, chosen),
        sections.winner(home, summary, chosen=chosen is not None),
        sections.beside(summary),
        sections.techniques(found),
        _plot(figures.effects(found, objective=reading.objective), "effects"),
        *_figures(reading, summary),
        sections.samples(home, reading),
        sections.ends(summary),
        sections.made_of(home, reading.study, now),
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{name}: search report</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body>{''.join(body)}<script>{_SCRIPT}</script></body></html>\n"
    )


def _finalists(reading: Reading, summary: Summary, chosen: Selection | None) -> Iterator[str]:
    if chosen is not None:
        floor = _floor(summary, reading.objective.metric)
        yield _plot(figures.finalists(frames.race(chosen), objective=reading.objective, floor=floor), "finalists")


def _figures(reading: Reading, summary: Summary) -> Iterator[str]:
    trials, curves = analysis.trials(reading), analysis.curves(reading)
    shares = analysis.importances(reading, intervals=True)
    objective, epochs = reading.objective, reading.study.budget.epochs
    floor = _floor(summary, objective.metric)
    pruner = reading.study.pruner
    # A dotted name would be imported, and a report runs nothing that a home names.
    rungs = () if "." in pruner.name else decision_steps(pruner, epochs=epochs)
    yield _plot(figures.history(trials, objective=objective, rungs=rungs, floor=floor), "history")
    # Where the objective is measured at the rungs alone, a metric of every epoch shows how training went between them.
    for index, name in enumerate([objective.metric, *_each_epoch(curves, objective.metric)]):
        figure = figures.learning_curves(curves, trials, metric=name, objective=objective, epochs=epochs, rungs=rungs,
                                         floor=_floor(summary, name))  # fmt: skip
        yield _plot(figure, f"curves-{index}")
    yield _plot(figures.learning_rates(curves, trials, objective=objective, epochs=epochs), "rates")
    yield _plot(figures.importances(shares, objective=objective, num_trials=summary.importances_trials), "importances")
    rank = {name: index for index, name in enumerate(shares["parameter"])}
    axes = sorted(reading.axes, key=lambda axis: rank.get(axis.name, len(rank)))
    parallel = figures.parallel_coordinates(trials, axes=axes, objective=objective)
    width = _AXIS_WIDTH * (len(parallel.data[0].dimensions) + 1) if parallel.data else 0
    yield _plot(parallel, "parallel", width=width)
    yield _plot(figures.slices(trials, axes=axes, objective=objective, floor=floor), "slices", width=_PANELS_WIDTH)
    second, finals = _second(reading), frames.finals(reading)
    if second is not None and second.metric in finals:
        floors = {name: kinds["floor"] for name, kinds in summary.yardsticks.items() if "floor" in kinds}
        yield _plot(figures.pareto(finals, objectives=(objective, second), floors=floors), "pareto")
    yield _plot(figures.load(frames.load(reading)), "load")
    yield _plot(figures.ends(trials), "ends")


def _floor(summary: Summary, metric: str) -> float | None:
    """Return what a metric says of real rows beside other real rows, None where it was not measured."""
    return summary.yardsticks.get(metric, {}).get("floor")


def _second(reading: Reading) -> Objective | None:
    """Return the metric to set the objective against: one that the study bounds, or another that it names; of these
    the direction must be known without running what is not ours."""
    for bound in reading.study.constraints:
        if bound.name != reading.objective.name:
            return Objective(metric=bound.name, direction="minimize" if bound.at_least is None else "maximize")
    ours = set(plugins.names("metrics")) - {reading.objective.name}
    for name in reading.study.metrics:
        if name in ours:
            return Objective(metric=name, direction=plugins.load("metrics", name).direction)
    return None


def _each_epoch(curves: pd.DataFrame, objective: str) -> list[str]:
    """Return the metric to show beside an objective that is measured at less than half of the epochs; at most one."""
    counts = curves[~curves["metric"].str.fullmatch(r"(.*\.)?lr")]["metric"].value_counts()
    often = [str(name) for name, count in counts.items() if count > 2 * counts.get(objective, 0)]
    ours = set(plugins.names("metrics"))
    return sorted(often, key=lambda name: (name not in ours, name != "loss", -counts[name], name))[:1]


def _plot(figure: go.Figure, name: str, *, width: int = 0) -> str:
    """Return a section with the figure, or with its sentence alone where there is nothing to draw."""
    heading, text = figures.title(figure), figures.sentence(figure)
    body = f"<p class='soft'>{html.escape(text)}</p>"
    if any(_points(trace) for trace in figure.data):
        figure.update_layout(title=None, margin={"t": 25 if figure.data[0].type != "parcoords" else 70})
        drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"figure-{name}",
                               default_height=f"{figure.layout.height}px")  # fmt: skip
        body += f"<div class='wide plot'><div style='min-width:{width}px'>{drawn}</div></div>"
    return sections.section(heading, body)


def _points(trace: go.Scatter | go.Scattergl | go.Bar | go.Parcoords) -> bool:
    return bool(trace.dimensions) if trace.type == "parcoords" else trace.x is not None and len(trace.x) > 0
