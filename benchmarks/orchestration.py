"""What lies around the epochs: the same study with ours and with the usual glue of the same libraries, in turn.

    python -m benchmarks.orchestration                              128 trials of 27 epochs in each arm
    python -m benchmarks.orchestration --trials 0 --trivial 1000    trials that cost nothing, `ours` alone

Each arm runs in a process of its own and a fresh folder, on as many workers, from one study file. The arms:
    ours         hpo search, one trial at a time on each worker
    ours-fused   the same with `fuse: auto`: trials of equal structure as one stack
    stock        function trainable, OptunaSearch, ASHAScheduler, MLflowLoggerCallback on sqlite
    stock-reuse  the same with reuse_actors=True, the strong arm
It prints markdown for RESULTS.md. Wall time is that of the process, start-up included. A trial of one number and one
set of parameters gives the same values in every arm; the order of completion changes what is sampled, and so what an
epoch costs: read epochs a minute beside ms/epoch, and repeat. Run it on a quiet machine.
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
from typing import Any

import yaml

from benchmarks import epochs as measured
from benchmarks import machine, processes, table
from benchmarks.epochs import Epoch

_HPO = (str(Path(sys.executable).with_name("hpo")), "search")
_STOCK = (sys.executable, "-m", "benchmarks.peers.stock_stack")

# name -> (the command for a study file and a folder, the reader of the epochs it leaves in that folder)
ARMS: dict[str, tuple[Callable[[str, Path], list[str]], Callable[[Path], list[Epoch]]]] = {
    "ours": (
        lambda study, folder: [*_HPO, study, "--home", str(folder / "home"), "--set", "fuse=1"],
        lambda folder: measured.from_home(folder / "home"),
    ),
    "ours-fused": (
        lambda study, folder: [*_HPO, study, "--home", str(folder / "home"), "--set", "fuse=auto"],
        lambda folder: measured.from_home(folder / "home"),
    ),
    "stock": (lambda study, folder: [*_STOCK, study, str(folder)], measured.from_side_files),
    "stock-reuse": (lambda study, folder: [*_STOCK, study, str(folder), "--reuse-actors"], measured.from_side_files),
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The figures of one run of one arm."""

    arm: str
    wall: float
    trials: int
    epochs: int
    share: float
    epoch_ms: float
    to_target: float | None
    best: float | None

    @property
    def trials_a_minute(self) -> float:
        return 60 * self.trials / self.wall

    @property
    def epochs_a_minute(self) -> float:
        return 60 * self.epochs / self.wall

    def cells(self) -> list[str]:
        """Return the cells of this row, in the order of `HEADER`."""
        return [
            self.arm,
            f"{self.wall:.1f}",
            f"{self.trials}",
            f"{self.epochs}",
            f"{self.trials_a_minute:.1f}",
            f"{self.epochs_a_minute:.0f}",
            table.shown(100 * self.share, ".0f"),
            table.shown(self.epoch_ms, ".1f"),
            table.shown(self.to_target, ".1f"),
            table.shown(self.best, ".2f"),
        ]


HEADER = [
    *("arm", "wall s", "trials", "epochs", "trials/min", "epochs/min"),
    *("training %", "ms/epoch", "s to target", "best"),
]


def row_of(arm: str, epochs: Sequence[Epoch], *, clock: processes.Clock, workers: int, full: int, target: float) -> Row:
    """Return the figures of a run from its epochs."""
    return Row(
        arm=arm,
        wall=clock.wall,
        trials=len({epoch.trial for epoch in epochs}),
        epochs=len(epochs),
        share=measured.training_share(epochs, workers=workers),
        epoch_ms=1000 * measured.training_seconds(epochs) / len(epochs),
        to_target=measured.seconds_to(epochs, target, since=clock.began),
        best=measured.best_value(epochs, step=full),
    )


