"""The share of samples that are no copies of training rows.

Alaa et al. 2022, arXiv 2102.08921: a sample is authentic where it is farther from its nearest training row
than that row is from its own nearest other training row. 0 for copies, about one half for real rows that no model saw,
and more for samples far off; the rows that it is measured on play no part.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement, mean_over_rows
from ._neighbors import nearest


class Metric(Comparison):
    """The share of 1000 samples that are authentic, larger is better."""

    name: ClassVar[str] = "authenticity"
    direction: ClassVar[Direction] = "maximize"
    samples: ClassVar[int | None] = 1000

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The share, with its binomial error."""
        distance_M1, index_M1 = nearest(samples_MF, train_TF)
        # The nearest of a training row is the row itself.
        own_M2, _ = nearest(train_TF[index_M1[:, 0]], train_TF, count=2)
        return mean_over_rows(distance_M1[:, 0] > own_M2[:, 1])
