"""The likelihoods of a VAE: proper, equal to those of torch, sampled as they are scored, and finite at the extremes."""

import dataclasses
import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Binomial,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
    Uniform,
)
from torch.distributions import Bernoulli as Coin
from torch.distributions import Categorical as Die

from trainables.data import digits, ring, sines
from trainables.data._data import Data, Split
from trainables.models._likelihoods import LIKELIHOODS, LOG_SCALE_BOUND, Gaussian, default_for

OF_LEVELS = ("categorical", "bernoulli", "logistic")
LEVELS = (2, 5, 17, 256)


def data_of(x: Tensor, *, levels: int | None, modality: str = "points") -> Data:
    split = Split(x=x)
    return dataclasses.replace(
        digits.load(), name="some", modality=modality, levels=levels, train=split, validation=split, test=split
    )


def one_number(levels: int) -> Data:
    return data_of(torch.arange(levels)[:, None], levels=levels)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def masses(name: str, levels: int, parameters_P: Tensor) -> Tensor:
    """The probability of each level."""
    data = one_number(levels)
    distribution = LIKELIHOODS[name](data)
    return distribution.log_prob(data.train.x, parameters_P[None, :, None].expand(levels, -1, 1)).exp()


def logistic(mean: Tensor, log_scale: Tensor) -> TransformedDistribution:
    uniform = Uniform(torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64))
    return TransformedDistribution(uniform, [SigmoidTransform().inv, AffineTransform(mean, log_scale.exp())])


@pytest.mark.parametrize("name", OF_LEVELS)
@pytest.mark.parametrize("levels", LEVELS)
def test_over_all_levels_the_probabilities_sum_to_one(name: str, levels: int) -> None:
    for seed in range(5):
        parameters = 2.0 * drawn(LIKELIHOODS[name](one_number(levels)).per_number, seed=seed)
        assert float(masses(name, levels, parameters).sum()) == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("levels", LEVELS)
def test_they_equal_those_of_torch(levels: int) -> None:
    every = torch.arange(levels, dtype=torch.float64)
    logits = drawn(levels)
    assert torch.allclose(masses("categorical", levels, logits), Die(logits=logits).log_prob(every).exp(), rtol=1e-12)
    binomial = Binomial(levels - 1, logits=logits[:1])
    assert torch.allclose(masses("bernoulli", levels, logits[:1]), binomial.log_prob(every).exp(), rtol=1e-10)
    mean, log_scale = torch.tensor([0.3, -1.2], dtype=torch.float64)
    # Bins of levels on [-1, 1], the first and last of them open.
    edges = (torch.arange(levels - 1, dtype=torch.float64) + 0.5) * 2.0 / (levels - 1) - 1.0
    below = torch.cat([torch.zeros(1), logistic(mean, log_scale).cdf(edges), torch.ones(1)])
    found = masses("logistic", levels, torch.stack([mean, log_scale]))
    assert torch.allclose(found, below.diff(), rtol=1e-9, atol=1e-14)


def test_of_two_levels_the_bernoulli_is_one_trial() -> None:
    logit = drawn(1)
    expected = Coin(logits=logit).log_prob(torch.tensor([0.0, 1.0], dtype=torch.float64)).exp()
    assert torch.allclose(masses("bernoulli", 2, logit), expected, rtol=1e-12)


@pytest.mark.parametrize("name", OF_LEVELS)
@pytest.mark.parametrize("levels", [2, 5])
def test_levels_are_sampled_with_their_probabilities(name: str, levels: int) -> None:
    count, distribution = 40_000, LIKELIHOODS[name](one_number(levels))
    parameters = drawn(distribution.per_number)
    noise = distribution.draw(torch.Generator().manual_seed(1), rows=count).double()
    samples = distribution.sample(parameters[None, :, None].expand(count, -1, 1), noise)
    assert (samples.shape, samples.dtype) == ((count, 1), torch.int64)
    found = torch.bincount(samples.flatten(), minlength=levels) / count
    expected = masses(name, levels, parameters)
    error = (expected * (1 - expected) / count).sqrt()
    assert bool(((found - expected).abs() < 5 * error).all())


@pytest.mark.parametrize("name", OF_LEVELS)
def test_at_the_ends_of_the_noise_samples_are_levels_too(name: str) -> None:
    distribution = LIKELIHOODS[name](one_number(5))
    noise = torch.tensor([[0.0], [1.0 - 2.0**-24]])
    samples = distribution.sample(torch.zeros(2, distribution.per_number, 1), noise)
    assert samples.flatten().tolist() == [0, 4]


def test_a_number_takes_the_parameters_at_its_own_place() -> None:
    data = data_of(torch.zeros(1, 2, 3, dtype=torch.uint8), levels=5, modality="series")
    distribution = LIKELIHOODS["bernoulli"](data)
    wanted = torch.tensor([[[0, 4, 0], [4, 0, 4]]])
    logits = torch.where(wanted > 0, 50.0, -50.0).flatten(1)[:, None]
    assert torch.equal(distribution.sample(logits, torch.full((1, 6), 0.5)).long(), wanted)
    assert float(distribution.log_prob(wanted, logits)) == pytest.approx(0.0, abs=1e-6)
    # One wrong number, of which all four trials fail.
    assert float(distribution.log_prob(torch.where(wanted > 0, 4, 4), logits)) == pytest.approx(-3 * 4 * 50.0)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("mean", [-1e3, 0.0, 1e3])
