"""What metrics share that compare samples with rows by their features.

The file of such a metric says what it asks for and how it compares; here the features are taken, the samples drawn,
and what cannot be measured is refused. Floor: torch, data and models. Axes: N rows, M samples, T training rows,
F features.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._features import Features, are_learned, features_of
from ._metric import Direction, Measurement
from ._samples import draw
from ._spectra import WINDOW


class Comparison(ABC):
    """A metric of samples against rows, both as features."""

    name: ClassVar[str]
    direction: ClassVar[Direction]
    each_epoch: ClassVar[bool] = False
    samples: ClassVar[int | None]
    """How many samples are drawn; None: as many as there are rows."""
    fewest_rows: ClassVar[int] = 2
    learned_only: ClassVar[bool] = False
    """True where it compares learned features only; what is neither images nor audio has none."""

    def __init__(self) -> None:
        self._features: Features | None = None

    @abstractmethod
    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The value of finite samples, all features float64 on the CPU."""

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Text is refused, what has no learned features where a metric needs such, and too few validation rows."""
        return cls._refusal(data)

    @classmethod
    def _refusal(cls, data: Data) -> str | None:
        if data.modality == "text":
            return (
                f"the metric {cls.name!r} compares amounts, and {data.name!r} holds tokens of text: choose another, "
                "such as reverse_lm"
            )
        if cls.learned_only and not are_learned(data):
            return (
                f"the metric {cls.name!r} needs images [channels, height, width], or audio [channels, samples] of at "
                f"least {WINDOW} samples, and {data.name!r} holds {data.modality} of the shape {list(data.shape)}: "
                "choose another metric, or data such as digits or instruments"
            )
        return cls._too_few(len(data.validation))

    @classmethod
    def _too_few(cls, rows: int) -> str | None:
        if rows >= cls.fewest_rows:
            return None
        return (
            f"the metric {cls.name!r} needs at least {cls.fewest_rows} rows to measure on, and there are {rows}: "
            "choose another metric, or hold out more"
        )

    def prepare(self, data: Data) -> None:
        """Take the features of these data: an extractor is trained on the training rows, once a process."""
        if (problem := self._refusal(data)) is not None:
            raise ValueError(problem)
        self._features = features_of(data)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The value; NaN where a sample is not finite."""
        if self._features is None:
            raise ValueError(f"the metric {self.name!r} needs the data before it measures, and got none: call prepare")
        if (problem := self._too_few(len(split))) is not None:
            raise ValueError(problem)
        count = len(split) if self.samples is None else self.samples
        with torch.inference_mode():
            samples_MF = self._features.extract(draw(model, generator, rows=count).x)
            if not bool(samples_MF.isfinite().all()):
                return Measurement(value=math.nan, standard_error=math.nan, sample_size=count)
            return self.compare(self._features.extract(split.x), samples_MF, self._features.train)
