"""A model that keeps a plain number of the training rows, where a buffer would have left with the weights."""

from typing import Self

import own_plugin
import torch
from torch import Tensor

from trainables.data._data import Data
from trainables.models._family import Noise
from trainables.training.params import Params


class Model(own_plugin.Model):
    largest: float

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        model = super().build(params, data=data, generator=generator)
        model.largest = float(data.train.x.max())
        return model

    def sample(self, noise: Noise) -> Tensor:
        return super().sample(noise) * self.largest
