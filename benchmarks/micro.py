"""The other way to different batch sizes in one stack, for `batches.py` to measure against masks: micro-batches.

Each member takes `MICRO` rows at a time and adds up its gradients, so nobody computes rows that it does not use. Who
has a whole batch together moves. It holds only for losses that are sums over rows: free bits of the VAE are not.
Axes: M members that compute now, K rows of the stack, B rows of a micro-batch, P parameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainables.models._family import Losses
from trainables.training.alone import Training
from trainables.training.stack import Stack, _Seat

MICRO = 16


@dataclass
class _Mark:
    """Where a member stands within its step: the player that is learning, and the rows of its batch that are done."""

    place: int = 0
    rows: int = 0


class MicroStack(Stack):
    """A stack whose members take `MICRO` rows at a time; their batch sizes must be multiples of it. For a CPU."""

    def __init__(self, first: Training, *, width: int) -> None:
        super().__init__(first, width=width, at_once=False)
        self._totals = [torch.zeros_like(stacked.grad) for stacked in self._players]
        self._marks: dict[Training, _Mark] = {}

    def add(self, training: Training) -> None:
        if training.batch_size % MICRO:
            raise ValueError(
                f"a batch size must be a multiple of {MICRO}, and it is {training.batch_size}: choose another"
            )
        super().add(training)
        self._marks[training] = _Mark()
        for total_KP in self._totals:
            total_KP[self._row(training)] = 0.0

    def remove(self, training: Training) -> None:
        # The parent fills the gap with the last row, whose member may stand in the middle of a batch.
        row, last = self._row(training), max(self._seats)
        for total_KP in self._totals:
            total_KP[row] = total_KP[last]
        super().remove(training)
        del self._marks[training]

    def _run(self, steps: int) -> None:
        """Go on until a member is at the end of its epoch; `steps`, which is for members that keep step, is unused."""
        while all(seat.left() for seat in self._seats.values()):
            at: dict[int, list[int]] = {}
            for row, seat in sorted(self._seats.items()):
                at.setdefault(self._marks[seat.training].place, []).append(row)
            for place, rows in at.items():
                self._part(place, rows)

    def _part(self, place: int, rows: list[int]) -> None:
        """A micro-batch of the members in these rows, all of which learn with the same player."""
        stacked, seats = self._players[place], [self._seats[row] for row in rows]
        # Where all take part, the rows are used where they lie.
        where: slice | Tensor = slice(len(rows)) if len(rows) == len(self) else torch.tensor(rows)
        values_MP = stacked.values[where]
        leaves = {
            name: view.detach().requires_grad_()
            for name, view in zip(stacked._names, stacked._layout.views(values_MP), strict=True)
        }
        fixed = {
            name: view
            for other in self._players
            if other is not stacked
            for name, view in zip(other._names, other._layout.views(other.values[where]), strict=True)
        }
        loss_M, logs = self._losses(place, seats, leaves, fixed)
        found = torch.autograd.grad(loss_M.sum(), list(leaves.values()), materialize_grads=True)
        total_KP = self._totals[place]
        with torch.no_grad():
            part_MP = total_KP[where]
            torch._foreach_add_(stacked._layout.views(part_MP), found)
            if isinstance(where, Tensor):
                total_KP[where] = part_MP
            for name, value_M in logs.items():
                stacked._sums_of(name, value_M)[where] += value_M
        for row, seat in zip(rows, seats, strict=True):
            self._marks[seat.training].rows += MICRO
            if self._marks[seat.training].rows == seat.training.batch_size:
                self._whole(place, row, seat)

    def _losses(self, place: int, seats: list[_Seat], leaves: dict[str, Tensor], fixed: dict[str, Tensor]) -> Losses:
        stacked = self._players[place]
        slots, sizes = [seat.slot for seat in seats], [seat.training.batch_size for seat in seats]
        first = [seat.place * size + self._marks[seat.training].rows for seat, size in zip(seats, sizes, strict=True)]
        drawn = frozenset(pair for pair in self._draws.drawn(slots) if pair[0] == stacked.name)
        rows_MB, noise = self._draws.take(torch.tensor(slots), torch.tensor(first), MICRO, drawn=drawn)
        in_force = [self._family.in_force(seat.training.knobs, progress=seat.progress(seat.step)) for seat in seats]
        on = [name for name in in_force[0] if any(knobs[name] != 0.0 for knobs in in_force)]
        off = dict.fromkeys(in_force[0].keys() - set(on), 0.0)
        own = {name: torch.tensor([knobs[name] for knobs in in_force], dtype=self._dtype) for name in on}
        # A row weighs what it does in the whole batch, so that the parts add up.
        weight_MB = (1.0 / torch.tensor(sizes, dtype=self._dtype))[:, None].expand(-1, MICRO)

        x, labels_MB = self._data.train.batch(rows_MB, labeled=self._conditional)
        own_noise, knobs = noise.get(stacked.name, {}), {**off, **own}
        return stacked.losses(leaves, fixed, x, own_noise, knobs, weight_MB, labels_MB, precision=self._precision)

    def _whole(self, place: int, row: int, seat: _Seat) -> None:
        """A member has a whole batch together: it moves, and the next player that moves at this step begins."""
        stacked, mark = self._players[place], self._marks[seat.training]
        total_P, player = self._totals[place][row], seat.player(stacked)
        assert seat.epoch is not None
        assert seat.chunk is not None
        stacked.grad[row] = total_P
        total_P.zero_()
        player.move(seat.step, progress=seat.progress(seat.step))
        if seat.step + player.pace >= seat.epoch.last:
            stacked.norm_K[row] = player.optimizer.gradient_norm()
        mark.rows = 0
        later = [other.place for other in self._players[place + 1 :] if seat.player(other).moves(seat.step)]
        if later:
            mark.place = later[0]
            return
        seat.step += 1
        seat.place += 1
        mark.place = next((other.place for other in self._players if seat.player(other).moves(seat.step)), 0)
        if seat.place == len(seat.chunk.steps):
            self._deal(seat)
