"""What a metric offers, and what it returns.

Floor: torch, models and data. A metric gets a model, rows and a generator, and changes none of the first two. The
generator is seeded alike for every trial, so trials are compared under the same noise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import torch
from torch import Tensor

from ..data._data import Split
from ..models._family import Family, Likelihood

Direction = Literal["minimize", "maximize"]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """A value, the standard error of it over rows, and the number of rows."""

    value: float
    standard_error: float
    sample_size: int


class Metric(Protocol):
    """One metric; the class is called `Metric` and can be built without arguments."""

    name: ClassVar[str]
    direction: ClassVar[Direction]
    each_epoch: ClassVar[bool]
    """True where it is cheap enough to be measured every epoch."""

    def measure(self, model: Family, split: Split, generator: torch.Generator) -> Measurement:
        """The value on these rows; raises `ValueError` for a model that it cannot measure."""


def mean_over_rows(values_B: Tensor) -> Measurement:
    """The mean of one value a row, with its standard error."""
    rows = values_B.numel()
    values = values_B.double()
    error = float(values.std()) / math.sqrt(rows) if rows > 1 else math.nan
    return Measurement(value=float(values.mean()), standard_error=error, sample_size=rows)


def likelihood_of(model: Family, *, metric: str) -> Likelihood:
    """The model as one that bounds a likelihood; raises `ValueError` for a family that does not."""
    if not isinstance(model, Likelihood):
        raise ValueError(
            f"the metric {metric!r} needs a model with a likelihood, and {type(model).__module__} has none: "
            "choose another metric or a family such as vae"
        )
    return model
