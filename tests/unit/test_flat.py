"""One vector for all parameters: views keep identity and values wherever the vector lives."""

import pytest
import torch
from torch import Tensor, nn

from trainables.training.flat import ALIGNMENT, Flat, Layout


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2))


def test_parameters_move_into_the_vector_and_keep_identity_and_values() -> None:
    module = network()
    before, values = list(module.parameters()), [parameter.detach().clone() for parameter in module.parameters()]
    flat = Flat(module)
    assert all(left is right for left, right in zip(before, module.parameters(), strict=True))
    assert all(torch.equal(left, right) for left, right in zip(module.parameters(), values, strict=True))
    flat.values.zero_()
    assert all(bool((parameter == 0.0).all()) for parameter in module.parameters())


def test_parameters_begin_aligned_and_what_lies_between_is_zero() -> None:
    flat = Flat(network())
    assert all(offset % ALIGNMENT == 0 for offset in flat.layout.offsets)
    assert flat.layout.size % ALIGNMENT == 0
    assert all(parameter.data_ptr() % (4 * ALIGNMENT) == flat.values.data_ptr() % 64 for parameter in flat.parameters)
    between = torch.ones_like(flat.values)
    for view in flat.layout.views(between):
        view.zero_()
    assert between.any()
    assert not flat.values[between == 1.0].any()


def test_a_number_and_a_stack_of_them_have_views_too() -> None:
    layout = Layout.of([torch.zeros(()), torch.zeros(3)])
    vector = torch.arange(float(layout.size))
    number, three = layout.views(vector)
    assert (number.shape, three.shape) == ((), (3,))
    assert float(number) == 0.0
    stacked, _ = layout.views(torch.stack([vector, vector + 7.0]))
    assert stacked.tolist() == [0.0, 7.0]


def test_gradients_are_taken_into_one_vector_and_one_step_moves_all() -> None:
    module, plain = network(), network()
    flat = Flat(module)
    x = torch.linspace(-1.0, 1.0, 20).view(4, 5)
    flat.take(torch.autograd.grad(module(x).square().sum(), flat.parameters))
    plain(x).square().sum().backward()
    torch.optim.Adam([flat.values], lr=0.1).step()
    torch.optim.Adam(plain.parameters(), lr=0.1).step()
    for left, right in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(left, right)


def test_what_no_optimizer_moves_is_a_second_vector() -> None:
    module = network()
    module[0].weight.requires_grad_(False)
    module.register_buffer("seen", torch.ones(2))
    module.register_buffer("count", torch.zeros(1, dtype=torch.int64))
    flat = Flat(module)
    assert flat.names == ["0.bias", "2.weight", "2.bias"]
    assert flat.kept_names == ["0.weight", "seen"]
    before = module[0].weight.clone()
    flat.move(torch.empty_like(flat.values), torch.zeros_like(flat.values), state := torch.empty_like(flat.state))
    assert torch.equal(module[0].weight, before)
    state.fill_(5.0)
    assert module.seen.tolist() == [5.0, 5.0]
    assert module.count.tolist() == [0]
    flat.leave()
    state.zero_()
    assert module.seen.tolist() == [5.0, 5.0]


def test_a_network_that_is_frozen_whole_is_refused() -> None:
    with pytest.raises(ValueError, match="freeze fewer layers"):
        Flat(network().requires_grad_(False))


@pytest.mark.parametrize("row", [0, 2])
def test_a_vector_moves_into_a_row_and_out_again(row: int) -> None:
    module = network()
    flat = Flat(module)
    values, optimizer = flat.values, torch.optim.SGD([flat.values], lr=1.0, momentum=0.5)
    start = [parameter.detach().clone() for parameter in module.parameters()]
    stack, gradients = torch.full((3, flat.layout.size), 7.0), torch.ones(3, flat.layout.size)

    flat.move(stack[row], gradients[row], flat.state)
    # Optimizers know it by its identity.
    assert flat.values is values
    assert all(torch.equal(left, right) for left, right in zip(module.parameters(), start, strict=True))
    optimizer.step()
    assert all(torch.equal(left, right - 1.0) for left, right in zip(module.parameters(), start, strict=True))
    others = [other for other in range(3) if other != row]
    assert bool((stack[others] == 7.0).all())

    flat.leave()
    after = stack.clone()
    optimizer.zero_grad(set_to_none=False)
    flat.take([torch.ones_like(parameter) for parameter in flat.parameters])
    optimizer.step()
    # Momentum .5 on the gradient 1 before.
    for left, right in zip(module.parameters(), start, strict=True):
        torch.testing.assert_close(left, right - 2.5)
    assert torch.equal(stack, after)


def test_views_of_a_stack_have_an_axis_in_front() -> None:
    layout = Layout.of([torch.zeros(2, 3), torch.zeros(5)])
    stacked: Tensor = torch.arange(2.0 * layout.size).view(2, layout.size)
    matrix, vector = layout.views(stacked)
    assert matrix.shape == (2, 2, 3)
    assert vector.shape == (2, 5)
    assert torch.equal(matrix[1].flatten(), stacked[1, :6])
    assert vector.untyped_storage().data_ptr() == stacked.untyped_storage().data_ptr()
