"""Evidence lower bound at beta = 1, in nats a row: what a VAE is compared by while it trains.

Kingma and Welling 2014, arXiv 1312.6114, eq. (7): one sample of the reconstruction, the KL in closed form.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement, likelihood_of, likelihood_refusal, mean_over_rows

# Rows a forward pass: keeps the memory of large data small. Part of the definition, as noise is drawn by chunk.
CHUNK_ROWS = 512


class Metric:
    """The one-sample bound, larger is better."""

    name: ClassVar[str] = "elbo"
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = True
    of_model: ClassVar[bool] = True

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Every family but those with a likelihood is refused."""
        return likelihood_refusal(model, metric=cls.name)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The mean bound over the rows of the split."""
        likelihood = likelihood_of(model, metric=self.name)
        with torch.inference_mode():
            bounds = []
            for x in torch.split(split.x, CHUNK_ROWS):
                shape = (len(x), likelihood.latent)
                noise_BL = torch.randn(shape, generator=generator, device=generator.device)
                bounds.append(likelihood.bound(x, noise_BL))
            return mean_over_rows(torch.cat(bounds))
