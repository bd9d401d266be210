"""Frechet distance between rows and samples in the features of a small classifier trained on the data themselves.

After Heusel et al. 2017, arXiv 1706.08500, with features that need no download. It ranks generators of one data set;
values compare only under one extractor, and at equal numbers of rows and samples, as the distance is biased upward.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._comparison import Comparison
from ._frechet import distance
from ._metric import Direction, Measurement


class Metric(Comparison):
    """The distance between all rows of the split and 4000 samples, smaller is better."""

    name: ClassVar[str] = "fd_self"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 4000
    # Below so many the level of the distance drifts with the rows.
    fewest_rows: ClassVar[int] = 300
    learned_only: ClassVar[bool] = True

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The distance, with the error of the jackknife over parts of the samples."""
        return distance(rows_NF, samples_MF)
