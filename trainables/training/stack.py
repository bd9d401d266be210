"""A stack: trainings of one structure, stepped as one stack of tensors.

A member's parameters are a row of the stack's tensors; its optimizer, generators and checkpoint stay its own, so what
it becomes does not depend on its company. Members stand at different steps, and come and go at the ends of their
epochs. Floor: torch and models.
Axes: K rows, one a member; B rows of a batch; S steps; F knobs in force; C coefficients of a move.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..models._family import as_module, is_conditional
from .alone import Training
from .captured import Captured, sent
from .draws import Draws
from .players import DRAW_ROWS, DRAW_STEPS, Chunk, Epoch, Logs, Player, products
from .stacked import StackedPlayer


@dataclass(eq=False)
class _Seat:
    """One member. slot: where its draws lie. step: its next one. chunk: the draws in use, of which `place` are used."""

    training: Training
    slot: int
    epoch: Epoch | None = None
    chunks: Iterator[Chunk] = field(default_factory=lambda: iter(()))
    chunk: Chunk | None = None
    place: int = 0
    step: int = 0
    seconds: float = 0.0

    def player(self, stacked: StackedPlayer) -> Player:
        return self.training.players[stacked.place]

    def left(self) -> int:
        """Steps to the end of its epoch."""
        assert self.epoch is not None
        return self.epoch.last - self.step

    def progress(self, step: int) -> float:
        assert self.epoch is not None
        return step / self.epoch.total


class Stack:
    """Up to `width` trainings with the `structure` of `first`, which is not yet a member.

    at_once: whether all rows move in one update, as on a GPU, or row by row, as on a CPU. Then the shapes of all
    tensors stay those of the full width, and a free row is masked; else the stack computes as many rows as it has
    members.
    """

    def __init__(self, first: Training, *, width: int, at_once: bool | None = None) -> None:
        if first.structure is None:
            raise ValueError("a stack needs a training that can be stacked, and this one cannot: train it by itself")
        self.structure, self.width = first.structure, width
        self._data, self._device, self._precision = first.data, first.device, first.precision
        self._at_once = self._device.type == "cuda" if at_once is None else at_once
        self._family, self._conditional = type(first.model), is_conditional(first.model)
        template = copy.deepcopy(as_module(first.model)).requires_grad_(False)
        self._players = [
            StackedPlayer(player, template, width=width, place=place, at_once=self._at_once)
            for place, player in enumerate(first.players)
        ]
        self._dtype = self._players[0].values.dtype
        self._has_followers = any(player.leader is not None for player in first.players)
        self._draws = Draws(width, rows=max(DRAW_ROWS, first.largest_batch), device=self._device)
        self._seats: dict[int, _Seat] = {}
        self._captured = Captured(self._device)
        self._inputs = _Inputs(self._device)

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def members(self) -> list[Training]:
        return [seat.training for _, seat in sorted(self._seats.items())]

    @property
    def rows(self) -> int:
        """How many rows a step computes."""
        return self.width if self._at_once else len(self)

    def add(self, training: Training) -> None:
        """Take in a training that stands at the start or the end of an epoch."""
        if training.structure != self.structure:
            raise ValueError(
                f"members of a stack have one structure, {self.structure}, and this one has {training.structure}: "
                "find it another stack"
            )
        if len(self) == self.width:
            raise ValueError(f"a stack of width {self.width} holds as many members, and it is full: make another")
        row = min(set(range(self.width)) - self._seats.keys())
        slot = min(set(range(self.width)) - {seat.slot for seat in self._seats.values()})
        self._seats[row] = _Seat(training, slot=slot)
        for stacked, player in zip(self._players, training.players, strict=True):
            stacked.seat(row, player)
        self._resize()

    def remove(self, training: Training) -> None:
        """Let a member go: its tensors are its own again. An epoch that it stands in the middle of is lost."""
        row = self._row(training)
        last = max(self._seats)
        moved = None if self._at_once or row == last else self._seats[last]
        for stacked in self._players:
            stacked.unseat(row, self._seats[row].player(stacked))
            if moved is not None:
                stacked.seat(row, moved.player(stacked))
                stacked.copy_sums(last, row)
        del self._seats[row]
        if moved is not None:
            self._seats[row] = self._seats.pop(last)
        self._resize()

    def at_rest(self, training: Training) -> bool:
        """Whether this member stands at the end of an epoch, or at its start."""
        return self._seats[self._row(training)].epoch is None

    def seconds(self, training: Training) -> float:
        """This member's share of the time that its last epoch took."""
        return self._seats[self._row(training)].seconds

    def advance(self) -> list[Training]:
        """Step until at least one member has made its epoch; return those. `Training.advance` then closes it."""
        began = time.perf_counter()
        self._begin()
        with products(self._device, self._precision):
            self._run(min(seat.left() for seat in self._seats.values()))
        ready = {row: seat for row, seat in sorted(self._seats.items()) if seat.left() == 0}
        for row, logs in self._logs(ready).items():
            ready[row].training.trained(logs)
            ready[row].epoch = None
        share = (time.perf_counter() - began) / len(self)
        for seat in self._seats.values():
            seat.seconds += share
        return [seat.training for seat in ready.values()]

    def rehearse(self, steps: int) -> None:
        """Make so many steps, at ends of epochs straight on into the next; only to be timed."""
        with products(self._device, self._precision):
            while steps > 0:
                ready = {row: seat for row, seat in self._seats.items() if seat.epoch is not None and seat.left() == 0}
                self._logs(ready)
                for seat in ready.values():
                    seat.epoch = None
                self._begin()
                at_once = min(steps, *(seat.left() for seat in self._seats.values()))
                self._run(at_once)
                steps -= at_once

    def _row(self, training: Training) -> int:
        return next(row for row, seat in self._seats.items() if seat.training is training)

    def _resize(self) -> None:
        for stacked in self._players:
            stacked.resize(self.rows)

    def _begin(self) -> None:
        """Let those who stand at the end of an epoch begin the next."""
        for row, seat in self._seats.items():
            if seat.epoch is None:
                training = seat.training
                seat.epoch = training.begin_epoch()
                seat.chunks = seat.epoch.chunks(training.model, training.knobs)
                seat.step, seat.seconds = seat.epoch.first, 0.0
                for stacked in self._players:
                    stacked.clear(row)
                self._deal(seat)

    def _deal(self, seat: _Seat) -> None:
        """The next draws of this member; none is left at the end of its epoch."""
        seat.chunk, seat.place = next(seat.chunks, None), 0
        if seat.chunk is not None:
            self._draws.put(seat.slot, seat.chunk)

    def _run(self, steps: int) -> None:
        """So many steps of every member, each at its own place in its own epoch: none comes to the end before."""
        while steps > 0:
            some = min(steps, DRAW_STEPS)
            plan = self._plan(some)
            for place in range(some):
                self._follow()
                self._step(plan, place)
                for seat in self._seats.values():
                    assert seat.chunk is not None
                    seat.step += 1
                    seat.place += 1
                    if seat.place == len(seat.chunk.steps):
                        self._deal(seat)
            steps -= some

    def _follow(self) -> None:
        """Let players who begin at this step of their training take over the weights of those they followed."""
        for seat in self._seats.values() if self._has_followers else ():
            for player in seat.training.players:
                if player.begin == seat.step:
                    player.follow()

    def _plan(self, steps: int) -> _Plan:
        """What is known of these steps beforehand, sent to the device at once."""
        any_seat = next(iter(self._seats.values()))
        seats = [self._seats.get(row) for row in range(self.rows)]
        # A free row computes with somebody's knobs, and moves nothing.
        full = [seat or any_seat for seat in seats]
        in_force = []
        for ahead in range(steps):
            in_force.append(
                [self._family.in_force(seat.training.knobs, progress=seat.progress(seat.step + ahead)) for seat in full]
            )
        names = [name for name in in_force[0][0] if any(knobs[name] != 0.0 for row in in_force for knobs in row)]
        knobs = [[[knobs[name] for knobs in row] for name in names] for row in in_force]
        moves = {
            stacked.name: [
                [seat is not None and seat.player(stacked).moves(seat.step + ahead) for seat in seats]
                for ahead in range(steps)
            ]
            for stacked in self._players
        }
        return _Plan(
            names=names,
            absent=dict.fromkeys(set(in_force[0][0]) - set(names), 0.0),
            # A table for each set of names: a captured step goes on reading the one that it was captured with.
            knobs_name=f"knobs {' '.join(names)}",
            knobs=sent(torch.tensor(knobs, dtype=self._dtype).view(steps, len(names), len(seats)), self._device),
            moves=moves,
            sent_moves={name: sent(torch.tensor(rows), self._device) for name, rows in moves.items()},
            tables={
                stacked.name: self._coefficients(stacked, seats, moves[stacked.name])
                for stacked in self._players
                if self._at_once
            },
        )

    def _coefficients(
        self, stacked: StackedPlayer, seats: Sequence[_Seat | None], moves: Sequence[Sequence[bool]]
    ) -> Tensor:
        """The tables [S, C, K] by which the rows move at once."""
        lr_SK, average_SK = (torch.zeros(len(moves), len(seats), dtype=torch.float64) for _ in range(2))
        for ahead, at in enumerate(moves):
            for row, seat in enumerate(seats):
                if seat is not None and at[row]:
                    player, step = seat.player(stacked), seat.step + ahead
                    lr_SK[ahead, row] = player.lr(seat.progress(step))
                    average_SK[ahead, row] = 0.0 if player.average is None else 1.0 - player.decay(step)
        return stacked.coefficients(lr_SK, torch.tensor(moves), average_SK)

    def _step(self, plan: _Plan, place: int) -> None:
        """One step: what differs from the last one is put where the tensors are, then all is computed from there."""
        any_seat = next(iter(self._seats.values()))
        seats = [self._seats.get(row, any_seat) for row in range(self.rows)]
        slots = [seat.slot for seat in seats]
        sizes = [seat.training.batch_size for seat in seats]
        first = [seat.place * size for seat, size in zip(seats, sizes, strict=True)]
        inputs = self._inputs
        inputs.put("slot", torch.tensor(slots))
        inputs.put("first", torch.tensor(first))
        inputs.put("size", torch.tensor(sizes))
        inputs.put(plan.knobs_name, plan.knobs[place])
        moving = [stacked for stacked in self._players if any(plan.moves[stacked.name][place])]
        everyone = frozenset(stacked.name for stacked in moving if all(plan.moves[stacked.name][place]))
        for stacked in moving:
            inputs.put(f"moves.{stacked.name}", plan.sent_moves[stacked.name][place])
            if self._at_once:
                inputs.put(f"table.{stacked.name}", plan.tables[stacked.name][place])
        drawn = self._draws.drawn(slots)
        size = max(sizes)

        def compute() -> None:
            self._compute(moving, plan, drawn, size=size, everyone=everyone)

        if not self._at_once:
            compute()
            return
        names = tuple(stacked.name for stacked in moving)
        branches = tuple(stacked.branches for stacked in moving)
        self._captured.run((names, tuple(plan.names), drawn, everyone, branches, size), compute)

    def _compute(
        self,
        moving: Sequence[StackedPlayer],
        plan: _Plan,
        drawn: frozenset[tuple[str, str]],
        *,
        size: int,
        everyone: frozenset[str],
    ) -> None:
        """Losses, gradients and moves, player by player."""
        inputs = self._inputs
        size_K1 = inputs["size"][:, None]
        rows_KB, noise = self._draws.take(inputs["slot"], inputs["first"], size, drawn=drawn)
        x, labels_KB = self._data.train.batch(rows_KB, labeled=self._conditional)
        weight_KB = (torch.arange(size, device=self._device) < size_K1).to(self._dtype) / size_K1
        knobs = {**plan.absent, **dict(zip(plan.names, inputs[plan.knobs_name], strict=True))}
        for stacked in moving:
            others = [other.frozen for other in self._players if other is not stacked]
            stacked.differentiate(
                x,
                noise.get(stacked.name, {}),
                knobs,
                weight_KB,
                labels_KB,
                others={name: view for frozen in others for name, view in frozen.items()},
                moves_K=inputs[f"moves.{stacked.name}"],
                everyone=stacked.name in everyone,
                precision=self._precision,
            )
            if self._at_once:
                stacked.move(inputs[f"table.{stacked.name}"], everyone=stacked.name in everyone)
            else:
                self._move_each(stacked)

    def _move_each(self, stacked: StackedPlayer) -> None:
        """Row by row, by the members' own optimizers."""
        for row, seat in self._seats.items():
            player = seat.player(stacked)
            if player.moves(seat.step):
                assert seat.epoch is not None
                player.move(seat.step, progress=seat.progress(seat.step))
                if seat.step + player.pace >= seat.epoch.last:
                    stacked.norm_K[row] = player.optimizer.gradient_norm()

    def _logs(self, ready: Mapping[int, _Seat]) -> dict[int, Logs]:
        """What the epochs of these members are reported by, as `Epoch.train` does; one wait for the device a player."""
        found: dict[int, Logs] = {row: {} for row in ready}
        for stacked in self._players if ready else ():
            sums, norms = stacked.read()
            for row, seat in ready.items():
                player, epoch = seat.player(stacked), seat.epoch
                assert epoch is not None
                logs = found[row][stacked.name] = {"lr": player.lr((epoch.last - 1) / epoch.total)}
                if moves := player.moves_between(epoch.first, epoch.last):
                    logs |= {name: values[row] / moves for name, values in sums.items()}
                    logs["grad_norm"] = norms[row]
                stacked.store(row, player)
        return found


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is known beforehand of S steps. names: of the F knobs; those in `absent` are 0.0 for every member."""

    names: list[str]
    absent: Mapping[str, float]
    knobs: Tensor
    knobs_name: str
    moves: Mapping[str, list[list[bool]]]
    sent_moves: Mapping[str, Tensor]
    tables: Mapping[str, Tensor]


class _Inputs:
    """What differs from step to step: on a GPU each in memory that stays, for captured steps to read."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stays = device, device.type == "cuda"
        self._tensors: dict[str, Tensor] = {}

    def put(self, name: str, value: Tensor) -> None:
        """Under one name values have one shape."""
        value = sent(value, self._device)
        if not self._stays:
            self._tensors[name] = value
        elif name in self._tensors:
            self._tensors[name].copy_(value)
        else:
            self._tensors[name] = value.clone()

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]
