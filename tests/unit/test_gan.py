"""The GAN: its losses, R1, its networks, its signs of collapse, and the faults that are easy to make."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import softplus

from trainables.data import digits, ring
from trainables.data._data import Data, Split
from trainables.models._adversarial import LOSSES, discriminator_loss, generator_loss
from trainables.models.gan import Model
from trainables.training.params import Params

ROWS = 6
SIZES = {"mlp": {"architecture": "mlp", "latent": 3, "width": 8, "depth": 2},
         "conv": {"architecture": "conv", "latent": 3, "width": 4}}  # fmt: skip
every_architecture = pytest.mark.parametrize("architecture", ["mlp", "conv"])
every_loss = pytest.mark.parametrize("kind", LOSSES)


def knobs(**changed: float | str | bool) -> dict[str, float]:
    return Model.in_force(Model.knobs(Params(changed)), progress=0.5)


def build(architecture: str = "mlp", *, data: Data | None = None, seed: int = 0, conditional: bool = False) -> Model:
    generator = torch.Generator().manual_seed(seed)
    params = Params({**SIZES[architecture], "conditional": conditional})
    return Model.build(params, data=data or digits.load(), generator=generator).double()


def rows(begin: int = 0) -> Tensor:
    return digits.load().train.x[begin : begin + ROWS]


def noise(model: Model, player: str, in_force: dict[str, float], *, seed: int = 1) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(seed), rows=ROWS, knobs=in_force)
    return {name: tensor if name == "label" else tensor.double() for name, tensor in drawn.items()}


def evenly() -> Tensor:
    return torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float64)


def loss(model: Model, player: str, in_force: dict[str, float], *, drawn: dict[str, Tensor] | None = None) -> Tensor:
    drawn = noise(model, player, in_force) if drawn is None else drawn
    return model(player, rows(), drawn, in_force, evenly())[0]


def logits_by_hand(model: Model, x_BD: Tensor) -> Tensor:
    """The discriminator's logits of rows scaled to -1..1, written out."""
    *hidden, last = model.discriminator.layers  # type: ignore[union-attr]
    for layer in hidden:
        x_BD = x_BD @ layer.weight.T + layer.bias
        x_BD = torch.where(x_BD > 0, x_BD, 0.2 * x_BD)
    return (x_BD @ last.weight.T + last.bias)[:, 0]


