"""Distance between the spectra of rows and of samples of audio, at three resolutions.

Of each row log(power + 1e-5) is taken over windows of 256, 512 and 1024 samples, each a quarter of a window after the
last. All numbers of such a spectrum are one vector; along 128 fixed directions the Wasserstein-1 distance between rows
and samples is the mean absolute difference of quantiles; the value is the mean over directions and resolutions. A
difference of one nat in every number is a distance of about .8, the mean of |N(0, 1)|. Spectra at several resolutions:
Yamamoto, Song and Kim 2020, arXiv 1910.11480; sliced distances: Rabin et al. 2012, DOI 10.1007/978-3-642-24785-9_37.
It needs neither labels nor training. Axes: N rows, M samples, S directions.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative
from . import _samples
from ._metric import Direction, Measurement
from ._sliced import along_lines, unit_directions
from ._spectra import audio_refusal, log_power

SAMPLES = 1000
WINDOWS = (256, 512, 1024)


class Metric:
    """The distance between all rows of the split and 1000 samples, smaller is better."""

    name: ClassVar[str] = "stft_distance"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """What is no audio of 1024 samples or more is refused."""
        return audio_refusal(data, metric=cls.name, samples=WINDOWS[-1])

    def prepare(self, data: Data) -> None:
        """Raises `ValueError` for data that are refused."""
        if (problem := audio_refusal(data, metric=self.name, samples=WINDOWS[-1])) is not None:
            raise ValueError(problem)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The distance, with the error of the jackknife over parts of the samples; NaN where one is not finite."""
        samples = _samples.draw(model, generator, rows=SAMPLES).x
        if not bool(samples.isfinite().all()):
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(samples))
        return along_lines(_projected(split.x), _projected(samples))


def _projected(x: Tensor) -> Tensor:
    """[S, N]: the spectra at all resolutions along the directions of each."""
    found_SN = []
    for window in WINDOWS:
        numbers = log_power(x[:1], window=window).numel()
        # Drawing them for long sounds takes as long as the spectra of many.
        directions = unit_directions(numbers).to(x.device).float()
        parts = (log_power(part, window=window).flatten(1) for part in torch.split(x, _samples.CHUNK_ROWS))
        found_SN.append(torch.cat([directions @ part.mT for part in parts], 1))
    return torch.cat(found_SN).double().cpu()
