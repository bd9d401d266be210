"""Folders of wav files: what is read from each kind, how they are cut and parted, and what is said of bad ones."""

import struct
import wave
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.io import wavfile

from trainables.data import wav_folder
from trainables.data._sound import loudness, read_sound, resampled, windows

RATE = 8000


def tone(hertz: float, *, seconds: float = 0.5, rate: int = RATE, amplitude: float = 0.8) -> NDArray[np.float64]:
    """It dies away, so that no window equals another one."""
    time = np.arange(round(seconds * rate)) / rate
    return amplitude * np.exp(-time) * np.sin(2.0 * np.pi * hertz * time)


def write(path: Path, x: NDArray[np.float64], *, rate: int = RATE) -> None:
    """16 bits; x is [S] or [S, C]."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, rate, np.round(x * 2**15).clip(-(2**15), 2**15 - 1).astype(np.int16))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Ten tones of 4000 samples."""
    for number in range(10):
        write(tmp_path / f"{number}.wav", tone(200.0 + 37.0 * number))
    return tmp_path


def in_24_bits(path: Path, x: NDArray[np.float64]) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(RATE)
        whole = np.round(x * 2**23).astype("<i4")
        file.writeframes(whole.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())


STORED = {
    "8 bits": (lambda path, x: wavfile.write(path, RATE, np.round(x * 127 + 128).astype(np.uint8)), 1 / 60),
    "16 bits": (write, 1 / 2**15),
    "24 bits": (in_24_bits, 1 / 2**23),
    "32 bits": (lambda path, x: wavfile.write(path, RATE, np.round(x * (2**31 - 1)).astype(np.int32)), 1e-7),
    "float 32": (lambda path, x: wavfile.write(path, RATE, x.astype(np.float32)), 1e-7),
    "float 64": (lambda path, x: wavfile.write(path, RATE, x), 1e-7),
}


@pytest.mark.parametrize("kind", STORED)
def test_each_kind_of_wav_file_holds_the_sound_that_was_written(kind: str, tmp_path: Path) -> None:
    store, accuracy = STORED[kind]
    x = tone(330.0)
    store(tmp_path / "a.wav", x)
    sound = read_sound(tmp_path / "a.wav")
    assert (sound.sample_rate, sound.x.dtype, sound.x.shape) == (RATE, np.float32, (1, len(x)))
    assert np.abs(sound.x[0] - x).max() < accuracy


def test_a_header_that_scipy_refuses_is_read_by_the_standard_library(tmp_path: Path) -> None:
    for name, store in (("a", write), ("b", in_24_bits), ("c", STORED["8 bits"][0])):
        path = tmp_path / f"{name}.wav"
        store(path, tone(330.0))
        expected = read_sound(path).x
        stored = bytearray(path.read_bytes())
        # The bytes of a frame, which follow from the number of channels and bits.
        stored[32:34] = struct.pack("<H", 7)
        path.write_bytes(stored)
        with pytest.raises(ValueError, match="nBlockAlign"):
            wavfile.read(path)
        assert np.array_equal(read_sound(path).x, expected)


