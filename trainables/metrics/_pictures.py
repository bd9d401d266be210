"""What a small classifier is shown of rows, and in how many ways it can be turned, for features that are learned.

Images are shown in the range -1..1; sounds by the logarithm of their power in bands of mel over time, standardized on
the training rows. Without labels a classifier learns to tell the turns: quarter turns of an image (Gidaris et al. 2018,
arXiv 1803.07728); a sound as it is, backwards, upside down in frequency, and both, as neither time nor pitch is alike
in both directions. Floor: torch and data. Axes: N rows, C channels or colors, Y down or bands of mel, X right or time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from ..data._data import Data
from . import _samples
from ._spectra import log_mel

Turn = Callable[[Tensor], Tensor]
# Longer sounds are shown more coarsely in time, so that features cost as much for any length.
WINDOWS = 64


class Pictures(Protocol):
    """What turns rows into pictures."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """That of a picture, [C, Y, X]."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Of the classifier's convolutions."""

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The ways in which pictures [N, C, Y, X] are turned; the first leaves them."""

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C, Y, X]: pictures of rows in the data's own scale, as float32."""


@dataclass(frozen=True)
class Images:
    """Images as they are, `low`..`high` as -1..1."""

    shape: tuple[int, int, int]
    low: float
    high: float
    strides: ClassVar[tuple[int, ...]] = (1, 2, 2)

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The quarter turns that keep the shape of an image."""
        square = self.shape[-1] == self.shape[-2]
        return tuple(_quarter_turns(count) for count in ((0, 1, 2, 3) if square else (0, 2)))

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C, Y, X], the images."""
        return (x.float() - self.low) * (2.0 / (self.high - self.low)) - 1.0


def _quarter_turns(count: int) -> Turn:
    return lambda pictures: pictures.rot90(count, (2, 3))


@dataclass(frozen=True)
class Spectrograms:
    """The power of sounds over mel and time, its logarithm less `mean` and over `deviation`."""

    shape: tuple[int, int, int]
    sample_rate: int
    mean: float = 0.0
    deviation: float = 1.0
    strides: ClassVar[tuple[int, ...]] = (2, 2, 2)
    turns: ClassVar[tuple[Turn, ...]] = (
        lambda pictures: pictures,
        lambda pictures: pictures.flip(3),
        lambda pictures: pictures.flip(2),
        lambda pictures: pictures.flip(2, 3),
    )

    @classmethod
    def of(cls, data: Data) -> Spectrograms:
        """Standardized over all training rows, bands and times."""
        assert data.sample_rate is not None
        parts = torch.split(data.train.x, _samples.CHUNK_ROWS)
        log = torch.cat([log_mel(part, sample_rate=data.sample_rate, windows=WINDOWS) for part in parts]).double()
        channels, bands, windows = log.shape[1:]
        return cls((channels, bands, windows), data.sample_rate, float(log.mean()), max(float(log.std()), 1e-6))

    def __call__(self, x: Tensor) -> Tensor:
        """[N, C, mel, time]."""
        return (log_mel(x, sample_rate=self.sample_rate, windows=WINDOWS) - self.mean) / self.deviation


def pictures_of(data: Data) -> Pictures:
    """How rows of these data are shown; raises `ValueError` for data that are neither images nor audio."""
    if data.modality == "images":
        channels, height, width = data.shape
        return Images((channels, height, width), *data.value_range)
    if data.modality == "audio":
        return Spectrograms.of(data)
    raise ValueError(f"images and audio have pictures, and {data.name!r} holds {data.modality}: take other data")
