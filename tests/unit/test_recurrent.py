"""The GRU: equal to torch's own in values and two derivatives, and to itself under vmap."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from trainables.models._recurrent import GRU

ROWS, STEPS, INPUTS, HIDDEN = 5, 7, 3, 4
TOLERANCE = {"rtol": 1e-12, "atol": 1e-12}


def build(seed: int = 0) -> GRU:
    return GRU(INPUTS, HIDDEN, generator=torch.Generator().manual_seed(seed)).double()


def stock(of: GRU) -> nn.GRU:
    gru = nn.GRU(INPUTS, HIDDEN, batch_first=True).double()
    gru.load_state_dict({f"{name}_l0": parameter for name, parameter in of.state_dict().items()})
    return gru


def draws(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def penalty(states: Tensor, x: Tensor) -> Tensor:
    """The squared gradient by the rows of a number that is not linear in the states."""
    (gradient,) = torch.autograd.grad(states.square().sum(), x, create_graph=True)
    return gradient.square().sum()


@pytest.mark.parametrize("given", [False, True], ids=["from zeros", "from a state"])
def test_values_and_two_derivatives_equal_those_of_torch(given: bool) -> None:
    ours, x = build(), draws(ROWS, STEPS, INPUTS).requires_grad_()
    theirs, start = stock(ours), draws(ROWS, HIDDEN, seed=2) if given else None
    states, (right, _) = ours(x, start), theirs(x, None if start is None else start[None])
    assert states.shape == (ROWS, STEPS, HIDDEN)
    torch.testing.assert_close(states, right, **TOLERANCE)
    weights, of_stock = list(ours.parameters()), list(theirs.parameters())
    for loss in (lambda states: states.square().sum(), lambda states: penalty(states, x)):
        found = torch.autograd.grad(loss(states), [x, *weights], retain_graph=True)
        expected = torch.autograd.grad(loss(right), [x, *of_stock], retain_graph=True)
        for gradient, other in zip(found, expected, strict=True):
            assert gradient.abs().max() > 0
            torch.testing.assert_close(gradient, other, **TOLERANCE)


def test_members_of_a_stack_get_what_each_gets_alone() -> None:
    """Second derivatives by the weights included."""
    members = [build(seed) for seed in range(3)]
    stacked, _ = stack_module_state(members)  # type: ignore[arg-type]
    x = draws(3, ROWS, STEPS, INPUTS)

    def loss(weights: dict[str, Tensor], x: Tensor) -> Tensor:
        values, pull = torch.func.vjp(lambda rows: functional_call(members[0], weights, (rows,)).square().sum(), x)
        (gradient,) = pull(torch.ones_like(values))
        return values + gradient.square().sum()

    losses = vmap(loss)(stacked, x)
    gradients = torch.autograd.grad(losses.sum(), list(stacked.values()))
    for place, member in enumerate(members):
        own = dict(member.named_parameters())
        alone = loss(own, x[place])
        torch.testing.assert_close(losses[place], alone, **TOLERANCE)
        expected = torch.autograd.grad(alone, list(own.values()))
        for gradient, right in zip(gradients, expected, strict=True):
            torch.testing.assert_close(gradient[place], right, **TOLERANCE)


def test_a_state_goes_on_where_it_was_left() -> None:
    gru, x = build(), draws(ROWS, STEPS, INPUTS)
    first = gru(x[:, :3])
    torch.testing.assert_close(torch.cat([first, gru(x[:, 3:], first[:, -1])], 1), gru(x), **TOLERANCE)


def test_a_factor_of_zero_hides_a_unit_from_every_step_but_not_from_itself() -> None:
    """As if the weights that read it were zero; and factors on all units scale what is read of them."""
    gru, x, keep = build(), draws(ROWS, STEPS, INPUTS), torch.tensor([1.0, 0.0, 2.0, 0.5], dtype=torch.float64)
    found = gru(x, None, keep.expand(ROWS, HIDDEN))
    with torch.no_grad():
        gru.weight_hh.mul_(keep)
    torch.testing.assert_close(found, gru(x), **TOLERANCE)
    assert found[:, :, 1].abs().max() > 0


def test_initial_weights_come_from_the_generator_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    once, again, other = build(), build(), build(seed=1)
    assert torch.equal(before, torch.get_rng_state())
    for name, parameter in once.named_parameters():
        assert torch.equal(parameter, again.get_parameter(name))
        assert not torch.equal(parameter, other.get_parameter(name))


def test_initial_weights_are_uniform_as_in_torch() -> None:
    gru = GRU(200, 100, generator=torch.Generator().manual_seed(0))
    for parameter in gru.parameters():
        # The farthest of n draws lies within 20/n of the bound but once in e^20; the spread of a uniform is 1/sqrt(3).
        reach = float(parameter.detach().abs().max()) / 100**-0.5
        assert 1.0 - 20.0 / parameter.numel() < reach <= 1.0
        assert float(parameter.detach().std()) / 100**-0.5 == pytest.approx(
            3**-0.5, rel=5.0 * parameter.numel() ** -0.5
        )


def test_states_keep_the_type_of_the_weights_under_autocast() -> None:
    gru, x = build().float(), draws(ROWS, STEPS, INPUTS).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = gru(x)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, gru(x), rtol=0.05, atol=0.02)