@pytest.mark.parametrize("size", [0, 2**32 - 1])
def test_a_streamed_file_does_not_say_its_length_and_is_read_whole(tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.wav"
    write(path, tone(330.0))
    expected = read_sound(path).x
    stored = bytearray(path.read_bytes())
    # A chunk before the samples, as ffmpeg writes one.
    stored[36:36] = b"LIST" + struct.pack("<I", 4) + b"INFO"
    for place in (4, stored.index(b"data") + 4):
        stored[place : place + 4] = struct.pack("<I", size)
    path.write_bytes(stored)
    assert np.array_equal(read_sound(path).x, expected)


def test_the_rate_is_that_of_most_files_and_the_others_keep_their_pitch(folder: Path) -> None:
    write(folder / "high.wav", tone(440.0, rate=22050), rate=22050)
    data = wav_folder.load(path=str(folder), samples=1000)
    assert data.sample_rate == RATE
    assert "resampled 1 of 11 files: 1 from 22050" in data.notes
    own = resampled(read_sound(folder / "high.wav"), RATE).x[0]
    assert len(own) == 4000
    # Away from the ends, where a filter sees silence.
    assert np.abs(own[100:-100] - tone(440.0)[100:-100]).max() < 0.01
    asked = wav_folder.load(path=str(folder), samples=1000, sample_rate=4000)
    assert asked.sample_rate == 4000
    assert len(asked.train) + len(asked.validation) + len(asked.test) == 11 * 2


def test_windows_follow_each_other_by_the_hop(tmp_path: Path) -> None:
    write(tmp_path / "a.wav", np.arange(100) / 2**15)
    found = windows(read_sound(tmp_path / "a.wav"), samples=32, hop=20)
    assert [int(own[0, 0] * 2**15) for own in found] == [0, 20, 40, 60]
    assert np.array_equal(found[2, 0] * 2**15, np.arange(40, 72))


def test_no_file_is_in_two_splits_even_where_windows_overlap(tmp_path: Path) -> None:
    """Each file has a pitch of its own, and so its windows are known."""
    for number in range(12):
        write(tmp_path / f"{number}.wav", tone(250.0 * (number + 1), seconds=0.3))
    data = wav_folder.load(path=str(tmp_path), samples=512, hop=100)
    pitches = {}
    for name, split in data.splits():
        peak = torch.fft.rfft(split.x[:, 0]).abs().argmax(1)
        pitches[name] = {round(float(place) * RATE / 512 / 250.0) for place in peak}
    assert set.union(*pitches.values()) == set(range(1, 13))
    assert sum(map(len, pitches.values())) == 12


def test_sub_folders_are_classes_and_named_ones_are_splits(tmp_path: Path) -> None:
    for kind in ("yes", "no"):
        for number in range(8):
            write(tmp_path / kind / f"{number}.wav", tone(300.0 + 10 * number + 700 * (kind == "yes")))
    data = wav_folder.load(path=str(tmp_path), samples=1000)
    assert data.classes == 2
    assert "classes: 0 is no, 1 is yes" in data.notes
    for _, split in data.splits():
        assert split.labels is not None
        high = torch.fft.rfft(split.x[:, 0]).abs().argmax(1) * RATE / 1000 > 700
        assert torch.equal(high.long(), split.labels)
    assert wav_folder.load(path=str(tmp_path), samples=1000, labels="none").classes == 0
    for kind in ("yes", "no"):
        for number in range(8):
            part = "test" if number < 2 else "val" if number < 4 else "train"
            (tmp_path / part).mkdir(exist_ok=True)
            (tmp_path / kind / f"{number}.wav").rename(tmp_path / part / f"{kind} {number}.wav")
    parted = wav_folder.load(path=str(tmp_path), samples=1000)
    assert [len(split) for _, split in parted.splits()] == [32, 16, 16]


def test_silence_and_copies_are_left_out_and_told_of(folder: Path) -> None:
    write(folder / "half.wav", np.concatenate([tone(999.0, seconds=0.25), np.zeros(2000)]))
    (folder / "copy.wav").write_bytes((folder / "3.wav").read_bytes())
    data = wav_folder.load(path=str(folder), samples=1000)
    assert "left out 2 of 48 windows, silent: below -60 dB" in data.notes
    assert "removed 4 rows that equal another one" in data.notes
    assert sum(len(split) for _, split in data.splits()) == 42
    everything = wav_folder.load(path=str(folder), samples=1000, silence=None)
    assert sum(len(split) for _, split in everything.splits()) == 43


def test_loudness_is_in_decibel_of_a_full_scale() -> None:
    x = np.stack([np.ones((1, 100)), np.full((1, 100), 0.01), np.zeros((1, 100))]).astype(np.float32)
    assert loudness(x)[:2] == pytest.approx([0.0, -40.0], abs=1e-5)
    assert loudness(x)[2] < -200.0


def test_channels_are_mixed_or_kept(tmp_path: Path) -> None:
    for number in range(8):
        left = tone(300.0 + 10 * number)
        write(tmp_path / f"{number}.wav", np.stack([left, -0.5 * left], 1))
    mixed = wav_folder.load(path=str(tmp_path), samples=1000)
    assert mixed.shape == (1, 1000)
    assert "mixed the channels of 8 of 8 files to one" in mixed.notes
    kept = wav_folder.load(path=str(tmp_path), samples=1000, mono=False)
    assert kept.shape == (2, 1000)
    assert torch.allclose(kept.train.x[:, 1], -0.5 * kept.train.x[:, 0], atol=2**-14)
    assert torch.allclose(mixed.train.x, kept.train.x.mean(1, keepdim=True), atol=2**-14)
    write(tmp_path / "one.wav", tone(300.0))
    with pytest.raises(ValueError, match=r"as many channels, and .*one\.wav has 1 where most have 2: convert it, or"):
        wav_folder.load(path=str(tmp_path), samples=1000, mono=False)


def test_floats_beyond_the_scale_are_cut_and_told_of(folder: Path) -> None:
    wavfile.write(folder / "loud.wav", RATE, tone(123.0, amplitude=1.5).astype(np.float32))
    data = wav_folder.load(path=str(folder), samples=1000)
    beyond = int((np.abs(tone(123.0, amplitude=1.5)) > 1).sum())
    assert f"cut off {beyond} samples beyond -1..1, which files of floats may have" in data.notes
    assert max(float(split.x.abs().max()) for _, split in data.splits()) == 1.0


def spoiled(folder: Path, kind: str) -> None:
    path = folder / "bad.wav"
    good = (folder / "0.wav").read_bytes()
    if kind == "NaN":
        x = tone(100.0).astype(np.float32)
        x[7] = np.nan
        wavfile.write(path, RATE, x)
    elif kind == "no samples":
        wavfile.write(path, RATE, np.zeros(0, np.int16))
    elif kind == "no channels":
        path.write_bytes(good[:22] + struct.pack("<H", 0) + good[24:])
    elif kind == "compressed":
        path.write_bytes(good[:20] + struct.pack("<H", 2) + good[22:])
    else:
        stored = {"empty": b"", "text": b"these are no sounds at all", "truncated": good[:5000], "head": good[:30]}
        path.write_bytes(stored[kind])


BAD = {
    "empty": "it is empty: record it again",
    "text": "it is no wav file, since it begins with b'these are no': convert it to wav",
    "truncated": "it ends before its sound does, so part of it is lost: copy or record it again",
    "head": "its sound cannot be read",
    "NaN": "sample 7 of channel 0 is nan: mend it",
    "no samples": "it holds 0 samples at 8000 a second: record it again",
    "compressed": "its sound cannot be read",
    "no channels": "its sound cannot be read (its header contradicts itself): save it as PCM of 16 bits",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_with_the_reason_and_the_remedy(kind: str, folder: Path) -> None:
    spoiled(folder, kind)
    with pytest.raises(ValueError, match="1 of 11 are not: ") as raised:
        wav_folder.load(path=str(folder), samples=1000)
    assert f"bad.wav: {BAD[kind]}" in str(raised.value)
    assert "or leave them out with skip_broken: true" in str(raised.value)
    data = wav_folder.load(path=str(folder), samples=1000, skip_broken=True)
    assert Counter("bad.wav" in note for note in data.notes)[True] == 1
    assert sum(len(split) for _, split in data.splits()) == 40


def test_a_file_shorter_than_a_window_is_named(folder: Path) -> None:
    write(folder / "short.wav", tone(300.0, seconds=0.1))
    with pytest.raises(ValueError, match=r"short\.wav: it has 800 samples at 8000 a second, and a window has 1000: lo"):
        wav_folder.load(path=str(folder), samples=1000)
    assert len(wav_folder.load(path=str(folder), samples=800).train) > 0
    assert any("short.wav" in note for note in wav_folder.load(path=str(folder), samples=1000, skip_broken=True).notes)


def test_folders_without_enough_to_hear_are_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(ValueError, match=r"must hold files \.wav, \.wave, and .* is empty: give another folder"):
        wav_folder.load(path=str(tmp_path / "none"))
    with pytest.raises(ValueError, match=r"does not exist in .*: correct it"):
        wav_folder.load(path=str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="at least 20 windows, and there are 10: give more sounds, or lower samples"):
        wav_folder.load(path=str(folder), samples=4000)
    with pytest.raises(ValueError, match=r"there are 0 \(left out 40 of 40 windows, silent: below 0 dB\): give more"):
        wav_folder.load(path=str(folder), samples=1000, silence=0)
    two = tmp_path / "two"
    for number in range(2):
        write(two / f"{number}.wav", tone(300.0 + number, seconds=4.0))
    with pytest.raises(
        ValueError, match="at least 3 files, blocks or other groups with rows, one for each split, and there are 2"
    ):
        wav_folder.load(path=str(two), samples=1000)


@pytest.mark.parametrize(
    ("option", "value"), [("samples", 0), ("samples", "long"), ("hop", -1), ("sample_rate", True), ("sample_rate", 8e3)]
)
def test_options_that_are_no_counts_are_refused(option: str, value: object, folder: Path) -> None:
    with pytest.raises(ValueError, match=f"{option} must be a whole number of at least 1, and it is .*: correct it"):
        wav_folder.load(path=str(folder), **{option: value})  # type: ignore[arg-type]


def test_a_silence_that_is_no_number_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="silence must be a number of dB, such as -60, or null, and it is 'quiet'"):
        wav_folder.load(path=str(folder), silence="quiet")  # type: ignore[arg-type]
