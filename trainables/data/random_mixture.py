"""Gaussians of standard deviation .05 at random places of the plane, generated: modes without the order of a grid.

Its size grows with the number of modes, so that they lie equally close for any number, ten standard deviations apart
or more.
"""

from __future__ import annotations

import numpy as np

from ._data import Data
from ._mixture import mixture

SIGMA = 0.05
# In standard deviations: two modes, within three of which a sample counts as good, then share none.
APART = 10.0


def load(*, rows: int = 10_000, modes: int = 16, seed: int = 0) -> Data:
    """The mixture with so many rows for training; validation and test have 2500 each. `seed` is that of the places.

    Raises `ValueError` for less than one mode, a negative seed, or fewer rows than modes.
    """
    if modes < 1:
        raise ValueError(f"modes of random_mixture must be at least 1, and they are {modes}: raise them")
    if seed < 0:
        raise ValueError(f"the seed of random_mixture must not be negative, and it is {seed}: choose 0, 1, 2, ...")
    # A stream of its own: those of the plain seeds 0, 1, 2 are the rows'.
    random = np.random.RandomState([seed, modes])
    # A fifth of the square is then within half the distance of a mode, and a place for the next is found soon.
    half = APART * SIGMA * np.sqrt(modes)
    means: list[np.ndarray] = []
    while len(means) < modes:
        place = random.uniform(-half, half, 2)
        if all(np.hypot(*(place - other)) >= APART * SIGMA for other in means):
            means.append(place)
    source = f"{modes} places drawn with the seed {seed}"
    return mixture("random_mixture", np.stack(means), sigma=SIGMA, rows=rows, source=source)
