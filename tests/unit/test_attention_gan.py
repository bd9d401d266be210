"""The self-attention GAN of images: its block, its norms in both networks, where attention is, and what it refuses."""

import copy
from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from plain_attention import sagan
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812
from torch.nn.utils import parametrizations

from search_spaces.attention_gan import SPACE
from trainables.data import digits, ring, sines
from trainables.data._data import Data, Split
from trainables.models import gan
from trainables.models._attention import SelfAttention
from trainables.models._convolutions import attended
from trainables.models._layers import add_singular_vectors, turn_singular_vectors
from trainables.models.attention_gan import Model
from trainables.training.params import ParameterValue, Params

ROWS = 6
SIZES: Mapping[str, ParameterValue] = {"latent": 3, "width": 8}
LAYERS = ("f", "g", "h", "back")


def build(*, data: Data | None = None, gamma: float = 0.7, **changed: ParameterValue) -> Model:
    """A model whose attention acts."""
    generator = torch.Generator().manual_seed(0)
    model = Model.build(Params({**SIZES, **changed}), data=data or digits.load(), generator=generator).double()
    for network in (model.discriminator, model.generator):
        nn.init.constant_(network.attention.gamma, gamma)  # type: ignore[union-attr, arg-type]
    return model


def knobs(**changed: ParameterValue) -> dict[str, float]:
    return Model.in_force(Model.knobs(Params(changed)), progress=0.5)


def rows() -> Tensor:
    return digits.load().train.x[:ROWS]


def noise(model: Model, player: str, in_force: dict[str, float]) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(1), rows=ROWS, knobs=in_force)
    return {name: tensor if name == "label" else tensor.double() for name, tensor in drawn.items()}


def evenly() -> Tensor:
    return torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float64)


def block(channels: int = 9) -> SelfAttention:
    made = SelfAttention(channels, generator=torch.Generator().manual_seed(0))
    add_singular_vectors(made, generator=torch.Generator().manual_seed(1))
    made.double()
    nn.init.constant_(made.gamma, 0.7)
    return made


