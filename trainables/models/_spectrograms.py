"""Sounds as spectrograms, which a discriminator hears by 2-D convolutions over time and frequency.

A waveform hangs on phases that nobody hears, and its quiet parts are close to nothing beside the loud ones; neither is
so in the logarithm of its powers. A discriminator of spectrograms for a generator of waveforms: Jang et al. 2021, arXiv
2106.07889 (UnivNet), there at several resolutions and beside one of waveforms. Floor: torch and data.
Axes: B rows, C channels, T samples of a sound, W windows, S samples of a window, K frequencies.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..data._data import Data

# Samples of a window, and from one to the next.
WINDOW, HOP = 512, 128
# Power below which a frequency is silent: about that of noise 55 dB below a full sine. Far below it the logarithm would
# make much of rounding errors.
SILENCE = 1e-3
# Brings the logarithms, -7 at silence, to the order of 1.
SCALE = 0.2
HALVINGS = 3


class Spectrogram(nn.Module):
    """Sounds [B, C, T] to pictures [B, C, W, K]: the logarithm of the power in Hann windows, the ends mirrored.

    A matrix product, since torch's own transform has no rule under `torch.func.vmap`.
    """

    cosines_and_sines: Tensor

    def __init__(self) -> None:
        super().__init__()
        sample_S, frequency_K = torch.arange(WINDOW, dtype=torch.float64), torch.arange(WINDOW // 2)
        angle_SK = 2.0 * math.pi / WINDOW * sample_S[:, None] * frequency_K
        hann_S1 = torch.hann_window(WINDOW, dtype=torch.float64)[:, None]
        both = hann_S1 * torch.cat([angle_SK.cos(), angle_SK.sin()], 1)
        self.register_buffer("cosines_and_sines", both.to(torch.get_default_dtype()), persistent=False)

    def forward(self, x_BCT: Tensor) -> Tensor:
        # Not in half precision, in which a loud frequency spills over all quiet ones.
        with torch.autocast(x_BCT.device.type, enabled=False):
            x_BCT = x_BCT.to(self.cosines_and_sines.dtype)
            ends, overlap = (WINDOW - HOP) // 2, WINDOW // HOP
            windows = x_BCT.shape[-1] // HOP
            # A window is some hops side by side; torch's own `unfold` has no rule under vmap for its backward.
            hops = pad(x_BCT, (ends, ends), mode="reflect")[..., : (windows + overlap - 1) * HOP]
            hops = hops.reshape(*hops.shape[:2], -1, HOP)
            x_BCWS = torch.cat([hops[:, :, first : first + windows] for first in range(overlap)], -1)
            real, imaginary = (x_BCWS @ self.cosines_and_sines).chunk(2, -1)
            return SCALE * (real.square() + imaginary.square() + SILENCE).log()


def coarsest_of_spectrogram(data: Data) -> tuple[int, int]:
    """The windows and frequencies of the coarsest map, three halvings below a spectrogram.

    Raises `ValueError` for sounds that are too short to be halved so often.
    """
    windows = data.shape[-1] // HOP
    if windows < 2**HALVINGS:
        raise ValueError(
            f"the architecture 'spectrogram' needs audio of at least {HOP * 2**HALVINGS} samples, and rows of "
            f"{data.name!r} have {data.shape[-1]}: set architecture to wave, or take longer pieces"
        )
    return windows // 2**HALVINGS, WINDOW // 2 // 2**HALVINGS
