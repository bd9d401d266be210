"""The VAE with a fault of its own, for tests of stacks that fail."""

from __future__ import annotations

import torch
from torch import Tensor

from trainables.models import vae
from trainables.models._family import Knobs, Losses, Noise

ROOM = 2  # so many members fit


def members(x: Tensor) -> int:
    """How many members are stacked in this tensor."""
    return int(torch._C._functorch.get_unwrapped(x).shape[0]) if torch._C._functorch.is_batchedtensor(x) else 1


class Model(vae.Model):
    """A stack of more than `ROOM` is too large for the device."""

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        if members(x) > ROOM:
            raise torch.OutOfMemoryError(f"{members(x)} members do not fit")
        return super().forward(player, x, noise, knobs, weight_B)


class Bug(vae.Model):
    """A trial with beta above 2 raises, by itself and in every stack that it is in."""

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        weight = knobs["kl_weight"]
        if isinstance(weight, Tensor) and torch._C._functorch.is_batchedtensor(weight):
            weight = torch._C._functorch.get_unwrapped(weight)
        if torch.as_tensor(weight).max() > 2.0:
            raise RuntimeError("beta is too much for this model")
        return super().forward(player, x, noise, knobs, weight_B)
