"""A stack: trainings of one structure, stepped as one stack of tensors.

A member's parameters are a row of the stack's tensors; its optimizer, generators and checkpoint stay its own, so what
it becomes does not depend on its company. Members stand at different steps, and come and go at the ends of their
epochs. Floor: torch and models.
Axes: K rows, one a member; P parameters of a player; N drawn rows of data; B rows of a batch.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..models._family import Losses, as_module
from .alone import Training
from .players import DRAW_ROWS, Chunk, Epoch, Logs, Player, autocast, products


@dataclass(eq=False)
class _Seat:
    """One member. slot: where its draws lie. chunk: the draws in use, of which `place` steps are made."""

    training: Training
    slot: int
    epoch: Epoch | None = None
    chunks: Iterator[Chunk] = field(default_factory=lambda: iter(()))
    chunk: Chunk | None = None
    place: int = 0
    moves: dict[str, int] = field(default_factory=dict)
    norms: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def step(self) -> int:
        assert self.chunk is not None
        return self.chunk.steps[self.place]

    @property
    def progress(self) -> float:
        assert self.epoch is not None
        return self.step / self.epoch.total


class Stack:
    """Up to `width` trainings with one `structure`, that of `first`, which is not yet a member."""

    def __init__(self, first: Training, *, width: int) -> None:
        if first.structure is None:
            raise ValueError("a stack needs a training that can be stacked, and this one cannot: train it by itself")
        self.structure, self.width = first.structure, width
        self._seats: list[_Seat] = []
        self._data, self._device, self._precision = first.data, first.device, first.precision
        self._family = type(first.model)
        self._template = copy.deepcopy(as_module(first.model)).requires_grad_(False)
        self._players = [
            _Rows(player, self._template, width=width, place=place) for place, player in enumerate(first.players)
        ]
        self._draws = _Draws(width, rows=max(DRAW_ROWS, first.largest_batch), device=self._device)

    def __len__(self) -> int:
        return len(self._seats)

    @property
    def members(self) -> list[Training]:
        return [seat.training for seat in self._seats]

    def add(self, training: Training) -> None:
        """Take in a training that stands at the start or the end of an epoch."""
        if training.structure != self.structure:
            raise ValueError(
                f"members of a stack have one structure, {self.structure}, and this is {training.structure}"
            )
        if len(self) == self.width:
            raise ValueError(
                f"a stack of width {self.width} has room for as many members, and it is full: make another"
            )
        taken = {seat.slot for seat in self._seats}
        self._seats.append(_Seat(training, slot=min(set(range(self.width)) - taken)))
        for rows, player in zip(self._players, training.players, strict=True):
            rows.seat(len(self) - 1, player)
            rows.resize(len(self))

    def remove(self, training: Training) -> None:
        """Let a member go: its tensors are its own again. An epoch that it stands in the middle of is lost."""
        row = self.members.index(training)
        last = len(self) - 1
        for place, rows in enumerate(self._players):
            training.players[place].flat.leave()
            if row != last:
                rows.seat(row, self._seats[last].training.players[place])
                rows.copy_sums(last, row)
            rows.resize(last)
        self._seats[row] = self._seats[last]
        del self._seats[last]

    def at_rest(self, training: Training) -> bool:
        """Whether this member stands at the end of an epoch, or at its start."""
        return self._seat(training).epoch is None

    def seconds(self, training: Training) -> float:
        """This member's share of the time that its last epoch took."""
        return self._seat(training).seconds

    def advance(self) -> list[Training]:
        """Step until at least one member has made its epoch; return those. `Training.advance` then closes it."""
        for row, seat in enumerate(self._seats):
            if seat.epoch is None:
                self._begin(row, seat)
        began = time.perf_counter()
        with products(self._device, self._precision):
            while not any(seat.chunk is None for seat in self._seats):
                self.step()
        ready = [(row, seat) for row, seat in enumerate(self._seats) if seat.chunk is None]
        for row, seat in ready:
            seat.training.trained(self._logs(row, seat))
            seat.epoch = None
        share = (time.perf_counter() - began) / len(self)
        for seat in self._seats:
            seat.seconds += share
        return [seat.training for _, seat in ready]

    def rehearse(self, steps: int) -> None:
        """Make so many steps, at ends of epochs straight on into the next; only to be timed."""
        with products(self._device, self._precision):
            for _ in range(steps):
                for row, seat in enumerate(self._seats):
                    if seat.chunk is None:
                        self._begin(row, seat)
                self.step()

    def step(self) -> None:
        """One step of every member, each at its own place in its own epoch."""
        x, noise, weight_KB = self._batch()
        knobs = self._knobs()
        for rows in self._players:
            moving = [row for row, seat in enumerate(self._seats) if self._player(seat, rows).moves(seat.step)]
            if moving:
                others = {
                    name: view for other in self._players if other is not rows for name, view in other.frozen.items()
                }
                rows.differentiate(
                    x,
                    noise.get(rows.name, {}),
                    knobs,
                    weight_KB,
                    others=others,
                    moving=moving,
                    precision=self._precision,
                )
                for row in moving:
                    self._move(self._seats[row], rows)
        for seat in self._seats:
            assert seat.chunk is not None
            seat.place += 1
            if seat.place == len(seat.chunk.steps):
                self._deal(seat)

    def _seat(self, training: Training) -> _Seat:
        return self._seats[self.members.index(training)]

    @staticmethod
    def _player(seat: _Seat, rows: _Rows) -> Player:
        return seat.training.players[rows.place]

    def _begin(self, row: int, seat: _Seat) -> None:
        training = seat.training
        seat.epoch = training.begin_epoch()
        seat.chunks = seat.epoch.chunks(training.model, training.knobs)
        seat.seconds = 0.0
        seat.moves = dict.fromkeys(training.model.players, 0)
        for rows in self._players:
            rows.clear_sums(row)
        self._deal(seat)

    def _deal(self, seat: _Seat) -> None:
        """The next draws of this member; none is left at the end of its epoch."""
        seat.chunk, seat.place = next(seat.chunks, None), 0
        if seat.chunk is not None:
            self._draws.put(seat.slot, seat.chunk)

    def _batch(self) -> tuple[Tensor, dict[str, dict[str, Tensor]], Tensor]:
        """Rows [K, B, ...], each player's noise, and weights [K, B], which are 0 beyond a member's own batch."""
        sizes = [seat.training.batch_size for seat in self._seats]
        slots = [seat.slot for seat in self._seats]
        first = [seat.place * size for seat, size in zip(self._seats, sizes, strict=True)]
        rows_KB, noise = self._draws.take(slots, first, max(sizes))
        dtype = self._players[0].values.dtype
        size_K1 = torch.tensor(sizes, dtype=dtype, device=self._device)[:, None]
        within_KB = torch.arange(max(sizes), device=self._device) < size_K1
        return self._data.train.x[rows_KB], noise, within_KB / size_K1

    def _knobs(self) -> dict[str, float | Tensor]:
        """Each knob in force as [K], or as the float 0.0 where it is that for all."""
        in_force = [self._family.in_force(seat.training.knobs, progress=seat.progress) for seat in self._seats]
        names = [name for name in in_force[0] if any(knobs[name] != 0.0 for knobs in in_force)]
        values = [[knobs[name] for knobs in in_force] for name in names]
        table = torch.tensor(values, dtype=self._players[0].values.dtype, device=self._device)
        return {**dict.fromkeys(in_force[0], 0.0), **dict(zip(names, table, strict=True))}

    def _move(self, seat: _Seat, rows: _Rows) -> None:
        player, epoch = self._player(seat, rows), seat.epoch
        assert epoch is not None
        player.move(seat.step, progress=seat.progress)
        seat.moves[rows.name] += 1
        if seat.step + player.pace >= epoch.last:
            seat.norms[rows.name] = player.optimizer.gradient_norm()

    def _logs(self, row: int, seat: _Seat) -> Logs:
        epoch = seat.epoch
        assert epoch is not None
        found: Logs = {}
        for rows in self._players:
            player, moves = self._player(seat, rows), seat.moves[rows.name]
            found[rows.name] = {"lr": player.lr((epoch.last - 1) / epoch.total)}
            if moves:
                means = rows.means(row, moves)
                found[rows.name] |= {**means, "grad_norm": float(seat.norms.pop(rows.name))}
        return found


