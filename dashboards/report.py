"""One self-contained HTML page about one search: nothing is loaded from anywhere, so it can be mailed or archived.

Reads the home through `hpo.analysis` alone and may do so while the search runs. Every text that comes from the home is
escaped, and the page's own policy forbids it to fetch anything.
"""

from __future__ import annotations

import base64
import html
import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards import figures
from hpo import analysis, plugins
from hpo.analysis import Reading, Summary
from hpo.home import Home
from hpo.progress import clock, comparison
from hpo.pruning import decision_steps

SHEETS = 6  # sample sheets of the best trials shown
IMAGE_BYTES = 1_500_000  # all images together: plotly.js takes 4.8 MB, and the page is to stay below 8 MB
CAUSES = 30  # rows of the table of ends
LINE = 160  # characters of a cause that are shown at once
CAUSE_BYTES = 20_000
TEXT_BYTES = 20_000  # of a sheet of text
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
# plotly.js 4 shows by default a button that sends the figure to a server of its makers.
_CONFIG = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
_AXIS_WIDTH = 74  # pixels for one axis of the parallel coordinates; a phone scrolls sideways

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
    sections = [
        _head(summary, now),
        _winner(home, summary),
        _beside(summary),
        *_figures(reading, summary),
        _samples(home, reading),
        _ends(summary),
    ]
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{name}: search report</title><style>{_STYLE}</style><script>{get_plotlyjs()}</script></head>\n"
        f"<body>{''.join(sections)}<script>{_SCRIPT}</script></body></html>\n"
    )


def _head(summary: Summary, now: datetime) -> str:
    counts = summary.counts
    ended = sum(counts[end] for end in ("done", "pruned", "died"))
    running = counts["running"] + counts["waiting"]
    state = "finished" if ended >= summary.budget.trials else "under way or interrupted"
    tiles = {
        "trials": f"{ended} of {summary.budget.trials}",
        **{end: str(counts[end]) for end in ("done", "pruned", "died", "lost")},
        "not ended yet": str(running),
        "epochs trained": f"{summary.epochs_trained:,}",
        "epochs repeated": f"{summary.epochs_repeated:,}",
        "time searching": clock(summary.seconds),
        "trials a minute": _rounded(summary.trials_a_minute),
        "epochs a minute": _rounded(summary.epochs_a_minute),
        "workers busy": "-" if summary.worker_busy is None else f"{summary.worker_busy:.0%}",
    }
    if summary.width > 1 and summary.occupancy is not None:
        tiles[f"of {summary.width} slots taken"] = f"{summary.occupancy:.0%}"
    if not running:
        del tiles["not ended yet"]
    cells = "".join(
        f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>" for key, value in tiles.items()
    )
    better = "lower" if summary.objective.direction == "minimize" else "higher"
    return (
        f"<header><h1>{html.escape(summary.study)}</h1><p class='soft'>Search for the best "
        f"{html.escape(summary.objective.metric)} ({better} is better), up to {summary.budget.epochs} epochs a trial. "
        f"The search is {state}. Written {now:%Y-%m-%d %H:%M} UTC.</p><dl class='tiles'>{cells}</dl></header>"
    )


def _winner(home: Home, summary: Summary) -> str:
    best = summary.best
    if best is None:
        return _section("The winner", "<p>No trial is done yet.</p>")
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td class='number'>{html.escape(_shown(value))}</td></tr>"
        for name, value in best.params.items()
    )
    sheet = _sheet(home, best.files, caption=f"trial {best.trial}, samples")
    body = (
        f"<p>Trial {best.trial} reached {html.escape(summary.objective.metric)} = <strong>{best.value:.6g}</strong> "
        f"with seed {best.seed}{_broken(best.feasible, all_do=True)}. The best of many noisy values flatters itself: "
        "train it again with fresh seeds before you quote the figure.</p><div class='sides'>"
        f"<table><thead><tr><th>parameter</th><th class='number'>value</th></tr></thead><tbody>{rows}</tbody></table>"
        f"{sheet}</div>"
    )
    return _section("The winner", body)


def _beside(summary: Summary) -> str:
    """Return each metric of the winner and of what it is read beside; nothing where there is no more than its value."""
    rows = comparison(summary)
    if not rows:
        return ""
    metrics = "".join(f"<th class='number'>{html.escape(metric)}</th>" for metric in rows[0][1:])
    body = "".join(
        f"<tr><td>{html.escape(who)}</td>" + "".join(f"<td class='number'>{value}</td>" for value in values) + "</tr>"
        for who, *values in rows[1:]
    )
    text = (
        "Each metric of the winner's samples, or of its model, and of what to read it beside: real rows are those that "
        "no model saw, and a copy of the training rows wins every measure of fidelity."
    )
    return _section(
        "Beside the winner",
        f"<p class='soft'>{text}</p><div class='wide'><table><thead><tr><th></th>{metrics}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>",
    )


