"""The players of one trial at width 1: what one needs to be stepped, and one epoch of stepping them all.

Floor: torch and models. The order of all random draws is part of the definition of a run: rows, then noise player by
player, for `DRAW_STEPS` steps at a time, in shapes that depend on this trial alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models._family import Family, as_module
from . import schedules
from .optim import PlayerOptimizer
from .params import Params

# Steps whose rows and noise are drawn at once: enough to hide the cost of a draw, few enough to keep memory small.
DRAW_STEPS = 32


@dataclass(frozen=True, kw_only=True)
class Player:
    """One network in training; `pace` p says that it moves on every p-th step."""

    name: str
    optimizer: PlayerOptimizer
    schedule: schedules.Schedule
    plateau: schedules.Plateau | None
    pace: int

    @classmethod
    def from_params(cls, name: str, params: Params, *, model: Family, pace: int, epochs: int) -> Player:
        """The player of that name, its parameters `name.x` before `x`."""
        own = params.for_player(name)
        network = as_module(model).get_submodule(name)
        return cls(
            name=name,
            optimizer=PlayerOptimizer(list(network.parameters()), own),
            schedule=schedules.from_params(own),
            plateau=schedules.plateau_from_params(own, epochs=epochs),
            pace=pace,
        )

    def lr(self, progress: float) -> float:
        """The learning rate in force at this share of the budget."""
        scale = 1.0 if self.plateau is None else self.plateau.scale
        return self.optimizer.lr * self.schedule(progress) * scale


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The steps `first` to `last` (exclusive) of `total`, and where their rows and noise come from."""

    first: int
    last: int
    total: int
    batch_size: int
    rows: Callable[[int], Tensor]
    noise: torch.Generator

    def train(
        self, model: Family, players: Sequence[Player], knobs: Mapping[str, float]
    ) -> dict[str, dict[str, float]]:
        """Make the steps; returns each player's mean logs, its learning rate in force and its last gradient norm.

        Tensors are read once, at the end: reading one a step would make the device wait each time.
        """
        logs: dict[str, list[Mapping[str, Tensor]]] = {player.name: [] for player in players}
        weight_B = torch.full((self.batch_size,), 1.0 / self.batch_size, device=self.noise.device)
        for begin in range(self.first, self.last, DRAW_STEPS):
            steps = range(begin, min(begin + DRAW_STEPS, self.last))
            count = len(steps) * self.batch_size
            batches = torch.split(self.rows(count), self.batch_size)
            drawn = {player.name: self._draw(model, player, count, knobs) for player in players}
            for place, step in enumerate(steps):
                progress = step / self.total
                in_force = model.in_force(knobs, progress=progress)
                for player in players:
                    if step % player.pace:
                        continue
                    player.optimizer.clear()
                    noise = {name: parts[place] for name, parts in drawn[player.name].items()}
                    loss, logged = model(player.name, batches[place], noise, in_force, weight_B)
                    torch.autograd.backward(loss, inputs=player.optimizer.parameters)
                    player.optimizer.step(lr=player.lr(progress))
                    logs[player.name].append(logged)
        last = (self.last - 1) / self.total
        return {player.name: _means(logs[player.name], player, lr=player.lr(last)) for player in players}

    def _draw(
        self, model: Family, player: Player, count: int, knobs: Mapping[str, float]
    ) -> dict[str, tuple[Tensor, ...]]:
        noise = model.draw(player.name, self.noise, rows=count, knobs=knobs)
        return {name: torch.split(tensor, self.batch_size) for name, tensor in noise.items()}


def _means(logs: Sequence[Mapping[str, Tensor]], player: Player, *, lr: float) -> dict[str, float]:
    """The mean of each log over the steps; a player that did not move in this epoch has its learning rate only."""
    if not logs:
        return {"lr": lr}
    columns = {name: torch.stack([logged[name] for logged in logs]).mean() for name in logs[0]}
    columns["grad_norm"] = player.optimizer.gradient_norm()
    values = torch.stack(list(columns.values())).tolist()
    return {**dict(zip(columns, values, strict=True)), "lr": lr}
