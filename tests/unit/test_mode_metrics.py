"""`modes`, `reverse_kl` and `high_quality` on generators made by hand, for which the answer is known; the mixtures."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainables.data import grid, ring
from trainables.data._data import Data, Split
from trainables.metrics import high_quality, modes, reverse_kl
from trainables.metrics._metric import Measurement, Metric
from trainables.metrics._modes import NEAR, SAMPLES

METRICS = (modes.Metric, reverse_kl.Metric, high_quality.Metric)


class ByHand:
    """A generator that places each of its samples as a function of the sample's number."""

    def __init__(self, place: Callable[[Tensor], Tensor]) -> None:
        self.place = place

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"number": torch.arange(rows)}

    def sample(self, noise: dict[str, Tensor]) -> Tensor:
        return self.place(noise["number"])


def ring_means(data: Data) -> Tensor:
    return torch.stack([data.train.x[data.train.labels == label].mean(0) for label in range(8)])


def measured(metric: type[Metric], place: Callable[[Tensor], Tensor], *, split: Split | None = None) -> Measurement:
    rows = ring.load().validation if split is None else split
    return metric().measure(ByHand(place), rows, torch.Generator())  # type: ignore[arg-type]


def on(*, shares: list[int]) -> Callable[[Tensor], Tensor]:
    """Samples exactly on the modes, in these shares."""
    means = ring_means(ring.load())
    labels = torch.repeat_interleave(torch.arange(8), torch.tensor(shares))
    return lambda number: means[labels[number % len(labels)]]


def test_even_samples_hit_all_modes_evenly() -> None:
    place = on(shares=[1] * 8)
    assert measured(modes.Metric, place).value == 8.0
    assert measured(high_quality.Metric, place).value == 1.0
    # 2500 samples over 8 modes: 312 or 313 each.
    assert measured(reverse_kl.Metric, place).value == pytest.approx(0.0, abs=1e-5)


def test_a_single_mode_has_the_whole_divergence() -> None:
    place = on(shares=[1, 0, 0, 0, 0, 0, 0, 0])
    assert measured(modes.Metric, place).value == 1.0
    assert measured(reverse_kl.Metric, place).value == pytest.approx(math.log(8), rel=1e-12)


def test_half_of_the_modes_have_a_divergence_of_log_two() -> None:
    place = on(shares=[1, 0] * 4)
    assert measured(modes.Metric, place).value == 4.0
    assert measured(reverse_kl.Metric, place).value == pytest.approx(math.log(2), rel=1e-9)


def test_uneven_shares_have_the_divergence_of_their_entropy() -> None:
    shares = [16, 4, 0, 0, 0, 0, 4, 1]
    found = measured(reverse_kl.Metric, on(shares=shares))
    p = torch.tensor(shares, dtype=torch.float64) / 25
    entropy = -float(torch.special.xlogy(p, p).sum())
    assert found.value == pytest.approx(math.log(8) - entropy, rel=1e-9)


def test_its_standard_error_is_that_of_the_entropy_of_a_multinomial() -> None:
    shares = torch.tensor([16, 4, 0, 0, 0, 0, 4, 1], dtype=torch.float64) / 25
    found = measured(reverse_kl.Metric, on(shares=[16, 4, 0, 0, 0, 0, 4, 1]))
    counts = torch.distributions.Multinomial(SAMPLES, probs=shares)
    torch.manual_seed(0)
    p = counts.sample((2000,)) / SAMPLES
    entropies = -torch.special.xlogy(p, p).sum(1)
    assert found.standard_error == pytest.approx(float(entropies.std()), rel=0.1)


@pytest.mark.parametrize(("distance", "share"), [(0.9 * NEAR, 1.0), (1.1 * NEAR, 0.0)])
def test_high_quality_ends_at_three_standard_deviations(distance: float, share: float) -> None:
    place = on(shares=[1] * 8)
    away = torch.tensor([0.6, 0.8]) * distance * ring.SIGMA
    assert measured(high_quality.Metric, lambda number: place(number) + away).value == share


