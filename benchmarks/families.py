"""What a search is worth: for each ready study its default configuration against the winner, over fresh seeds.

    python -m benchmarks.families --out families                            every ready study: hours on two cores
    python -m benchmarks.families --out families --studies digits-gan ring-gan --trials 30 --minutes 20
    python -m benchmarks.families --out families --studies digits-vae --set "data={name: digits, split: ordered}"

A study is searched as a user does it, by `hpo search` in a fresh home. Then the default configuration of its space and
the winner are trained at the full budget under seeds that the search has not seen, in as many processes as workers.
The winner was chosen on the validation rows, so values here are of the test rows; the column *rows* says where those
are too few for the objective, and a winner has its choice in its favor. Beside them, by the same metric:
    floor       rows of the other of these two splits in the place of samples: what other real rows get
    copy        training rows in their place
    Gaussian    a multivariate Gaussian with mean and covariance of the training rows, rounded where rows are levels;
                none of text, whose levels are names
What a model has beside it, such as the language model beside a GAN of text, stands in the second table with its name.
`--epochs` caps the budget of a study, and shortens its grace alike; `--minutes` ends the asking of a search. Rows are
printed as they come and kept in `--out`, so that the same command goes on where it was: a study whose row is there is
not run again. Sheets of samples, of the first seed, lie in `--out` too. Prints markdown for RESULTS.md.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from benchmarks import machine, processes, table
from hpo import analysis, parts, plugins
from hpo.errors import HpoError
from hpo.home import Home
from hpo.messages import Params
from hpo.samplers import trial_seed
from hpo.study import Study
from trainables.metrics._metric import measures_samples, prepare
from trainables.metrics._samples import Replay
from trainables.metrics.nll import Metric as Nll
from trainables.training.random import measurement_stream

if TYPE_CHECKING:
    from trainables.data._data import Data
    from trainables.metrics._metric import Metric
    from trainables.models._family import Generative, Noise

_HPO = str(Path(sys.executable).with_name("hpo"))

ARMS = ("default", "winner")
BESIDE = ("floor", "copy", "Gaussian")
# Draws of the latent for a final figure; a search takes fewer.
NLL_DRAWS = 500
# By these each training is measured besides the objective, where they take its model and data.
SHOWN = ("nll", "fd_self", "coverage", "authenticity", "fd_rocket", "forest_test", "tstr", "modes", "high_quality",
         "reverse_kl", "trts", "stft_distance", "clipping", "dc_offset", "bits_per_char", "reverse_lm", "forward_lm",
         "self_bleu", "copy_rate")  # fmt: skip
# A difference of means counts where it is so many times its standard error.
ERRORS = 2.0


class GaussianFit:
    """The Gaussian that has the mean and the covariance of the training rows, as something to sample from."""

    def __init__(self, data: Data) -> None:
        self._shape, self._levels, self._dtype = data.shape, data.levels, data.train.x.dtype
        rows_ND = data.train.x.flatten(1).double()
        self._mean_D = rows_ND.mean(0)
        values_D, vectors_DD = torch.linalg.eigh(torch.cov(rows_ND.T))
        self._factor_DD = vectors_DD * values_D.clamp_min(0.0).sqrt()

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """Standard normal numbers [rows, D]."""
        shape = (rows, len(self._mean_D))
        return {"normal": torch.randn(shape, generator=generator, device=generator.device, dtype=torch.float64)}

    def sample(self, noise: Noise) -> Tensor:
        """Rows of the data's shape and type."""
        rows_ND: Tensor = self._mean_D + noise["normal"] @ self._factor_DD.T
        if self._levels is not None:
            rows_ND = rows_ND.round().clamp(0, self._levels - 1)
        return rows_ND.reshape(-1, *self._shape).to(self._dtype)


