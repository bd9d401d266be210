"""Mixtures of equal round Gaussians in the plane: the set-up on which GANs are tested for lost modes.

Floor: numpy and torch.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Data, Split
from ._generated import LICENSE, drawn

# Rows for validation and for test: as many as the metrics of modes draw samples.
HELD_OUT = 2500
# In standard deviations; what lies farther out, two draws in a billion, is set to it, so that the range is one.
FARTHEST = 6.0


def mixture(name: str, means: NDArray[np.float64], *, sigma: float, rows: int, source: str) -> Data:
    """Rows [N, 2] around the means [M, 2], equally many for each, in random order; labels number the components.

    The same call returns the same bytes. Raises `ValueError` for fewer rows than components.
    """
    if rows < len(means):
        raise ValueError(f"rows of {name} must be at least {len(means)}, one a mode, and they are {rows}: raise them")

    def draw(random: np.random.RandomState, count: int) -> Split:
        labels = random.permutation(np.arange(count) % len(means))
        noise = random.standard_normal((count, 2)).clip(-FARTHEST, FARTHEST)
        x = (means[labels] + sigma * noise).astype(np.float32)
        return Split(x=torch.from_numpy(x), labels=torch.from_numpy(labels.astype(np.int64)))

    parts = drawn(name, draw, rows=rows, held_out=HELD_OUT)
    reach = float(np.abs(means).max() + FARTHEST * sigma)
    return Data.of(
        parts,
        name=name,
        modality="points",
        levels=None,
        value_range=(-reach, reach),
        license=LICENSE,
        source=source,
    )
