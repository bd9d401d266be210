"""What the adversarial families share: losses, penalties, draws, collapse, sampling; a family file adds the networks.

Goodfellow et al. 2014, arXiv 1406.2661, with the generator's loss that does not saturate (section 3). Hinge: Lim and Ye
2017, arXiv 1705.02894. WGAN-GP: Gulrajani et al. 2017, arXiv 1704.00028, eq. (3). Least squares: Mao et al. 2017, arXiv
1611.04076, eq. (9). R1: Mescheder et al. 2018, arXiv 1801.04406, eq. (9). Floor: torch.
Axes: B rows, T steps of a series, D numbers of a row, U units that can be dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ..data._data import Data
from ..training.augment import Augmentation
from ..training.params import Params
from ._family import Knobs, Losses, Noise
from ._layers import is_on, over_rows, turn_singular_vectors

LOSSES = ("non-saturating", "hinge", "wgan-gp", "least-squares")
# Mean logits of reals and fakes this far apart leave a sigmoid of 5e-5 on either side.
SATURATED_MARGIN = 10.0
# Training rows, evenly spaced, that the spread of the data is taken from.
SPREAD_ROWS = 1000
# The share of the data's spread below which all samples are one.
NO_SPREAD = 0.01


class Adversarial(nn.Module):
    """A discriminator that tells rows from samples, and a generator that learns from it; `build` is the family's.

    A family makes the networks `discriminator` and `generator`, and what calls them: `_fakes` and `_logits`. Both meet
    rows in the discriminator's scale, [B, *shape]: grey levels as -1..1, real numbers as they are, of which those of
    audio are -1..1 too. One whose discriminator has a spectral norm adds the knob `spectral_norm`.

    noise_shape: of what the generator makes one row from. units: U, how many of the discriminator's can be dropped, and
    what uniform numbers it takes for a row besides.
    Raises `ValueError` where classes are asked for and the rows have no labels.
    """

    players: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    stacks: ClassVar[bool] = True
    randomized: ClassVar[tuple[str, ...]] = ("dropout",)
    """The knobs above 0 under which the discriminator takes uniform numbers."""

    discriminator: nn.Module
    generator: nn.Module

    def __init__(self, data: Data, *, noise_shape: tuple[int, ...], units: int, conditional: bool = False) -> None:
        super().__init__()
        if conditional and data.train.labels is None:
            raise ValueError(
                f"a conditional model needs labels, and the rows of {data.name!r} have none: set conditional to false"
            )
        self.shape, self.levels, self.dtype_of_data = data.shape, data.levels, data.train.x.dtype
        # Audio is -1..1 as it comes.
        self.bounded = data.levels is not None or data.modality == "audio"
        self.noise_shape, self.units = noise_shape, units
        self.conditional, self.classes = conditional, data.classes if conditional else 0
        labels = data.train.labels if conditional else None
        counts = torch.zeros(0) if labels is None else torch.bincount(labels.cpu(), minlength=self.classes)
        # Not a tensor, which would stay behind where the model moves to another device.
        self.class_counts = tuple(counts.tolist())
        self.augmentation = Augmentation(data)
        some = data.train.x[:: math.ceil(len(data.train) / SPREAD_ROWS)].cpu()
        self.spread_of_data = max(float(_spread(self._scaled(some, torch.get_default_dtype()), None)), 1e-12)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        loss, critic_steps = params.text("loss", LOSSES[0]), params.integer("critic_steps", 1)
        if loss not in LOSSES:
            raise ValueError(f"loss must be one of {', '.join(LOSSES)}, and it is {loss!r}: correct it in the space")
        if critic_steps < 1:
            raise ValueError(f"critic_steps must be at least 1, and they are {critic_steps}: correct it in the space")
        # The gradient penalty belongs to its loss, and takes the place of R1 there.
        wasserstein = loss == "wgan-gp"
        knobs = {
            "r1": 0.0 if wasserstein else params.number("r1", 0.0),
            "gp": params.number("gp", 10.0) if wasserstein else 0.0,
            "dropout": params.number("dropout", 0.0),
        }
        for name, value in knobs.items():
            if not 0.0 <= value < (1.0 if name == "dropout" else math.inf):
                raise ValueError(
                    f"{name} must be at least 0, a rate also below 1, and it is {value}: correct it in the space"
                )
        if wasserstein and knobs["gp"] == 0.0:
            raise ValueError("gp must be above 0, and it is 0.0: a critic without a penalty has no bound; raise it")
        chosen = {"hinge": float(loss == "hinge"), "least_squares": float(loss == "least-squares")}
        return {**knobs, **chosen, "critic_steps": float(critic_steps), **Augmentation.knobs(params)}

    @classmethod
    def adapted(cls, knobs: Mapping[str, float], logs: Mapping[str, float], *, rows: int) -> dict[str, float]:
        return Augmentation.adapted(knobs, logs.get("discriminator.sign"), rows=rows)

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return dict(knobs)

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"discriminator": 1, "generator": int(knobs["critic_steps"])}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        noise = self.draw_samples(generator, rows=rows)
        # The discriminator sees reals and fakes, and fakes while the generator learns from it.
        seen = ("real", "fake") if player == "discriminator" else ("fake",)
        for name in seen if any(knobs[name] > 0.0 for name in self.randomized) else ():
            shape = (rows, self.units)
            noise[f"dropout_{name}"] = torch.rand(shape, generator=generator, device=generator.device)
        for name in seen:
            noise |= self.augmentation.draw(name, generator, rows=rows, knobs=knobs)
        if knobs["gp"] > 0.0 and player == "discriminator":
            noise["epsilon"] = torch.rand(rows, generator=generator, device=generator.device)
        return noise

    def forward(
        self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor, labels_B: Tensor | None = None
    ) -> Losses:
        if player == "generator":
            return self._generator_loss(noise, knobs, weight_B)
        return self._discriminator_loss(x, labels_B, noise, knobs, weight_B)

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        # No loss of a GAN falls all the way, since each player learns against the other; so a plateau is where a
        # player makes no more headway.
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        # Least squares draw the logits to 0 and 1, so they never come so far apart, and this stays silent.
        margin = logs.get("discriminator.real", 0.0) - logs.get("discriminator.fake", 0.0)
        # A player that did not move in this epoch has no logs.
        spread = logs.get("generator.spread", math.inf)
        if spread < NO_SPREAD and margin > SATURATED_MARGIN:
            return (
                f"mode collapse: samples spread {spread:.2g} times as far as the data, and the discriminator is "
                f"saturated, its logits {margin:.3g} apart"
            )
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """The generator's `latent`, and where the model is conditional the classes in the shares of the rows."""
        device = generator.device
        noise = {"latent": torch.randn(rows, *self.noise_shape, generator=generator, device=device)}
        if self.conditional:
            counts = torch.tensor(self.class_counts, dtype=torch.float32, device=device)
            noise["label"] = torch.multinomial(counts, rows, replacement=True, generator=generator)
        return noise

    def sample(self, noise: Noise) -> Tensor:
        rows = self._fakes(noise["latent"], noise.get("label"))
        if self.levels is not None:
            rows = ((rows + 1.0) * (0.5 * (self.levels - 1))).round()
        return rows.to(self.dtype_of_data)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return next(self.generator.parameters()).dtype

    def _fakes(self, latent: Tensor, labels_B: Tensor | None) -> Tensor:
        """New rows [B, *shape] in the discriminator's scale, from noise [B, *noise_shape]."""
        raise NotImplementedError

    def _learning(self, noise: Noise, knobs: Knobs) -> Tensor:
        """The new rows that the generator learns from, of which the gradient reaches its weights."""
        return self._fakes(noise["latent"], noise.get("label"))

    def _heard(self, rows: Tensor) -> Tensor:
        """What the discriminator gets of rows [B, *shape]; penalties bound its slopes by this."""
        return rows

    def _logits(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        """One logit a row [B], or one at every step [B, T], from what is heard of rows and uniforms where units drop.

        A row's logits depend on that row alone.
        """
        raise NotImplementedError

    def _bounded(self, rows: Tensor) -> Tensor:
        """What a generator's last layer gives, in the scale of the rows."""
        return rows.tanh() if self.bounded else rows

    def _scaled(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """Rows of the data in the discriminator's scale."""
        rows = x.to(dtype)
        return rows if self.levels is None else rows * (2.0 / (self.levels - 1)) - 1.0

    def _judged(self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs) -> Tensor:
        """The logits, in the weights' type also where autocast runs the layers in half precision."""
        return self._logits(rows, labels_B, uniform_BU, knobs).to(self.dtype)

    def _discriminator_loss(
        self, x: Tensor, labels_B: Tensor | None, noise: Noise, knobs: Knobs, weight_B: Tensor
    ) -> Losses:
        drawn_B = noise.get("label")
        with torch.no_grad():
            fake = self._heard(self.augmentation("fake", self._fakes(noise["latent"], drawn_B), noise, knobs))
        real = self._heard(self.augmentation("real", self._scaled(x, self.dtype), noise, knobs))
        of_real, of_fake = noise.get("dropout_real"), noise.get("dropout_fake")
        turn_singular_vectors(self.discriminator, knobs.get("spectral_norm", 0.0))
        gradient = None
        if is_on(knobs["r1"]) and not is_on(knobs["gp"]):
            # One pass serves the logits and their gradient.
            real_logits, gradient = self._slope(real, labels_B, of_real, knobs)
            fake_logits = self._judged(fake, drawn_B, of_fake, knobs)
        else:
            logits = self._judged(torch.cat([real, fake]), _both(labels_B, drawn_B), _both(of_real, of_fake), knobs)
            real_logits, fake_logits = logits.chunk(2)
        if is_on(knobs["gp"]):
            # Beside members with R1 one more pass serves both penalties. A point between the two has the class and the
            # dropped units of the real row.
            points = _between(real, fake, noise["epsilon"], knobs["gp"])
            _, gradient = self._slope(points, labels_B, of_real, knobs)
        penalty = over_rows(weight_B, _penalty(gradient, real_logits, knobs))
        loss_B = mean_over_steps(discriminator_loss(real_logits, fake_logits, knobs))
        loss = over_rows(weight_B, loss_B) + penalty
        real_mean, fake_mean = (over_rows(weight_B, mean_over_steps(of.detach())) for of in (real_logits, fake_logits))
        # What is neither real nor fake has the logit 0; under least squares 1/2, and to a critic only the middle tells.
        neither = 0.5 * knobs["least_squares"] + 0.5 * (knobs["gp"] > 0.0) * (real_mean + fake_mean)
        logs = {
            "loss": loss.detach(),
            "real": real_mean,
            "fake": fake_mean,
            "penalty": penalty.detach(),
            # How sure it is of the reals, from -1 to 1: one that is overfitted knows each of them.
            "sign": over_rows(weight_B, mean_over_steps((real_logits.detach() - neither).sign())),
        }
        return loss, logs

    def _generator_loss(self, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        labels_B = noise.get("label")
        fake = self._learning(noise, knobs)
        seen = self._heard(self.augmentation("fake", fake, noise, knobs))
        logits = self._judged(seen, labels_B, noise.get("dropout_fake"), knobs)
        loss = over_rows(weight_B, mean_over_steps(generator_loss(logits, knobs)))
        return loss, {"loss": loss.detach(), "spread": _spread(fake.detach(), weight_B) / self.spread_of_data}

    def _slope(
        self, rows: Tensor, labels_B: Tensor | None, uniform_BU: Tensor | None, knobs: Knobs
    ) -> tuple[Tensor, Tensor]:
        """The logits, and the gradient [B, *shape] of each row's mean logit by that row; of the classes by nothing.

        A row's logits depend on that row alone, so the gradient of the sum over rows holds those of all rows.
        """
        logits, pull, *_ = torch.func.vjp(lambda rows: self._judged(rows, labels_B, uniform_BU, knobs), rows)
        (gradient,) = pull(torch.full_like(logits, len(logits) / logits.numel()))
        return logits, gradient


def discriminator_loss(real: Tensor, fake: Tensor, knobs: Knobs) -> Tensor:
    """The discriminator's loss logit by logit; cross-entropy where the knobs choose no other."""
    others: dict[str, Callable[[], Tensor]] = {
        "hinge": lambda: (1.0 - real).relu() + (1.0 + fake).relu(),
        "gp": lambda: fake - real,
        "least_squares": lambda: 0.5 * ((real - 1.0).square() + fake.square()),
    }
    return _chosen(softplus(-real) + softplus(fake), others, knobs)


def generator_loss(fake: Tensor, knobs: Knobs) -> Tensor:
    """The generator's loss from the logits of its rows; cross-entropy that does not saturate where nothing else."""
    others: dict[str, Callable[[], Tensor]] = {
        "hinge": lambda: -fake,
        "gp": lambda: -fake,
        "least_squares": lambda: 0.5 * (fake - 1.0).square(),
    }
    return _chosen(softplus(-fake), others, knobs)


def _chosen(usual: Tensor, others: Mapping[str, Callable[[], Tensor]], knobs: Knobs) -> Tensor:
    """The loss whose knob is above 0, of which there is one at most, or the usual one."""
    for name, loss in others.items():
        knob = knobs[name]
        if is_on(knob):
            usual = torch.where(knob > 0.0, loss(), usual) if isinstance(knob, Tensor) else loss()
    return usual


def _between(real: Tensor, fake: Tensor, epsilon_B: Tensor, gp: float | Tensor) -> Tensor:
    """Points on the lines from fakes to reals, for members with a gradient penalty; the reals for others."""
    epsilon = epsilon_B.view(-1, *[1] * (real.dim() - 1))
    points = epsilon * real + (1.0 - epsilon) * fake
    return torch.where(gp > 0.0, points, real) if isinstance(gp, Tensor) else points


def _penalty(gradient: Tensor | None, logits: Tensor, knobs: Knobs) -> Tensor:
    """[B]: R1 or the gradient penalty, of which a member has one at most."""
    penalty_B = logits.new_zeros(len(logits))
    if gradient is None:
        return penalty_B
    square_B = gradient.flatten(1).square().sum(1)
    if is_on(knobs["r1"]):
        penalty_B = 0.5 * knobs["r1"] * square_B
    if is_on(knobs["gp"]):
        # The root of 0 has no derivative: there the norm is a constant.
        norm_B = torch.where(square_B > 0.0, square_B, 1.0).sqrt() * (square_B > 0.0)
        penalty_B = penalty_B + knobs["gp"] * (norm_B - 1.0).square()
    return penalty_B


def mean_over_steps(values: Tensor) -> Tensor:
    """[B] as it is, and [B, T] as its mean over the steps."""
    return values if values.dim() == 1 else values.mean(1)


def one_hot(labels: Tensor, classes: int, *, dtype: torch.dtype) -> Tensor:
    """[..., classes]: 1 at the class, 0 elsewhere. By comparison, since torch's own cannot be stacked."""
    return (labels[..., None] == torch.arange(classes, device=labels.device)).to(dtype)


def with_classes(values: Tensor, labels_B: Tensor | None, classes: int) -> Tensor:
    """The one-hot classes beside vectors [B, N], or beside channels [B, C, ...], 1 or 0 in every place; none as is."""
    if labels_B is None:
        return values
    beside = one_hot(labels_B, classes, dtype=values.dtype)
    places = values.shape[2:]
    return torch.cat([values, beside.view(*beside.shape, *[1] * len(places)).expand(-1, -1, *places)], 1)


def _both(real: Tensor | None, fake: Tensor | None) -> Tensor | None:
    return None if real is None or fake is None else torch.cat([real, fake])


def _spread(rows: Tensor, weight_B: Tensor | None) -> Tensor:
    """The standard deviation over rows, as root mean square over the numbers of a row; 0-dim."""
    rows_BD = rows.flatten(1)
    if weight_B is None:
        weight_B = torch.full((len(rows_BD),), 1.0 / len(rows_BD), dtype=rows_BD.dtype)
    centered_BD = rows_BD.to(weight_B.dtype) - over_rows(weight_B, rows_BD)
    return over_rows(weight_B, centered_BD.square()).mean().sqrt()
