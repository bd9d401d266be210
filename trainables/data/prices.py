"""GOOG-1047: daily changes of Google's share, 2004-08-19 to 2008-10-14, as windows of 24 days of five features.

Ships inside matplotlib, so nothing is downloaded: 1047 days, the first part of what TimeGAN (Yoon et al., NeurIPS 2019)
calls Stocks, and not that data set. A feature is the change of a logarithm from one day to the next: of the prices at
open, high, low and close, and of the volume. (The file's `adj_close` repeats `close`.) Levels are not taken, because a
stretch of prices tells its date by its level alone.

The days are cut into six blocks, 24 days apart, and every window lies in one block; so no two splits share a day. What
this leaves is little: 366, 300 and 122 windows, which overlap, from 435, 346 and 145 days. So two splits
differ mostly by sampling noise: by FD-ROCKET, splits of as many independent normal days lie as far apart. A smooth
model of the training days may come nearer to validation than these days themselves.
Axes: D days, T days of a window, F features.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ._blocks import blocks, shuffled
from ._data import Data, Split

COLUMNS = ("open", "high", "low", "close", "volume")
WINDOW = 24
GAP = 24
# In days; with the gaps they fill the 1046. Validation has 300 windows because a Frechet distance needs that many. Of
# the orders of these blocks it is the one in which spreads differ least: each feature's standard deviation, over the
# days of training and over those of test, is within 15 % of what it is over those of validation.
BLOCKS = (("validation", 173), ("train", 145), ("test", 145), ("train", 145), ("validation", 173), ("train", 145))
# In standard deviations of the training days; no change of the file is farther out.
FARTHEST = 10.0


def load() -> Data:
    """The windows [N, 24, 5], standardized by the training days; the same call returns the same bytes."""
    x_DF = _standardized(_changes())
    parts: dict[str, Split] = {}
    for seed, part in enumerate(("train", "validation", "test")):
        found = [_windows(x_DF[days]) for owner, days in blocks(BLOCKS, gap=GAP) if owner == part]
        parts[part] = shuffled(np.concatenate(found), None, seed=seed)
    return Data.of(
        parts,
        name="prices",
        modality="series",
        levels=None,
        value_range=(-FARTHEST, FARTHEST),
        license="Matplotlib license (BSD-compatible)",
        source="matplotlib sample data goog.npz: GOOG-1047, daily prices and volume",
    )


def _changes() -> NDArray[np.float64]:
    """The change of each logarithm [D, F] from one day to the next."""
    from matplotlib import cbook

    with np.load(cbook.get_sample_data("goog.npz", asfileobj=False), allow_pickle=False) as file:
        days = file["price_data"]
    levels_DF = np.stack([days[column].astype(np.float64) for column in COLUMNS], 1)
    return np.diff(np.log(levels_DF), axis=0)


def _standardized(x_DF: NDArray[np.float64]) -> NDArray[np.float32]:
    """With mean 0 and standard deviation 1 over the days of training."""
    train_DF = np.concatenate([x_DF[days] for part, days in blocks(BLOCKS, gap=GAP) if part == "train"])
    # Sums without rounding error: a plain one rounds in another order on another machine.
    mean_F = np.array([math.fsum(column) for column in train_DF.T]) / len(train_DF)
    variance_F = np.array([math.fsum(column) for column in ((train_DF - mean_F) ** 2).T]) / len(train_DF)
    return ((x_DF - mean_F) / np.sqrt(variance_F)).astype(np.float32)


def _windows(x_DF: NDArray[np.float32]) -> NDArray[np.float32]:
    """All windows [N, T, F] of these days, one from each day on."""
    return np.lib.stride_tricks.sliding_window_view(x_DF, WINDOW, axis=0).transpose(0, 2, 1)
