"""Learning-rate schedules, as factors of the initial rate.

Pure functions of progress, the share of the budget that is spent, so that a schedule means the same under any batch
size and needs no state. Reduce-on-plateau is the exception: it watches, so it has a state. Floor: the parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .params import Params

Schedule = Callable[[float], float]
NAMES = ("constant", "exponential", "step", "cosine", "linear", "plateau")
# Warm-up begins at this share of the rate, not at 0: a first step of length 0 would be wasted.
WARMUP_START = 0.01


def constant() -> Schedule:
    """1 throughout."""
    return lambda progress: 1.0


def exponential(*, floor: float) -> Schedule:
    """From 1 to `floor` by a constant ratio."""
    return lambda progress: float(floor**progress)


def step(*, factor: float, every: float) -> Schedule:
    """Times `factor` each time that another `every` of the budget is spent."""
    # Shares such as 3 * .1 fall a hair below .3; a step must not come late for that.
    return lambda progress: float(factor ** math.floor(progress / every + 1e-9))


def cosine(*, floor: float) -> Schedule:
    """From 1 to `floor` along half a cosine: Loshchilov and Hutter 2017, arXiv 1608.03983, eq. (5), no restarts."""
    return lambda progress: floor + (1.0 - floor) * (1.0 + math.cos(math.pi * progress)) / 2.0


def linear(*, floor: float) -> Schedule:
    """From 1 to `floor` along a line."""
    return lambda progress: 1.0 - (1.0 - floor) * progress


def warmed_up(schedule: Schedule, *, share: float, rescale: bool) -> Schedule:
    """Linear warm-up over the first `share` of the budget, then `schedule` over the rest.

    With `rescale` the schedule still ends where it would have ended; without, its own clock starts after the warm-up.
    """
    if share == 0.0:
        return schedule

    def factor(progress: float) -> float:
        if progress < share:
            return WARMUP_START + (1.0 - WARMUP_START) * progress / share
        return schedule((progress - share) / (1.0 - share if rescale else 1.0))

    return factor


def from_params(params: Params) -> Schedule:
    """The schedule of one player; reads `schedule`, `warmup` and what that schedule needs.

    Reduce-on-plateau is constant here: its factor comes from `Plateau`.
    """
    name = params.text("schedule", "constant")
    share = _share(params, "warmup", default=0.0)
    if name in ("constant", "plateau"):
        return warmed_up(constant(), share=share, rescale=True)
    if name == "step":
        body = step(factor=_positive(params, "step_factor"), every=_positive(params, "step_every"))
        return warmed_up(body, share=share, rescale=False)
    if name in ("exponential", "cosine", "linear"):
        floor = _share(params, "schedule_floor", default=None)
        if name == "exponential" and floor == 0.0:
            raise ValueError(
                "an exponential schedule needs a schedule_floor above 0, and it is 0: raise it in the space"
            )
        make = {"exponential": exponential, "cosine": cosine, "linear": linear}[name]
        return warmed_up(make(floor=floor), share=share, rescale=True)
    raise ValueError(f"the schedule must be one of {', '.join(NAMES)}, and it is {name!r}: correct it in the space")


@dataclass
class Plateau:
    """Times `factor` whenever the watched number has not fallen for more than `patience` epochs.

    As `torch.optim.lr_scheduler.ReduceLROnPlateau` with its relative threshold. It watches what the family calls
    `monitored`, a training quantity free of annealing: a loss under KL warm-up rises by design, and a validation
    metric would make the training depend on what is measured.
    """

    factor: float
    patience: int
    threshold: float = 1e-4
    scale: float = 1.0
    best: float | None = None
    bad: int = 0

    def see(self, value: float) -> None:
        """Take in the watched number of one epoch."""
        if self.best is None or value < self.best - self.threshold * abs(self.best):
            self.best, self.bad = value, 0
            return
        self.bad += 1
        if self.bad > self.patience:
            self.scale, self.bad = self.scale * self.factor, 0

    def state(self) -> dict[str, float | None]:
        """What a checkpoint keeps."""
        return {"scale": self.scale, "best": self.best, "bad": self.bad}

    def load_state(self, state: Mapping[str, float | None]) -> None:
        """Go on where `state` was taken."""
        scale, bad = state["scale"], state["bad"]
        assert scale is not None
        assert bad is not None
        self.scale, self.best, self.bad = scale, state["best"], int(bad)


def plateau_from_params(params: Params, *, epochs: int) -> Plateau | None:
    """The plateau rule of one player, or None under another schedule; its patience is a share of the budget."""
    if params.text("schedule", "constant") != "plateau":
        return None
    patience = round(_share(params, "plateau_patience", default=None) * epochs)
    return Plateau(factor=_positive(params, "plateau_factor"), patience=patience)


def _positive(params: Params, name: str) -> float:
    value = params.number(name)
    if not 0.0 < value <= 1.0:
        raise ValueError(f"{name} must lie above 0 and at most at 1, and it is {value}: correct it in the space")
    return value


def _share(params: Params, name: str, *, default: float | None) -> float:
    value = params.number(name, default)
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must lie at or above 0 and below 1, and it is {value}: correct it in the space")
    return value
