"""`fd_rocket`: kernels and pooling by hand, whitening, and what the distance sees of series with known faults."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from series import Cases, data_of, share, sines, waves
from torch import Tensor

from trainables.data import digit_rows, ring
from trainables.data._data import Split
from trainables.metrics import _samples, fd_rocket
from trainables.metrics._metric import refusal
from trainables.metrics._samples import Replay
from trainables.metrics.fd_rocket import Bank, Extractor, draw_kernels, fit_features
from trainables.models.gan import Model


def by_hand(bank: Bank, x_TF: Tensor) -> list[float]:
    """The pooled outputs of one series, kernels one after another, by the definition."""
    shares, largest, deviations = [], [], []
    steps, features = x_TF.shape
    for weights_FL in bank.weights:
        outputs = []
        reach = bank.dilation * (weights_FL.shape[1] - 1)
        for first in range(-bank.padding, steps + bank.padding - reach):
            taps = [(place, first + bank.dilation * place) for place in range(weights_FL.shape[1])]
            inside = [(place, step) for place, step in taps if 0 <= step < steps]
            outputs.append(
                sum(
                    float(weights_FL[f, place]) * float(x_TF[step, f])
                    for place, step in inside
                    for f in range(features)
                )
            )
        shares.append(sum(1 / (1 + math.exp(-8 * y)) for y in outputs) / len(outputs))
        largest.append(max(outputs))
        deviations.append(float(np.std(outputs)))
    return shares + largest + deviations


def test_pooled_outputs_are_those_of_the_definition() -> None:
    x = torch.randn(2, 12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    banks = draw_kernels(steps=12, features=3)
    outputs = 3 * fd_rocket.KERNELS
    plain = Extractor(
        banks=banks,
        low=-1.0,
        high=1.0,
        mean=torch.zeros(outputs, dtype=torch.float64),
        whitening=torch.eye(outputs, dtype=torch.float64),
    )
    expected = torch.tensor([[number for bank in banks for number in by_hand(bank, row)] for row in x])
    assert torch.allclose(plain(x), expected.double(), rtol=1e-5)


@pytest.mark.parametrize("steps", [7, 24, 300])
def test_kernels_are_drawn_as_defined(steps: int) -> None:
    banks = draw_kernels(steps=steps, features=2)
    kernels = [(kernel, bank) for bank in banks for kernel in bank.weights]
    assert len(kernels) == 100
    assert {kernel.shape[1] for kernel, _ in kernels} == {3, 5, 7}
    assert all(float(kernel.norm()) == pytest.approx(1.0) for kernel, _ in kernels)
    # Four standard deviations of a share of 100 about .7 and .5.
    assert sum(float(kernel.mean(1).abs().max()) < 1e-12 for kernel, _ in kernels) == pytest.approx(70, abs=18)
    assert sum(bank.padding > 0 for _, bank in kernels) == pytest.approx(50, abs=20)
    reaches = [bank.dilation * (kernel.shape[1] - 1) for kernel, bank in kernels]
    assert max(reaches) <= steps - 1
    assert all(bank.padding in (0, reach // 2) for (_, bank), reach in zip(kernels, reaches, strict=True))
    if steps > 7:
        assert max(reaches) > steps / 2


def test_kernels_are_the_same_each_time_and_draw_nothing_from_global_generators() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()
    first, second = (draw_kernels(steps=24, features=5) for _ in range(2))
    assert all(torch.equal(a.weights, b.weights) for a, b in zip(first, second, strict=True))
    assert np.array_equal(np.random.get_state()[1], before[0])
    assert torch.equal(torch.get_rng_state(), before[1])


@pytest.fixture(scope="module")
def sine_cases() -> Cases:
    return waves(0)


def test_features_of_the_training_rows_are_white(sine_cases: Cases) -> None:
    with torch.inference_mode():  # as a metric may be asked for from inside
        features = fit_features(sine_cases.data)
    train = features.extract(sine_cases.data.train.x)
    assert not train.is_inference()
    assert train.shape == (1000, 32)
    assert torch.equal(train, features.train)
    assert torch.allclose(train.mean(0), torch.zeros(32, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(torch.cov(train.mT), torch.eye(32, dtype=torch.float64) / 32, atol=1e-9)


def test_sines_are_ranked_by_what_is_wrong_with_them(sine_cases: Cases) -> None:
    """Noise of .02 is missed: it lies within what draws of real rows differ by."""
    found = sine_cases.measured(fd_rocket.Metric())
    assert abs(found["noise .02"] - found["fresh"]) < 0.01
    ranked = [found[name] for name in ("fresh", "noise .05", "up to 4.5", "up to 3", "gaussian")]
    assert ranked == sorted(ranked)
    # A copy of the training rows is as good as fresh rows: another metric must see it.
    assert found["copy of train"] < found["noise .05"]


@pytest.mark.slow
def test_sines_have_the_values_of_the_table() -> None:
    """Four draws; each within three standard deviations of a draw, as the table has them."""
    draws = [waves(seed).measured(fd_rocket.Metric()) for seed in range(1, 5)]
    mean = {name: sum(found[name] for found in draws) / len(draws) for name in draws[0]}
    assert mean["fresh"] == pytest.approx(0.0275, abs=3 * 0.0046)
    assert mean["noise .02"] == pytest.approx(0.0277, abs=3 * 0.0046)
    assert mean["noise .05"] == pytest.approx(0.055, abs=3 * 0.006)
    assert mean["up to 4.5"] == pytest.approx(0.085, abs=3 * 0.017)
    assert mean["up to 3"] == pytest.approx(0.346, abs=3 * 0.009)
    assert mean["gaussian"] == pytest.approx(0.927, abs=3 * 0.039)


def test_windows_of_prices_are_ranked_by_what_is_wrong_with_them() -> None:
    found = share(0).measured(fd_rocket.Metric())
    ranked = [found[name] for name in ("other half", "first 70 %", "noise .02", "gaussian", "shuffled")]
    assert ranked == sorted(ranked)


@pytest.mark.slow
def test_windows_of_prices_keep_the_ranks_of_the_table_over_four_halvings() -> None:
    """The table has .046, .100, .127, .207 and .405. Real rows are met; kernels of another draw see faults more."""
    draws = [share(seed).measured(fd_rocket.Metric()) for seed in range(4)]
    for found in draws:
        ranked = [found[name] for name in ("other half", "first 70 %", "noise .02", "gaussian", "shuffled")]
        assert ranked == sorted(ranked)
    mean = {name: sum(found[name] for found in draws) / len(draws) for name in draws[0]}
    assert mean["other half"] == pytest.approx(0.046, abs=3 * 0.004)
    assert mean["first 70 %"] == pytest.approx(0.100, abs=3 * 0.009)
    for name, value in {"noise .02": 0.127, "gaussian": 0.207, "shuffled": 0.405}.items():
        assert value < mean[name] < 3 * value


def test_levels_are_scaled_to_the_unit_interval_about_zero() -> None:
    data = digit_rows.load()
    train, held_out = (split.x.float() / 8 - 1 for split in (data.train, data.validation))
    scaled = Cases(data=data_of("scaled digits", train, held_out), samples={})
    of_levels = Cases(data=data, samples={}).full(fd_rocket.Metric(), data.test.x)
    of_numbers = scaled.full(fd_rocket.Metric(), data.test.x.float() / 8 - 1)
    assert of_levels.value == pytest.approx(of_numbers.value, rel=1e-9)


@pytest.mark.parametrize("rows", [1, 7])
def test_the_value_does_not_depend_on_the_rows_a_pass(
    sine_cases: Cases, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = replace(sine_cases.data, validation=Split(x=sine_cases.data.validation.x[:200]))
    samples = sine_cases.samples["noise .05"]
    monkeypatch.setattr(fd_rocket.Metric, "samples", 300)
    found = Cases(data=few, samples={}).full(fd_rocket.Metric(), samples)
    monkeypatch.setattr(_samples, "CHUNK_ROWS", rows)
    again = Cases(data=few, samples={}).full(fd_rocket.Metric(), samples)
    assert again.value == pytest.approx(found.value, rel=1e-9)


def test_features_are_taken_once_a_process_and_data(sine_cases: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    fd_rocket.Metric().prepare(sine_cases.data)
    monkeypatch.setattr(fd_rocket, "fit_features", lambda data: pytest.fail("taken twice"))
    fd_rocket.Metric().prepare(replace(sine_cases.data))


def test_samples_that_are_not_finite_give_nan_and_no_error(sine_cases: Cases) -> None:
    broken = sine_cases.samples["fresh"].clone()
    for value in (math.nan, math.inf):
        broken[3, 2] = value
        assert math.isnan(sine_cases.full(fd_rocket.Metric(), broken).value)


def test_what_it_cannot_measure_is_refused(sine_cases: Cases) -> None:
    data, metric = sine_cases.data, fd_rocket.Metric()
    with pytest.raises(ValueError, match="needs the data before it measures"):
        metric.measure(Replay(data.train), data.validation, torch.Generator())
    short = data_of("short", data.train.x[:, :6], data.validation.x[:, :6])
    few = replace(data, validation=Split(x=data.validation.x[:149]))
    for refused, why in (
        (ring.load(), r"needs series \[T, F\] of at least 7 steps, and 'ring' holds points of the shape \[2\]"),
        (short, r"at least 7 steps, and 'short' holds series of the shape \[6, 1\]"),
        (few, "at least 150 rows to measure on, and there are 149"),
    ):
        with pytest.raises(ValueError, match=why):
            metric.prepare(refused)
        assert refusal(metric, Model, refused) is not None
    with pytest.raises(ValueError, match="series that differ"):
        metric.prepare(data_of("constant", torch.ones(200, 30, 1), data.validation.x))
    metric.prepare(data)
    with pytest.raises(ValueError, match="at least 150 rows to measure on, and there are 149"):
        metric.measure(Replay(data.train), few.validation, torch.Generator())


def test_series_of_seven_steps_are_measured() -> None:
    generator = torch.Generator().manual_seed(0)
    train, held_out, fresh = (sines(300, generator=generator)[:, :7] for _ in range(3))
    cases = Cases(
        data=data_of("seven", train, held_out), samples={"fresh": fresh, "still": fresh[:, :1].expand(-1, 7, 1)}
    )
    found = cases.measured(fd_rocket.Metric())
    assert found["fresh"] < found["still"]
