"""Sensors: when a training is dead, and why, in words.

Floor: the standard library; they see numbers that were read once an epoch, never tensors. A dead trial is lost to the
study, so a sensor speaks only where no recovery is to be expected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

# Times the loss of the first epoch: far above any spike that an optimizer recovers from.
EXPLOSION = 1e3
# A collapse counts only after this share of the budget, and in so many epochs running: slow learners look alike early.
COLLAPSE_AFTER = 1 / 3
COLLAPSE_EPOCHS = 3


@dataclass(frozen=True, kw_only=True)
class Death:
    """The constraint that a training broke, and how."""

    constraint: str
    cause: str


@dataclass
class Sensors:
    """The sensors of one training; fed once an epoch."""

    first_loss: float | None = None
    collapsed_epochs: int = 0

    def see(
        self, means: Mapping[str, float], *, finite_weights: bool, collapse: str | None, progress: float
    ) -> Death | None:
        """What the epoch with these mean logs shows; `collapse` is the family's own finding."""
        if death := self.not_finite(means):
            return death
        if not finite_weights:
            return Death(constraint="diverged", cause="a weight is not finite")
        losses = [value for name, value in means.items() if name.rpartition(".")[2] == "loss"]
        largest = max(map(abs, losses), default=0.0)
        if self.first_loss is None:
            self.first_loss = largest
        limit = EXPLOSION * max(1.0, self.first_loss)
        if largest > limit:
            return Death(
                constraint="diverged", cause=f"loss exploded: {largest:.3g} against {self.first_loss:.3g} at first"
            )
        self.collapsed_epochs = self.collapsed_epochs + 1 if collapse and progress >= COLLAPSE_AFTER else 0
        if collapse and self.collapsed_epochs >= COLLAPSE_EPOCHS:
            return Death(constraint="collapsed", cause=collapse)
        return None

    def not_finite(self, metrics: Mapping[str, float]) -> Death | None:
        """The first metric that is NaN or infinite."""
        for name, value in metrics.items():
            if not math.isfinite(value):
                return Death(constraint="diverged", cause=f"{name} is {value}")
        return None

    def state(self) -> dict[str, float | None]:
        """What a checkpoint keeps."""
        return {"first_loss": self.first_loss, "collapsed_epochs": self.collapsed_epochs}

    def load_state(self, state: Mapping[str, float | None]) -> None:
        """Go on where `state` was taken."""
        self.first_loss = state["first_loss"]
        self.collapsed_epochs = int(state["collapsed_epochs"] or 0)
