"""A folder of the user's sounds: wav files in it and below it; music, noises, or speech, which is read no other way.

Every file is brought to one sample rate and cut into windows of one length, and all windows of a file come into one
split, so that no take is in two of them. Sub-folders are classes where every file lies in one of two or more, of speech
for example the words; folders called train, validation (or val) and test are the splits, by which the user parts
speakers. Silent windows are left out, and windows that come out equal count once.
"""

from __future__ import annotations

import wave
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from . import _own
from ._data import Data
from ._sound import SUFFIXES, Sound, loudness, read_sound, resampled, windows

READS_FOLDER = SUFFIXES


def load(
    *,
    path: str,
    samples: int = 4096,
    hop: int | None = None,
    sample_rate: int | None = None,
    mono: bool = True,
    silence: float | None = -60.0,
    labels: str = "auto",
    held_out: float | None = None,
    seed: int = 0,
    skip_broken: bool = False,
) -> Data:
    """The windows [N, C, samples] in -1..1; C is 1 of `mono`, the mean of the channels; the same call, the same bytes.

    samples: of a window, at the sample rate of the data. hop: samples from one window to the next; as many as one has,
    without one. sample_rate: a second; without one, that of most files. silence: windows less loud than so many dB
    below a full scale are left out; none with null. labels: auto, folders or none. held_out: the share for validation,
    and as much for test. skip_broken: leave out files that cannot be read or are shorter than a window. Raises
    `ValueError` that names the files.
    """
    hop = samples if hop is None else hop
    _check_counts(samples=samples, hop=hop, **({} if sample_rate is None else {"sample_rate": sample_rate}))
    if silence is not None and not isinstance(silence, int | float):
        raise ValueError(f"silence must be a number of dB, such as -60, or null, and it is {silence!r}: correct it")
    folder = _own.existing(path, folder=True)
    found, notes = _own.read_each(_own.files_in(folder, SUFFIXES), read_sound, skip_broken=skip_broken)
    rate = sample_rate or _most_frequent(found)
    notes += _said(found, rate, mono=mono)

    rows, short = _own.read_each(
        list(found),
        lambda file: _windows(found[file], samples=samples, hop=hop, sample_rate=rate, mono=mono),
        skip_broken=skip_broken,
    )
    x_NCW = np.concatenate(list(rows.values()))
    kept_N, left_out = _heard(x_NCW, silence)
    names = [file.relative_to(folder) for file in rows]
    file_N = np.repeat(np.arange(len(rows)), [len(own) for own in rows.values()])[kept_N].tolist()
    parts, classes, said = _own.folder_classes(names, labels)
    places, numbers, named = _own.divided(
        [names[place].as_posix() for place in file_N],
        parts=None if parts is None else [parts[place] for place in file_N],
        classes=None if classes is None else [classes[place] for place in file_N],
        share=held_out,
        seed=seed,
    )
    return Data.of(
        _own.as_splits(x_NCW[kept_N], numbers, places),
        name="wav_folder",
        modality="audio",
        levels=None,
        value_range=(-1.0, 1.0),
        license=_own.LICENSE,
        source=f"the sounds in {folder.name or path}",
        sample_rate=rate,
        notes=[*said, *named, *notes, *short, *left_out],
    )


def _check_counts(**counts: object) -> None:
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, and it is {count!r}: correct it")


def _most_frequent(found: Mapping[Path, Sound]) -> int:
    """The sample rate of most files; of two that are equally frequent the lower one, which every file has."""
    counts = Counter(sound.sample_rate for sound in found.values())
    return min(counts, key=lambda rate: (-counts[rate], rate))


def _said(found: Mapping[Path, Sound], rate: int, *, mono: bool) -> list[str]:
    """Notes on what becomes of the files; raises `ValueError` where channels that are to be kept differ in number."""
    channels = Counter(sound.x.shape[0] for sound in found.values())
    if not mono and len(channels) > 1:
        usual = channels.most_common(1)[0][0]
        other = next(file for file, sound in found.items() if sound.x.shape[0] != usual)
        raise ValueError(
            f"with mono: false all files must have as many channels, and {other} has {found[other].x.shape[0]} where "
            f"most have {usual}: convert it, or mix all with mono: true"
        )
    others = Counter(sound.sample_rate for sound in found.values() if sound.sample_rate != rate)
    notes = [f"the sample rate is {rate} a second"]
    if others:
        listed = ", ".join(f"{count} from {other}" for other, count in sorted(others.items()))
        notes.append(f"resampled {others.total()} of {len(found)} files: {listed}")
    if mixed := sum(count for number, count in channels.items() if mono and number > 1):
        notes.append(f"mixed the channels of {mixed} of {len(found)} files to one")
    if cut := sum(sound.cut for sound in found.values()):
        notes.append(f"cut off {cut} samples beyond -1..1, which files of floats may have")
    return notes


def _windows(sound: Sound, *, samples: int, hop: int, sample_rate: int, mono: bool) -> NDArray[np.float32]:
    """[N, C, W]: the windows of one file; raises `ValueError` where it is shorter than one."""
    if mono:
        sound = replace(sound, x=sound.x.mean(0, keepdims=True))
    sound = resampled(sound, sample_rate)
    if sound.x.shape[1] < samples:
        raise ValueError(
            f"it has {sound.x.shape[1]} samples at {sample_rate} a second, and a window has {samples}: lower samples"
        )
    return windows(sound, samples=samples, hop=hop)


def _heard(x_NCW: NDArray[np.float32], silence: float | None) -> tuple[NDArray[np.int64], list[str]]:
    """The places of the windows that are not silent and equal no other one, and notes on the others.

    Raises `ValueError` where too few are left.
    """
    loud_N = np.arange(len(x_NCW)) if silence is None else np.flatnonzero(loudness(x_NCW) >= silence)
    kept_N = loud_N[_own.distinct(x_NCW[loud_N])]
    notes = _own.copies_note(len(loud_N), len(kept_N))
    if len(loud_N) < len(x_NCW):
        notes.insert(0, f"left out {len(x_NCW) - len(loud_N)} of {len(x_NCW)} windows, silent: below {silence:g} dB")
    if len(kept_N) < _own.FEWEST_ROWS:
        why = f" ({'; '.join(notes)})" if notes else ""
        raise ValueError(
            f"there must be at least {_own.FEWEST_ROWS} windows, and there are {len(kept_N)}{why}: give more sounds, "
            "or lower samples, hop or silence"
        )
    return kept_N, notes


def example(folder: Path) -> dict[str, object]:
    """Write 12 sounds of two kinds, a tone or noise that dies away; the options to load them."""
    random = np.random.RandomState(0)
    seconds = np.arange(2048) / 8000.0
    for kind in ("tone", "noise"):
        (folder / kind).mkdir()
        for number in range(6):
            tone = np.sin(2.0 * np.pi * random.uniform(200.0, 800.0) * seconds)
            x = (tone if kind == "tone" else random.uniform(-1.0, 1.0, len(seconds))) * np.exp(-seconds / 0.2)
            with wave.open(str(folder / kind / f"{number}.wav"), "wb") as file:
                file.setnchannels(1)
                file.setsampwidth(2)
                file.setframerate(8000)
                file.writeframes((x * 30_000.0).astype("<i2").tobytes())
    return {"path": str(folder), "samples": 512}
