"""Four kinds of sounds at 8 kHz, synthesized: organ, pluck, bell and noise hit, so that pitch and kind are known.

The label of a row is its kind. 0, organ: harmonics k with amplitudes k^-a below .45 of the sample rate. 1, pluck: a
burst of noise in the loop of Karplus and Strong 1983, DOI 10.2307/3680062, y[n] = g (y[n-p] + y[n-p+1]) / 2, whose
delay of p - 1/2 samples is its period. 2, bell: frequency modulation after Chowning 1973, J. Audio Eng. Soc. 21(7),
whose index dies away with the tone; what lies above half the sample rate folds back. 3, noise hit: noise through a
one-pole low-pass, with an attack and a decay. Noise of -70 to -50 dB of the peak lies under each. Axes: n samples,
k harmonics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Data, Split
from ._generated import LICENSE

SAMPLE_RATE = 8000
KINDS = ("organ", "pluck", "bell", "noise hit")
PEAK, NOISE_DB = 0.9, (-70.0, -50.0)
# In 16 bits, as a wav file holds it: so a library's last digit of a sine does not move the content.
STEPS = 2**15
# Drawn uniformly, frequencies in their logarithm: Hz, exponents, seconds.
F0 = (110.0, 440.0)
SLOPE, ORGAN_ATTACK, RELEASE = (0.8, 2.5), (0.005, 0.05), 0.05
FEEDBACK = (0.985, 0.999)
RATIOS, INDEX, BELL_DECAY = (1.4, 2.0, 3.5), (1.0, 5.0), (0.1, 0.5)
CUTOFF, HIT_ATTACK, HIT_DECAY = (200.0, 2000.0), (0.001, 0.01), (0.02, 0.1)
SALT = 20170612
# Sounds of a kind in validation and in test; they come first, so that rows for training move none of them.
HELD_OUT = 100
FEWEST_SAMPLES = 512


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound and the truth of it: `x` [n], `f0` in Hz, None of a noise hit, and the seconds to fall by e, if it does.

    A pluck's is that of its fundamental.
    """

    x: NDArray[np.float32]
    kind: int
    f0: float | None
    decay: float | None


def load(*, rows: int = 2000, samples: int = 4096) -> Data:
    """The sounds [N, 1, samples] with so many rows for training; validation and test have 400 each.

    Row n is of the kind n modulo 4. Values are multiples of 2^-15. Raises `ValueError` for fewer than 4 rows, or fewer
    than 512 samples.
    """
    if rows < len(KINDS):
        raise ValueError(f"rows of instruments must be at least {len(KINDS)}, and they are {rows}: raise them")
    if samples < FEWEST_SAMPLES:
        raise ValueError(
            f"samples of instruments must be at least {FEWEST_SAMPLES}, for a pitch to be heard, and they are "
            f"{samples}: raise them"
        )
    held_out = HELD_OUT * len(KINDS)
    parts = {
        "train": _sounds(2 * HELD_OUT, count=rows, samples=samples),
        "validation": _sounds(0, count=held_out, samples=samples),
        "test": _sounds(HELD_OUT, count=held_out, samples=samples),
    }
    return Data.of(
        parts,
        name="instruments",
        modality="audio",
        levels=None,
        value_range=(-1.0, 1.0),
        license=LICENSE,
        source="synthesized: organ, pluck, bell and noise hit, a quarter each",
        sample_rate=SAMPLE_RATE,
    )


def place_of(split: str, row: int) -> tuple[int, int]:
    """The kind and the index of a row of this split."""
    first = {"train": 2 * HELD_OUT, "validation": 0, "test": HELD_OUT}[split]
    return row % len(KINDS), first + row // len(KINDS)


