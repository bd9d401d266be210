"""How many latents of a VAE carry something about a row: those whose posterior mean differs from row to row.

Burda, Grosse and Salakhutdinov 2016, arXiv 1509.00519, section 5.2: latent j is active where the variance over rows of
its posterior mean exceeds .01. All of them at rest is posterior collapse. Axes: B rows, L latents.
"""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement

# Rows a forward pass.
CHUNK_ROWS = 512
ACTIVE_VARIANCE = 0.01


@runtime_checkable
class Encodes(Protocol):
    """A model with a posterior over latents for each row."""

    def posterior_mean(self, x: Tensor) -> Tensor:
        """[B, L]: the mean of the latents of each row."""


class Metric:
    """The number of active latents, larger is better."""

    name: ClassVar[str] = "active_units"
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = True
    of_model: ClassVar[bool] = True

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Every family but those with a posterior over latents is refused."""
        return None if callable(getattr(model, "posterior_mean", None)) else _no_latents(model)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The number on the rows of the split; it is exact for these rows, and takes no noise."""
        if not isinstance(model, Encodes):
            raise ValueError(_no_latents(type(model)))
        with torch.inference_mode():
            means_BL = torch.cat([model.posterior_mean(x) for x in torch.split(split.x, CHUNK_ROWS)])
            active = int((means_BL.var(0, unbiased=False) > ACTIVE_VARIANCE).sum())
        return Measurement(value=float(active), standard_error=0.0, sample_size=len(split))


def _no_latents(model: type) -> str:
    return (
        f"the metric 'active_units' needs a model with a posterior over latents, and {model.__module__} has none: "
        "choose another metric or a family such as vae"
    )
