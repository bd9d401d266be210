"""How far the autocorrelation of samples is from that of rows: the mean absolute difference over lags and features.

The autocorrelation at lag l of one feature is the mean of (x_t - m)(x_{t+l} - m) over all pairs of steps so far apart
and over all rows, with the mean m of that row, divided by the mean of (x_t - m)^2. So it is one function of the whole
set, to which a row that never changes adds nothing; and the level of a row is not taken for a dependence of its steps.
Floor: torch, data and models.
Axes: N rows, T steps, F features, L lags.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._jackknife import cuts, jackknife_error
from ._metric import Direction, Measurement
from ._samples import draw
from ._series import as_series, series_refusal

SAMPLES = 2000


class Metric:
    """The difference over the lags 1, ..., T/2, from 0, smaller is better; about 2 at the most."""

    name: ClassVar[str] = "autocorrelation"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but series are refused."""
        return series_refusal(data, metric=cls.name)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The difference; NaN where a sample is not finite. Near 0 its error is rather too large than too small."""
        with torch.inference_mode():
            rows_FL = autocorrelation(as_series(split.x, metric=self.name))
            samples_NTF = as_series(draw(model, generator, rows=SAMPLES).x, metric=self.name)
            without = [
                _difference(torch.cat([samples_NTF[:begin], samples_NTF[end:]]), rows_FL)
                for begin, end in cuts(len(samples_NTF))
            ]
            return Measurement(
                value=_difference(samples_NTF, rows_FL),
                standard_error=jackknife_error(without),
                sample_size=len(samples_NTF),
            )


def _difference(samples_NTF: Tensor, rows_FL: Tensor) -> float:
    return float((autocorrelation(samples_NTF) - rows_FL).abs().mean())


def autocorrelation(x_NTF: Tensor) -> Tensor:
    """[F, L]: the autocorrelation at the lags 1, ..., T/2; 0 for a feature that never changes."""
    centered = x_NTF - x_NTF.mean(1, keepdim=True)
    variance_F = centered.square().mean((0, 1))
    steps = x_NTF.shape[1]
    lagged = [(centered[:, lag:] * centered[:, : steps - lag]).mean((0, 1)) for lag in range(1, steps // 2 + 1)]
    return (torch.stack(lagged) / variance_F.clamp(min=1e-12)).mT
