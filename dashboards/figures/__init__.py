"""Figures of a search: pure functions from the frames of `hpo.analysis` to Plotly figures.

One palette, one layout, units and direction on every axis. Each figure carries the sentence that explains it
(`sentence`), so that whoever shows it shows that too. Nothing is read from disk here. Text that a user can choose is
escaped, as Plotly takes text for a subset of HTML.

Optuna's own figures (`optuna.visualization`) are not used: they take a study as Optuna has it, in which some samplers
were told a made-up value for a dead trial, and know neither rungs and ends nor constraints of a finished trial, floors,
directions and units, and they draw one trace a trial, which a page cannot bear at 1,000.
"""

from dashboards.figures._base import END_COLORS as END_COLORS
from dashboards.figures._base import END_SYMBOLS as END_SYMBOLS
from dashboards.figures._base import GREY as GREY
from dashboards.figures._base import sentence as sentence
from dashboards.figures._base import title as title
from dashboards.figures.groups import load as load
from dashboards.figures.outcome import effects as effects
from dashboards.figures.outcome import finalists as finalists
from dashboards.figures.outcome import non_dominated as non_dominated
from dashboards.figures.outcome import pareto as pareto
from dashboards.figures.parameters import MAX_AXES as MAX_AXES
from dashboards.figures.parameters import importances as importances
from dashboards.figures.parameters import parallel_coordinates as parallel_coordinates
from dashboards.figures.parameters import slices as slices
from dashboards.figures.search import ends as ends
from dashboards.figures.search import history as history
from dashboards.figures.search import learning_curves as learning_curves
from dashboards.figures.search import learning_rates as learning_rates
