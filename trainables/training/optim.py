"""One player's optimizer at width 1: `torch.optim` with our penalties around it.

Floor: torch. Kernels by measurement, for 437,000 parameters in 12 tensors on one core: `fused` takes .39 ms a step for
Adam against 1.1-1.5 ms for the two others, and .26 against .34 ms for SGD; RMSprop and Adamax have no fused kernel, and
there the plain loop is faster than `foreach`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from .params import Params
from .regularization import Penalties, soft_threshold

# The tensors that each optimizer carries for one parameter: what a checkpoint keeps.
STATE: Mapping[str, tuple[str, ...]] = {
    "sgd": ("momentum_buffer",),
    "adam": ("step", "exp_avg", "exp_avg_sq"),
    "adamw": ("step", "exp_avg", "exp_avg_sq"),
    "rmsprop": ("step", "square_avg", "momentum_buffer"),
    "adamax": ("step", "exp_avg", "exp_inf"),
}
NAMES = tuple(STATE)
FUSED = ("sgd", "adam", "adamw")


class PlayerOptimizer:
    """Steps one player's parameters.

    Built from the player's view of the parameters; reads `lr`, `optimizer`, that optimizer's own ones, the penalties
    and `clip`, the largest norm of a gradient (Pascanu et al. 2013, arXiv 1211.5063).
    """

    def __init__(self, parameters: Sequence[Tensor], params: Params) -> None:
        self.parameters: list[Tensor] = list(parameters)
        self.lr = params.number("lr")
        self.name = params.text("optimizer")
        self.penalties = Penalties.from_params(params)
        self.clip = params.number("clip", 0.0)
        if self.lr <= 0.0:
            raise ValueError(f"lr must be above 0, and it is {self.lr}: correct it in the space")
        self._norm: Tensor | None = None
        self._scratch: list[tuple[Tensor, Tensor]] = []
        self._optimizer = _build(self.name, self.parameters, params, lr=self.lr, penalties=self.penalties)

    def step(self, *, lr: float) -> None:
        """One update under the rate in force, with the gradients that the parameters hold."""
        penalties = self.penalties
        if self.clip > 0.0 or penalties.l2 > 0.0 or penalties.weight_decay > 0.0:
            self._prepare(lr * penalties.weight_decay)
        self._optimizer.param_groups[0]["lr"] = lr
        self._optimizer.step()
        if penalties.l1 > 0.0:
            self._shrink(lr * penalties.l1)

    def gradient_norm(self) -> Tensor:
        """The Euclidean norm of the last step's gradient before clipping and penalties, 0-dim."""
        return self._norm if self._norm is not None else _norm(self._gradients())

    def _gradients(self) -> list[Tensor]:
        return [parameter.grad for parameter in self.parameters if parameter.grad is not None]

    def _prepare(self, shrinkage: float) -> None:
        """Clipping, and the two penalties where torch's own argument means the other one."""
        with torch.no_grad():
            adds_l2 = self.penalties.l2 > 0.0 and self.name == "adamw"
            if self.clip > 0.0 or adds_l2:
                self._norm = norm = _norm(self._gradients())
            if self.clip > 0.0:
                torch._foreach_mul_(self._gradients(), (self.clip / (norm + 1e-6)).clamp(max=1.0))
            if adds_l2:
                torch._foreach_add_(self._gradients(), self.parameters, alpha=self.penalties.l2)
            if shrinkage > 0.0 and self.name != "adamw":
                torch._foreach_mul_(self.parameters, 1.0 - shrinkage)

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: `index.key` -> tensor."""
        kept = {}
        for index, parameter in enumerate(self.parameters):
            carried = {key: value for key, value in self._optimizer.state[parameter].items() if value is not None}
            # A key that the table lacks would be lost on the way back; torch may add one in another version.
            assert carried.keys() <= set(STATE[self.name]), (self.name, carried.keys())
            kept.update({f"{index}.{key}": value for key, value in carried.items()})
        return kept

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self._optimizer.state.clear()
        for name, value in state.items():
            index, key = name.split(".", 1)
            parameter = self.parameters[int(index)]
            # torch counts steps on the CPU, but for its fused kernels, which count where the parameter is.
            device = torch.device("cpu") if key == "step" and self.name not in FUSED else parameter.device
            # A copy: what was read from a file may lie unaligned, which slows kernels and may change their sums.
            self._optimizer.state[parameter][key] = value.to(device, copy=True)

    def _shrink(self, strength: float) -> None:
        """The proximal step of L1 with threshold strength / den, den being the denominator of the step just made."""
        if not self._scratch:
            self._scratch = [(torch.empty_like(p), torch.empty_like(p)) for p in self.parameters]
        for parameter, (threshold, scratch) in zip(self.parameters, self._scratch, strict=True):
            self._threshold(self._optimizer.state[parameter], strength, out=threshold)
            soft_threshold(parameter, threshold, scratch=scratch)

    def _threshold(self, state: Mapping[str, Tensor], strength: float, *, out: Tensor) -> None:
        """strength / den for one parameter, in as few passes over memory as it takes."""
        group = self._optimizer.param_groups[0]
        if self.name == "sgd":
            out.fill_(strength)
        elif self.name == "adamax":
            torch.reciprocal(state["exp_inf"], out=out).mul_(strength)
        elif self.name == "rmsprop":
            torch.sqrt(state["square_avg"], out=out).add_(group["eps"]).reciprocal_().mul_(strength)
        else:
            # sqrt(v / c) + eps, both sides times sqrt(c): the bias correction c then costs no pass of its own. It stays
            # a tensor, since on a GPU reading the step would wait for the device.
            root = (1.0 - group["betas"][1] ** state["step"].double()).sqrt()
            torch.sqrt(state["exp_avg_sq"], out=out).add_(group["eps"] * root).reciprocal_().mul_(strength * root)


def _norm(gradients: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _build(
    name: str, parameters: list[Tensor], params: Params, *, lr: float, penalties: Penalties
) -> torch.optim.Optimizer:
    """The torch optimizer; reads only what this one uses, so that a parameter without effect stays unread."""

    def betas() -> tuple[float, float]:
        return params.number("beta1", 0.9), params.number("beta2", 0.999)

    l2 = penalties.l2
    makers: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: torch.optim.SGD(
            parameters, lr=lr, momentum=params.number("momentum", 0.0), weight_decay=l2, fused=True
        ),
        "adam": lambda: torch.optim.Adam(parameters, lr=lr, betas=betas(), weight_decay=l2, fused=True),
        "adamw": lambda: torch.optim.AdamW(
            parameters, lr=lr, betas=betas(), weight_decay=penalties.weight_decay, fused=True
        ),
        "rmsprop": lambda: torch.optim.RMSprop(
            parameters,
            lr=lr,
            alpha=params.number("alpha", 0.99),
            momentum=params.number("momentum", 0.0),
            weight_decay=l2,
            foreach=False,
        ),
        "adamax": lambda: torch.optim.Adamax(parameters, lr=lr, betas=betas(), weight_decay=l2, foreach=False),
    }
    if name not in makers:
        raise ValueError(
            f"the optimizer must be one of {', '.join(NAMES)}, and it is {name!r}: correct it in the space"
        )
    return makers[name]()
