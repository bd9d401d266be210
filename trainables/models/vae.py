"""Variational autoencoder of perceptrons, convolutions or recurrent layers, with a likelihood that fits the data.

Kingma and Welling 2014, arXiv 1312.6114. Beta: Higgins et al. 2017, openreview Sy2fzU9gl. KL warm-up: Bowman et al.
2016, arXiv 1511.06349. Free bits: Kingma et al. 2016, arXiv 1606.04934. Floor: torch.
Axes: B rows, S samples of z, D all numbers of a row, P parameters of one number's distribution, L latents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Self, cast

import torch
from torch import Tensor, nn

from ..data._data import Data
from ..training.params import Params
from ._autoencoders import pair
from ._family import Knobs, Losses, Noise, refuse_text
from ._layers import over_rows
from ._likelihoods import LIKELIHOODS, RowDistribution, default_for

# exp of half of this is the range of sigma, .0067..148: wide enough never to bind in a healthy run.
LOG_VARIANCE_BOUND = 10.0
# Nats a row, all latents together. One latent with Var(mu) = .01, the usual bound of an active one, has a KL of .005;
# slow learners on digits go through .01 on their way up.
DEAD_KL = 0.001


class Model(nn.Module):
    """A VAE: diagonal Gaussian posterior, standard normal prior, and a likelihood by its name or by the data."""

    players: ClassVar[tuple[str, ...]] = ("vae",)
    structural: ClassVar[tuple[str, ...]] = ("architecture", "likelihood", "latent", "width", "depth")
    averaged: ClassVar[tuple[str, ...]] = ()
    stacks: ClassVar[bool] = True

    def __init__(
        self,
        data: Data,
        *,
        architecture: str,
        likelihood: str,
        latent: int,
        width: int,
        depth: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        for name, value in (("latent", latent), ("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        if likelihood not in LIKELIHOODS:
            raise ValueError(
                f"likelihood must be one of {', '.join(LIKELIHOODS)}, and it is {likelihood!r}: correct it in the space"
            )
        distribution = LIKELIHOODS[likelihood](data)
        networks = pair(
            architecture,
            data,
            latent=latent,
            width=width,
            depth=depth,
            per_number=distribution.per_number,
            generator=generator,
        )
        self.latent, self.numbers, self.hidden = latent, math.prod(data.shape), networks.hidden
        self.flattens = architecture == "mlp"
        self.vae = nn.ModuleDict(
            {"encoder": networks.encoder, "decoder": networks.decoder, "distribution": distribution}
        )

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        refuse_text(data, model="vae")
        architecture = params.text("architecture", "mlp")
        return cls(
            data,
            architecture=architecture,
            likelihood=params.text("likelihood", default_for(data)),
            latent=params.integer("latent"),
            width=params.integer("width"),
            # The side of the images decides the depth of a convolutional pair; a recurrent one has one layer.
            depth=params.integer("depth") if architecture == "mlp" else 1,
            generator=generator,
        )

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
            units = sum(map(sum, self.hidden))
            noise["dropout"] = torch.rand(rows, units, generator=generator, device=device)
        return noise

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        down, up = self.hidden
        uniforms = torch.split(noise["dropout"], [*down, *up], 1) if "dropout" in noise else ()
        mean_BL, log_variance_BL = self._posterior(x, uniforms[: len(down)], knobs["dropout"])
        z_BL = mean_BL + (0.5 * log_variance_BL).exp() * noise["latent"]
        log_p_B = self._distribution.log_prob(x, self._decoded(z_BL, uniforms[len(down) :], knobs["dropout"]))
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
            "pixel": self._distribution.draw(generator, rows=rows),
        }

    def sample(self, noise: Noise) -> Tensor:
        return self._distribution.sample(self._decoded(noise["latent"]), noise["pixel"])

    def posterior_mean(self, x: Tensor) -> Tensor:
        """[B, L]: the mean of the latents of each row."""
        return self._posterior(x)[0]

    def bound(self, x: Tensor, noise_BL: Tensor) -> Tensor:
        mean_BL, log_variance_BL = self._posterior(x)
        z_BL = mean_BL + (0.5 * log_variance_BL).exp() * noise_BL
        return self._distribution.log_prob(x, self._decoded(z_BL)) - kl_to_prior(mean_BL, log_variance_BL).sum(1)

    def log_weights(self, x: Tensor, noise_SBL: Tensor) -> Tensor:
        samples = noise_SBL.shape[0]
        mean_BL, log_variance_BL = self._posterior(x)
        z_SBL = mean_BL + (0.5 * log_variance_BL).exp() * noise_SBL
        # log p(z) - log q(z | x); the constants of the two Gaussians cancel.
        ratio_SB = 0.5 * (noise_SBL.square() + log_variance_BL - z_SBL.square()).sum(2)
        repeated = x.repeat(samples, *[1] * (x.dim() - 1))
        log_p = self._distribution.log_prob(repeated, self._decoded(z_SBL.flatten(0, 1)))
        return log_p.view(samples, -1) + ratio_SB

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.vae.parameters()).dtype

    @property
    def _distribution(self) -> RowDistribution:
        return cast(RowDistribution, self.vae["distribution"])

    def _posterior(
        self, x: Tensor, uniforms: tuple[Tensor, ...] = (), rate: float | Tensor = 0.0
    ) -> tuple[Tensor, Tensor]:
        scaled = self._distribution.scaled(x.to(self.dtype))
        encoded = self.vae["encoder"](scaled.flatten(1) if self.flattens else scaled, uniforms, rate)
        # In the weights' type also where autocast runs the layers in half precision, which has no small KL.
        mean_BL, log_variance_BL = encoded.to(self.dtype).chunk(2, 1)
        return mean_BL, log_variance_BL.clamp(-LOG_VARIANCE_BOUND, LOG_VARIANCE_BOUND)

    def _decoded(self, z_BL: Tensor, uniforms: tuple[Tensor, ...] = (), rate: float | Tensor = 0.0) -> Tensor:
        """[B, P, D]: the parameters of each number's distribution."""
        parameters: Tensor = self.vae["decoder"](z_BL, uniforms, rate)
        # Probabilities are taken in the weights' type also where autocast runs the layers in half precision.
        return parameters.reshape(len(parameters), -1, self.numbers).to(self.dtype)


def kl_to_prior(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, exp(log_variance)) || N(0, 1)), elementwise: -1/2 (1 + l - mu^2 - e^l), appendix B of the paper."""
    return -0.5 * (1.0 + log_variance - mean.square() - log_variance.exp())
