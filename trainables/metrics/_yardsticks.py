"""What a metric says of rows in the place of samples, or of simple models: what every other value is read beside.

The floor is that of real rows which no model saw, the test rows: a finite sample is never at distance 0, and fewer rows
are farther away. The other is that of the training rows, which wins every measure of fidelity, so whoever comes near it
may have copied them. A metric may say that its floor means nothing (`has_floor`). A metric of the model has neither; it
may have baselines.
Floor: torch, models and data.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import torch

from ..data._data import Data
from ._metric import Baselined, Metric, has_floor, measures_samples
from ._samples import Replay

FLOOR, COPY = "floor", "copy_of_train"
# Of this process, by metric, data and device.
_FOUND: dict[tuple[type[Metric], str, torch.device], dict[str, float]] = {}


def yardsticks(metric: Metric, data: Data, generator: Callable[[], torch.Generator]) -> dict[str, float]:
    """`name.floor` and `name.copy_of_train` on the validation rows, under the noise of trials; the metric is prepared.

    Of a metric that needs more than samples, its baselines, if it has any. What fails is left out, and values that are
    not finite.
    """
    key = (type(metric), data.sha256, data.train.x.device)
    if key not in _FOUND:
        _FOUND[key] = _measured(metric, data, generator)
    return _FOUND[key]


def _measured(metric: Metric, data: Data, generator: Callable[[], torch.Generator]) -> dict[str, float]:
    rows = {FLOOR: data.test} if has_floor(metric) else {}
    if measures_samples(metric):
        rows[COPY] = data.train
    found: dict[str, float] = {}
    # A finished trial is worth more than what it is read beside.
    for kind, split in rows.items():
        with contextlib.suppress(Exception):
            found[kind] = metric.measure(Replay(split), data.validation, generator()).value
    if isinstance(metric, Baselined):
        with contextlib.suppress(Exception):
            found |= metric.baselines(data)
    return {f"{metric.name}.{kind}": value for kind, value in found.items() if math.isfinite(value)}
