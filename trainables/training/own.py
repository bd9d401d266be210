"""A user's own training, a generator that yields metrics, behind the surface of every other training.

Floor: the standard library. Its state is the user's and unknown to us, so a checkpoint holds only how far it came, and
restoring runs the function again and drops what it has yielded before.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import SupportsFloat

from . import checkpoint
from .checkpoint import Json
from .loop import Progress, constraints, share_left
from .params import ParameterValue, Params

Metrics = Mapping[str, SupportsFloat]
Function = Callable[[Params, int, int], Iterator[Metrics]]


class OwnTraining:
    """One trial of `function(params, seed, budget)`, which yields a mapping of metrics once an epoch.

    Building it runs nothing of the function. `params` is read like a dict and remembers what was read: what is unread
    after the first yield raises `UnreadParameters`. `budget` is the number of epochs; returning earlier is fine.
    """

    can_sample = False
    structure: str | None = None

    def __init__(self, function: Function, params: Mapping[str, ParameterValue], *, seed: int, epochs: int) -> None:
        if epochs < 1:
            raise ValueError(f"epochs must be at least 1, and they are {epochs}: raise the budget")
        self._name = f"{function.__module__}.{function.__qualname__}"
        self._function, self._seed, self._epochs, self._step = function, seed, epochs, 0
        self._params = Params(params)
        self._yields: Iterator[Metrics] | None = None
        self._last: dict[str, float] = {}
        self._identity: dict[str, Json] = {
            "function": self._name,
            "params": dict(params),
            "seed": seed,
            "epochs": epochs,
        }

    @property
    def step(self) -> int:
        """Epochs finished: yields so far."""
        return self._step

    @property
    def epochs(self) -> int:
        """Epochs in the budget."""
        return self._epochs

    def advance(self, *, measure: Collection[str] = ()) -> Progress:
        """Run the function to its next yield; it measures what it likes, so `measure` changes nothing.

        What the function raises goes through. Raises `TypeError` for a yield that is no mapping of numbers.
        """
        if self._step >= self._epochs:
            raise ValueError(f"this training was over after {self._epochs} epochs: build one with a larger budget")
        yielded = self._next()
        if yielded is None:
            if self._step == 0:
                raise ValueError(
                    f"{self._name} must yield metrics at least once, and it returned without: yield once an epoch"
                )
            return Progress(step=self._step, metrics=self._last, ended=True)
        metrics = self._last = self._numbers(yielded)
        if self._step == 0:
            self._params.check_all_read()
        self._step += 1
        finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
        for name, value in metrics.items():
            if name not in finite:
                left = share_left(step=self._step, epochs=self._epochs)
                broken = constraints("diverged", left=left)
                return Progress(step=self._step, metrics=finite, cause=f"{name} is {value}", constraints=broken)
        return Progress(step=self._step, metrics=metrics)

    def save(self, folder: Path) -> None:
        """Write how far this training came."""
        state: dict[str, Json] = {"identity": self._identity, "step": self._step}
        checkpoint.write_checkpoint(folder, tensors={}, state=state)

    def restore(self, folder: Path) -> None:
        """Run the function again up to where the checkpoint was written; equal as far as the function repeats itself.

        Raises `ValueError` for a checkpoint of another trial, or where the function now ends earlier.
        """
        _, state = checkpoint.read_checkpoint(folder)
        checkpoint.check_identity(state, self._identity, folder=folder)
        step = checkpoint.whole(state, "step")
        self._yields, self._step = None, 0
        for done in range(step):
            if (yielded := self._next()) is None:
                raise ValueError(
                    f"{self._name} must yield as often as it did before, and it ended after {done} of {step} yields: "
                    "let it depend on its parameters and its seed only"
                )
            self._last = self._numbers(yielded)
        self._step = step

    def close(self) -> None:
        """Close the generator, so that its `finally` runs now."""
        close = getattr(self._yields, "close", None)
        if close is not None:
            close()

    def _next(self) -> Metrics | None:
        if self._yields is None:
            self._yields = iter(self._function(self._params, self._seed, self._epochs))
        return next(self._yields, None)

    def _numbers(self, yielded: Metrics) -> dict[str, float]:
        if not isinstance(yielded, Mapping):
            raise TypeError(
                f"{self._name} must yield a mapping from metric name to number, and it yielded {yielded!r}: "
                'write yield {"loss": loss}'
            )
        metrics = {}
        for name, value in yielded.items():
            if not isinstance(name, str) or isinstance(value, str):
                raise TypeError(
                    f"{self._name} must yield a mapping from metric name to number, and {name!r} is {value!r}: "
                    'write yield {"loss": loss}'
                )
            try:
                metrics[name] = float(value)
            except (TypeError, ValueError) as error:
                raise TypeError(
                    f"{self._name} must yield a number for {name!r}, and it yielded {value!r}: convert it by float()"
                ) from error
        return metrics
