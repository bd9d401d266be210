"""hpo: hyperparameter optimization for PyTorch generative models.

The face of the library. Heavy parts (Ray, Optuna, MLflow, torch) are imported by the call that needs them.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, NotBuilt, RequestError, SearchFailed
from hpo.study import Budget, Objective, Resources, Study

if TYPE_CHECKING:
    from hpo.analysis import Reading
    from hpo.launch import Result
    from hpo.retrain import train
    from hpo.selection import export

__version__ = "0.1.0"

__all__ = [
    "Budget",
    "HpoError",
    "NotBuilt",
    "Objective",
    "RequestError",
    "Resources",
    "Result",
    "SearchFailed",
    "Study",
    "export",
    "search",
    "train",
]

_LAZY = {"Result": "hpo.launch", "export": "hpo.selection", "train": "hpo.retrain"}


def search(
    study: Study,
    *,
    home: str | Path,
    address: str | None = None,
    on_status: Callable[[Mapping[str, Any]], None] | None = None,
) -> Result:
    """Run a study, or go on with the one in `home`; see `hpo.launch.search`.

    MLflow shows figures of it. At the end a report is written into the home, and attached to the study's run.
    """
    from hpo.launch import search as run

    result = run(study, home=home, address=address, on_status=on_status, figures=_figures)
    return result if result.interrupted else _reported(result)


def _reported(result: Result) -> Result:
    """Write the report and hand it to MLflow, unless that lags behind anyway; a search is done without either."""
    try:
        from dashboards.report import write
        from hpo.home import Home
        from hpo.tracking import attach

        place = Home(result.home)
        path = write(place)
        if not result.unsynced:
            attach(result.study, place, {path.name: path})
        return dataclasses.replace(result, report=path)
    except Exception as error:  # a full disk, or a fault in a figure: all trials are in the ledger
        return dataclasses.replace(result, no_report=f"{type(error).__name__}: {error}")


def _figures(reading: Reading) -> Mapping[str, str]:
    """Imported where they are made, in the thread that writes to MLflow: a search does not wait for Plotly."""
    from dashboards.pages import figure_pages

    return figure_pages(reading)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
