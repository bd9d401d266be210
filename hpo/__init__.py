"""hpo: hyperparameter optimization for PyTorch generative models.

The face of the library. Heavy parts (Ray, Optuna, MLflow, torch) are imported by the call that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hpo.errors import HpoError, NotBuilt, RequestError, SearchFailed
from hpo.study import Budget, Objective, Resources, Study

if TYPE_CHECKING:
    from hpo.export import export, train
    from hpo.launch import Result, search

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

_LAZY = {"Result": "hpo.launch", "export": "hpo.export", "search": "hpo.launch", "train": "hpo.export"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'hpo' has no attribute {name!r}")
