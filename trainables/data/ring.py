"""Eight Gaussians of standard deviation .01 on the unit circle, generated: the 2-D ring of PacGAN.

Lin et al. 2018, arXiv 1712.04086, after VEEGAN, arXiv 1705.07761. They train on 100,000 rows.
"""

from __future__ import annotations

import numpy as np

from ._data import Data
from ._mixture import mixture

MODES, SIGMA = 8, 0.01


def load(*, rows: int = 10_000) -> Data:
    """The ring with so many rows for training; validation and test have 2500 each."""
    angles = 2.0 * np.pi * np.arange(MODES) / MODES
    means = np.stack([np.cos(angles), np.sin(angles)], 1)
    return mixture("ring", means, sigma=SIGMA, rows=rows, source="set-up of PacGAN, arXiv 1712.04086: 2D-ring")
