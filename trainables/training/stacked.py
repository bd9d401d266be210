"""One player of every member of a stack: its parameters as rows of one tensor, its gradients, and how it moves.

On a CPU each row is moved by its member's own torch optimizer: its fused kernels take 30 us for 25,000 parameters where
one update of all rows takes 45 to 270 us a row. On a GPU launches count, so all rows move at once (`rows.py`). Floor:
torch and models. Axes: K rows, one a member; P parameters; B rows of a batch; C coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from ..models._family import Losses
from .players import Player, autocast, gradients
from .rows import RowsOptimizer, average_rows


class StackedPlayer:
    """`values` and `grad` [K, P], and the sums of the player's logs over each member's epoch.

    at_once: whether all rows move at once. place: which of the family's players it is.
    """

    def __init__(self, player: Player, template: nn.Module, *, width: int, place: int, at_once: bool) -> None:
        self.name, self.place = player.name, place
        self._layout = player.flat.layout
        self.values = player.flat.values.new_zeros(width, self._layout.size)
        self.grad = torch.zeros_like(self.values)
        self._state_layout = player.flat.state_layout
        self._states = player.flat.state.new_zeros(width, self._state_layout.size)
        self._averages: Tensor | None = None
        self.optimizer = (
            RowsOptimizer(width, self._layout.size, dtype=self.values.dtype, device=self.values.device)
            if at_once
            else None
        )
        self._template = template
        self._names = [f"{self.name}.{name}" for name in player.flat.names]
        self._kept_names = [f"{self.name}.{name}" for name in player.flat.kept_names]
        self._sums: dict[str, Tensor] = {}
        self.norm_K = self.values.new_zeros(width)
        self.resize(0)

    def seat(self, row: int, player: Player) -> None:
        """From now on this member's parameters are this row."""
        player.flat.move(self.values[row], self.grad[row], self._states[row])
        if self.optimizer is not None:
            self.optimizer.load_row(row, player.optimizer)
            if player.average is not None:
                if self._averages is None:
                    self._averages = torch.zeros_like(self.values)
                player.average = self._averages[row].copy_(player.average)

    def unseat(self, row: int, player: Player) -> None:
        """The member's tensors are its own again."""
        player.flat.leave()
        if self.optimizer is not None:
            self.store(row, player)
            self.optimizer.clear_row(row)
            if player.average is not None:
                player.average = player.average.clone()

    def store(self, row: int, player: Player) -> None:
        """Let the member's own optimizer know where the row stands."""
        if self.optimizer is not None:
            self.optimizer.store_row(row, player.optimizer)

    def resize(self, count: int) -> None:
        """Step the first `count` rows from now on."""
        self._count = count
        values = dict(zip(self._names, self._layout.views(self.values[:count]), strict=True))
        self._kept = dict(zip(self._kept_names, self._state_layout.views(self._states[:count]), strict=True))
        self.frozen = {**values, **self._kept}
        self._leaves = {name: view.detach().requires_grad_() for name, view in values.items()}
        self._gradients = self._layout.views(self.grad[:count])

    def differentiate(
        self,
        x: Tensor,
        noise: Mapping[str, Tensor],
        knobs: Mapping[str, float | Tensor],
        weight_KB: Tensor,
        labels_KB: Tensor | None,
        *,
        others: Mapping[str, Tensor],
        moves_K: Tensor,
        everyone: bool,
        precision: str,
    ) -> None:
        """The gradient of this player's loss for every row, and the logs and buffers of those that move.

        others: the parameters of the other players. everyone: whether all rows move.
        """
        states = self._states[: self._count]
        before = states.clone() if self._kept and not everyone else None
        loss_K, logs = self.losses(
            self._leaves, {**others, **self._kept}, x, noise, knobs, weight_KB, labels_KB, precision=precision
        )
        # A sum hands each row the unit gradient, so a member whose loss is not finite spoils its own row only.
        found = gradients(loss_K.sum(), list(self._leaves.values()))
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, found)
            if before is not None:
                states.copy_(torch.where(moves_K[:, None], states, before))
            for name, value_K in logs.items():
                sums_K = self._sums_of(name, value_K)[: self._count]
                sums_K += torch.where(moves_K, value_K, 0.0)

    def losses(
        self,
        leaves: Mapping[str, Tensor],
        others: Mapping[str, Tensor],
        x: Tensor,
        noise: Mapping[str, Tensor],
        knobs: Mapping[str, float | Tensor],
        weight_KB: Tensor,
        labels_KB: Tensor | None = None,
        *,
        precision: str,
    ) -> Losses:
        """This player's losses [K] and logs, each [K], under these parameters of its own, and what else there is."""
        shared = {name: value for name, value in knobs.items() if not isinstance(value, Tensor)}
        own = {name: value for name, value in knobs.items() if isinstance(value, Tensor)}

        def loss_of(
            leaves: dict[str, Tensor],
            fixed: dict[str, Tensor],
            x: Tensor,
            noise: dict[str, Tensor],
            own: dict[str, Tensor],
            weight_B: Tensor,
            labels: tuple[Tensor, ...],
        ) -> Losses:
            arguments = (self.name, x, noise, {**shared, **own}, weight_B, *labels)
            result: Losses = functional_call(self._template, {**leaves, **fixed}, arguments)
            return result

        with autocast(x.device, precision):
            labels = () if labels_KB is None else (labels_KB,)
            result: Losses = vmap(loss_of)(dict(leaves), dict(others), x, dict(noise), own, weight_KB, labels)
        return result

    def coefficients(self, lr_SK: Tensor, moves_SK: Tensor, average_SK: Tensor) -> Tensor:
        """The tables [S, C, K] of the next S steps; see `RowsOptimizer`."""
        assert self.optimizer is not None
        return self.optimizer.coefficients(lr_SK, moves_SK, average_SK)

    @property
    def branches(self) -> frozenset[str]:
        """What of the formula of `RowsOptimizer` the members need, and whether averages are kept."""
        assert self.optimizer is not None
        return self.optimizer.branches | ({"average"} if self._averages is not None else set())

    def move(self, table_CK: Tensor, *, everyone: bool) -> None:
        """Move all rows at once; see `RowsOptimizer`."""
        assert self.optimizer is not None
        self.optimizer.step(self.values, self.grad, table_CK, everyone=everyone)
        if self._averages is not None:
            average_rows(self._averages, self.values, table_CK)

    def clear(self, row: int) -> None:
        """Begin an epoch."""
        for sums_K in self._sums.values():
            sums_K[row] = 0.0

    def copy_sums(self, source: int, target: int) -> None:
        for sums_K in (*self._sums.values(), self.norm_K):
            sums_K[target] = sums_K[source]

    def read(self) -> tuple[dict[str, list[float]], list[float]]:
        """Of every row the sums of its logs, and the norm of the gradient of its last move: one wait for the device."""
        norm_K = self.norm_K if self.optimizer is None else self.optimizer.norm_K
        *sums, norms = torch.stack([*(sums_K.to(norm_K.dtype) for sums_K in self._sums.values()), norm_K]).tolist()
        return dict(zip(self._sums, sums, strict=True)), norms

    def _sums_of(self, name: str, like: Tensor) -> Tensor:
        if name not in self._sums:
            self._sums[name] = like.new_zeros(len(self.values))
        return self._sums[name]
