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
    """A stack could not be made, or a fused step raised: nobody knows for which member, and each lost its epoch.

    They have left the company, and must be built again from their checkpoints. rows: how many were computed at once.
    memory: the device's was too small.
    """

    def __init__(self, members: list[Trainer], error: BaseException, *, rows: int) -> None:
        super().__init__(f"a stack of {len(members)} failed: {type(error).__name__}: {error}")
        self.members, self.rows = members, rows
        self.memory = isinstance(error, MemoryError | torch.OutOfMemoryError)


@dataclass(eq=False)
class _Unit:
    """A stack, or a training by itself. turns: epochs that each of its trainings was given, on the average."""

    work: Stack | Trainer
    turns: float


class Company:
    """Any number of trainings, of any kind.

    width: how many trainings of this one's structure may share a stack; asked when one could join others, and again
    each time that does. 1 keeps a training by itself. fewest: how many there must be, at least 2; with fewer the
    members of a stack go on by themselves, each from the end of its epoch.
    """

    def __init__(self, width: Callable[[Trainer], int], *, fewest: Callable[[Trainer], int] = lambda _: 2) -> None:
        self._width, self._fewest = width, fewest
        self._units: list[_Unit] = []

    def join(self, trainer: Trainer) -> None:
        """Take in a training that stands at the start or the end of an epoch. Raises `StackFailed`."""
        if not (isinstance(trainer, Training) and self._stacked(trainer)):
            self._units.append(_Unit(trainer, self._least()))

    def leave(self, trainer: Trainer) -> None:
        """Let a training go; its tensors are its own again. An epoch that it stands in the middle of is lost."""
        unit = self._unit_of(trainer)
        if isinstance(unit.work, Stack):
            assert isinstance(trainer, Training)
            unit.work.remove(trainer)
            if len(unit.work):
                return
        self._units.remove(unit)

    def at_rest(self, trainer: Trainer) -> bool:
        """Whether this training stands at the end of an epoch, or at its start, so that it can be saved."""
        work = self._unit_of(trainer).work
        return not isinstance(work, Stack) or (isinstance(trainer, Training) and work.at_rest(trainer))

    def stacks(self) -> list[tuple[str, int]]:
        """The structure of each stack and its number of members."""
        return [(unit.work.structure, len(unit.work)) for unit in self._units if isinstance(unit.work, Stack)]

    def advance(self) -> list[Turn]:
        """Train those who had the fewest turns until at least one has an epoch ready; call `advance` of each returned.

        A training by itself is ready at once, and its own `advance` trains. Raises `StackFailed`.
        """
        if not self._units:
            return []
        unit = min(self._units, key=lambda unit: unit.turns)
        if isinstance(unit.work, Stack) and len(unit.work) < self._needed(unit.work.members[0]):
            unit = self._thin_out(unit)
        work = unit.work
        if not isinstance(work, Stack):
            unit.turns += 1
            return [Turn(work, 0.0)]
        try:
            ready = work.advance()
        except (Exception, SystemExit) as error:
            self._units.remove(unit)
            raise StackFailed([*work.members], error, rows=work.rows) from error
        unit.turns += len(ready) / len(work)
        return [Turn(member, work.seconds(member)) for member in ready]

    def _least(self) -> float:
        """The turns that a newcomer is taken to have had."""
        return min((unit.turns for unit in self._units), default=0.0)

    def _needed(self, training: Training) -> int:
        """How many members make a stack."""
        return max(2, min(self._fewest(training), self._width(training)))

    def _stacked(self, training: Training) -> bool:
        """Whether it found company: a stack with room, or enough trainings by themselves to make one with."""
        if training.structure is None:
            return False
        alike = [unit for unit in self._units if unit.work.structure == training.structure]
        if not alike or (width := self._width(training)) < 2:
            return False
        single = [unit for unit in alike if isinstance(unit.work, Training) and self._width(unit.work) > 1]
        for unit in alike:
            stack = unit.work
            if isinstance(stack, Stack):
                room = min(width, stack.width, *map(self._width, stack.members)) - len(stack)
                if room > 0:
                    self._fill(stack, [training, *self._taken(single[: room - 1])])
                    return True
        if len(single) + 1 < self._needed(training):
            return False
        chosen = self._taken(single[: width - 1])
        width = min(width, *map(self._width, chosen))
        for left in chosen[width - 1 :]:
            self._units.append(_Unit(left, self._least()))
        members = [*chosen[: width - 1], training]
        turns = self._least()
        try:
            stack = Stack(training, width=width)
        except (Exception, SystemExit) as error:
            raise StackFailed([*members], error, rows=width) from error
        self._units.append(_Unit(stack, turns))
        self._fill(stack, members)
        return True

    def _taken(self, single: list[_Unit]) -> list[Training]:
        """These trainings, which are no longer by themselves."""
        for unit in single:
            self._units.remove(unit)
        return [unit.work for unit in single if isinstance(unit.work, Training)]

    def _fill(self, stack: Stack, members: list[Training]) -> None:
        """Add them all, or dissolve the stack."""
        try:
            for member in members:
                stack.add(member)
        except (Exception, SystemExit) as error:
            self._units = [unit for unit in self._units if unit.work is not stack]
            known = stack.members
            lost = [*known, *(member for member in members if not any(member is other for other in known))]
            raise StackFailed([*lost], error, rows=max(stack.rows, len(lost))) from error

    def _thin_out(self, unit: _Unit) -> _Unit:
        """Let the members of a stack that is too small go on by themselves where they are at rest; return the next."""
        stack, place = unit.work, self._units.index(unit)
        assert isinstance(stack, Stack)
        free = [member for member in stack.members if stack.at_rest(member)]
        for member in free:
            stack.remove(member)
        self._units[place : place + (not len(stack))] = [_Unit(member, unit.turns) for member in free]
        return self._units[place]

    def _unit_of(self, trainer: Trainer) -> _Unit:
        for unit in self._units:
            work = unit.work
            if work is trainer or (isinstance(work, Stack) and any(member is trainer for member in work.members)):
                return unit
        raise ValueError("a training leaves the company that it joined, and this one is not in it")
