"""A whole search, fused: slots that are refilled at once, against slots that wait for the last, against one at a time.

    python -m benchmarks.study                                      256 trials of a GAN on digits, under rungs
    python -m benchmarks.study --study digits-vae --trials 128 --arms auto width-1
    python -m benchmarks.study --set "space={base: gan, latent: 16, width: 128, depth: 2, batch_size: 64}"

Each arm is `hpo search` in a process of its own and a fresh folder, on as many workers, on one study file:
    refill       `fuse: K`; a slot that gets free is given the next trial at once
    no-refill    `fuse: K`, and a group takes K trials and no more: slots stay free until its last trial has ended
    width-1      `fuse: 1`
    auto         `fuse: auto`
They run one after another, in an order that turns round with each repeat; wall time is that of the process, start-up
included. The order of completion changes what is sampled, and so what an epoch costs: read trials an hour beside
ms/epoch, and the best value beside its seed. Prints markdown for RESULTS.md. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import epochs as measured
from benchmarks import machine, processes, table
from hpo import analysis
from hpo.home import Home

_HPO = str(Path(sys.executable).with_name("hpo"))

# name -> what it changes in the study, given the width
ARMS: dict[str, Callable[[int], list[str]]] = {
    "refill": lambda width: [f"fuse={width}"],
    "no-refill": lambda width: [f"fuse={width}", f"resources.trials_per_group={width}"],
    "width-1": lambda _: ["fuse=1"],
    "auto": lambda _: ["fuse=auto"],
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one run of one arm. occupancy: see `hpo.analysis.Summary`; share: of worker time in epochs."""

    arm: str
    wall: float
    width: int
    trials: int
    done: int
    epochs: int
    epoch_ms: float
    share: float
    occupancy: float | None
    best: float | None

    @property
    def trials_an_hour(self) -> float:
        return 3600 * self.trials / self.wall

    def cells(self) -> list[str]:
        """Return the cells of this row, in the order of `HEADER`."""
        return [
            self.arm,
            f"{self.width}",
            f"{self.wall:.1f}",
            f"{self.trials}",
            f"{self.done}",
            f"{self.trials_an_hour:.0f}",
            f"{self.epochs}",
            f"{60 * self.epochs / self.wall:.0f}",
            table.shown(self.epoch_ms, ".1f"),
            table.shown(100 * self.share, ".0f"),
            table.shown(None if self.occupancy is None else 100 * self.occupancy, ".0f"),
            table.shown(self.best, ".4g"),
        ]


HEADER = [
    *("arm", "slots", "wall s", "trials", "done", "trials/h", "epochs", "epochs/min"),
    *("ms/epoch", "training %", "occupancy %", "best"),
]


def row_of(arm: str, home: Path, *, clock: processes.Clock, workers: int) -> Row:
    """Return the figures of a search from the home it left."""
    epochs, summary = measured.from_home(home), analysis.summary(Home(home))
    return Row(
        arm=arm,
        wall=clock.wall,
        width=summary.width,
        trials=sum(summary.counts[end] for end in ("done", "pruned", "died")),
        done=summary.counts["done"],
        epochs=len(epochs),
        epoch_ms=1000 * measured.training_seconds(epochs) / len(epochs),
        share=measured.training_share(epochs, workers=workers),
        occupancy=summary.occupancy,
        best=None if summary.best is None else summary.best.value,
    )


def compare(options: argparse.Namespace, *, folder: Path) -> list[Row]:
    """Run every arm, `repeats` times; print each row as it comes."""
    rows = []
    for repeat in range(options.repeats):
        for arm in options.arms if repeat % 2 == 0 else reversed(options.arms):
            place = folder / f"{arm}{repeat}"
            place.mkdir()
            clock = processes.run(command(arm, place / "home", options), folder=place, timeout=options.timeout)
            rows.append(row_of(arm, place / "home", clock=clock, workers=options.workers))
            print(table.line(rows[-1].cells()), flush=True)
    return rows


def command(arm: str, home: Path, options: argparse.Namespace) -> list[str]:
    """Return the command of one arm."""
    # The run has a folder of its own, where a path would lead elsewhere.
    study = str(Path(options.study).resolve()) if Path(options.study).is_file() else options.study
    changes = [
        f"budget.trials={options.trials}",
        f"budget.epochs={options.epochs}",
        f"resources.workers={options.workers}",
        f"seed={options.seed}",
        *ARMS[arm](options.width),
        *options.set,
    ]
    return [_HPO, "search", study, "--home", str(home), *(part for change in changes for part in ("--set", change))]


def ratios(rows: Sequence[Row]) -> list[str]:
    """Return how many times the trials an hour of each other arm the first one had; medians over the repeats."""
    arms = list(dict.fromkeys(row.arm for row in rows))
    rate = {arm: statistics.median(row.trials_an_hour for row in rows if row.arm == arm) for arm in arms}
    return [f"{arms[0]} / {arm}: {rate[arms[0]] / rate[arm]:.2f} times the trials an hour" for arm in arms[1:]]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description="Compare ways to fill the slots of a search.")
    parser.add_argument("--study", default="digits-gan", help="a ready-made study or a YAML file")
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=81)
    parser.add_argument("--width", type=int, default=16, help="the K of refill and no-refill")
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=["refill", "no-refill", "width-1"])
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change for every arm")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for one run")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps what the runs leave")
    options = parser.parse_args(arguments)
    print(machine.line())
    changes = "".join(f", {change}" for change in options.set)
    print(f"\n{options.study}: {options.trials} trials of {options.epochs} epochs, {options.workers} workers, "
          f"seed {options.seed}{changes}\n")  # fmt: skip
    print(table.head(HEADER), flush=True)
    with processes.kept(options.keep) as folder:
        rows = compare(options, folder=folder)
    print("\n" + "\n".join(ratios(rows)))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception it passes the clean-up on its way out
    try:
        main()
    except processes.RunFailed as error:
        sys.exit(str(error))