class _Draws:
    """The members' draws, one slot each, in memory that is there from the first to the last."""

    def __init__(self, width: int, *, rows: int, device: torch.device) -> None:
        self._width, self._room, self._device = width, rows, device
        self._rows = torch.zeros(width, rows, dtype=torch.int64, device=device)
        self._noise: dict[str, dict[str, Tensor]] = {}
        self._drawn: list[set[tuple[str, str]]] = [set() for _ in range(width)]

    def put(self, slot: int, chunk: Chunk) -> None:
        """A member's next draws. Noise that others draw and this one does not is zero."""
        count = len(chunk.rows)
        self._rows[slot, :count] = chunk.rows
        drawn = {(player, name) for player, noise in chunk.noise.items() for name in noise}
        for player, name in self._drawn[slot] - drawn:
            self._noise[player][name][slot] = 0.0
        self._drawn[slot] = drawn
        for player, noise in chunk.noise.items():
            kept = self._noise.setdefault(player, {})
            for name, tensor in noise.items():
                if name not in kept:
                    kept[name] = tensor.new_zeros(self._width, self._room, *tensor.shape[1:])
                kept[name][slot, :count] = tensor

    def take(self, slots: list[int], first: list[int], size: int) -> tuple[Tensor, dict[str, dict[str, Tensor]]]:
        """`size` indices of rows [K, B] for each slot from its `first` on, and the noise of these that anyone draws."""
        slot_K1 = torch.tensor(slots, device=self._device)[:, None]
        # What lies beyond a member's own batch has weight 0; it only must be there.
        place_KB = torch.tensor(first, device=self._device)[:, None] + torch.arange(size, device=self._device)
        place_KB.clamp_(max=self._room - 1)
        drawn = set().union(*(self._drawn[slot] for slot in slots))
        noise = {
            player: {name: kept[slot_K1, place_KB] for name, kept in own.items() if (player, name) in drawn}
            for player, own in self._noise.items()
        }
        return self._rows[slot_K1, place_KB], noise