def a_map(channels: int = 9) -> Tensor:
    return torch.randn(2, channels, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("spectral_norm", [0.0, 1.0])
def test_the_block_is_that_of_1x1_convolutions_under_torchs_own_spectral_norm(spectral_norm: float) -> None:
    own, x = block(), a_map().requires_grad_()
    stock = nn.ModuleDict()
    for name in LAYERS:
        layer = getattr(own, name)
        made = stock[name] = nn.Conv2d(layer.in_features, layer.out_features, 1, bias=False, dtype=torch.float64)
        made.weight.data.copy_(layer.weight[:, :, None, None])
        if spectral_norm:
            parametrizations.spectral_norm(made)
            kept = made.parametrizations.weight[0]  # type: ignore[index, union-attr]
            kept._u.copy_(layer.u)
            kept._v.copy_(layer.v)
    assert [stock[name].out_channels for name in LAYERS] == [1, 1, 4, 9]
    turn_singular_vectors(own, spectral_norm)
    gamma = own.gamma.detach().clone().requires_grad_()
    # In training torch's own turns whenever a weight is asked for, which here is once.
    expected, found = sagan(x, lambda name, x: stock[name](x), gamma), own(x, spectral_norm)
    assert torch.allclose(found, expected, rtol=1e-12, atol=1e-14)
    of_own = torch.autograd.grad(found.square().sum(), [x, own.gamma, *(getattr(own, name).weight for name in LAYERS)])
    weights = [next(stock[name].parameters()) for name in LAYERS]
    of_stock = torch.autograd.grad(expected.square().sum(), [x, gamma, *weights])
    for one, other in zip(of_own, of_stock, strict=True):
        assert torch.allclose(one, other.view_as(one), rtol=1e-10, atol=1e-13)


def test_a_new_block_is_the_identity_and_its_gate_learns_at_once() -> None:
    new, x = SelfAttention(8, generator=torch.Generator().manual_seed(0)).double(), a_map(8)
    assert torch.equal(new(x), x)
    (gradient,) = torch.autograd.grad(new(x).square().sum(), new.gamma)
    assert float(gradient) != 0.0


@pytest.mark.parametrize("conditional", [False, True])
def test_behind_closed_gates_it_is_the_convolutional_gan_of_the_same_weights(conditional: bool) -> None:
    own = build(gamma=0.0, conditional=conditional)
    params = Params({**SIZES, "architecture": "conv", "conditional": conditional})
    plain = gan.Model.build(params, data=digits.load(), generator=torch.Generator()).double()
    missing, _ = plain.load_state_dict(own.state_dict(), strict=False)
    assert missing == []
    drawn, labels = noise(own, "discriminator", knobs()), digits.load().train.labels
    assert labels is not None
    told = (labels[:ROWS],) if conditional else ()
    in_force = {**gan.Model.knobs(Params({"spectral_norm": True, "r1": 0.3}))}
    for player in Model.players:
        ours, theirs = (
            copy.deepcopy(model)(player, rows(), drawn, in_force, evenly(), *told) for model in (own, plain)
        )
        assert torch.allclose(ours[0], theirs[0], rtol=1e-12)
    samples = [model._fakes(drawn["latent"], drawn.get("label")) for model in (own, plain)]
    assert torch.allclose(*samples, rtol=1e-12)
    assert not torch.allclose(samples[0], build(conditional=conditional)._fakes(drawn["latent"], drawn.get("label")))


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_r1_is_half_the_square_of_each_rows_slope_through_attention(spectral_norm: bool) -> None:
    """By hand, with one backward pass a row."""
    model, in_force = build(), knobs(r1=3.0, loss="hinge", spectral_norm=spectral_norm)
    _, logs = model("discriminator", rows(), noise(model, "discriminator", in_force), in_force, evenly())
    by_hand = 0.0
    for row in rows():
        point = (row.double() / 8.0 - 1.0)[None].requires_grad_()
        (slope,) = torch.autograd.grad(model._logits(point, None, None, in_force).sum(), point)
        by_hand += 1.5 * float(slope.square().sum()) / ROWS
    assert float(logs["penalty"]) == pytest.approx(by_hand, rel=1e-10)


def test_the_gradient_of_r1_through_attention_is_that_of_finite_differences() -> None:
    model, in_force = build(), knobs(r1=2.0, loss="hinge", spectral_norm=True)
    drawn = noise(model, "discriminator", in_force)
    parameters = list(model.discriminator.parameters())
    vectors = {name: buffer.clone() for name, buffer in model.discriminator.named_buffers()}
    directions = [torch.randn(p.shape, generator=torch.Generator().manual_seed(5)).double() for p in parameters]

    def loss() -> Tensor:
        found: Tensor = model("discriminator", rows(), drawn, in_force, evenly())[0]
        return found

    def moved(step: float) -> float:
        before = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
        with pytest.MonkeyPatch.context() as patch:
            # The vectors are constants to a gradient.
            patch.setattr("trainables.models._adversarial.turn_singular_vectors", lambda *_: None)
            value = float(loss().detach())
        with torch.no_grad():
            for parameter, values in zip(parameters, before, strict=True):
                parameter.copy_(values)
        return value

    gradients = torch.autograd.grad(loss(), parameters)
    assert any(not torch.equal(vectors[name], now) for name, now in model.discriminator.named_buffers())
    along = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))
    step = 1e-6
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(along, rel=1e-5)


def test_under_its_spectral_norm_the_generator_is_that_of_torchs_own() -> None:
    model = build(**{"generator.spectral_norm": True})
    latent = noise(model, "generator", knobs())["latent"]
    stock = copy.deepcopy(model.generator)
    for layer in stock.modules():
        if "u" in layer._buffers:
            u, v = layer.u, layer.v
            del layer.u, layer.v
            parametrizations.spectral_norm(layer)
            kept = layer.parametrizations.weight[0]  # type: ignore[index, union-attr]
            kept._u.copy_(u)
            kept._v.copy_(v)
    stock.eval()
    with torch.no_grad():
        x = stock.first(latent).view(ROWS, 16, 2, 2)
        x = stock.blocks[0](F.leaky_relu(x, 0.2))
        x = sagan(x, lambda name, x: _placewise(getattr(stock.attention, name), x), stock.attention.gamma)
        expected = stock.blocks[1](F.leaky_relu(x, 0.2)).tanh()
        assert torch.allclose(model._fakes(latent, None), expected, rtol=1e-12)
    plain = build()
    plain.load_state_dict(model.state_dict(), strict=False)
    assert not torch.allclose(plain._fakes(latent, None), expected, rtol=1e-2)


