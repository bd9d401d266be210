"""Splits of what is ordered, such as days: blocks that alternate, with a gap between each two.

Rows cut from such a thing overlap, so a split by row would have nearly every held-out row in training, and one cut
alone would hold out another era than is trained on. Floor: numpy and torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Split


def blocks(lengths: Sequence[tuple[str, int]], *, gap: int) -> Iterator[tuple[str, slice]]:
    """The split and the places of each block, one after another with `gap` places between them."""
    start = 0
    for part, length in lengths:
        yield part, slice(start, start + length)
        start += length + gap


def shuffled(rows: NDArray[np.generic], labels: NDArray[np.int64] | None, *, seed: int) -> Split:
    """A split of these rows in random order, so that its first rows are no worse a sample than any others."""
    order = np.random.RandomState(seed).permutation(len(rows))
    return Split(
        x=torch.from_numpy(rows[order]),
        labels=None if labels is None else torch.from_numpy(labels[order]),
    )