@dataclass(frozen=True, kw_only=True)
class Job:
    """One training. file: where its outcome is kept; sheet: where its samples go, if anywhere."""

    arm: str
    seed: int
    params: Params
    file: Path
    sheet: Path | None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one training came to: its metrics on rows it has not seen and its seconds, or the cause of its death."""

    arm: str
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = math.nan
    cause: str | None = None

    def value(self, metric: str) -> float:
        """The metric, NaN where there is none."""
        return self.metrics.get(metric, math.nan)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One study, measured on the rows of `split`. found: the objective of the best trial in the search; won: its
    parameters.
    """

    study: str
    objective: str
    direction: str
    split: str
    epochs: int
    trials: int
    done: int
    search_seconds: float
    found: float | None
    won: Params | None
    default: Params
    outcomes: list[Outcome]
    beside: dict[str, dict[str, float]]

    def of(self, arm: str, metric: str) -> list[float]:
        """The finite values of one arm."""
        values = [outcome.value(metric) for outcome in self.outcomes if outcome.arm == arm]
        return [value for value in values if math.isfinite(value)]

    def died(self, arm: str) -> int:
        """How many trainings of one arm have no finite objective."""
        return sum(outcome.arm == arm for outcome in self.outcomes) - len(self.of(arm, self.objective))

    def verdict(self) -> str:
        """In words, whether the winner beats the default."""
        if self.won is None:
            return "no trial reached its end"
        if self.won == self.default:
            return "the default won"
        default, winner = (self.of(arm, self.objective) for arm in ARMS)
        dead = [self.died(arm) for arm in ARMS]
        if not default or not winner:
            return "not comparable"
        sign = 1.0 if self.direction == "minimize" else -1.0
        gain = sign * (statistics.mean(default) - statistics.mean(winner))
        error = math.hypot(_error(default), _error(winner))
        if gain > ERRORS * error and dead[1] <= dead[0]:
            return "winner better"
        return "**winner worse**" if gain < -ERRORS * error else "**winner not better**"

    def cells(self) -> list[str]:
        """Return the cells of this row, in the order of `HEADER`."""
        return [
            self.study,
            self.objective,
            self.split,
            f"{self.epochs}",
            f"{self.trials} ({self.done})",
            *(self._shown(arm, self.objective) for arm in ARMS),
            self.verdict(),
            *(_number(self.beside.get(self.objective, {}).get(kind)) for kind in BESIDE),
            _number(self.found),
            f"{self.search_seconds:.0f}",
            " / ".join(table.shown(self._seconds(arm), ".1f") for arm in ARMS),
        ]

    def lines(self) -> list[list[str]]:
        """Return the cells of the second table: each other metric."""
        found = dict.fromkeys(name for outcome in self.outcomes for name in outcome.metrics)
        return [
            [
                self.study,
                name,
                *(self._shown(arm, name) for arm in ARMS),
                *(_number(self.beside.get(name, {}).get(kind)) for kind in BESIDE),
            ]
            for metric in SHOWN
            for name in found
            if name.partition(".")[0] == metric and name != self.objective and any(self.of(arm, name) for arm in ARMS)
        ]

    def _shown(self, arm: str, metric: str) -> str:
        """Mean and standard error over seeds, and how many trainings have none."""
        values = self.of(arm, metric)
        if not values:
            return "-"
        dead = f" ({self.died(arm)} died)" if self.died(arm) else ""
        return f"{_number(statistics.mean(values))} ±{table.shown(_error(values), '.2g')}{dead}"

    def _seconds(self, arm: str) -> float:
        values = [outcome.seconds for outcome in self.outcomes if outcome.arm == arm and outcome.cause is None]
        return statistics.mean(values) if values else math.nan


HEADER = [
    *("study", "objective", "rows", "epochs", "trials (done)", *ARMS, "verdict", *BESIDE),
    *("best in search", "search s", "training s"),
]
HEADER_METRICS = ["study", "metric", *ARMS, *BESIDE]


def _error(values: Sequence[float]) -> float:
    """The standard error of the mean; unknown for one value."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


def _number(value: float | None) -> str:
    return table.shown(value, ".4g")


def metrics_of(study: Study) -> list[Metric]:
    """Return the objective and those of SHOWN that take the model and the data, at the sizes of a final figure."""
    names = {*SHOWN, parts.objective_of(study).name}
    metrics = [metric for metric in parts.every_metric(study) if metric.name in names]
    return [Nll(k=NLL_DRAWS) if isinstance(metric, Nll) else metric for metric in metrics]


def split_of(study: Study) -> str:
    """Return the split to judge by: test, or validation where test has too few rows for the objective."""
    data, metric = parts.data_of(study), plugins.load("metrics", parts.objective_of(study).metric)()
    if measures_samples(metric):
        prepare(metric, data)
        try:
            metric.measure(Replay(data.train), data.test, measurement_stream())
        except ValueError:
            return "validation"
    return "test"


def beside(study: Study, split: str) -> dict[str, dict[str, float]]:
    """Return what each metric says of other real rows, of the training rows and of a Gaussian, by metric."""
    data = parts.data_of(study)
    stands: dict[str, Generative] = {
        "floor": Replay(data.validation if split == "test" else data.test),
        "copy": Replay(data.train),
    }
    if data.modality != "text":
        stands["Gaussian"] = GaussianFit(data)
    found: dict[str, dict[str, float]] = {}
    for metric in metrics_of(study):
        if not measures_samples(metric):
            continue
        prepare(metric, data)
        for kind, stand in stands.items():
            try:
                value = metric.measure(stand, data.split(split), measurement_stream()).value
            except ValueError:  # it needs more than samples, such as their classes
                continue
            found.setdefault(metric.name, {})[kind] = value
    return found


def train(study: Study, split: str, job: Job) -> Outcome:
    """Train one configuration to its end and measure it on this split; an outcome that is kept is read."""
    if job.file.exists():
        return Outcome(**json.loads(job.file.read_text(encoding="utf-8")))
    device = parts.use_device(threads=1)
    trainer = parts.trainer_of(study, job.params, seed=job.seed, device=device, metrics=metrics_of(study))
    began, cause = time.perf_counter(), None
    while trainer.step < study.budget.epochs and cause is None:
        cause = trainer.advance().cause
    outcome = Outcome(arm=job.arm, cause=cause)
    if cause is None:
        seconds = time.perf_counter() - began
        outcome = Outcome(arm=job.arm, metrics=tested(study, split, trainer), seconds=seconds)
        if job.sheet is not None:
            trainer.sheet(job.sheet)  # type: ignore[attr-defined]  # a family's training has one
    job.file.write_text(json.dumps(asdict(outcome)), encoding="utf-8")
    return outcome


def tested(study: Study, split: str, trainer: Any) -> dict[str, float]:
    """Return every metric of a training on this split, but those that do not take this very model or so few rows."""
    found = {}
    for metric in metrics_of(study):
        try:
            found[metric.name] = trainer.measure([metric.name], split=split)[metric.name].value
        except ValueError:
            continue
    return found | trainer.of_controls(list(found), split=split)


def search(name: str, home: Path, options: argparse.Namespace) -> None:
    """Run the study's search to its end, or go on with it."""
    own = Study.load(name, changes=options.set)
    changes = [*options.set, f"budget.trials={options.trials}", f"resources.workers={options.workers}"]
    if options.epochs is not None and options.epochs < own.budget.epochs:
        changes.append(f"budget.epochs={options.epochs}")
        if isinstance(grace := own.pruner.options.get("grace"), int):
            changes.append(f"pruner.grace={max(1, grace * options.epochs // own.budget.epochs)}")
    if options.minutes is not None:
        changes.append(f"budget.hours={options.minutes / 60}")
    # The process has a folder of its own, where a path would lead elsewhere.
    study = str(Path(name).resolve()) if Path(name).is_file() else name
    with processes.kept(None) as folder:
        sets = [part for change in changes for part in ("--set", change)]
        processes.run([_HPO, "search", study, "--home", str(home), *sets], folder=folder, timeout=options.timeout)


