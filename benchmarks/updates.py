"""How the parameters of a stack's members are moved on a CPU: member by member, or all rows at once.

    python -m benchmarks.updates                     two sizes, K = 4, 16 and 64, three choices of optimizers

P is that of the discriminator of the default GAN, 25,000, or of the default VAE, 440,000. The arms:
    flat            member by member, our optimizer on one flat vector: what a stack does on a CPU
    tensors         member by member, our optimizer on a list of tensors
    tensors, torch  member by member, torch's optimizer as it comes, on a list of tensors
    rows            all rows of [K, P] at once (rows.py), members free to sleep at a step: what a stack does on a GPU
    rows, everyone  the same where every member moves
The optimizers are Adam for all members, RMSprop for all, or one and the other by turns. The arms take turns in rounds,
in an order that turns round each time; medians over rounds are shown with half the range. One thread, and seconds are
those of the processor, so that a wait for others on the machine does not count. Prints markdown and writes every figure
to a JSON file. Needs torch, numpy, scikit-learn and safetensors alone. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks import arms, machine
from benchmarks import table as tables
from trainables.training.flat import Layout
from trainables.training.optim import PlayerOptimizer
from trainables.training.params import Params
from trainables.training.players import DRAW_STEPS
from trainables.training.rows import RowsOptimizer

LR = 1e-3
STEPS = 8  # between two looks at the clock
MODELS = ("gan", "vae")  # of `arms.WORKLOADS`; of a GAN the discriminator
CHOICES: Mapping[str, tuple[str, ...]] = {"adam": ("adam",), "rmsprop": ("rmsprop",), "mixed": ("adam", "rmsprop")}
TORCH: Mapping[str, Callable[[list[Tensor]], torch.optim.Optimizer]] = {
    "adam": lambda tensors: torch.optim.Adam(tensors, lr=LR),
    "rmsprop": lambda tensors: torch.optim.RMSprop(tensors, lr=LR),
}


class Update(Protocol):
    """One way to move K members, who start with the same `values_KP` and have the same `grad_KP` at each step."""

    def __init__(self, layout: Layout, names: Sequence[str], values_KP: Tensor, grad_KP: Tensor) -> None: ...

    def steps(self, count: int) -> None:
        """Make so many updates of all members."""

    def values(self) -> Tensor:
        """[K, P]"""


class Flat:
    """Member by member, one flat vector each."""

    def __init__(self, layout: Layout, names: Sequence[str], values_KP: Tensor, grad_KP: Tensor) -> None:
        self._values_KP = values_KP.clone()
        vectors = [_with_gradient(values_P, grad_P) for values_P, grad_P in zip(self._values_KP, grad_KP, strict=True)]
        self._optimizers = [_ours([vector], name) for vector, name in zip(vectors, names, strict=True)]

    def steps(self, count: int) -> None:
        for _ in range(count):
            for optimizer in self._optimizers:
                optimizer.step(lr=LR)

    def values(self) -> Tensor:
        return self._values_KP


class Tensors:
    """Member by member, a list of tensors each."""

    def __init__(self, layout: Layout, names: Sequence[str], values_KP: Tensor, grad_KP: Tensor) -> None:
        self._layout = layout
        self._tensors = [
            [_with_gradient(view.clone(), grad.clone()) for view, grad in zip(*map(layout.views, rows), strict=True)]
            for rows in zip(values_KP, grad_KP, strict=True)
        ]
        self._step = [self._stepper(tensors, name) for tensors, name in zip(self._tensors, names, strict=True)]

    def _stepper(self, tensors: list[Tensor], name: str) -> Callable[[], None]:
        optimizer = _ours(tensors, name)
        return lambda: optimizer.step(lr=LR)

    def steps(self, count: int) -> None:
        for _ in range(count):
            for step in self._step:
                step()

    def values(self) -> Tensor:
        found_KP = torch.zeros(len(self._tensors), self._layout.size)
        for found_P, tensors in zip(found_KP, self._tensors, strict=True):
            torch._foreach_copy_(self._layout.views(found_P), tensors)
        return found_KP


class TorchTensors(Tensors):
    """The same with torch's own defaults."""

    def _stepper(self, tensors: list[Tensor], name: str) -> Callable[[], None]:
        optimizer = TORCH[name](tensors)
        return lambda: optimizer.step()  # type: ignore[no-untyped-call]


