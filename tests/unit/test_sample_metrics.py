"""The metrics of samples against rows: each against its definition written out, and what all of them keep."""

import itertools
import math
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from trainables.data import digits, ring
from trainables.data._data import Data, Split, content_hash
from trainables.metrics import (
    _jackknife,
    _mmd,
    _neighbors,
    _samples,
    _sliced,
    authenticity,
    coverage,
    density,
    kid,
    mmd,
    nearest_train,
    sliced_wasserstein,
)
from trainables.metrics._comparison import Comparison
from trainables.metrics._mmd import squared_mmd
from trainables.metrics._neighbors import inside, nearest, neighborhood
from trainables.metrics._samples import Replay

ON_IMAGES = ("fd_self", "kid")
ON_ALL = ("mmd", "sliced_wasserstein", "density", "coverage", "authenticity", "nearest_train")


def metric_of(name: str) -> Comparison:
    found: Comparison = import_module(f"trainables.metrics.{name}").Metric()
    return found


def normal(rows: int, features: int = 3, *, seed: int = 0) -> Tensor:
    return torch.randn(rows, features, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def line(*places: float) -> Tensor:
    return torch.tensor(places, dtype=torch.float64)[:, None]


def points(train: Tensor, held_out: Tensor) -> Data:
    parts = {
        "train": Split(x=train.float()),
        "validation": Split(x=held_out.float()),
        "test": Split(x=held_out.float()),
    }
    return replace(ring.load(rows=8), sha256=content_hash(parts), **parts)


def squared_mmd_in_words(rows: Tensor, samples: Tensor, kernel: _mmd.Kernel) -> float:
    def between(left: Tensor, right: Tensor) -> float:
        return float(kernel(left[None], right[None]))

    within = [between(a, b) for a, b in itertools.permutations(rows, 2)]
    drawn = [between(a, b) for a, b in itertools.permutations(samples, 2)]
    across = [between(a, b) for a, b in itertools.product(rows, samples)]
    return float(np.mean(within) + np.mean(drawn) - 2 * np.mean(across))


def test_squared_mmd_is_that_of_the_definition_and_so_is_its_jackknife(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_mmd, "BLOCK_ROWS", 4)
    rows, samples = normal(9), normal(25, seed=1) + 0.3
    found = squared_mmd(rows, samples, kid.cubic)
    assert found.value == pytest.approx(squared_mmd_in_words(rows, samples, kid.cubic), rel=1e-12)
    without = [
        squared_mmd_in_words(rows, torch.cat([samples[:begin], samples[end:]]), kid.cubic)
        for begin, end in _jackknife.cuts(25)
    ]
    deviations = np.asarray(without) - np.mean(without)
    assert found.standard_error == pytest.approx(math.sqrt((len(without) - 1) * np.mean(deviations**2)), rel=1e-9)


def test_squared_mmd_is_without_bias() -> None:
    values = [squared_mmd(normal(20, seed=2 * n), normal(20, seed=2 * n + 1), kid.cubic).value for n in range(80)]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(len(values))


def test_the_cubic_kernel_takes_features_that_are_divided_by_the_root_of_their_number() -> None:
    raw = normal(4, 64)
    scaled = raw / 8
    assert torch.allclose(kid.cubic(scaled, scaled), (raw @ raw.mT / 64 + 1) ** 3, rtol=1e-12)


def test_mmd_sums_three_gaussian_kernels_about_the_median_distance_of_the_training_rows() -> None:
    train, rows, samples = normal(51), normal(7, seed=1), normal(25, seed=2) * 2
    squares = [float((a - b).square().sum()) for a, b in itertools.combinations(train, 2)]
    middle = float(np.sort(squares)[(len(squares) - 1) // 2])

    def kernel(left: Tensor, right: Tensor) -> Tensor:
        square = (left - right).square().sum(-1)
        return sum((-square / (2 * share * middle)).exp() for share in (0.25, 1.0, 4.0))  # type: ignore[return-value]

    found = mmd.Metric().compare(rows, samples, train)
    assert found.value == pytest.approx(squared_mmd_in_words(rows, samples, kernel), rel=1e-9)


def test_sliced_wasserstein_of_shifted_rows_is_the_mean_length_of_the_shift_along_the_directions() -> None:
    rows, shift = normal(30), torch.tensor([3.0, 0.0, -4.0], dtype=torch.float64)
    directions = _sliced.unit_directions(3)
    assert torch.allclose(directions.norm(dim=1), torch.ones(128, dtype=torch.float64))
    found = sliced_wasserstein.Metric().compare(rows, rows + shift, rows)
    assert found.value == pytest.approx(float((directions @ shift).abs().mean()), rel=1e-9)
    # A direction of a sphere is as long along an axis as any other: half of the length, in three dimensions.
    assert found.value == pytest.approx(2.5, rel=0.15)


def test_the_jackknife_of_sliced_wasserstein_leaves_out_parts_of_the_samples() -> None:
    rows, samples = normal(30), normal(45, seed=1)
    without = []
    for begin, end in _jackknife.cuts(45):
        left = torch.cat([samples[:begin], samples[end:]])
        without.append(sliced_wasserstein.Metric().compare(rows, left, rows).value)
    found = sliced_wasserstein.Metric().compare(rows, samples, rows)
    assert found.standard_error == pytest.approx(_jackknife.jackknife_error(without), rel=1e-9)


def test_quantiles_are_those_of_numpy() -> None:
    rows = normal(37).sort(0).values.mT
    shares = (np.arange(400) + 0.5) / 400
    assert np.allclose(_sliced.quantiles(rows), np.quantile(rows.numpy(), shares, axis=1).T, rtol=1e-12)


def test_sliced_wasserstein_on_a_line_is_the_wasserstein_distance() -> None:
    rows, samples = normal(2000, 1), 1.5 * normal(3000, 1, seed=1).exp()
    found = sliced_wasserstein.Metric().compare(rows, samples, rows)
    expected = scipy.stats.wasserstein_distance(rows[:, 0], samples[:, 0])
    assert found.value == pytest.approx(expected, rel=0.01)


def test_density_and_coverage_are_those_of_their_definition() -> None:
    rows, samples = normal(40), 1.3 * normal(40, seed=1)
    balls = np.zeros((40, 40), dtype=bool)
    for row, center in enumerate(rows):
        others = sorted(float((center - other).norm()) for place, other in enumerate(rows) if place != row)
        balls[row] = [float((center - sample).norm()) < others[4] for sample in samples]
    assert density.Metric().compare(rows, samples, rows).value == pytest.approx(balls.sum(0).mean() / 5, rel=1e-12)
    assert coverage.Metric().compare(rows, samples, rows).value == pytest.approx(balls.any(1).mean(), rel=1e-12)


def test_as_many_fresh_rows_have_the_density_and_coverage_of_theory() -> None:
    """1 and 1 - (n - 1) ... (n - 5) / ((2 n - 1) ... (2 n - 5)), about .97, whatever the distribution."""
    found = [
        [metric_of(name).compare(normal(200, seed=n), normal(200, seed=n + 50), normal(1)).value for n in range(50)]
        for name in ("density", "coverage")
    ]
    expected = 1 - math.prod((200 - k) / (400 - k) for k in range(1, 6))
    assert np.mean(found[0]) == pytest.approx(1.0, abs=0.02)
    assert np.mean(found[1]) == pytest.approx(expected, abs=0.004)


def test_a_sample_is_authentic_beyond_the_nearest_neighbor_of_its_nearest_training_row() -> None:
    train = line(0.0, 1.0, 3.0)
    # 0 and 1 have a neighbor at 1, and 3 has one at 2.
    samples = line(0.0, -0.9, -1.0, -1.1, 1.4, 1.9, 2.1, 4.9, 5.1)
    found = authenticity.Metric().compare(line(0.0), samples, train)
    assert found.value == pytest.approx(2 / 9)
    assert found.standard_error == pytest.approx(math.sqrt(2 / 9 * 7 / 9 / 8))


@pytest.mark.parametrize(("train_rows", "rows"), [(7, 3), (3, 7), (4, 4)])
def test_nearest_train_is_the_mean_over_all_choices_of_equally_many_rows(train_rows: int, rows: int) -> None:
    train, held_out, samples = normal(train_rows), normal(rows, seed=1), normal(20, seed=2)
    count = min(train_rows, rows)
    expected = [
        float((sample - a).norm(dim=1).min() < (sample - b).norm(dim=1).min())
        for a, b in itertools.product(
            map(torch.stack, itertools.combinations(train, count)),
            map(torch.stack, itertools.combinations(held_out, count)),
        )
        for sample in samples
    ]
    found = nearest_train.Metric().compare(held_out, samples, train)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-9)


def test_nearest_train_of_copies_and_of_fresh_rows() -> None:
    train, held_out = normal(400), normal(100, seed=1)
    copies = nearest_train.Metric().compare(held_out, train, train)
    assert copies.value == pytest.approx((1 + 100 / 400) / 2, abs=0.05)
    fresh = nearest_train.Metric().compare(held_out, normal(2000, seed=2), train)
    assert fresh.value == pytest.approx(0.5, abs=0.06)
    assert nearest_train.Metric().compare(held_out + 100, train, train).value == 1.0
    assert nearest_train.Metric().compare(held_out, train, train + 100).value == 0.0


@pytest.mark.parametrize("entries", [1, 37, 10**6])
def test_neighbors_do_not_depend_on_the_size_of_a_block(monkeypatch: pytest.MonkeyPatch, entries: int) -> None:
    rows, others = normal(30), normal(50, seed=1)
    monkeypatch.setattr(_neighbors, "BLOCK_ENTRIES", entries)
    distances, which = nearest(others, rows, count=2)
    exact = (others[:, None] - rows).norm(dim=-1)
    assert torch.equal(which, exact.argsort(1)[:, :2])
    assert torch.allclose(distances, exact.sort(1).values[:, :2])
    radii = neighborhood(rows, neighbors=3)
    balls, held = inside(others, rows, radii)
    assert torch.equal(balls, (exact < radii).sum(1))
    assert torch.equal(held, (exact < radii).sum(0))


def test_blocks_stay_small_where_rows_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    plain = torch.cdist

    def watched(left: Tensor, right: Tensor, **how: str) -> Tensor:
        seen.append(len(left) * len(right))
        return plain(left, right, **how)

    monkeypatch.setattr(torch, "cdist", watched)
    rows = normal(3000)
    for name in ("mmd", "density", "coverage", "authenticity", "nearest_train"):
        metric_of(name).compare(rows, rows[:1000], rows)
    # Of 8 bytes each, and a kernel needs a few such blocks at a time.
    assert max(seen) <= 2_000_000


@pytest.fixture(scope="module")
def data() -> Data:
    return digits.load()


@pytest.mark.parametrize("name", ON_IMAGES + ON_ALL)
def test_the_value_does_not_depend_on_the_size_of_a_pass(
    data: Data, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    metric = metric_of(name)
    metric.prepare(data)
    if metric.samples is not None:
        metric.samples = 400  # type: ignore[misc]
    found = []
    for rows in (1, 7, 250):
        monkeypatch.setattr(_samples, "CHUNK_ROWS", rows)
        found.append(metric.measure(Replay(data.test), Split(x=data.validation.x), torch.Generator().manual_seed(0)))
    for other in found[:2]:
        # float32 features, each summed in another order.
        assert other.value == pytest.approx(found[2].value, rel=1e-4, abs=1e-6)
        assert other.sample_size == found[2].sample_size


@pytest.mark.parametrize("name", ON_IMAGES + ON_ALL)
def test_samples_that_are_not_finite_give_nan_and_no_error(data: Data, name: str) -> None:
    metric = metric_of(name)
    metric.prepare(data)
    for bad in (math.nan, math.inf):
        x = data.train.x.float()
        x[3, 0, 2, 2] = bad
        found = metric.measure(Replay(Split(x=x[:10])), data.validation, torch.Generator().manual_seed(0))
        assert math.isnan(found.value)
        assert math.isnan(found.standard_error)


@pytest.mark.parametrize("name", ON_IMAGES + ON_ALL)
def test_what_it_cannot_measure_is_refused(data: Data, name: str) -> None:
    metric = metric_of(name)
    with pytest.raises(ValueError, match=f"the metric '{name}' needs the data before it measures"):
        metric.measure(Replay(data.train), data.validation, torch.Generator())
    few = metric.fewest_rows - 1
    with pytest.raises(ValueError, match=f"the metric '{name}' needs at least {few + 1} rows .* there are {few}: "):
        metric.prepare(replace(data, validation=Split(x=data.validation.x[:few])))
    metric.prepare(data)
    with pytest.raises(ValueError, match=f"the metric '{name}' needs at least {few + 1} rows .* there are {few}: "):
        metric.measure(Replay(data.train), Split(x=data.validation.x[:few]), torch.Generator())


@pytest.mark.parametrize("name", ON_IMAGES)
def test_points_are_refused_where_features_are_learned(name: str) -> None:
    with pytest.raises(ValueError, match=f"the metric '{name}' needs images .* 'ring' holds points of the shape"):
        metric_of(name).prepare(ring.load(rows=8))


@pytest.mark.parametrize("name", ON_ALL)
def test_points_are_measured_by_their_own_numbers(name: str) -> None:
    train, held_out = normal(200), normal(100, seed=1)
    data = points(train, held_out)
    metric = metric_of(name)
    metric.prepare(data)
    fresh, far = (
        metric.measure(Replay(Split(x=x.float())), data.validation, torch.Generator().manual_seed(0)).value
        for x in (normal(1000, seed=2), 4 + normal(1000, seed=2))
    )
    # Beyond all rows nothing is a copy, and on which side a training row is nearest is chance.
    if name not in ("authenticity", "nearest_train"):
        assert (fresh < far) if metric.direction == "minimize" else (fresh > far)
    else:
        assert 0.3 < fresh < 0.8


@pytest.mark.parametrize("name", ON_IMAGES + ON_ALL)
def test_it_states_how_many_samples_it_takes(data: Data, name: str) -> None:
    metric = metric_of(name)
    metric.prepare(data)
    many = Split(x=data.test.x.repeat(9, 1, 1, 1))
    found = metric.measure(Replay(many), data.validation, torch.Generator().manual_seed(0))
    assert found.sample_size == {"fd_self": 4000, "kid": 2000, "mmd": 2000, "sliced_wasserstein": 2000}.get(
        name, 300 if name in ("density", "coverage") else 1000
    )
