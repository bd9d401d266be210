"""`forest_test` and `autocorrelation`: closed forms, and what they see of series with known faults."""

import math
from dataclasses import replace

import pytest
import torch
from series import Cases, data_of, share, shuffled, sines
from torch import Tensor

from trainables.data import digits, ring
from trainables.data._data import Split
from trainables.metrics import _samples, autocorrelation, forest_test
from trainables.metrics._metric import Metric, refusal
from trainables.metrics._samples import Replay
from trainables.models.gan import Model

METRICS: list[type[Metric]] = [autocorrelation.Metric, forest_test.Metric]
every_metric = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def moving(rows: int, *, weight: float, seed: int = 0) -> Tensor:
    """[N, 20, 1]: y_t = e_t + weight e_{t-1}."""
    e = noise(rows, 21, 1, seed=seed)
    return e[:, 1:] + weight * e[:, :-1]


def expected_of_moving(weight: float) -> Tensor:
    """[10]: from the covariance of the twenty steps, each less the mean of all."""
    neighbors = torch.diag(torch.ones(19, dtype=torch.float64), 1)
    covariance = (1 + weight**2) * torch.eye(20, dtype=torch.float64) + weight * (neighbors + neighbors.mT)
    centering = torch.eye(20, dtype=torch.float64) - 1 / 20
    centered = centering @ covariance @ centering
    return torch.stack([centered.diagonal(lag).mean() for lag in range(1, 11)]) / centered.diagonal().mean()


@pytest.mark.parametrize("weight", [0.0, 0.5, -1.0])
def test_the_autocorrelation_is_that_of_a_moving_average(weight: float) -> None:
    found = autocorrelation.autocorrelation(moving(20_000, weight=weight).double())
    # Each is a mean over 200,000 products or more, of unit variance and of few neighbors' dependence.
    assert torch.allclose(found, expected_of_moving(weight)[None], atol=0.01)


def test_the_autocorrelation_of_a_wave_is_a_wave_whatever_its_level_and_height() -> None:
    step, phase = torch.arange(24), 2 * torch.pi * torch.arange(40)[:, None] / 40
    wave = torch.sin(2 * torch.pi * step / 8 + phase).double()
    x = torch.stack([wave, 5.0 - 0.01 * wave, torch.full_like(wave, 3.0)], 2)
    found = autocorrelation.autocorrelation(x)
    lag = torch.arange(1, 13)
    assert torch.allclose(found[0], torch.cos(2 * torch.pi * lag / 8).double(), atol=1e-6)
    assert torch.allclose(found[1], found[0], atol=1e-6)
    # A feature that never changes has none.
    assert torch.equal(found[2], torch.zeros(12, dtype=torch.float64))


def test_the_difference_is_the_mean_over_features_and_lags() -> None:
    rows = torch.cat([moving(4000, weight=0.5), noise(4000, 20, 1, seed=1)], 2)
    fakes = noise(4000, 20, 2, seed=2)
    found = Cases(data=data_of("moving", rows, rows), samples={}).full(autocorrelation.Metric(), fakes)
    expected = float((expected_of_moving(0.5) - expected_of_moving(0.0)).abs().mean()) / 2
    # And each by what two means over 2000 series or more differ by.
    assert found.value == pytest.approx(expected, abs=0.01)


def test_the_standard_error_of_autocorrelation_is_that_of_other_draws() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = sines(4000, generator=generator)
    cases = Cases(data=data_of("sines", rows, rows), samples={})
    draws = [cases.full(autocorrelation.Metric(), sines(2000, highest=2.0, generator=generator)) for _ in range(30)]
    values = torch.tensor([draw.value for draw in draws])
    errors = torch.tensor([draw.standard_error for draw in draws])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.4)


def test_autocorrelation_sees_time_and_not_the_level_of_a_row() -> None:
    cases = share(0)
    found = cases.measured(autocorrelation.Metric(), "other half", "shuffled")
    assert 10 * found["other half"] < found["shuffled"]
    moved = cases.samples["other half"] + noise(512, 1, 6)
    assert cases.full(autocorrelation.Metric(), moved).value == pytest.approx(found["other half"], rel=1e-3)


def test_the_forest_is_at_chance_for_real_rows_and_far_from_it_for_others() -> None:
    cases = share(0)
    few = replace(cases, data=replace(cases.data, validation=Split(x=cases.data.validation.x[:200])))
    found = few.measured(forest_test.Metric(), "other half", "gaussian", "shuffled")
    # Four standard errors of an accuracy on 400.
    assert found["other half"] < 4 * 0.5 / math.sqrt(400)
    assert found["gaussian"] > 0.3
    assert found["shuffled"] > 0.3


