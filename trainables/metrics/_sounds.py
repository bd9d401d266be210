"""Metrics of audio that are the mean of one number a sample, and compare with no rows.

Floor: torch, data and models. Axes: N samples.
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
from ._spectra import audio_refusal


class OfSounds(ABC):
    """The mean over 1000 samples, smaller is better; that of real rows is its yardstick."""

    name: ClassVar[str]
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False
    samples: ClassVar[int] = 1000

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """What is no audio is refused."""
        return audio_refusal(data, metric=cls.name)

    def prepare(self, data: Data) -> None:
        """Raises `ValueError` for data that are refused."""
        if (problem := audio_refusal(data, metric=self.name)) is not None:
            raise ValueError(problem)

    @abstractmethod
    def of_each(self, x: Tensor) -> Tensor:
        """[N]: the numbers of sounds [N, channels, samples]."""

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The mean; NaN where a sample is not finite."""
        x = draw(model, generator, rows=self.samples).x
        if not bool(x.isfinite().all()):
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(x))
        return mean_over_rows(self.of_each(x))
