"""DCGAN as a plug-in: deep convolutional networks on images of 64 x 64 pixels, in the configuration that HFTA measured.

Radford et al. 2016, arXiv 1511.06434. Sizes: Wang et al. 2021, arXiv 2102.02344 (HFTA): nz 100, ngf = ndf = 64, batch
128, random pixels, for a benchmark asks what a step costs and not what is learned. A study can name it as
`model: benchmarks.dcgan.Model` and `data: benchmarks.dcgan.load`; it needs torch and `trainables` alone.
Axes: B rows, C channels, H and W pixels, L latents.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from trainables.data._data import Data, Split
from trainables.models._family import Knobs, Losses, Noise
from trainables.training.params import Params

PIXELS, CHANNELS, LEVELS = 64, 3, 256
SLOPE = 0.2  # of the leaky ReLU: section 3 of the paper
INITIAL_DEVIATION = 0.02  # of all weights, likewise
EPSILON = 1e-5  # torch's own in batch normalization

# The learning rate and beta1 of section 4.1 of the paper.
PARAMS: Mapping[str, bool | int | float | str] = {
    "latent": 100,
    "width": 64,
    "batch_size": 128,
    "lr": 2e-4,
    "optimizer": "adam",
    "beta1": 0.5,
    "beta2": 0.999,
}


class Model(nn.Module):
    """A DCGAN; `width` is the paper's ngf and ndf, the channels of the layers next to the pixels."""

    players: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    structural: ClassVar[tuple[str, ...]] = ("latent", "width")
    averaged: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[bool] = True

    def __init__(self, data: Data, *, latent: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        if data.shape != (CHANNELS, PIXELS, PIXELS) or data.levels != LEVELS:
            raise ValueError(
                f"dcgan models images of {CHANNELS} x {PIXELS} x {PIXELS} pixels with {LEVELS} levels, and "
                f"{data.name!r} has rows {data.shape} with levels {data.levels}: give it such images"
            )
        self.latent = latent
        # From 64 x 64 pixels down to 4 x 4, channels doubling, then one number; and the same way back.
        down = [CHANNELS, *(width * 2**place for place in range(4))]
        up = [latent, *reversed(down)]
        self.discriminator = nn.ModuleList(
            [
                _Block(nn.Conv2d(ins, outs, 4, 2, 1, bias=False, device="meta"), norm=ins != CHANNELS)
                for ins, outs in itertools.pairwise(down)
            ]
            + [_Block(nn.Conv2d(down[-1], 1, 4, 1, 0, bias=False, device="meta"), norm=False)]
        )
        self.generator = nn.ModuleList(
            _Block(
                nn.ConvTranspose2d(ins, outs, 4, *((1, 0) if place == 0 else (2, 1)), bias=False, device="meta"),
                norm=outs != CHANNELS,
            )
            for place, (ins, outs) in enumerate(itertools.pairwise(up))
        )
        self.to_empty(device="cpu")
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if name.endswith("shift"):
                    parameter.zero_()
                else:
                    mean = 1.0 if name.endswith("scale") else 0.0
                    parameter.normal_(mean, INITIAL_DEVIATION, generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        return cls(data, latent=params.integer("latent"), width=params.integer("width"), generator=generator)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {}

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return {}

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"discriminator": 1, "generator": 1}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        return {"latent": torch.randn(rows, self.latent, generator=generator, device=generator.device)}

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        if player == "generator":
            fake = self._generated(noise["latent"], weight_B)
            loss = (weight_B * nn.functional.softplus(-self._logits(fake, weight_B))).sum()
            return loss, {"loss": loss.detach()}
        with torch.no_grad():
            fake = self._generated(noise["latent"], weight_B)
        # Real and fake rows are normalized apart, as in the paper's own code: each batch has its own statistics.
        real_B = self._logits(scaled(x, fake.dtype), weight_B)
        fake_B = self._logits(fake, weight_B)
        loss = (weight_B * (nn.functional.softplus(-real_B) + nn.functional.softplus(fake_B))).sum()
        return loss, {
            "loss": loss.detach(),
            "real": (weight_B * real_B.detach()).sum(),
            "fake": (weight_B * fake_B.detach()).sum(),
        }

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        return None  # on random pixels every discriminator wins, and that is no fault here

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return self.draw("generator", generator, rows=rows, knobs={})

    def sample(self, noise: Noise) -> Tensor:
        rows = len(noise["latent"])
        images = self._generated(noise["latent"], noise["latent"].new_full((rows,), 1.0 / rows))
        return ((images + 1.0) * ((LEVELS - 1) / 2.0)).round().to(torch.uint8)

    def _generated(self, latent_BL: Tensor, weight_B: Tensor) -> Tensor:
        x = latent_BL[:, :, None, None]
        *hidden, last = self.generator
        for block in hidden:
            x = nn.functional.relu(block(x, weight_B))
        return torch.tanh(last(x, weight_B))

    def _logits(self, x: Tensor, weight_B: Tensor) -> Tensor:
        *hidden, last = self.discriminator
        for block in hidden:
            x = nn.functional.leaky_relu(block(x, weight_B), SLOPE)
        return last(x, weight_B).flatten()  # type: ignore[no-any-return]


class _Block(nn.Module):
    """A convolution, and batch normalization where the paper has it: not next to the pixels, nor at the logit."""

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, *, norm: bool) -> None:
        super().__init__()
        self.convolution = convolution
        self.norm = WeightedBatchNorm(convolution.out_channels) if norm else None

    def forward(self, x: Tensor, weight_B: Tensor) -> Tensor:
        x = self.convolution(x)
        return x if self.norm is None else self.norm(x, weight_B)