def _placewise(layer: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = layer(x.movedim(1, 3)).movedim(3, 1)
    return found


def test_each_networks_vectors_turn_in_its_own_loss_and_once() -> None:
    model, in_force = build(**{"generator.spectral_norm": True}), knobs(spectral_norm=True, r1=1.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.linspace(-0.1, 0.3, parameter.numel()).view_as(parameter))
    for player in Model.players:
        expected = copy.deepcopy(model)
        turn_singular_vectors(expected.get_submodule(player), 1.0)
        model(player, rows(), noise(model, player, in_force), in_force, evenly())
        for (name, buffer), (_, other) in zip(model.named_buffers(), expected.named_buffers(), strict=True):
            assert torch.equal(buffer, other), (player, name)
    assert sum(name.endswith(".u") for name, _ in model.named_buffers()) == 14


def test_a_generator_without_a_spectral_norm_has_no_vectors() -> None:
    assert not list(build().generator.buffers())


@pytest.mark.parametrize(
    ("side", "maps", "expected"),
    [
        (1, 2, 2),
        (2, 2, 4),
        (3, 2, 6),
        (4, 2, 8),
        (7, 2, 14),
        (4, 3, 16),
        (4, 4, 16),
        (4, 5, 16),
        (5, 4, 10),
        (16, 2, 16),
    ],
)
def test_attention_is_at_half_the_side_and_at_most_16_places_a_side_where_there_is_such_a_map(
    side: int, maps: int, expected: int
) -> None:
    assert side * 2 ** attended(side, maps) == expected


@pytest.mark.parametrize(("side", "expected"), [(8, 4), (32, 16), (64, 16)])
def test_both_networks_attend_at_the_same_side(side: int, expected: int) -> None:
    data = replace(digits.load(), train=Split(x=torch.zeros(300, 3, side, side, dtype=torch.uint8)))
    model, sides = build(data=data), []
    for network in (model.generator, model.discriminator):
        network.attention.register_forward_hook(lambda _, inputs, __: sides.append(inputs[0].shape[2:]))  # type: ignore[union-attr]
    fakes = model._fakes(torch.zeros(2, 3, dtype=torch.float64), None)
    model._logits(fakes, None, None, knobs())
    assert fakes.shape == (2, 3, side, side)
    assert sides == [(expected, expected)] * 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (ring.load(), r"needs images, .* of 'ring' are points of the shape \[2\]: take the model 'gan'"),
        (sines.load(), r"needs images, .* of 'sines' are series of the shape .*: take the model 'gan'"),
        (replace(digits.load(), modality="text"), "are text of the shape .*: take the model 'attention_gan_text'"),
        (
            replace(digits.load(), train=Split(x=torch.zeros(300, 1, 8, 6, dtype=torch.uint8))),
            r"the model 'attention_gan' needs square images .* of 'digits' have the shape \[1, 8, 6\]: take the model "
            "'gan' with the architecture mlp, or pad the images",
        ),
    ],
    ids=["points", "series", "text", "oblong"],
)
def test_what_is_no_square_image_is_refused(data: Data, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(data=data)


@pytest.mark.parametrize(
    ("side", "coarsest", "below", "above"), [(68, 17, 64, 72), (100, 25, 96, 104), (300, 75, 288, 320)]
)
def test_where_no_map_is_small_enough_the_nearest_sides_that_have_one_are_named(
    side: int, coarsest: int, below: int, above: int
) -> None:
    data = replace(digits.load(), train=Split(x=torch.zeros(2, 1, side, side, dtype=torch.uint8)))
    expected = f"at most 16 .* of 'digits' halve from {side} to {coarsest}: resize them to {below} or {above} places"
    with pytest.raises(ValueError, match=expected):
        build(data=data)
    for taken in (below, above):
        pixels = torch.zeros(2, 1, taken, taken, dtype=torch.uint8)
        assert build(data=replace(data, train=Split(x=pixels)), width=1).shape == (1, taken, taken)


@pytest.mark.parametrize("name", ["latent", "width"])
def test_a_size_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, and it is 0: correct it in the space"):
        build(**{name: 0})


def test_the_defaults_are_those_of_the_paper_where_they_can_be() -> None:
    default = SPACE.default()
    assert {name: default[name] for name in ("loss", "spectral_norm", "beta1", "critic_steps")} == {
        "loss": "hinge",
        "spectral_norm": True,
        "beta1": 0.0,
        "critic_steps": 1,
    }
    assert {"discriminator.lr", "generator.lr"} <= set(default)
    assert Model.knobs(Params(default))["spectral_norm"] == 1.0
