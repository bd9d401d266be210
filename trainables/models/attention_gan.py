"""Self-attention GAN of images: the convolutional pair of `gan` with attention in both; `_adversarial` has the losses.

SAGAN: Zhang et al. 2019, arXiv 1805.08318, with its spectral norm in both networks. Of the paper are left out batch
normalization, which mixes rows, and the projection of classes: they are shown to both networks as one-hot vectors, as
in `gan`. It is what the article that this project follows calls AT-GAN; in the literature that name mostly means
generators of adversarial examples. Text is the business of `attention_gan_text`.
Attention is at the map of half the image's side, and in images of more than 32 places a side at the finest map of at
most 16, since its memory grows with the square of the places: `_convolutions.attended`. Images whose coarsest map is
larger, as 25 places a side are in those of 100, are refused.
Floor: torch. Axes: B rows, N numbers of noise and one-hot classes, C channels, Y and X places in an image, U units.
"""

from __future__ import annotations

import itertools
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, with_classes
from ._convolutions import ATTENDED_SIDE, Downsampling, Upsampling, halved, pyramid
from ._family import Knobs, Losses, Noise
from ._layers import add_singular_vectors, turn_singular_vectors

LEAK = 0.2


class Model(Adversarial):
    """A GAN over images of grey levels, scaled to [-1, 1] and with a tanh, or of real numbers as they are.

    The spectral norm of the generator is structural, since samples are drawn with it and without knobs.
    """

    structural: ClassVar[tuple[str, ...]] = ("latent", "width", "generator.spectral_norm", "conditional")

    def __init__(
        self,
        data: Data,
        *,
        latent: int,
        width: int,
        spectral_norm: bool,
        conditional: bool,
        generator: torch.Generator,
    ) -> None:
        for name, value in (("latent", latent), ("width", width)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        if data.modality != "images":
            other = "attention_gan_text" if data.modality == "text" else "gan"
            raise ValueError(
                "the model 'attention_gan' needs images, rows of the shape [channels, side, side], and those of "
                f"{data.name!r} are {data.modality} of the shape {list(data.shape)}: take the model {other!r}, or "
                "other data"
            )
        coarsest, doublings = pyramid(
            data, who="the model 'attention_gan'", instead="take the model 'gan' with the architecture mlp"
        )
        if coarsest > ATTENDED_SIDE:
            raise ValueError(_too_coarse(data, coarsest=coarsest))
        hidden = tuple(width * 2**level for level in range(doublings))
        super().__init__(data, noise_shape=(latent,), units=sum(hidden), conditional=conditional)
        self.hidden, self.spectral_norm = hidden, spectral_norm
        channels, classes = self.shape[0], self.classes
        self.discriminator = Downsampling(
            (channels + classes, *hidden), side=coarsest, outputs=1, generator=generator, leak=LEAK, attention=True
        )
        up = (*hidden[::-1], channels)
        self.generator = Upsampling(latent + classes, up, side=coarsest, generator=generator, leak=LEAK, attention=True)
        add_singular_vectors(self.discriminator, generator=generator)
        if spectral_norm:
            add_singular_vectors(self.generator, generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        Augmentation.check(params, data=data)
        return cls(
            data,
            latent=params.integer("latent"),
            width=params.integer("width"),
            spectral_norm=params.boolean("generator.spectral_norm", False),
            conditional=params.boolean("conditional", False),
            generator=generator,
        )

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {**super().knobs(params), "spectral_norm": float(params.boolean("spectral_norm", False))}

    def _generator_loss(self, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        turn_singular_vectors(self.generator, float(self.spectral_norm))
        return super()._generator_loss(noise, knobs, weight_B)

    def _fakes(self, latent: Tensor, labels_B: Tensor | None) -> Tensor:
        told = with_classes(latent, labels_B, self.classes)
        return self._bounded(self.generator(told, spectral_norm=float(self.spectral_norm)))

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        seen = with_classes(rows, labels_B, self.classes)
        uniforms = () if uniform_BU is None else torch.split(uniform_BU, list(self.hidden), 1)
        logits: Tensor = self.discriminator(seen, uniforms, knobs["dropout"], knobs["spectral_norm"])
        return logits[:, 0]


def _too_coarse(data: Data, *, coarsest: int) -> str:
    """What is said of images with too large a coarsest map; names the nearest sides below and above that are taken."""
    side = data.shape[1]
    below, above = (
        next(other for other in itertools.count(side, step) if halved(other)[0] <= ATTENDED_SIDE) for step in (-4, 4)
    )
    return (
        f"the model 'attention_gan' needs images that halve to at most {ATTENDED_SIDE} places a side, since attention "
        f"takes memory in their fourth power, and those of {data.name!r} halve from {side} to {coarsest}: resize them "
        f"to {below} or {above} places a side, or take the model 'gan'"
    )
