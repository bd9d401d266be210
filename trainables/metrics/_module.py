"""A model as a torch module, for metrics of the model itself and not of its samples. Floor: torch and models."""

from __future__ import annotations

from torch import nn

from ..models._family import Generative


def module_of(model: Generative, *, metric: str) -> nn.Module:
    """The same model; raises `ValueError` for one without parameters, such as rows in the place of samples."""
    if isinstance(model, nn.Module) and next(model.parameters(), None) is not None:
        return model
    raise ValueError(
        f"the metric {metric!r} needs a torch.nn.Module with parameters, and {type(model).__name__} is none: choose "
        "another metric"
    )
