"""What leaves a home: one configuration that can be trained again, with its weights, metrics and samples.

An export is a folder of plain files: `config.yaml`, `weights.safetensors`, `metrics.json`, `samples.png`. `train` makes
the same folder from a configuration. No pickle is written or read.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hpo import analysis, parts
from hpo.errors import RequestError
from hpo.home import Home
from hpo.messages import Params
from hpo.study import Budget, Objective, Scalar, Study, read_yaml

VERSIONS = ("generative-hpo", "torch", "numpy", "scikit-learn", "optuna", "ray")
EPOCH = Callable[[int, dict[str, float]], None]


class Config(BaseModel):
    """One configuration, complete: trained again on the same machine and versions it gives the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["hpo-config-1"] = "hpo-config-1"
    study: str
    trial: int | None = None
    model: str
    data: str | dict[str, Scalar] | None
    objective: Objective
    epochs: int
    seed: int
    params: Params
    versions: dict[str, str] = {}

    def as_study(self) -> Study:
        """Return a study of this one configuration, from which its trainer is made."""
        own = self.data is None
        return Study(
            name=self.study,
            model=self.model,
            data=self.data,
            space=dict(self.params),
            objective=self.objective if own else self.objective.metric,
            budget=Budget(trials=1, epochs=self.epochs),
        )
