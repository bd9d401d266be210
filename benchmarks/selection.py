"""What choosing over fresh seeds is worth, simulated: which rule, and which seeds may speak for the winner.

    python -m benchmarks.selection

A search of which 21 trials came to the end; the objective of one training is the configuration's mean times log-normal
noise of `--noise` between seeds, and with the probability `--collapse` a run comes out three times as high, as a
collapsed GAN does without dying. Nothing is trained. Each row is the mean over `--repeats` searches; regret with its
standard error:
    regret      by how much the chosen configuration's own mean is above that of the best, in percent
    trainings   at the full budget, besides the search
    claimed     what the gain over the default is said to be, in percent of the default
    true        what it is
    held        how often the 95 % interval of the claim holds the truth, in percent
The claim is read from the seeds that chose the winner, or from others. Prints markdown for RESULTS.md.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks import machine, table
from hpo.intervals import difference
from hpo.race import Standing, eliminated

DONE = 21
SPREAD = 0.35  # of the configurations that came to the end, as a share: the standard deviation of log means
HEIGHT = 3.0  # of a collapsed run

Locate = Callable[[Sequence[float]], float]


@dataclass(frozen=True)
class Source:
    """Where values come from. noise: the standard deviation of log values between seeds."""

    noise: float
    collapse: float
    generator: np.random.Generator

    def runs(self, mean: float, count: int) -> list[float]:
        """So many trainings of a configuration."""
        high = np.where(self.generator.random(count) < self.collapse, HEIGHT, 1.0)
        return [float(x) for x in mean * high * np.exp(self.noise * self.generator.standard_normal(count))]

    def expected(self, mean: float) -> float:
        """The mean of `runs`."""
        return float(mean * np.exp(self.noise**2 / 2) * (1 + self.collapse * (HEIGHT - 1)))


@dataclass(frozen=True)
class Outcome:
    """One search and its choice; shares, not percent."""

    regret: float
    trainings: int
    claimed: float
    true: float
    held: bool


def race(source: Source, means: Sequence[float], *, seeds: int, locate: Locate) -> tuple[int, list[list[float]]]:
    """Return who wins and the runs of each; rounds as `hpo.race` makes them, the choice by `locate`."""
    runs: list[list[float]] = [[] for _ in means]
    for _ in range(seeds):
        out = eliminated([Standing(values=tuple(own)) for own in runs], sign=1.0)
        for place, mean in enumerate(means):
            if place not in out:
                runs[place] += source.runs(mean, 1)
    return min(range(len(means)), key=lambda place: locate(runs[place])), runs


def once(source: Source, *, finalists: int, seeds: int, locate: Locate, fresh: bool) -> Outcome:
    """One search, one selection. The default is a configuration of the middle of those that came to the end."""
    means = np.sort(np.exp(SPREAD * source.generator.standard_normal(DONE)))
    default = DONE // 2
    seen = [source.runs(float(mean), 1)[0] for mean in means]
    order = sorted(range(DONE), key=lambda place: seen[place])
    candidates = [default, *(place for place in order if place != default)][: finalists + 1]
    chosen, runs = race(source, [float(means[place]) for place in candidates], seeds=seeds, locate=locate)
    winner, trainings = candidates[chosen], sum(map(len, runs))
    ours, others = runs[chosen], runs[0]
    if fresh:
        ours, others = (source.runs(float(means[place]), seeds) for place in (winner, default))
        trainings += seeds * (1 if winner == default else 2)
    best, true_default, true_winner = (source.expected(float(means[place])) for place in (0, default, winner))
    found = difference(ours, others) if winner != default else None
    true = true_default - true_winner
    return Outcome(
        regret=source.expected(float(means[winner])) / best - 1,
        trainings=trainings,
        claimed=0.0 if found is None else found.mean / true_default,
        true=true / true_default,
        held=found is None or found.low <= true <= found.high,
    )


def luckiest(source: Source) -> Outcome:
    """One search whose best trial is believed as it stands."""
    means = np.sort(np.exp(SPREAD * source.generator.standard_normal(DONE)))
    seen = [source.runs(float(mean), 1)[0] for mean in means]
    winner, default = min(range(DONE), key=lambda place: seen[place]), DONE // 2
    best, true_default = (source.expected(float(means[place])) for place in (0, default))
    true = true_default - source.expected(float(means[winner]))
    return Outcome(
        regret=source.expected(float(means[winner])) / best - 1,
        trainings=0,
        claimed=(seen[default] - seen[winner]) / true_default,
        true=true / true_default,
        held=False,
    )


ARMS: dict[str, Callable[[Source], Outcome]] = {
    "luckiest trial": luckiest,
    "3 x 4, median, same seeds": lambda source: once(
        source, finalists=3, seeds=4, locate=statistics.median, fresh=False
    ),
    "3 x 4, mean, same seeds": lambda source: once(source, finalists=3, seeds=4, locate=statistics.fmean, fresh=False),
    "3 x 4, mean, fresh seeds": lambda source: once(source, finalists=3, seeds=4, locate=statistics.fmean, fresh=True),
    "3 x 4, median, fresh seeds": lambda source: once(
        source, finalists=3, seeds=4, locate=statistics.median, fresh=True
    ),
    "6 x 4, median, fresh seeds": lambda source: once(
        source, finalists=6, seeds=4, locate=statistics.median, fresh=True
    ),
    "6 x 8, median, fresh seeds": lambda source: once(
        source, finalists=6, seeds=8, locate=statistics.median, fresh=True
    ),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each kind of noise."""
    parser = argparse.ArgumentParser(description="Simulate the choice of a winner over fresh seeds.")
    parser.add_argument("--repeats", type=int, default=2000)
    parser.add_argument("--noise", type=float, default=0.22, help="between seeds, as a share")
    parser.add_argument("--collapse", type=float, nargs="+", default=[0.0, 0.1])
    options = parser.parse_args(arguments)
    print(machine.line())
    for collapse in options.collapse:
        print(f"\nSeed noise {options.noise:.0%}, runs that collapse {collapse:.0%}; {options.repeats} searches.\n")
        print(table.head(["choice", "regret %", "trainings", "claimed %", "true %", "held %"]))
        for name, arm in ARMS.items():
            source = Source(options.noise, collapse, np.random.default_rng(0))
            found = [arm(source) for _ in range(options.repeats)]
            regret = [100 * one.regret for one in found]
            error = statistics.stdev(regret) / len(regret) ** 0.5
            held = "-" if arm is luckiest else f"{100 * statistics.fmean(one.held for one in found):.1f}"
            print(
                table.line(
                    [
                        name,
                        f"{statistics.fmean(regret):.1f} ±{error:.1f}",
                        f"{statistics.fmean(one.trainings for one in found):.1f}",
                        f"{100 * statistics.fmean(one.claimed for one in found):.1f}",
                        f"{100 * statistics.fmean(one.true for one in found):.1f}",
                        held,
                    ]
                )
            )


if __name__ == "__main__":
    main()
