"""The share of rows that have a sample near: the diversity of samples.

Naeem et al. 2020, arXiv 2002.09797: with a ball around each row that reaches to its fifth nearest other row, the share
of balls that hold a sample. As many samples as rows; real rows have about 1 - 2^-5 = .97.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement, mean_over_rows
from ._neighbors import inside, neighborhood

NEIGHBORS = 5


class Metric(Comparison):
    """The coverage of all rows of the split by as many samples, larger is better."""

    name: ClassVar[str] = "coverage"
    direction: ClassVar[Direction] = "maximize"
    samples: ClassVar[int | None] = None
    fewest_rows: ClassVar[int] = NEIGHBORS + 1

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The coverage, with the binomial error of a share of rows."""
        _, samples_N = inside(samples_MF, rows_NF, neighborhood(rows_NF, neighbors=NEIGHBORS))
        return mean_over_rows(samples_N > 0)
