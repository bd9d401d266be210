"""Frechet distance between rows and samples in the features of a small classifier trained on the data themselves.

The Frechet distance of two Gaussians: Dowson and Landau 1982, DOI 10.1016/0047-259X(82)90077-X; between features of
images: Heusel et al. 2017, arXiv 1706.08500, eq. (6). It needs no download and ranks generators of one data set; its
values compare only under one extractor, and at equal numbers of rows and samples. The features are the 64 numbers
before the last nonlinearity, standardized on the training rows and divided by the root of their number, so that the
distance is one a feature. Floor: torch, data and models. Axes: N rows, F features.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from ..data._data import Data, Split
from ..models._family import Family
from ..models._layers import convolution, linear
from ._metric import Direction, Measurement

SAMPLES = 4000
# Below so many the level of the distance drifts with the rows.
FEWEST_ROWS = 300
FEATURES = 64
# The training of the extractor is part of the definition: another extractor is another objective.
SEED, STEPS, BATCH, LR, WEIGHT_DECAY = 0, 400, 64, 2e-3, 1e-2
# Rows a pass through the extractor: as many as stay in a core's cache.
CHUNK_ROWS = 250
# Parts of the samples, each left out once for the standard error.
PARTS = 8
# Extractors of this process, by the content of the data and the device.
_EXTRACTORS: dict[tuple[str, torch.device], Extractor] = {}


class _Classifier(nn.Module):
    """Three convolutions and two linear layers on images scaled to [-1, 1]."""

    def __init__(self, shape: tuple[int, ...], *, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        places = math.prod(math.ceil(side / 4) for side in shape[1:])
        self.convolutions = nn.ModuleList(
            convolution(inputs, outputs, kernel=3, stride=stride, padding=1, generator=generator)
            for inputs, outputs, stride in ((shape[0], 32, 1), (32, 64, 2), (64, 64, 2))
        )
        self.features = linear(64 * places, FEATURES, generator=generator)
        self.classes = linear(FEATURES, classes, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """[N, F]: the features."""
        for layer in self.convolutions:
            x = relu(layer(x))
        features: Tensor = self.features(x.flatten(1))
        return features


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A frozen classifier, and how its features are standardized: `mean` and `deviation` are [F]."""

    classifier: _Classifier
    low: float
    high: float
    mean: Tensor
    deviation: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[N, F]: the standardized features of rows in the data's own scale, as float64 on the CPU."""
        parts = [self.classifier(_scaled(part, self.low, self.high)) for part in torch.split(x, CHUNK_ROWS)]
        features_NF = (torch.cat(parts).double() - self.mean) / self.deviation
        return (features_NF / math.sqrt(FEATURES)).cpu()


