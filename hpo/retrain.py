"""One configuration, trained again: into a folder like an export's, once or under several seeds."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hpo import measured
from hpo.configuration import CONFIG, Config, trainer_of
from hpo.errors import RequestError
from hpo.folders import fresh
from hpo.intervals import interval
from hpo.surroundings import versions
from trainables.training.loop import Trainer
from trainables.training.transfer import WEIGHTS

OnEpoch = Callable[[int, dict[str, float]], None]


def train(
    config: Config, folder: str | Path, *, start: str | Path | None = None, on_epoch: OnEpoch | None = None
) -> list[str]:
    """Train one configuration at its full budget into a folder like an export's; return the names of its files.

    start: a folder with the weights to begin with, as an export has them. The configuration that is written names it.
    """
    config = _begun_from(config, start)
    with fresh(Path(folder).resolve()) as target:
        _train_into(target, config, on_epoch)
        return sorted(file.name for file in target.iterdir())


def train_seeds(
    config: Config,
    folder: str | Path,
    *,
    seeds: int,
    start: str | Path | None = None,
    on_epoch: OnEpoch | None = None,
) -> dict[str, Any]:
    """Train one configuration under so many seeds, from its own upward, each into `folder/seed-1` and so on.

    Returns what `folder/metrics.json` says of the objective: each seed's value, and where there are two or more the
    mean with its interval at 95 %, `expected`, and the interval of one more training, `one_run`; else None.
    """
    if seeds < 1:
        raise RequestError(f"--seeds: a configuration is trained under 1 seed or more; {seeds} came. Give more.")
    config = _begun_from(config, start)
    runs: list[dict[str, Any]] = []
    with fresh(Path(folder).resolve()) as target:
        for number in range(seeds):
            own = config.model_copy(update={"seed": config.seed + number})
            (target / f"seed-{number + 1}").mkdir()
            metrics = _train_into(target / f"seed-{number + 1}", own, on_epoch)
            runs.append({"seed": own.seed, "value": metrics["training"].get(config.objective.name)})
        values = [run["value"] for run in runs if run["value"] is not None]
        asked = {"expected": interval(values), "one_run": interval(values, one_more=True)}
        known = {name: None if one is None else dataclasses.asdict(one) for name, one in asked.items()}
        found = {"objective": config.objective.model_dump(), "runs": runs, **known}
        (target / CONFIG).write_text(config.to_yaml(), encoding="utf-8")
        (target / measured.METRICS).write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return found


def to_its_end(trainer: Trainer, *, measure: str, on_epoch: OnEpoch | None = None) -> dict[str, float]:
    """Train to the end of the budget and return the last metrics, with one measured then; it must not die."""
    metrics: dict[str, float] = {}
    while trainer.step < trainer.epochs:
        progress = trainer.advance(measure=[measure] if trainer.step + 1 == trainer.epochs else [])
        if progress.ended:
            break
        metrics = dict(progress.metrics)
        if progress.cause is not None:
            raise RequestError(f"This configuration must train to its end; at epoch {progress.step} it died: "
                               f"{progress.cause}. Choose another trial.")  # fmt: skip
        if on_epoch is not None:
            on_epoch(progress.step, metrics)
    return metrics


def _train_into(target: Path, config: Config, on_epoch: OnEpoch | None) -> dict[str, Any]:
    trainer = trainer_of(config)
    metrics = to_its_end(trainer, measure=config.objective.name, on_epoch=on_epoch)
    said = {"chosen": "trained", "training": metrics, "produced_by": measured.produced_by()}
    return measured.write(target, config.model_copy(update={"versions": versions()}), trainer, metrics=said)


def _begun_from(config: Config, start: str | Path | None) -> Config:
    if start is None:
        return config
    if config.data is None:
        raise RequestError("--from: a training function of your own loads what it begins with; it takes no weights "
                           "of ours. Leave --from out.")  # fmt: skip
    if not (Path(start) / WEIGHTS).is_file():
        raise RequestError(f"--from takes a folder with {WEIGHTS}, such as an export; {start} is none. "
                           "Check the path.")  # fmt: skip
    return config.model_copy(update={"params": {**config.params, "transfer": str(Path(start).resolve())}})
