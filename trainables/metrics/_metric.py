"""What a metric offers, and what it returns.

Floor: torch, models and data. A metric gets a model, rows and a generator, and changes none of the first two. The
generator is seeded alike for every trial, so trials are compared under the same noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative, Likelihood

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

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The value on these rows; raises `ValueError` for a model that it cannot measure."""


@runtime_checkable
class Prepared(Protocol):
    """A metric that takes something from the whole data set, such as an extractor of features from the training rows.

    Called once, before the first measurement, with the data on the device of the model.
    """

    def prepare(self, data: Data) -> None:
        """Take it; raises `ValueError` for data that it cannot measure on."""


@runtime_checkable
class Choosy(Protocol):
    """A metric that cannot measure every family on all data."""

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """In words, rule, value and remedy: why it cannot measure such models of such data; None if it can."""


@runtime_checkable
class OfModel(Protocol):
    """A metric with `of_model = True` measures the model itself, so rows cannot stand in the place of samples."""

    of_model: ClassVar[bool]


def measures_samples(metric: Metric | type[Metric]) -> bool:
    """Whether the metric needs nothing of a model but its samples, so that it can be taken of real rows too."""
    return not (isinstance(metric, OfModel) and metric.of_model)


@runtime_checkable
class Floorless(Protocol):
    """A metric with `has_floor = False`: as few rows as there are test rows say nothing of as many samples."""

    has_floor: ClassVar[bool]


def has_floor(metric: Metric | type[Metric]) -> bool:
    """Whether what the metric says of real rows that no model saw bounds what it says of samples."""
    return measures_samples(metric) and not (isinstance(metric, Floorless) and not metric.has_floor)


@runtime_checkable
class Baselined(Protocol):
    """A metric of the model that is read beside what simple models of the training rows reach."""

    def baselines(self, data: Data) -> Mapping[str, float]:
        """Their values on the validation rows, by name: a finished trial reports each, as `metric.name`."""


@runtime_checkable
class Clocked(Protocol):
    """A metric of time: where `reads_clock` is True the value differs from run to run under the same noise."""

    reads_clock: ClassVar[bool]


def prepare(metric: Metric, data: Data) -> None:
    """Let the metric take from the data what it needs, where it needs anything."""
    if isinstance(metric, Prepared):
        metric.prepare(data)


def refusal(metric: Metric | type[Metric], model: type[Family], data: Data) -> str | None:
    """Why the metric cannot measure this family on these data; None if it can, or does not say."""
    return metric.refusal(model, data) if isinstance(metric, Choosy) else None


@runtime_checkable
class ChoosyOfModels(Protocol):
    """A metric that cannot measure every model of a family that it can measure."""

    def model_refusal(self, model: Generative) -> str | None:
        """In words why it cannot measure this very model; None if it can."""


def model_refusal(metric: Metric, model: Generative) -> str | None:
    """Why the metric cannot measure this very model; None if it can, or does not say."""
    return metric.model_refusal(model) if isinstance(metric, ChoosyOfModels) else None


def mean_over_rows(values_B: Tensor) -> Measurement:
    """The mean of one value a row, with its standard error."""
    rows = values_B.numel()
    values = values_B.double()
    error = float(values.std()) / math.sqrt(rows) if rows > 1 else math.nan
    return Measurement(value=float(values.mean()), standard_error=error, sample_size=rows)


def likelihood_of(model: Generative, *, metric: str) -> Likelihood:
    """The model as one that bounds a likelihood; raises `ValueError` for a family that does not."""
    if not isinstance(model, Likelihood):
        raise ValueError(_no_likelihood(type(model), metric=metric))
    return model


def likelihood_refusal(model: type[Family], *, metric: str) -> str | None:
    """Why a metric of the likelihood cannot measure this family; None if it can."""
    # `latent` is set by each model when it is built, so the class is asked for the two methods only.
    bounds = all(callable(getattr(model, name, None)) for name in ("log_weights", "bound"))
    return None if bounds else _no_likelihood(model, metric=metric)


def _no_likelihood(model: type, *, metric: str) -> str:
    return (
        f"the metric {metric!r} needs a model with a likelihood, and {model.__module__} has none: "
        "choose another metric or a family such as vae"
    )
