"""The article's optimizers, rates and penalties, sections 3.1 to 3.6: its faults, each beside what is right."""

import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from hpo import plugins
from trainables.data import digits
from trainables.models import vae
from trainables.training.alone import Training
from trainables.training.optim import NAMES, PlayerOptimizer
from trainables.training.params import ParameterValue, Params

Loss = Callable[[Tensor], Tensor]


def moved(loss: Loss, steps: int, *, start: Tensor, **params: ParameterValue) -> Tensor:
    """Where the optimizer takes the weights."""
    weight = start.clone().requires_grad_()
    optimizer = PlayerOptimizer([weight], Params(params))
    for _ in range(steps):
        weight.grad = None
        loss(weight).backward()
        optimizer.step(lr=optimizer.lr)
    return weight.detach()


def drawn(space: str) -> list[dict[str, ParameterValue]]:
    """Configurations of a space, drawn at random."""
    generator, found = random.Random(0), plugins.load("spaces", space)
    return [found.random(generator) for _ in range(100)]


def articles_adam(loss: Loss, steps: int, *, start: Tensor, lr: float) -> Tensor:
    """theta <- theta - alpha m / (1 - beta1^t): v is kept and never used."""
    weight, m = start.clone(), torch.zeros_like(start)
    for t in range(1, steps + 1):
        leaf = weight.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(leaf), leaf)
        m = 0.9 * m + 0.1 * gradient
        weight = weight - lr * m / (1.0 - 0.9**t)
    return weight


def tilted(weight: Tensor) -> Tensor:
    """A loss with a gradient of many sizes that does not change."""
    return (torch.tensor([3.0, -0.01, 200.0], dtype=torch.float64) * weight).sum()


def test_the_articles_adam_leaves_out_what_makes_it_adaptive() -> None:
    """Fault, 3.1.2: without the root of v a loss a hundred times as large takes steps a hundred times as long."""
    zero = torch.zeros(3, dtype=torch.float64)

    def hundred(weight: Tensor) -> Tensor:
        return 100.0 * tilted(weight)

    plain, scaled = (articles_adam(loss, 20, start=zero, lr=1e-3) for loss in (tilted, hundred))
    assert torch.allclose(scaled, 100.0 * plain, rtol=1e-12)
    plain, scaled = (moved(loss, 20, start=zero, optimizer="adam", lr=1e-3) for loss in (tilted, hundred))
    assert torch.allclose(scaled, plain, rtol=1e-5)
    assert torch.allclose(plain, torch.tensor([-0.02, 0.02, -0.02], dtype=torch.float64), rtol=1e-5)


