"""Trainings that go on side by side in one process: those of one structure as stacks, the others by themselves.

Whoever runs it asks for the next trainings with an epoch ready, and closes each by the training's own `advance`, which
is the same call for a stacked one as for one by itself. Floor: the stack, and what every training offers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .alone import Training
from .loop import Trainer
from .stack import Stack


@dataclass(frozen=True)
class Turn:
    """A training with an epoch to be closed. seconds: the process's time it took in a stack, this member's share."""

    trainer: Trainer
    seconds: float


class StackFailed(RuntimeError):
    """A fused step raised: nobody knows for which member, and each lost the epoch it was in.

    They have left the company, and must be built again from their checkpoints. memory: the device's was too small.
    """

    def __init__(self, members: list[Trainer], error: BaseException) -> None:
        super().__init__(f"a stack of {len(members)} failed: {type(error).__name__}: {error}")
        self.members = members
        self.memory = isinstance(error, MemoryError | torch.OutOfMemoryError)


class Company:
    """Any number of trainings, of any kind.

    width: how many trainings of this one's structure may share a stack; asked when one could join others, and again
    each time that does. 1 keeps a training by itself. fewest: how many there must be, at least 2; with fewer the
    members of a stack go on by themselves, each from the end of its epoch.
    """

    def __init__(self, width: Callable[[Trainer], int], *, fewest: Callable[[Trainer], int] = lambda _: 2) -> None:
        self._width, self._fewest = width, fewest
        self._units: list[Stack | Trainer] = []
        self._next = 0

    def join(self, trainer: Trainer) -> None:
        """Take in a training that stands at the start or the end of an epoch."""
        if isinstance(trainer, Training) and self._stacked(trainer):
            return
        self._units.append(trainer)

    def leave(self, trainer: Trainer) -> None:
        """Let a training go; its tensors are its own again. An epoch that it stands in the middle of is lost."""
        stack = self._stack_of(trainer)
        if stack is None:
            self._drop(trainer)
            return
        assert isinstance(trainer, Training)
        stack.remove(trainer)
        if not len(stack):
            self._drop(stack)

    def at_rest(self, trainer: Trainer) -> bool:
        """Whether this training stands at the end of an epoch, or at its start, so that it can be saved."""
        stack = self._stack_of(trainer)
        return stack is None or (isinstance(trainer, Training) and stack.at_rest(trainer))

    def stacks(self) -> list[tuple[str, int]]:
        """The structure of each stack and its number of members."""
        return [(unit.structure, len(unit)) for unit in self._units if isinstance(unit, Stack)]

    def advance(self) -> list[Turn]:
        """Train the next in turn until at least one has an epoch ready; call `advance` of each that is returned.

        A training by itself is ready at once, and its own `advance` trains. Raises `StackFailed`.
        """
        if not self._units:
            return []
        self._next %= len(self._units)
        unit = self._units[self._next]
        if isinstance(unit, Stack) and len(unit) < self._fewest(unit.members[0]):
            unit = self._thin_out(unit)
        self._next += 1
        if not isinstance(unit, Stack):
            return [Turn(unit, 0.0)]
        try:
            return [Turn(member, unit.seconds(member)) for member in unit.advance()]
        except (Exception, SystemExit) as error:
            members: list[Trainer] = [*unit.members]
            self._drop(unit)
            raise StackFailed(members, error) from error

    def _stacked(self, training: Training) -> bool:
        """Whether it found a stack with room, or another training by itself to make one with."""
        if training.structure is None:
            return False
        alike = [unit for unit in self._units if unit.structure == training.structure]
        if not alike or (width := self._width(training)) < 2:
            return False
        for unit in alike:
            if isinstance(unit, Stack) and len(unit) < min(width, unit.width):
                unit.add(training)
                return True
        single = [unit for unit in alike if isinstance(unit, Training)]
        if len(single) + 1 < min(self._fewest(training), width):
            return False
        stack = Stack(training, width=width)
        for member in single[: width - 1]:
            stack.add(member)
            self._drop(member)
        stack.add(training)
        self._units.append(stack)
        return True

    def _thin_out(self, stack: Stack) -> Stack | Trainer:
        """Let the members of a stack that is too small go on by themselves where they are at rest; return the next."""
        place = self._units.index(stack)
        free = [member for member in stack.members if stack.at_rest(member)]
        for member in free:
            stack.remove(member)
        self._units[place : place + (not len(stack))] = free
        return self._units[place]

    def _stack_of(self, trainer: Trainer) -> Stack | None:
        for unit in self._units:
            if isinstance(unit, Stack) and any(member is trainer for member in unit.members):
                return unit
        return None

    def _drop(self, unit: Stack | Trainer) -> None:
        place = next(place for place, known in enumerate(self._units) if known is unit)
        del self._units[place]
        if place < self._next:
            self._next -= 1