def numbers(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_losses_have_the_values_of_their_definitions() -> None:
    real, fake = numbers(2.0, 0.5, -1.0), numbers(-2.0, 0.5, 0.0)
    expected = {
        "hinge": ([0.0, 2.0, 3.0], [2.0, -0.5, 0.0]),
        "wgan-gp": ([-4.0, 0.0, 1.0], [2.0, -0.5, 0.0]),
        "least-squares": ([2.5, 0.25, 2.0], [4.5, 0.125, 0.5]),
    }
    for kind, (of_discriminator, of_generator) in expected.items():
        assert discriminator_loss(real, fake, knobs(loss=kind)).tolist() == of_discriminator
        assert generator_loss(fake, knobs(loss=kind)).tolist() == of_generator


def test_the_non_saturating_loss_is_the_cross_entropy_of_logits() -> None:
    real, fake = numbers(1.5, -0.3), numbers(0.2, -4.0)
    by_hand = -(real.sigmoid().log() + (1 - fake.sigmoid()).log())
    assert torch.allclose(discriminator_loss(real, fake, knobs()), by_hand, rtol=1e-12)
    assert torch.allclose(generator_loss(fake, knobs()), -fake.sigmoid().log(), rtol=1e-12)


@every_loss
def test_knobs_that_are_tensors_pick_the_same_loss(kind: str) -> None:
    real, fake, own = numbers(1.5, -0.3, 4.0), numbers(0.2, -4.0, 1.0), knobs(loss=kind)
    tensors = {name: numbers(value)[0] for name, value in own.items()}
    assert torch.equal(discriminator_loss(real, fake, tensors), discriminator_loss(real, fake, own))
    assert torch.equal(generator_loss(fake, tensors), generator_loss(fake, own))


def test_the_losses_of_a_model_are_those_of_its_logits() -> None:
    model, in_force = build(), knobs()
    drawn = noise(model, "discriminator", in_force)
    fake = model.generator(drawn["latent"]).tanh()
    real_B = logits_by_hand(model, rows().flatten(1).double() / 8 - 1)
    fake_B = logits_by_hand(model, fake)
    expected = (softplus(-real_B) + softplus(fake_B)).mean()
    total, logs = model("discriminator", rows(), drawn, in_force, evenly())
    assert torch.allclose(total, expected, rtol=1e-12)
    assert torch.allclose(logs["real"], real_B.mean().detach(), rtol=1e-12)
    assert torch.allclose(logs["fake"], fake_B.mean().detach(), rtol=1e-12)
    assert torch.allclose(loss(model, "generator", in_force, drawn=drawn), softplus(-fake_B).mean(), rtol=1e-12)


@every_architecture
def test_the_discriminator_learns_from_reals_and_the_generator_from_noise_alone(architecture: str) -> None:
    model, in_force = build(architecture), knobs(r1=1.0)
    drawn = noise(model, "discriminator", in_force)
    for player, matters in (("discriminator", True), ("generator", False)):
        first = model(player, rows(), drawn, in_force, evenly())[0].detach()
        second = model(player, rows(ROWS), drawn, in_force, evenly())[0].detach()
        assert (not torch.equal(first, second)) is matters


@every_architecture
@pytest.mark.parametrize("r1", [0.0, 2.0])
def test_the_discriminators_loss_moves_no_generator_weight(architecture: str, r1: float) -> None:
    model, in_force = build(architecture), knobs(r1=r1)
    total = loss(model, "discriminator", in_force)
    gradients = torch.autograd.grad(total, list(model.generator.parameters()), allow_unused=True)
    assert gradients == (None,) * len(gradients)


def test_r1_of_a_linear_discriminator_is_half_the_square_of_its_weights() -> None:
    model = build()
    linear = torch.nn.Linear(64, 1).double()
    model.discriminator.forward = lambda x, *_: linear(x)  # type: ignore[method-assign]
    drawn = noise(model, "discriminator", knobs())
    with_penalty = loss(model, "discriminator", knobs(r1=3.0), drawn=drawn)
    without = loss(model, "discriminator", knobs(), drawn=drawn)
    expected = 1.5 * linear.weight.square().sum()
    assert torch.allclose(with_penalty - without, expected, rtol=1e-9)
    (gradient,) = torch.autograd.grad(with_penalty - without, linear.weight)
    assert torch.allclose(gradient, 3.0 * linear.weight, rtol=1e-9)


@every_architecture
@every_loss
def test_the_gradient_under_a_penalty_is_that_of_finite_differences(architecture: str, kind: str) -> None:
    penalty = {"gp": 3.0} if kind == "wgan-gp" else {"r1": 2.0}
    model, in_force = build(architecture), knobs(dropout=0.3, loss=kind, **penalty)
    drawn = noise(model, "discriminator", in_force)
    parameters = list(model.discriminator.parameters())
    gradients = torch.autograd.grad(loss(model, "discriminator", in_force, drawn=drawn), parameters)
    directions = [torch.randn(p.shape, generator=torch.Generator().manual_seed(5)).double() for p in parameters]
    along = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True))

    def moved(step: float) -> float:
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.add_(direction, alpha=step)
        value = float(loss(model, "discriminator", in_force, drawn=drawn).detach())
        with torch.no_grad():
            for parameter, direction in zip(parameters, directions, strict=True):
                parameter.sub_(direction, alpha=step)
        return value

    step = 1e-7
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(along, rel=1e-5)


def test_a_penalty_that_is_off_costs_no_second_pass() -> None:
    model, calls = build(), []
    model.discriminator.register_forward_hook(lambda *_: calls.append(1))
    loss(model, "discriminator", knobs())
    assert len(calls) == 1
    loss(model, "discriminator", knobs(r1=1.0))
    assert len(calls) == 3


OWN: list[dict[str, float | str | bool]] = [
    {"r1": 1.0, "dropout": 0.3, "loss": "hinge"},
    {},
    {"r1": 10.0, "dropout": 0.1, "spectral_norm": True},
    {"loss": "wgan-gp", "gp": 5.0, "dropout": 0.2},
    {"loss": "wgan-gp", "gp": 0.1, "spectral_norm": True},
    {"loss": "least-squares"},
]


