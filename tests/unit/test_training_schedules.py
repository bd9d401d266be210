"""Each schedule against torch's, and the plateau rule against torch's."""

import math
import random
import warnings
from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from trainables.training import schedules
from trainables.training.params import MissingParameter, Params

STEPS, LR = 100, 0.5
Make = Callable[[torch.optim.Optimizer, int], lr_scheduler.LRScheduler]
# For each schedule its parameters, and torch's equal over so many steps.
PAIRS: dict[str, tuple[dict[str, float], Make]] = {
    "constant": ({}, lambda opt, steps: lr_scheduler.LambdaLR(opt, lambda step: 1.0)),
    "exponential": ({"schedule_floor": 0.1}, lambda opt, steps: lr_scheduler.ExponentialLR(opt, 0.1 ** (1 / steps))),
    "step": ({"step_factor": 0.3, "step_every": 0.1}, lambda opt, steps: lr_scheduler.StepLR(opt, 10, 0.3)),
    "cosine": ({"schedule_floor": 0.1}, lambda opt, steps: lr_scheduler.CosineAnnealingLR(opt, steps, 0.1 * LR)),
    "linear": ({"schedule_floor": 0.1}, lambda opt, steps: lr_scheduler.LinearLR(opt, 1.0, 0.1, steps)),
}


def optimizer() -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=LR)


def rates(scheduler: lr_scheduler.LRScheduler) -> list[float]:
    """The rates of torch at t = 0..STEPS."""
    found = []
    for _ in range(STEPS + 1):
        found.append(float(scheduler.get_last_lr()[0]))
        scheduler.optimizer.step()
        scheduler.step()
    return found


def ours(params: dict[str, bool | int | float | str]) -> list[float]:
    read = Params(params)
    schedule = schedules.from_params(read)
    read.check_all_read()
    return [LR * schedule(step / STEPS) for step in range(STEPS + 1)]


@pytest.mark.parametrize("name", PAIRS)
def test_a_schedule_equals_torchs(name: str) -> None:
    params, make = PAIRS[name]
    assert ours({"schedule": name, **params}) == pytest.approx(rates(make(optimizer(), STEPS)), rel=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_warm_up_comes_before_any_schedule_as_in_torch(name: str) -> None:
    params, make = PAIRS[name]
    opt = optimizer()
    warm = lr_scheduler.LinearLR(opt, schedules.WARMUP_START, 1.0, 20)
    with warnings.catch_warnings():
        # torch's own sequence calls its parts by a form that torch deprecates.
        warnings.simplefilter("ignore", UserWarning)
        expected = rates(lr_scheduler.SequentialLR(opt, [warm, make(opt, STEPS - 20)], [20]))
    assert ours({"schedule": name, "warmup": 0.2, **params}) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"schedule": "cosin"}, "must be one of constant, exponential"),
        ({"schedule": "constant", "warmup": 1.0}, "warmup must lie"),
        ({"schedule": "exponential", "schedule_floor": 0.0}, "schedule_floor above 0"),
        ({"schedule": "step", "step_factor": 0.0, "step_every": 0.1}, "step_factor must lie"),
        ({"schedule": "step", "step_factor": 0.1, "step_every": 0.0}, "step_every must lie"),
    ],
)
def test_a_schedule_out_of_range_is_refused(params: dict[str, bool | int | float | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedules.from_params(Params(params))


@pytest.mark.parametrize("name", ["exponential", "cosine", "linear"])
def test_a_floor_that_is_missing_is_named(name: str) -> None:
    with pytest.raises(MissingParameter, match="schedule_floor"):
        schedules.from_params(Params({"schedule": name}))


@pytest.mark.parametrize("seed", range(5))
def test_plateau_equals_torchs(seed: int) -> None:
    opt = optimizer()
    theirs = lr_scheduler.ReduceLROnPlateau(opt, factor=0.5, patience=3)
    params = Params({"schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 0.03})
    plateau = schedules.plateau_from_params(params, epochs=STEPS)
    assert plateau is not None
    draw = random.Random(seed)
    for epoch in range(STEPS):
        # Noise first, then a creep that stays below the threshold.
        value = 100.0 * math.exp(-epoch / 20) + draw.uniform(0.0, 5.0) if epoch < 80 else 1e-3 * (1 - 1e-6 * epoch)
        theirs.step(value)
        plateau.see(value)
        assert LR * plateau.scale == pytest.approx(opt.param_groups[0]["lr"], rel=1e-12)
    assert plateau.scale < 0.1, "the sequence must make it act, or this shows nothing"


def test_plateau_goes_on_from_its_state() -> None:
    whole, first = schedules.Plateau(factor=0.5, patience=1), schedules.Plateau(factor=0.5, patience=1)
    values = [5.0, 4.0, 4.0, 4.0, 4.0, 3.0, 3.0, 3.0, 3.0]
    for value in values[:4]:
        whole.see(value)
        first.see(value)
    second = schedules.Plateau(factor=0.5, patience=1)
    second.load_state(first.state())
    for value in values[4:]:
        whole.see(value)
        second.see(value)
    assert second == whole
    assert whole.scale == 0.25
