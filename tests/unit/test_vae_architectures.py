"""The VAE's networks by architecture: what they refuse, where each number goes, and where dropout acts."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.data import digit_rows, digits, ring, sines
from trainables.data._data import Data
from trainables.models.vae import Model
from trainables.training.params import ParameterValue, Params

KNOBS = {"beta": 1.0, "kl_warmup": 0.0, "free_bits": 0.0, "dropout": 0.0, "kl_weight": 1.0}
LATENT, WIDTH = 3, 4
DATA: dict[str, Data] = {"mlp": digits.load(), "conv": digits.load(), "gru": digit_rows.load()}


def build(architecture: str, *, data: Data | None = None, **params: ParameterValue) -> Model:
    sizes = {"architecture": architecture, "latent": LATENT, "width": WIDTH, "depth": 2, **params}
    generator = torch.Generator().manual_seed(0)
    return Model.build(Params(sizes), data=data or DATA[architecture], generator=generator).double()


def loss(model: Model, x: Tensor, drawn: dict[str, Tensor], **knobs: float) -> float:
    weight_B = torch.full((len(x),), 1.0 / len(x), dtype=torch.float64)
    return float(model("vae", x, drawn, {**KNOBS, **knobs}, weight_B)[0].detach())


def noise(model: Model, count: int, **knobs: float) -> dict[str, Tensor]:
    drawn = model.draw("vae", torch.Generator().manual_seed(1), rows=count, knobs={**KNOBS, **knobs})
    return {name: tensor.double() for name, tensor in drawn.items()}


def test_convolutions_by_hand() -> None:
    model, x = build("conv", likelihood="logistic"), digits.load().train.x[:5]
    weights = dict(model.vae.named_parameters())
    images = x.double() / 8 - 1
    for block in range(2):
        front = f"encoder.blocks.{block}"
        images = F.conv2d(images, weights[f"{front}.weight"], weights[f"{front}.bias"], stride=2, padding=1)
        images = F.leaky_relu(images, 0.01)
    assert images.shape == (5, 2 * WIDTH, 2, 2)
    encoded = F.linear(images.flatten(1), weights["encoder.last.weight"], weights["encoder.last.bias"])
    mean, log_variance = model._posterior(x)
    assert torch.allclose(torch.cat([mean, log_variance], 1), encoded, rtol=1e-12)
    maps = F.linear(mean, weights["decoder.first.weight"], weights["decoder.first.bias"]).view(5, 2 * WIDTH, 2, 2)
    for block in range(2):
        front = f"decoder.blocks.{block}"
        maps = F.leaky_relu(maps, 0.01)
        maps = F.conv_transpose2d(maps, weights[f"{front}.weight"], weights[f"{front}.bias"], stride=2, padding=1)
    assert maps.shape == (5, 2, 8, 8)
    assert torch.allclose(model._decoded(mean), maps.flatten(2), rtol=1e-12)


def test_recurrent_layers_by_hand() -> None:
    model, x = build("gru"), digit_rows.load().train.x[:5]
    stock = {name: nn.GRU(size, WIDTH, batch_first=True).double() for name, size in (("encoder", 8), ("decoder", 3))}
    for name, gru in stock.items():
        own = model.vae[name].recurrent.state_dict()
        gru.load_state_dict({f"{key}_l0": value for key, value in own.items()})
    _, last = stock["encoder"](x.double() / 8 - 1)
    mean, log_variance = model._posterior(x)
    assert torch.allclose(torch.cat([mean, log_variance], 1), model.vae["encoder"].last(last[0]), rtol=1e-10)
    states, _ = stock["decoder"](model.vae["decoder"].first(mean).view(5, 8, LATENT))
    # [B, T, levels, F] -> [B, levels, T, F]
    expected = model.vae["decoder"].last(states).view(5, 8, 17, 8).permute(0, 2, 1, 3)
    assert torch.allclose(model._decoded(mean), expected.flatten(2), rtol=1e-10)


@pytest.mark.parametrize("architecture", list(DATA))
def test_every_uniform_of_dropout_is_used_and_none_drops_nothing(architecture: str) -> None:
    model, x = build(architecture), DATA[architecture].train.x[:2]
    drawn = noise(model, 2, dropout=0.5)
    base = loss(model, x, drawn, dropout=0.5)
    for unit in range(drawn["dropout"].shape[1]):
        flipped = drawn["dropout"].clone()
        flipped[:, unit] = 1.0 - flipped[:, unit]
        assert loss(model, x, {**drawn, "dropout": flipped}, dropout=0.5) != base, unit
    kept = {**drawn, "dropout": torch.ones_like(drawn["dropout"])}
    without = {name: tensor for name, tensor in drawn.items() if name != "dropout"}
    assert loss(model, x, kept) == pytest.approx(loss(model, x, without), rel=1e-12)


@pytest.mark.parametrize(
    ("architecture", "data", "likelihood"),
    [
        ("conv", digits.load(), "bernoulli"),
        ("gru", digit_rows.load(), "logistic"),
        ("gru", sines.load(rows=20), "gaussian"),
        ("mlp", sines.load(rows=20), "gaussian"),
        ("mlp", ring.load(), "gaussian"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_samples_have_the_form_of_the_data(architecture: str, data: Data, likelihood: str) -> None:
    named = build(architecture, data=data, likelihood=likelihood)
    samples = named.sample({k: v.double() for k, v in named.draw_samples(torch.Generator(), rows=7).items()})
    assert (samples.shape, samples.dtype) == ((7, *data.shape), data.train.x.dtype)
    x = data.train.x[:4]
    double = torch.randn(3, 4, LATENT, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert named.log_weights(x, double).shape == (3, 4)
    assert named.bound(x, double[0]).shape == (4,)


def test_the_likelihood_follows_the_data_where_none_is_set() -> None:
    by_default, named = (build("mlp", **params) for params in ({}, {"likelihood": "categorical"}))
    assert all(torch.equal(own, named.state_dict()[key]) for key, own in by_default.state_dict().items())
    assert "vae.distribution.log_sigma" in build("gru", data=sines.load(rows=20)).state_dict()


def test_depth_is_read_by_perceptrons_alone() -> None:
    for architecture, data in DATA.items():
        params = Params({"architecture": architecture, "latent": 2, "width": 3, "depth": 2})
        Model.build(params, data=data, generator=torch.Generator())
        assert ("depth" in params.unread()) == (architecture != "mlp")


@pytest.mark.parametrize(
    ("architecture", "data", "message"),
    [
        ("conv", digit_rows.load(), "'conv' needs square images .* 'digit_rows' have the shape .8, 8.: set arch"),
        (
            "gru",
            digits.load(),
            "'gru' needs series .steps, features., and rows of 'digits' are images of the shape .1, 8, 8.",
        ),
        ("cnn", digits.load(), "architecture must be one of mlp, conv, gru, and it is 'cnn': correct it"),
    ],
)
def test_an_architecture_that_does_not_fit_is_refused(architecture: str, data: Data, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(architecture, data=data)


def test_an_unknown_likelihood_is_refused() -> None:
    with pytest.raises(ValueError, match="likelihood must be one of categorical, bernoulli, logistic, gaussian, and"):
        build("mlp", likelihood="poisson")
