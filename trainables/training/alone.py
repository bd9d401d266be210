"""The trainer of one trial by itself, with `torch.optim`: width 1.

It is the ordinary case, and the oracle for a trial in company. Floor: torch, models, data and metrics.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data
from ..metrics._metric import Measurement, Metric
from ..models._family import Family, as_module
from . import checkpoint
from .checkpoint import Json
from .loop import Progress, constraints, share_left
from .params import ParameterValue, Params
from .players import Epoch, Player
from .random import Order, measurement_stream, steps_until, stream
from .sensors import Death, Sensors
from .sheet import write_sheet

SHEET_COLUMNS, SHEET_ROWS = 8, 8


class Training:
    """One trial in training; see `loop.Trainer`.

    Building it trains nothing, and raises `MissingParameter`, `UnreadParameters` or another `ValueError` for parameters
    that do not fit. `seed` decides initial weights, order and noise; which metrics are measured, and when, changes
    nothing in the training.
    """

    can_sample = True

    def __init__(
        self,
        model_class: type[Family],
        data: Data,
        params: Mapping[str, ParameterValue],
        *,
        seed: int,
        epochs: int,
        metrics: Sequence[Metric] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, and they are {epochs}: raise the budget")
        read = Params(params)
        self._step, self._epochs, self._device = 0, epochs, torch.device(device)
        self._data, self._metrics = data.to(self._device), {metric.name: metric for metric in metrics}
        self.model = model_class.build(read, data=data, generator=stream(seed, "init"))
        self._module = as_module(self.model).to(self._device)
        self._knobs = model_class.knobs(read)
        self._batch_size = read.integer("batch_size")
        if self._batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, and it is {self._batch_size}: correct it in the space")
        paces = model_class.paces(self._knobs)
        self._players = [
            Player.from_params(name, read, model=self.model, pace=paces[name], epochs=epochs)
            for name in model_class.players
        ]
        read.check_all_read()
        self._order, self._noise = Order(len(data.train), seed=seed), stream(seed, "noise", device=self._device)
        self._sensors = Sensors()
        self._identity: dict[str, Json] = {
            "model": model_class.__module__,
            "data": data.sha256,
            "params": dict(params),
            "seed": seed,
            "epochs": epochs,
        }

    @property
    def step(self) -> int:
        """Epochs finished."""
        return self._step

    @property
    def epochs(self) -> int:
        """Epochs in the budget."""
        return self._epochs

    def advance(self, *, measure: Collection[str] = ()) -> Progress:
        """Train one epoch, then measure the named metrics and every cheap one; a dead training measures nothing."""
        if self._step >= self._epochs:
            raise ValueError(f"this training was over after {self._epochs} epochs: build one with a larger budget")
        names = self._wanted(measure)
        try:
            logs = self._epoch().train(self.model, self._players, self._knobs)
        except torch.OutOfMemoryError:
            self._step += 1
            return self._dead(Death(constraint="memory", cause="the training does not fit in memory"), {})
        self._step += 1
        metrics = self._named(logs)
        if death := self._watch(metrics):
            return self._dead(death, metrics)
        for player in self._players:
            own = logs[player.name]
            if player.plateau is not None and "loss" in own:
                player.plateau.see(self.model.monitored(player.name, own, self._knobs))
        metrics.update({name: found.value for name, found in self.measure(names).items()})
        if death := self._sensors.not_finite(metrics):
            return self._dead(death, metrics)
        return Progress(step=self._step, metrics=metrics)

    def measure(self, names: Collection[str], *, split: str = "validation") -> dict[str, Measurement]:
        """The named metrics on one split, under the noise that every trial is measured with."""
        self._wanted(names)
        rows = self._data.split(split)
        self._module.eval()
        try:
            return {
                name: self._metrics[name].measure(self.model, rows, measurement_stream(device=self._device))
                for name in names
            }
        finally:
            self._module.train()

    def save(self, folder: Path) -> None:
        """Write a checkpoint into this folder, in place of the one that is there."""
        tensors = {
            **checkpoint.prefixed("model", self._module.state_dict()),
            **checkpoint.prefixed("order", self._order.state()),
            "noise": self._noise.get_state(),
        }
        for player in self._players:
            tensors.update(checkpoint.prefixed(f"optimizer/{player.name}", player.optimizer.state()))
        state: dict[str, Json] = {
            "identity": self._identity,
            "step": self._step,
            "sensors": {**self._sensors.state()},
            "plateaus": {player.name: {**player.plateau.state()} for player in self._players if player.plateau},
        }
        checkpoint.write_checkpoint(folder, tensors=tensors, state=state)

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint in this folder, bit for bit as if never interrupted.

        Raises `ValueError` for a checkpoint of another trial, or of none.
        """
        tensors, state = checkpoint.read_checkpoint(folder)
        checkpoint.check_identity(state, self._identity, folder=folder)
        self._module.load_state_dict(checkpoint.under("model", tensors))
        self._order.load_state(checkpoint.under("order", tensors))
        self._noise.set_state(tensors["noise"])
        for player in self._players:
            player.optimizer.load_state(checkpoint.under(f"optimizer/{player.name}", tensors))
            if player.plateau is not None:
                player.plateau.load_state(checkpoint.numbers(state, "plateaus", player.name))
        self._sensors.load_state(checkpoint.numbers(state, "sensors"))
        self._step = checkpoint.whole(state, "step")

    def close(self) -> None:
        """Do nothing: tensors are let go with the object."""

    def save_weights(self, path: Path) -> None:
        """Write the weights that sampling and measuring need, as one safetensors file."""
        checkpoint.write_tensors(path, self._module.state_dict())

    def load_weights(self, path: Path) -> None:
        """Take over weights that `save_weights` wrote; raises `ValueError` where they do not fit this model."""
        tensors, _ = checkpoint.read_tensors(path)
        try:
            self._module.load_state_dict(tensors)
        except RuntimeError as error:
            raise ValueError(f"weights must fit the model, and those of {path} do not: {error}") from error

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """New rows [count, *shape] of the data's type; the same seed gives the same noise at every step."""
        self._module.eval()
        try:
            with torch.inference_mode():
                noise = self.model.draw_samples(stream(seed, "samples", device=self._device), rows=count)
                return self.model.sample(noise)
        finally:
            self._module.train()

    def sheet(self, path: Path) -> None:
        """Write a PNG of samples from noise that stays the same, so that sheets of one trial show its progress."""
        write_sheet(path, self.sample(SHEET_COLUMNS * SHEET_ROWS), data=self._data, columns=SHEET_COLUMNS)

    def _epoch(self) -> Epoch:
        rows, size = len(self._data.train), self._batch_size
        return Epoch(
            first=steps_until(self._step, rows=rows, batch_size=size),
            last=steps_until(self._step + 1, rows=rows, batch_size=size),
            total=steps_until(self._epochs, rows=rows, batch_size=size),
            batch_size=size,
            rows=lambda count: self._data.train.x[self._order.take(count).to(self._device)],
            noise=self._noise,
        )

    def _named(self, logs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """All logs in one mapping, with the player in front where there are several."""
        several = len(self._players) > 1
        return {
            f"{player}.{name}" if several else name: value
            for player, own in logs.items()
            for name, value in own.items()
        }

    def _watch(self, metrics: Mapping[str, float]) -> Death | None:
        progress = self._step / self._epochs
        weights = torch.stack(torch._foreach_norm(list(self._module.parameters())))
        return self._sensors.see(
            metrics,
            finite_weights=bool(weights.isfinite().all()),
            collapse=self.model.collapsed(metrics, self.model.in_force(self._knobs, progress=progress)),
            progress=progress,
        )

    def _wanted(self, names: Collection[str]) -> list[str]:
        for name in names:
            if name not in self._metrics:
                known = ", ".join(self._metrics) or "none"
                raise ValueError(
                    f"a metric to measure must be one this training was built with ({known}), not {name!r}"
                )
        return [name for name, metric in self._metrics.items() if metric.each_epoch or name in names]

    def _dead(self, death: Death, metrics: Mapping[str, float]) -> Progress:
        left = share_left(step=self._step, epochs=self._epochs)
        return Progress(
            step=self._step,
            metrics={name: value for name, value in metrics.items() if abs(value) < float("inf")},
            cause=death.cause,
            constraints=constraints(death.constraint, left=left),
        )
