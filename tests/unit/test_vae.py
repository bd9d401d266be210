"""The VAE: its KL, its likelihood, its knobs, and the faults that are easy to make."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from trainables.data import digits
from trainables.models._layers import masked_dropout
from trainables.models.vae import DEAD_KL, LOG_VARIANCE_BOUND, Model, kl_to_prior
from trainables.training.params import Params

LATENT, WIDTH, DEPTH = 5, 12, 2
KNOBS = {"beta": 1.0, "kl_warmup": 0.0, "free_bits": 0.0, "dropout": 0.0, "kl_weight": 1.0}


def build(**sizes: int) -> Model:
    params = Params({"latent": LATENT, "width": WIDTH, "depth": DEPTH, **sizes})
    return Model.build(params, data=digits.load(), generator=torch.Generator().manual_seed(0)).double()


def rows(count: int = 6) -> Tensor:
    return digits.load().train.x[:count]


def noise(model: Model, count: int = 6, **knobs: float) -> dict[str, Tensor]:
    drawn = model.draw("vae", torch.Generator().manual_seed(1), rows=count, knobs={**KNOBS, **knobs})
    return {name: tensor.double() for name, tensor in drawn.items()}


def evenly(count: int = 6) -> Tensor:
    return torch.full((count,), 1.0 / count, dtype=torch.float64)


def loss(model: Model, *, drawn: dict[str, Tensor] | None = None, **knobs: float) -> float:
    total, _ = model("vae", rows(), drawn or noise(model), {**KNOBS, **knobs}, evenly())
    return float(total.detach())


def test_the_kl_equals_the_one_of_torch_and_is_zero_at_the_prior_only() -> None:
    mean = torch.linspace(-3, 3, 13, dtype=torch.float64)[:, None]
    log_variance = torch.linspace(-6, 6, 13, dtype=torch.float64)[None]
    ours = kl_to_prior(mean, log_variance)
    one = torch.ones((), dtype=torch.float64)
    theirs = kl_divergence(Normal(mean, (0.5 * log_variance).exp().expand(13, 13)), Normal(0.0 * one, one))
    assert torch.allclose(ours, theirs, rtol=1e-12, atol=1e-13)
    assert (ours.flatten().argsort()[0], float(ours.min())) == (6 * 13 + 6, 0.0)
    assert int((ours < 1e-9).sum()) == 1
    # The form with softplus in place of exp, a known slip, is unbounded below: -10.5 here.
    assert float(kl_to_prior(torch.zeros(()), torch.tensor(-20.0))) == pytest.approx(9.5, abs=1e-6)


def test_the_loss_is_the_negative_bound_computed_by_hand() -> None:
    model, drawn = build(), noise(build())
    encoder, decoder = model.vae["encoder"], model.vae["decoder"]
    mean, log_variance = encoder(rows().flatten(1).double() / 8 - 1).chunk(2, 1)
    logits = decoder(mean + (0.5 * log_variance).exp() * drawn["latent"]).view(6, 17, 64).permute(0, 2, 1)
    log_p = torch.distributions.Categorical(logits=logits).log_prob(rows().flatten(1).long()).sum(1)
    kl = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(torch.zeros_like(mean), 1.0)).sum(1)
    assert loss(model, drawn=drawn) == pytest.approx(float((kl - log_p).mean().detach()), rel=1e-12)
    assert torch.allclose(model.bound(rows(), drawn["latent"]), log_p - kl, rtol=1e-12)


def test_beta_and_free_bits_weigh_the_kl_alone() -> None:
    model, drawn = build(), noise(build())
    _, logs = model("vae", rows(), drawn, KNOBS, evenly())
    mean, log_variance = model._posterior(rows())
    kl_of_latents = kl_to_prior(mean, log_variance).mean(0).detach()
    reconstruction, kl = float(logs["reconstruction"]), float(logs["kl"])
    assert kl == pytest.approx(float(kl_of_latents.sum()), rel=1e-12)
    assert loss(model, kl_weight=3.0) == pytest.approx(reconstruction + 3.0 * kl, rel=1e-12)
    floor = float(kl_of_latents.sort().values[2])
    free = float(kl_of_latents.clamp(min=floor).sum())
    assert free > kl
    assert loss(model, free_bits=floor) == pytest.approx(reconstruction + free, rel=1e-12)


def test_rows_count_by_their_weight() -> None:
    model, drawn = build(), noise(build())
    weights = torch.tensor([0.25, 0.75, 0, 0, 0, 0], dtype=torch.float64)
    weighted = float(model("vae", rows(), drawn, KNOBS, weights)[0].detach())
    ones = [torch.eye(6, dtype=torch.float64)[place] for place in (0, 1)]
    single = [float(model("vae", rows(), drawn, KNOBS, one)[0].detach()) for one in ones]
    assert weighted == pytest.approx(0.25 * single[0] + 0.75 * single[1], rel=1e-12)


def test_dropout_masks_by_the_uniforms_handed_in() -> None:
    x, uniform = torch.ones(2, 4), torch.tensor([[0.0, 0.2, 0.3, 0.9], [0.1, 0.5, 0.29, 0.31]])
    expected = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]]) / 0.7
    assert torch.allclose(masked_dropout(x, uniform, 0.3), expected)
    model = build()
    drawn = noise(model, dropout=0.3)
    assert drawn["dropout"].shape == (6, 2 * DEPTH * WIDTH)
    kept = {**drawn, "dropout": torch.ones_like(drawn["dropout"])}
    assert loss(model, drawn=kept, dropout=0.0) == pytest.approx(loss(model), rel=1e-12)
    assert loss(model, drawn=drawn, dropout=0.3) != pytest.approx(loss(model), rel=1e-3)


def test_every_uniform_of_dropout_is_used() -> None:
    model = build()
    drawn = noise(model, dropout=0.5)
    base = loss(model, drawn=drawn, dropout=0.5)
    for unit in range(2 * DEPTH * WIDTH):
        flipped = drawn["dropout"].clone()
        flipped[:, unit] = 1.0 - flipped[:, unit]
        assert loss(model, drawn={**drawn, "dropout": flipped}, dropout=0.5) != base


def test_the_decoder_runs_once_a_loss() -> None:
    model, calls = build(), []
    model.vae["decoder"].register_forward_hook(lambda *_: calls.append(1))
    loss(model)
    assert len(calls) == 1


def test_the_log_variance_is_clamped_so_that_no_loss_overflows() -> None:
    model = build()
    with torch.no_grad():
        model.vae["encoder"].layers[-1].bias[LATENT:] = 1e4
    _, log_variance = model._posterior(rows())
    assert float(log_variance.detach().max()) == LOG_VARIANCE_BOUND
    assert math.isfinite(loss(model))


def test_the_kl_weight_rises_to_beta_over_the_warm_up() -> None:
    knobs = {**KNOBS, "beta": 4.0, "kl_warmup": 0.5}
    weights = [Model.in_force(knobs, progress=progress)["kl_weight"] for progress in (0.0, 0.25, 0.5, 1.0)]
    assert weights == [0.0, 2.0, 4.0, 4.0]
    assert Model.in_force({**knobs, "kl_warmup": 0.0}, progress=0.0)["kl_weight"] == 4.0


def test_what_a_plateau_watches_is_free_of_the_warm_up() -> None:
    logs = {"loss": -1.0, "reconstruction": 80.0, "kl": 10.0}
    assert build().monitored("vae", logs, {**KNOBS, "beta": 2.0}) == 100.0


def test_collapse_is_told_only_when_the_kl_counts_in_full() -> None:
    model, logs = build(), {"kl": DEAD_KL / 2}
    assert model.collapsed(logs, {**KNOBS, "kl_weight": 0.5}) is None
    assert model.collapsed({"kl": 2 * DEAD_KL}, KNOBS) is None
    assert "posterior collapse" in str(model.collapsed(logs, KNOBS))


def test_samples_follow_the_decoders_distribution() -> None:
    model, count = build(), 20_000
    drawn = model.draw_samples(torch.Generator().manual_seed(3), rows=count)
    latent = torch.zeros(count, LATENT, dtype=torch.float64)
    samples = model.sample({"latent": latent, "pixel": drawn["pixel"]})
    assert (samples.dtype, samples.shape) == (torch.uint8, (count, 1, 8, 8))
    expected = model._decoded(latent[:1]).softmax(1)[0].detach()
    found = torch.stack([(samples.flatten(1) == level).double().mean(0) for level in range(17)])
    # Five standard errors of a share near 1/17.
    assert float((found - expected).abs().max()) < 5 * math.sqrt(1 / 17 / count)


@pytest.mark.parametrize("name", ["latent", "width", "depth"])
def test_a_size_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, and it is 0"):
        build(**{name: 0})


@pytest.mark.parametrize("knob", [{"beta": -1.0}, {"dropout": 1.0}, {"kl_warmup": 1.0}, {"free_bits": float("nan")}])
def test_a_knob_out_of_range_is_refused(knob: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(knob))} must be at least 0"):
        Model.knobs(Params(knob))
