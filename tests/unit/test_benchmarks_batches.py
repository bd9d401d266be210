"""Micro-batches, which the benchmark of batch sizes measures, train what whole batches do: but not under free bits."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks is no installed package

from benchmarks import batches
from benchmarks.arms import WORKLOADS
from benchmarks.batches import ARMS, SIZES, Group
from benchmarks.micro import MicroStack
from trainables.training import alone
from trainables.training.alone import Training


@pytest.fixture(autouse=True)
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(alone, "BATCH_FACTOR", batches.ALL)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def made(name: str, batch_size: int, changed: Mapping[str, float] = {}) -> Training:
    params = {**WORKLOADS[name].params, "width": 16, "latent": 3, **changed, "batch_size": batch_size}
    return Training(WORKLOADS[name].family, WORKLOADS[name].data(), params, seed=batch_size, epochs=3)


def apart(name: str, changed: Mapping[str, float] = {}) -> list[float]:
    """How far members of a micro stack are from the same alone after two epochs, relative; in order of batch size."""
    sizes = (256, 16, 64)
    members = [made(name, size, changed) for size in sizes]
    stack = MicroStack(members[0], width=3)
    for member in members:
        stack.add(member)
    while any(member.step < 2 for member in members):
        for member in stack.advance():
            member.advance()
            if member.step == 2:
                stack.remove(member)
    found = []
    for member in sorted(members, key=lambda member: member.batch_size):
        by_itself = made(name, member.batch_size, changed)
        for _ in range(2):
            by_itself.advance()
        pairs = zip(member.players, by_itself.players, strict=True)
        found.append(max(float((a.flat.values - b.flat.values).norm() / b.flat.values.norm()) for a, b in pairs))
    return found


def test_micro_batches_train_a_gan_as_whole_batches_do() -> None:
    assert max(apart("gan", {"critic_steps": 2})) < 1e-9


def test_micro_batches_train_a_vae_as_whole_batches_do_where_all_bits_cost() -> None:
    assert max(apart("vae-small")) < 1e-9


def test_micro_batches_do_not_train_a_vae_with_free_bits() -> None:
    """The clamp is on the mean over the batch; only where the batch is one micro-batch it stays what it was."""
    one, *several = apart("vae-small", {"free_bits": 0.02, "lr": 0.01})
    assert one < 1e-9
    assert min(several) > 1e-3


def test_micro_batches_must_divide_the_batch() -> None:
    stack = MicroStack(made("vae-small", 16), width=2)
    with pytest.raises(ValueError, match="multiple of 16, and it is 24"):
        stack.add(made("vae-small", 24))


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_trains_all_sizes(arm: str) -> None:
    group = Group(arm, "vae-small", width=5)
    assert group.rate(0.0) > 0.0
    seen = {training.batch_size for training, _ in group._since.items() if training.step}
    assert seen == set(SIZES)


def test_a_factor_decides_who_shares_a_stack() -> None:
    def stacks(factor: int) -> int:
        return len({batches.built("vae-small", size, seed=0, factor=factor).structure for size in SIZES})

    assert [stacks(factor) for factor in (2, 4, 16, batches.ALL)] == [5, 3, 2, 1]