def test_a_generator_that_hits_nothing_is_the_worst_and_not_undefined() -> None:
    for place in (torch.zeros(SAMPLES, 2), torch.full((SAMPLES, 2), float("nan"))):
        assert measured(modes.Metric, lambda number, at=place: at).value == 0.0  # type: ignore[misc]
        assert measured(high_quality.Metric, lambda number, at=place: at).value == 0.0  # type: ignore[misc]
        assert measured(reverse_kl.Metric, lambda number, at=place: at).value == math.log(8)  # type: ignore[misc]


def test_samples_of_low_quality_count_for_no_mode() -> None:
    """Half of all samples are far out beside the first mode; the histogram is even nevertheless."""
    place = on(shares=[1] * 8)

    def beside(number: Tensor) -> Tensor:
        return torch.where((number % 2 == 0)[:, None], place(number // 2), torch.tensor([1.5, 0.0]))

    assert measured(reverse_kl.Metric, beside).value == pytest.approx(0.0, abs=1e-4)
    assert measured(high_quality.Metric, beside).value == 0.5


@pytest.mark.parametrize("data", [ring.load(), grid.load()], ids=["ring", "grid"])
def test_the_training_rows_themselves_score_as_the_truth_does(data: Data) -> None:
    count = int(data.train.labels.max()) + 1 if data.train.labels is not None else 0
    truth = 1.0 - math.exp(-(NEAR**2) / 2)
    found = measured(high_quality.Metric, lambda number: data.train.x[number], split=data.validation)
    assert found.value == pytest.approx(truth, abs=5 * found.standard_error)
    assert measured(modes.Metric, lambda number: data.train.x[number], split=data.validation).value == count
    uneven = measured(reverse_kl.Metric, lambda number: data.train.x[number], split=data.validation)
    assert uneven.value == pytest.approx(0.0, abs=(count - 1) / SAMPLES)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_without_components_are_refused(metric: type[Metric]) -> None:
    split = Split(x=ring.load().validation.x)
    with pytest.raises(ValueError, match=r"needs points .* with the component of each as label"):
        measured(metric, on(shares=[1] * 8), split=split)


@pytest.mark.parametrize(
    ("data", "count", "sigma"), [(ring.load(), 8, 0.01), (grid.load(), 25, 0.05)], ids=["ring", "grid"]
)
def test_a_mixture_has_its_modes_in_equal_number_and_random_order(data: Data, count: int, sigma: float) -> None:
    for _, split in data.splits():
        assert split.labels is not None
        sizes = split.labels.bincount()
        assert len(sizes) == count
        assert int(sizes.max() - sizes.min()) <= 1
        assert len(split.labels[:count].unique()) < count
        means = torch.stack([split.x[split.labels == label].double().mean(0) for label in range(count)])
        spread = (split.x.double() - means[split.labels]).std()
        assert float(spread) == pytest.approx(sigma, rel=0.03)
    assert data.modality == "points"


def test_the_ring_lies_on_the_unit_circle_and_the_grid_on_even_numbers() -> None:
    assert torch.allclose(ring_means(ring.load()).norm(dim=1), torch.ones(8), atol=1e-3)
    data = grid.load()
    nearest = (data.train.x / 2).round() * 2
    assert {(int(x), int(y)) for x, y in nearest} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}


def test_rows_are_an_option_and_change_the_training_rows_alone() -> None:
    few, many = ring.load(rows=16), ring.load(rows=100_000)
    assert (len(few.train), len(many.train)) == (16, 100_000)
    assert torch.equal(few.validation.x, many.validation.x)
    assert few.sha256 != many.sha256
    with pytest.raises(ValueError, match="rows of ring must be at least 8, one a mode, and they are 7"):
        ring.load(rows=7)
