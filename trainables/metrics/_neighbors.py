"""Nearest neighbors and balls around rows, by distances in blocks: what the metrics of fidelity and novelty share.

Floor: torch. Axes: N rows, M samples, F features, K neighbors.
"""

from __future__ import annotations

import torch
from torch import Tensor

# Distances held at a time: 16 MB, and a few times that while they are computed.
BLOCK_ENTRIES = 2_000_000

# Not by a matrix product, which leaves rounding where two rows are equal.
EXACT = "donot_use_mm_for_euclid_dist"


def nearest(points_MF: Tensor, rows_NF: Tensor, *, count: int = 1) -> tuple[Tensor, Tensor]:
    """The distances [M, K] to the `count` nearest rows, nearest first, and which rows these are.

    A point that is one of the rows is its own nearest one.
    """
    found = [
        torch.cdist(block, rows_NF, compute_mode=EXACT).topk(count, largest=False)
        for block in _blocks(points_MF, rows_NF)
    ]
    return torch.cat([block.values for block in found]), torch.cat([block.indices for block in found])


def inside(points_MF: Tensor, rows_NF: Tensor, radii_N: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the balls around the rows each point lies in [M], and how many points each ball holds [N]."""
    balls, held = [], torch.zeros(len(rows_NF), dtype=torch.int64, device=rows_NF.device)
    for block in _blocks(points_MF, rows_NF):
        within = torch.cdist(block, rows_NF, compute_mode=EXACT) < radii_N
        balls.append(within.sum(1))
        held += within.sum(0)
    return torch.cat(balls), held


def neighborhood(rows_NF: Tensor, *, neighbors: int) -> Tensor:
    """[N]: the distance of each row to its `neighbors`-th nearest other row."""
    return nearest(rows_NF, rows_NF, count=neighbors + 1)[0][:, -1]


def _blocks(points_MF: Tensor, rows_NF: Tensor) -> tuple[Tensor, ...]:
    return torch.split(points_MF, max(1, BLOCK_ENTRIES // len(rows_NF)))
