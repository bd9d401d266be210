"""Optimizers against their formulas and against torch's plain kernels; penalties against closed forms."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainables.training.optim import NAMES, PlayerOptimizer
from trainables.training.params import ParameterValue, Params, UnreadParameters

OWN: dict[str, dict[str, ParameterValue]] = {
    "sgd": {"momentum": 0.9},
    "adam": {"beta1": 0.8, "beta2": 0.99},
    "adamw": {"beta1": 0.8, "beta2": 0.99},
    "rmsprop": {"alpha": 0.9, "momentum": 0.5},
    "adamax": {"beta1": 0.8, "beta2": 0.99},
}


def start() -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(7, 5), (5,), (3,)]
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def bowl(weights: list[Tensor]) -> Tensor:
    """A loss with curvature of many sizes."""
    curved = [(torch.linspace(0.1, 10.0, w.numel(), dtype=w.dtype) * (w.flatten() - 1.0) ** 2).sum() for w in weights]
    return torch.stack(curved).sum()


def run(
    weights: list[Tensor], loss: Callable[[list[Tensor]], Tensor], steps: int, **params: ParameterValue
) -> PlayerOptimizer:
    read = Params(params)
    optimizer = PlayerOptimizer(weights, read)
    read.check_all_read()
    for _ in range(steps):
        for weight in weights:
            weight.grad = None
        loss(weights).backward()
        optimizer.step(lr=optimizer.lr)
    return optimizer


def apart(left: list[Tensor], right: list[Tensor]) -> float:
    return max(float((a - b).detach().abs().max()) for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("l1", [0.0, 2.0])
def test_adam_equals_its_formula(l1: float) -> None:
    weights, plain = start(), [w.detach().clone() for w in start()]
    lr, b1, b2, eps = 0.05, 0.8, 0.99, 1e-8
    m, v = [torch.zeros_like(w) for w in plain], [torch.zeros_like(w) for w in plain]
    for t in range(1, 51):
        leaves = [w.clone().requires_grad_() for w in plain]
        gradients = torch.autograd.grad(bowl(leaves), leaves)
        for i, g in enumerate(gradients):
            m[i], v[i] = b1 * m[i] + (1 - b1) * g, b2 * v[i] + (1 - b2) * g * g
            den = (v[i] / (1 - b2**t)).sqrt() + eps
            moved = plain[i] - lr * (m[i] / (1 - b1**t)) / den
            plain[i] = moved.sign() * (moved.abs() - lr * l1 / den).clamp_min(0.0)
    run(weights, bowl, 50, optimizer="adam", lr=lr, beta1=b1, beta2=b2, l1=l1)
    assert apart(weights, plain) < 1e-13


@pytest.mark.parametrize("name", NAMES)
def test_each_optimizer_equals_torchs_plain_loop(name: str) -> None:
    classes = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop", "adamax": "Adamax"}
    weights, plain = start(), start()
    decay = "weight_decay" if name == "adamw" else "l2"
    run(weights, bowl, 50, optimizer=name, lr=0.01, **OWN[name], **{decay: 0.1})
    settings: dict[str, object] = {"betas": (0.8, 0.99)} if "beta1" in OWN[name] else dict(OWN[name])
    theirs = getattr(torch.optim, classes[name])(plain, lr=0.01, weight_decay=0.1, foreach=False, **settings)
    for _ in range(50):
        theirs.zero_grad()
        bowl(plain).backward()
        theirs.step()
    assert apart(weights, plain) < 1e-13


def test_adam_hardly_sees_the_scale_of_its_loss() -> None:
    weights, scaled = start(), start()
    run(weights, bowl, 50, optimizer="adam", lr=0.05)
    run(scaled, lambda w: 100.0 * bowl(w), 50, optimizer="adam", lr=0.05)
    moved = apart(weights, start())
    assert apart(weights, scaled) < 1e-6 * moved


def test_rmsprop_under_a_constant_gradient_steps_by_its_sign() -> None:
    weights = [torch.zeros(3, dtype=torch.float64, requires_grad=True)]
    slope = torch.tensor([3.0, -0.01, 200.0], dtype=torch.float64)
    run(weights, lambda w: (slope * w[0]).sum(), 500, optimizer="rmsprop", lr=1e-3, alpha=0.9)
    before = weights[0].detach().clone()
    optimizer = PlayerOptimizer(weights, Params({"optimizer": "rmsprop", "lr": 1e-3, "alpha": 0.9}))
    for _ in range(500):
        before = weights[0].detach().clone()
        for weight in weights:
            weight.grad = None
        (slope * weights[0]).sum().backward()
        optimizer.step(lr=1e-3)
    assert torch.allclose(weights[0].detach() - before, -1e-3 * slope.sign(), rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_is_apart_from_the_gradient(name: str) -> None:
    weights = start()
    zero = [w.detach() * (1 - 0.1 * 0.3) ** 5 for w in start()]
    run(weights, lambda w: 0.0 * bowl(w), 5, optimizer=name, lr=0.1, weight_decay=0.3)
    assert apart(weights, zero) < 1e-13


def test_l2_under_adamw_is_in_the_gradient() -> None:
    weights, plain = start(), start()
    run(weights, bowl, 20, optimizer="adamw", lr=0.01, l2=0.1)
    run(plain, bowl, 20, optimizer="adam", lr=0.01, l2=0.1)
    assert apart(weights, plain) < 1e-13


def test_clipping_bounds_the_step_and_the_norm_is_the_one_before() -> None:
    weights = start()
    optimizer = run(weights, bowl, 1, optimizer="sgd", lr=1.0, clip=0.5)
    moved = torch.cat([(a - b).detach().flatten() for a, b in zip(weights, start(), strict=True)]).norm()
    assert float(moved) == pytest.approx(0.5, rel=1e-4)
    fresh = start()
    bowl(fresh).backward()
    norm = torch.cat([w.grad.flatten() for w in fresh if w.grad is not None]).norm()
    assert float(optimizer.gradient_norm()) == pytest.approx(float(norm), rel=1e-12)


def test_a_gradient_below_the_clip_is_left_alone() -> None:
    weights, plain = start(), start()
    run(weights, bowl, 5, optimizer="sgd", lr=1e-3, clip=1e9)
    run(plain, bowl, 5, optimizer="sgd", lr=1e-3)
    assert apart(weights, plain) == 0.0


def lasso(l1: float) -> tuple[Callable[[list[Tensor]], Tensor], Tensor, Tensor]:
    """Least squares on 20 orthogonal columns, 3 of them true: the exact lasso is a soft threshold of X^T y."""
    generator = torch.Generator().manual_seed(1)
    q, _ = torch.linalg.qr(torch.randn(50, 20, generator=generator, dtype=torch.float64))
    scales = torch.linspace(2.0, 4.0, 20, dtype=torch.float64)
    true = torch.zeros(20, dtype=torch.float64)
    true[:3] = torch.tensor([6.0, -5.0, 4.0])
    columns = q * scales
    y = columns @ true + 0.1 * torch.randn(50, generator=generator, dtype=torch.float64)
    correlation = columns.T @ y
    exact = correlation.sign() * (correlation.abs() - l1).clamp_min(0.0) / scales**2
    return lambda w: 0.5 * (columns @ w[0] - y).square().sum(), exact, true


@pytest.mark.parametrize("name", NAMES)
def test_the_proximal_step_gives_the_exact_lasso_with_exact_zeros(name: str) -> None:
    loss, exact, true = lasso(2.0)
    weights = [torch.ones(20, dtype=torch.float64, requires_grad=True)]
    # The lasso is a fixed point under any rate: where a weight lives, the step and the threshold cancel.
    quick: dict[str, ParameterValue] = {"beta2": 0.9} if "beta2" in OWN[name] else {}
    run(weights, loss, 600, optimizer=name, lr=0.05, l1=2.0, **quick)
    found = weights[0].detach()
    assert torch.equal(found == 0.0, exact == 0.0)
    assert int((found == 0.0).sum()) == 17
    assert torch.equal(found != 0.0, true != 0.0)
    assert float((found - exact).abs().max()) < 1e-6


def test_a_parameter_of_another_optimizer_stays_unread() -> None:
    params = Params({"optimizer": "adam", "lr": 1e-3, "momentum": 0.9})
    PlayerOptimizer(start(), params)
    with pytest.raises(UnreadParameters, match="'momentum'"):
        params.check_all_read()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"optimizer": "lion", "lr": 1e-3}, "must be one of sgd, adam, adamw, rmsprop, adamax, and it is 'lion'"),
        ({"optimizer": "adam", "lr": 0.0}, "lr must be above 0"),
        ({"optimizer": "adam", "lr": 1e-3, "l1": -1.0}, "l1 must be finite and at least 0"),
        ({"optimizer": "adam", "lr": 1e-3, "l2": float("nan")}, "l2 must be finite"),
    ],
)
def test_what_cannot_be_stepped_is_refused(params: dict[str, ParameterValue], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PlayerOptimizer(start(), Params(params))