@pytest.mark.slow
def test_the_forest_has_the_values_of_the_table() -> None:
    """.009, .391, .419 and .443, within .05: three standard errors of an accuracy of 500 rows and as many samples."""
    table = {"other half": 0.009, "gaussian": 0.391, "shuffled": 0.419, "noise .02": 0.443}
    draws = [share(seed).measured(forest_test.Metric(), *table) for seed in range(3)]
    for name, value in table.items():
        assert sum(found[name] for found in draws) / len(draws) == pytest.approx(value, abs=0.05)


def test_the_forest_sees_the_order_of_steps_where_each_step_by_itself_is_right() -> None:
    """Every step of a sine has one distribution, so shuffled ones differ from it by their differences alone."""
    generator = torch.Generator().manual_seed(0)
    train, held_out = (sines(100, generator=generator) for _ in range(2))
    cases = Cases(data=data_of("sines", train, held_out), samples={})
    found = cases.full(forest_test.Metric(), shuffled(train, generator=generator))
    assert found.sample_size == 100
    assert found.value > 0.3


def test_a_sample_that_comes_again_is_asked_about_once() -> None:
    """Else a forest knew it from where it came first, and 80 real rows were told from others by that."""
    rows = noise(400, 8, 2)
    cases = Cases(data=data_of("noise", rows, rows[:200]), samples={})
    found = cases.full(forest_test.Metric(), noise(80, 8, 2, seed=1))
    assert found.sample_size == 80
    # Four standard errors of an accuracy on 160.
    assert found.value < 4 * 0.5 / math.sqrt(160)
    collapsed = cases.full(forest_test.Metric(), noise(49, 8, 2, seed=1))
    assert (collapsed.value, collapsed.sample_size) == (0.5, 49)


@every_metric
def test_it_does_not_depend_on_the_samples_a_pass(metric: type[Metric], monkeypatch: pytest.MonkeyPatch) -> None:
    rows, fakes = moving(60, weight=0.9), noise(100, 20, 1, seed=1)
    cases = Cases(data=data_of("moving", rows, rows), samples={})
    found = cases.full(metric(), fakes)
    monkeypatch.setattr(_samples, "CHUNK_ROWS", 7)
    assert cases.full(metric(), fakes) == found


@every_metric
def test_samples_that_are_not_finite_give_nan_and_no_error(metric: type[Metric]) -> None:
    rows = moving(60, weight=0.9)
    cases = Cases(data=data_of("moving", rows, rows), samples={})
    for value in (math.nan, math.inf):
        broken = rows.clone()
        broken[3, 2] = value
        assert math.isnan(cases.full(metric(), broken).value)


@every_metric
def test_levels_are_measured_like_numbers(metric: type[Metric]) -> None:
    levels = (4 * noise(120, 8, 3)).round().clamp(-8, 8) + 8
    found = Cases(data=data_of("numbers", levels, levels[:60]), samples={}).full(metric(), levels[60:])
    whole = levels.to(torch.uint8)
    again = Cases(data=data_of("levels", whole, whole[:60], levels=17), samples={}).full(metric(), whole[60:])
    assert again.value == pytest.approx(found.value, rel=1e-6)


@every_metric
def test_all_but_series_are_refused(metric: type[Metric]) -> None:
    for data in (ring.load(), digits.load()):
        why = str(refusal(metric, Model, data))
        assert f"the metric {metric.name!r} needs series [T, F] of at least 2 steps, and {data.name!r} holds" in why
        with pytest.raises(ValueError, match=f"the metric '{metric.name}' needs series"):
            metric().measure(Replay(data.train), data.validation, torch.Generator())


def test_too_few_rows_are_refused_by_the_forest() -> None:
    rows = noise(49, 8, 2)
    data = data_of("few", rows, rows)
    assert "at least 50 different rows to measure on, and there are 49" in str(refusal(forest_test.Metric, Model, data))
    for split in (rows, torch.cat([rows, rows])):
        with pytest.raises(ValueError, match="at least 50 different rows to measure on, and there are 49"):
            forest_test.Metric().measure(Replay(data.train), Split(x=split), torch.Generator())


def test_the_order_of_rows_does_not_matter_to_the_forest() -> None:
    rows, fakes = moving(90, weight=0.9), noise(100, 20, 1, seed=1)
    found = [
        Cases(data=data_of("moving", rows, held_out), samples={}).full(forest_test.Metric(), fakes)
        for held_out in (rows, rows.flip(0))
    ]
    assert found[0] == found[1]
    assert 0.05 < found[0].value < 0.45