@pytest.mark.parametrize("log_scale", [-1e3, 0.0, 1e3])
def test_the_logistic_is_finite_far_out_and_so_is_its_slope(levels: int, mean: float, log_scale: float) -> None:
    data = one_number(levels)
    parameters = torch.tensor([mean, log_scale])[None, :, None].repeat(levels, 1, 1).requires_grad_()
    log_p = LIKELIHOODS["logistic"](data).log_prob(data.train.x, parameters)
    assert bool(log_p.isfinite().all())
    assert bool(torch.autograd.grad(log_p.sum(), parameters)[0].isfinite().all())


def test_the_logistics_scale_reaches_well_below_a_bin() -> None:
    assert math.exp(-LOG_SCALE_BOUND) < 0.25 * 2.0 / 255


def few_series() -> Data:
    """Series [T, F] whose features differ in place and spread."""
    return data_of(
        (drawn(50, 4, 3) * torch.tensor([1.0, 10.0, 0.1]) + torch.tensor([0.0, -5.0, 7.0])).float(),
        levels=None,
        modality="series",
    )


def test_the_gaussian_equals_torchs_in_the_units_of_the_data() -> None:
    data = few_series()
    distribution = Gaussian(data).double()
    with torch.no_grad():
        distribution.log_sigma.copy_(drawn(1, 1, 3)[0])
    x, mean = data.train.x[:7].double(), drawn(7, 1, 12, seed=1)
    location, spread = distribution.location.flatten(), distribution.scale.flatten()
    sigma = -6.0 + torch.nn.functional.softplus(distribution.log_sigma.detach().flatten() + 6.0)
    expected = Normal(location + spread * mean.view(7, 4, 3), spread * sigma.exp()).log_prob(x).sum((1, 2))
    assert torch.allclose(distribution.log_prob(x, mean).detach(), expected, rtol=1e-12)
    standardized = distribution.scaled(data.train.x.double())
    assert torch.allclose(standardized.mean((0, 1)), torch.zeros(3, dtype=torch.float64), atol=1e-5)
    assert torch.allclose(standardized.std((0, 1), unbiased=False), torch.ones(3, dtype=torch.float64), rtol=1e-6)


def test_the_gaussian_is_sampled_as_it_is_scored() -> None:
    data, count = few_series(), 20_000
    distribution = Gaussian(data)
    with torch.no_grad():
        distribution.log_sigma.fill_(-1.0)
    mean = drawn(1, 1, 12).float()
    noise = distribution.draw(torch.Generator().manual_seed(1), rows=count)
    samples = distribution.sample(mean.expand(count, -1, -1), noise).detach()
    assert (samples.shape, samples.dtype) == ((count, 4, 3), torch.float32)
    # Minus the mean log density is the entropy, 1/2 log(2 pi e sigma^2) for each number.
    with torch.no_grad():
        log_p = distribution.log_prob(samples, mean.expand(count, -1, -1)).double()
    spread = data.train.x.double().std((0, 1), unbiased=False)
    sigma = -6.0 + math.log1p(math.exp(5.0))
    entropy = 4 * float((0.5 * math.log(2 * math.pi * math.e) + sigma + spread.log()).sum())
    error = float(log_p.std()) / math.sqrt(count)
    assert float(-log_p.mean()) == pytest.approx(entropy, abs=5 * error)


def test_of_images_each_channel_is_a_feature_and_a_constant_one_does_no_harm() -> None:
    x = drawn(20, 2, 4, 4).float()
    x[:, 1] = 3.0
    distribution = Gaussian(data_of(x, levels=None, modality="images"))
    assert distribution.log_sigma.shape == (2, 1, 1)
    scaled = distribution.scaled(x)
    assert float(scaled[:, 1].abs().max()) == 0.0
    assert float(scaled[:, 0].std(unbiased=False)) == pytest.approx(1.0, rel=1e-5)


def test_no_sigma_falls_below_its_floor_and_each_can_rise_again() -> None:
    distribution = Gaussian(few_series())
    with torch.no_grad():
        distribution.log_sigma.fill_(-100.0)
    x = few_series().train.x[:3]
    loss = -distribution.log_prob(x, torch.zeros(3, 1, 12)).sum()
    assert math.isfinite(float(loss.detach()))
    with torch.no_grad():
        distribution.log_sigma.fill_(-10.0)
    loss = -distribution.log_prob(x, torch.zeros(3, 1, 12)).sum()
    (slope,) = torch.autograd.grad(loss, distribution.log_sigma)
    assert bool((slope < 0.0).all())


def test_the_default_follows_the_data() -> None:
    assert default_for(digits.load()) == "categorical"
    assert default_for(dataclasses.replace(digits.load(), levels=256)) == "logistic"
    assert default_for(ring.load()) == "gaussian"
    assert default_for(sines.load(rows=10)) == "gaussian"


@pytest.mark.parametrize("name", OF_LEVELS)
def test_real_values_are_refused_by_a_likelihood_of_levels(name: str) -> None:
    with pytest.raises(ValueError, match=f"likelihood '{name}' is for data with levels, and 'some' has real values"):
        LIKELIHOODS[name](few_series())


def test_levels_are_refused_by_the_gaussian() -> None:
    with pytest.raises(ValueError, match="'gaussian' is a density over real numbers, and 'digits' has 17 levels"):
        Gaussian(digits.load())
