"""The faults of the article's VAE (its section 4.2), each beside what is right.

Its KL takes softplus where the exponential belongs, its noise has the size of a row and not of the latents, its
standard deviation is the softplus of a number that it calls a logarithm of the variance, its loss decodes a second
time, and the KL is not taken to the mean of the rows.
"""

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from trainables.data import digit_rows, digits
from trainables.models.vae import Model, kl_to_prior
from trainables.training.params import Params

LATENT = 5
KNOBS = {"beta": 1.0, "kl_warmup": 0.0, "free_bits": 0.0, "dropout": 0.0, "kl_weight": 1.0}


def build(architecture: str = "mlp") -> Model:
    params = Params({"architecture": architecture, "latent": LATENT, "width": 6, "depth": 1})
    data = digit_rows.load() if architecture == "gru" else digits.load()
    return Model.build(params, data=data, generator=torch.Generator().manual_seed(0)).double()


def loss(model: Model, x: Tensor, latent_noise: Tensor) -> float:
    weight_B = torch.full((len(x),), 1.0 / len(x), dtype=torch.float64)
    return float(model("vae", x, {"latent": latent_noise}, KNOBS, weight_B)[0].detach())


def articles_kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """-1/2 (1 + log var - mean^2 - var) with log softplus(-l) for minus ... and softplus(l) for the variance."""
    return -0.5 * (1.0 + softplus(-log_variance) - mean.square() - softplus(log_variance))


def descended(kl: object, *, steps: int) -> float:
    """Where gradient descent on this KL takes the log variance, from 1."""
    log_variance = torch.ones((), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([log_variance], lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        kl(torch.zeros((), dtype=torch.float64), log_variance).backward()  # type: ignore[operator]
        optimizer.step()
    return float(log_variance.detach())


def test_the_articles_kl_has_no_lower_bound_and_drives_the_variance_to_zero() -> None:
    zero, low = torch.zeros((), dtype=torch.float64), torch.tensor([-20.0, -200.0], dtype=torch.float64)
    # softplus(-l) - softplus(l) = -l: what is left is linear, 1/2 (mean^2 + l - 1).
    assert articles_kl(zero, low).tolist() == pytest.approx([-10.5, -100.5], abs=1e-9)
    assert float(kl_to_prior(zero, low[0])) == pytest.approx(9.5, abs=1e-8)
    assert float(kl_to_prior(zero, low[1])) == pytest.approx(99.5, abs=1e-8)
    assert descended(articles_kl, steps=100) == pytest.approx(1.0 - 100 * 0.25)
    assert descended(kl_to_prior, steps=100) == pytest.approx(0.0, abs=1e-9)


def test_the_noise_has_the_size_of_the_latents_and_not_of_a_row() -> None:
    model, rows = build(), digits.load().train.x[:3]
    drawn = model.draw("vae", torch.Generator().manual_seed(0), rows=3, knobs=KNOBS)
    assert drawn["latent"].shape == (3, LATENT)
    assert rows[0].numel() == 64
    loss(model, rows, drawn["latent"].double())


def test_the_variance_of_the_latents_is_the_exponential_of_the_log_variance() -> None:
    model, count = build(), 10_000
    with torch.no_grad():
        # Of one row; the bias sets the log variances far enough apart to tell the two forms.
        model.vae["encoder"].layers[-1].bias[LATENT:] = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.0])
    x, seen = digits.load().train.x[:1].expand(count, -1, -1, -1), []
    model.vae["decoder"].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach()))
    noise = torch.randn(count, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        loss(model, x, noise)
        mean, log_variance = (tensor[0] for tensor in model._posterior(x[:1]))
    # The standard error of a variance of a Gaussian is variance * sqrt(2 / n).
    five = 5 * (2 / count) ** 0.5
    assert torch.allclose(seen[0].var(0), log_variance.exp(), rtol=five)
    assert not torch.allclose(seen[0].var(0), softplus(log_variance).square(), rtol=2 * five)
    assert torch.allclose(seen[0].mean(0), mean, atol=five * float(log_variance.exp().max()))


@pytest.mark.parametrize("architecture", ["mlp", "conv", "gru"])
def test_a_loss_decodes_once(architecture: str) -> None:
    model, calls = build(architecture), []
    model.vae["decoder"].register_forward_hook(lambda *_: calls.append(1))
    x = (digit_rows if architecture == "gru" else digits).load().train.x[:3]
    loss(model, x, torch.zeros(3, LATENT, dtype=torch.float64))
    assert len(calls) == 1


@pytest.mark.parametrize("architecture", ["mlp", "conv", "gru"])
def test_a_loss_is_the_mean_of_what_its_rows_have_alone(architecture: str) -> None:
    """Each row's own sum over numbers and latents, KL included; so it does not grow with the batch."""
    model = build(architecture)
    x = (digit_rows if architecture == "gru" else digits).load().train.x[:4]
    noise = torch.randn(4, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alone = [loss(model, x[row : row + 1], noise[row : row + 1]) for row in range(4)]
    assert loss(model, x, noise) == pytest.approx(sum(alone) / 4, rel=1e-12)
    assert loss(model, x.repeat(3, *[1] * (x.dim() - 1)), noise.repeat(3, 1)) == pytest.approx(
        sum(alone) / 4, rel=1e-12
    )
