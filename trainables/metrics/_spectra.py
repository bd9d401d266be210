"""Spectra of sounds: short-time Fourier transforms, the same on the mel scale, and what is taken of them.

Windows of 512 samples (Hann) every 128, centered, the ends mirrored; power is 1 at the peak of a sine of amplitude 1.
Its logarithm is taken of power + 1e-5, so that what is 50 dB below such a sine hardly counts: else noise that nobody
hears outweighs all that is heard. Frequencies become mel by 2595 log10(1 + f / 700)
(O'Shaughnessy 1987, "Speech Communication"), over triangles whose corners are evenly spaced in mel from 0 to half the
sample rate. Floor: torch and data. Axes: N rows, C channels, S samples, B bins of frequency or bands of mel, W windows.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from ..data._data import Data

WINDOW, BANDS = 512, 32
# Windows follow each other by a quarter of one.
OVERLAP = 4
SILENCE = 1e-5


def audio_refusal(data: Data, *, metric: str, samples: int = 1) -> str | None:
    """Why a metric of sounds of at least so many samples cannot measure on these data; None if it can."""
    if data.modality == "audio" and data.shape[-1] >= samples:
        return None
    of_samples = f" of at least {samples} samples" if samples > 1 else ""
    return (
        f"the metric {metric!r} needs audio [channels, samples]{of_samples}, and {data.name!r} holds "
        f"{data.modality} of the shape {list(data.shape)}: choose another metric, or data such as instruments"
    )


def log_power(x: Tensor, *, window: int = WINDOW) -> Tensor:
    """[N, C, B, W]: log(power + 1e-5) of rows [N, C, S]."""
    return (_power(x, window=window) + SILENCE).log()


def _power(x: Tensor, *, window: int = WINDOW) -> Tensor:
    flat = x.flatten(0, 1).float()
    hann = torch.hann_window(window, device=x.device)
    # A sine of amplitude 1 is half in a positive frequency and half in a negative one.
    hann = hann / (0.5 * hann.sum())
    spectrum = torch.stft(flat, window, window // OVERLAP, window=hann, return_complex=True)
    return spectrum.abs().square().view(*x.shape[:2], *spectrum.shape[1:])


def log_mel(x: Tensor, *, sample_rate: int, windows: int) -> Tensor:
    """[N, C, B, W]: log(power + 1e-5) in 32 bands of mel, the mean of neighboring windows where there are more."""
    mel = mel_bank(sample_rate).to(x.device) @ _power(x)
    together = -(-mel.shape[-1] // windows)
    return (torch.nn.functional.avg_pool2d(mel, (1, together), ceil_mode=True) + SILENCE).log()


def summary(x: Tensor) -> Tensor:
    """[N, 2 C B]: of each bin the mean over time of log(power + 1e-5), then its standard deviation."""
    log = log_power(x)
    return torch.cat([log.mean(-1).flatten(1), log.std(-1).flatten(1)], 1)


@functools.cache
def mel_bank(sample_rate: int) -> Tensor:
    """[bands, bins]: how much of each bin counts in each band, 1 at the tip of its triangle."""
    half = torch.tensor(sample_rate / 2.0, dtype=torch.float64)
    corners = torch.linspace(0.0, float(2595.0 * (1.0 + half / 700.0).log10()), BANDS + 2, dtype=torch.float64)
    hertz = 700.0 * (10.0 ** (corners / 2595.0) - 1.0)
    bins_B = torch.linspace(0.0, float(half), WINDOW // 2 + 1, dtype=torch.float64)
    low, tip, high = (hertz[n : n + BANDS, None] for n in range(3))
    return torch.minimum((bins_B - low) / (tip - low), (high - bins_B) / (high - tip)).clamp(min=0.0).float()
