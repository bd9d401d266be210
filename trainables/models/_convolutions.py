"""Pyramids of convolutions: images down to numbers and latents up to images, a factor of 2 in the side at each layer.

Radford et al. 2016, arXiv 1511.06434, without its batch normalization, which would mix rows and spoil a gradient
penalty. Dropout takes whole channels (Tompson et al. 2015, arXiv 1411.4280): neighboring places carry the same again.
One map may have attention, between its convolution and what follows: `_attention`.
Floor: torch and data. Axes: B rows, L latents, C channels, Y and X places in an image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ..data._data import Data
from ._attention import SelfAttention
from ._layers import LEAK, doubling, halving, linear, masked_dropout, normed

# Attention compares every two places of a map, so it is put where there are few: 256 x 256 numbers for each row.
ATTENDED_SIDE = 16


class Downsampling(nn.Module):
    """Images [B, C, Y, X] to numbers [B, outputs]: a convolution a halving, then a linear layer.

    `channels` are those of the image and of each map below it; `side` is that of the coarsest, and its width is
    `width` where it is no square. `attention`: whether one of the maps has it, the one that `attended` names.
    """

    def __init__(
        self,
        channels: Sequence[int],
        *,
        side: int,
        width: int | None = None,
        outputs: int,
        generator: torch.Generator,
        leak: float = LEAK,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.leak = leak
        self.blocks = nn.ModuleList(
            halving(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(channels)
        )
        maps = channels[1:]
        self.attended = len(maps) - 1 - attended(side, len(maps)) if attention else None
        if self.attended is not None:
            self.attention = SelfAttention(maps[self.attended], generator=generator)
        self.last = linear(channels[-1] * side * (side if width is None else width), outputs, generator=generator)

    def forward(
        self,
        x: Tensor,
        uniforms: Sequence[Tensor] = (),
        rate: float | Tensor = 0.0,
        spectral_norm: float | Tensor = 0.0,
    ) -> Tensor:
        """`uniforms` is empty (no dropout) or has one [B, channels] tensor for each halving.

        Where `spectral_norm` is 1, each layer's weight is divided by its largest singular value, as `normed` has it.
        """
        for place, block in enumerate(self.blocks):
            x = normed(block, x, spectral_norm)
            if place == self.attended:
                x = self.attention(x, spectral_norm)
            x = leaky_relu(x, self.leak)
            if uniforms:
                x = masked_dropout(x, uniforms[place][..., None, None], rate)
        return normed(self.last, x.flatten(1), spectral_norm)


class Upsampling(nn.Module):
    """Latents to images [B, C, Y, X]: a linear layer to the coarsest map, then a transposed convolution a doubling.

    `channels` are those of each map and of the image above them; `side` is that of the coarsest. `attention`: whether
    one of the maps has it, the one that `attended` names.
    """

    def __init__(
        self,
        latent: int,
        channels: Sequence[int],
        *,
        side: int,
        generator: torch.Generator,
        leak: float = LEAK,
        attention: bool = False,
    ) -> None:
        super().__init__()
        self.leak = leak
        self.coarsest = (channels[0], side, side)
        self.first = linear(latent, math.prod(self.coarsest), generator=generator)
        self.blocks = nn.ModuleList(
            doubling(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(channels)
        )
        self.attended = attended(side, len(channels) - 1) if attention else None
        if self.attended is not None:
            self.attention = SelfAttention(channels[self.attended], generator=generator)

    def forward(
        self,
        z_BL: Tensor,
        uniforms: Sequence[Tensor] = (),
        rate: float | Tensor = 0.0,
        spectral_norm: float | Tensor = 0.0,
    ) -> Tensor:
        """`uniforms` is empty (no dropout) or has one [B, channels] tensor for each map below the image.

        Where `spectral_norm` is 1, each layer's weight is divided by its largest singular value, as `normed` has it.
        """
        x = normed(self.first, z_BL, spectral_norm).view(-1, *self.coarsest)
        for place, block in enumerate(self.blocks):
            if place == self.attended:
                x = self.attention(x, spectral_norm)
            x = leaky_relu(x, self.leak)
            if uniforms:
                x = masked_dropout(x, uniforms[place][..., None, None], rate)
            x = normed(block, x, spectral_norm)
        return x


def attended(side: int, maps: int) -> int:
    """How many doublings lie between the coarsest map, of this side, and the one of so many that attention goes to.

    That is the finest whose side is at most `ATTENDED_SIDE`, and the coarsest has to be one; in images of 8, 16 and 32
    places a side it is the one of half their side.
    """
    return max(level for level in range(maps) if side * 2**level <= ATTENDED_SIDE)


def pyramid(
    data: Data, *, who: str = "the architecture 'conv'", instead: str = "set architecture to mlp"
) -> tuple[int, int]:
    """The side of the coarsest map and the number of doublings up to the data: 8 = 2 x 2 x 2, 64 = 4 x 2 x ... x 2.

    Raises `ValueError`, in the name of `who`, for data that are no square images with a side that is a multiple of 4.
    """
    shape = data.shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 4:
        raise ValueError(
            f"{who} needs square images [channels, side, side] with a side that is a multiple of 4, and rows of "
            f"{data.name!r} have the shape {list(shape)}: {instead}, or pad the images"
        )
    return halved(shape[1])


def halved(side: int) -> tuple[int, int]:
    """The side of the coarsest map and the number of doublings up to this side, a multiple of 4."""
    side, doublings = side // 4, 2
    while side % 2 == 0 and side > 4:
        side, doublings = side // 2, doublings + 1
    return side, doublings
