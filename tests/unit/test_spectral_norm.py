"""The spectral norm of a discriminator: against torch's own, as it is turned step by step, and by member."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.utils import parametrizations

from trainables.data import digits
from trainables.models._layers import (
    MLP,
    add_singular_vectors,
    convolution,
    doubling,
    halving,
    linear,
    normed,
    quartering,
    turn_singular_vectors,
)
from trainables.models.gan import Model
from trainables.training.alone import Training
from trainables.training.params import Params

KINDS = ["linear", "convolution", "transposed convolution", "without a bias", "wave"]
Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d


def layer_of(kind: str, *, seed: int = 0) -> Layer:
    generator = torch.Generator().manual_seed(seed)
    made: Layer
    match kind:
        case "convolution":
            made = halving(3, 5, generator=generator)
        case "transposed convolution":
            made = doubling(3, 5, generator=generator)
        case "wave":
            made = quartering(2, 5, generator=generator)
        case _:
            made = linear(7, 5, bias=kind == "linear", generator=generator)
    made.double()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    add_singular_vectors(made, generator=generator)
    torch.set_default_dtype(before)
    return made


def rows(kind: str) -> Tensor:
    shape = {"wave": (4, 2, 12), "convolution": (4, 3, 6, 6), "transposed convolution": (4, 3, 6, 6)}
    return torch.randn(shape.get(kind, (4, 7)), generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def matrix(layer: nn.Module) -> Tensor:
    """The weight, a row for each output."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    return (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).detach().flatten(1)


def largest(layer: nn.Module) -> Tensor:
    return torch.linalg.svdvals(matrix(layer))[0]


def value(layer: nn.Module) -> Tensor:
    """u W v under the layer's vectors."""
    return layer.get_buffer("u") @ matrix(layer) @ layer.get_buffer("v")


def stock_of(layer: Layer) -> nn.Module:
    """The same layer under torch's own spectral norm, with the same vectors."""
    stock = copy.deepcopy(layer)
    for name in ("u", "v"):
        delattr(stock, name)
    parametrizations.spectral_norm(stock)
    own = stock.parametrizations.weight[0]  # type: ignore[index, union-attr]
    own._u.copy_(layer.u)
    own._v.copy_(layer.v)
    return stock


@pytest.mark.parametrize("kind", KINDS)
def test_three_steps_equal_torchs_own_in_values_gradients_and_vectors(kind: str) -> None:
    layer = layer_of(kind)
    stock = stock_of(layer)
    for _ in range(3):
        # What moves a weight between two steps must move both alike.
        with torch.no_grad():
            push = torch.linspace(-0.3, 0.2, layer.weight.numel(), dtype=torch.float64).view_as(layer.weight)
            layer.weight += push
            stock.parametrizations.weight.original += push  # type: ignore[union-attr, operator]
        turn_singular_vectors(layer, 1.0)
        x = rows(kind).requires_grad_()
        own, theirs = normed(layer, x, 1.0), stock(x)
        assert torch.allclose(own, theirs, rtol=1e-12)
        of_theirs = torch.autograd.grad(theirs.square().sum(), [x, *_trained(stock)])
        of_own = torch.autograd.grad(own.square().sum(), [x, *_trained(layer)])
        for one, other in zip(of_own, of_theirs, strict=True):
            assert torch.allclose(one, other, rtol=1e-11, atol=1e-13)
        kept = stock.parametrizations.weight[0]  # type: ignore[index, union-attr]
        assert torch.allclose(layer.get_buffer("u"), kept._u, rtol=1e-12)
        assert torch.allclose(layer.get_buffer("v"), kept._v, rtol=1e-12)


def _trained(layer: nn.Module) -> list[nn.Parameter]:
    """Bias and weight, where the one is there and by whatever name the other goes."""
    return [parameter for _, parameter in sorted(layer.named_parameters())]


@pytest.mark.parametrize("kind", KINDS)
def test_turned_until_they_stand_the_vectors_give_the_largest_singular_value(kind: str) -> None:
    layer = layer_of(kind)
    assert float(value(layer)) == pytest.approx(float(largest(layer)), rel=0.05)
    for _ in range(300):
        turn_singular_vectors(layer, 1.0)
    assert float(value(layer)) == pytest.approx(float(largest(layer)), rel=1e-12)


def test_without_it_a_layer_is_as_it_is_and_its_vectors_stay() -> None:
    layer = layer_of("linear")
    before = layer.get_buffer("u").clone()
    for off in (0.0, torch.tensor(0.0, dtype=torch.float64)):
        turn_singular_vectors(layer, off)
        assert torch.equal(layer.get_buffer("u"), before)
        assert torch.allclose(normed(layer, rows("linear"), off), layer(rows("linear")), rtol=1e-15)


