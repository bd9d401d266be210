"""The optimizer of one player for all members of a stack at once: the rows of [K, P] tensors are the members.

It does for every row what `PlayerOptimizer` does for one vector, whatever the members' optimizers, penalties, clipping
and rates are, in a number of kernels that does not depend on K. That pays where launching a kernel costs more than
running it, on a GPU; on a CPU the members' own optimizers, row by row, are faster. Floor: torch and optim.

Everything that is one number for a member is known beforehand: `coefficients` works the numbers out on the host for
many steps and sends them as one table; `step` reads its place in the table and nothing else, so it neither waits for
the device nor looks at a value, and can be captured in a CUDA graph.

Axes: K rows, P entries of a player's vector, C coefficients, S steps. The formula, with g the gradient of a row:

    g <- min(1, clip / (|g| + 1e-6)) g + l2 p
    v <- max(keep_second v + add_second g^2, peak |g| + peak_eps)
    den = v where the row has a peak (Adamax), else eps + scale sqrt(v)
    x = g / den where den comes before the average (RMSprop), else g
    m <- keep_first m + add_first x
    p <- keep p + rate (m / den where den comes after the average (Adam, Adamax), else m)
    p <- p moved toward 0 by shrink / den, at most to 0

SGD has add_second = 0, scale = 0 and eps = 1, so den = 1. Hence m and v are all the state that any member has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from .captured import sent
from .optim import PlayerOptimizer
from .regularization import soft_threshold

# What a row's m and v are called in the state of torch's optimizers.
FIRST = {
    "sgd": "momentum_buffer",
    "adam": "exp_avg",
    "adamw": "exp_avg",
    "rmsprop": "momentum_buffer",
    "adamax": "exp_avg",
}
SECOND = {"adam": "exp_avg_sq", "adamw": "exp_avg_sq", "rmsprop": "square_avg", "adamax": "exp_inf"}


class Coefficients(NamedTuple):
    """The numbers of one step, each [K, 1]; in this order they are the rows of a table [C, K]."""

    moves: Tensor
    clip: Tensor
    l2: Tensor
    keep: Tensor
    rate: Tensor
    shrink: Tensor
    keep_first: Tensor
    add_first: Tensor
    keep_second: Tensor
    add_second: Tensor
    peak: Tensor
    peak_eps: Tensor
    scale: Tensor
    eps: Tensor
    before: Tensor
    average: Tensor

    @classmethod
    def of(cls, table_CK: Tensor) -> Coefficients:
        """The rows of a table, by name: views."""
        return cls(*table_CK.unsqueeze(-1).unbind(0))


@dataclass(frozen=True, kw_only=True)
class Member:
    """A row's optimizer as numbers; the default is a row that nobody has, and fits SGD."""

    name: str = "sgd"
    keep_first: float = 0.0
    keep_second: float = 0.0
    eps: float = 1.0
    clip: float = 0.0
    l1: float = 0.0
    l2: float = 0.0
    weight_decay: float = 0.0

    @classmethod
    def of(cls, optimizer: PlayerOptimizer) -> Member:
        """The numbers of a member's own optimizer."""
        name, penalties = optimizer.name, optimizer.penalties
        group = optimizer._optimizer.param_groups[0]
        keeps: dict[str, tuple[float, float]] = {
            "sgd": (group.get("momentum", 0.0), 0.0),
            "rmsprop": (group.get("momentum", 0.0), group.get("alpha", 0.0)),
        }
        keep_first, keep_second = keeps[name] if name in keeps else group["betas"]
        return cls(
            name=name,
            keep_first=keep_first,
            keep_second=keep_second,
            eps=group.get("eps", 1.0),
            clip=optimizer.clip,
            l1=penalties.l1,
            l2=penalties.l2,
            weight_decay=penalties.weight_decay,
        )

    @property
    def averages(self) -> bool:
        """Whether m is an average of gradients, to be corrected for its start at 0."""
        return self.name in ("adam", "adamw", "adamax")

    @property
    def first(self) -> bool:
        """Whether it has an m."""
        return self.averages or self.keep_first > 0.0

    @cached_property
    def branches(self) -> frozenset[str]:
        """The parts of the formula that it needs."""
        kinds = {"sgd": {"plain"}, "rmsprop": {"squares", "before"}, "adamax": {"peaks", "after"}}
        used = {
            "first": self.first,
            "clip": self.clip > 0.0,
            "l1": self.l1 > 0.0,
            "l2": self.l2 > 0.0,
            "decay": self.weight_decay > 0.0,
        }
        kind = kinds.get(self.name, {"squares", "after"})
        return frozenset(kind | {branch for branch, on in used.items() if on})

    def numbers(self) -> dict[str, float]:
        """What stays from step to step: coefficients by name, and what `RowsOptimizer.coefficients` makes others of."""
        squares, peak = self.name in ("adam", "adamw", "rmsprop"), self.name == "adamax"
        return {
            "clip": self.clip,
            "keep_first": self.keep_first,
            "add_first": 1.0 - self.keep_first if self.averages else 1.0,
            "keep_second": self.keep_second,
            "add_second": 1.0 - self.keep_second if squares else 0.0,
            "peak": float(peak),
            "peak_eps": self.eps if peak else 0.0,
            "scale": float(squares),
            "eps": self.eps,
            "before": float(self.name == "rmsprop"),
            "l1": self.l1,
            "l2": self.l2,
            "weight_decay": self.weight_decay,
            "l2_after_decay": float(self.name != "adamw"),
            "first_corrected": float(self.averages),
            "second_corrected": float(self.name in ("adam", "adamw")),
        }


