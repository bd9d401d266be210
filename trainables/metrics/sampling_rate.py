"""Samples a second, in batches of 250, on the device that the model is on.

By nature this is a time of this machine and of what else runs on it: it differs from run to run, and compares models
only where nothing else ran. Floor: torch, data and models.
"""

from __future__ import annotations

import time
from typing import ClassVar

import torch

from ..data._data import Split
from ..models._family import Generative
from ._metric import Direction, Measurement, mean_over_rows
from ._module import module_of
from ._samples import CHUNK_ROWS

# Batches that are timed, after one that is not.
BATCHES = 8


class Metric:
    """The mean rate over eight batches, noise included, larger is better; no number to choose a model by lightly."""

    name: ClassVar[str] = "sampling_rate"
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = False
    of_model: ClassVar[bool] = True
    reads_clock: ClassVar[bool] = True
    """The same noise does not give the same value."""

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The rate, its error from the batches; the rows do not matter."""
        module_of(model, metric=self.name)
        with torch.inference_mode():
            seconds = [_seconds(model, generator) for _ in range(1 + BATCHES)][1:]
        rates = mean_over_rows(CHUNK_ROWS / torch.tensor(seconds, dtype=torch.float64))
        return Measurement(value=rates.value, standard_error=rates.standard_error, sample_size=BATCHES * CHUNK_ROWS)


def _seconds(model: Generative, generator: torch.Generator) -> float:
    """That one batch takes, until the device has it."""
    begin = time.perf_counter()
    model.sample(model.draw_samples(generator, rows=CHUNK_ROWS))
    if generator.device.type == "cuda":
        torch.cuda.synchronize(generator.device)
    return time.perf_counter() - begin
