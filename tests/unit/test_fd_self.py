"""`fd_self`: the formula against scipy, the extractor, and what the distance sees."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import Tensor

from search_spaces.gan import SPACE
from trainables.data import digits, ring
from trainables.data._data import Data, Split
from trainables.metrics import _features, fd_self
from trainables.metrics._features import Extractor, features_of, train_extractor
from trainables.metrics._frechet import distance, frechet_distance
from trainables.models.gan import Model
from trainables.training.alone import Training


class Replay:
    """A generator that draws its samples from given rows."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"row": torch.randint(len(self.rows), (rows,), generator=generator)}

    def sample(self, noise: dict[str, Tensor]) -> Tensor:
        return self.rows[noise["row"]]


@pytest.fixture(scope="module")
def data() -> Data:
    return digits.load()


def measured(rows: Tensor, data: Data, *, seed: int = 0) -> float:
    metric = fd_self.Metric()
    metric.prepare(data)
    return metric.measure(Replay(rows), data.validation, torch.Generator().manual_seed(seed)).value  # type: ignore[arg-type]


def gaussian(features: int, *, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(features, features + 3, generator=generator, dtype=torch.float64)
    return torch.randn(features, generator=generator, dtype=torch.float64), root @ root.mT / features


@pytest.mark.parametrize("features", [1, 5, 64])
def test_the_formula_is_that_of_a_matrix_root(features: int) -> None:
    (m, c), (n, d) = gaussian(features, seed=0), gaussian(features, seed=1)
    root = np.real(scipy.linalg.sqrtm((c @ d).numpy()))
    expected = float((m - n).square().sum() + (c + d).trace()) - 2 * float(np.trace(root))
    assert frechet_distance(m, c, n, d) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(n, d, m, c) == pytest.approx(expected, rel=1e-10)
    assert frechet_distance(m, c, m, c) == pytest.approx(0.0, abs=1e-10)


def test_a_covariance_without_full_rank_gives_no_nan() -> None:
    mean, zero = torch.zeros(4, dtype=torch.float64), torch.zeros(4, 4, dtype=torch.float64)
    flat = torch.diag(torch.tensor([1.0, 2.0, 0.0, 0.0], dtype=torch.float64))
    assert frechet_distance(mean, flat, mean, zero) == pytest.approx(3.0, rel=1e-12)
    assert frechet_distance(mean, zero, mean + 1, zero) == pytest.approx(4.0, rel=1e-12)


@pytest.fixture(scope="module")
def extractor(data: Data) -> Extractor:
    found = features_of(data).extract
    assert isinstance(found, Extractor)
    return found


def test_the_extractor_is_the_same_each_time_and_draws_nothing_from_the_global_generator(
    data: Data, extractor: Extractor
) -> None:
    torch.manual_seed(1)
    state = torch.get_rng_state()
    with torch.inference_mode():  # as a metric may be asked for from inside
        second = train_extractor(data)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(extractor(data.test.x), second(data.test.x))


def test_the_extractor_knows_the_classes_and_its_features_are_standardized(data: Data, extractor: Extractor) -> None:
    features = extractor(data.train.x)
    assert torch.allclose(features.mean(0), torch.zeros(64, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(features.std(0), torch.full((64,), 1 / 8, dtype=torch.float64), rtol=1e-6)
    raw = extractor.classifier(data.test.x.float() / 8 - 1)
    found = extractor.classifier.classes(raw.relu()).argmax(1)
    assert data.test.labels is not None
    assert float((found == data.test.labels).double().mean()) > 0.95


def test_the_extractor_is_trained_once_a_process_and_data(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    fd_self.Metric().prepare(data)
    monkeypatch.setattr(_features, "train_extractor", lambda data: pytest.fail("trained twice"))
    fd_self.Metric().prepare(digits.load())


def test_the_distance_ranks_generators_by_what_they_get_wrong(data: Data) -> None:
    x, labels = data.train.x, data.train.labels
    assert labels is not None
    generator = torch.Generator().manual_seed(0)
    noisy = (x + torch.randint(-4, 5, x.shape, generator=generator)).clamp(0, 16).to(torch.uint8)
    columns = torch.randint(len(x), (len(x), 64), generator=generator)
    independent = x.flatten(1).gather(0, columns).view_as(x)
    ranked = [measured(rows, data) for rows in (x, x[labels != 8], noisy, independent, torch.zeros_like(x))]
    assert ranked == sorted(ranked)
    assert ranked[0] < 0.02
    assert ranked[-1] > 0.5


def test_the_standard_error_is_that_of_other_draws() -> None:
    rows, generator = torch.randn(300, 8, dtype=torch.float64), torch.Generator().manual_seed(0)
    draws = [distance(rows, 1.5 * torch.randn(4000, 8, generator=generator).double()) for _ in range(30)]
    values = torch.tensor([draw.value for draw in draws])
    errors = torch.tensor([draw.standard_error for draw in draws])
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(values.std()), rel=0.4)


def test_samples_that_are_not_finite_give_nan_and_no_error(data: Data) -> None:
    assert math.isnan(measured(torch.full((10, 1, 8, 8), math.nan), data))


def test_what_it_cannot_measure_is_refused(data: Data) -> None:
    metric = fd_self.Metric()
    with pytest.raises(ValueError, match="needs the data before it measures"):
        metric.measure(Replay(data.train.x), data.validation, torch.Generator())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs images"):
        metric.prepare(ring.load())
    short = Split(x=data.validation.x[:299])
    with pytest.raises(ValueError, match="at least 300 rows to measure on, and there are 299"):
        metric.prepare(replace(data, validation=short))
    metric.prepare(data)
    with pytest.raises(ValueError, match="at least 300 rows to measure on, and there are 299"):
        metric.measure(Replay(data.train.x), short, torch.Generator())  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_default_gan_learns_the_digits(data: Data, seed: int) -> None:
    """A single Gaussian in pixels has .12, and a copy of the training rows .01."""
    training = Training(Model, data, SPACE.default(), seed=seed, epochs=81, metrics=[fd_self.Metric()])
    found = {}
    for epoch in range(1, 82):
        progress = training.advance(measure=["fd_self"] if epoch in (1, 9, 81) else [])
        assert progress.cause is None
        if "fd_self" in progress.metrics:
            found[epoch] = progress.metrics["fd_self"]
    assert found[1] > 1.0 > found[9] > found[81]
    assert found[81] < 0.05
