"""Pyramids of 1-D convolutions: sounds down to numbers and latents up to sounds, a factor of 4 in time at each layer.

WaveGAN: Donahue, McAuley and Puckette 2019, arXiv 1802.04208 (kernels of 25, strides of 4, phase shuffle), with the
leaky ReLU in both networks. Dropout takes whole channels (Tompson et al. 2015, arXiv 1411.4280).
Floor: torch and data. Axes: B rows, L latents, C channels, T samples of a sound or places of a map, Q quarterings.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ..data._data import Data
from ._layers import is_on, linear, masked_dropout, normed, quadrupling, quartering


class WaveDownsampling(nn.Module):
    """Sounds [B, C, T] to numbers [B, outputs]: a convolution a quartering, then a linear layer.

    `channels` are those of the sound and of each map below it; `samples` is the length of the coarsest.
    """

    def __init__(
        self, channels: Sequence[int], *, samples: int, outputs: int, generator: torch.Generator, leak: float
    ) -> None:
        super().__init__()
        self.leak = leak
        self.blocks = nn.ModuleList(
            quartering(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(channels)
        )
        self.last = linear(channels[-1] * samples, outputs, generator=generator)

    def forward(
        self,
        x: Tensor,
        uniforms: Sequence[Tensor] = (),
        rate: float | Tensor = 0.0,
        spectral_norm: float | Tensor = 0.0,
        shuffle: float | Tensor = 0.0,
    ) -> Tensor:
        """`uniforms` is empty (no dropout, no shuffle), or has one [B, channels] tensor for each map and a last one,
        [B, Q - 1], for the phase shuffles between the convolutions, which reach `shuffle` samples far.

        Where `spectral_norm` is 1, each layer's weight is divided by its largest singular value, as `normed` has it.
        """
        for place, block in enumerate(self.blocks):
            x = leaky_relu(normed(block, x, spectral_norm), self.leak)
            if uniforms and is_on(rate):
                x = masked_dropout(x, uniforms[place][..., None], rate)
            if uniforms and is_on(shuffle) and place < len(self.blocks) - 1:
                x = phase_shuffled(x, uniforms[-1][:, place], shuffle)
        return normed(self.last, x.flatten(1), spectral_norm)


class WaveUpsampling(nn.Module):
    """Latents to sounds [B, C, T]: a linear layer to the coarsest map, then a transposed convolution a quadrupling.

    `channels` are those of each map and of the sound above them; `samples` is the length of the coarsest.
    """

    def __init__(
        self, latent: int, channels: Sequence[int], *, samples: int, generator: torch.Generator, leak: float
    ) -> None:
        super().__init__()
        self.leak = leak
        self.coarsest = (channels[0], samples)
        self.first = linear(latent, channels[0] * samples, generator=generator)
        self.blocks = nn.ModuleList(
            quadrupling(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(channels)
        )

    def forward(self, z_BL: Tensor) -> Tensor:
        x: Tensor = self.first(z_BL).view(-1, *self.coarsest)
        for block in self.blocks:
            x = block(leaky_relu(x, self.leak))
        return x


def phase_shuffled(x_BCT: Tensor, uniform_B: Tensor, most: float | Tensor) -> Tensor:
    """Each row moved by a whole number of places, -most..most with equal chances, all its channels alike.

    What the move leaves empty is filled by reflection at the edge (section 3.3 of the paper, where a whole batch moves
    alike in the code; here rows do not know of each other).
    """
    last = x_BCT.shape[-1] - 1
    shift_B1 = ((uniform_B * (2.0 * most + 1.0)).floor() - most)[:, None]
    place_BT = torch.arange(last + 1, dtype=uniform_B.dtype, device=uniform_B.device) - shift_B1
    # A line that runs to and fro between the edges.
    from_BT = last - (last - place_BT.remainder(2 * last)).abs()
    return x_BCT.gather(-1, from_BT.long()[:, None].expand_as(x_BCT))


def waves(data: Data, architecture: str) -> tuple[int, int]:
    """The length of the coarsest map and the number of quadruplings up to the data: 4096 = 16 x 4 x 4 x 4 x 4.

    Raises `ValueError` for data that are no audio, or of a length that is no multiple of 16; it names the architecture.
    """
    if data.modality != "audio" or data.shape[-1] % 16:
        raise ValueError(
            f"the architecture {architecture!r} needs audio [channels, samples] with a multiple of 16 samples, and "
            f"rows of {data.name!r} are {data.modality} of the shape {list(data.shape)}: set architecture to mlp, or "
            "take audio of such a length"
        )
    samples, quadruplings = data.shape[-1] // 16, 2
    while samples % 4 == 0 and samples > 16:
        samples, quadruplings = samples // 4, quadruplings + 1
    return samples, quadruplings