class _Rows:
    """One player of every member: `values` and `grad` [K, P], and the sums of its logs over an epoch.

    place: which of the family's players it is.
    """

    def __init__(self, player: Player, template: nn.Module, *, width: int, place: int) -> None:
        self.name, self.place = player.name, place
        self._layout = player.flat.layout
        self.values = player.flat.values.new_zeros(width, self._layout.size)
        self.grad = torch.zeros_like(self.values)
        own = template.get_submodule(self.name)
        self._names = [f"{self.name}.{name}" for name, _ in own.named_parameters()]
        self._template = template
        self._sums: dict[str, Tensor] = {}
        self.resize(0)

    def seat(self, row: int, player: Player) -> None:
        """From now on this member's parameters are this row."""
        player.flat.move(self.values[row], self.grad[row])

    def resize(self, count: int) -> None:
        """Step the first `count` rows from now on."""
        values = self._layout.views(self.values[:count])
        self.frozen = dict(zip(self._names, values, strict=True))
        self._leaves = {name: view.detach().requires_grad_() for name, view in self.frozen.items()}
        self._gradients = self._layout.views(self.grad[:count])

    def differentiate(
        self,
        x: Tensor,
        noise: Mapping[str, Tensor],
        knobs: Mapping[str, float | Tensor],
        weight_KB: Tensor,
        *,
        others: Mapping[str, Tensor],
        moving: Sequence[int],
        precision: str,
    ) -> None:
        """This player's loss and gradient for every row, and the logs of those that move. others: of other players."""
        shared = {name: value for name, value in knobs.items() if not isinstance(value, Tensor)}
        own = {name: value for name, value in knobs.items() if isinstance(value, Tensor)}

        def loss_of(
            leaves: dict[str, Tensor],
            fixed: dict[str, Tensor],
            x: Tensor,
            noise: dict[str, Tensor],
            own: dict[str, Tensor],
            weight_B: Tensor,
        ) -> Losses:
            arguments = (self.name, x, noise, {**shared, **own}, weight_B)
            result: Losses = functional_call(self._template, {**leaves, **fixed}, arguments)
            return result

        with autocast(x.device, precision):
            loss_K, logs = vmap(loss_of)(self._leaves, dict(others), x, dict(noise), own, weight_KB)
        # A sum hands each row the unit gradient, so a member whose loss is not finite spoils its own row only.
        found = torch.autograd.grad(loss_K.sum(), list(self._leaves.values()), materialize_grads=True)
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, found)
            self._add(logs, moving)

    def _add(self, logs: Mapping[str, Tensor], moving: Sequence[int]) -> None:
        rows = torch.tensor(moving, device=self.values.device)
        for name, value_K in logs.items():
            if name not in self._sums:
                self._sums[name] = value_K.new_zeros(len(self.values))
            self._sums[name].index_add_(0, rows, value_K[rows])

    def clear_sums(self, row: int) -> None:
        for sums in self._sums.values():
            sums[row] = 0.0

    def copy_sums(self, source: int, target: int) -> None:
        for sums in self._sums.values():
            sums[target] = sums[source]

    def means(self, row: int, moves: int) -> dict[str, float]:
        """The mean of each log of this member over the moves of its epoch."""
        values = torch.stack([sums[row] for sums in self._sums.values()]) / moves
        return dict(zip(self._sums, values.tolist(), strict=True))
