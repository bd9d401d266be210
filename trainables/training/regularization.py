"""Penalties on the weights: L2 in the gradient, decoupled decay, and L1 as a proximal step.

Floor: torch. They act on all parameters of a player, biases included, as torch's `weight_decay` does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .params import Params


@dataclass(frozen=True, kw_only=True)
class Penalties:
    """The strengths of one player; 0 is off.

    `l2` adds l2 * p to the gradient; `weight_decay` shrinks p by lr * weight_decay apart from the gradient (Loshchilov
    and Hutter 2019, arXiv 1711.05101); `l1` is the proximal step below. They differ under adaptive optimizers.
    """

    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        for name in ("l1", "l2", "weight_decay"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise ValueError(f"{name} must be finite and at least 0, and it is {value}: correct it in the space")

    @classmethod
    def from_params(cls, params: Params) -> Penalties:
        """The strengths that the space gives; an absent one is off."""
        return cls(**{name: params.number(name, 0.0) for name in ("l1", "l2", "weight_decay")})


def soft_threshold(parameter: Tensor, threshold: Tensor, *, scratch: Tensor) -> None:
    """Move every entry toward 0 by its threshold and stop there: in place, exact zeros; `scratch` is overwritten.

    This is the proximal operator of L1 in a diagonal metric. Under an adaptive optimizer with step lr / den the metric
    is den, so the threshold must be lr * l1 / den: lr * l1 alone leaves the wrong weights alive, and a sub-gradient
    gives no zeros at all.
    """
    with torch.no_grad():
        # p - clamp(p, -t, t), into memory that is there: allocating it anew each step takes longer than the sums.
        torch.neg(threshold, out=scratch)
        torch.clamp(parameter, scratch, threshold, out=scratch)
        parameter.sub_(scratch)