class RowsOptimizer:
    """Steps the rows of a stacked player; a row that sleeps at a step, or that nobody has, stays bit for bit.

    branches: the parts of the formula that the members need, which changes when a row is loaded or cleared. A captured
    step serves for as long as `branches` is a subset of what it was at the capture.
    norm_K: the norm of each row's gradient at its last move, before clipping.
    """

    def __init__(self, width: int, size: int, *, dtype: torch.dtype, device: torch.device | str) -> None:
        self.width, self.size, self.dtype, self.device = width, size, dtype, torch.device(device)
        self.branches: frozenset[str] = frozenset()
        self.norm_K = torch.zeros(width, dtype=dtype, device=self.device)
        self._members: list[Member | None] = [None] * width
        self._count_K = torch.zeros(width, dtype=torch.float64)
        self._numbers = {
            name: torch.full((width,), value, dtype=torch.float64) for name, value in Member().numbers().items()
        }
        # Made when the first member needs them, and then kept: a captured step goes on writing to them.
        self._first_KP: Tensor | None = None
        self._second_KP: Tensor | None = None

    def load_row(self, row: int, optimizer: PlayerOptimizer) -> None:
        """Give the row to a member: its settings and a copy of its state. The parameters are the caller's."""
        (parameter,) = optimizer.parameters
        assert parameter.shape == (self.size,), (parameter.shape, self.size)
        self.clear_row(row)
        member = Member.of(optimizer)
        self._settle(row, member)
        state = {name.removeprefix("0."): value for name, value in optimizer.state().items()}
        for states_KP, names in ((self._first_KP, FIRST), (self._second_KP, SECOND)):
            if states_KP is not None and member.name in names and names[member.name] in state:
                states_KP[row].copy_(state[names[member.name]])
        # SGD counts nothing, since nothing in it depends on the count: whether it has moved shows in its buffer.
        self._count_K[row] = float(state["step"]) if "step" in state else float(bool(state))

    def store_row(self, row: int, optimizer: PlayerOptimizer) -> None:
        """Let the member's own optimizer go on where the row is, with a copy of its state."""
        member = self._members[row]
        assert member is not None, row
        assert member == Member.of(optimizer), (row, member)
        state: dict[str, Tensor] = {}
        # An optimizer that has not moved has no state, and torch makes it at the first step.
        if self._count_K[row] > 0.0:
            if member.name != "sgd":
                state["0.step"] = self._count_K[row].to(torch.float32)
            if member.first:
                assert self._first_KP is not None
                state[f"0.{FIRST[member.name]}"] = self._first_KP[row]
            if member.name in SECOND:
                assert self._second_KP is not None
                state[f"0.{SECOND[member.name]}"] = self._second_KP[row]
        optimizer.load_state(state)

    def clear_row(self, row: int) -> None:
        """Leave the row to nobody."""
        self._settle(row, None)
        self._count_K[row] = 0.0
        # Now, and not when the next one comes: what a dead member leaves may be NaN.
        for states in (self._first_KP, self._second_KP, self.norm_K):
            if states is not None:
                states[row].zero_()

    def coefficients(self, lr_SK: Tensor, moves_SK: Tensor, average_SK: Tensor | None = None) -> Tensor:
        """The tables [S, C, K] of the next S steps, on the device; their moves are counted as made.

        On the CPU, in float64: lr_SK, the rates in force, and average_SK, the weight of the new parameters in their
        moving average, 0 where none is kept; moves_SK says which row moves at which step. Raises `ValueError` for a
        row that moves and that nobody has.
        """
        for row in moves_SK.any(0).nonzero().flatten().tolist():
            if self._members[row] is None:
                raise ValueError(f"a row that moves must have a member, and row {row} has none: load the row first")
        number, made_SK = self._numbers, moves_SK.to(torch.float64)
        # 0 for a row that has not moved yet: what comes of that is infinite, and used by nobody while the row sleeps.
        count_SK = self._count_K + made_SK.cumsum(0)
        keep_SK = 1.0 - lr_SK * number["weight_decay"]
        stepwise = {
            "moves": made_SK,
            # As `PlayerOptimizer` does: L2 sees the parameters after the decay, but under AdamW before it.
            "l2": number["l2"] * torch.where(number["l2_after_decay"] > 0.0, keep_SK, 1.0),
            "keep": keep_SK,
            "rate": -lr_SK / (1.0 - number["first_corrected"] * number["keep_first"] ** count_SK),
            "shrink": lr_SK * number["l1"],
            "scale": number["scale"] / (1.0 - number["second_corrected"] * number["keep_second"] ** count_SK).sqrt(),
            "average": made_SK * (0.0 if average_SK is None else average_SK),
        }
        self._count_K += made_SK.sum(0)
        found = {**number, **stepwise}
        table_SCK = torch.stack([found[name].expand_as(lr_SK) for name in Coefficients._fields], dim=1).to(self.dtype)
        return sent(table_SCK, self.device)

    @torch.no_grad()
    def step(self, parameters_KP: Tensor, grad_KP: Tensor, table_CK: Tensor, *, everyone: bool = False) -> None:
        """One update of `parameters_KP` in place; `grad_KP` is left as it is.

        `everyone` promises that every row moves at this step, which spares the passes that keep the others.
        """
        on, c = self.branches, Coefficients.of(table_CK)
        moves_K1, before_K1 = c.moves > 0.0, c.before > 0.0

        def kept(new: Tensor, old: Tensor) -> None:
            # By selection and not by multiplication: what is computed for a sleeping row may be NaN.
            if new is not old:
                torch.where(moves_K1, new, old, out=old)

        def place(old: Tensor) -> Tensor:
            return old if everyone else torch.empty_like(old)

        norm_K1 = row_norms(grad_KP).unsqueeze(-1)
        kept(norm_K1, self.norm_K.unsqueeze(-1))
        g = self._gradient(parameters_KP, grad_KP, norm_K1, c)
        den = None
        if on & {"squares", "peaks"}:
            assert self._second_KP is not None
            second = self._measure(g, torch.mul(self._second_KP, c.keep_second, out=place(self._second_KP)), c)
            den = self._denominator(second, c)
            kept(second, self._second_KP)
        if "before" in on:
            assert den is not None
            g = torch.where(before_K1, g / den, g) if "after" in on else g / den
        if "first" in on:
            assert self._first_KP is not None
            first = torch.mul(self._first_KP, c.keep_first, out=place(self._first_KP)).addcmul_(g, c.add_first)
            kept(first, self._first_KP)
            g = first
        if "after" in on:
            assert den is not None
            g = torch.where(before_K1, g, g / den) if "before" in on else g / den
        base = parameters_KP * c.keep if "decay" in on else parameters_KP
        moved = torch.addcmul(base, g, c.rate, out=place(parameters_KP))
        if "l1" in on:
            threshold = c.shrink.expand_as(moved) if den is None else c.shrink / den
            soft_threshold(moved, threshold, scratch=torch.empty_like(moved))
        kept(moved, parameters_KP)

    def _gradient(self, parameters_KP: Tensor, grad_KP: Tensor, norm_K1: Tensor, c: Coefficients) -> Tensor:
        """The gradient after clipping and L2."""
        g = grad_KP
        if "clip" in self.branches:
            # Selected: a member without clipping keeps its gradient even where its norm is not finite.
            g = g * torch.where(c.clip > 0.0, (c.clip / (norm_K1 + 1e-6)).clamp(max=1.0), 1.0)
        if "l2" in self.branches:
            g = torch.addcmul(g, parameters_KP, c.l2)
        return g

    def _measure(self, g: Tensor, second: Tensor, c: Coefficients) -> Tensor:
        """v, from the share of the old one that is kept: in place."""
        if "squares" in self.branches:
            # (a g) g and not a g^2: a row with a = 0 gets 0 even where the square of its gradient overflows.
            second.addcmul_(g * c.add_second, g)
        if "peaks" in self.branches:
            torch.maximum(second, torch.addcmul(c.peak_eps, g.abs(), c.peak), out=second)
        return second

    def _denominator(self, second: Tensor, c: Coefficients) -> Tensor:
        if not self.branches & {"squares", "plain"}:
            return second
        den = torch.addcmul(c.eps, second.sqrt(), c.scale)
        return torch.where(c.peak > 0.0, second, den) if "peaks" in self.branches else den

    def _settle(self, row: int, member: Member | None) -> None:
        """Put a member into the row, or nobody, and work out what follows for all."""
        self._members[row] = member
        for name, value in (member or Member()).numbers().items():
            self._numbers[name][row] = value
        self.branches = frozenset().union(*{other.branches for other in self._members if other is not None})
        if "first" in self.branches and self._first_KP is None:
            self._first_KP = self._zeros()
        if self.branches & {"squares", "peaks"} and self._second_KP is None:
            self._second_KP = self._zeros()

    def _zeros(self) -> Tensor:
        return torch.zeros(self.width, self.size, dtype=self.dtype, device=self.device)


@torch.no_grad()
def average_rows(average_KP: Tensor, parameters_KP: Tensor, table_CK: Tensor) -> None:
    """Move the averages of the rows toward their parameters, in place; where the weight is 0 they stay bit for bit."""
    weight_K1 = Coefficients.of(table_CK).average
    torch.where(weight_K1 > 0.0, torch.lerp(average_KP, parameters_KP, weight_K1), average_KP, out=average_KP)


def row_norms(rows_KP: Tensor) -> Tensor:
    """The Euclidean norm of each row, [K]; no row sees another."""
    norm_K: Tensor = torch.linalg.vector_norm(rows_KP, dim=1)
    return norm_K