class WeightedBatchNorm(nn.Module):
    """Normalize by mean and variance of the weighted rows: Ioffe and Szegedy 2015, arXiv 1502.03167, algorithm 1.

    Equal weights give torch's own; a row of weight 0 changes nothing in the others. No statistics are carried along.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(channels, device="meta"))
        self.shift = nn.Parameter(torch.empty(channels, device="meta"))

    def forward(self, x: Tensor, weight_B: Tensor) -> Tensor:
        return _Normalize.apply(x, self.scale, self.shift, weight_B)[0]  # type: ignore[no-any-return, no-untyped-call]


class _Normalize(torch.autograd.Function):
    """The function with its gradient written out, which passes over the rows half as often as autograd's does."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, scale_C: Tensor, shift_C: Tensor, weight_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Over each image first, then over rows. The mean of squares less the square of the mean is exact enough for
        # what convolutions give, whose mean is not far from 0; `var_mean` takes 7 times as long on a CPU.
        dtype, pixels = weight_B.dtype, x.shape[2] * x.shape[3]
        square_BC = torch.linalg.vector_norm(x, dim=(2, 3), dtype=dtype).square() / pixels
        mean_C = (weight_B[:, None] * x.mean((2, 3), dtype=dtype)).sum(0)
        variance_C = ((weight_B[:, None] * square_BC).sum(0) - mean_C.square()).clamp(min=0.0)
        inverse_C = (variance_C + EPSILON).rsqrt()
        factor_C = scale_C * inverse_C
        y = torch.addcmul((shift_C - mean_C * factor_C)[:, None, None], x, factor_C[:, None, None])
        return y.to(x.dtype), mean_C, inverse_C

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        x, scale_C, _, weight_B = inputs
        _, mean_C, inverse_C = output
        ctx.mark_non_differentiable(mean_C, inverse_C)
        ctx.save_for_backward(x, scale_C, weight_B, mean_C, inverse_C)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        # With n = (x - mean) / deviation and w a row's weight a pixel, for the gradient g at the output:
        # dx = scale / deviation * (g - w * sum(g) - w * n * sum(g * n)).
        x, scale_C, weight_B, mean_C, inverse_C = ctx.saved_tensors
        g = gradients[0]
        shift_C = g.sum((0, 2, 3))
        slope_C = ((g * x).sum((0, 2, 3)) - mean_C * shift_C) * inverse_C
        factor_C = scale_C * inverse_C
        weight_B1 = weight_B[:, None] / (x.shape[2] * x.shape[3])
        of_x_BC = -weight_B1 * (factor_C * inverse_C * slope_C)
        rest_BC = -weight_B1 * factor_C * shift_C - of_x_BC * mean_C
        rest = torch.addcmul(rest_BC[:, :, None, None], g, factor_C[:, None, None])
        return torch.addcmul(rest, x, of_x_BC[:, :, None, None]).to(x.dtype), slope_C, shift_C, None


def scaled(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Levels 0..255 as numbers in [-1, 1]."""
    return x.to(dtype) * (2.0 / (LEVELS - 1)) - 1.0


def load(*, rows: int = 4096) -> Data:
    """Random pixels, the same for each call; the other two splits have one row each, since nothing is measured."""
    generator = torch.Generator().manual_seed(0)
    parts = {
        name: Split(x=torch.randint(LEVELS, (count, CHANNELS, PIXELS, PIXELS), generator=generator, dtype=torch.uint8))
        for name, count in (("train", rows), ("validation", 1), ("test", 1))
    }
    return Data.of(
        parts,
        name="random-pixels",
        modality="images",
        levels=LEVELS,
        value_range=(0.0, LEVELS - 1.0),
        license="none: random numbers",
        source="drawn by torch under seed 0",
    )
