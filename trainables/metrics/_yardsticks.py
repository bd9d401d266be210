"""What a metric says of rows in the place of samples, or of simple models: what every other value is read beside.

The floor is that of real rows which no model saw, the test rows: a finite sample is never at distance 0, and fewer rows
are farther away. The other is that of the training rows, which wins every measure of fidelity, so whoever comes near it
may have copied them. A metric of the model has neither; it may have baselines.
Floor: torch, models and data.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from ..data._data import Data
from ._metric import Baselined, Metric, measures_samples
from ._samples import Replay

FLOOR, COPY = "floor", "copy_of_train"
# Of this process, by metric, data and device.
_FOUND: dict[tuple[type[Metric], str, torch.device], dict[str, float]] = {}


def yardsticks(metric: Metric, data: Data, generator: Callable[[], torch.Generator]) -> dict[str, float]:
    """`name.floor` and `name.copy_of_train` on the validation rows, under the noise of trials; the metric is prepared.

    Of a metric that needs more than samples, its baselines, if it has any. Empty where it fails on these. Values that
    are not finite are left out.
    """
    key = (type(metric), data.sha256, data.train.x.device)
    if key not in _FOUND:
        _FOUND[key] = _measured(metric, data, generator)
    return _FOUND[key]


def _measured(metric: Metric, data: Data, generator: Callable[[], torch.Generator]) -> dict[str, float]:
    rows = {FLOOR: data.test, COPY: data.train} if measures_samples(metric) else {}
    try:
        found = {
            kind: metric.measure(Replay(split), data.validation, generator()).value for kind, split in rows.items()
        }
        if isinstance(metric, Baselined):
            found |= metric.baselines(data)
    except Exception:  # a finished trial is worth more than what it is read beside
        return {}
    return {f"{metric.name}.{kind}": value for kind, value in found.items() if math.isfinite(value)}