class Rows:
    """All rows at once."""

    everyone = False

    def __init__(self, layout: Layout, names: Sequence[str], values_KP: Tensor, grad_KP: Tensor) -> None:
        self._values_KP, self._grad_KP = values_KP.clone(), grad_KP
        width = len(values_KP)
        self._optimizer = RowsOptimizer(width, layout.size, dtype=values_KP.dtype, device="cpu")
        for row, name in enumerate(names):
            self._optimizer.load_row(row, _ours([values_KP[row].clone()], name))
        self._lr_SK = torch.full((DRAW_STEPS, width), LR, dtype=torch.float64)
        self._moves_SK = torch.ones(DRAW_STEPS, width, dtype=torch.bool)
        self._tables = self._endless_tables()

    def _endless_tables(self) -> Iterator[Tensor]:
        while True:  # planned ahead for as many steps as a stack plans
            yield from self._optimizer.coefficients(self._lr_SK, self._moves_SK)

    def steps(self, count: int) -> None:
        for table_CK in itertools.islice(self._tables, count):
            self._optimizer.step(self._values_KP, self._grad_KP, table_CK, everyone=self.everyone)

    def values(self) -> Tensor:
        return self._values_KP


class RowsEveryone(Rows):
    """The same, told that nobody sleeps."""

    everyone = True


ARMS: Mapping[str, type[Update]] = {
    "flat": Flat,
    "tensors": Tensors,
    "tensors, torch": TorchTensors,
    "rows": Rows,
    "rows, everyone": RowsEveryone,
}


def updates(layout: Layout, names: Sequence[str]) -> dict[str, Update]:
    """All arms, for one member under each of these optimizers."""
    generator = torch.Generator().manual_seed(0)
    values_KP, grad_KP = torch.zeros(2, len(names), layout.size)
    for rows_KP in (values_KP, grad_KP):
        for view in layout.views(rows_KP):
            view.normal_(std=0.1, generator=generator)
    return {label: arm(layout, names, values_KP, grad_KP) for label, arm in ARMS.items()}


def layout_of(model: str) -> Layout:
    """How the parameters of the first player of that model lie."""
    return arms.training(arms.Arm(workload=model, kind="ours"), 0).players[0].flat.layout


def measure(layout: Layout, names: Sequence[str], *, seconds: float, rounds: int) -> dict[str, list[float]]:
    """Microseconds that one member's update takes, for each arm one a round."""
    ready = updates(layout, names)
    found: dict[str, list[float]] = {label: [] for label in ready}
    for turn in range(-1, rounds):  # the first round is not counted
        for label, update in ready.items() if turn % 2 == 0 else reversed(ready.items()):
            count, began = 0, time.process_time()
            while not count or time.process_time() - began < seconds:
                update.steps(STEPS)
                count += STEPS
            if turn >= 0:
                found[label].append(1e6 * (time.process_time() - began) / count / len(names))
    return found


def _with_gradient(values: Tensor, grad: Tensor) -> Tensor:
    values.grad = grad
    return values


def _ours(parameters: list[Tensor], name: str) -> PlayerOptimizer:
    return PlayerOptimizer(parameters, Params({"optimizer": name, "lr": LR}))


def _cell(values: Sequence[float]) -> str:
    middle = statistics.median(values)
    return f"{middle:.{0 if middle >= 100 else 1}f} ±{50 * (max(values) - min(values)) / middle:.0f} %"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description="Measure how a stack's parameters are moved on a CPU.")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--widths", nargs="+", type=int, default=[4, 16, 64])
    parser.add_argument("--seconds", type=float, default=0.15, help="an arm a round, at least")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("runs") / "updates.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": machine.line(), "options": vars(options) | {"json": str(options.json)}}
    print(f"{report['machine']}\n\nOne thread, {options.rounds} rounds of at least {options.seconds:g} s an arm.")
    for model in options.models:
        layout = layout_of(model)
        print(f"\nMicroseconds a member's update, P = {layout.size} in {len(layout.shapes)} tensors:\n")
        print(tables.head(["optimizers", "K", *ARMS]))
        for choice, cycle in CHOICES.items():
            for width in options.widths:
                names = [cycle[member % len(cycle)] for member in range(width)]
                found = measure(layout, names, seconds=options.seconds, rounds=options.rounds)
                report.setdefault("found", []).append({"model": model, "optimizers": choice, "K": width, "us": found})
                print(tables.line([choice, str(width), *map(_cell, found.values())]), flush=True)
        print(f"{model}: done", file=sys.stderr)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
