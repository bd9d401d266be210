"""What every training offers to the code that runs it, and what it reports.

Floor: the standard library. A trainer trains one epoch at a time, so that whoever runs it decides when to measure, to
save and to stop.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeGuard

if TYPE_CHECKING:
    from ..metrics._metric import Measurement

CONSTRAINTS = ("diverged", "collapsed", "memory")
"""Every trial sets all of these, in this order: samplers compare constraints by position."""
FINE = -1.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The state after an epoch.

    `step` is the number of epochs finished, `metrics` holds finite numbers only, `cause` says in words why this
    training is dead (None: it lives). `ended` is True where a training came to its end before the budget did: then
    nothing was trained in this call, and `step` and `metrics` are those of the call before.
    """

    step: int
    metrics: Mapping[str, float]
    cause: str | None = None
    constraints: Mapping[str, float] = field(default_factory=lambda: constraints())
    ended: bool = False


class Trainer(Protocol):
    """One trial in training."""

    can_sample: bool
    structure: str | None
    """Equal for trainings that can be stepped as one stack, None where this one cannot be in any."""

    @property
    def step(self) -> int:
        """Epochs finished."""

    @property
    def epochs(self) -> int:
        """Epochs in the budget."""

    def advance(self, *, measure: Collection[str] = ()) -> Progress:
        """Train one epoch, then measure the named metrics and every cheap one."""

    def save(self, folder: Path) -> None:
        """Write a checkpoint into this folder, in place of the one that is there; a crash leaves one of the two."""

    def restore(self, folder: Path) -> None:
        """Go on from the checkpoint in this folder, exactly as if never interrupted."""

    def close(self) -> None:
        """Let go of what this training holds; it is not trained any further."""


class Generator(Trainer, Protocol):
    """A training whose model is ours: it can be measured, sampled from, and its weights kept."""

    def measure(self, names: Collection[str], *, split: str = "validation") -> Mapping[str, Measurement]:
        """The named metrics on one split of the data."""

    def yardsticks(self, names: Collection[str]) -> Mapping[str, float]:
        """What the named metrics say of real rows and of the training rows, `name.floor` and `name.copy_of_train`."""

    def sheet(self, path: Path) -> Sequence[Path]:
        """Write samples from noise that stays the same: a picture at this path, or what lies beside it; the files."""

    def drawn(self) -> Mapping[str, bytes]:
        """What `sheet` writes, as the content of each file by its suffix."""

    def save_weights(self, path: Path) -> None:
        """Write what sampling and measuring need."""

    def load_weights(self, path: Path) -> None:
        """Take over what `save_weights` wrote."""


def generates(trainer: Trainer) -> TypeGuard[Generator]:
    """Whether this training has a model that can be sampled from."""
    return trainer.can_sample


def constraints(broken: str | None = None, *, left: float = 0.0) -> dict[str, float]:
    """All constraints of a trial, fine but for `broken`, which is `left`: the share of the budget left at death.

    Graded, because a sampler learns more from how early a trial died than from the bare fact.
    """
    if broken is not None and broken not in CONSTRAINTS:
        raise ValueError(f"a constraint is one of {', '.join(CONSTRAINTS)}, and {broken!r} is none of them")
    return {name: left if name == broken else FINE for name in CONSTRAINTS}


def share_left(*, step: int, epochs: int) -> float:
    """The share of the budget left to a training that died in epoch `step`, in (0, 1]: that epoch counts as unspent."""
    return (epochs - step + 1) / epochs
