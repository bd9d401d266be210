"""Metrics of audio: spectra against sums written out, and what each says of sounds with known faults."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from hpo import plugins
from trainables.data import digits, instruments
from trainables.data._data import Data, Split, content_hash
from trainables.metrics import (
    _features,
    _pictures,
    _samples,
    authenticity,
    clipping,
    coverage,
    dc_offset,
    fd_self,
    nearest_train,
    stft_distance,
    trts,
    tstr,
)
from trainables.metrics._features import Extractor, features_of, train_extractor
from trainables.metrics._metric import Measurement, Metric, prepare, refusal
from trainables.metrics._samples import Replay
from trainables.metrics._sliced import unit_directions
from trainables.metrics._spectra import BANDS, SILENCE, log_mel, log_power, mel_bank, summary
from trainables.models.gan import Model as Gan


def short(rows: int = 600) -> Data:
    return instruments.load(rows=rows, samples=1024)


@pytest.fixture(scope="module")
def data() -> Iterator[Data]:
    """Shorter sounds, and features learned in fewer steps: what they tell apart is the same."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_features, "STEPS", 100)
        patch.setattr(_features, "_FEATURES", {})
        yield short()


@pytest.fixture(scope="module")
def faults(data: Data) -> dict[str, Tensor]:
    """The training rows, and such with a fault."""
    x, generator = data.train.x, torch.Generator().manual_seed(0)
    noise = torch.randn(x.shape, generator=generator)
    turned = torch.polar(torch.fft.rfft(x).abs(), 2 * math.pi * torch.rand(len(x), 1, 513, generator=generator))
    spread = torch.fft.irfft(turned, n=x.shape[-1])
    return {
        "real": x,
        "hiss": (x + 0.01 * noise).clamp(-1, 1),
        "noisy": (x + 0.05 * noise).clamp(-1, 1),
        # The same power at each frequency, at any time.
        "spread": instruments.PEAK * spread / spread.abs().amax(-1, keepdim=True),
        "white": (0.3 * noise).clamp(-1, 1),
    }


def measured(metric: Metric, samples: Split, data: Data) -> Measurement:
    prepare(metric, data)
    return metric.measure(Replay(samples), data.validation, torch.Generator().manual_seed(0))


