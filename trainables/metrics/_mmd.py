"""Maximum mean discrepancy of two sets of features, without bias: what `kid` and `mmd` share.

Gretton et al. 2012, JMLR 13, lemma 6: the mean kernel between two different rows, plus that between two different
samples, less twice that between a row and a sample. Floor: torch. Axes: N rows, M samples, F features, P parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ._jackknife import cuts, jackknife_error
from ._metric import Measurement

Kernel = Callable[[Tensor, Tensor], Tensor]
# Rows of a block of the kernel matrix.
BLOCK_ROWS = 500


def squared_mmd(rows_NF: Tensor, samples_MF: Tensor, kernel: Kernel) -> Measurement:
    """MMD^2 under `kernel`, which maps [N, F] and [M, F] to [N, M]; around 0 where both are drawn alike.

    The error is that of the jackknife over parts of the samples.
    """
    parts = [samples_MF[begin:end] for begin, end in cuts(len(samples_MF))]
    rows, samples = len(rows_NF), len(samples_MF)
    sizes_P = torch.tensor([len(part) for part in parts])

    def by_part(sums_M: Tensor) -> Tensor:
        return torch.stack([part.sum() for part in torch.split(sums_M, sizes_P.tolist())])

    # Sums of the kernel, so that what is left without a part needs no second look at the samples.
    within_rows = float(_sums(rows_NF, rows_NF, kernel).sum()) - _diagonal(rows_NF, kernel)
    to_rows_P = by_part(_sums(rows_NF, samples_MF, kernel))
    within_PP = torch.stack([by_part(_sums(part, samples_MF, kernel)) for part in parts])
    within_PP -= torch.tensor([_diagonal(part, kernel) for part in parts], dtype=torch.float64).diag()

    def estimate(within: Tensor, to_rows: Tensor, count: Tensor) -> Tensor:
        return within_rows / (rows * (rows - 1)) + within / (count * (count - 1)) - 2.0 * to_rows / (rows * count)

    total, total_to_rows = within_PP.sum(), to_rows_P.sum()
    without_P = estimate(
        total - within_PP.sum(0) - within_PP.sum(1) + within_PP.diagonal(), total_to_rows - to_rows_P, samples - sizes_P
    )
    return Measurement(
        value=float(estimate(total, total_to_rows, torch.tensor(samples))),
        standard_error=jackknife_error(without_P.tolist()),
        sample_size=samples,
    )


def _sums(left_NF: Tensor, right_MF: Tensor, kernel: Kernel) -> Tensor:
    """[M]: the kernel with each on the right, summed over the left."""
    return torch.stack([kernel(left, right_MF).sum(0) for left in torch.split(left_NF, BLOCK_ROWS)]).sum(0)


def _diagonal(rows_NF: Tensor, kernel: Kernel) -> float:
    return math.fsum(float(kernel(rows, rows).trace()) for rows in torch.split(rows_NF, BLOCK_ROWS))
