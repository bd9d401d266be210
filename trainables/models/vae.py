"""Variational autoencoder with multilayer perceptrons and a likelihood that fits the data.

Kingma and Welling 2014, arXiv 1312.6114. Beta: Higgins et al. 2017, openreview Sy2fzU9gl. KL warm-up: Bowman et al.
2016, arXiv 1511.06349. Free bits: Kingma et al. 2016, arXiv 1606.04934. Floor: torch.
Axes: B rows, S samples of z, D pixels, C grey levels, L latents, H hidden units.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from ..data._data import Data
from ..training.params import Params
from ._family import Knobs, Losses, Noise
from ._layers import MLP, over_rows

# exp of half of this is the range of sigma, .0067..148: wide enough never to bind in a healthy run.
LOG_VARIANCE_BOUND = 10.0
# Nats a row, all latents together. One latent with Var(mu) = .01, the usual bound of an active one, has a KL of .005;
# slow learners on digits go through .01 on their way up.
DEAD_KL = 0.001


class Model(nn.Module):
    """A VAE over rows of grey levels: categorical likelihood, diagonal Gaussian posterior, standard normal prior."""

    players: ClassVar[tuple[str, ...]] = ("vae",)
    structural: ClassVar[tuple[str, ...]] = ("latent", "width", "depth")
    averaged: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[bool] = True

    def __init__(self, data: Data, *, latent: int, width: int, depth: int, generator: torch.Generator) -> None:
        super().__init__()
        if data.levels is None:
            raise ValueError(
                f"the vae models data with grey levels, and {data.name!r} has real values: quantize it to levels first"
            )
        for name, value in (("latent", latent), ("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        self.shape, self.levels, self.pixels = data.shape, data.levels, math.prod(data.shape)
        self.latent, self.hidden = latent, (width,) * depth
        encoder = MLP((self.pixels, *self.hidden, 2 * latent), generator=generator)
        decoder = MLP((latent, *self.hidden, self.levels * self.pixels), generator=generator)
        self.vae = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        sizes = {name: params.integer(name) for name in cls.structural}
        return cls(data, latent=sizes["latent"], width=sizes["width"], depth=sizes["depth"], generator=generator)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        knobs = {
            "beta": params.number("beta", 1.0),
            "kl_warmup": params.number("kl_warmup", 0.0),
            "free_bits": params.number("free_bits", 0.0),
            "dropout": params.number("dropout", 0.0),
        }
        for name, value in knobs.items():
            if not 0.0 <= value < (1.0 if name in ("dropout", "kl_warmup") else math.inf):
                raise ValueError(
                    f"{name} must be at least 0, a share also below 1, and it is {value}: correct the space"
                )
        return knobs

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        warmed = 1.0 if progress >= knobs["kl_warmup"] else progress / knobs["kl_warmup"]
        return {**knobs, "kl_weight": knobs["beta"] * warmed}

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"vae": 1}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        device = generator.device
        noise = {"latent": torch.randn(rows, self.latent, generator=generator, device=device)}
        if knobs["dropout"] > 0.0:
            units = 2 * sum(self.hidden)
            noise["dropout"] = torch.rand(rows, units, generator=generator, device=device)
        return noise

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        uniforms = torch.split(noise["dropout"], [*self.hidden, *self.hidden], 1) if "dropout" in noise else ()
        depth = len(self.hidden) if uniforms else 0
        mean_BL, log_variance_BL = self._posterior(x, uniforms[:depth], knobs["dropout"])
        z_BL = mean_BL + (0.5 * log_variance_BL).exp() * noise["latent"]
        log_p_B = self._log_likelihood(x, self._logits(z_BL, uniforms[depth:], knobs["dropout"]))
        kl_L = over_rows(weight_B, kl_to_prior(mean_BL, log_variance_BL))
        reconstruction = -over_rows(weight_B, log_p_B)
        # Free bits, eq. (15) of the paper: below `free_bits` nats a latent costs the same, so it is not pressed to 0.
        loss = reconstruction + knobs["kl_weight"] * kl_L.clamp(min=knobs["free_bits"]).sum()
        logs = {"loss": loss.detach(), "reconstruction": reconstruction.detach(), "kl": kl_L.detach().sum()}
        return loss, logs

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        return logs["reconstruction"] + knobs["beta"] * logs["kl"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        warmed = knobs["kl_weight"] >= knobs["beta"]
        if warmed and logs["kl"] < DEAD_KL:
            return f"posterior collapse: no latent carries anything, KL {logs['kl']:.2g} nats"
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        device = generator.device
        return {
            "latent": torch.randn(rows, self.latent, generator=generator, device=device),
            "pixel": torch.rand(rows, self.pixels, generator=generator, device=device),
        }

    def sample(self, noise: Noise) -> Tensor:
        p_BCD = self._logits(noise["latent"]).softmax(1)
        # Inverse transform: the level is the number of steps of the distribution function that lie below the uniform.
        levels_BD = (p_BCD.cumsum(1)[:, :-1] < noise["pixel"][:, None]).sum(1)
        return levels_BD.to(torch.uint8).view(-1, *self.shape)

    def bound(self, x: Tensor, noise_BL: Tensor) -> Tensor:
        mean_BL, log_variance_BL = self._posterior(x)
        z_BL = mean_BL + (0.5 * log_variance_BL).exp() * noise_BL
        return self._log_likelihood(x, self._logits(z_BL)) - kl_to_prior(mean_BL, log_variance_BL).sum(1)

    def log_weights(self, x: Tensor, noise_SBL: Tensor) -> Tensor:
        samples = noise_SBL.shape[0]
        mean_BL, log_variance_BL = self._posterior(x)
        z_SBL = mean_BL + (0.5 * log_variance_BL).exp() * noise_SBL
        # log p(z) - log q(z | x); the constants of the two Gaussians cancel.
        ratio_SB = 0.5 * (noise_SBL.square() + log_variance_BL - z_SBL.square()).sum(2)
        logits = self._logits(z_SBL.flatten(0, 1))
        log_p = self._log_likelihood(x.repeat(samples, *[1] * (x.dim() - 1)), logits)
        return log_p.view(samples, -1) + ratio_SB

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.vae.parameters()).dtype

    def _posterior(
        self, x: Tensor, uniforms: tuple[Tensor, ...] = (), rate: float | Tensor = 0.0
    ) -> tuple[Tensor, Tensor]:
        # -1..1 whatever the number of levels; on digits about as good as the bare levels, and better than 0..1.
        scaled_BD = x.flatten(1).to(self.dtype) * (2.0 / (self.levels - 1)) - 1.0
        encoded = self.vae["encoder"](scaled_BD, uniforms, rate)
        mean_BL, log_variance_BL = encoded.chunk(2, 1)
        return mean_BL, log_variance_BL.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def _logits(self, z_BL: Tensor, uniforms: tuple[Tensor, ...] = (), rate: float | Tensor = 0.0) -> Tensor:
        # [B, C, D] and not [B, D, C]: the softmax then runs over whole vectors of pixels, 1.6 times as fast.
        logits: Tensor = self.vae["decoder"](z_BL, uniforms, rate)
        return logits.view(-1, self.levels, self.pixels)

    def _log_likelihood(self, x: Tensor, logits_BCD: Tensor) -> Tensor:
        chosen_B1D = x.flatten(1).to(torch.int64)[:, None]
        return logits_BCD.log_softmax(1).gather(1, chosen_B1D).sum((1, 2))


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)), elementwise: -1/2 (1 + l - mu^2 - e^l), appendix B of the paper."""
    return -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp())
