"""Self-attention GAN for text, beside the same transformer trained on likelihood alone; `_adversarial` has the losses.

The seed of this project calls a GAN with self-attention AT-GAN; `attention_gan` is the one for images. Here a causal
transformer writes a row token by token, and convolutions judge it (`_language`).

Tokens are chosen, which has no derivative. So the generator learns by a straight-through estimate: a sample is one-hot,
and its gradient is that of the Gumbel-softmax (Jang et al. 2017, arXiv 1611.01144; Maddison et al. 2017, arXiv
1611.00712) under a temperature that falls from 1 as RelGAN's does (Nie et al. 2019, ICLR). As in RelGAN's code, no
gradient takes the way by a token that is fed back. Then all steps of a known sample are one pass: the sample is written
without gradient, and its logits are computed anew, all at once, with one.

Before that comes likelihood, for the share `mle_share` of the budget: the player `control` is the same transformer,
which learns by maximum likelihood to the end; until then the generator is the control, and then goes on against the
discriminator from there. Measured at several temperatures, the control stands beside every metric of samples, since by
a sweep of temperatures such models were ahead of text GANs over the whole plane of quality and diversity: Caccia et al.
2018, arXiv 1811.02549. At `mle_share` 1 the generator is the control to the end.
Floor: torch. Axes: B rows, T tokens of a row, V tokens of the vocabulary, U units that can be dropped.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from typing import ClassVar, Self

import torch
from torch import Tensor

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._adversarial import Adversarial, one_hot
from ._family import Generative, Knobs, Losses, Noise
from ._language import TextCNN, Transformer, by_gumbel, by_uniform
from ._layers import add_singular_vectors, masked_dropout, over_rows

ANNEALS = ("none", "linear", "exponential")
# Of the control's softmax, in hundredths: below 1 samples are better and more alike.
TEMPERATURES = (60, 70, 80, 90, 100)
# Numbers of noise for a row: with 1024 rows drawn at once they take 256 MiB, in a stack for each member of it.
MOST_NOISE = 2**16


class Model(Adversarial):
    """A GAN over rows of tokens [T], and a language model of them."""

    players: ClassVar[tuple[str, ...]] = ("control", "discriminator", "generator")
    structural: ClassVar[tuple[str, ...]] = ("width", "depth", "heads")
    begins_as: ClassVar[Mapping[str, str]] = {"generator": "control"}

    control: Transformer
    generator: Transformer

    def __init__(self, data: Data, *, width: int, depth: int, heads: int, generator: torch.Generator) -> None:
        for name, value in (("width", width), ("depth", depth)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, and it is {value}: correct it in the space")
        if data.modality != "text" or data.levels is None:
            raise ValueError(
                f"the model 'attention_gan_text' needs rows of tokens, and those of {data.name!r} are {data.modality} "
                f"of the shape {list(data.shape)}: take the model 'attention_gan' for images, 'rgan' for series, or "
                "other data"
            )
        (tokens,) = data.shape
        if tokens < 2 or tokens * data.levels > MOST_NOISE:
            raise ValueError(
                f"the model 'attention_gan_text' needs rows of at least 2 tokens, and tokens x vocabulary of at most "
                f"{MOST_NOISE}, and rows of {data.name!r} have {tokens} tokens of a vocabulary of {data.levels}: take "
                "other rows, such as characters in place of words"
            )
        discriminator = TextCNN(data.levels, tokens, width=width, generator=generator)
        super().__init__(data, noise_shape=data.shape, units=discriminator.units)
        self.discriminator = discriminator
        add_singular_vectors(self.discriminator, generator=generator)
        of_text = functools.partial(
            Transformer, data.levels, tokens, width=width, depth=depth, heads=heads, generator=generator
        )
        self.control, self.generator = of_text(), of_text()

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        Augmentation.check(params, data=data)
        return cls(
            data,
            width=params.integer("width"),
            depth=params.integer("depth"),
            heads=params.integer("heads"),
            generator=generator,
        )

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        anneal = params.text("anneal", ANNEALS[-1])
        temperature, share = params.number("temperature", 0.1), params.number("mle_share", 0.5)
        dropout = params.number("control.dropout", 0.0)
        if anneal not in ANNEALS:
            raise ValueError(
                f"anneal must be one of {', '.join(ANNEALS)}, and it is {anneal!r}: correct it in the space"
            )
        if not 0.0 < temperature < math.inf:
            raise ValueError(f"temperature must be above 0, and it is {temperature}: correct it in the space")
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"mle_share must be from 0 to 1, and it is {share}: correct it in the space")
        if not 0.0 <= dropout < 1.0:
            raise ValueError(
                f"control.dropout must be at least 0 and below 1, and it is {dropout}: correct it in the space"
            )
        return {
            **super().knobs(params),
            "control.dropout": dropout,
            "spectral_norm": float(params.boolean("spectral_norm", False)),
            "temperature": temperature,
            "mle_share": share,
            **{f"anneal_{name}": float(anneal == name) for name in ANNEALS[1:]},
        }

    @classmethod
    def begins(cls, knobs: Mapping[str, float]) -> dict[str, float]:
        return dict.fromkeys(("discriminator", "generator"), knobs["mle_share"])

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        share, last = knobs["mle_share"], knobs["temperature"]
        # Of the budget that is left after likelihood.
        passed = max(0.0, progress - share) / (1.0 - share) if share < 1.0 else 1.0
        if knobs["anneal_exponential"] > 0.0:
            return {**knobs, "temperature": last**passed}
        if knobs["anneal_linear"] > 0.0:
            # Linear in the inverse, which is what RelGAN anneals.
            return {**knobs, "temperature": 1.0 / (1.0 + passed * (1.0 / last - 1.0))}
        return dict(knobs)

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"control": 1, **super().paces(knobs)}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        if player == "control":
            shape = (rows, self.control.units)
            dropped = knobs["control.dropout"] > 0.0
            return {"dropout": torch.rand(shape, generator=generator, device=generator.device)} if dropped else {}
        noise = super().draw(player, generator, rows=rows, knobs=knobs)
        if player == "generator":
            # -log of an exponential number is Gumbel noise, for each token of the vocabulary.
            exponential = torch.empty(rows, *self.noise_shape, self._levels, device=generator.device)
            noise["latent"] = -exponential.exponential_(generator=generator).log()
        return noise

    def forward(
        self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor, labels_B: Tensor | None = None
    ) -> Losses:
        if player != "control":
            return super().forward(player, x, noise, knobs, weight_B, labels_B)
        keep_BU = noise.get("dropout")
        if keep_BU is not None:
            keep_BU = masked_dropout(torch.ones_like(keep_BU), keep_BU, knobs["control.dropout"])
        loss = over_rows(weight_B, -self._log_probability(self.control, x, keep_BU)) / x.shape[1]
        return loss, {"loss": loss.detach()}

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """A uniform number for each token."""
        return {"latent": torch.rand(rows, *self.noise_shape, generator=generator, device=generator.device)}

    def sample(self, noise: Noise) -> Tensor:
        return self.generator.write(noise["latent"], by_uniform).to(self.dtype_of_data)

    def log_probability(self, x: Tensor) -> Tensor:
        """[B]: log p(row) in nats of the generator, which is what samples are drawn from."""
        return self._log_probability(self.generator, x)

    def controls(self) -> Mapping[str, Generative]:
        return {f"mle_{hundredths}": Control(self, hundredths / 100.0) for hundredths in TEMPERATURES}

    @property
    def _levels(self) -> int:
        """Tokens of the vocabulary."""
        assert self.levels is not None
        return self.levels

    def _scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        return one_hot(x, self._levels, dtype=dtype)

    def _fakes(self, latent: Tensor, labels_B: Tensor | None) -> Tensor:
        return self._scaled(self.generator.write(latent, by_uniform), self.dtype)

    def _learning(self, noise: Noise, knobs: Knobs) -> Tensor:
        gumbel_BTV = noise["latent"]
        hard_BTV = self._scaled(self.generator.write(gumbel_BTV, by_gumbel), self.dtype)
        logits_BTV: Tensor = self.generator(hard_BTV)
        soft_BTV = ((logits_BTV.to(self.dtype) + gumbel_BTV) / knobs["temperature"]).softmax(-1)
        return hard_BTV + (soft_BTV - soft_BTV.detach())

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        logits_B: Tensor = self.discriminator(rows, uniform_BU, knobs["dropout"], knobs["spectral_norm"])
        return logits_B

    def _log_probability(self, network: Transformer, x: Tensor, keep_BU: Tensor | None = None) -> Tensor:
        """[B]: the sum over the tokens of a row."""
        known_BTV = self._scaled(x, self.dtype)
        logits_BTV: Tensor = network(known_BTV, keep_BU)
        return (logits_BTV.to(self.dtype).log_softmax(-1) * known_BTV).sum((1, 2))


class Control:
    """The transformer that was trained by maximum likelihood, to be sampled at a temperature of its softmax."""

    def __init__(self, model: Model, temperature: float) -> None:
        self._model, self._choose = model, functools.partial(by_uniform, temperature=temperature)

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """Those of the model."""
        return self._model.draw_samples(generator, rows=rows)

    def sample(self, noise: Noise) -> Tensor:
        """New rows [N, T], of the type of the data."""
        return self._model.control.write(noise["latent"], self._choose).to(self._model.dtype_of_data)
