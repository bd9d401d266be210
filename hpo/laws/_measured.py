"""What the laws of metrics are tried on: a metric, data, and a model of them or rows with noise in its place.

Floor: trainables and torch. Axes: N rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hpo.laws._law import generator
from hpo.laws._subject import Subject, few
from trainables.data._data import Data, Split
from trainables.metrics._metric import Measurement, Metric, prepare, refusal
from trainables.models._family import Family, Generative, Noise

# Rows of each split, at most: what every data set holds out at the least, and so as few as a metric may ask for.
MEASURED_ROWS = 300
# The largest noise on a row, in standard deviations of the data; most rows have much less.
NOISE = 0.5


class Rough:
    """Training rows under noise, in place of a model: from copies to rows that are hardly the data's.

    So every metric finds something, without a model that would have to be trained.
    """

    def __init__(self, data: Data) -> None:
        self._data = data
        self._scale = NOISE * float(data.train.x.double().std())

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """Which rows, their labels, and the noise."""
        train = self._data.train
        row = torch.randint(len(train), (rows,), generator=generator)
        drawn = {"row": row} if train.labels is None else {"row": row, "label": train.labels[row]}
        drawn["strength"] = torch.rand(rows, generator=generator)
        drawn["noise"] = torch.randn(rows, *self._data.shape, generator=generator)
        return drawn

    def sample(self, noise: Noise) -> Tensor:
        """These rows, in the form of the data."""
        x = self._data.train.x[noise["row"]]
        strength = noise["strength"].pow(4).view(-1, *[1] * len(self._data.shape))
        rough = (x + self._scale * strength * noise["noise"]).clamp(*self._data.value_range)
        return (rough if self._data.levels is None else rough.round()).to(x.dtype)


class NotANumber(Rough):
    """Samples of NaN in the place of a model."""

    def sample(self, noise: Noise) -> Tensor:
        return torch.full_like(super().sample(noise), torch.nan, dtype=torch.float32)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Measured:
    """A metric on a model of data. family: the class of the model, None for rows in its place."""

    name: str
    metric: type[Metric]
    data: Data
    model: Generative
    family: type[Family] | None = None
    said: str = ""

    def __str__(self) -> str:
        return f"{self.name} of {self.said or 'rows under noise'} on {self.data.name}"

    @property
    def rows(self) -> Split:
        return self.data.validation

    @property
    def refuses_beforehand(self) -> str | None:
        """What the metric says of this family and these data before it measures; None of rows."""
        return None if self.family is None else refusal(self.metric, self.family, self.data)

    @functools.cached_property
    def refusal(self) -> str | None:
        """In the metric's words: why it does not measure this; None if it does, or fails otherwise."""
        if (text := self.refuses_beforehand) is not None:
            return text
        try:
            self.found(0)
        except ValueError as error:
            return str(error)
        except Exception:  # a fault, and so the business of a law
            return None
        return None

    def found(self, seed: int) -> Measurement:
        """What the metric says under the noise of this seed; measured once."""
        known = self._known
        if seed not in known:
            known[seed] = self.measure(seed=seed)
        return known[seed]

    def measure(self, *, seed: int = 0, model: Generative | None = None, rows: Split | None = None) -> Measurement:
        """Measure with a new metric, another model or other rows where they are given."""
        metric = self.metric()
        prepare(metric, self.data)
        return metric.measure(model or self.model, rows or self.rows, generator(seed))

    @functools.cached_property
    def _known(self) -> dict[int, Measurement]:
        return {}


def on_rows(name: str, metric: type[Metric], data: Iterable[Data]) -> list[Measured]:
    """The metric on rows under noise of each of these data."""
    every = [few(own, rows=MEASURED_ROWS) for own in data]
    return [Measured(name=name, metric=metric, data=own, model=Rough(own)) for own in every]


def on_model(name: str, metric: type[Metric], subject: Subject, data: Data) -> Measured:
    """The metric on a new model of this subject, of whose data there are more rows in `data`."""
    rows = few(data, rows=MEASURED_ROWS)
    whole = replace(subject, data=rows)
    model = whole.build(subject.configurations[0])
    said = " ".join((subject.name, *subject.architecture))
    return Measured(name=name, metric=metric, data=rows, model=model, family=subject.family, said=said)


def first_measured(candidates: Iterable[Measured]) -> Measured | None:
    """The first that the metric does not refuse."""
    return next((candidate for candidate in candidates if candidate.refusal is None), None)
