"""The usual glue of Ray Tune, Optuna and MLflow, as a careful engineer sets it up from their manuals.

A function trainable, OptunaSearch (TPE), ASHAScheduler and MLflowLoggerCallback on sqlite; one CPU a trial, as many
trials at once as workers; with and without `reuse_actors`, which is off by default. It reads the same study file as
`hpo search` and trains with the same `trainables` epoch, so that the two differ in what lies around the epochs alone.
Where there was a choice it went to the peer: data handed over once through `tune.with_parameters`, an Optuna storage in
memory, no checkpoints, no sample sheets, one BLAS thread a worker, a dead trial reported at once.

    python -m benchmarks.peers.stock_stack STUDY.yaml FOLDER [--reuse-actors]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.epochs import Epoch, SideFile

if TYPE_CHECKING:
    import optuna

    from hpo.study import Study
    from search_spaces import Space
    from trainables.data._data import Data

DEAD = 1e4  # nats: worse than any training that lives; NaN would leave the trial RUNNING in Optuna for ever


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a trial needs besides its hyperparameters; plain values, so that a worker imports no study."""

    model: str
    objective: str
    metrics: tuple[str, ...]
    epochs: int
    measured: frozenset[int]  # the steps at which the objective is measured: the rungs and the end
    folder: Path


def train(config: dict[str, Any], *, task: Task, data: Data) -> None:
    """Train one trial and report each epoch: the function that Tune is given."""
    import torch
    from ray import tune

    from hpo import plugins
    from trainables.training.alone import Training

    torch.set_num_threads(1)
    params = dict(config)
    number, seed = params.pop("number"), params.pop("seed")
    training = Training(
        plugins.load("models", task.model),
        data,
        params,
        seed=seed,
        epochs=task.epochs,
        metrics=[plugins.load("metrics", name)() for name in task.metrics],
    )
    last = None
    with SideFile(task.folder) as side:
        while training.step < task.epochs:
            started = time.time()
            due = training.step + 1 in task.measured
            progress = training.advance(measure=(task.objective,) if due else ())
            value = progress.metrics.get(task.objective)
            side.append(Epoch(trial=number, step=progress.step, start=started, end=time.time(), value=value))
            if progress.cause is not None:
                tune.report({task.objective: DEAD, "cause": progress.cause})
                return
            # A result without the metric ends the whole experiment, so between two measurements the last one is
            # reported again. Before the first it is the training loss, in the same unit; nothing is decided there.
            last = value if value is not None else last
            tune.report({**progress.metrics, task.objective: progress.metrics["loss"] if last is None else last})


@dataclass(frozen=True)
class DefineByRun:
    """The space as OptunaSearch wants it. A class, as the searcher is pickled and a closure cannot be."""

    space: Space
    seed: int

    def __call__(self, trial: optuna.Trial) -> dict[str, Any]:
        from hpo.samplers import OptunaDraw, trial_seed

        self.space.draw(OptunaDraw(trial))  # OptunaSearch keeps what is suggested and adds what is returned
        return {"number": trial.number, "seed": trial_seed(self.seed, trial.number)}


def search(study: Study, folder: Path, *, workers: int, reuse_actors: bool) -> None:
    """Run the study; the side files, Tune's results and mlflow.db stay in the folder."""
    import ray
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    from hpo import parts
    from hpo.pruning import decision_steps

    objective, space = parts.objective_of(study), parts.space_of(study)
    mode = {"minimize": "min", "maximize": "max"}[objective.direction]
    task = Task(
        model=study.model,
        objective=objective.metric,
        metrics=tuple(parts.metric_names(study)),
        epochs=study.budget.epochs,
        measured=frozenset({*decision_steps(study.pruner, epochs=study.budget.epochs), study.budget.epochs}),
        folder=folder,
    )
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    tuner = tune.Tuner(
        tune.with_resources(tune.with_parameters(train, task=task, data=parts.data_of(study)), {"cpu": 1}),
        tune_config=tune.TuneConfig(
            num_samples=study.budget.trials,
            max_concurrent_trials=workers,
            reuse_actors=reuse_actors,
            search_alg=OptunaSearch(
                DefineByRun(space, study.seed),
                metric=objective.metric,
                mode=mode,
                points_to_evaluate=[space.default()],
                seed=study.seed,
            ),
            scheduler=ASHAScheduler(
                time_attr="training_iteration",
                metric=objective.metric,
                mode=mode,
                max_t=study.budget.epochs,
                grace_period=min(int(str(study.pruner.options["grace"])), study.budget.epochs),
                reduction_factor=int(str(study.pruner.options["eta"])),
            ),
            # A list of many parameters makes folder names too long for the file system.
            trial_dirname_creator=lambda trial: f"trial-{trial.trial_id}",
        ),
        run_config=tune.RunConfig(
            name=study.name,
            storage_path=str(folder / "tune"),
            verbose=0,
            callbacks=[
                MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}", experiment_name=study.name)
            ],
        ),
    )
    results = tuner.fit()
    ray.shutdown()
    if results.errors:
        raise SystemExit(f"{len(results.errors)} trials failed; the first: {results.errors[0]}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one study file in one folder."""
    from hpo.study import Study

    parser = argparse.ArgumentParser(description="Run a study with the stock stack.")
    parser.add_argument("study", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--reuse-actors", action="store_true")
    options = parser.parse_args(arguments)
    study = Study.load(options.study)
    workers = study.resources.workers
    if not isinstance(workers, int):
        raise SystemExit("resources.workers must be a number here, so that every arm has as many")
    options.folder.mkdir(parents=True, exist_ok=True)
    search(study, options.folder.resolve(), workers=workers, reuse_actors=options.reuse_actors)


if __name__ == "__main__":
    # By its own name and not as __main__, so that Ray sends `train` by reference and a reused worker imports it once.
    from benchmarks.peers import stock_stack

    stock_stack.main()
