"""The trainer of one trial by itself, with `torch.optim`: width 1.

It is the ordinary case, and the oracle for a trial in company. A stack steps many of them at once (`stack.py`): their
parameters become rows of its tensors, and all else stays here. Floor: torch, models, data and metrics.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data
from ..metrics._metric import Measurement, Metric, measures_samples, prepare
from ..metrics._yardsticks import yardsticks
from ..models._family import Controlled, Family, Staged, adapted, as_module, begins
from . import checkpoint, transfer
from .captured import sent
from .checkpoint import Json
from .loop import Progress, constraints, share_left
from .params import ParameterValue, Params
from .players import PRECISIONS, Epoch, Logs, Player, products
from .random import Order, measurement_stream, steps_until, stream
from .sensors import Death, Sensors
from .sheet import draw_sheet, write_sheet

# A sheet shows so many samples, fewer where they are large: it is drawn and sent while trials train.
SHEET_COLUMNS, SHEET_ROWS, SHEET_NUMBERS = 8, 8, 2**20
# A stack pays for the largest batch in it, so batch sizes share one only within this factor.
BATCH_FACTOR = 4


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
        precision: str = "float32",
    ) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, and they are {epochs}: raise the budget")
        if precision not in PRECISIONS:
            raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, and it is {precision!r}: choose one")
        read = Params(params)
        self._step, self._epochs, self.device, self.precision = 0, epochs, torch.device(device), precision
        self._trained: Logs | None = None
        self.data, self._metrics = data.to(self.device), {metric.name: metric for metric in metrics}
        self._prepared: set[str] = set()
        self.model = model_class.build(read, data=data, generator=stream(seed, "init"))
        self.module = as_module(self.model).to(self.device)
        self.transfer = transfer.begin(self.module, model_class.players, read)
        self.knobs = model_class.knobs(read)
        self._first_knobs, self._moved_knobs = self.knobs, set[str]()
        self.batch_size = read.integer("batch_size")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, and it is {self.batch_size}: correct it in the space")
        self.players = self._players(read)
        read.check_all_read()
        self.largest_batch = largest_batch(self.batch_size)
        self.structure = self._structure(read)
        self._order, self._noise = Order(len(data.train), seed=seed), stream(seed, "noise", device=self.device)
        self._sensors = Sensors()
        self._identity: dict[str, Json] = {
            "model": model_class.__module__,
            "data": data.sha256,
            "params": dict(params),
            "seed": seed,
            "epochs": epochs,
            **({} if self.transfer is None else {"transfer": self.transfer.sha256}),
        }

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that it was built with."""
        return list(self._metrics.values())

    @property
    def step(self) -> int:
        """Epochs finished."""
        return self._step

    @property
    def epochs(self) -> int:
        """Epochs in the budget."""
        return self._epochs

    def begin_epoch(self) -> Epoch:
        """The epoch that comes next, for whoever steps it; `advance` steps it where nobody else did."""
        if self._step >= self._epochs:
            raise ValueError(f"this training was over after {self._epochs} epochs: build one with a larger budget")
        rows, size = len(self.data.train), self.batch_size
        return Epoch(
            first=steps_until(self._step, rows=rows, batch_size=size),
            last=steps_until(self._step + 1, rows=rows, batch_size=size),
            total=steps_until(self._epochs, rows=rows, batch_size=size),
            batch_size=size,
            order=lambda count: sent(self._order.take(count), self.device),
            noise=self._noise,
        )

    def train(self, epoch: Epoch) -> Logs:
        """Make the steps of this epoch by itself; returns their mean logs."""
        with products(self.device, self.precision):
            return epoch.train(self.model, self.players, self.knobs, self.data.train, precision=self.precision)

    def trained(self, logs: Logs) -> None:
        """The next epoch was stepped in a stack, with these mean logs; `advance` then closes it."""
        self._trained = logs

    def advance(self, *, measure: Collection[str] = ()) -> Progress:
        """Train one epoch, then measure the named metrics and every cheap one; a dead training measures nothing.

        Knobs that follow the training are among its metrics once they moved.
        """
        names = self._wanted(measure)
        logs, self._trained = self._trained, None
        if logs is None:
            epoch = self.begin_epoch()
            try:
                logs = self.train(epoch)
            except torch.OutOfMemoryError:
                self._step += 1
                return self._dead(Death(constraint="memory", cause="the training does not fit in memory"), {})
        self._step += 1
        for player in self._waiting():
            player.follow()
        metrics = self._named(logs)
        if death := self._watch(metrics):
            return self._dead(death, metrics)
        for player in self.players:
            own = logs[player.name]
            if player.plateau is not None and "loss" in own:
                player.plateau.see(self.model.monitored(player.name, own, self.knobs))
        self.knobs = adapted(self.model, self.knobs, metrics, rows=len(self.data.train))
        self._moved_knobs |= {name for name, value in self.knobs.items() if value != self._first_knobs[name]}
        metrics.update({name: self.knobs[name] for name in sorted(self._moved_knobs)})
        metrics.update({name: found.value for name, found in self.measure(names).items()})
        if death := self._sensors.not_finite(metrics):
            return self._dead(death, metrics)
        return Progress(step=self._step, metrics=metrics)

    def measure(self, names: Collection[str], *, split: str = "validation") -> dict[str, Measurement]:
        """The named metrics on one split, under the noise that every trial is measured with."""
        rows = self.data.split(split)
        with products(self.device, "float32"):
            self._prepare(names)
        with self._averaged():
            return {
                name: self._metrics[name].measure(self.model, rows, measurement_stream(device=self.device))
                for name in names
            }

    def yardsticks(self, names: Collection[str]) -> dict[str, float]:
        """What the named metrics say of real rows and of the training rows, as `name.floor` and `name.copy_of_train`.

        The same for all trainings on these data; those of the model and not of its samples have none. Then what they
        say of the model's controls, if it has any.
        """
        with torch.inference_mode(), products(self.device, "float32"):
            self._prepare(names)
            noise = functools.partial(measurement_stream, device=self.device)
            found = [yardsticks(self._metrics[name], self.data, noise) for name in names]
        return {name: value for of_metric in found for name, value in of_metric.items()} | self.of_controls(names)

    def save(self, folder: Path) -> None:
        """Write a checkpoint into this folder, in place of the one that is there."""
        tensors = {
            **checkpoint.prefixed("model", self.module.state_dict()),
            **checkpoint.prefixed("order", self._order.state()),
            "noise": self._noise.get_state(),
        }
        for player in self.players:
            tensors.update(checkpoint.prefixed(f"optimizer/{player.name}", player.optimizer.state()))
            if player.average is not None:
                tensors[f"average/{player.name}"] = player.average
        state: dict[str, Json] = {
            "identity": self._identity,
            "step": self._step,
            "knobs": {**self.knobs},
            "moved": dict.fromkeys(sorted(self._moved_knobs)),
            "sensors": {**self._sensors.state()},
            "plateaus": {player.name: {**player.plateau.state()} for player in self.players if player.plateau},
        }
        checkpoint.write_checkpoint(folder, tensors=tensors, state=state)

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint in this folder, bit for bit as if never interrupted.

        Raises `ValueError` for a checkpoint of another trial, or of none.
        """
        tensors, state = checkpoint.read_checkpoint(folder)
        checkpoint.check_identity(state, self._identity, folder=folder)
        self.module.load_state_dict(checkpoint.under("model", tensors))
        self._order.load_state(checkpoint.under("order", tensors))
        self._noise.set_state(tensors["noise"])
        for player in self.players:
            player.optimizer.load_state(checkpoint.under(f"optimizer/{player.name}", tensors))
            if player.average is not None:
                player.average.copy_(tensors[f"average/{player.name}"])
            if player.plateau is not None:
                player.plateau.load_state(checkpoint.numbers(state, "plateaus", player.name))
        if "knobs" in state:  # an earlier release had none that move
            knobs = checkpoint.numbers(state, "knobs")
            self.knobs = {name: value for name, value in knobs.items() if value is not None}
            self._moved_knobs = set(checkpoint.numbers(state, "moved"))
        self._sensors.load_state(checkpoint.numbers(state, "sensors"))
        self._step = checkpoint.whole(state, "step")

    def close(self) -> None:
        """Do nothing: tensors are let go with the object."""

    def save_weights(self, path: Path) -> None:
        """Write the weights that sampling and measuring need, as one safetensors file."""
        with self._averaged():
            checkpoint.write_tensors(path, self.module.state_dict())

    def load_weights(self, path: Path) -> None:
        """Take over weights that `save_weights` wrote; raises `ValueError` where they do not fit this model.

        What an export holds beside them has a name with a slash, and is of the data, which are here.
        """
        tensors, _ = checkpoint.read_tensors(path)
        try:
            self.module.load_state_dict({name: tensor for name, tensor in tensors.items() if "/" not in name})
        except RuntimeError as error:
            raise ValueError(f"weights must fit the model, and those of {path} do not: {error}") from error
        for player in self.players:
            if player.average is not None:
                player.average.copy_(player.flat.values)

    def sample(self, count: int, *, seed: int = 0) -> Tensor:
        """New rows [count, *shape] of the data's type; the same seed gives the same noise at every step."""
        with self._averaged(), torch.inference_mode():
            noise = self.model.draw_samples(stream(seed, "samples", device=self.device), rows=count)
            return self.model.sample(noise)

    def sheet(self, path: Path) -> list[Path]:
        """Write samples from noise that stays the same, so that sheets of one trial show its progress; returns files.

        path: of the picture; what else the modality asks for lies beside it, see `sheet.write_sheet`.
        """
        return write_sheet(path, self._shown(), data=self.data, columns=SHEET_COLUMNS)

    def drawn(self) -> dict[str, bytes]:
        """What `sheet` writes: the content of each file by its suffix. It changes nothing in the training."""
        return draw_sheet(self._shown(), data=self.data, columns=SHEET_COLUMNS)

    def _shown(self) -> Tensor:
        fit = SHEET_NUMBERS // math.prod(self.data.shape)
        return self.sample(max(1, min(SHEET_COLUMNS * SHEET_ROWS, fit)))

    def of_controls(self, names: Collection[str], *, split: str = "validation") -> dict[str, float]:
        """`metric.control` for each metric of samples and each control; values that are not finite are left out."""
        if not isinstance(self.model, Controlled):
            return {}
        found = {}
        with self._averaged():
            for name in names:
                metric = self._metrics[name]
                for control, model in self.model.controls().items() if measures_samples(metric) else ():
                    noise = measurement_stream(device=self.device)
                    with suppress(Exception):  # a finished trial is worth more than what it is read beside
                        value = metric.measure(model, self.data.split(split), noise).value
                        found[f"{name}.{control}"] = value
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _players(self, params: Params) -> list[Player]:
        """The players in the family's order."""
        family = type(self.model)
        paces, late = family.paces(self.knobs), begins(self.model, self.knobs)
        steps = steps_until(self._epochs, rows=len(self.data.train), batch_size=self.batch_size)
        players: dict[str, Player] = {}
        for name in family.players:
            begin = math.ceil(late.get(name, 0.0) * steps)
            players[name] = Player.from_params(
                name,
                params,
                model=self.model,
                pace=paces[name],
                epochs=self._epochs,
                begin=begin,
                waits=begin / steps,
                transferred=self.transfer is not None,
            )
        for name, leader in (self.model.begins_as if isinstance(self.model, Staged) else {}).items():
            self._let_follow(players[name], players[leader])
        return list(players.values())

    def _let_follow(self, player: Player, leader: Player) -> None:
        """Let one player have the weights of another until it begins; what was transferred to begin at once, stays."""
        if player.begin == 0 and self.transfer is not None:
            return
        if player.flat.names != leader.flat.names:
            raise ValueError(
                f"the player {player.name!r} begins with the weights of {leader.name!r}, so both freeze the same "
                f"layers, and they do not: give `{player.name}.freeze` and `{leader.name}.freeze` one value"
            )
        player.leader = leader

    def _waiting(self) -> list[Player]:
        """The players that have not begun when this epoch is over, and have the weights of another."""
        if all(player.leader is None for player in self.players):
            return []
        steps = steps_until(self._step, rows=len(self.data.train), batch_size=self.batch_size)
        return [player for player in self.players if player.leader is not None and player.begin >= steps]

    def _structure(self, params: Params) -> str | None:
        """In words, since it is shown: what the tensors' shapes follow from."""
        family = type(self.model)
        stacked, saved = {id(kept) for player in self.players for kept in player.flat.kept}, self.module.state_dict()
        # A buffer that is not saved with the weights is a constant, the same for all models of these data.
        if not family.stacks or any(
            name in saved and id(buffer) not in stacked for name, buffer in self.module.named_buffers()
        ):
            return None
        shapes = " ".join(f"{name}={params[name]}" for name in family.structural if name in params)
        if frozen := [name for name, parameter in self.module.named_parameters() if not parameter.requires_grad]:
            shapes += f" frozen={','.join(frozen)}"
        dtype = str(self.players[0].flat.values.dtype).removeprefix("torch.")
        kind = dtype if self.precision == "float32" else self.precision
        name = family.__module__.rpartition(".")[2]
        return (
            f"{name} {shapes} batch<={self.largest_batch} {self.data.name} {self.data.sha256[:8]} {kind} {self.device}"
        )

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """The model as it is sampled from and measured: in evaluation, under the averages of its weights."""
        averaged = [player for player in self.players if player.average is not None]
        live = [player.flat.values.clone() for player in averaged]
        self.module.eval()
        try:
            for player in averaged:
                assert player.average is not None
                player.flat.values.copy_(player.average)
            # In full float32 whatever the training's precision is, so that measurements compare.
            with products(self.device, "float32"):
                yield
        finally:
            for player, values in zip(averaged, live, strict=True):
                player.flat.values.copy_(values)
            self.module.train()

    def _named(self, logs: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
        """All logs in one mapping, with the player in front where there are several."""
        several = len(self.players) > 1
        return {
            f"{player}.{name}" if several else name: value
            for player, own in logs.items()
            for name, value in own.items()
        }

    def _watch(self, metrics: Mapping[str, float]) -> Death | None:
        progress = self._step / self._epochs
        weights = torch.stack([player.flat.values.norm() for player in self.players])
        return self._sensors.see(
            metrics,
            finite_weights=bool(weights.isfinite().all()),
            collapse=self.model.collapsed(metrics, self.model.in_force(self.knobs, progress=progress)),
            progress=progress,
        )

    def _prepare(self, names: Collection[str]) -> None:
        self._wanted(names)
        for name in names:
            if name not in self._prepared:
                prepare(self._metrics[name], self.data)
                self._prepared.add(name)

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


def largest_batch(size: int) -> int:
    """The largest batch that shares a stack with one of this size: the next power of `BATCH_FACTOR`."""
    return int(BATCH_FACTOR ** math.ceil(math.log(size, BATCH_FACTOR) - 1e-9))