class Metric:
    """The distance between all rows of the split and 4000 samples, smaller is better."""

    name: ClassVar[str] = "fd_self"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False

    def __init__(self) -> None:
        self._extractor: Extractor | None = None

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but labeled images are refused, and a validation split too small to rank by."""
        return cls._refusal(data)

    @classmethod
    def _refusal(cls, data: Data) -> str | None:
        if data.modality != "images" or len(data.shape) != 3 or data.train.labels is None:
            return (
                f"the metric {cls.name!r} needs labeled images [channels, height, width], and {data.name!r} has rows "
                f"of the shape {list(data.shape)} {'with' if data.train.labels is not None else 'without'} labels: "
                "choose another metric, or data such as digits"
            )
        return None if len(data.validation) >= FEWEST_ROWS else _too_few(len(data.validation))

    def prepare(self, data: Data) -> None:
        """Take the extractor of these data: trained on the training rows, once a process."""
        if (problem := self._refusal(data)) is not None:
            raise ValueError(problem)
        key = (data.sha256, data.train.x.device)
        if key not in _EXTRACTORS:
            _EXTRACTORS[key] = train_extractor(data)
        self._extractor = _EXTRACTORS[key]

    def measure(self, model: Family, split: Split, generator: torch.Generator) -> Measurement:
        """The distance; NaN where a sample is not finite."""
        if self._extractor is None:
            raise ValueError(f"the metric {self.name!r} needs the data before it measures, and got none: call prepare")
        if len(split) < FEWEST_ROWS:
            raise ValueError(_too_few(len(split)))
        with torch.inference_mode():
            noise = model.draw_samples(generator, rows=SAMPLES)
            parts = {name: torch.split(tensor, CHUNK_ROWS) for name, tensor in noise.items()}
            samples = [
                model.sample({name: part[place] for name, part in parts.items()})
                for place in range(math.ceil(SAMPLES / CHUNK_ROWS))
            ]
            return distance(self._extractor(split.x), self._extractor(torch.cat(samples)))


def distance(rows_NF: Tensor, samples_NF: Tensor) -> Measurement:
    """The Frechet distance of the two sets of features; its error by the jackknife over parts of the samples.

    Efron 1982, DOI 10.1137/1.9781611970319: the rows count as given, so the error is that of drawing samples.
    """
    if not bool(samples_NF.isfinite().all()):
        return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(samples_NF))
    rows = _moments(rows_NF)
    without = [
        frechet_distance(*rows, *_moments(torch.cat([samples_NF[:begin], samples_NF[end:]])))
        for begin, end in _cuts(len(samples_NF))
    ]
    spread = torch.tensor(without, dtype=torch.float64).var(correction=0)
    return Measurement(
        value=frechet_distance(*rows, *_moments(samples_NF)),
        standard_error=math.sqrt((PARTS - 1) * float(spread)),
        sample_size=len(samples_NF),
    )


def frechet_distance(mean_F: Tensor, covariance_FF: Tensor, other_F: Tensor, other_FF: Tensor) -> float:
    """|m - n|^2 + tr(C + D - 2 (C^1/2 D C^1/2)^1/2) of the Gaussians N(m, C) and N(n, D)."""
    values_F, vectors_FF = torch.linalg.eigh(covariance_FF)
    # Eigenvalues of a covariance are not negative but for rounding.
    root_FF = (vectors_FF * values_F.clamp(min=0.0).sqrt()) @ vectors_FF.mT
    common = torch.linalg.eigvalsh(root_FF @ other_FF @ root_FF).clamp(min=0.0).sqrt().sum()
    return float((mean_F - other_F).square().sum() + covariance_FF.trace() + other_FF.trace() - 2.0 * common)


def train_extractor(data: Data) -> Extractor:
    """The extractor of these data; the same on every device, since it is trained on the CPU."""
    x, labels = data.train.x.cpu(), data.train.labels
    if labels is None:
        raise ValueError(f"an extractor is trained on labels, and {data.name!r} has none: choose other data")
    low, high = data.value_range
    labels = labels.cpu()
    generator = torch.Generator().manual_seed(SEED)
    # Whoever asks may be in inference mode, in which nothing can be trained.
    with torch.inference_mode(mode=False), torch.enable_grad():
        classifier = _Classifier(data.shape, classes=int(labels.max()) + 1, generator=generator)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        for _ in range(STEPS):
            rows = torch.randint(len(x), (BATCH,), generator=generator)
            features = classifier(_scaled(x[rows], low, high))
            loss = cross_entropy(classifier.classes(relu(features)), labels[rows])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    classifier.requires_grad_(False)
    with torch.inference_mode():
        features_NF = torch.cat([classifier(_scaled(part, low, high)) for part in torch.split(x, CHUNK_ROWS)]).double()
    device = data.train.x.device
    return Extractor(
        classifier=classifier.to(device),
        low=low,
        high=high,
        mean=features_NF.mean(0).to(device),
        deviation=features_NF.std(0).clamp(min=1e-6).to(device),
    )


def _scaled(x: Tensor, low: float, high: float) -> Tensor:
    return (x.float() - low) * (2.0 / (high - low)) - 1.0


def _moments(features_NF: Tensor) -> tuple[Tensor, Tensor]:
    return features_NF.mean(0), torch.cov(features_NF.mT)


def _cuts(count: int) -> list[tuple[int, int]]:
    edges = [count * part // PARTS for part in range(PARTS + 1)]
    return list(itertools.pairwise(edges))


def _too_few(rows: int) -> str:
    return f"a Frechet distance needs at least {FEWEST_ROWS} rows to measure on, and there are {rows}: hold out more"
