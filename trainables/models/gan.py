"""Generative adversarial network: perceptrons, or convolutions of images or sounds; `_adversarial` holds the losses.

Convolutions: Radford et al. 2016, arXiv 1511.06434, without its batch normalization, which would mix rows and spoil a
gradient penalty. Waves: WaveGAN, Donahue et al. 2019, arXiv 1802.04208. Classes are shown to both networks as one-hot
vectors: Mirza and Osindero 2014, arXiv 1411.1784. The discriminator may have a spectral norm: Miyato et al. 2018, arXiv
1802.05957.
Floor: torch. Axes: B rows, N numbers of noise and one-hot classes, C channels, Y and X places in an image, U units and
shuffles.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, with_classes
from ._convolutions import Downsampling, Upsampling, pyramid
from ._family import Knobs, refuse_text
from ._layers import MLP, add_singular_vectors
from ._waves import WaveDownsampling, WaveUpsampling, waves

ARCHITECTURES = ("mlp", "conv", "wave")
LEAK = 0.2


class Model(Adversarial):
    """A GAN over rows of grey levels, scaled to [-1, 1] and with a tanh, of audio likewise, or of real numbers."""

    structural: ClassVar[tuple[str, ...]] = ("architecture", "latent", "width", "depth", "conditional")
    randomized: ClassVar[tuple[str, ...]] = ("dropout", "phase_shuffle")

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
        if architecture not in ARCHITECTURES:
            raise ValueError(
                f"architecture must be one of {', '.join(ARCHITECTURES)}, and it is {architecture!r}: correct it in "
                "the space"
            )
        if architecture == "mlp":
            hidden = (width,) * depth
        else:
            coarsest, levels = pyramid(data) if architecture == "conv" else waves(data)
            # As many channels again at each level: what a map loses in places it gains in channels.
            hidden = tuple(width * 2**level for level in range(levels))
        # What the uniform numbers of a row are for: units of each layer, and a shuffle before each layer but the first.
        uniforms = (*hidden, len(hidden) - 1) if architecture == "wave" else hidden
        super().__init__(data, noise_shape=(latent,), units=sum(uniforms), conditional=conditional)
        self.architecture, self.uniforms = architecture, uniforms
        channels, classes = self.shape[0], self.classes
        down, up = (channels + classes, *hidden), (*hidden[::-1], channels)
        if architecture == "conv":
            self.discriminator = Downsampling(down, side=coarsest, outputs=1, generator=generator, leak=LEAK)
            self.generator = Upsampling(latent + classes, up, side=coarsest, generator=generator, leak=LEAK)
        elif architecture == "wave":
            self.discriminator = WaveDownsampling(down, samples=coarsest, outputs=1, generator=generator, leak=LEAK)
            self.generator = WaveUpsampling(latent + classes, up, samples=coarsest, generator=generator, leak=LEAK)
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
        if "phase_shuffle" in params and architecture != "wave":
            raise ValueError(
                f"phase_shuffle belongs to the architecture 'wave', and it is {architecture!r}: remove it from the "
                "space, or set architecture to wave"
            )
        return cls(
            data,
            architecture=architecture,
            latent=params.integer("latent"),
            width=params.integer("width"),
            # The size of a row decides the depth of a convolutional pair.
            depth=params.integer("depth") if architecture == "mlp" else 1,
            conditional=params.boolean("conditional", False),
            generator=generator,
        )

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        shuffle = params.integer("phase_shuffle", 0)
        if shuffle < 0:
            raise ValueError(f"phase_shuffle must be at least 0 samples, and it is {shuffle}: correct it in the space")
        norm = params.boolean("spectral_norm", False)
        return {**super().knobs(params), "spectral_norm": float(norm), "phase_shuffle": float(shuffle)}

    def _fakes(self, latent: Tensor, labels_B: Tensor | None) -> Tensor:
        rows: Tensor = self.generator(with_classes(latent, labels_B, self.classes))
        return self._bounded(rows).view(-1, *self.shape)

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        seen = with_classes(rows.flatten(1) if self.architecture == "mlp" else rows, labels_B, self.classes)
        uniforms = () if uniform_BU is None else torch.split(uniform_BU, list(self.uniforms), 1)
        shuffle = (knobs["phase_shuffle"],) if self.architecture == "wave" else ()
        logits: Tensor = self.discriminator(seen, uniforms, knobs["dropout"], knobs["spectral_norm"], *shuffle)
        return logits[:, 0]
