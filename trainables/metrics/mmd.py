"""Squared maximum mean discrepancy between rows and samples with a sum of Gaussian kernels, without bias.

Gretton et al. 2012, JMLR 13. The kernels have the variances m/4, m and 4m, m the median squared distance of two
training rows, so that they reach as far as the data do. On images in learned features, else on standardized numbers.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement
from ._mmd import squared_mmd

WIDTHS = (0.25, 1.0, 4.0)
# The median is taken over the pairs of so many training rows, evenly spaced.
MEDIAN_ROWS = 1000


class Metric(Comparison):
    """The discrepancy between all rows of the split and 2000 samples, smaller is better."""

    name: ClassVar[str] = "mmd"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 2000

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The discrepancy, with the error of the jackknife over parts of the samples."""
        median = median_square(train_TF)

        def kernel(left_NF: Tensor, right_MF: Tensor) -> Tensor:
            square_NM = torch.cdist(left_NF, right_MF).square()
            return torch.stack([(square_NM / (-2.0 * width * median)).exp() for width in WIDTHS]).sum(0)

        return squared_mmd(rows_NF, samples_MF, kernel)


def median_square(rows_NF: Tensor) -> float:
    """The median squared distance of two of these rows; raises `ValueError` where it is 0."""
    chosen = torch.linspace(0, len(rows_NF) - 1, min(len(rows_NF), MEDIAN_ROWS)).long()
    found = float(torch.pdist(rows_NF[chosen]).median().square())
    if found == 0.0:
        raise ValueError(
            "a kernel is as wide as the median distance of two rows, and half of all training rows are equal: choose "
            "another metric than mmd"
        )
    return found
