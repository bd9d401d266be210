"""Generative adversarial network: perceptrons, or convolutions of images or sounds; `_adversarial` holds the losses.

Convolutions: Radford et al. 2016, arXiv 1511.06434, without its batch normalization, which would mix rows and spoil a
gradient penalty. Waves: WaveGAN, Donahue et al. 2019, arXiv 1802.04208, whose generator a discriminator of spectrograms
may hear as well. Classes are shown to both networks as one-hot vectors: Mirza and Osindero 2014, arXiv 1411.1784; only
the discriminator of spectrograms has a logit for each: Miyato and Koyama 2018, arXiv 1802.05637. A discriminator may
have a spectral norm: Miyato et al. 2018, arXiv 1802.05957.
Floor: torch. Axes: B rows, N numbers of noise and one-hot classes, C channels, Y and X places in an image, U units and
shuffles.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, one_hot, with_classes
from ._convolutions import Downsampling, Upsampling, pyramid
from ._family import Knobs, refuse_text
from ._layers import MLP, add_singular_vectors
from ._spectrograms import HALVINGS, Spectrogram, coarsest_of_spectrogram
from ._waves import WaveDownsampling, WaveUpsampling, waves

ARCHITECTURES = ("mlp", "conv", "wave", "spectrogram")
LEAK = 0.2


@dataclass(frozen=True, kw_only=True)
class Pair:
    """`uniforms`: how many uniform numbers of a row go into each place of the discriminator that takes some."""

    discriminator: nn.Module
    generator: nn.Module
    uniforms: tuple[int, ...]


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
        classes = data.classes if conditional else 0
        sizes = {"latent": latent, "width": width, "depth": depth, "classes": classes}
        pair = _pair(architecture, data, **sizes, generator=generator)
        super().__init__(data, noise_shape=(latent,), units=sum(pair.uniforms), conditional=conditional)
        self.architecture, self.uniforms = architecture, pair.uniforms
        self.discriminator, self.generator = pair.discriminator, pair.generator
        if architecture == "spectrogram":
            self.spectrogram = Spectrogram()
        add_singular_vectors(self.discriminator, generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        refuse_text(data, model="gan")
        Augmentation.check(params, data=data)
        architecture = params.text("architecture")
        if "phase_shuffle" in params:
            # In a copy, since it is `knobs` that reads it.
            _check_shuffle(copy.deepcopy(params).integer("phase_shuffle"), architecture, data)
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

    def _heard(self, rows: Tensor) -> Tensor:
        heard: Tensor = self.spectrogram(rows) if self.architecture == "spectrogram" else rows
        return heard

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        # The discriminator of spectrograms is told of classes behind its layers.
        seen = rows.flatten(1) if self.architecture == "mlp" else rows
        seen = seen if self.architecture == "spectrogram" else with_classes(seen, labels_B, self.classes)
        uniforms = () if uniform_BU is None else torch.split(uniform_BU, list(self.uniforms), 1)
        shuffle = (knobs["phase_shuffle"],) if self.architecture == "wave" else ()
        logits: Tensor = self.discriminator(seen, uniforms, knobs["dropout"], knobs["spectral_norm"], *shuffle)
        if self.architecture == "spectrogram" and labels_B is not None:
            # A logit of each class's own beside the one of all.
            return logits[:, 0] + (logits[:, 1:] * one_hot(labels_B, self.classes, dtype=logits.dtype)).sum(1)
        return logits[:, 0]


def _check_shuffle(most: int, architecture: str, data: Data) -> None:
    if architecture != "wave":
        raise ValueError(
            f"phase_shuffle belongs to the architecture 'wave', and it is {architecture!r}: remove it from the "
            "space, or set architecture to wave"
        )
    coarsest, _ = waves(data, architecture)
    if most > 4 * coarsest:
        raise ValueError(
            f"phase_shuffle must be at most {4 * coarsest} places, the shortest map that is moved, and it is {most}: "
            "lower it in the space"
        )


def _pair(
    architecture: str, data: Data, *, latent: int, width: int, depth: int, classes: int, generator: torch.Generator
) -> Pair:
    """The networks of an architecture; raises `ValueError` for one that there is not, or that is not for such rows."""
    channels, size = data.shape[0], math.prod(data.shape)
    if architecture == "mlp":
        hidden = (width,) * depth
        return Pair(
            discriminator=MLP((size + classes, *hidden, 1), generator=generator, leak=LEAK),
            generator=MLP((latent + classes, *hidden, size), generator=generator, leak=LEAK),
            uniforms=hidden,
        )

    def maps(levels: int) -> tuple[int, ...]:
        # As many channels again at each level: what a map loses in places it gains in channels.
        return tuple(width * 2**level for level in range(levels))

    if architecture == "conv":
        side, doublings = pyramid(data)
        down, up = (channels + classes, *maps(doublings)), (*maps(doublings)[::-1], channels)
        return Pair(
            discriminator=Downsampling(down, side=side, outputs=1, generator=generator, leak=LEAK),
            generator=Upsampling(latent + classes, up, side=side, generator=generator, leak=LEAK),
            uniforms=maps(doublings),
        )
    if architecture not in ARCHITECTURES:
        raise ValueError(
            f"architecture must be one of {', '.join(ARCHITECTURES)}, and it is {architecture!r}: correct it in the "
            "space"
        )
    samples, levels = waves(data, architecture)
    discriminator: nn.Module
    if architecture == "wave":
        down = (channels + classes, *maps(levels))
        discriminator = WaveDownsampling(down, samples=samples, outputs=1, generator=generator, leak=LEAK)
        # A shuffle between every two convolutions.
        uniforms = (*maps(levels), levels - 1)
    else:
        windows, frequencies = coarsest_of_spectrogram(data)
        down, uniforms, outputs = (channels, *maps(HALVINGS)), maps(HALVINGS), 1 + classes
        discriminator = Downsampling(
            down, side=windows, width=frequencies, outputs=outputs, generator=generator, leak=LEAK
        )
    up = (*maps(levels)[::-1], channels)
    return Pair(
        discriminator=discriminator,
        generator=WaveUpsampling(latent + classes, up, samples=samples, generator=generator, leak=LEAK),
        uniforms=uniforms,
    )