def test_each_member_turns_its_own_vectors_and_one_that_leaves_it_out_keeps_them() -> None:
    members = [layer_of("linear", seed=seed) for seed in range(3)]
    weights, buffers = stack_module_state(members)  # type: ignore[arg-type]
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    on_K = torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64)
    turning = _Turning(members[0])

    def turned(state: dict[str, Tensor], on: Tensor) -> Tensor:
        return functional_call(turning, {f"layer.{name}": own for name, own in state.items()}, (on,))  # type: ignore[no-any-return]

    outs = vmap(turned)({**weights, **buffers}, on_K)
    for place, member in enumerate(members):
        turn_singular_vectors(member, float(on_K[place]))
        assert torch.allclose(outs[place], normed(member, rows("linear"), float(on_K[place])), rtol=1e-12)
        for name in ("u", "v"):
            assert torch.allclose(buffers[name][place], member.get_buffer(name), rtol=1e-13)
            assert torch.equal(buffers[name][place], before[name][place]) is (place == 1)


class _Turning(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.x = layer, rows("linear")

    def forward(self, on: Tensor) -> Tensor:
        turn_singular_vectors(self.layer, on)
        return normed(self.layer, self.x, on)


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_one_iteration_a_step_keeps_up_with_a_training(architecture: str) -> None:
    sizes = {"mlp": {"width": 32, "depth": 2}, "conv": {"width": 8}}[architecture]
    params = {
        "architecture": architecture,
        "latent": 4,
        **sizes,
        "optimizer": "adam",
        "lr": 1e-3,
        "batch_size": 50,
        "spectral_norm": True,
    }
    trained = Training(Model, digits.load(), params, seed=0, epochs=3)
    discriminator = trained.module.get_submodule("discriminator")
    first = copy.deepcopy(discriminator)
    for _ in range(3):
        trained.advance()
    kept_up, left = [], []
    for layer, before in zip(discriminator.modules(), first.modules(), strict=True):
        if isinstance(layer, nn.Linear | nn.Conv2d):
            kept_up.append(float(largest(layer) / value(layer)))
            left.append(float(largest(layer) / (before.u @ layer.weight.detach().flatten(1) @ before.v)))
    assert len(kept_up) == 3
    # One iteration a step follows weights that move, some steps behind; vectors of the start are far off.
    assert max(kept_up) < 1.1
    assert max(left) > 1.3


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_a_discriminators_loss_turns_once_and_the_generators_not(architecture: str) -> None:
    sizes = {"architecture": architecture, "latent": 3, "width": 4, "depth": 1}
    model = Model.build(Params(sizes), data=digits.load(), generator=torch.Generator().manual_seed(0))
    knobs = Model.knobs(Params({"spectral_norm": True, "r1": 1.0}))
    with torch.no_grad():
        for parameter in model.discriminator.parameters():
            parameter.add_(torch.linspace(-0.1, 0.3, parameter.numel()).view_as(parameter))
    once = copy.deepcopy(model.discriminator)
    turn_singular_vectors(once, 1.0)
    drawn = model.draw("discriminator", torch.Generator().manual_seed(1), rows=4, knobs=knobs)
    for player in ("discriminator", "generator"):
        model(player, digits.load().train.x[:4], drawn, knobs, torch.full((4,), 0.25))
        for (name, buffer), (_, expected) in zip(
            model.discriminator.named_buffers(), once.named_buffers(), strict=True
        ):
            assert torch.equal(buffer, expected), name


def test_initial_weights_do_not_depend_on_the_vectors_and_these_come_from_the_generator() -> None:
    def made(seed: int, *, vectors: bool) -> MLP:
        generator = torch.Generator().manual_seed(seed)
        network = MLP((6, 5, 1), generator=generator)
        if vectors:
            torch.rand(3)
            add_singular_vectors(network, generator=generator)
        return network

    first, again, other = (made(seed, vectors=True) for seed in (0, 0, 1))
    for (name, one), (_, same) in zip(first.named_parameters(), made(0, vectors=False).named_parameters(), strict=True):
        assert torch.equal(one, same), name
    for name, buffer in first.named_buffers():
        assert torch.equal(buffer, again.get_buffer(name))
        assert not torch.equal(buffer, other.get_buffer(name)) or buffer.numel() == 1


def test_a_convolution_of_any_stride_is_normed_as_torch_does() -> None:
    layer = convolution(2, 3, kernel=3, stride=2, padding=1, generator=torch.Generator().manual_seed(0)).double()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    add_singular_vectors(layer, generator=torch.Generator().manual_seed(0))
    torch.set_default_dtype(before)
    x = torch.randn(2, 2, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    stock = stock_of(layer).eval()
    assert torch.allclose(normed(layer, x, 1.0), stock(x), rtol=1e-12)
