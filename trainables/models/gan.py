"""Generative adversarial network: a perceptron or a convolutional pair, on logits, with R1 and dropout.

Goodfellow et al. 2014, arXiv 1406.2661, with the generator's loss that does not saturate (section 3). Hinge: Lim and Ye
2017, arXiv 1705.02894. R1: Mescheder et al. 2018, arXiv 1801.04406, eq. (9). Convolutions: Radford et al. 2016, arXiv
1511.06434, without its batch normalization, which would mix rows and spoil a gradient penalty. Floor: torch.
Axes: B rows, D all numbers of a row, L latents, C channels, Y and X places in an image.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, softplus

from ..data._data import Data
from ..training.params import Params
from ._family import Knobs, Losses, Noise
from ._layers import MLP, doubling, halving, is_on, linear, masked_dropout, over_rows

LEAK = 0.2
# The loss families, by the number that stands for each among the knobs.
LOSSES = ("non-saturating", "hinge")
# Mean logits of reals and fakes this far apart leave a sigmoid of 5e-5 on either side.
SATURATED_MARGIN = 10.0
# Training rows, evenly spaced, that the spread of the data is taken from.
SPREAD_ROWS = 1000
# The share of the data's spread below which all samples are one.
NO_SPREAD = 0.01


class ConvGenerator(nn.Module):
    """Latents to images [B, C, Y, X]: a linear layer to the coarsest map, then a transposed convolution a doubling."""

    def __init__(self, latent: int, channels: Sequence[int], *, side: int, generator: torch.Generator) -> None:
        super().__init__()
        self.coarsest = (channels[0], side, side)
        self.first = linear(latent, math.prod(self.coarsest), generator=generator)
        self.blocks = nn.ModuleList(
            doubling(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(channels)
        )

    def forward(self, z_BL: Tensor) -> Tensor:
        x: Tensor = self.first(z_BL).view(-1, *self.coarsest)
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
            halving(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(channels)
        )
        self.last = linear(channels[-1] * side * side, 1, generator=generator)

    def forward(self, x: Tensor, uniforms: Sequence[Tensor] = (), rate: float | Tensor = 0.0) -> Tensor:
        for place, block in enumerate(self.blocks):
            x = leaky_relu(block(x), LEAK)
            if uniforms:
                x = masked_dropout(x, uniforms[place][..., None, None], rate)
        logits: Tensor = self.last(x.flatten(1))
        return logits


class Model(nn.Module):
    """A GAN over rows of grey levels, scaled to [-1, 1] and with a tanh, or of real numbers as they are."""

    players: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    structural: ClassVar[tuple[str, ...]] = ("architecture", "latent", "width", "depth")
    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    stacks: ClassVar[bool] = True

    def __init__(
        self, data: Data, *, architecture: str, latent: int, width: int, depth: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        for name, value in (("latent", latent), ("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        self.shape, self.levels, self.dtype_of_data = data.shape, data.levels, data.train.x.dtype
        self.latent, self.hidden = latent, (width,) * depth
        self.convolutional = architecture == "conv"
        if architecture == "mlp":
            size = math.prod(self.shape)
            self.discriminator: nn.Module = MLP((size, *self.hidden, 1), generator=generator, leak=LEAK)
            self.generator: nn.Module = MLP((latent, *self.hidden, size), generator=generator, leak=LEAK)
        elif architecture == "conv":
            coarsest, doublings = _pyramid(data)
            # As many channels again at each halving: what a map loses in places it gains in channels.
            channels = (self.shape[0], *(width * 2**level for level in range(doublings)))
            self.hidden = channels[1:]
            self.discriminator = ConvDiscriminator(channels, side=coarsest, generator=generator)
            self.generator = ConvGenerator(latent, channels[::-1], side=coarsest, generator=generator)
        else:
            raise ValueError(f"architecture must be 'mlp' or 'conv', and it is {architecture!r}: correct the space")
        some = data.train.x[:: math.ceil(len(data.train) / SPREAD_ROWS)].cpu()
        self.spread_of_data = max(float(_spread(self._scaled(some), None)), 1e-12)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        architecture = params.text("architecture")
        return cls(
            data,
            architecture=architecture,
            latent=params.integer("latent"),
            width=params.integer("width"),
            # The side of the images decides the depth of a convolutional pair.
            depth=1 if architecture == "conv" else params.integer("depth"),
            generator=generator,
        )

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        loss, critic_steps = params.text("loss", LOSSES[0]), params.integer("critic_steps", 1)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, and it is {loss!r}: correct it in the space")
        if critic_steps < 1:
            raise ValueError(f"critic_steps must be at least 1, and they are {critic_steps}: correct it in the space")
        knobs = {"r1": params.number("r1", 0.0), "dropout": params.number("dropout", 0.0)}
        for name, value in knobs.items():
            if not 0.0 <= value < (1.0 if name == "dropout" else math.inf):
                raise ValueError(
                    f"{name} must be at least 0, a rate also below 1, and it is {value}: correct it in the space"
                )
        return {**knobs, "hinge": float(LOSSES.index(loss)), "critic_steps": float(critic_steps)}

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return dict(knobs)

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"discriminator": 1, "generator": int(knobs["critic_steps"])}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        device = generator.device
        noise = {"latent": torch.randn(rows, self.latent, generator=generator, device=device)}
        if knobs["dropout"] > 0.0:
            # The discriminator drops units for reals and for fakes, and while the generator learns from it.
            for name in ("real", "fake") if player == "discriminator" else ("fake",):
                shape = (rows, sum(self.hidden))
                noise[f"dropout_{name}"] = torch.rand(shape, generator=generator, device=device)
        return noise

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        if player == "generator":
            return self._generator_loss(noise, knobs, weight_B)
        return self._discriminator_loss(x, noise, knobs, weight_B)

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        # No loss of a GAN falls all the way, since each player learns against the other; so a plateau is where a
        # player makes no more headway.
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        margin = logs["discriminator.real"] - logs["discriminator.fake"]
        # A generator that did not move in this epoch has no logs.
        spread = logs.get("generator.spread", math.inf)
        if spread < NO_SPREAD and margin > SATURATED_MARGIN:
            return (
                f"mode collapse: samples spread {spread:.2g} times as far as the data, and the discriminator is "
                f"saturated, its logits {margin:.3g} apart"
            )
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"latent": torch.randn(rows, self.latent, generator=generator, device=generator.device)}

    def sample(self, noise: Noise) -> Tensor:
        rows = self._fakes(noise["latent"]).view(-1, *self.shape)
        if self.levels is not None:
            rows = ((rows + 1.0) * (0.5 * (self.levels - 1))).round()
        return rows.to(self.dtype_of_data)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.generator.parameters()).dtype

    def _discriminator_loss(self, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        with torch.no_grad():
            fake = self._fakes(noise["latent"])
        real = self._scaled(x)
        of_real, of_fake = noise.get("dropout_real"), noise.get("dropout_fake")
        if is_on(knobs["r1"]):
            # One pass serves the logits and their gradient. A row's logit depends on that row alone, so the gradient
            # of the sum holds those of all rows.
            real_B, pull, *_ = torch.func.vjp(lambda rows: self._logits(rows, of_real, knobs), real)
            (gradient,) = pull(torch.ones_like(real_B))
            fake_B = self._logits(fake, of_fake, knobs)
            penalty = 0.5 * knobs["r1"] * over_rows(weight_B, gradient.flatten(1).square().sum(1))
        else:
            uniforms = None if of_real is None or of_fake is None else torch.cat([of_real, of_fake])
            real_B, fake_B = self._logits(torch.cat([real, fake]), uniforms, knobs).chunk(2)
            penalty = torch.zeros((), dtype=real_B.dtype, device=real_B.device)
        loss = over_rows(weight_B, discriminator_loss(real_B, fake_B, knobs["hinge"])) + penalty
        logs = {
            "loss": loss.detach(),
            "real": over_rows(weight_B, real_B.detach()),
            "fake": over_rows(weight_B, fake_B.detach()),
            "penalty": penalty.detach(),
        }
        return loss, logs

    def _generator_loss(self, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        fake = self._fakes(noise["latent"])
        fake_B = self._logits(fake, noise.get("dropout_fake"), knobs)
        loss = over_rows(weight_B, generator_loss(fake_B, knobs["hinge"]))
        return loss, {"loss": loss.detach(), "spread": _spread(fake.detach(), weight_B) / self.spread_of_data}

    def _fakes(self, z_BL: Tensor) -> Tensor:
        """New rows in the discriminator's scale: [B, D] from perceptrons, [B, C, Y, X] from convolutions."""
        rows: Tensor = self.generator(z_BL)
        return rows if self.levels is None else rows.tanh()

    def _scaled(self, x: Tensor) -> Tensor:
        rows = (x if self.convolutional else x.flatten(1)).to(self.dtype)
        return rows if self.levels is None else rows * (2.0 / (self.levels - 1)) - 1.0

    def _logits(self, rows: Tensor, uniform: Tensor | None, knobs: Knobs) -> Tensor:
        uniforms = () if uniform is None else torch.split(uniform, list(self.hidden), 1)
        logits: Tensor = self.discriminator(rows, uniforms, knobs["dropout"])
        # The losses are taken in the weights' type also where autocast runs the layers in half precision.
        return logits[:, 0].to(self.dtype)