def test_rmsprop_goes_by_the_mean_of_the_square_and_not_of_the_gradient() -> None:
    """Fault, 3.1.3: in words, the rate follows the mean of the gradient, which is 0 where its sign alternates."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = PlayerOptimizer([weight], Params({"optimizer": "rmsprop", "lr": 1e-3, "alpha": 0.9}))
    for step in range(500):
        before = weight.detach().clone()
        weight.grad = torch.full_like(weight, 7.0 * (-1.0) ** step)
        optimizer.step(lr=1e-3)
    assert float(weight.detach() - before) == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_the_schedule_is_the_same_under_every_optimizer(schedule: str) -> None:
    """Fault, 3.2: Adam and RMSprop are given for schedules; each has a rate of its own that a schedule moves."""
    shape: dict[str, ParameterValue] = {"architecture": "mlp", "latent": 2, "width": 4, "depth": 1}
    floor: dict[str, ParameterValue] = {} if schedule == "constant" else {"schedule_floor": 0.1}
    rates = []
    for name in NAMES:
        recipe = {**shape, **floor, "batch_size": 500, "optimizer": name, "lr": 0.01, "schedule": schedule}
        player = Training(vae.Model, digits.load(), recipe, seed=0, epochs=2).players[0]
        rates.append([player.lr(progress) for progress in (0.0, 0.25, 0.5)])
    assert all(found == rates[0] for found in rates)
    assert (len(set(rates[0])) == 1) is (schedule == "constant")


@pytest.mark.parametrize("name", plugins.names("spaces"))
def test_every_space_searches_the_batch_size_together_with_the_learning_rate(name: str) -> None:
    """Fault, 3.3 against 6.2: the one says that large batches generalize worse, the other that they do better."""
    params = drawn(name)
    assert len({found["batch_size"] for found in params}) > 2
    rates = [tuple(value for key, value in found.items() if key.rpartition(".")[2] == "lr") for found in params]
    assert all(rates)
    assert len(set(rates)) == len(params)


SCALE = torch.linspace(2.0, 4.0, 20, dtype=torch.float64)
BEST = torch.cat([torch.tensor([6.0, -5.0, 4.0]), torch.linspace(-0.09, 0.1, 17)]).double()
L1 = 2.0
LASSO = BEST.sign() * (BEST.abs() - L1 / SCALE**2).clamp_min(0.0)
FIT = {"optimizer": "adam", "lr": 0.05, "beta2": 0.9}


def misfit(weight: Tensor) -> Tensor:
    """Least squares of 20 weights with curvatures from 4 to 16, whose exact lasso is `LASSO`: 3 weights, 17 zeros."""
    return 0.5 * (SCALE * (weight - BEST)).square().sum()


def test_a_gradient_of_l1_gives_no_zeros_and_the_step_in_adams_metric_the_exact_lasso() -> None:
    """Fault, 3.4 and 6.3: L1 in the loss is said to make weights 0, which no step along its gradient does."""
    start = torch.ones(20, dtype=torch.float64)
    along = moved(lambda weight: misfit(weight) + L1 * weight.abs().sum(), 600, start=start, **FIT)
    assert not bool((along == 0.0).any())
    exact = moved(misfit, 600, start=start, l1=L1, **FIT)
    assert int((LASSO == 0.0).sum()) == 17
    assert torch.equal(exact == 0.0, LASSO == 0.0)
    assert torch.allclose(exact, LASSO, rtol=0.0, atol=1e-6)


def test_the_threshold_needs_adams_denominator() -> None:
    """A plain proximal step after Adam's, by lr * l1, solves another problem than the lasso."""
    weight = torch.ones(20, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=0.05, betas=(0.9, 0.9))
    for _ in range(600):
        optimizer.zero_grad()
        misfit(weight).backward()
        optimizer.step()
        with torch.no_grad():
            weight.copy_(weight.sign() * (weight.abs() - 0.05 * L1).clamp_min(0.0))
    assert float((weight.detach() - LASSO).abs().max()) > 0.05


@pytest.mark.parametrize(("name", "same"), [("sgd", True), ("adam", False), ("rmsprop", False)])
def test_l2_and_weight_decay_are_one_penalty_under_plain_descent_alone(name: str, same: bool) -> None:
    """Fault, 3.4: one penalty for both; under an adaptive optimizer the one in the loss is divided as the gradient."""
    start = torch.ones(20, dtype=torch.float64)
    in_loss, apart = (
        moved(misfit, 50, start=start, optimizer=name, lr=0.01, **{penalty: 0.5}) for penalty in ("l2", "weight_decay")
    )
    assert torch.allclose(in_loss, apart, rtol=1e-12) is same
    assert not torch.allclose(in_loss, moved(misfit, 50, start=start, optimizer=name, lr=0.01))


def test_digits_are_neither_flipped_nor_turned_far() -> None:
    """Fault, 3.6: a digit that is flipped or turned by half is another one, or none."""
    assert not any("flip" in found for found in drawn("gan_augmented"))
    turns = [float(found["rotate"]) for found in drawn("gan_augmented") if "rotate" in found]
    assert 0.0 < max(turns) <= 45.0


def test_the_page_on_the_article_names_tests_that_are_there() -> None:
    root = Path(__file__).parents[2]
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (root / "docs" / "article.md").read_text(encoding="utf-8"))
    assert named
    for file, test in named:
        assert f"\ndef {test}(" in (root / "tests" / "unit" / file).read_text(encoding="utf-8"), f"{file}::{test}"
