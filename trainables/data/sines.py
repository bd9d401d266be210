"""Sine waves of random frequency, amplitude and phase, 30 steps of one feature, generated: the first toy of RGAN.

Esteban, Hyland and Raetsch 2017, arXiv 1706.02633; the figures are those of `data_utils.py` in ratschlab/RGAN, with
14,000 series in all.
"""

from __future__ import annotations

import numpy as np
import torch

from ._data import Data, Split
from ._generated import LICENSE, drawn

STEPS = 30
# Uniform between these: whole waves in a series, height, and radians at step 0.
FREQUENCY, AMPLITUDE, PHASE = (1.0, 5.0), (0.1, 0.9), (-np.pi, np.pi)
HELD_OUT = 2000


def load(*, rows: int = 10_000) -> Data:
    """The sines [N, 30, 1] with so many rows for training; validation and test have 2000 each.

    Row n is A_n sin(2 pi f_n i / 30 + phase_n) at i = 1..30. Raises `ValueError` for fewer than one row.
    """
    parts = drawn("sines", _draw, rows=rows, held_out=HELD_OUT)
    return Data.of(
        parts,
        name="sines",
        modality="series",
        levels=None,
        value_range=(-1.0, 1.0),
        license=LICENSE,
        source="set-up of RGAN, arXiv 1706.02633: sine waves",
    )


def _draw(random: np.random.RandomState, count: int) -> Split:
    f, amplitude, phase = (random.uniform(low, high, (count, 1)) for low, high in (FREQUENCY, AMPLITUDE, PHASE))
    waves = amplitude * np.sin(2.0 * np.pi * f * np.arange(1, STEPS + 1) / STEPS + phase)
    return Split(x=torch.from_numpy(waves.astype(np.float32)[:, :, None]))
