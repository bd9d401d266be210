"""The random streams of a trial, and the order of its rows."""

import pytest
import torch

from trainables.training.random import Order, steps_until, stream


def test_streams_differ_by_purpose_and_by_seed_and_repeat() -> None:
    first = [torch.rand(4, generator=stream(seed, purpose)) for seed in (0, 1) for purpose in ("init", "noise")]
    again = [torch.rand(4, generator=stream(seed, purpose)) for seed in (0, 1) for purpose in ("init", "noise")]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert len({tuple(draw.tolist()) for draw in first}) == 4


def test_rows_come_from_one_permutation_after_the_other() -> None:
    order = Order(10, seed=3)
    rows = torch.cat([order.take(count) for count in (4, 4, 4, 25, 3)])
    for begin in range(0, 40, 10):
        assert sorted(rows[begin : begin + 10].tolist()) == list(range(10))
    assert not torch.equal(rows[:10], rows[10:20])


def test_the_order_does_not_depend_on_how_it_is_cut() -> None:
    whole, parts = Order(10, seed=3), Order(10, seed=3)
    assert torch.equal(whole.take(40), torch.cat([parts.take(count) for count in (4, 4, 4, 25, 3)]))


def test_the_order_goes_on_from_its_state() -> None:
    order, other = Order(10, seed=3), Order(10, seed=4)
    order.take(13)
    other.load_state({name: tensor.clone() for name, tensor in order.state().items()})
    assert torch.equal(order.take(30), other.take(30))


@pytest.mark.parametrize("batch_size", [1, 7, 64, 256, 1000, 3000])
def test_every_batch_size_sees_the_same_number_of_rows_an_epoch(batch_size: int) -> None:
    for epoch in range(30):
        seen = steps_until(epoch, rows=1000, batch_size=batch_size) * batch_size
        assert epoch * 1000 <= seen < epoch * 1000 + batch_size
