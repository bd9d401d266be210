"""Different batch sizes in one stack: masks against micro-batches, and how far apart sizes under one mask may lie.

    python -m benchmarks.batches                     every model at K = 16 and 8
    python -m benchmarks.batches --models gan --widths 16 --seconds 2 --rounds 9

A group has K seats. Trainings with batch sizes 16, 32, 64, 128 and 256, evenly and in a shuffled order, sit down, stay
for some epochs and make room for the next, so all seats are always taken, as in a search. An epoch is the same rows for
all of them, and many more steps for a small batch than for a large one. The arms:
    alone           one by one
    masks           one stack; a step computes for each member as many rows as the largest batch has, the rest masked
    masks / 16, 4, 2
                    a stack for each range of batch sizes, up to the same power of 16, 4 or 2; within it masks. Which
                    of these factors we use, `alone.BATCH_FACTOR` says
    micro           one stack; 16 rows at a time, gradients added up until a batch is whole (micro.py)
The arms take turns in rounds, in an order that turns round each time. The rate is that of the long run with batch sizes
evenly spread: K / (the mean over batch sizes of the mean seconds for which an epoch holds its seat). A ratio is that of
one round; medians over rounds are shown with the range. A second table has groups in which all batches are of one size,
alone and as one stack: a masked step costs what a step of that many rows does. One thread, and seconds are those of the
processor, so that a wait for others on the machine does not count. Prints markdown and writes every rate to a JSON
file. Needs torch, numpy, scikit-learn and safetensors alone. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch

from benchmarks import machine
from benchmarks import table as tables
from benchmarks.arms import EPOCHS, WORKLOADS
from benchmarks.micro import MicroStack
from trainables.training import alone
from trainables.training.alone import Training
from trainables.training.company import Company

SIZES = (16, 32, 64, 128, 256)
STAY = 4  # epochs for which a training keeps its seat
ALL = 256  # as a factor: one stack for all sizes
MASKS = {"masks": ALL, "masks / 16": 16, "masks / 4": 4, "masks / 2": 2}
ARMS = ("alone", *MASKS, "micro")
MODELS: Mapping[str, tuple[str, str, Mapping[str, int]]] = {
    "gan": ("MLP GAN, digits (latent 16, width 128, depth 2, R1, average of the generator)", "gan", {}),
    "vae-small": ("MLP VAE, digits (latent 8, width 64, depth 1)", "vae-small", {}),
    "vae": ("MLP VAE, digits (latent 8, width 256, depth 1)", "vae-small", {"width": 256}),
}


class Together(Protocol):
    """Trainings that go on side by side."""

    def join(self, training: Training) -> None:
        """Take in one."""

    def leave(self, training: Training) -> None:
        """Let one go."""

    def advance(self) -> list[Training]:
        """Those whose next epoch is to be closed by their own `advance`."""


class Masked:
    """What a group does, with stacks of up to `width`; at width 1 trainings go one by one."""

    def __init__(self, width: int) -> None:
        self._company = Company(lambda _: width)
        self.join, self.leave = self._company.join, self._company.leave

    def advance(self) -> list[Any]:
        return [turn.trainer for turn in self._company.advance()]


class Micro:
    """One stack that takes micro-batches."""

    def __init__(self, width: int) -> None:
        self._width = width
        self._stack: MicroStack | None = None

    def join(self, training: Training) -> None:
        if self._stack is None:
            self._stack = MicroStack(training, width=self._width)
        self._stack.add(training)

    def leave(self, training: Training) -> None:
        assert self._stack is not None
        self._stack.remove(training)

    def advance(self) -> list[Training]:
        assert self._stack is not None
        return self._stack.advance()


def built(model: str, batch_size: int, *, seed: int, factor: int) -> Training:
    """A training of that model that shares a stack with batch sizes up to the same power of `factor`."""
    _, workload, changed = MODELS[model]
    kept, alone.BATCH_FACTOR = alone.BATCH_FACTOR, factor
    try:
        return Training(
            WORKLOADS[workload].family,
            WORKLOADS[workload].data(),
            {**WORKLOADS[workload].params, **changed, "batch_size": batch_size},
            seed=seed,
            epochs=EPOCHS,
        )
    finally:
        alone.BATCH_FACTOR = kept


class Group:
    """An arm: its seats, and the clock of the time in which it ran."""

    def __init__(self, arm: str, model: str, *, width: int, sizes: Sequence[int] = SIZES) -> None:
        self._width, self._model, self._factor = width, model, MASKS.get(arm, ALL)
        self._together: Together = Micro(width) if arm == "micro" else Masked(1 if arm == "alone" else width)
        self._sizes, self._seeds = shuffled(sizes), itertools.count()
        self._free: dict[int, list[Training]] = {size: [] for size in sizes}
        self._clock = 0.0
        self._since: dict[Training, float] = {}
        self._until: dict[Training, int] = {}
        for _ in range(width):
            self._seat(self._next())

    def rate(self, seconds: float) -> float:
        """Run for about so long, and until an epoch of each size has come to its end; epochs a second."""
        held: dict[int, list[float]] = {size: [] for size in self._free}
        end = self._clock + seconds
        while self._clock < end or not all(held.values()):
            began = time.process_time()
            ready = self._together.advance()
            for training in ready:
                progress = training.advance()
                if progress.cause is not None:
                    raise RuntimeError(f"a training of a benchmark must live, and one died: {progress.cause}")
                # A training by itself trains only here, so each has its own end.
                now = self._clock + time.process_time() - began
                held[training.batch_size].append(now - self._since[training])
                self._since[training] = now
            self._clock += time.process_time() - began
            for training in ready:
                if training.step == self._until[training]:
                    self._change(training)
        return self._width / statistics.mean(statistics.mean(times) for times in held.values())

    def _change(self, training: Training) -> None:
        """The next takes the seat; building it is not on the clock, but changing seats is."""
        successor = self._next()
        began = time.process_time()
        self._together.leave(training)
        self._free[training.batch_size].append(training)
        self._seat(successor)
        self._clock += time.process_time() - began

    def _seat(self, training: Training) -> None:
        self._together.join(training)
        self._since[training], self._until[training] = self._clock, training.step + STAY

    def _next(self) -> Training:
        size = next(self._sizes)
        if self._free[size]:
            return self._free[size].pop()
        return built(self._model, size, seed=next(self._seeds), factor=self._factor)


def shuffled(sizes: Sequence[int]) -> Iterator[int]:
    """Batch sizes without end, each as often as the others, in a shuffled order that is always the same."""
    chance = random.Random(0)
    while True:
        yield from chance.sample(sizes, len(sizes))


def measure(model: str, width: int, options: argparse.Namespace) -> dict[str, list[float]]:
    """Epochs a second of each arm, one a round."""
    groups = {arm: Group(arm, model, width=width) for arm in ARMS}
    for group in groups.values():
        group.rate(options.seconds)  # until seats are taken as they are in the long run
    rates: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for turn in range(options.rounds):
        for arm in ARMS if turn % 2 == 0 else reversed(ARMS):
            rates[arm].append(groups[arm].rate(options.seconds))
    return rates


def measure_sizes(model: str, widths: Sequence[int], options: argparse.Namespace) -> dict[str, dict[int, list[float]]]:
    """Milliseconds an epoch of a member among members of the same batch size: alone, and in a stack of each width."""
    labels = {"alone": ("alone", 1)} | {f"stack of {width}": ("masks", width) for width in sorted(widths)}
    found: dict[str, dict[int, list[float]]] = {label: {size: [] for size in SIZES} for label in labels}
    for size in SIZES:
        groups = {label: Group(arm, model, width=width, sizes=[size]) for label, (arm, width) in labels.items()}
        for turn in range(-1, options.rounds):  # the first round is not counted
            for label in labels if turn % 2 == 0 else reversed(labels):
                rate = groups[label].rate(options.seconds)
                if turn >= 0:
                    found[label][size].append(1000.0 / rate)
    return found


def sizes_table(found: Mapping[str, Mapping[int, Sequence[float]]]) -> str:
    """In markdown: milliseconds an epoch by batch size."""
    lines = [[label, *(f"{statistics.median(times):.1f}" for times in row.values())] for label, row in found.items()]
    return "\n".join([tables.head(["ms an epoch", *(f"batch {size}" for size in SIZES)]), *map(tables.line, lines)])


def table(found: Mapping[int, Mapping[str, Sequence[float]]]) -> str:
    """In markdown: for each width epochs a second, and the ratio to `alone`."""
    head = ["arm", *(cell for width in found for cell in (f"K = {width}: epochs/s", "times alone"))]
    lines = []
    for arm in ARMS:
        cells = [arm]
        for rates in found.values():
            ratios = [ours / theirs for ours, theirs in zip(rates[arm], rates["alone"], strict=True)]
            cells += [
                f"{statistics.median(rates[arm]):.1f}",
                f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
            ]
        lines.append(cells)
    return "\n".join([tables.head(head), *map(tables.line, lines)])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description="Measure stacks of different batch sizes.")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 8])
    parser.add_argument("--seconds", type=float, default=1.0, help="an arm a round, at least")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=Path("runs") / "batches.json")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report: dict[str, Any] = {"machine": machine.line(), "options": vars(options) | {"json": str(options.json)}}
    print(f"{report['machine']}\n\nOne thread, {options.rounds} rounds of at least {options.seconds:g} s an arm.")
    for model in options.models:
        found = {}
        for width in options.widths:
            found[width] = measure(model, width, options)
            print(f"{model}, K = {width}: done", file=sys.stderr, flush=True)
        report.setdefault("found", {})[model] = found
        by_size = measure_sizes(model, options.widths, options)
        report.setdefault("one size", {})[model] = by_size
        print(f"\n{MODELS[model][0]}:\n\n{table(found)}\n\n{sizes_table(by_size)}", flush=True)
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