@every_architecture
@pytest.mark.parametrize("conditional", [False, True])
def test_members_of_a_stack_get_what_each_gets_alone(architecture: str, conditional: bool) -> None:
    """They differ in loss, penalty, dropout and spectral norm, and one has none; second derivatives included."""
    own = [knobs(**each) for each in OWN]
    members = [build(architecture, seed=seed, conditional=conditional) for seed in range(len(own))]
    weights, buffers = stack_module_state(members)  # type: ignore[arg-type]
    xs = torch.stack([rows(ROWS * place) for place in range(len(own))])
    labels = torch.arange(len(own))[:, None] + torch.arange(ROWS) % 3
    stacked_knobs = {name: torch.tensor([each[name] for each in own], dtype=torch.float64) for name in own[0]}
    for player in Model.players:
        drawn = [
            noise(member, player, each, seed=seed) for seed, (member, each) in enumerate(zip(members, own, strict=True))
        ]
        names = {name: tensor for each in drawn for name, tensor in each.items()}
        stacked = {
            name: torch.stack([each.get(name, torch.zeros_like(one)) for each in drawn]) for name, one in names.items()
        }

        def both(state: dict[str, Tensor], *rest: Tensor | dict[str, Tensor]) -> object:
            x, noise, knob, of_x = rest
            return functional_call(members[0], state, (player, x, noise, knob, evenly(), of_x))  # noqa: B023

        losses, logs = vmap(both)({**weights, **buffers}, xs, stacked, stacked_knobs, labels)
        names_of_player = [name for name in weights if name.startswith(player)]
        gradients = torch.autograd.grad(losses.sum(), [weights[name] for name in names_of_player])
        for place, member in enumerate(members):
            of_rows = labels[place] if conditional else None
            alone, alone_logs = member(player, xs[place], drawn[place], own[place], evenly(), of_rows)
            assert torch.allclose(losses[place], alone, rtol=1e-12)
            for name, log in alone_logs.items():
                assert torch.allclose(logs[name][place], log, rtol=1e-12, atol=1e-15), name
            for name, buffer in member.named_buffers():
                assert torch.allclose(buffers[name][place], buffer, rtol=1e-12, atol=1e-15), name
            of_member = dict(member.named_parameters())
            expected = torch.autograd.grad(alone, [of_member[name] for name in names_of_player])
            for gradient, right in zip(gradients, expected, strict=True):
                assert torch.allclose(gradient[place], right, rtol=1e-12, atol=1e-14)


@every_architecture
def test_every_uniform_of_dropout_is_used(architecture: str) -> None:
    model, in_force = build(architecture), knobs(dropout=0.5)
    for player in Model.players:
        drawn = noise(model, player, in_force)
        base = loss(model, player, in_force, drawn=drawn)
        uniforms = [name for name in drawn if name != "latent"]
        assert len(uniforms) == (2 if player == "discriminator" else 1)
        for name in uniforms:
            for unit in range(drawn[name].shape[1]):
                flipped = drawn[name].clone()
                flipped[:, unit] = 1.0 - flipped[:, unit]
                assert not torch.equal(loss(model, player, in_force, drawn={**drawn, name: flipped}), base)


def test_samples_are_whole_levels_from_end_to_end() -> None:
    model = build()
    latent = torch.zeros(3, 3, dtype=torch.float64)
    with torch.no_grad():
        for value, level in ((-50.0, 0), (0.0, 8), (50.0, 16)):
            for parameter in model.generator.parameters():
                parameter.zero_()
            model.generator.layers[-1].bias.fill_(value)  # type: ignore[union-attr, index]
            samples = model.sample({"latent": latent})
            assert (samples.dtype, samples.shape) == (torch.uint8, (3, 1, 8, 8))
            assert samples.unique().tolist() == [level]


def test_real_numbers_are_modelled_in_their_own_scale() -> None:
    model = build(data=ring.load())
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.zero_()
        model.generator.layers[-1].bias.copy_(torch.tensor([5.0, -7.0]))  # type: ignore[union-attr, index]
    samples = model.sample({"latent": torch.zeros(2, 3, dtype=torch.float64)})
    assert samples.dtype == torch.float32
    assert samples.tolist() == [[5.0, -7.0]] * 2


def test_a_spread_of_one_is_that_of_the_data() -> None:
    model = build(data=ring.load())
    x = ring.load().train.x[:ROWS].double()
    model.generator.forward = lambda z: x  # type: ignore[method-assign]
    _, logs = model("generator", x, noise(model, "generator", knobs()), knobs(), evenly())
    by_hand = x.var(0, correction=0).mean().sqrt() / math.sqrt(0.5)
    assert float(logs["spread"]) == pytest.approx(float(by_hand), rel=1e-2)


