"""Which data the metrics of series take, and their rows as float64: what these metrics share.

Floor: torch and data. Axes: N rows, T steps, F features.
"""

from __future__ import annotations

from torch import Tensor

from ..data._data import Data


def series_refusal(data: Data, *, metric: str, steps: int = 2) -> str | None:
    """Why a metric of series of at least so many steps cannot measure on these data; None if it can."""
    if data.modality == "series" and len(data.shape) == 2 and data.shape[0] >= steps:
        return None
    return (
        f"the metric {metric!r} needs series [T, F] of at least {steps} steps, and {data.name!r} holds "
        f"{data.modality} of the shape {list(data.shape)}: choose another metric, or data such as sines"
    )


def as_series(x: Tensor, *, metric: str) -> Tensor:
    """The same rows as float64; raises `ValueError` for rows that are no series of two steps or more."""
    if x.dim() != 3 or x.shape[1] < 2:
        raise ValueError(
            f"the metric {metric!r} needs series [N, T, F] of at least 2 steps, and rows are {list(x.shape)}: choose "
            "another metric, or data such as sines"
        )
    return x.double()