def _figures(reading: Reading, summary: Summary) -> list[str]:
    trials, curves, shares = analysis.trials(reading), analysis.curves(reading), analysis.importances(reading)
    objective, epochs = reading.objective, reading.study.budget.epochs
    # Where the objective is measured at the rungs alone, a metric of every epoch shows how training went between them.
    metrics = [objective.metric, *_each_epoch(curves, objective.metric)]
    pruner = reading.study.pruner
    # A dotted name would be imported, and a report runs nothing that a home names.
    rungs = () if "." in pruner.name else decision_steps(pruner, epochs=epochs)
    rank = {name: index for index, name in enumerate(shares["parameter"])}
    axes = sorted(reading.axes, key=lambda axis: rank.get(axis.name, len(rank)))
    parallel = figures.parallel_coordinates(trials, axes=axes, objective=objective)
    width = _AXIS_WIDTH * (len(parallel.data[0].dimensions) + 1) if parallel.data else 0
    return [
        _plot(figures.history(trials, objective=objective), "history"),
        *(
            _plot(
                figures.learning_curves(curves, trials, metric=name, objective=objective, epochs=epochs, rungs=rungs),
                f"curves-{index}",
            )
            for index, name in enumerate(metrics)
        ),
        _plot(parallel, "parallel", width=width),
        _plot(figures.importances(shares, objective=objective, num_trials=summary.importances_trials), "importances"),
    ]


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
        figure.update_layout(title=None)
        drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"figure-{name}",
                               default_height=f"{figure.layout.height}px")  # fmt: skip
        body += f"<div class='wide plot'><div style='min-width:{width}px'>{drawn}</div></div>"
    return _section(heading, body)


def _points(trace: go.Scatter | go.Scattergl | go.Bar | go.Parcoords) -> bool:
    return bool(trace.dimensions) if trace.type == "parcoords" else trace.x is not None and len(trace.x) > 0


def _broken(feasible: bool, *, all_do: bool = False) -> str:
    """What is said of a trial that breaks a constraint; of the best, that all of them do."""
    return "" if feasible else f", breaks a constraint{', as all do' if all_do else ''}"


def _samples(home: Home, reading: Reading) -> str:
    """Return the sheets of the best done trials, best first."""
    trials = analysis.trials(reading)
    done = trials[(trials["end"] == "done") & trials["value"].notna()]
    up = reading.objective.direction == "minimize"
    done = done.sort_values(["feasible", "value", "number"], ascending=[False, up, True])
    sheets = [
        _sheet(home, analysis.files(reading, number), caption=f"trial {number}: {value:.6g}{_broken(feasible)}")
        for number, value, feasible in zip(done["number"].head(SHEETS), done["value"], done["feasible"], strict=False)
    ]
    shown = [sheet for sheet in sheets if sheet]
    if not shown:
        return ""
    text = f"Samples of the {len(shown)} best trials that left some, best first."
    return _section("Samples of the best", f"<p class='soft'>{text}</p><div class='sheets'>{''.join(shown)}</div>")


def _sheet(home: Home, files: Sequence[str], *, caption: str) -> str:
    """Return the last sample sheet among `files` inside the page, an image or text; nothing where there is none."""
    for file in reversed(files):
        path = (home.path / file).resolve()
        # The log names the file, and a log may come from anywhere: only a sheet in this home is taken.
        if path.suffix not in (".png", ".txt") or not path.is_relative_to(home.samples) or not path.is_file():
            continue
        if path.suffix == ".txt":
            return _lines(path, caption=caption)
        if path.stat().st_size > IMAGE_BYTES // (SHEETS + 1):
            return f"<figure><figcaption>{html.escape(caption)}: the sheet is too large for this page; it is " \
                   f"{html.escape(file)} in the home.</figcaption></figure>"  # fmt: skip
        source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
        text = html.escape(caption)
        return f"<figure><img alt='Samples, {text}' src='{source}'><figcaption>{text}</figcaption></figure>"
    return ""


def _lines(path: Path, *, caption: str) -> str:
    """Return a sheet of text, whatever it holds; what is too long for the page is cut."""
    with path.open("rb") as file:
        text = file.read(TEXT_BYTES + 1)
    shown = html.escape(text[:TEXT_BYTES].decode("utf-8", errors="replace"))
    more = "..." if len(text) > TEXT_BYTES else ""
    return f"<figure class='text'><pre>{shown}{more}</pre><figcaption>{html.escape(caption)}</figcaption></figure>"


def _ends(summary: Summary) -> str:
    """Return how trials ended and why, most frequent first; a long cause such as a traceback unfolds."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for trial in summary.trials:
        found[trial.end, trial.cause.strip()].append(trial.number)
    order = {end: index for index, end in enumerate(analysis.STATES)}
    ranked = sorted(found.items(), key=lambda item: (order[item[0][0]], -len(item[1]), item[1]))
    rows = "".join(
        f"<tr><td>{html.escape(end)}</td><td>{_cause(cause)}</td><td class='number'>{len(numbers)}</td>"
        f"<td>{', '.join(map(str, numbers[:5]))}{', ...' if len(numbers) > 5 else ''}</td></tr>"
        for (end, cause), numbers in ranked[:CAUSES]
    )
    rest = f"<p class='soft'>{len(ranked) - CAUSES} rarer causes are left out.</p>" if len(ranked) > CAUSES else ""
    text = (
        "Done: trained to the end. Pruned: stopped at a rung. Died: the training itself failed, which says something "
        "about the parameters. Lost: the machine or the code failed, which says nothing about them; another trial "
        "takes its place."
    )
    return _section(
        "How trials ended",
        f"<p class='soft'>{text}</p><div class='wide'><table><thead><tr><th>end</th><th>cause</th>"
        f"<th class='number'>trials</th><th>numbers</th></tr></thead><tbody>{rows}</tbody></table></div>{rest}",
    )


def _cause(cause: str) -> str:
    if not cause:
        return "-"
    last = cause.splitlines()[-1]
    if last == cause and len(cause) <= LINE:
        return html.escape(cause)
    return (
        f"<details><summary>{html.escape(last[:LINE])}</summary><pre>{html.escape(cause[:CAUSE_BYTES])}</pre></details>"
    )


def _section(heading: str, body: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{body}</section>\n"


def _shown(value: bool | int | float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"
