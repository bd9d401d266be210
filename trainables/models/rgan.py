"""Recurrent GAN for series and audio: a GRU on noise, against one that judges every step; `_adversarial`: the losses.

Esteban, Hyland and Raetsch 2017, arXiv 1706.02633, with GRUs for its LSTMs: noise that is new at each step, a logit at
each step whose losses are averaged, and classes shown to both networks at each step. R1 goes beyond the paper. So would
its rounds with more generator steps than discriminator steps, which are left out: `critic_steps` is at least 1. Audio
is cut into frames, which are the steps.
Floor: torch. Axes: B rows, T steps, F features of the data, I numbers of a step, H hidden units, C channels
of audio, S samples.
"""

from __future__ import annotations

from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, one_hot
from ._family import Knobs
from ._layers import linear, masked_dropout
from ._recurrent import GRU

# Samples of audio in a step: 8 ms at a rate of 8000.
FRAME = 64


class Recurrent(nn.Module):
    """Series to series [B, T, outputs]: a GRU, and a linear layer on each of its states."""

    def __init__(self, inputs: int, hidden: int, outputs: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.gru = GRU(inputs, hidden, generator=generator)
        self.last = linear(hidden, outputs, generator=generator)

    def forward(self, x_BTI: Tensor, keep_BH: Tensor | None = None) -> Tensor:
        """keep_BH: factors on the states wherever they are read, the same at all steps; see `GRU`."""
        states_BTH = self.gru(x_BTI, None, keep_BH)
        out: Tensor = self.last(states_BTH if keep_BH is None else states_BTH * keep_BH[:, None])
        return out


class Model(Adversarial):
    """A GAN over series of levels, scaled to [-1, 1] and with a tanh, or of real numbers as they are, or over audio.

    Dropout hides units of the discriminator's state from a whole series (Gal and Ghahramani 2016, arXiv 1512.05287).
    frame: samples of audio, of all its channels, that make one step; nothing to series.
    """

    structural: ClassVar[tuple[str, ...]] = ("latent", "width", "frame", "conditional")

    def __init__(
        self, data: Data, *, latent: int, width: int, frame: int, conditional: bool, generator: torch.Generator
    ) -> None:
        for name, value in (("latent", latent), ("width", width), ("frame", frame)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        if data.modality not in ("series", "audio") or len(data.shape) != 2:
            raise ValueError(
                "the model 'rgan' needs audio, or series, rows of the shape [steps, features], and those of "
                f"{data.name!r} are {data.modality} of the shape {list(data.shape)}: take the model 'gan', or other "
                "data"
            )
        steps, features = data.shape
        if data.modality == "audio":
            channels, samples = data.shape
            if samples % frame:
                fitting = max(size for size in range(1, min(frame, samples) + 1) if samples % size == 0)
                raise ValueError(
                    f"a frame must divide the samples of a row, which are {samples} in {data.name!r}, and it is "
                    f"{frame}: set frame to {fitting}, or take audio of another length"
                )
            steps, features = samples // frame, channels * frame
        super().__init__(data, noise_shape=(steps, latent), units=width, conditional=conditional)
        self.frame = frame if data.modality == "audio" else None
        self.discriminator = Recurrent(features + self.classes, width, 1, generator=generator)
        self.generator = Recurrent(latent + self.classes, width, features, generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        Augmentation.check(params, data=data)
        return cls(
            data,
            latent=params.integer("latent"),
            width=params.integer("width"),
            frame=params.integer("frame", FRAME) if data.modality == "audio" else 1,
            conditional=params.boolean("conditional", False),
            generator=generator,
        )

    def _fakes(self, latent: Tensor, labels_B: Tensor | None) -> Tensor:
        made_BTF: Tensor = self._bounded(self.generator(self._with_classes(latent, labels_B)))
        return made_BTF if self.frame is None else _regrouped(made_BTF, self.frame)

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        keep_BH = None
        if uniform_BU is not None:
            keep_BH = masked_dropout(torch.ones_like(uniform_BU), uniform_BU, knobs["dropout"])
        seen_BTF = rows if self.frame is None else _regrouped(rows, self.frame)
        logits_BT1: Tensor = self.discriminator(self._with_classes(seen_BTF, labels_B), keep_BH)
        return logits_BT1[..., 0]

    def _with_classes(self, x_BTI: Tensor, labels_B: Tensor | None) -> Tensor:
        """The numbers of each step with the class as a one-hot vector behind them; the same without a class."""
        if labels_B is None:
            return x_BTI
        class_BC = one_hot(labels_B, self.classes, dtype=x_BTI.dtype)
        return torch.cat([x_BTI, class_BC[:, None].expand(-1, x_BTI.shape[1], -1)], 2)


def _regrouped(x: Tensor, frame: int) -> Tensor:
    """Audio [B, C, S] as the frames of its steps [B, T, C * frame], and such frames as audio again."""
    return x.reshape(*x.shape[:2], -1, frame).transpose(1, 2).flatten(2)
