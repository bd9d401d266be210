"""What metrics of samples of text share: other data are refused, and so many samples are drawn.

Floor: torch, data and models. Axes: N samples, T tokens.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement, mean_over_rows
from ._samples import draw


def text_refusal(data: Data, *, metric: str) -> str | None:
    """Why a metric of text cannot measure on these data; None if it can."""
    if data.modality == "text":
        return None
    return (
        f"the metric {metric!r} needs text, and {data.name!r} holds {data.modality}: choose another metric, or data "
        "such as english"
    )


class TextMetric(ABC):
    """A metric of samples of text."""

    name: ClassVar[str]
    direction: ClassVar[Direction]
    each_epoch: ClassVar[bool] = False

    def __init__(self) -> None:
        self._data: Data | None = None

    @abstractmethod
    def count(self, data: Data) -> int:
        """How many samples are drawn."""

    @abstractmethod
    def of_samples(self, samples_NT: Tensor, rows: Split, data: Data) -> Measurement:
        """The value of samples, int64 on the CPU, against the rows that are measured on."""

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but text are refused."""
        return text_refusal(data, metric=cls.name)

    def prepare(self, data: Data) -> None:
        """Take the vocabulary and the training rows; raises `ValueError` for data that are no text."""
        if (problem := text_refusal(data, metric=self.name)) is not None:
            raise ValueError(problem)
        self._data = data

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The value; NaN where a sample is not finite."""
        if self._data is None:
            raise ValueError(f"the metric {self.name!r} needs the data before it measures, and got none: call prepare")
        count = self.count(self._data)
        samples_NT = draw(model, generator, rows=count).x.cpu()
        if not bool(samples_NT.isfinite().all()):
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=count)
        return self.of_samples(samples_NT.long(), split, self._data)


def per_token(values_N: Tensor, rows_NT: Tensor, data: Data) -> Measurement:
    """The sum of a value a row over the tokens of all rows; what fills a row up, the empty token, is none.

    So bits of rows that are filled up to any length compare. The standard error is that of a ratio of two means, to
    first order.
    """
    assert data.vocabulary is not None  # text has one
    is_token_V = torch.tensor([token != "" for token in data.vocabulary])
    tokens_N = is_token_V[rows_NT.cpu().long()].sum(1).double()
    values_N = values_N.cpu().double()
    # A model may write nothing at all.
    mean = max(float(tokens_N.mean()), 1.0 / len(tokens_N))
    value = float(values_N.mean()) / mean
    error = mean_over_rows((values_N - value * tokens_N) / mean).standard_error
    return Measurement(value=value, standard_error=error, sample_size=len(tokens_N))


def lines(rows_NT: Tensor, data: Data) -> list[str]:
    """The rows as they are read."""
    return [data.text(row_T) for row_T in rows_NT.cpu()]
