"""Frechet distance of two sets of features, each taken as a Gaussian.

Dowson and Landau 1982, DOI 10.1016/0047-259X(82)90077-X; between features of images: Heusel et al. 2017,
arXiv 1706.08500, eq. (6). Floor: torch. Axes: N rows or samples, F features.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ._jackknife import cuts, jackknife_error
from ._metric import Measurement


def distance(rows_NF: Tensor, samples_NF: Tensor) -> Measurement:
    """The Frechet distance of the two sets; its error by the jackknife over parts of the samples."""
    if not bool(samples_NF.isfinite().all()):
        return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(samples_NF))
    rows = _moments(rows_NF)
    without = [
        frechet_distance(*rows, *_moments(torch.cat([samples_NF[:begin], samples_NF[end:]])))
        for begin, end in cuts(len(samples_NF))
    ]
    return Measurement(
        value=frechet_distance(*rows, *_moments(samples_NF)),
        standard_error=jackknife_error(without),
        sample_size=len(samples_NF),
    )


def frechet_distance(mean_F: Tensor, covariance_FF: Tensor, other_F: Tensor, other_FF: Tensor) -> float:
    """|m - n|^2 + tr(C + D - 2 (C^1/2 D C^1/2)^1/2) of the Gaussians N(m, C) and N(n, D)."""
    values_F, vectors_FF = torch.linalg.eigh(covariance_FF)
    # Eigenvalues of a covariance are not negative but for rounding.
    root_FF = (vectors_FF * values_F.clamp(min=0.0).sqrt()) @ vectors_FF.mT
    common = torch.linalg.eigvalsh(root_FF @ other_FF @ root_FF).clamp(min=0.0).sqrt().sum()
    return float((mean_F - other_F).square().sum() + covariance_FF.trace() + other_FF.trace() - 2.0 * common)


def _moments(features_NF: Tensor) -> tuple[Tensor, Tensor]:
    return features_NF.mean(0), torch.cov(features_NF.mT)
