"""The negative log-likelihood of levels in bits a number, by which data of different sizes compare.

`nll` divided by D ln 2, with D the numbers of a row. Pixels drawn alike from L levels cost log2 L. Floor: torch, models
and data.
"""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative
from . import nll
from ._metric import Measurement

_REAL = (
    "the metric 'bits_per_dim' needs rows of levels, and these are real numbers, whose density depends on their unit: "
    "choose nll"
)


class Metric(nll.Metric):
    """-IWAE_k in bits a number, smaller is better; k as in `nll`."""

    name: ClassVar[str] = "bits_per_dim"

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Refuse what `nll` refuses, and real numbers: a density has another value in every unit."""
        return _REAL if data.levels is None else super().refusal(model, data)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The mean over the rows of the split; raises `ValueError` for real numbers."""
        if split.x.is_floating_point():
            raise ValueError(_REAL)
        nats, unit = super().measure(model, split, generator), math.log(2.0) * math.prod(split.x.shape[1:])
        return dataclasses.replace(nats, value=nats.value / unit, standard_error=nats.standard_error / unit)