def test_collapse_needs_samples_without_spread_and_a_saturated_discriminator() -> None:
    model = build()
    healthy = {"discriminator.real": 1.0, "discriminator.fake": -1.0, "generator.spread": 0.9}
    apart, narrow = {"discriminator.real": 8.0, "discriminator.fake": -8.0}, {"generator.spread": 1e-3}
    assert model.collapsed(healthy, knobs()) is None
    assert model.collapsed({**healthy, **apart}, knobs()) is None
    assert model.collapsed({**healthy, **narrow}, knobs()) is None
    assert "mode collapse" in str(model.collapsed({**healthy, **apart, **narrow}, knobs()))
    assert model.collapsed(apart, knobs()) is None


def test_the_generator_moves_on_every_critic_step() -> None:
    assert Model.paces(knobs(critic_steps=5)) == {"discriminator": 1, "generator": 5}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("side", "coarsest", "blocks"), [(4, 1, 2), (8, 2, 2), (12, 3, 2), (16, 4, 2), (28, 7, 2), (32, 4, 3), (64, 4, 4)]
)
def test_a_convolutional_pair_halves_and_doubles_to_the_side_of_the_images(
    side: int, coarsest: int, blocks: int
) -> None:
    x = torch.zeros(300, 3, side, side, dtype=torch.uint8)
    data = replace(digits.load(), train=Split(x=x))
    model = build("conv", data=data)
    assert len(model.generator.blocks) == len(model.discriminator.blocks) == blocks  # type: ignore[arg-type]
    assert model.generator.coarsest == (4 * 2 ** (blocks - 1), coarsest, coarsest)
    assert model.sample({"latent": torch.zeros(2, 3, dtype=torch.float64)}).shape == (2, 3, side, side)
    assert model.discriminator(x[:2].double(), (), 0.0).shape == (2, 1)


@pytest.mark.parametrize("shape", [(1, 6, 6), (1, 8, 16), (64,), (2,)])
def test_a_convolutional_pair_refuses_what_it_cannot_halve(shape: tuple[int, ...]) -> None:
    data = replace(digits.load(), train=Split(x=torch.zeros(300, *shape, dtype=torch.uint8)))
    with pytest.raises(ValueError, match="a side that is a multiple of 4, and rows of 'digits' have the shape"):
        build("conv", data=data)


@pytest.mark.parametrize("name", ["latent", "width", "depth"])
def test_a_size_below_one_is_refused(name: str) -> None:
    params = Params({**SIZES["mlp"], name: 0})
    with pytest.raises(ValueError, match=f"{name} must be at least 1, and it is 0"):
        Model.build(params, data=digits.load(), generator=torch.Generator())


def test_an_unknown_architecture_is_refused() -> None:
    params = Params({**SIZES["mlp"], "architecture": "resnet"})
    with pytest.raises(ValueError, match="one of mlp, conv, wave, spectrogram, and it is 'resnet'"):
        Model.build(params, data=digits.load(), generator=torch.Generator())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"r1": -1.0}, "r1 must be at least 0"),
        ({"r1": float("nan")}, "r1 must be at least 0"),
        ({"dropout": 1.0}, "dropout must be at least 0, a rate also below 1"),
        ({"gp": 0.0, "loss": "wgan-gp"}, "gp must be above 0, and it is 0.0"),
        ({"gp": -1.0, "loss": "wgan-gp"}, "gp must be at least 0"),
        ({"loss": "wgan"}, "loss must be one of non-saturating, hinge, wgan-gp, least-squares, and it is 'wgan'"),
        ({"critic_steps": 0}, "critic_steps must be at least 1"),
    ],
)
def test_a_knob_out_of_range_is_refused(changed: dict[str, float | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knobs(**changed)


@every_architecture
def test_half_precision_of_the_layers_leaves_sums_over_rows_their_digits(architecture: str) -> None:
    model, in_force = build(architecture).float(), knobs(r1=1.0, dropout=0.2)
    weights = evenly().float()
    for player in Model.players:
        drawn = {name: tensor.float() for name, tensor in noise(model, player, in_force).items()}
        total, logs = model(player, rows(), drawn, in_force, weights)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, half_logs = model(player, rows(), drawn, in_force, weights)
        assert half.dtype == torch.float32
        # The layers keep 8 bits; a loss that was rounded to as many itself would have no others.
        assert float(half.detach()) == pytest.approx(float(total.detach()), rel=1e-2)
        assert half.detach() != half.detach().bfloat16()
        for name in logs:
            assert float(half_logs[name]) == pytest.approx(float(logs[name]), rel=0.05, abs=5e-3), name
