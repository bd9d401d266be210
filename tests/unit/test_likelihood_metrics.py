"""`nll` and `elbo` against closed forms and against each other."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from trainables.data import digits, sines
from trainables.data._data import Split
from trainables.metrics import active_units, bits_per_dim, elbo, nll
from trainables.models._family import Likelihood
from trainables.models.vae import Model, kl_to_prior
from trainables.training.params import Params

A, S = 1.5, 0.7


class LinearGaussian:
    """x = a z + s n: the exact p(x) is N(0, a^2 + s^2), the posterior is known, and q is it or the prior."""

    latent = 1

    def __init__(self, *, exact: bool) -> None:
        self.exact = exact

    def log_weights(self, x: Tensor, noise_SBL: Tensor) -> Tensor:
        mean, sd = self._posterior(x)
        z = mean + sd * noise_SBL[..., 0]
        return Normal(A * z, S).log_prob(x) + Normal(0.0, 1.0).log_prob(z) - Normal(mean, sd).log_prob(z)

    def bound(self, x: Tensor, noise_BL: Tensor) -> Tensor:
        mean, sd = self._posterior(x)
        return Normal(A * (mean + sd * noise_BL[:, 0]), S).log_prob(x) - kl_to_prior(mean, 2 * sd.log())

    def _posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.exact:
            return torch.zeros_like(x), torch.ones_like(x)
        precision = 1 + A**2 / S**2
        return A * x / S**2 / precision, torch.full_like(x, precision**-0.5)


def gaussian_rows(count: int) -> Split:
    generator = torch.Generator().manual_seed(0)
    return Split(x=torch.randn(count, generator=generator, dtype=torch.float64) * math.hypot(A, S))


def measured(k: int, model: object, rows: Split) -> float:
    generator = torch.Generator().manual_seed(1)
    return nll.Metric(k=k).measure(model, rows, generator).value  # type: ignore[arg-type]


def test_with_the_exact_posterior_the_bound_is_exact_at_any_k() -> None:
    rows = gaussian_rows(2000)
    exact = -float(Normal(0.0, math.hypot(A, S)).log_prob(rows.x).mean())
    for k in (1, 2, 64):
        assert measured(k, LinearGaussian(exact=True), rows) == pytest.approx(exact, rel=1e-6)


def test_with_the_prior_as_posterior_the_bound_climbs_to_the_exact_value() -> None:
    rows = gaussian_rows(5000)
    exact = -float(Normal(0.0, math.hypot(A, S)).log_prob(rows.x).mean())
    bounds = [measured(k, LinearGaussian(exact=False), rows) for k in (1, 8, 64, 512)]
    assert bounds == sorted(bounds, reverse=True)
    # With k = 1 it is -E log N(x; a z, s) over independent x and z.
    one = math.log(S * math.sqrt(2 * math.pi)) + (2 * A**2 + S**2) / (2 * S**2)
    assert bounds[0] == pytest.approx(one, abs=0.3)
    assert bounds[-1] - exact < 0.01


@pytest.fixture(scope="module")
def model() -> Model:
    params = Params({"latent": 3, "width": 16, "depth": 1})
    built = Model.build(params, data=digits.load(), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # A posterior far from the true one, so that k matters.
        built.vae["encoder"].layers[-1].bias.add_(1.0)
        built.vae["decoder"].layers[-1].weight.mul_(5.0)
    return built


def test_the_bound_of_a_vae_does_not_fall_with_k(model: Model) -> None:
    assert isinstance(model, Likelihood)
    rows = digits.load().validation
    bounds = [measured(k, model, rows) for k in (1, 4, 16, 64)]
    assert bounds == sorted(bounds, reverse=True)
    assert bounds[0] - bounds[-1] > 1.0


def test_iwae_of_one_sample_is_the_one_sample_elbo(model: Model) -> None:
    x = digits.load().validation.x[:20]
    double = Model.build(
        Params({"latent": 3, "width": 16, "depth": 1}), data=digits.load(), generator=torch.Generator()
    )
    double.load_state_dict(model.state_dict())
    double = double.double()
    noise = torch.randn(20, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    mean, log_variance = double._posterior(x)
    z = mean + (0.5 * log_variance).exp() * noise
    log_p = double._distribution.log_prob(x, double._decoded(z))
    ratio = Normal(0.0, 1.0).log_prob(z) - Normal(mean, (0.5 * log_variance).exp()).log_prob(z)
    assert torch.allclose(double.log_weights(x, noise[None])[0], log_p + ratio.sum(1), rtol=1e-12)


def test_over_many_draws_elbo_and_iwae_of_one_sample_agree(model: Model) -> None:
    x = digits.load().validation.x[:1]
    noise = torch.randn(20_000, 1, 3, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        one = model.log_weights(x, noise)[:, 0]
        closed = model.bound(x.expand(20_000, -1, -1, -1), noise[:, 0])
    error = float((one - closed).std()) / math.sqrt(20_000)
    assert float((one - closed).mean()) == pytest.approx(0.0, abs=5 * error)


def test_a_k_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="k must be at least 1, and it is 0"):
        nll.Metric(k=0)


@pytest.mark.parametrize("metric", [nll.Metric(), elbo.Metric()])
def test_a_model_without_likelihood_is_refused(metric: nll.Metric | elbo.Metric) -> None:
    with pytest.raises(ValueError, match="needs a model with a likelihood"):
        metric.measure(object(), gaussian_rows(3), torch.Generator())  # type: ignore[arg-type]


class Uniform:
    """Every pixel drawn alike from 16 levels."""

    latent = 1

    def log_weights(self, x: Tensor, noise_SBL: Tensor) -> Tensor:
        return torch.full(noise_SBL.shape[:2], -x[0].numel() * math.log(16.0), dtype=torch.float64)

    def bound(self, x: Tensor, noise_BL: Tensor) -> Tensor:
        raise NotImplementedError


def test_numbers_drawn_alike_from_16_levels_cost_4_bits_each() -> None:
    rows = digits.load().validation
    found = bits_per_dim.Metric(k=8).measure(Uniform(), rows, torch.Generator().manual_seed(0))  # type: ignore[arg-type]
    assert found.value == pytest.approx(4.0)
    assert (found.standard_error, found.sample_size) == (pytest.approx(0.0, abs=1e-9), len(rows))


def test_bits_are_nats_in_another_unit_error_included(model: Model) -> None:
    rows = digits.load().validation
    bits, nats = (
        metric.measure(model, rows, torch.Generator().manual_seed(0))
        for metric in (bits_per_dim.Metric(k=4), nll.Metric(k=4))
    )
    unit = 64 * math.log(2.0)
    assert (bits.value * unit, bits.standard_error * unit) == pytest.approx((nats.value, nats.standard_error))


def test_a_density_has_no_bits() -> None:
    assert "choose nll" in str(bits_per_dim.Metric.refusal(Model, sines.load()))
    assert bits_per_dim.Metric.refusal(Model, digits.load()) is None


def test_units_are_active_where_their_mean_varies_over_rows(model: Model) -> None:
    """Burda et al. 2016: the variance over rows of the posterior mean is above .01."""
    rows = digits.load().validation
    last = model.vae["encoder"].layers[-1]
    before = last.weight.detach().clone()
    variance = model._posterior(rows.x)[0].detach().double().var(0, unbiased=False)
    wanted = torch.tensor([0.04, 0.011, 0.009])
    try:
        with torch.no_grad():
            last.weight[:3] *= (wanted / variance).sqrt()[:, None].float()
        found = active_units.Metric().measure(model, rows, torch.Generator())
        assert (found.value, found.sample_size) == (2.0, len(rows))
    finally:
        last.weight.data.copy_(before)


def test_active_units_are_those_of_models_with_latents() -> None:
    with pytest.raises(ValueError, match="needs a model with a posterior over latents, and builtins has none"):
        active_units.Metric().measure(object(), gaussian_rows(3), torch.Generator())  # type: ignore[arg-type]
    assert active_units.Metric.refusal(Model, digits.load()) is None