def discriminator_loss(real_B: Tensor, fake_B: Tensor, hinge: float | Tensor) -> Tensor:
    """[B]: the discriminator's loss from its logits, hinge where `hinge` is 1 and cross-entropy where it is 0."""
    entropy_B = softplus(-real_B) + softplus(fake_B)
    if not is_on(hinge):
        return entropy_B
    hinge_B = (1.0 - real_B).relu() + (1.0 + fake_B).relu()
    return torch.where(hinge > 0.5, hinge_B, entropy_B) if isinstance(hinge, Tensor) else hinge_B


def generator_loss(fake_B: Tensor, hinge: float | Tensor) -> Tensor:
    """[B]: the generator's loss from the logits of its rows; with the hinge it is minus the logit."""
    entropy_B = softplus(-fake_B)
    if not is_on(hinge):
        return entropy_B
    return torch.where(hinge > 0.5, -fake_B, entropy_B) if isinstance(hinge, Tensor) else -fake_B


def _spread(rows: Tensor, weight_B: Tensor | None) -> Tensor:
    """The standard deviation over rows, as root mean square over the numbers of a row; 0-dim."""
    rows_BD = rows.flatten(1)
    if weight_B is None:
        weight_B = torch.full((len(rows_BD),), 1.0 / len(rows_BD), dtype=rows_BD.dtype)
    variance_D = over_rows(weight_B, rows_BD.square()) - over_rows(weight_B, rows_BD).square()
    return variance_D.mean().clamp(min=0.0).sqrt()


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