def compare(options: argparse.Namespace, *, folder: Path) -> list[Row]:
    """Run every arm, `repeats` times, in an order that turns round each time; print each row as it comes."""
    study = folder / "study.yaml"
    study.write_text(yaml.safe_dump(digits_study(options)), encoding="utf-8")
    rows = []
    for repeat in range(options.repeats):
        for arm in options.arms if repeat % 2 == 0 else reversed(options.arms):
            place = folder / f"{arm}{repeat}"
            place.mkdir()
            command, read = ARMS[arm]
            clock = processes.run(command(str(study), place), folder=place, timeout=options.timeout)
            epochs = read(place)
            rows.append(
                row_of(arm, epochs, clock=clock, workers=options.workers, full=options.epochs, target=options.target)
            )
            print(table.line(rows[-1].cells()), flush=True)
    return rows


def trivial(options: argparse.Namespace, *, folder: Path) -> str:
    """Run trials that cost nothing with ours; return the line that says what one costs."""
    study = folder / "trivial.yaml"
    study.write_text(yaml.safe_dump(fake_study(options)), encoding="utf-8")
    place = folder / "trivial"
    place.mkdir()
    clock = processes.run(ARMS["ours"][0](str(study), place), folder=place, timeout=options.timeout)
    trials, span = measured.first_to_last(place / "home")
    return (
        f"{trials} trivial trials, ours, {options.workers} workers: {1000 * span / trials:.1f} ms a trial after "
        f"start-up, {1000 * clock.wall / trials:.1f} ms with it ({clock.wall:.1f} s in all)."
    )


def digits_study(options: argparse.Namespace) -> dict[str, Any]:
    """Return the study of the comparison, as its YAML file has it."""
    return {
        "name": "orchestration",
        "model": "vae",
        "data": "digits",
        "space": "vae",
        "objective": "nll",
        "budget": {"trials": options.trials, "epochs": options.epochs},
        "sampler": "tpe",
        "pruner": {"name": "asha", "eta": 3, "grace": 3},
        "resources": {"workers": options.workers},
        "seed": options.seed,
    }


def fake_study(options: argparse.Namespace) -> dict[str, Any]:
    """Return the study of trivial trials: one epoch each, and nothing to prune."""
    return {
        "name": "trivial",
        "model": "benchmarks.fake.train",
        "space": "benchmarks.fake",
        "objective": {"metric": "loss", "direction": "minimize"},
        "budget": {"trials": options.trivial, "epochs": 1},
        "sampler": "tpe",
        "pruner": "none",
        "resources": {"workers": options.workers},
        "seed": options.seed,
    }


def ratios(rows: Sequence[Row]) -> list[str]:
    """Return how many times what the other arms trained each of ours did; medians over the repeats."""
    arms = dict.fromkeys(row.arm for row in rows)
    epochs = {arm: statistics.median(row.epochs_a_minute for row in rows if row.arm == arm) for arm in arms}
    trials = {arm: statistics.median(row.trials_a_minute for row in rows if row.arm == arm) for arm in arms}
    pairs = [("ours", arm) for arm in arms if not arm.startswith("ours")]
    pairs += [("ours-fused", arm) for arm in arms if arm != "ours-fused"]
    return [
        f"{ours} / {arm}: {epochs[ours] / epochs[arm]:.1f} times the epochs a minute, "
        f"{trials[ours] / trials[arm]:.1f} times the trials"
        for ours, arm in pairs
        if ours in arms
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description="Compare what lies around the epochs.")
    parser.add_argument("--trials", type=int, default=128, help="0 leaves the comparison out")
    parser.add_argument("--epochs", type=int, default=27)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--trivial", type=int, default=0, metavar="N", help="also run N trials that cost nothing")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--target", type=float, default=100.0, help="nll in nats to time")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for one run")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps what the runs leave")
    options = parser.parse_args(arguments)
    print(machine.line())
    with processes.kept(options.keep) as folder:
        if options.trials:
            print(f"\n{options.trials} trials of {options.epochs} epochs, {options.workers} workers, "
                  f"seed {options.seed}, target {options.target:g} nats\n")  # fmt: skip
            print(table.head(HEADER), flush=True)
            rows = compare(options, folder=folder)
            print("\n" + "\n".join(ratios(rows)))
        if options.trivial:
            print(trivial(options, folder=folder))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception it passes the clean-up on its way out
    try:
        main()
    except processes.RunFailed as error:
        sys.exit(str(error))
