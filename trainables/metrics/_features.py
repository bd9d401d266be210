"""The features in which rows and samples are compared: learned for images, standardized numbers for all else.

Images: the 64 numbers before the last nonlinearity of a small classifier trained on the data themselves, standardized
on the training rows and divided by the root of their number, so that a distance is one a feature. It is trained on the
labels; without labels on telling by which quarter turns an image was rotated (Gidaris et al. 2018, arXiv 1803.07728).
It needs no download and ranks generators of one data set; values compare only under one extractor.
On digits features without labels keep the order of fitted mixtures, exaggerate noise on pixels, and see less of a lost
class.
Floor: torch, data and layers. Axes: N rows, F features, D numbers of a row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from ..data._data import Data
from ..models._layers import convolution, linear
from . import _samples

FEATURES = 64
# The training of the extractor is part of the definition: another extractor is another objective.
SEED, STEPS, BATCH, LR, WEIGHT_DECAY = 0, 400, 64, 2e-3, 1e-2
# No number of a row weighs more than so many times what it would at the deviation of all of them together.
HEAVIEST = 10.0


class Extract(Protocol):
    """What turns rows into features."""

    def __call__(self, x: Tensor) -> Tensor:
        """[N, F]: the features of rows in the data's own scale, as float64 on the CPU."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """How rows of one data set become features, and `train` [N, F], those of its training rows."""

    extract: Extract
    train: Tensor = field(repr=False)


# What this process has extracted from, by the content of the data and the device.
_FEATURES: dict[tuple[str, torch.device], Features] = {}


def features_of(data: Data) -> Features:
    """The features of these data: an extractor for images, trained once a process, and the numbers for all else."""
    key = (data.sha256, data.train.x.device)
    if key not in _FEATURES:
        extract: Extract = train_extractor(data) if is_images(data) else Numbers.of(data)
        _FEATURES[key] = Features(extract=extract, train=extract(data.train.x))
    return _FEATURES[key]


def is_images(data: Data) -> bool:
    """Whether the rows are images [channels, height, width]."""
    return data.modality == "images" and len(data.shape) == 3


@dataclass(frozen=True, kw_only=True)
class Numbers:
    """The numbers of a row, flat, less `mean` [D] and over `deviation` [D]."""

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, data: Data) -> Numbers:
        """Each feature of a step, or number of a point, is standardized over all training rows and their steps.

        One that hardly ever differs from its mean is not blown up beyond `HEAVIEST`.
        """
        places = data.train.x.double().flatten(0, -2)
        deviation = places.std(0)
        least = float(deviation.square().mean().sqrt()) / HEAVIEST
        return cls(
            mean=places.mean(0).expand(data.shape).flatten(),
            deviation=deviation.clamp(min=max(least, 1e-6)).expand(data.shape).flatten(),
        )

    def __call__(self, x: Tensor) -> Tensor:
        """[N, D]: the numbers, as float64 on the CPU."""
        return ((x.flatten(1).double() - self.mean) / self.deviation).cpu()


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
    """A frozen classifier of images, and how its features are standardized: `mean` and `deviation` are [F]."""

    classifier: _Classifier
    low: float
    high: float
    mean: Tensor
    deviation: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[N, F]: the standardized features of rows in the data's own scale, as float64 on the CPU."""
        raw_NF = _raw_features(self.classifier, x, self.low, self.high)
        return ((raw_NF - self.mean) / self.deviation / math.sqrt(FEATURES)).cpu()


def train_extractor(data: Data) -> Extractor:
    """The extractor of these images, trained on the CPU by one thread whatever the device is.

    It is the same in every process of a machine; on another, rounding may move its features, so compare values of one.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _trained(data)
    finally:
        torch.set_num_threads(threads)


def _trained(data: Data) -> Extractor:
    x = data.train.x.cpu()
    labels = None if data.train.labels is None else data.train.labels.cpu()
    low, high = data.value_range
    turns = _turns(data.shape)
    classes = len(turns) if labels is None else data.classes
    generator = torch.Generator().manual_seed(SEED)
    # Whoever asks may be in inference mode, in which nothing can be trained.
    with torch.inference_mode(mode=False), torch.enable_grad():
        classifier = _Classifier(data.shape, classes=classes, generator=generator)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        for _ in range(STEPS):
            if labels is not None:
                rows = torch.randint(len(x), (BATCH,), generator=generator)
                images, targets = x[rows], labels[rows]
            else:
                rows = torch.randint(len(x), (BATCH // len(turns),), generator=generator)
                images = torch.cat([x[rows].rot90(turn, (2, 3)) for turn in turns])
                targets = torch.arange(len(turns)).repeat_interleave(len(rows))
            features = classifier(_scaled(images, low, high))
            loss = cross_entropy(classifier.classes(relu(features)), targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    classifier.requires_grad_(False)
    with torch.inference_mode():
        raw_NF = _raw_features(classifier, x, low, high)
    device = data.train.x.device
    return Extractor(
        classifier=classifier.to(device),
        low=low,
        high=high,
        mean=raw_NF.mean(0).to(device),
        deviation=raw_NF.std(0).clamp(min=1e-6).to(device),
    )


def _turns(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The quarter turns that keep the shape of an image."""
    return (0, 1, 2, 3) if shape[-1] == shape[-2] else (0, 2)


def _raw_features(classifier: _Classifier, x: Tensor, low: float, high: float) -> Tensor:
    parts = torch.split(x, _samples.CHUNK_ROWS)
    return torch.cat([classifier(_scaled(part, low, high)) for part in parts]).double()


def _scaled(x: Tensor, low: float, high: float) -> Tensor:
    return (x.float() - low) * (2.0 / (high - low)) - 1.0
