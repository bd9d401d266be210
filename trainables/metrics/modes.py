"""The number of a mixture's modes that samples hit: PacGAN's Table 1 (Lin et al. 2018, arXiv 1712.04086)."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement
from ._modes import hits, modes_refusal


class Metric:
    """Modes with at least one sample of high quality among 2500, larger is better."""

    name: ClassVar[str] = "modes"
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = True

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but labeled points are refused."""
        return modes_refusal(data, metric=cls.name)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The number of modes hit."""
        found = hits(model, split, generator, metric=self.name)
        counts_M = found.counts.double()
        # Another draw would miss a mode that was hit c times with the probability exp(-c), as a Poisson count is 0.
        missed_M = (-counts_M).exp()
        return Measurement(
            value=float((counts_M > 0).sum()),
            standard_error=float((missed_M * (1.0 - missed_M)).sum().sqrt()),
            sample_size=len(found.good),
        )
