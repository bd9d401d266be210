"""What leaves a home: one configuration that can be trained again, with its weights, metrics and samples.

An export is a folder of plain files: `config.yaml`, `weights.safetensors`, `metrics.json`, `samples.png`. `train` makes
the same folder from a configuration. No pickle is written or read.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hpo import analysis, parts
from hpo.errors import RequestError
from hpo.home import Home
from hpo.messages import Params
from hpo.study import Budget, Objective, Precision, Scalar, Study, read_yaml
from hpo.surroundings import versions
from trainables.training.loop import Generator, Trainer, generates
from trainables.training.transfer import WEIGHTS, found_from_here, from_scratch

OnEpoch = Callable[[int, dict[str, float]], None]


class Config(BaseModel):
    """One configuration, complete: trained again on the same machine and versions it gives the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["hpo-config-1"] = "hpo-config-1"
    study: str
    trial: int | None = None
    model: str
    data: str | dict[str, Scalar | list[Scalar]] | None
    data_sha256: str | None = None
    objective: Objective
    epochs: int
    seed: int
    threads: int = 1
    precision: Precision = "float32"
    params: Params
    versions: dict[str, str] = {}

    def as_study(self) -> Study:
        """Return a study of this one configuration, from which its trainer is made."""
        own = self.data is None
        return Study(
            name=self.study,
            model=self.model,
            data=self.data,
            space=dict(self.params),
            objective=self.objective if own else self.objective.metric,
            budget=Budget(trials=1, epochs=self.epochs),
            precision=self.precision,
        )


def export(home: Home | str | Path, folder: str | Path, *, trial: int | None = None) -> list[str]:
    """Write the best trial of a home (or `trial`) into a folder; return the names of the files written.

    Raises RequestError where nothing can be exported, or the folder holds what no export made.
    """
    place = (home if isinstance(home, Home) else Home(home)).require()
    study = Study.load(place.study)
    sha256 = parts.data_hash(study)
    place.check_data(sha256)
    reading = analysis.read(place)
    chosen = _chosen(reading, trial)
    config = Config(
        study=study.name,
        trial=chosen.number,
        model=study.model,
        data=study.data,
        data_sha256=sha256,
        objective=parts.objective_of(study),
        epochs=study.budget.epochs,
        seed=chosen.seed,
        threads=study.resources.cpus_per_worker,
        precision=study.precision,
        params=found_from_here(chosen.params),
        versions=versions(),
    )
    with _fresh(Path(folder).resolve()) as target:
        # The trial has weights of its own by now: what it began with may be gone.
        trainer = _trainer(config.model_copy(update={"params": from_scratch(config.params)}))
        if generates(trainer):
            _check_weights(place, chosen.number)
            trainer.load_weights(place.weights(chosen.number))
        kept = {bound.key: chosen.constraints.get(bound.key, 0.0) <= 0 for bound in study.constraints}
        _write(target, config, trainer, metrics={"search": _searched(reading, chosen.number), "constraints": kept})
        return sorted(file.name for file in target.iterdir())


def train(
    config: Config, folder: str | Path, *, start: str | Path | None = None, on_epoch: OnEpoch | None = None
) -> list[str]:
    """Train one configuration at its full budget into a folder like an export's; return the names of its files.

    start: a folder with the weights to begin with, as an export has them. The configuration that is written names it.
    """
    if start is not None:
        if config.data is None:
            raise RequestError("--from: a training function of your own loads what it begins with; it takes no weights "
                               "of ours. Leave --from out.")  # fmt: skip
        if not (Path(start) / WEIGHTS).is_file():
            raise RequestError(f"--from takes a folder with {WEIGHTS}, such as an export; {start} is none. "
                               "Check the path.")  # fmt: skip
        config = config.model_copy(update={"params": {**config.params, "transfer": str(Path(start).resolve())}})
    objective = config.objective.name
    with _fresh(Path(folder).resolve()) as target:
        trainer = _trainer(config)
        metrics: dict[str, float] = {}
        while trainer.step < config.epochs:
            progress = trainer.advance(measure=[objective] if trainer.step + 1 == config.epochs else [])
            if progress.ended:
                break
            metrics = dict(progress.metrics)
            if progress.cause is not None:
                raise RequestError(f"This configuration must train to its end; at epoch {progress.step} it died: "
                                   f"{progress.cause}. Choose another trial.")  # fmt: skip
            if on_epoch is not None:
                on_epoch(progress.step, metrics)
        _write(target, config.model_copy(update={"versions": versions()}), trainer, metrics={"training": metrics})
        return sorted(file.name for file in target.iterdir())


