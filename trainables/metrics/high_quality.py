"""The share of samples near a mode: PacGAN's Table 1 (Lin et al. 2018, arXiv 1712.04086)."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement, mean_over_rows
from ._modes import hits, modes_refusal


class Metric:
    """The share of 2500 samples within three standard deviations of a mode, larger is better."""

    name: ClassVar[str] = "high_quality"
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = True

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but labeled points are refused."""
        return modes_refusal(data, metric=cls.name)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The share; the mixtures themselves have .989, the mass of a round Gaussian within three sigma."""
        return mean_over_rows(hits(model, split, generator, metric=self.name).good)