def test_the_power_is_that_of_sums_written_out() -> None:
    x = torch.randn(2, 2, 700, generator=torch.Generator().manual_seed(0))
    found = log_power(x, window=256)
    n = np.arange(256)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / 256)
    padded = np.pad(x[1, 0].double().numpy(), 128, mode="reflect")
    for place, window in ((0, 0), (5, 3), (128, 10)):
        part = padded[64 * window : 64 * window + 256]
        total = (part * hann * np.exp(-2j * np.pi * place * n / 256)).sum() / (0.5 * hann.sum())
        assert float(found[1, 0, place, window]) == pytest.approx(np.log(abs(total) ** 2 + SILENCE), rel=1e-4)
    assert found.shape == (2, 2, 129, 700 // 64 + 1)


def test_a_sine_of_amplitude_one_has_the_power_one() -> None:
    x = (2 * math.pi * 1000.0 * torch.arange(4096, dtype=torch.float64) / 8000).sin().float()[None, None]
    log = log_power(x)[0, 0, :, 4:-4]
    assert torch.equal(log.argmax(0), torch.full((len(log[0]),), 64))
    assert torch.allclose(log.amax(0), torch.zeros(len(log[0])), atol=1e-3)


@pytest.mark.parametrize("sample_rate", [8000, 16000, 44100])
def test_the_bank_is_of_triangles_that_are_even_in_mel(sample_rate: int) -> None:
    bank = mel_bank(sample_rate).double().numpy()
    top = 2595 * math.log10(1 + sample_rate / 2 / 700)
    for band, weight in enumerate(bank):
        for place, found in enumerate(weight):
            hertz = place * sample_rate / 512
            corners = [700 * (10 ** (top * (band + corner) / (BANDS + 1) / 2595) - 1) for corner in range(3)]
            expected = np.interp(hertz, corners, [0.0, 1.0, 0.0], left=0.0, right=0.0)
            assert found == pytest.approx(expected, abs=1e-6)
    # Between the first tip and the last one all frequencies count alike.
    hertz = np.arange(257) * sample_rate / 512
    between = (hertz > 700 * (10 ** (top / (BANDS + 1) / 2595) - 1)) & (
        hertz < 700 * (10 ** (top * BANDS / (BANDS + 1) / 2595) - 1)
    )
    tips = 2595 * np.log10(1 + hertz / 700) / top * (BANDS + 1)
    assert (bank.sum(0)[between] > 0.9).all()
    assert (np.abs(bank.argmax(0)[between] + 1 - tips[between]) < 1).all()


def test_windows_beyond_the_limit_are_averaged_before_the_logarithm() -> None:
    x = torch.randn(1, 1, 128 * 99, generator=torch.Generator().manual_seed(0))
    whole = log_mel(x, sample_rate=8000, windows=1000).exp() - SILENCE
    halved = log_mel(x, sample_rate=8000, windows=64).exp() - SILENCE
    assert (whole.shape[-1], halved.shape[-1]) == (100, 50)
    assert torch.allclose(halved, (whole[..., ::2] + whole[..., 1::2]) / 2, rtol=1e-4)
    third = log_mel(x, sample_rate=8000, windows=34).exp() - SILENCE
    assert torch.allclose(third[..., 33], whole[..., 99], rtol=1e-4)


def test_the_summary_is_mean_and_deviation_over_time() -> None:
    x = torch.randn(3, 2, 2000, generator=torch.Generator().manual_seed(0))
    log = log_power(x).double()
    found = summary(x).double()
    assert found.shape == (3, 2 * 2 * 257)
    assert torch.allclose(found[1, 257 + 7], log[1, 1, 7].mean(), rtol=1e-5)
    assert torch.allclose(found[1, 2 * 257 + 257 + 7], log[1, 1, 7].std(), rtol=1e-5)


def test_features_of_audio_rank_what_is_wrong_with_sounds(data: Data, faults: dict[str, Tensor]) -> None:
    values = {name: measured(fd_self.Metric(), Split(x=x), data).value for name, x in faults.items()}
    assert list(values.values()) == sorted(values.values())
    assert values["real"] < values["noisy"] / 10 < values["white"] / 10


def test_a_missing_class_is_seen(data: Data) -> None:
    """By the distance, and by coverage: nothing falls where a quarter of the rows lies."""
    assert data.train.labels is not None
    three = Split(x=data.train.x[data.train.labels != 2])
    whole, lost = (measured(fd_self.Metric(), own, data).value for own in (data.train, three))
    assert lost > 5 * whole
    covered, fewer = (measured(coverage.Metric(), own, data).value for own in (data.train, three))
    assert covered - 0.3 < fewer < covered - 0.15


def test_a_copy_of_the_training_rows_is_told_from_rows_that_no_model_saw(data: Data) -> None:
    train, test = (measured(authenticity.Metric(), split, data).value for split in (data.train, data.test))
    assert train == 0.0
    assert 0.35 < test < 0.65
    train, test = (measured(nearest_train.Metric(), split, data).value for split in (data.train, data.test))
    assert train > test + 0.05


def test_without_labels_features_are_learned_from_turned_spectra(data: Data, faults: dict[str, Tensor]) -> None:
    """Backwards a short organ is hardly another one, so not all turns can be told."""
    parts = {name: Split(x=split.x) for name, split in data.splits()}
    plain = replace(data, sha256=content_hash(parts), **parts)
    extractor = features_of(plain).extract
    assert isinstance(extractor, Extractor)
    upright = extractor.pictures(plain.test.x)
    for turn, axes in enumerate(((), (3,), (2,), (2, 3))):
        told = extractor.classifier.classes(extractor.classifier(upright.flip(axes)).relu()).argmax(1)
        assert float((told == turn).double().mean()) > 0.8
    values = [measured(fd_self.Metric(), Split(x=x), plain).value for x in faults.values()]
    assert values == sorted(values)


def test_features_do_not_depend_on_how_many_rows_are_shown_at_once(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    extract = features_of(data).extract
    whole = extract(data.test.x[:50])
    monkeypatch.setattr(_samples, "CHUNK_ROWS", 7)
    assert torch.allclose(extract(data.test.x[:50]), whole, rtol=1e-4, atol=1e-5)


def test_pictures_are_standardized_and_those_of_long_sounds_are_no_larger() -> None:
    noise = Split(x=torch.randn(8, 1, 128 * 150, generator=torch.Generator().manual_seed(0)))
    pictures = _pictures.pictures_of(replace(instruments.load(rows=4, samples=512), train=noise))
    shown = pictures(noise.x).double()
    assert shown.shape == (8, *pictures.shape) == (8, 1, BANDS, 51)
    assert float(shown.mean()) == pytest.approx(0.0, abs=1e-5)
    assert float(shown.std()) == pytest.approx(1.0, rel=1e-5)


def test_sounds_too_short_for_a_spectrum_are_compared_by_their_numbers_or_refused(data: Data) -> None:
    parts = {name: Split(x=split.x[:, :, :500]) for name, split in data.splits()}
    cut = replace(data, sha256=content_hash(parts), **parts)
    with pytest.raises(
        ValueError, match=r"'fd_self' needs images .* or audio .* of at least 512 samples, .* 500\]: cho"
    ):
        prepare(fd_self.Metric(), cut)
    assert features_of(cut).train.shape == (600, 500)


def test_the_spectral_distance_ranks_what_is_wrong_with_sounds(data: Data, faults: dict[str, Tensor]) -> None:
    values = {name: measured(stft_distance.Metric(), Split(x=x[:400]), data).value for name, x in faults.items()}
    assert values["real"] < values["hiss"] < values["noisy"] < values["white"]
    assert values["real"] < values["spread"] / 3


def test_the_spectral_distance_is_the_mean_of_its_resolutions(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = Split(x=0.5 * data.train.x[:300])
    whole = measured(stft_distance.Metric(), quiet, data).value
    each = []
    for window in stft_distance.WINDOWS:
        monkeypatch.setattr(stft_distance, "WINDOWS", (window,))
        each.append(measured(stft_distance.Metric(), quiet, data).value)
    assert len(set(each)) == 3
    assert whole == pytest.approx(sum(each) / 3, rel=1e-6)


def test_directions_are_drawn_once_a_resolution(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counted(numbers: int) -> Tensor:
        drawn.append(numbers)
        return unit_directions(numbers)

    whole = stft_distance._projected(data.train.x[:20])
    monkeypatch.setattr(stft_distance, "unit_directions", counted)
    monkeypatch.setattr(_samples, "CHUNK_ROWS", 7)
    # Spectra are taken in single precision, and rounded by how many rows are transformed at once.
    torch.testing.assert_close(stft_distance._projected(data.train.x[:20]), whole, rtol=1e-4, atol=1e-4)
    assert len(drawn) == len(stft_distance.WINDOWS)


@pytest.mark.parametrize(("most", "times"), [(10**9, 1), (0, 4)])
def test_an_extractor_shows_pictures_that_were_made_once_if_they_fit(
    monkeypatch: pytest.MonkeyPatch, most: int, times: int
) -> None:
    """A picture for each of 3 steps, and one for the features of all rows; or all of them at once, before."""
    made: list[int] = []
    of_rows = _pictures.Spectrograms.__call__

    def counted(pictures: _pictures.Spectrograms, x: Tensor) -> Tensor:
        made.append(len(x))
        return of_rows(pictures, x)

    monkeypatch.setattr(_pictures.Spectrograms, "__call__", counted)
    monkeypatch.setattr(_features, "STEPS", 3)
    monkeypatch.setattr(_features, "MOST_BYTES", most)
    data = short(60)
    found = train_extractor(data)
    assert len(made) == times
    monkeypatch.setattr(_features, "MOST_BYTES", 10**9 - most)
    assert torch.equal(found(data.validation.x), train_extractor(data)(data.validation.x))


def test_the_spectral_distance_is_in_nats() -> None:
    """Noise that is twice as strong has log 4 more power in every bin, at any time and for every window."""
    x = 0.2 * torch.randn(300, 1, 2048, generator=torch.Generator().manual_seed(0))
    louder = along(2.0 * x, x)
    assert louder == pytest.approx(math.log(4.0) * mean_projection(), rel=0.1)


def along(samples: Tensor, rows: Tensor) -> float:
    found = stft_distance.Metric().measure(Replay(Split(x=samples)), Split(x=rows), torch.Generator().manual_seed(0))
    return found.value


def mean_projection() -> float:
    """How far the same step in every number leads along a direction, in the mean over directions: E|N(0, 1)|."""
    return math.sqrt(2.0 / math.pi)


def test_clipping_and_offset_are_what_they_say(data: Data) -> None:
    x = torch.zeros(4, 1, 1024)
    x[0, 0, :256] = 1.0
    x[1, 0, :512] = -0.9995
    x[2, 0, :] = 0.99
    rows = Split(x=x)
    assert measured(clipping.Metric(), rows, data).value == pytest.approx((0.25 + 0.5) / 4)
    # A sound up and another one down do not cancel.
    assert measured(dc_offset.Metric(), rows, data).value == pytest.approx((0.25 + 0.49975 + 0.99) / 4, rel=1e-6)
    two = replace(data, **{name: Split(x=split.x.repeat(1, 2, 1)) for name, split in data.splits()})
    stereo = Split(x=torch.cat([x, -x], 1))
    assert measured(dc_offset.Metric(), stereo, two).value == pytest.approx((0.25 + 0.49975 + 0.99) / 4, rel=1e-6)
    assert measured(clipping.Metric(), data.test, data).value == 0.0


def test_a_classifier_of_real_sounds_recognizes_others_and_not_what_is_wrong(
    data: Data, faults: dict[str, Tensor]
) -> None:
    metric = trts.Metric()
    labels = data.train.labels
    assert labels is not None
    assert measured(metric, data.test, data).value > 0.95
    assert measured(metric, Split(x=faults["hiss"], labels=labels), data).value > 0.9
    assert measured(metric, Split(x=faults["white"], labels=labels), data).value == pytest.approx(0.25, abs=0.02)
    assert measured(metric, Split(x=data.train.x, labels=(labels + 1) % 4), data).value < 0.02


def test_the_classifier_is_trained_once_a_process_and_data(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(trts.Metric(), data)
    monkeypatch.setattr(trts, "Classifier", lambda *_, **__: pytest.fail("trained twice"))
    prepare(trts.Metric(), short())


def test_synthetic_sounds_teach_a_classifier_of_spectra(data: Data) -> None:
    """Where a sound begins is no matter to a spectrum; trees on its numbers would have to see each beginning."""
    generator = torch.Generator().manual_seed(0)
    shifted = {}
    for name, split in data.splits():
        begin = torch.randint(1024, (len(split), 1, 1), generator=generator)
        moved = split.x.gather(2, (begin + torch.arange(1024)) % 1024)
        shifted[name] = Split(x=moved, labels=split.labels)
    moved_data = replace(data, sha256=content_hash(shifted), **shifted)
    trees = tstr.Metric().measure(Replay(shifted["train"]), shifted["validation"], generator).value
    assert measured(tstr.Metric(), shifted["train"], moved_data).value > max(0.9, trees + 0.1)


def test_images_are_recognized_by_trees() -> None:
    images = digits.load()
    assert measured(trts.Metric(), images.test, images).value > 0.94


def test_sounds_of_one_class_are_told_to_be_of_it(data: Data) -> None:
    one = {name: Split(x=split.x[::4], labels=torch.zeros(len(split.x[::4]), dtype=torch.int64)) for name, split in
           data.splits()}  # fmt: skip
    alike = replace(data, sha256=content_hash(one), **one)
    assert measured(trts.Metric(), alike.test, alike).value == 1.0


@pytest.mark.parametrize("name", ["stft_distance", "clipping", "dc_offset", "trts"])
def test_what_is_no_sound_or_has_no_labels_is_refused_in_words(name: str, data: Data) -> None:
    metric = plugins.load("metrics", name)
    images = digits.load()
    images = replace(images, **{part: Split(x=split.x) for part, split in images.splits()})
    said = refusal(metric, Gan, images)
    assert said is not None
    assert f"the metric {name!r} needs {'labels' if name == 'trts' else 'audio [channels, samples]'}" in said
    with pytest.raises(ValueError, match=f"the metric '{name}' needs .*: choose another metric"):
        prepare(metric(), images)
    assert refusal(metric, Gan, data) is None


@pytest.mark.parametrize("name", ["stft_distance", "clipping", "dc_offset", "trts", "tstr", "fd_self"])
def test_samples_that_are_not_finite_give_nan_and_no_error(name: str, data: Data) -> None:
    x = data.train.x.clone()
    x[5, 0, 3] = math.nan
    found = measured(plugins.load("metrics", name)(), Split(x=x, labels=data.train.labels), data)
    assert math.isnan(found.value)
    assert math.isnan(found.standard_error)
