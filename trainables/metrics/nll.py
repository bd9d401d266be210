"""Negative log-likelihood by the importance-weighted bound at beta = 1, in nats a row.

Burda, Grosse and Salakhutdinov 2016, arXiv 1509.00519, eq. (8): IWAE_k = log 1/k sum_s p(x, z_s) / q(z_s | x). The
bound tightens with k, so values compare only at equal k.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement, likelihood_of, likelihood_refusal, mean_over_rows

# Decoded rows a forward pass: as many as stay in a core's cache. Part of the definition, as noise is drawn by chunk.
CHUNK_ROWS = 256


class Metric:
    """-IWAE_k, smaller is better; k = 128 in a search, more for a final figure."""

    name: ClassVar[str] = "nll"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False
    of_model: ClassVar[bool] = True

    def __init__(self, *, k: int = 128) -> None:
        if k < 1:
            raise ValueError(
                f"k must be at least 1, and it is {k}: take 128 in a search, 500 or more for a final figure"
            )
        self.k = k

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Every family but those with a likelihood is refused."""
        return likelihood_refusal(model, metric=cls.name)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """Minus the mean bound over the rows of the split."""
        likelihood = likelihood_of(model, metric=self.name)
        rows = max(1, CHUNK_ROWS // self.k)
        with torch.inference_mode():
            bounds = []
            for x in torch.split(split.x, rows):
                shape = (self.k, len(x), likelihood.latent)
                noise_SBL = torch.randn(shape, generator=generator, device=generator.device)
                bounds.append(likelihood.log_weights(x, noise_SBL).logsumexp(0) - math.log(self.k))
            return mean_over_rows(-torch.cat(bounds))
