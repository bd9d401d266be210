"""The share of rows that have a sample near: the diversity of samples.

Naeem et al. 2020, arXiv 2002.09797: with a ball around each row that reaches to its fifth nearest other row,
the share of balls that hold a sample. As many samples as rows; real rows have about 1 - 2^-5 = .97.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ._comparison import Comparison
from ._jackknife import cuts, jackknife_error
from ._metric import Direction, Measurement
from ._neighbors import inside, neighborhood

NEIGHBORS = 5


class Metric(Comparison):
    """The coverage of all rows of the split by as many samples, larger is better."""

    name: ClassVar[str] = "coverage"
    direction: ClassVar[Direction] = "maximize"
    samples: ClassVar[int | None] = None
    fewest_rows: ClassVar[int] = NEIGHBORS + 1

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The coverage, with the error of the jackknife over parts of the samples."""
        radii_N = neighborhood(rows_NF, neighbors=NEIGHBORS)
        parts = [samples_MF[begin:end] for begin, end in cuts(len(samples_MF))]
        held_PN = torch.stack([inside(part, rows_NF, radii_N)[1] for part in parts])
        held_N = held_PN.sum(0)
        return Measurement(
            value=_share(held_N > 0),
            standard_error=jackknife_error([_share(held_N > part_N) for part_N in held_PN]),
            sample_size=len(samples_MF),
        )


def _share(covered_N: Tensor) -> float:
    return float(covered_N.double().mean())
