"""Stacks that cannot be made, trainings that must not be pulled into one again, and turns that are fair."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from together import training

from trainables.training.alone import Training
from trainables.training.company import Company, StackFailed
from trainables.training.loop import Trainer
from trainables.training.stack import Stack


def make(seed: int, **config: Any) -> Training:
    return training("vae", config, seed=seed, epochs=40)


@pytest.mark.parametrize("place", [1, 3])
def test_a_stack_that_cannot_be_made_loses_nobody(place: int, monkeypatch: pytest.MonkeyPatch) -> None:
    members, added = [make(seed) for seed in range(4)], []
    company = Company(lambda _: 4, fewest=lambda _: 4)
    add = Stack.add

    def full(self: Stack, training: Training) -> None:
        added.append(training)
        if len(added) == place:
            raise torch.OutOfMemoryError
        add(self, training)

    for member in members[:3]:
        company.join(member)
    with monkeypatch.context() as patched:
        patched.setattr(Stack, "add", full)
        with pytest.raises(StackFailed) as failed:
            company.join(members[3])
    assert {*failed.value.members} == {*members}
    assert failed.value.memory
    assert company.advance() == [], "they have left"
    for member in [make(seed) for seed in range(4)]:
        company.join(member)
    assert company.stacks() == [(members[0].structure, 4)]


def test_whom_a_failure_left_alone_is_not_pulled_into_the_next_stack() -> None:
    shy, members = [make(0), make(1)], [make(seed) for seed in range(2, 5)]
    company = Company(lambda trainer: 1 if trainer in shy else 8)
    for trainer in (*shy, *members):
        company.join(trainer)
    assert [count for _, count in company.stacks()] == [3]
    assert {turn.trainer for _ in range(3) for turn in company.advance()} == {*shy, *members}


def test_a_stack_is_as_wide_as_its_narrowest_member_allows() -> None:
    narrow = make(0)
    company = Company(lambda trainer: 2 if trainer is narrow else 8)
    for trainer in (narrow, make(1), make(2), make(3)):
        company.join(trainer)
    assert sorted(count for _, count in company.stacks()) == [2, 2]


def test_one_by_itself_is_no_faster_than_a_stack_of_members_in_mid_epoch() -> None:
    # Members of unequal batches: their epochs end one after another, at many turns of the stack.
    members = [make(seed, batch_size=size) for seed, size in enumerate((17, 23, 29, 31))]
    alone = make(9, width=9)
    company = Company(lambda _: 4)
    for trainer in (*members, alone):
        company.join(trainer)
    epochs: Counter[Trainer] = Counter()
    for _ in range(60):
        for turn in company.advance():
            turn.trainer.advance()
            epochs[turn.trainer] += 1
    assert abs(epochs[alone] - sum(epochs[member] for member in members) / len(members)) <= 2.0


def test_singles_come_along_when_a_stack_has_room() -> None:
    members = [make(seed) for seed in range(6)]
    fewest = [3]
    company = Company(lambda _: 6, fewest=lambda _: fewest[0])
    for member in members[:3]:
        company.join(member)
    fewest[0] = 4
    company.join(members[3])
    company.leave(members[0])
    for _ in range(3):  # too small a stack now: each goes by itself
        for turn in company.advance():
            turn.trainer.advance()
    assert company.stacks() == []
    company.join(members[4])
    assert [count for _, count in company.stacks()] == [4]


def test_what_a_captured_step_reads_stays_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: the memory of an input is the same whenever the same step comes again."""
    places: dict[tuple[Any, ...], set[tuple[int, ...]]] = {}
    stack = Stack(make(0), width=3, at_once=True)
    stack._inputs._stays = True

    def run(key: tuple[Any, ...], step: Any) -> None:
        step()
        used = [
            name for name in stack._inputs._tensors if not name.startswith("knobs") or name.split()[1:] == [*key[1]]
        ]
        places.setdefault(key, set()).add(tuple(stack._inputs[name].data_ptr() for name in used))

    monkeypatch.setattr(stack._captured, "run", run)
    guest = make(2, free_bits=0.1, dropout=0.2)
    stack.add(make(0))
    stack.add(make(1))
    for turn in range(12):
        for member in stack.advance():
            member.advance()
        if turn == 3:
            stack.add(guest)
        if turn == 7:
            stack.remove(guest)
    assert len({key[1] for key in places}) > 1, "other knobs, and then the first ones again"
    assert all(len(addresses) == 1 for addresses in places.values())
