"""Trainings side by side: who shares a stack, whose turn it is, and what is lost when a stack fails."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain import Config
from together import AtOnce, apart, company_of, few_digits, go_on, training, weights

from trainables.models import vae
from trainables.training import company as company_module
from trainables.training.alone import Training
from trainables.training.company import Company, StackFailed
from trainables.training.loop import Trainer
from trainables.training.own import OwnTraining
from trainables.training.stack import Stack

EPOCHS = 4


def make(seed: int, family: str = "vae", /, **config: Any) -> Training:
    return training(family, config, seed=seed, epochs=EPOCHS)


def sizes(company: Company) -> list[int]:
    return [count for _, count in company.stacks()]


def shares_a_row(trained: Training, other: Training) -> bool:
    left, right = (each.players[0].flat.values.untyped_storage().data_ptr() for each in (trained, other))
    return left == right


def test_each_structure_has_stacks_of_its_own() -> None:
    members = [make(seed, width=8 + seed % 2, batch_size=16 if seed < 4 else 32) for seed in range(8)]
    company = company_of(*members)
    assert sizes(company) == [2, 2, 2, 2]
    assert len({structure for structure, _ in company.stacks()}) == 4
    assert shares_a_row(members[0], members[2])
    assert not shares_a_row(members[0], members[1])
    go_on(company, members)
    assert all(member.step == EPOCHS for member in members)
    assert company.advance() == []


@pytest.mark.parametrize(("width", "expected"), [(1, []), (2, [2, 2]), (3, [3, 2]), (8, [5])])
def test_a_stack_holds_as_many_as_the_width_allows(width: int, expected: list[int]) -> None:
    assert sizes(company_of(*(make(seed) for seed in range(5)), width=width)) == expected


def test_the_width_is_asked_for_only_where_two_meet() -> None:
    asked: list[Trainer] = []

    def width(trainer: Trainer) -> int:
        asked.append(trainer)
        return 4

    company = Company(width)
    first, second, other = make(0), make(1), make(2, width=9)
    company.join(first)
    company.join(other)
    assert asked == []
    company.join(second)
    assert {*asked} == {first, second}


def test_a_smaller_width_later_lets_nobody_more_in() -> None:
    found = {"width": 4}
    company = Company(lambda trainer: found["width"])
    members = [make(seed) for seed in range(4)]
    for member in members[:2]:
        company.join(member)
    found["width"] = 2
    for member in members[2:]:
        company.join(member)
    assert sizes(company) == [2, 2]


def test_the_last_of_a_stack_goes_on_by_itself_from_the_end_of_its_epoch() -> None:
    first, second = make(0), make(1, batch_size=11)
    company = company_of(first, second)
    (turn,) = company.advance()
    assert turn.trainer is first
    assert turn.seconds > 0.0
    first.advance()
    assert not company.at_rest(second)
    company.leave(first)
    assert sizes(company) == [1]
    go_on(company, [second], until=1)
    company.join(second)
    assert sizes(company) == []
    same = make(1, batch_size=11)
    for _ in range(EPOCHS):
        same.advance()
    go_on(company, [second])
    assert apart(weights(second), weights(same)) < 1e-4


def test_one_left_in_a_stack_is_taken_out_of_it() -> None:
    first, second = make(0), make(1)
    company = company_of(first, second)
    for turn in company.advance():
        turn.trainer.advance()
    company.leave(first)
    (turn,) = company.advance()
    assert turn.trainer is second
    assert turn.seconds == 0.0
    assert sizes(company) == []
    assert company.at_rest(second)
    flat = second.players[0].flat
    assert flat.values.untyped_storage().nbytes() == flat.values.nbytes, "it still lives in the row of a stack"
    turn.trainer.advance()
    assert second.step == 2
    # And back into one, when another comes.
    company.join(make(2))
    assert sizes(company) == [2]


def test_a_stack_is_made_when_as_many_as_pay_have_met_and_dissolves_when_fewer_are_left() -> None:
    members = [make(seed, batch_size=(16, 16, 11, 5)[seed]) for seed in range(4)]
    company = Company(lambda trainer: 4, fewest=lambda trainer: 3)
    for member, expected in zip(members, ([], [], [3], [4]), strict=True):
        company.join(member)
        assert sizes(company) == expected
    ready = [turn.trainer for turn in company.advance()]
    assert ready == members[:2]
    for trained in ready:
        trained.advance()
    company.leave(members[0])
    assert sizes(company) == [3]
    company.leave(members[1])
    # Two are left, in the middle of their epochs: they go on to the ends of these, and then by themselves.
    assert sizes(company) == [2]
    go_on(company, [members[2]], until=2)
    company.join(members[2])
    go_on(company, members[2:])
    assert sizes(company) == []
    for seed in (2, 3):
        same = make(seed, batch_size=(16, 16, 11, 5)[seed])
        for _ in range(EPOCHS):
            same.advance()
        assert apart(weights(members[seed]), weights(same)) < 1e-4


def test_trainings_that_cannot_be_stacked_take_their_turns_beside_stacks(monkeypatch: pytest.MonkeyPatch) -> None:
    def steps(params: Any, seed: int, budget: int) -> Iterator[dict[str, float]]:
        for epoch in range(budget):
            yield {"loss": 1.0 / (1 + epoch)}

    own = [OwnTraining(steps, {}, seed=seed, epochs=EPOCHS) for seed in range(2)]
    members = [make(seed) for seed in range(2)]
    company = company_of(own[0], members[0], own[1], members[1])
    assert sizes(company) == [2]
    assert company.at_rest(own[0])
    reports = go_on(company, [*own, *members])
    assert [len(found) for found in reports] == [EPOCHS] * 4
    for trained in own:
        trained.close()


def test_everyone_has_a_turn_whoever_leaves() -> None:
    trainings = [make(seed, width=4 + seed) for seed in range(4)]
    company = company_of(*trainings)

    def next_one() -> int:
        (turn,) = company.advance()
        turn.trainer.advance()
        return next(place for place, known in enumerate(trainings) if known is turn.trainer)

    assert [next_one() for _ in range(5)] == [0, 1, 2, 3, 0]
    company.leave(trainings[0])
    assert [next_one() for _ in range(4)] == [1, 2, 3, 1]
    company.leave(trainings[3])
    assert [next_one() for _ in range(3)] == [2, 1, 2]


@pytest.mark.parametrize(
    ("error", "memory"),
    [(RuntimeError("a kernel failed"), False), (torch.OutOfMemoryError("too small"), True), (MemoryError(), True)],
)
def test_a_stack_that_fails_names_its_members_and_leaves_the_others(
    error: Exception, memory: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, other = [make(seed) for seed in range(3)], make(5, width=9)
    company = company_of(*members, other)

    def broken(self: Stack) -> list[Training]:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(Stack, "advance", broken)
        with pytest.raises(StackFailed, match=type(error).__name__) as failed:
            company.advance()
    assert failed.value.members == members
    assert failed.value.memory is memory
    assert failed.value.__cause__ is error
    assert sizes(company) == []
    (turn,) = company.advance()
    assert turn.trainer is other


def test_an_error_in_the_loss_of_one_member_is_a_failure_of_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [make(seed) for seed in range(2)]
    company = company_of(*members)

    def broken(*args: object) -> object:
        raise ZeroDivisionError("in the loss")

    monkeypatch.setattr(vae.Model, "forward", broken)
    with pytest.raises(StackFailed, match="ZeroDivisionError: in the loss"):
        company.advance()


def test_an_error_of_one_members_metric_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    members = [make(seed) for seed in range(3)]
    company = company_of(*members)
    turns = company.advance()
    assert [turn.trainer for turn in turns] == members
    with monkeypatch.context() as patched:
        patched.setattr(members[1], "measure", lambda names: 1 / 0)
        for member in members:
            if member is members[1]:
                with pytest.raises(ZeroDivisionError):
                    member.advance()
            else:
                member.advance()
    company.leave(members[1])
    go_on(company, [members[0], members[2]])
    assert [members[0].step, members[2].step] == [EPOCHS, EPOCHS]


POOL: list[Config] = [
    {},
    {"dropout": 0.3, "batch_size": 7},
    {"optimizer": "sgd", "lr": 0.01, "momentum": 0.5, "batch_size": 11},
    {"optimizer": "rmsprop", "lr": 0.01, "l1": 0.01},
    {"width": 9},
]
_ALONE: dict[int, list[dict[str, torch.Tensor]]] = {}


def alone(member: int) -> list[dict[str, torch.Tensor]]:
    """The weights of this member of the pool after each epoch, by itself."""
    if member not in _ALONE:
        trained = training("vae", POOL[member], seed=member, epochs=EPOCHS, data=few_digits(24))
        _ALONE[member] = []
        for _ in range(EPOCHS):
            trained.advance()
            _ALONE[member].append(weights(trained))
    return _ALONE[member]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.data(), st.integers(1, 4), st.integers(2, 3), st.booleans())
def test_whoever_joins_and_leaves_when_each_member_is_as_alone(
    data: st.DataObject, width: int, fewest: int, at_once: bool
) -> None:
    torch.set_default_dtype(torch.float64)
    before, company_module.Stack = company_module.Stack, AtOnce if at_once else Stack  # type: ignore[misc]
    try:
        company = Company(lambda trainer: width, fewest=lambda trainer: fewest)
        inside, outside = dict[int, Training](), dict[int, Training]()
        for _ in range(data.draw(st.integers(4, 14))):
            member = data.draw(st.integers(0, len(POOL) - 1))
            if member in inside and data.draw(st.booleans()):
                at_rest, trained = company.at_rest(inside[member]), inside.pop(member)
                company.leave(trained)
                if at_rest:
                    outside[member] = trained
            elif member not in inside:
                fresh = training("vae", POOL[member], seed=member, epochs=EPOCHS, data=few_digits(24))
                inside[member] = outside.pop(member, fresh)
                company.join(inside[member])
            for turn in company.advance():
                turn.trainer.advance()
                place = next(place for place, known in inside.items() if known is turn.trainer)
                assert company.at_rest(turn.trainer)
                assert apart(weights(inside[place]), alone(place)[turn.trainer.step - 1]) < 1e-10
                if turn.trainer.step == EPOCHS:
                    company.leave(inside.pop(place))
        assert sum(sizes(company)) <= len(inside)
        assert all(size <= width for size in sizes(company))
    finally:
        company_module.Stack = before  # type: ignore[misc]
        torch.set_default_dtype(torch.float32)
