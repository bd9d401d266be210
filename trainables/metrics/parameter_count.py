"""How many parameters a model has, those of every player: the size that a study may trade for quality."""

from __future__ import annotations

from typing import ClassVar

import torch

from ..data._data import Split
from ..models._family import Generative
from ._metric import Direction, Measurement
from ._module import module_of


class Metric:
    """The number of parameters, frozen ones included and buffers not, smaller is better; it is exact."""

    name: ClassVar[str] = "parameter_count"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False
    of_model: ClassVar[bool] = True

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The number; rows and noise do not matter."""
        count = sum(parameter.numel() for parameter in module_of(model, metric=self.name).parameters())
        return Measurement(value=float(count), standard_error=0.0, sample_size=len(split))
