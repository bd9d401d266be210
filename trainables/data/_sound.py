"""A sound from a wav file: its samples as numbers in -1..1, at another sample rate, and cut into windows.

Floor: numpy; scipy is imported by the functions that need it. Axes: C channels, S samples of a file, N windows,
W samples of a window.
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SUFFIXES = (".wav", ".wave")
# How a wav file begins: in little endian, in big endian, and with sizes of 64 bits.
_BEGINS = (b"RIFF", b"RIFX", b"RF64")
# The size that a program writes which does not know it, such as one that writes to a pipe.
_UNKNOWN = (0, 2**32 - 1)


@dataclass(frozen=True, kw_only=True)
class Sound:
    """Samples [C, S] in -1..1, so many a second; `cut` is how many lay beyond, as they may in files of floats."""

    x: NDArray[np.float32]
    sample_rate: int
    cut: int = 0


def read_sound(file: Path) -> Sound:
    """The sound of a wav file: PCM of 8, 16, 24 or 32 bits, or floats.

    Raises `ValueError`, with the reason and the remedy, for a file that holds no sound, or not all of it.
    """
    with file.open("rb") as opened:
        head = opened.read(12)
    if not head:
        raise ValueError("it is empty: record it again")
    if head[:4] not in _BEGINS or head[8:12] not in (b"WAVE", b""):
        raise ValueError(f"it is no wav file, since it begins with {head!r}: convert it to wav")
    sample_rate, x_SC = _decoded(file)
    if x_SC.ndim == 1:
        x_SC = x_SC[:, None]
    if not x_SC.size or sample_rate < 1:
        raise ValueError(f"it holds {x_SC.size} samples at {sample_rate} a second: record it again")
    x_CS = _as_real(x_SC).T
    if not np.isfinite(x_CS).all():
        channel, place = np.argwhere(~np.isfinite(x_CS))[0]
        raise ValueError(f"sample {place} of channel {channel} is {x_CS[channel, place]}: mend it")
    cut = int((np.abs(x_CS) > 1.0).sum())
    return Sound(x=np.clip(x_CS, -1.0, 1.0).astype(np.float32), sample_rate=sample_rate, cut=cut)


def resampled(sound: Sound, sample_rate: int) -> Sound:
    """The same sound at another sample rate, through a low-pass where that is lower."""
    from scipy.signal import resample_poly

    if sound.sample_rate == sample_rate:
        return sound
    common = math.gcd(sound.sample_rate, sample_rate)
    x = resample_poly(sound.x.astype(np.float64), sample_rate // common, sound.sample_rate // common, axis=1)
    # A filter overshoots at the edges of what was loud already.
    return Sound(x=np.clip(x, -1.0, 1.0).astype(np.float32), sample_rate=sample_rate, cut=sound.cut)


def windows(sound: Sound, *, samples: int, hop: int) -> NDArray[np.float32]:
    """[N, C, W]: windows of so many samples, one every `hop`; what is left at the end is not taken."""
    view = np.lib.stride_tricks.sliding_window_view(sound.x, samples, axis=1)[:, ::hop]
    found: NDArray[np.float32] = np.ascontiguousarray(view.transpose(1, 0, 2))
    return found


def loudness(x_NCW: NDArray[np.float32]) -> NDArray[np.float64]:
    """[N]: the root of the mean square of each window in dB, 0 for the loudest that can be."""
    power_N = np.square(x_NCW.astype(np.float64)).mean((1, 2))
    decibel_N: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power_N, 1e-30))
    return decibel_N


def _decoded(file: Path) -> tuple[int, NDArray[np.generic]]:
    """The sample rate, and samples [S] or [S, C] as they are stored."""
    from scipy.io import wavfile

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            sample_rate, x = wavfile.read(_with_sizes(file))
        except Exception as refused:  # whatever a library meets in a file that is not what it says
            try:
                sample_rate, x = _decoded_plainly(file)
            except (wave.Error, EOFError, ValueError):
                # Of an error in the library's own code the user could make nothing.
                why = str(refused) if isinstance(refused, ValueError) else "its header contradicts itself"
                raise ValueError(f"its sound cannot be read ({why}): save it as PCM of 16 bits") from None
    if any("prematurely" in str(warning.message) for warning in said):
        raise ValueError("it ends before its sound does, so part of it is lost: copy or record it again")
    return int(sample_rate), x


def _with_sizes(file: Path) -> Path | io.BytesIO:
    """The file, or where it was streamed and so does not say how long it is, its content with the sizes that it has."""
    with file.open("rb") as opened:
        if opened.read(4) != b"RIFF":
            return file
        (whole,) = struct.unpack("<I", opened.read(4).ljust(4, b"\xff"))
        if whole not in _UNKNOWN:
            return file
    content = bytearray(file.read_bytes())
    place = 12
    while place + 8 <= len(content):
        name, (size,) = content[place : place + 4], struct.unpack_from("<I", content, place + 4)
        if name == b"data":
            if size in _UNKNOWN:
                struct.pack_into("<I", content, place + 4, len(content) - place - 8)
            struct.pack_into("<I", content, 4, len(content) - 8)
            break
        place += 8 + size + size % 2
    return io.BytesIO(bytes(content))


def _decoded_plainly(file: Path) -> tuple[int, NDArray[np.generic]]:
    """The same by the standard library, which takes headers that scipy refuses."""
    with wave.open(str(file), "rb") as opened:
        channels, width, frames = opened.getnchannels(), opened.getsampwidth(), opened.getnframes()
        stored = opened.readframes(frames)
        if len(stored) < frames * channels * width:
            raise ValueError("fewer samples than it says")
        if width == 1:
            return opened.getframerate(), np.frombuffer(stored, np.uint8).reshape(-1, channels)
        # As the upper bytes of 32 bits.
        whole = np.zeros((len(stored) // width, 4), np.uint8)
        whole[:, 4 - width :] = np.frombuffer(stored, np.uint8).reshape(-1, width)
        return opened.getframerate(), whole.view("<i4").reshape(-1, channels)


def _as_real(x: NDArray[np.generic]) -> NDArray[np.float64]:
    """Stored samples as numbers: whole ones over the largest of their kind, floats as they are."""
    if x.dtype.kind == "f":
        return x.astype(np.float64)
    half = 2.0 ** (8 * x.dtype.itemsize - 1)
    # Whole numbers without a sign have silence in their middle.
    return (x.astype(np.float64) - (half if x.dtype.kind == "u" else 0.0)) / half
