"""The figures of a search as a page for MLflow's artifact viewer, which shows one HTML file in a frame of its own.

Such a file can load nothing that lies beside it, so each would carry plotly.js, 4.8 MB, and again at each refresh. All
figures are therefore on one page, which carries it once and opens without a network.
"""

from __future__ import annotations

import html

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from dashboards import figures
from hpo import analysis
from hpo.analysis import Reading
from hpo.pruning import decision_steps

NAME = "figures/figures.html"
# plotly.js 4 shows by default a button that sends the figure to a server of its makers.
_CONFIG = {"showSendToCloud": False, "displaylogo": False, "responsive": True}
_POLICY = "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:"
_STYLE = """
body { font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; color: #222; background: #fff;
  margin: 1rem; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .2rem; }
p { color: #666; font-size: .9rem; margin: .2rem 0 .6rem; max-width: 75ch; }
"""


def figure_pages(reading: Reading) -> dict[str, str]:
    """Return the page under the name that it has among the files of a study's run in MLflow."""
    sections = "".join(_section(name, figure) for name, figure in _drawn(reading).items())
    return {
        NAME: "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(reading.study.name)}: figures</title><style>{_STYLE}</style>"
        f"<script>{get_plotlyjs()}</script></head>\n<body>{sections}</body></html>\n"
    }


def _drawn(reading: Reading) -> dict[str, go.Figure]:
    trials, curves, shares = analysis.trials(reading), analysis.curves(reading), analysis.importances(reading)
    objective, epochs, pruner = reading.objective, reading.study.budget.epochs, reading.study.pruner
    # A dotted name would be imported, and a figure runs nothing that a home names.
    rungs = () if "." in pruner.name else decision_steps(pruner, epochs=epochs)
    rank = {name: index for index, name in enumerate(shares["parameter"])}
    axes = sorted(reading.axes, key=lambda axis: rank.get(axis.name, len(rank)))
    return {
        "history": figures.history(trials, objective=objective, rungs=rungs),
        "learning-curves": figures.learning_curves(
            curves, trials, metric=objective.metric, objective=objective, epochs=epochs, rungs=rungs
        ),
        "importances": figures.importances(shares, objective=objective, num_trials=len(reading.done)),
        "parallel-coordinates": figures.parallel_coordinates(trials, axes=axes, objective=objective),
        "slices": figures.slices(trials, axes=axes, objective=objective),
        "learning-rates": figures.learning_rates(curves, trials, objective=objective, epochs=epochs),
        "ends": figures.ends(trials),
    }


def _section(name: str, figure: go.Figure) -> str:
    heading, text = figures.title(figure), figures.sentence(figure)
    figure.update_layout(title=None)
    drawn = figure.to_html(full_html=False, include_plotlyjs=False, config=_CONFIG, div_id=f"figure-{name}",
                           default_height=f"{figure.layout.height}px")  # fmt: skip
    return f"<section><h2>{html.escape(heading)}</h2><p>{html.escape(text)}</p>{drawn}</section>\n"