def measure(name: str, options: argparse.Namespace) -> Row:
    """Search one study, then train its default and its winner anew."""
    place = options.out.resolve() / Path(name).stem
    place.mkdir(parents=True, exist_ok=True)
    search(name, place / "home", options)
    study = Study.load(Home(place / "home").study)
    summary, objective = analysis.summary(Home(place / "home")), parts.objective_of(study)
    best, default = summary.best, parts.space_of(study).default()
    won = None if best is None else best.params
    configurations = {"default": default} | ({} if won is None or won == default else {"winner": won})
    jobs = [
        Job(
            arm=arm,
            seed=trial_seed(study.seed + 1, number),
            params=params,
            file=place / f"{arm}-{number}.json",
            sheet=place.with_name(f"{place.name}-{arm}.png") if number == 0 else None,
        )
        for number in range(options.seeds)
        for arm, params in configurations.items()
    ]
    split = split_of(study)
    # A process that torch has threads in cannot be forked.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.workers, mp_context=spawn) as pool:
        outcomes = list(pool.map(functools.partial(train, study, split), jobs))
    return Row(
        study=place.name,
        objective=objective.name,
        direction=objective.direction,
        split=split,
        epochs=study.budget.epochs,
        trials=sum(summary.counts[end] for end in ("done", "pruned", "died")),
        done=summary.counts["done"],
        search_seconds=summary.seconds,
        found=None if best is None else best.value,
        won=won,
        default=default,
        outcomes=outcomes,
        beside=beside(study, split),
    )


def kept(name: str, options: argparse.Namespace) -> Row:
    """Return the row of a study: the one that is there, or else it is measured and kept."""
    file = options.out / f"{Path(name).stem}.json"
    if file.exists():
        values = json.loads(file.read_text(encoding="utf-8"))
        return Row(**values | {"outcomes": [Outcome(**outcome) for outcome in values["outcomes"]]})
    row = measure(name, options)
    file.write_text(json.dumps(asdict(row), indent=2) + "\n", encoding="utf-8")
    return row


def main(arguments: Sequence[str] | None = None) -> list[Row]:
    """Measure the studies one after another and print each; one that fails is told of and the others go on."""
    parser = argparse.ArgumentParser(description="Compare default configurations with the winners of searches.")
    parser.add_argument("--out", type=Path, required=True, help="a folder for rows, homes and sheets of samples")
    parser.add_argument("--studies", nargs="+", default=list(plugins.studies()), help="names, or YAML files")
    parser.add_argument("--trials", type=int, default=30)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--epochs", type=int, help="at most so many, for every study")
    parser.add_argument("--minutes", type=float, help="no trial begins after so many, in each search")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a change for every study")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--timeout", type=float, default=6 * 3600.0, help="seconds for one search")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    print(machine.line())
    print(f"\n{options.trials} trials, then {options.seeds} seeds; {options.workers} workers.\n")
    print(table.head(HEADER), flush=True)
    torch.set_num_threads(1)
    rows, failed = [], []
    for name in options.studies:
        try:
            rows.append(kept(name, options))
            print(table.line(rows[-1].cells()), flush=True)
        except (processes.RunFailed, HpoError) as error:
            failed.append(f"{name}: {error}")
    print(f"\n{table.head(HEADER_METRICS)}")
    for row in rows:
        for line in row.lines():
            print(table.line(line))
    if failed:
        sys.exit("\n".join(failed))
    return rows


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as an exception it passes the clean-up on its way out
    main()
