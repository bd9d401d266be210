"""Attention: against torch's own, in outputs, gradients and second derivatives, and by member of a stack."""

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from trainables.models._attention import MultiheadAttention

WIDTH, HEADS, PLACES = 12, 3, 5
both_ways = pytest.mark.parametrize("causal", [False, True])


def multihead(seed: int = 0) -> MultiheadAttention:
    return MultiheadAttention(WIDTH, HEADS, generator=torch.Generator().manual_seed(seed)).double()


def stock_of(own: MultiheadAttention) -> nn.MultiheadAttention:
    stock = nn.MultiheadAttention(WIDTH, HEADS, bias=False, batch_first=True, dtype=torch.float64)
    stock.load_state_dict(own.state_dict())
    return stock


def rows(*, seed: int = 1) -> Tensor:
    return torch.randn(4, PLACES, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@both_ways
def test_multihead_attention_is_torchs_own_in_outputs_and_gradients(causal: bool) -> None:
    own = multihead()
    stock, x = stock_of(own), rows().requires_grad_()
    mask = nn.Transformer.generate_square_subsequent_mask(PLACES, dtype=torch.float64) if causal else None
    theirs, _ = stock(x, x, x, attn_mask=mask, need_weights=False)
    found = own(x, causal=causal)
    assert torch.allclose(found, theirs, rtol=1e-12, atol=1e-14)
    push = rows(seed=2)
    of_own = torch.autograd.grad((found * push).sum(), [x, *own.parameters()])
    of_theirs = torch.autograd.grad((theirs * push).sum(), [x, *stock.parameters()])
    for one, other in zip(of_own, of_theirs, strict=True):
        assert torch.allclose(one, other, rtol=1e-11, atol=1e-13)


def test_initial_values_are_distributed_as_torchs_and_come_from_the_generator() -> None:
    own = MultiheadAttention(64, 4, generator=torch.Generator().manual_seed(0))
    stock = nn.MultiheadAttention(64, 4, bias=False)
    for (name, one), (theirs_name, other) in zip(own.named_parameters(), stock.named_parameters(), strict=True):
        assert name == theirs_name
        # Uniform: the largest of 4096 and more draws comes within a hundredth of the bound.
        assert float(one.detach().abs().max()) == pytest.approx(float(other.detach().abs().max()), rel=0.01)
    again = MultiheadAttention(64, 4, generator=torch.Generator().manual_seed(0))
    assert torch.equal(own.in_proj_weight, again.in_proj_weight)


def test_a_place_with_kept_keys_and_values_finds_what_it_finds_in_the_whole_row() -> None:
    own, x = multihead(), rows()
    whole, keys, values = own(x, causal=True), [], []
    for place in range(PLACES):
        query, key, value = own.project(x[:, place : place + 1])
        keys.append(key)
        values.append(value)
        found = own.attend(query, torch.cat(keys, 2), torch.cat(values, 2))
        assert torch.allclose(found[:, 0], whole[:, place], rtol=1e-12, atol=1e-14)
    query, key, value = own.project(x)
    last = own.attend(query[:, :, -2:], key, value, causal=True)
    assert torch.allclose(last, whole[:, -2:], rtol=1e-12, atol=1e-14)


@both_ways
def test_second_derivatives_are_those_of_finite_differences(causal: bool) -> None:
    own = multihead()

    def slope(x: Tensor) -> Tensor:
        slopes: Tensor = grad(lambda x: own(x, causal=causal).square().sum())(x)
        return slopes.square().sum()

    x, direction = rows(), rows(seed=3)
    along = float((grad(slope)(x) * direction).sum().detach())
    step = 1e-6
    measured = (slope(x + step * direction) - slope(x - step * direction)) / (2 * step)
    assert float(measured.detach()) == pytest.approx(along, rel=1e-6)


@both_ways
def test_members_of_a_stack_attend_as_each_does_alone(causal: bool) -> None:
    members = [multihead(seed) for seed in range(3)]
    weights, _ = stack_module_state(members)
    x = torch.stack([rows(seed=seed) for seed in range(3)])

    def slope(state: dict[str, Tensor], x: Tensor) -> Tensor:
        def total(x: Tensor) -> Tensor:
            found: Tensor = functional_call(members[0], state, (x,), {"causal": causal})
            return found.square().sum()

        found: Tensor = grad(total)(x)
        return found.square().sum()

    slopes = vmap(slope)(weights, x)
    gradients = torch.autograd.grad(slopes.sum(), list(weights.values()))
    for place, member in enumerate(members):
        alone = slope(dict(member.named_parameters()), x[place])
        assert torch.allclose(slopes[place], alone, rtol=1e-12)
        expected = torch.autograd.grad(alone, list(member.parameters()))
        for one, other in zip(gradients, expected, strict=True):
            assert torch.allclose(one[place], other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("heads", [0, 5])
def test_heads_that_do_not_divide_the_width_are_refused(heads: int) -> None:
    with pytest.raises(ValueError, match=f"heads must divide the width 12, so that all are of one size, .* {heads}:"):
        MultiheadAttention(WIDTH, heads, generator=torch.Generator())
