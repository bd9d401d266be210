"""25 Gaussians of standard deviation .05 on a square grid, generated: the 2-D grid of PacGAN.

Lin et al. 2018, arXiv 1712.04086, after VEEGAN, arXiv 1705.07761. They train on 100,000 rows.
"""

from __future__ import annotations

import numpy as np

from ._data import Data
from ._mixture import mixture

PLACES, SIGMA = (-4.0, -2.0, 0.0, 2.0, 4.0), 0.05


def load(*, rows: int = 10_000) -> Data:
    """The grid with so many rows for training; validation and test have 2500 each."""
    means = np.array([(x, y) for x in PLACES for y in PLACES])
    return mixture("grid", means, sigma=SIGMA, rows=rows, source="set-up of PacGAN, arXiv 1712.04086: 2D-grid")