def _sounds(first: int, *, count: int, samples: int) -> Split:
    row = np.arange(count)
    sounds = [sound(int(n) % len(KINDS), first + int(n) // len(KINDS), samples=samples).x for n in row]
    return Split(x=torch.from_numpy(np.stack(sounds)[:, None]), labels=torch.from_numpy(row % len(KINDS)))


def sound(kind: int, index: int, *, samples: int = 4096) -> Sound:
    """The sound of that kind and index: the same one whenever it is asked for."""
    # RandomState and not its successor: its streams are frozen, and the rows must not change with the library.
    random = np.random.RandomState([SALT, kind, index])
    n = np.arange(samples)
    x, f0, decay = (_organ, _pluck, _bell, _noise_hit)[kind](random, n / SAMPLE_RATE)
    noise = 10.0 ** (random.uniform(*NOISE_DB) / 20.0) * random.standard_normal(samples)
    heard = x / np.abs(x).max() + noise
    whole = np.round(heard * (PEAK / np.abs(heard).max()) * STEPS) / STEPS
    return Sound(x=whole.astype(np.float32), kind=kind, f0=f0, decay=decay)


_Made = tuple[NDArray[np.float64], float | None, float | None]


def _organ(random: np.random.RandomState, seconds_n: NDArray[np.float64]) -> _Made:
    f0, slope, attack = _log_uniform(random, F0), random.uniform(*SLOPE), random.uniform(*ORGAN_ATTACK)
    # As many phases for every pitch, so that what is drawn next does not depend on it.
    phase_k = random.uniform(0.0, 2.0 * np.pi, int(0.45 * SAMPLE_RATE / F0[0]))
    k = np.arange(1, len(phase_k) + 1)
    k = k[k * f0 < 0.45 * SAMPLE_RATE]
    waves_kn = np.sin(2.0 * np.pi * f0 * k[:, None] * seconds_n + phase_k[: len(k), None])
    end = seconds_n[-1] + 1.0 / SAMPLE_RATE
    envelope_n = np.minimum(np.minimum(seconds_n / attack, (end - seconds_n) / RELEASE), 1.0)
    return (k**-slope) @ waves_kn * envelope_n, f0, None


def _pluck(random: np.random.RandomState, seconds_n: NDArray[np.float64]) -> _Made:
    from scipy.signal import lfilter

    period = round(SAMPLE_RATE / _log_uniform(random, F0) + 0.5)
    f0 = SAMPLE_RATE / (period - 0.5)
    feedback = random.uniform(*FEEDBACK)
    burst_n = np.zeros(len(seconds_n))
    noise = random.uniform(-1.0, 1.0, period)
    # A mean would stay in the loop like a tone of no frequency.
    burst_n[:period] = noise - noise.mean()
    loop = np.zeros(period + 1)
    loop[0], loop[period - 1], loop[period] = 1.0, -feedback / 2.0, -feedback / 2.0
    # A turn of the loop scales the fundamental by the feedback and by the mean of two neighbors.
    loss = feedback * np.cos(np.pi * f0 / SAMPLE_RATE)
    return lfilter([1.0], loop, burst_n), f0, -1.0 / (f0 * np.log(loss))


def _bell(random: np.random.RandomState, seconds_n: NDArray[np.float64]) -> _Made:
    f0, ratio = _log_uniform(random, F0), RATIOS[random.randint(len(RATIOS))]
    index, decay = random.uniform(*INDEX), random.uniform(*BELL_DECAY)
    # Carson's rule: nearly all power lies within f0 +- (index + 1) ratio f0, which must not fold back.
    index = min(index, (SAMPLE_RATE / 2.0 - f0) / (ratio * f0) - 1.0)
    envelope_n = np.exp(-seconds_n / decay)
    angle_n = 2.0 * np.pi * f0 * seconds_n
    return np.sin(angle_n + index * envelope_n * np.sin(ratio * angle_n)) * envelope_n, f0, decay


def _noise_hit(random: np.random.RandomState, seconds_n: NDArray[np.float64]) -> _Made:
    from scipy.signal import lfilter

    cutoff, attack, decay = _log_uniform(random, CUTOFF), random.uniform(*HIT_ATTACK), random.uniform(*HIT_DECAY)
    pole = np.exp(-2.0 * np.pi * cutoff / SAMPLE_RATE)
    low_n = lfilter([1.0 - pole], [1.0, -pole], random.standard_normal(len(seconds_n)))
    return low_n * np.minimum(seconds_n / attack, 1.0) * np.exp(-seconds_n / decay), None, decay


def _log_uniform(random: np.random.RandomState, bounds: tuple[float, float]) -> float:
    return float(np.exp(random.uniform(*np.log(bounds))))
