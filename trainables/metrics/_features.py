"""The features in which rows and samples are compared: learned for images and audio, standardized numbers for all else.

Images and audio: the 64 numbers before the last nonlinearity of a small classifier of pictures (`_pictures.py`) that is
trained on the data themselves, standardized on the training rows and divided by the root of their number, so that a
distance is one a feature. It is trained on the labels; without labels on telling how a picture was turned.
It needs no download and ranks generators of one data set; values compare only under one extractor.
On digits features without labels keep the order of fitted mixtures, exaggerate noise on pixels, and see less of a lost
class.
Floor: torch, data and layers. Axes: N rows, F features, D numbers of a row.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, relu

from ..data._data import Data
from ..models._layers import convolution, linear
from . import _samples
from ._pictures import Pictures, pictures_of
from ._spectra import WINDOW

FEATURES = 64
# The training of the extractor is part of the definition: another extractor is another objective.
SEED, STEPS, BATCH, LR, WEIGHT_DECAY = 0, 400, 64, 2e-3, 1e-2
# Pictures of the training rows are kept while the extractor trains, if they take no more; a spectrum takes long.
MOST_BYTES = 200_000_000
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
    """The features of these data: an extractor where they are learned, trained once a process, else the numbers."""
    key = (data.sha256, data.train.x.device)
    if key not in _FEATURES:
        extract: Extract = train_extractor(data) if are_learned(data) else Numbers.of(data)
        _FEATURES[key] = Features(extract=extract, train=extract(data.train.x))
    return _FEATURES[key]


def are_learned(data: Data) -> bool:
    """Whether the features of these rows are learned: those of images, and of audio that fills a spectrum."""
    return data.modality == "images" or (data.modality == "audio" and data.shape[-1] >= WINDOW)


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
    """Three convolutions and two linear layers on pictures."""

    def __init__(self, pictures: Pictures, *, classes: int, generator: torch.Generator) -> None:
        super().__init__()
        channels, *sides = pictures.shape
        # A stride after the other rounds up as their product does.
        places = math.prod(math.ceil(side / math.prod(pictures.strides)) for side in sides)
        widths = ((channels, 32), (32, 64), (64, 64))
        self.convolutions = nn.ModuleList(
            convolution(inputs, outputs, kernel=3, stride=stride, padding=1, generator=generator)
            for (inputs, outputs), stride in zip(widths, pictures.strides, strict=True)
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
    """A frozen classifier of pictures, and how its features are standardized: `mean` and `deviation` are [F]."""

    classifier: _Classifier
    pictures: Pictures
    mean: Tensor
    deviation: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """[N, F]: the standardized features of rows in the data's own scale, as float64 on the CPU."""
        raw_NF = _raw_features(self.classifier, map(self.pictures, torch.split(x, _samples.CHUNK_ROWS)))
        return ((raw_NF - self.mean) / self.deviation / math.sqrt(FEATURES)).cpu()


def train_extractor(data: Data) -> Extractor:
    """The extractor of these images or sounds, trained on the CPU by one thread whatever the device is.

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
    pictures = pictures_of(data.to("cpu"))
    turns = pictures.turns
    classes = len(turns) if labels is None else data.classes
    generator = torch.Generator().manual_seed(SEED)
    # Whoever asks may be in inference mode, in which nothing can be trained.
    with torch.inference_mode(mode=False), torch.enable_grad():
        shown_of = _shown(pictures, x)
        classifier = _Classifier(pictures, classes=classes, generator=generator)
        optimizer = torch.optim.AdamW(classifier.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
        for _ in range(STEPS):
            if labels is not None:
                rows = torch.randint(len(x), (BATCH,), generator=generator)
                shown, targets = shown_of(rows), labels[rows]
            else:
                rows = torch.randint(len(x), (BATCH // len(turns),), generator=generator)
                upright = shown_of(rows)
                shown = torch.cat([turn(upright) for turn in turns])
                targets = torch.arange(len(turns)).repeat_interleave(len(rows))
            features = classifier(shown)
            loss = cross_entropy(classifier.classes(relu(features)), targets)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    classifier.requires_grad_(False)
    with torch.inference_mode():
        raw_NF = _raw_features(classifier, map(shown_of, torch.split(torch.arange(len(x)), _samples.CHUNK_ROWS)))
    device = data.train.x.device
    return Extractor(
        classifier=classifier.to(device),
        pictures=pictures,
        mean=raw_NF.mean(0).to(device),
        deviation=raw_NF.std(0).clamp(min=1e-6).to(device),
    )


def _shown(pictures: Pictures, x: Tensor) -> Callable[[Tensor], Tensor]:
    """What gives the pictures of the rows with these numbers."""
    if len(x) * math.prod(pictures.shape) * torch.float32.itemsize > MOST_BYTES:
        return lambda rows: pictures(x[rows])
    every = torch.cat([pictures(part) for part in torch.split(x, _samples.CHUNK_ROWS)])
    return lambda rows: every[rows]


def _raw_features(classifier: _Classifier, shown: Iterable[Tensor]) -> Tensor:
    """[N, F]: of pictures, some at a time."""
    return torch.cat([classifier(part) for part in shown]).double()
