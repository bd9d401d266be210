"""Wasserstein-1 distances along lines: what metrics share that compare projections of rows and of samples.

Along a line it is the mean absolute difference of quantiles. Floor: torch. Axes: N rows, M samples, F features,
S directions, Q quantiles.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ._jackknife import cuts, jackknife_error
from ._metric import Measurement

# The directions are part of the definition.
SEED, DIRECTIONS, QUANTILES = 0, 128, 400


def along_lines(rows_SN: Tensor, samples_SM: Tensor) -> Measurement:
    """The mean distance over directions, with the error of the jackknife over parts of the samples."""
    rows_SQ = quantiles(rows_SN.sort(1).values)
    samples_SM, place_SM = samples_SM.sort(1)
    without = []
    for begin, end in cuts(samples_SM.shape[1]):
        kept_SM = (place_SM < begin) | (place_SM >= end)
        without.append(distance(rows_SQ, quantiles(samples_SM[kept_SM].view(len(samples_SM), -1))))
    return Measurement(
        value=distance(rows_SQ, quantiles(samples_SM)),
        standard_error=jackknife_error(without),
        sample_size=samples_SM.shape[1],
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
