"""The synthesized sounds: their pitch is what the synthesizer says, and their kinds can be told apart."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from trainables.data import instruments
from trainables.data._data import Data
from trainables.data.instruments import F0, KINDS, NOISE_DB, PEAK, SAMPLE_RATE, place_of, sound

SHA256 = "a089689ebb4a753a993f18574e87ad4e56b8cbec12b24e067d0f372eb3ce466b"


@pytest.fixture(scope="module")
def data() -> Data:
    return instruments.load()


def test_the_rows_are_those_of_the_hash(data: Data) -> None:
    assert data.sha256 == SHA256
    assert (data.shape, data.modality, data.sample_rate, data.classes) == ((1, 4096), "audio", SAMPLE_RATE, len(KINDS))
    assert [len(split) for _, split in data.splits()] == [2000, 400, 400]


def test_a_row_is_the_sound_of_its_place_however_many_there_are(data: Data) -> None:
    few = instruments.load(rows=8)
    assert torch.equal(few.train.x, data.train.x[:8])
    assert torch.equal(few.test.x, data.test.x)
    for split, row in (("train", 7), ("validation", 2), ("test", 399)):
        kind, index = place_of(split, row)
        own = data.split(split)
        assert own.labels is not None
        assert int(own.labels[row]) == kind
        assert np.array_equal(own.x[row, 0].numpy(), sound(kind, index).x)


def test_every_row_has_the_peak_and_every_kind_a_quarter(data: Data) -> None:
    for _, split in data.splits():
        peak = split.x.abs().amax((1, 2))
        assert torch.allclose(peak, torch.full_like(peak, PEAK), atol=2.0**-16)
        assert torch.equal(split.x, (split.x * 2**15).round() / 2**15)
        assert split.labels is not None
        assert split.labels.bincount().tolist() == [len(split) // 4] * 4


def pitch(x: NDArray[np.float32], *, low: float = 80.0, high: float = 600.0, finer: int = 4) -> float:
    """Hz, by the normalized autocorrelation at the shortest lag that is a peak hardly lower than the highest.

    A multiple of a period is one as well. Lags lie a quarter of a sample apart, so that none misses a peak.
    """
    y = x.astype(np.float64)
    power = np.abs(np.fft.rfft(y, 2 * len(y))) ** 2
    heard = finer * np.fft.irfft(power, 2 * finer * len(y))
    lags = np.arange(int(finer * SAMPLE_RATE / high), int(finer * SAMPLE_RATE / low) + 1)
    energy = np.concatenate([[0.0], np.cumsum(y**2)])
    both = np.interp(lags / finer, np.arange(len(energy)), energy[::-1] + energy[-1] - energy)
    heard = 2.0 * heard[lags] / both
    peaks = np.flatnonzero((heard[1:-1] >= heard[:-2]) & (heard[1:-1] >= heard[2:])) + 1
    place = next(place for place in peaks if heard[place] >= 0.95 * heard[peaks].max())
    return float(finer * SAMPLE_RATE / lags[place])


@pytest.mark.parametrize("kind", [0, 1])
def test_the_pitch_that_is_heard_is_the_one_that_was_played(kind: int) -> None:
    for index in range(60):
        played = sound(kind, index)
        assert played.f0 is not None
        assert F0[0] * 0.97 < played.f0 < F0[1] * 1.03
        assert abs(1200.0 * np.log2(pitch(played.x) / played.f0)) < 50.0, f"{kind} {index}"


def test_a_bell_and_a_pluck_die_away_as_they_say() -> None:
    """A bell as a whole, but where its harmonics coincide and their sum depends on the index; a pluck's fundamental."""
    told = []
    for index in range(40):
        bell = sound(2, index)
        assert bell.decay is not None
        early, late = (np.square(bell.x[first : first + 1024].astype(np.float64)).mean() for first in (0, 2048))
        told.append(0.5 * np.log(early / late) * bell.decay / (2048 / SAMPLE_RATE))
    assert np.median(told) == pytest.approx(1.0, abs=0.01)
    for index in range(40):
        pluck = sound(1, index)
        assert pluck.decay is not None
        assert pluck.f0 is not None
        n = np.arange(1024)
        turn = np.exp(-2j * np.pi * pluck.f0 * n / SAMPLE_RATE) * np.hanning(1024)
        early, late = (abs((pluck.x[first : first + 1024] * turn).sum()) for first in (0, 2048))
        assert np.log(early / late) == pytest.approx(2048 / SAMPLE_RATE / pluck.decay, rel=0.05, abs=0.05)


def test_the_noise_under_an_organ_lies_where_it_is_said_to(data: Data) -> None:
    """Above the highest harmonic there is nothing else."""
    organ = data.train.x[::4, 0].double()
    power = torch.fft.rfft(organ * torch.hann_window(4096, dtype=torch.float64)).abs().square()
    above = power[:, int(0.47 * 4096) :].mean(1)
    decibel = 10.0 * (above / (4096 * 0.375)).log10() - 20.0 * np.log10(PEAK)
    assert NOISE_DB[0] - 1.0 < float(decibel.min())
    assert float(decibel.max()) < NOISE_DB[1] + 1.0
    assert float(decibel.max() - decibel.min()) > 15.0


def test_the_kinds_are_told_apart_by_mean_and_deviation_of_their_spectra(data: Data) -> None:
    train, test = data.train, data.test
    assert train.labels is not None
    assert test.labels is not None
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(spectra(train.x[:600]), train.labels[:600].numpy())
    assert model.score(spectra(test.x), test.labels.numpy()) >= 0.98


def spectra(x: torch.Tensor) -> NDArray[np.float64]:
    window = torch.hann_window(512)
    frames = torch.stft(x[:, 0], 512, 128, window=window, return_complex=True).abs()
    log = (frames + 1e-5).log()
    return torch.cat([log.mean(2), log.std(2)], 1).double().numpy()


def test_what_is_no_data_set_of_sounds_is_refused() -> None:
    with pytest.raises(ValueError, match="rows of instruments must be at least 4, and they are 3: raise them"):
        instruments.load(rows=3)
    with pytest.raises(ValueError, match=r"samples of instruments must be at least 512, .* and they are 100: raise"):
        instruments.load(samples=100)


def test_shorter_rows_are_of_the_same_sounds() -> None:
    short = instruments.load(rows=4, samples=1024)
    assert short.shape == (1, 1024)
    assert sound(2, 5, samples=1024).f0 == sound(2, 5).f0
