"""Member-steps a second: trainings fused into one stack, against the same trainings one by one and side by side.

    python -m benchmarks.fusion --device cpu                    every model at every width
    python -m benchmarks.fusion --device cuda --precision tf32
    python -m benchmarks.fusion --models gan --widths 1 8 64 --seconds 2 --rounds 9

The arms, at each width K:
    plain           textbook code with torch.optim, members one after another (peers/plain_torch.py)
    alone           our trainer at width 1
    fused           our trainer, K members as one stack
    plain x N       N plain processes that share the device, which is what fractions of it come to
    plain x N MPS   the same under CUDA's Multi-Process Service
    fused x N       on a CPU: N processes, one a core, with a stack of K each
The arms take turns in rounds, in an order that turns round each time, so that what disturbs the machine disturbs all; a
ratio is that of one round, and medians over the rounds are shown with the range. On a CPU each process has one thread,
as a worker of a search has. On a GPU the plain processes are measured at the first width alone and then end, for they
would hold memory; how a stack compares with them is told by way of `plain`. What was not measured says so. Prints
markdown for RESULTS.md and writes every rate to a JSON file. Needs torch, numpy, scikit-learn and safetensors alone.
Run it on a quiet machine; what is CUDA's was not run on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import arms, machine, sharing
from benchmarks import table as tables
from benchmarks.arms import WORKLOADS, Arm, Rate
from benchmarks.sharing import DoesNotFit, Processes
from trainables.training.players import PRECISIONS
from trainables.training.widths import Fit, fit

WIDTHS = tuple(2**power for power in range(9))
MOST = {"cpu": 64, "cuda": 256}  # the widest that `fit` may take, as in a search
NO_MPS = "no MPS here"
DOES_NOT_FIT = "does not fit"

Cell = Callable[[], Rate]


@dataclass(kw_only=True)
class AtWidth:
    """What was measured at one width: arm -> member-steps a second, one a round; or why an arm was not measured."""

    width: int
    rates: dict[str, list[float]] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def ratios(self, over: str, under: str) -> list[float]:
        """The ratio of two arms, one a round; none where one of them is missing."""
        return [a / b for a, b in zip(self.rates.get(over, []), self.rates.get(under, []), strict=False)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """All widths of one model, and the width that our own measurement of a moment takes."""

    workload: str
    widths: list[AtWidth]
    fit: Fit

    def ratios(self, at: AtWidth, over: str, under: str) -> list[float]:
        """The ratio of two arms at one width; by way of `plain` where the second was measured at the first width."""
        first = self.widths[0]
        if under in at.rates or under not in first.rates:
            return at.ratios(over, under)
        share = _middle(first.ratios(under, "plain"))
        return [ratio / share for ratio in at.ratios(over, "plain")]

    def to_json(self) -> dict[str, Any]:
        return {
            "workload": self.workload,
            "params": dict(WORKLOADS[self.workload].params),
            "widths": [vars(at) for at in self.widths],
            "fit": self.fit.to_json(),
        }


def measure(name: str, options: argparse.Namespace, mps: Mapping[str, str] | None) -> Found:
    """Measure one model at all its widths."""
    plain = Arm(
        workload=name, kind="plain", device=options.device, precision=options.precision, threads=options.threads
    )
    ours, on_cpu, workload = replace(plain, kind="ours"), options.device == "cpu", WORKLOADS[name]
    limited = workload.cpu_widths if on_cpu else None
    widths = [width for width in options.widths if limited is None or width in limited]
    rounds = min(options.rounds, (workload.cpu_rounds if on_cpu else None) or options.rounds)
    limit = min(max(widths), MOST[options.device])
    chosen = fit(lambda place: arms.training(ours, place), limit=limit, seconds=options.fit_seconds)
    # The width that `fit` takes is measured as well, so that its choice can be judged.
    found = Found(workload=name, widths=[AtWidth(width=width) for width in sorted({*widths, chosen.width})], fit=chosen)
    sharing.let_go(options.device)
    with ExitStack() as alive:
        single: dict[str, Cell] = {}
        for label, one in (("plain", plain), ("alone", ours)):
            runner = sharing.warmed_up(one)
            single[label] = partial(arms.timed, runner, seconds=options.seconds, device=options.device)
        beside = alive.enter_context(ExitStack())
        shared, missing = _shared_cells(plain, options, mps, alive=beside)
        teams = alive.enter_context(Processes(max(options.processes, default=0) if on_cpu else 0))
        for at in found.widths:
            if at is found.widths[0]:
                at.missing.update(missing)
            _at_width(at, single | shared, teams, replace(ours, width=at.width), options, rounds=rounds)
            print(f"{name}, K = {at.width}: " + ", ".join(f"{label} {_middle(rates):.3g}"
                  for label, rates in at.rates.items()), file=sys.stderr, flush=True)  # fmt: skip
            if not on_cpu:
                shared.clear()
                beside.close()
    return found


def _shared_cells(
    plain: Arm, options: argparse.Namespace, mps: Mapping[str, str] | None, *, alive: ExitStack
) -> tuple[dict[str, Cell], dict[str, str]]:
    """The arms of plain processes that share the device, and why those are missing that cannot be had."""
    cells: dict[str, Cell] = {}
    missing: dict[str, str] = {}
    most = max(options.processes, default=0)
    for suffix, environment in (("", {}), (" MPS", mps)):
        labels = {f"plain x {count}{suffix}": count for count in options.processes}
        if suffix and options.device == "cpu":
            continue
        if environment is None:
            missing.update(dict.fromkeys(labels, NO_MPS))
            continue
        pool = alive.enter_context(Processes(most, environment=environment))
        try:
            pool.build([replace(plain, seed=place) for place in range(most)])
        except DoesNotFit:
            pool.close()
            missing.update(dict.fromkeys(labels, DOES_NOT_FIT))
            continue
        if environment and not sharing.has_clients(environment):
            pool.close()
            missing.update(dict.fromkeys(labels, NO_MPS))
            continue
        cells.update({label: partial(pool.timed, options.seconds, count=count) for label, count in labels.items()})
    return cells, missing


def _at_width(
    at: AtWidth,
    always: Mapping[str, Cell],
    teams: Processes,
    arm: Arm,
    options: argparse.Namespace,
    *,
    rounds: int,
) -> None:
    """Build what depends on the width, then let all arms take turns."""
    cells = dict(always)
    if at.width > 1:  # at width 1 a stack is the training alone
        try:
            # No name of its own: it must be gone when the cells are.
            cells["fused"] = partial(arms.timed, sharing.warmed_up(arm), seconds=options.seconds, device=options.device)
        except DoesNotFit:
            at.missing["fused"] = DOES_NOT_FIT
    if options.device == "cpu" and options.processes:
        labels = {f"fused x {count}": count for count in options.processes}
        try:
            teams.build([replace(arm, seed=place * at.width) for place in range(max(options.processes))])
            cells.update({label: partial(teams.timed, options.seconds, count=count) for label, count in labels.items()})
        except DoesNotFit:
            at.missing.update(dict.fromkeys(labels, DOES_NOT_FIT))
    for turn in range(rounds):
        for label in list(cells) if turn % 2 == 0 else reversed(list(cells)):
            try:
                rate = cells[label]()
            except (DoesNotFit, RuntimeError) as error:
                if not sharing.is_memory(error):
                    raise
                del cells[label]
                at.rates.pop(label, None)
                at.missing[label] = DOES_NOT_FIT
                continue
            at.rates.setdefault(label, []).append(rate.steps_a_second)
            at.memory[label] = max(at.memory.get(label, 0), rate.memory)
    cells.clear()
    sharing.let_go(options.device)


def table(found: Found, options: argparse.Namespace) -> str:
    """The rates and ratios of one model in markdown, a column for each width."""
    on_cpu = options.device == "cpu"
    suffixes = ("",) if on_cpu else ("", " MPS")
    shared = [f"plain x {count}{suffix}" for suffix in suffixes for count in options.processes]
    teams = [f"fused x {count}" for count in options.processes if on_cpu]
    rates = ["plain", "alone", "fused", *shared, *teams]
    pairs = [("fused", "plain"), ("fused", "alone")]
    pairs += list(zip(teams, shared, strict=True)) if on_cpu else [("fused", label) for label in shared]
    head = ["member-steps/s", *(f"K = {at.width}" for at in found.widths)]
    lines = [[label, *(_rate(at, label) for at in found.widths)] for label in rates]
    lines += [
        [f"{over} / {under}", *(_range(found.ratios(at, over, under), at.missing.get(over)) for at in found.widths)]
        for over, under in pairs
    ]
    return "\n".join([tables.head(head), *map(tables.line, lines)])


def verdict(found: Found) -> str:
    """The best width that was measured, and the one that `fit` chose, against both ways of training one by one."""
    best = max(found.widths, key=lambda at: _middle(at.rates.get("fused") or at.rates["alone"]))
    chosen = next(at for at in found.widths if at.width == found.fit.width)
    return (
        f"Fastest: {_against(best)}. `fit` took {_against(chosen)}, after {found.fit.spent:.1f} s at widths "
        f"{', '.join(map(str, sorted(found.fit.seconds)))}."
    )


def _against(at: AtWidth) -> str:
    """In words: this width against plain and alone; width 1 is alone itself."""
    over = "fused" if "fused" in at.rates else "alone"
    words = f"K = {at.width}, {_middle(at.ratios(over, 'plain')):.2f} times plain"
    return words if over == "alone" else f"{words} and {_middle(at.ratios(over, 'alone')):.2f} times alone"


def _middle(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")


def _rate(at: AtWidth, label: str) -> str:
    """The median rate, with half the range over the rounds as a share of it."""
    values = at.rates.get(label)
    if not values:
        return _why_not(at.missing.get(label))
    middle = _middle(values)
    spread = f" ±{50 * (max(values) - min(values)) / middle:.0f} %" if len(values) > 1 else ""
    return f"{middle:.{0 if middle >= 100 else 2}f}{spread}"


def _range(ratios: Sequence[float], missing: str | None) -> str:
    if not ratios:
        return _why_not(missing)
    return f"{_middle(ratios):.2f}" + (f" ({min(ratios):.2f} to {max(ratios):.2f})" if len(ratios) > 1 else "")


def _why_not(missing: str | None) -> str:
    if missing is None:
        return "-"
    return missing if missing == DOES_NOT_FIT else f"not measured: {missing}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it."""
    options = _options(arguments)
    report: dict[str, Any] = {"machine": machine.line(), "options": vars(options) | {"json": str(options.json)}}
    print(report["machine"] + "\n")
    print(f"Device {options.device}, {options.precision}, {options.threads} thread(s) a process, "
          f"up to {options.rounds} rounds of at least {options.seconds:g} s an arm.")  # fmt: skip
    with sharing.mps() if options.device != "cpu" else nullcontext(None) as environment:
        for name in options.models:
            found = measure(name, options, environment)
            report.setdefault("found", []).append(found.to_json())
            print(f"\n{WORKLOADS[name].title}:\n\n{table(found, options)}\n\n{verdict(found)}", flush=True)
            options.json.parent.mkdir(parents=True, exist_ok=True)
            options.json.write_text(json.dumps(report, indent=1), encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure member-steps a second, fused and not.")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--models", nargs="+", choices=list(WORKLOADS), default=list(WORKLOADS))
    parser.add_argument("--widths", nargs="+", type=int, default=list(WIDTHS))
    parser.add_argument("--seconds", type=float, default=0.6, help="an arm a round, at least; whole epochs are trained")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fit-seconds", type=float, default=1.5, help="what `fit` may take, as in a search")
    parser.add_argument("--processes", nargs="*", type=int, help="cpu: one a core; cuda: 4 8 16")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda needs a CUDA device that torch can use, and there is none: take --device cpu")
    if options.processes is None:
        options.processes = [len(os.sched_getaffinity(0))] if options.device == "cpu" else [4, 8, 16]
    options.json = options.json or Path("runs") / f"fusion-{options.device}-{options.precision}.json"
    return options


if __name__ == "__main__":
    main()
