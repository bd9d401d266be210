"""How unevenly samples fall on a mixture's modes: PacGAN's Table 1 (Lin et al. 2018, arXiv 1712.04086), in nats.

KL(histogram || uniform) = log M - H over the samples of high quality, M the number of modes and H the entropy of the
histogram. 0 is even, log M is a single mode, which is also what a model without any sample of high quality is given.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement
from ._modes import hits, modes_refusal


class Metric:
    """The divergence of the histogram over modes from the uniform one, smaller is better."""

    name: ClassVar[str] = "reverse_kl"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = True

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but labeled points are refused."""
        return modes_refusal(data, metric=cls.name)

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The divergence, with the error of a plug-in entropy to first order."""
        found = hits(model, split, generator, metric=self.name)
        counts_M, total = found.counts.double(), int(found.good.sum())
        even = math.log(len(counts_M))
        if total == 0:
            return Measurement(value=even, standard_error=0.0, sample_size=len(found.good))
        p_M = counts_M[counts_M > 0] / total
        entropy = float(-(p_M * p_M.log()).sum())
        variance = float((p_M * p_M.log().square()).sum()) - entropy**2
        return Measurement(
            value=even - entropy,
            standard_error=math.sqrt(max(variance, 0.0) / total),
            sample_size=len(found.good),
        )
