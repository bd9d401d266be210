"""Draws of a Gaussian process, 30 steps of one feature, whose density is known: the second toy of RGAN.

Esteban, Hyland and Raetsch 2017, arXiv 1706.02633; the kernels are those of `data_utils.py` in ratschlab/RGAN. Their
covariances are as good as singular, so that a series off by next to nothing has no density; ours have white noise of
variance 0.001 added, in the rows and in `log_density` alike. Axes: N rows, T steps, F features (one).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ._data import Data, Split
from ._generated import LICENSE, drawn

STEPS = 30
NOISE = 1e-3
HELD_OUT = 2000
# In standard deviations; what lies farther out, two draws in a billion, is set to it, so that the range is one.
FARTHEST = 6.0


def load(*, rows: int = 10_000, kernel: str = "rbf") -> Data:
    """The draws [N, 30, 1] with so many rows for training; validation and test have 2000 each.

    Raises `ValueError` for fewer than one row or another kernel than `rbf` or `periodic`.
    """
    covariance_TT = covariance(kernel)
    factor_TT = _cholesky(covariance_TT)
    reach = FARTHEST * math.sqrt(covariance_TT[0, 0])

    def draw(random: np.random.RandomState, count: int) -> Split:
        noise_NT = random.standard_normal((count, STEPS))
        # A sum step by step and no matrix product, which adds in another order on another machine.
        series_NT = sum((noise_NT[:, t, None] * factor_TT[:, t] for t in range(STEPS)), np.zeros((count, STEPS)))
        return Split(x=torch.from_numpy(series_NT.clip(-reach, reach).astype(np.float32)[:, :, None]))

    parts = drawn("gaussian_process", draw, rows=rows, held_out=HELD_OUT)
    return Data.of(
        parts,
        name="gaussian_process",
        modality="series",
        levels=None,
        value_range=(-reach, reach),
        license=LICENSE,
        source=f"set-up of RGAN, arXiv 1706.02633: Gaussian process, {kernel} kernel, with noise",
    )


def covariance(kernel: str = "rbf") -> NDArray[np.float64]:
    """The covariance [T, T] of a series: with d steps between two, 0.2 exp(-0.1 d^2) for `rbf`, and for `periodic`
    0.02 exp(-7 sin^2(2.9 pi d / 30)); the noise is on the diagonal. Raises `ValueError` for another kernel."""
    d_TT = np.abs(np.subtract.outer(np.arange(STEPS), np.arange(STEPS)))
    if kernel == "rbf":
        smooth_TT = 0.2 * np.exp(-0.1 * d_TT**2)
    elif kernel == "periodic":
        smooth_TT = 0.02 * np.exp(-7.0 * np.sin(2.9 * np.pi * d_TT / STEPS) ** 2)
    else:
        raise ValueError(f"the kernel is 'rbf' or 'periodic', and it is {kernel!r}: choose one of them")
    # Rounded, so that the last bit of a machine's exponential does not reach the rows.
    rounded_TT: NDArray[np.float64] = smooth_TT.round(12) + NOISE * np.eye(STEPS)
    return rounded_TT


def log_density(x_NTF: Tensor, *, kernel: str = "rbf") -> Tensor:
    """log p [N] of series [N, 30, 1] under the process, in nats, float64: exact."""
    factor_TT = torch.linalg.cholesky(torch.from_numpy(covariance(kernel)).to(x_NTF.device))
    white_TN = torch.linalg.solve_triangular(factor_TT, x_NTF.double().squeeze(-1).T, upper=False)
    normal_N = -0.5 * (white_TN.square().sum(0) + STEPS * math.log(2.0 * math.pi))
    density_N: Tensor = normal_N - factor_TT.diagonal().log().sum()
    return density_N


def _cholesky(a_TT: NDArray[np.float64]) -> NDArray[np.float64]:
    """The lower triangular L with L L^T = A, column by column: a library's answer depends on the machine."""
    factor_TT, rest_TT = np.zeros_like(a_TT), a_TT.copy()
    for t in range(len(a_TT)):
        factor_TT[t:, t] = rest_TT[t:, t] / np.sqrt(rest_TT[t, t])
        rest_TT -= np.outer(factor_TT[:, t], factor_TT[:, t])
    return factor_TT