def read_config(path: str | Path) -> Config:
    """Return the configuration in a file, or in an export's folder. Raises RequestError where it is none."""
    file = Path(path)
    file = file / "config.yaml" if file.is_dir() else file
    if not file.is_file():
        raise RequestError(f"A configuration is a config.yaml that `hpo export` wrote; {path} is none.")
    values = read_yaml(file)
    if "format" not in values:
        raise RequestError(f"A configuration is a config.yaml that `hpo export` wrote; {file} is another file. "
                           "A study is run by `hpo search`.")  # fmt: skip
    try:
        return Config(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RequestError(f"{file}: {where}: {first['msg']}; {first['input']!r} came. Export it again.") from None


def _trainer(config: Config) -> Trainer:
    device, study = parts.use_device(threads=config.threads), config.as_study()
    metrics = None if config.data is None else parts.every_metric(study)
    if config.data_sha256 not in (None, found := parts.data_hash(study)):
        raise RequestError(f"data: a configuration is trained on the data that it was found with, of the hash "
                           f"{str(config.data_sha256)[:12]}; those here have {str(found)[:12]}. Put the files back as "
                           "they were, or remove data_sha256 from the configuration to train on others.")  # fmt: skip
    try:
        return parts.trainer_of(study, config.params, seed=config.seed, device=device, metrics=metrics)
    except ValueError as error:
        raise RequestError(f"params: {error}. Export the configuration again.") from None


def _write(target: Path, config: Config, trainer: Trainer, *, metrics: dict[str, Any]) -> None:
    (target / "config.yaml").write_text(yaml.safe_dump(config.model_dump(), sort_keys=False), encoding="utf-8")
    found: dict[str, Any] = {"objective": config.objective.model_dump(), **metrics}
    if generates(trainer):
        trainer.save_weights(target / "weights.safetensors")
        trainer.sheet(target / "samples.png")
        found["validation"] = _validation(trainer, config)
    (target / "metrics.json").write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _validation(trainer: Generator, config: Config) -> dict[str, dict[str, float | int | None]]:
    """Return every metric that takes this model and these data, with its yardsticks; null for what is not finite."""
    found: dict[str, dict[str, float | int | None]] = {}
    for metric in parts.every_metric(config.as_study()):
        try:
            measured = trainer.measure([metric.name])[metric.name]
        except ValueError:  # one that this very model has nothing for, such as classes
            continue
        beside = trainer.yardsticks([metric.name])
        own = dataclasses.asdict(measured) | {name.rpartition(".")[2]: value for name, value in beside.items()}
        found[metric.name] = {name: value if math.isfinite(value) else None for name, value in own.items()}
    return found


@contextmanager
def _fresh(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place at the end: all of an export, or none of it."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not _ours(folder))):
        raise RequestError(f"An export goes to a new folder, or over an earlier export; {folder} is neither. "
                           "Give another folder.")  # fmt: skip
    target = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise RequestError(f"An export needs a folder that can be written; {folder}: {error.strerror}. "
                           "Give another folder.") from None  # fmt: skip
    try:
        yield target
        if folder.exists():
            shutil.rmtree(folder)
        target.rename(folder)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def _ours(folder: Path) -> bool:
    try:
        return read_yaml(folder / "config.yaml").get("format") == "hpo-config-1"
    except RequestError:
        return False


def _chosen(reading: analysis.Reading, trial: int | None) -> analysis.TrialRow:
    if trial is None:
        best = analysis.best(reading)
        if best is None:
            raise RequestError("An export needs a trial that reached the end of its budget; there is none yet. "
                               "Let the search go on.")  # fmt: skip
        trial = best.trial
    done = {row.number: row for row in reading.rows if row.end == "done"}
    if trial not in done:
        raise RequestError(f"An export needs a trial that reached the end of its budget; {trial} is none of "
                           f"{', '.join(map(str, sorted(done))) or 'none'}. Give one of these as --trial.")  # fmt: skip
    return done[trial]


def _searched(reading: analysis.Reading, trial: int) -> dict[str, float]:
    """The last value of every metric that the search saw of this trial."""
    return {name: value for event in reading.events.get(trial, ()) for name, value in event.metrics.items()}


def _check_weights(home: Home, trial: int) -> None:
    if not home.weights(trial).is_file():
        raise RequestError(
            f"Trial {trial} has no weights in {home.weights(trial).parent}: only the best trials keep theirs. "
            f"Export another, or train it again: hpo show {home.path} --json has its parameters."
        )
