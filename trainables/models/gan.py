"""Generative adversarial network: a perceptron or a convolutional pair; `_adversarial` holds the losses.

Convolutions: Radford et al. 2016, arXiv 1511.06434, without its batch normalization, which would mix rows and spoil a
gradient penalty. Classes are shown to both networks as one-hot vectors: Mirza and Osindero 2014, arXiv 1411.1784. The
discriminator may have a spectral norm: Miyato et al. 2018, arXiv 1802.05957.
Floor: torch. Axes: B rows, N numbers of noise and one-hot classes, C channels, Y and X places in an image, U units.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, one_hot
from ._family import Knobs
from ._layers import MLP, add_singular_vectors, doubling, halving, linear, masked_dropout, normed

LEAK = 0.2


class ConvGenerator(nn.Module):
    """Noise to images [B, C, Y, X]: a linear layer to the coarsest map, then a transposed convolution a doubling."""

    def __init__(self, inputs: int, channels: Sequence[int], *, side: int, generator: torch.Generator) -> None:
        super().__init__()
        self.coarsest = (channels[0], side, side)
        self.first = linear(inputs, math.prod(self.coarsest), generator=generator)
        self.blocks = nn.ModuleList(
            doubling(before, after, generator=generator) for before, after in itertools.pairwise(channels)
        )

    def forward(self, z_BN: Tensor) -> Tensor:
        x: Tensor = self.first(z_BN).view(-1, *self.coarsest)
        for block in self.blocks:
            x = block(leaky_relu(x, LEAK))
        return x


class ConvDiscriminator(nn.Module):
    """Images [B, C, Y, X] to logits [B, 1]: a convolution a halving, then a linear layer.

    Dropout takes whole channels (Tompson et al. 2015, arXiv 1411.4280): neighboring places carry the same again.
    """

    def __init__(self, channels: Sequence[int], *, side: int, generator: torch.Generator) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            halving(before, after, generator=generator) for before, after in itertools.pairwise(channels)
        )
        self.last = linear(channels[-1] * side * side, 1, generator=generator)

    def forward(
        self,
        x: Tensor,
        uniforms: Sequence[Tensor] = (),
        rate: float | Tensor = 0.0,
        spectral_norm: float | Tensor = 0.0,
    ) -> Tensor:
        for place, block in enumerate(self.blocks):
            x = leaky_relu(normed(block, x, spectral_norm), LEAK)
            if uniforms:
                x = masked_dropout(x, uniforms[place][..., None, None], rate)
        return normed(self.last, x.flatten(1), spectral_norm)


class Model(Adversarial):
    """A GAN over rows of grey levels, scaled to [-1, 1] and with a tanh, or of real numbers as they are."""

    structural: ClassVar[tuple[str, ...]] = ("architecture", "latent", "width", "depth", "conditional")

    def __init__(
        self,
        data: Data,
        *,
        architecture: str,
        latent: int,
        width: int,
        depth: int,
        conditional: bool,
        generator: torch.Generator,
    ) -> None:
        for name, value in (("latent", latent), ("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        if architecture not in ("mlp", "conv"):
            raise ValueError(f"architecture must be 'mlp' or 'conv', and it is {architecture!r}: correct the space")
        convolutional = architecture == "conv"
        coarsest, doublings = _pyramid(data) if convolutional else (0, 0)
        # As many channels again at each halving: what a map loses in places it gains in channels.
        hidden = tuple(width * 2**level for level in range(doublings)) if convolutional else (width,) * depth
        super().__init__(data, noise_shape=(latent,), units=sum(hidden), conditional=conditional)
        self.hidden, self.convolutional = hidden, convolutional
        if convolutional:
            channels, classes = self.shape[0], self.classes
            self.discriminator = ConvDiscriminator((channels + classes, *hidden), side=coarsest, generator=generator)
            up = (*hidden[::-1], channels)
            self.generator = ConvGenerator(latent + classes, up, side=coarsest, generator=generator)
        else:
            size = math.prod(self.shape)
            self.discriminator = MLP((size + self.classes, *hidden, 1), generator=generator, leak=LEAK)
            self.generator = MLP((latent + self.classes, *hidden, size), generator=generator, leak=LEAK)
        add_singular_vectors(self.discriminator, generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        Augmentation.check(params, data=data)
        architecture = params.text("architecture")
        return cls(
            data,
            architecture=architecture,
            latent=params.integer("latent"),
            width=params.integer("width"),
            # The side of the images decides the depth of a convolutional pair.
            depth=1 if architecture == "conv" else params.integer("depth"),
            conditional=params.boolean("conditional", False),
            generator=generator,
        )

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {**super().knobs(params), "spectral_norm": float(params.boolean("spectral_norm", False))}

    def _fakes(self, latent: Tensor, labels_B: Tensor | None) -> Tensor:
        rows: Tensor = self.generator(self._with_classes(latent, labels_B))
        return self._bounded(rows).view(-1, *self.shape)

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        seen = self._with_classes(rows if self.convolutional else rows.flatten(1), labels_B)
        uniforms = () if uniform_BU is None else torch.split(uniform_BU, list(self.hidden), 1)
        logits: Tensor = self.discriminator(seen, uniforms, knobs["dropout"], knobs["spectral_norm"])
        return logits[:, 0]

    def _with_classes(self, values: Tensor, labels_B: Tensor | None) -> Tensor:
        """The classes beside vectors [B, N], or beside images [B, C, Y, X] as maps that are 1 or 0 everywhere."""
        if labels_B is None:
            return values
        classes = one_hot(labels_B, self.classes, dtype=values.dtype)
        if values.dim() == 4:
            classes = classes[..., None, None].expand(-1, -1, *values.shape[2:])
        return torch.cat([values, classes], 1)


def _pyramid(data: Data) -> tuple[int, int]:
    """The side of the coarsest map and the number of doublings up to the data: 8 = 2 x 2 x 2, 64 = 4 x 2 x ... x 2.

    Raises `ValueError` for data that are no square images with a side that is a multiple of 4.
    """
    shape = data.shape
    if len(shape) != 3 or shape[1] != shape[2] or shape[1] % 4:
        raise ValueError(
            "the architecture 'conv' needs square images [channels, side, side] with a side that is a multiple of 4, "
            f"and rows of {data.name!r} have the shape {list(shape)}: set architecture to mlp, or pad the images"
        )
    side, doublings = shape[1] // 4, 2
    while side % 2 == 0 and side > 4:
        side, doublings = side // 2, doublings + 1
    return side, doublings
