"""Mean Wasserstein-1 distance between rows and samples over fixed directions.

Rabin et al. 2012, DOI 10.1007/978-3-642-24785-9_37; between samples of generators: Karras et al. 2018,
arXiv 1710.10196. On images and audio in learned features, else on standardized numbers.
Axes: N rows, M samples, F features, S directions.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement
from ._sliced import along_lines, unit_directions


class Metric(Comparison):
    """The distance between all rows of the split and 2000 samples, smaller is better."""

    name: ClassVar[str] = "sliced_wasserstein"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 2000

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The distance, with the error of the jackknife over parts of the samples."""
        directions_SF = unit_directions(rows_NF.shape[1])
        return along_lines(directions_SF @ rows_NF.mT, directions_SF @ samples_MF.mT)
