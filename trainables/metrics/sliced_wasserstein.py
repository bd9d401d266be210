"""Mean Wasserstein-1 distance between rows and samples over fixed directions.

Rabin et al. 2012, DOI 10.1007/978-3-642-24785-9_37; between samples of generators: Karras et al. 2018,
arXiv 1710.10196. Along a direction it is the mean absolute difference of quantiles. On images in learned features, else
on standardized numbers. Axes: N rows, M samples, F features, S directions, Q quantiles.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ._comparison import Comparison
from ._jackknife import cuts, jackknife_error
from ._metric import Direction, Measurement

# The directions are part of the definition.
SEED, DIRECTIONS, QUANTILES = 0, 128, 400


class Metric(Comparison):
    """The distance between all rows of the split and 2000 samples, smaller is better."""

    name: ClassVar[str] = "sliced_wasserstein"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 2000

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The distance, with the error of the jackknife over parts of the samples."""
        directions_SF = unit_directions(rows_NF.shape[1])
        rows_SQ = quantiles((directions_SF @ rows_NF.mT).sort(1).values)
        samples_SM, place_SM = (directions_SF @ samples_MF.mT).sort(1)
        without = []
        for begin, end in cuts(len(samples_MF)):
            kept_SM = (place_SM < begin) | (place_SM >= end)
            without.append(distance(rows_SQ, quantiles(samples_SM[kept_SM].view(len(samples_SM), -1))))
        return Measurement(
            value=distance(rows_SQ, quantiles(samples_SM)),
            standard_error=jackknife_error(without),
            sample_size=len(samples_MF),
        )


def unit_directions(features: int) -> Tensor:
    """[S, F]: directions that are the same each time."""
    generator = torch.Generator().manual_seed(SEED)
    drawn_SF = torch.randn(DIRECTIONS, features, generator=generator, dtype=torch.float64)
    return drawn_SF / drawn_SF.square().sum(1, keepdim=True).sqrt()


def quantiles(sorted_SN: Tensor) -> Tensor:
    """[S, Q]: the middles of 400 equal shares of each line, interpolated between its numbers."""
    place_Q = (torch.arange(QUANTILES, dtype=torch.float64) + 0.5) / QUANTILES * (sorted_SN.shape[1] - 1)
    low_Q = place_Q.long()
    high_Q = (low_Q + 1).clamp(max=sorted_SN.shape[1] - 1)
    return torch.lerp(sorted_SN[:, low_Q], sorted_SN[:, high_Q], place_Q - low_Q)


def distance(left_SQ: Tensor, right_SQ: Tensor) -> float:
    """The mean absolute difference of the quantiles."""
    return float((left_SQ - right_SQ).abs().mean())
