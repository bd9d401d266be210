"""Generative adversarial network: a perceptron or a convolutional pair; `_adversarial` holds the losses.

Convolutions: Radford et al. 2016, arXiv 1511.06434, without its batch normalization, which would mix rows and spoil a
gradient penalty. Classes are shown to both networks as one-hot vectors: Mirza and Osindero 2014, arXiv 1411.1784. The
discriminator may have a spectral norm: Miyato et al. 2018, arXiv 1802.05957.
Floor: torch. Axes: B rows, N numbers of noise and one-hot classes, C channels, Y and X places in an image, U units.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, one_hot
from ._convolutions import Downsampling, Upsampling, pyramid
from ._family import Knobs, refuse_text
from ._layers import MLP, add_singular_vectors

LEAK = 0.2


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
        coarsest, doublings = pyramid(data) if convolutional else (0, 0)
        # As many channels again at each halving: what a map loses in places it gains in channels.
        hidden = tuple(width * 2**level for level in range(doublings)) if convolutional else (width,) * depth
        super().__init__(data, noise_shape=(latent,), units=sum(hidden), conditional=conditional)
        self.hidden, self.convolutional = hidden, convolutional
        if convolutional:
            channels, classes = self.shape[0], self.classes
            self.discriminator = Downsampling(
                (channels + classes, *hidden), side=coarsest, outputs=1, generator=generator, leak=LEAK
            )
            up = (*hidden[::-1], channels)
            self.generator = Upsampling(latent + classes, up, side=coarsest, generator=generator, leak=LEAK)
        else:
            size = math.prod(self.shape)
            self.discriminator = MLP((size + self.classes, *hidden, 1), generator=generator, leak=LEAK)
            self.generator = MLP((latent + self.classes, *hidden, size), generator=generator, leak=LEAK)
        add_singular_vectors(self.discriminator, generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        refuse_text(data, model="gan")
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
