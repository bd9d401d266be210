"""Frechet distance between rows and samples of series, in the features of fixed random kernels.

The kernels follow ROCKET (Dempster, Petitjean and Webb 2020, arXiv 1910.13051, section 3): random weights, lengths,
dilations and paddings, and pooling over time; nothing is trained. Ours run over all features at once, are shorter, have
no bias, and their share of positive outputs is smooth. Pooled outputs are standardized and whitened on the training
rows, and the distance (`_frechet.distance`) is divided by the number of components. Values compare only on one data
set and at equal numbers of rows and samples. Windows that overlap, as those of `prices`, count for fewer rows than they
are: there a perfect model, which draws each sample anew, may have less than other real rows, or than a copy of the
training rows. Floor: numpy, torch, data and models.
Axes: N rows, T steps, F features, J kernels of one bank, L weights of a kernel, P pooled outputs, C components.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import conv1d

from ..data._data import Data
from . import _samples
from ._comparison import Comparison
from ._features import Features
from ._frechet import distance
from ._metric import Direction, Measurement
from ._series import as_series, series_refusal

# The kernels are part of the definition: others are another objective.
SEED, KERNELS, LENGTHS, CENTERED, PADDED = 0, 100, (3, 5, 7), 0.7, 0.5
# How steep the smooth share of positive outputs is.
STEEPNESS = 8.0
COMPONENTS = 32
# Of standardized outputs, which have variance 1: components with less than this are rounding.
LEAST_VARIANCE = 1e-9
# What this process has whitened, by the content of the data and the device.
_FEATURES: dict[tuple[str, torch.device], Features] = {}


@dataclass(frozen=True, kw_only=True)
class Bank:
    """The kernels of one dilation and padding: `weights` are [J, F, L], each kernel of norm 1."""

    weights: Tensor
    dilation: int
    padding: int


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """The kernels, and how their pooled outputs are whitened: `mean` is [P], `whitening` is [P, C]."""

    banks: tuple[Bank, ...]
    low: float
    high: float
    mean: Tensor
    whitening: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C]: the whitened features of rows [N, T, F] in the data's own scale, as float64 on the CPU."""
        return self.whiten(_pooled(self.banks, x, low=self.low, high=self.high))

    def whiten(self, pooled_NP: Tensor) -> Tensor:
        """[N, C]: pooled outputs, decorrelated and of such spread that a distance is one a component."""
        return ((pooled_NP - self.mean) @ self.whitening).cpu()


class Metric(Comparison):
    """The distance between the rows of the split and 2000 samples, smaller is better; a perfect model has not 0."""

    name: ClassVar[str] = "fd_rocket"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 2000
    # With fewer rows the difference between two generators shrinks too, and not the level of the distance alone.
    fewest_rows: ClassVar[int] = 150

    @classmethod
    def _refusal(cls, data: Data) -> str | None:
        """All data but series of seven steps or more are refused, and too few validation rows."""
        return series_refusal(data, metric=cls.name, steps=max(LENGTHS)) or cls._too_few(len(data.validation))

    def prepare(self, data: Data) -> None:
        """Take the features of these data: whitened on the training rows, once a process."""
        if (problem := self._refusal(data)) is not None:
            raise ValueError(problem)
        key = (data.sha256, data.train.x.device)
        if key not in _FEATURES:
            _FEATURES[key] = fit_features(data)
        self._features = _FEATURES[key]

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The distance a component, its error by the jackknife."""
        return distance(rows_NF, samples_MF)


def fit_features(data: Data) -> Features:
    """The features of these data. Levels are scaled to [-1, 1]; real numbers stay as they are, best of unit size."""
    rows = data.train.x
    low, high = data.value_range if data.levels is not None else (-1.0, 1.0)
    # Whoever asks may be in inference mode, whose tensors would not serve outside.
    with torch.inference_mode(mode=False), torch.no_grad():
        banks = draw_kernels(steps=rows.shape[1], features=rows.shape[2], device=rows.device)
        pooled_NP = _pooled(banks, rows, low=low, high=high)
        deviation_P = pooled_NP.std(0).clamp(min=1e-9)
        values_P, vectors_PP = torch.linalg.eigh(torch.cov((pooled_NP / deviation_P).mT))
        # Ascending: the last are the largest.
        count = min(COMPONENTS, int((values_P > LEAST_VARIANCE).sum()))
        if count == 0:
            raise ValueError(
                f"the metric 'fd_rocket' needs series that differ, and those of {data.name!r} are all equal"
            )
        whitening_PC = vectors_PP[:, -count:] / (deviation_P[:, None] * (count * values_P[-count:]).sqrt())
        extract = Extractor(banks=banks, low=low, high=high, mean=pooled_NP.mean(0), whitening=whitening_PC)
        return Features(extract=extract, train=extract.whiten(pooled_NP))


def draw_kernels(*, steps: int, features: int, device: torch.device | str = "cpu") -> tuple[Bank, ...]:
    """The kernels for series of so many steps and features: the same on every machine."""
    # RandomState and not its successor: its streams are frozen, and the kernels must not change with the library.
    random = np.random.RandomState(SEED)
    banks: dict[tuple[int, int, int], list[NDArray[np.float64]]] = {}
    for _ in range(KERNELS):
        length = LENGTHS[random.randint(len(LENGTHS))]
        weights_FL = random.standard_normal((features, length))
        if random.random_sample() < CENTERED:
            weights_FL -= weights_FL.mean(1, keepdims=True)
        widest = math.log2((steps - 1) / (length - 1))
        dilation = int(2.0 ** (widest * random.random_sample()))
        padding = dilation * (length - 1) // 2 if random.random_sample() < PADDED else 0
        banks.setdefault((length, dilation, padding), []).append(weights_FL / np.linalg.norm(weights_FL))
    return tuple(
        Bank(weights=torch.from_numpy(np.stack(weights)).to(device), dilation=dilation, padding=padding)
        for (_, dilation, padding), weights in sorted(banks.items())
    )


def _pooled(banks: tuple[Bank, ...], rows: Tensor, *, low: float, high: float) -> Tensor:
    """[N, P]: the smooth share of positive outputs, the largest one and their standard deviation, a kernel each."""
    parts = []
    for part in torch.split(rows, _samples.CHUNK_ROWS):
        x_NFT = ((as_series(part, metric=Metric.name) - low) * (2.0 / (high - low)) - 1.0).mT
        pooled = []
        for bank in banks:
            y_NJT = conv1d(x_NFT, bank.weights, padding=bank.padding, dilation=bank.dilation)
            pooled += [(STEEPNESS * y_NJT).sigmoid().mean(-1), y_NJT.amax(-1), y_NJT.std(-1, correction=0)]
        parts.append(torch.cat(pooled, 1))
    return torch.cat(parts)
