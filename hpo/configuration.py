"""One configuration, complete, as `config.yaml` of an export has it, and the training that it stands for."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hpo import parts
from hpo.errors import RequestError
from hpo.messages import Params
from hpo.study import Budget, Objective, Precision, Scalar, Study, read_yaml
from trainables.exported import Recipe
from trainables.training.loop import Trainer

CONFIG = "config.yaml"


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

    def recipe(self) -> Recipe:
        """What the training is made from, as the file of its weights has it; of a model family."""
        assert self.data is not None
        return Recipe(
            model=self.model,
            data=self.data,
            params=self.params,
            seed=self.seed,
            epochs=self.epochs,
            precision=self.precision,
            threads=self.threads,
        )

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(), sort_keys=False)

    @property
    def sha256(self) -> str:
        """The hash of the file that it is written as."""
        return hashlib.sha256(self.to_yaml().encode()).hexdigest()


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


def trainer_of(config: Config) -> Trainer:
    """Return the untrained training of a configuration; raises RequestError where its data are others by now."""
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
