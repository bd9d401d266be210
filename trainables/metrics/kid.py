"""Kernel distance between rows and samples of images or audio: squared MMD with a cubic kernel, without bias.

Binkowski et al. 2018, arXiv 1801.01401: k(x, y) = (<x, y> / F + 1)^3 on the features of `_features`, in which the
division by their number F is done already. Unlike a Frechet distance its mean does not depend on the number of samples.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement
from ._mmd import squared_mmd


class Metric(Comparison):
    """The distance between all rows of the split and 2000 samples, smaller is better."""

    name: ClassVar[str] = "kid"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 2000
    learned_only: ClassVar[bool] = True

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The distance, with the error of the jackknife over parts of the samples."""
        return squared_mmd(rows_NF, samples_MF, cubic)


def cubic(left_NF: Tensor, right_MF: Tensor) -> Tensor:
    """[N, M]: (<x, y> + 1)^3."""
    root_NM = left_NF @ right_MF.mT + 1.0
    return root_NM * root_NM * root_NM
