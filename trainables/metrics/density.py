"""How densely rows lie where samples fall: the fidelity of samples.

Naeem et al. 2020, arXiv 2002.09797: with a ball around each row that reaches to its fifth nearest other row,
the mean number of balls that a sample lies in, over five. Near 1 for real rows; it may exceed 1.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement, mean_over_rows
from ._neighbors import inside, neighborhood

NEIGHBORS = 5


class Metric(Comparison):
    """The density at as many samples as rows, larger is better."""

    name: ClassVar[str] = "density"
    direction: ClassVar[Direction] = "maximize"
    samples: ClassVar[int | None] = None
    fewest_rows: ClassVar[int] = NEIGHBORS + 1

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The density, with the error of a mean over samples."""
        balls_M, _ = inside(samples_MF, rows_NF, neighborhood(rows_NF, neighbors=NEIGHBORS))
        return mean_over_rows(balls_M.double() / NEIGHBORS)
