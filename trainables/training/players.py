"""The players of one trial: what one needs to be stepped, the draws of an epoch, and one epoch at width 1.

Floor: torch and models. The order of all random draws is part of the definition of a run: rows, then noise player by
player, for some steps at a time, in shapes that depend on this trial alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from ..data._data import Split
from ..models._family import Family, as_module, is_conditional
from . import schedules
from .flat import Flat
from .optim import PlayerOptimizer
from .params import Params
from .transfer import fine_tune

# Steps whose rows and noise are drawn at once: enough to hide the cost of a draw, few enough to keep memory small.
DRAW_STEPS, DRAW_ROWS = 32, 1024
PRECISIONS = ("float32", "tf32", "bf16")

Logs = dict[str, dict[str, float]]


@dataclass(kw_only=True)
class Player:
    """One network in training; `pace` p says that it moves on every p-th step.

    begin: the step before which it does not move, at the share `waits` of the budget; its schedule runs from there.
    leader: the player whose weights it has until then, if any.
    average: the exponential moving average of its weights [P], None where none is kept; `ema` is its decay.
    transferred: whether it began with weights of an earlier training; `fine_tune` is the factor on its learning rate.
    """

    name: str
    flat: Flat
    optimizer: PlayerOptimizer
    schedule: schedules.Schedule
    plateau: schedules.Plateau | None
    pace: int
    begin: int
    waits: float
    leader: Player | None
    ema: float
    average: Tensor | None
    transferred: bool
    fine_tune: float

    @classmethod
    def from_params(
        cls,
        name: str,
        params: Params,
        *,
        model: Family,
        pace: int,
        epochs: int,
        begin: int = 0,
        waits: float = 0.0,
        leader: Player | None = None,
        transferred: bool = False,
    ) -> Player:
        """The player of that name, its parameters `name.x` before `x`."""
        own = params.for_player(name)
        flat = Flat(as_module(model).get_submodule(name))
        ema = own.number("ema", 0.0) if name in model.averaged else 0.0
        if not 0.0 <= ema < 1.0:
            raise ValueError(f"ema must lie at or above 0 and below 1, and it is {ema}: correct it in the space")
        return cls(
            name=name,
            flat=flat,
            optimizer=PlayerOptimizer([flat.values], own),
            schedule=schedules.from_params(own),
            plateau=schedules.plateau_from_params(own, epochs=epochs),
            pace=pace,
            begin=begin,
            waits=waits,
            leader=leader,
            ema=ema,
            average=flat.values.clone() if ema > 0.0 else None,
            transferred=transferred,
            fine_tune=fine_tune(own) if transferred else 1.0,
        )

    def lr(self, progress: float) -> float:
        """The learning rate in force at this share of the budget."""
        scale = 1.0 if self.plateau is None else self.plateau.scale
        own = max(0.0, (progress - self.waits) / (1.0 - self.waits)) if self.waits < 1.0 else 0.0
        return self.optimizer.lr * self.fine_tune * self.schedule(own) * scale

    def moves(self, step: int) -> bool:
        """Whether this player moves at this step of the training."""
        return step >= self.begin and step % self.pace == 0

    def moves_between(self, first: int, last: int) -> int:
        """How often it moves at the steps from `first` to `last`, which is not one of them."""
        first = max(first, self.begin)
        return len(range(-first % self.pace + first, last, self.pace))

    def decay(self, step: int) -> float:
        """The decay of the average at this step, at which the player moves.

        It rises to `ema` as (1 + t) / (10 + t) with t the moves made, so that the initial weights are soon forgotten;
        the rule of TensorFlow's ExponentialMovingAverage. Weights that were trained before are not to be forgotten.
        """
        if self.transferred or self.leader is not None:
            return self.ema
        moves = step // self.pace + 1
        return min(self.ema, (1 + moves) / (10 + moves))

    def follow(self) -> None:
        """Take over the weights of the leader: before the first move, and for whoever looks before that."""
        if self.leader is not None:
            self.flat.follow(self.leader.flat)
            if self.average is not None:
                self.average.copy_(self.flat.values)

    def move(self, step: int, *, progress: float) -> None:
        """One update with the gradient that the vector holds."""
        self.optimizer.step(lr=self.lr(progress))
        if self.average is not None:
            self.average.lerp_(self.flat.values, 1.0 - self.decay(step))


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """The draws for some steps: indices of rows [N], and each player's noise, each tensor [N, ...].

    A step takes the next `batch_size` of the N = steps * batch_size.
    """

    steps: range
    rows: Tensor
    noise: Mapping[str, Mapping[str, Tensor]]


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The steps `first` to `last` (exclusive) of `total`, and where their rows and noise come from."""

    first: int
    last: int
    total: int
    batch_size: int
    order: Callable[[int], Tensor]
    noise: torch.Generator

    def chunks(self, model: Family, knobs: Mapping[str, float]) -> Iterator[Chunk]:
        """The draws of the epoch, one after another."""
        at_once = max(1, min(DRAW_STEPS, DRAW_ROWS // self.batch_size))
        for begin in range(self.first, self.last, at_once):
            steps = range(begin, min(begin + at_once, self.last))
            count = len(steps) * self.batch_size
            rows = self.order(count)
            noise = {player: model.draw(player, self.noise, rows=count, knobs=knobs) for player in model.players}
            yield Chunk(steps=steps, rows=rows, noise=noise)

    def train(
        self, model: Family, players: Sequence[Player], knobs: Mapping[str, float], split: Split, *, precision: str
    ) -> Logs:
        """Make the steps on rows of it; returns each player's mean logs, its last learning rate and gradient norm.

        Tensors are read once, at the end: reading one a step would make the device wait each time.
        """
        logs: dict[str, list[Mapping[str, Tensor]]] = {player.name: [] for player in players}
        weight_B = players[0].flat.values.new_full((self.batch_size,), 1.0 / self.batch_size)
        for chunk in self.chunks(model, knobs):
            x, labels = split.batch(chunk.rows, labeled=is_conditional(model))
            batches = torch.split(x, self.batch_size)
            labeled = (
                [()] * len(batches) if labels is None else [(own,) for own in torch.split(labels, self.batch_size)]
            )
            drawn = {player: self._split(noise) for player, noise in chunk.noise.items()}
            for place, step in enumerate(chunk.steps):
                progress = step / self.total
                in_force = model.in_force(knobs, progress=progress)
                for player in players:
                    if step == player.begin:
                        player.follow()
                for player in players:
                    if not player.moves(step):
                        continue
                    noise = {name: parts[place] for name, parts in drawn[player.name].items()}
                    with autocast(weight_B.device, precision):
                        loss, logged = model(player.name, batches[place], noise, in_force, weight_B, *labeled[place])
                    player.flat.take(gradients(loss, player.flat.parameters))
                    player.move(step, progress=progress)
                    logs[player.name].append(logged)
        last = (self.last - 1) / self.total
        return {player.name: _means(logs[player.name], player, lr=player.lr(last)) for player in players}

    def _split(self, noise: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, ...]]:
        return {name: torch.split(tensor, self.batch_size) for name, tensor in noise.items()}


def gradients(loss: Tensor, parameters: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The gradient for each parameter; zeros where the loss does not depend on it."""
    return torch.autograd.grad(loss, list(parameters), materialize_grads=True)


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """The context of a forward pass: bfloat16 where the study asks for it, else the type of the weights."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


@contextmanager
def products(device: torch.device, precision: str) -> Iterator[None]:
    """The context of an epoch: on CUDA, matrix products of float32 in TF32 or in full, whatever torch's default is.

    torch takes TF32 for convolutions by default, so `float32` has to be asked for. Not run on a GPU.
    """
    if device.type != "cuda":
        yield
        return
    backends = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)  # type: ignore[attr-defined]
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "tf32" if precision == "tf32" else "ieee"
        yield
    finally:
        for backend, value in zip(backends, before, strict=True):
            backend.fp32_precision = value


def _means(logs: Sequence[Mapping[str, Tensor]], player: Player, *, lr: float) -> dict[str, float]:
    """The mean of each log over the steps; a player that did not move in this epoch has its learning rate only."""
    if not logs:
        return {"lr": lr}
    columns = {name: torch.stack([logged[name] for logged in logs]).mean() for name in logs[0]}
    columns["grad_norm"] = player.optimizer.gradient_norm()
    values = torch.stack(list(columns.values())).tolist()
    return {**dict(zip(columns, values, strict=True)), "lr": lr}
