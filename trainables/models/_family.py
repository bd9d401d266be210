"""What a model file offers: the contract between a family and whatever trains it.

Floor: torch, `trainables.data` and the parameters. A family is written for ONE member. All its randomness is drawn
outside the loss and handed in, its knobs are scalars that may be 0-dim tensors, and rows carry weights that sum to 1
instead of being averaged; so the same file trains alone and, by `torch.func` over stacked parameters, in company.

A family has players: networks with a loss and an optimizer each, stepped in the order of `players`. A VAE has one; a
GAN has two, `("discriminator", "generator")`, whose `forward` is told which one's loss is asked for, and whose
`paces` say that the generator moves only on every `critic_steps`-th step.

What a loss may rely on, alone and in company:
- A knob is a float where it is alone or 0.0 for every member of the stack, and else a 0-dim tensor. So a technique
  that nobody uses costs nothing: `_layers.is_on(knob)` is False for the float 0.0 only. Where it is True for a tensor,
  the technique must act as if absent under the value 0.
- Noise that a member does not draw, because its knobs leave it out, arrives as zeros where another member of the stack
  draws it. Under that member's knobs the loss is the same as without it.
- Rows of weight 0 are padding, and nothing mixes rows except by their weights.
- First-order gradients inside a loss are taken by `torch.func`, `grad` or `vjp`, on a function of the rows.
- Sums over rows are taken by `_layers.over_rows`, so that they keep their digits under autocast.
- A player's buffers, such as the vectors of a spectral norm, are changed in place and in its own loss only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from ..data._data import Data
from ..training.params import Params

Knobs = Mapping[str, float | Tensor]
Noise = Mapping[str, Tensor]
Losses = tuple[Tensor, Mapping[str, Tensor]]


class Generative(Protocol):
    """What can be sampled from."""

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """The noise for `rows` samples."""

    def sample(self, noise: Noise) -> Tensor:
        """New rows [N, *shape], of the type and range of the data."""


class Family(Generative, Protocol):
    """One model family; the class is called `Model` and is an `nn.Module` too.

    The parameters of player p are those of the child module named p.
    """

    players: ClassVar[tuple[str, ...]]
    structural: ClassVar[tuple[str, ...]]
    """The hyperparameters that fix tensor shapes, and so cannot differ inside a stack."""
    averaged: ClassVar[tuple[str, ...]]
    """The players of whose weights the trainer keeps a moving average under the parameter `ema`; the family need do
    nothing for it. Samples are drawn, and metrics measured, with the averages."""
    stacks: ClassVar[bool]
    """False where the family cannot be trained in a stack; it then trains alone. So does a model with a buffer that
    belongs to no player, or is of another type than the weights; one that is not persistent is a constant of the data,
    and may be anywhere."""

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        """A new model on the CPU, its weights drawn from `generator`; reads exactly the structural parameters.

        Raises `ValueError` where the family cannot model such data.
        """

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        """The per-member scalars of the loss; reads exactly the parameters that the family has besides structural."""

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        """The knobs at this share of the budget, 0..1: a pure function, so that annealed knobs need no state."""

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        """Player p moves on the steps that `paces[p]` divides; 1 is every step."""

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        """The noise for `rows` rows of this player's loss, each tensor [rows, ...]."""

    def __call__(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        """The loss of one player, and named 0-dim logs without gradient, under the knobs in force.

        No Python branch on a tensor, no `.item()`: this is what gets stacked. The logs hold `loss`.
        """

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        """The number that should fall as this player learns, free of annealing: what reduce-on-plateau watches.

        `logs` are this player's means of an epoch, `knobs` the ones that `knobs()` gave.
        """

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        """In words, how an epoch with these mean logs under these knobs in force shows collapse; None if it does not.

        With several players a log carries its player in front: `discriminator.loss`.
        """


@runtime_checkable
class Conditional(Protocol):
    """A family whose models may be told the classes of their rows.

    Where `conditional` is True, a loss is called with one more argument, the classes [B] of the rows, int64; the noise
    of `draw_samples` holds the classes to sample as `label` [N], for which a caller may put others.
    """

    conditional: bool


@runtime_checkable
class Adaptive(Protocol):
    """A family with knobs that follow the training, such as the probability of an augmentation."""

    @classmethod
    def adapted(cls, knobs: Mapping[str, float], logs: Mapping[str, float], *, rows: int) -> dict[str, float]:
        """The knobs after an epoch of so many rows with these mean logs: a pure function, and they are its memory.

        As in `collapsed` a log carries its player in front where there are several. A checkpoint keeps the knobs.
        """


@runtime_checkable
class Staged(Protocol):
    """A family of which some players begin late, such as a generator that is trained on likelihood first."""

    begins_as: ClassVar[Mapping[str, str]]
    """Player p has the weights of `begins_as[p]` until it begins. Both are modules of one class and shape."""

    @classmethod
    def begins(cls, knobs: Mapping[str, float]) -> dict[str, float]:
        """The share of the budget, 0..1, at which player p makes its first move; whoever is left out begins at once."""


@runtime_checkable
class Controlled(Protocol):
    """A family whose models have something beside them that their samples are to be compared with."""

    def controls(self) -> Mapping[str, Generative]:
        """What it is, by name: a finished trial reports each metric of samples of it too, as `metric.name`."""


@runtime_checkable
class Likelihood(Protocol):
    """A family that bounds the likelihood of its data, as a VAE does; `nll` and `elbo` ask for this."""

    latent: int

    def log_weights(self, x: Tensor, noise_SBL: Tensor) -> Tensor:
        """[S, B]: log p(x, z) - log q(z | x) with z from q under this noise, at beta = 1 and without dropout."""

    def bound(self, x: Tensor, noise_BL: Tensor) -> Tensor:
        """[B]: log p(x | z) - KL(q(z | x) || p(z)), the KL in closed form, at beta = 1 and without dropout."""


@runtime_checkable
class Language(Protocol):
    """A family that knows the probability of each row of tokens; `bits_per_char` asks for this."""

    def log_probability(self, x: Tensor) -> Tensor:
        """[B]: log p(row) in nats, each token given those before it in the row, without dropout."""


def is_conditional(model: Family) -> bool:
    """Whether this model is told the classes of its rows."""
    return isinstance(model, Conditional) and model.conditional


def adapted(model: Family, knobs: dict[str, float], logs: Mapping[str, float], *, rows: int) -> dict[str, float]:
    """The knobs after an epoch; the same where the family has none that follow the training."""
    return model.adapted(knobs, logs, rows=rows) if isinstance(model, Adaptive) else knobs


def begins(model: Family, knobs: Mapping[str, float]) -> dict[str, float]:
    """The share of the budget at which each player begins that does not begin at once."""
    return model.begins(knobs) if isinstance(model, Staged) else {}


def refuse_text(data: Data, *, model: str) -> None:
    """Raise `ValueError` for text: its tokens are names, and the model takes levels for amounts."""
    if data.modality == "text":
        raise ValueError(
            f"the model {model!r} takes levels for amounts, and those of {data.name!r} are tokens of text: take the "
            "model 'attention_gan_text', or other data"
        )


def as_module(model: Family) -> nn.Module:
    """The same model as torch sees it; raises `ValueError` for a family that forgot to be a module."""
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model is an nn.Module, and {type(model).__name__} is not: derive it from torch.nn.Module")
    return model
