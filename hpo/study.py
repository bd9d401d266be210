"""The study: one frozen object, one YAML file. What it asks for, never how it is done.

Text from users comes in here and nowhere else, so every key, type and bound is checked here. What the names stand for
is looked up in `hpo.parts`. Imports errors and plug-in names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_serializer, model_validator

from hpo import plugins
from hpo.errors import NotBuilt, RequestError, nearest

# What a resumed search may change in its study file: how much and where, never what is compared.
CHANGEABLE = ("budget", "fuse", "resources", "tracking")

RACE = "hpo.race.Race"  # the sampler of a selection

_SHARE_OF_FLOOR = re.compile(r"(\d+(\.\d*)?|\.\d+) floor")

Scalar = bool | int | float | str | None
Precision = Literal["float32", "tf32", "bf16"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


def _at_least_one(value: str | int) -> str | int:
    if isinstance(value, int) and value < 1:
        raise ValueError("must be auto or at least 1")
    return value


class Budget(_Frozen):
    """How much may be spent. `trials` counts done, pruned and died; lost trials are replaced.

    epochs: the length of one full training. hours: no new trial begins after so many hours of searching, resumed time
    included. epochs_total: no new trial begins once so many epochs were trained in all.
    """

    trials: int = Field(ge=1)
    epochs: int = Field(ge=1)
    hours: float | None = Field(default=None, gt=0)
    epochs_total: int | None = Field(default=None, ge=1)


class Resources(_Frozen):
    """Where trials run. A worker is one process with `cpus_per_worker` threads and a share of a GPU.

    workers: auto takes what the machine or cluster has. gpus_per_worker: auto is 1 where there are GPUs, else 0.
    trials_per_group: how many trials a worker's group takes before it is renewed; 1 gives one Ray Tune trial each,
    auto renews after about a minute, or ten where trials are fused. retries: how often a trial whose worker went away
    is placed again. checkpoint_seconds: training that may be repeated after a crash, at least one epoch.
    """

    workers: Literal["auto"] | int = "auto"
    cpus_per_worker: int = Field(default=1, ge=1)
    gpus_per_worker: Literal["auto"] | float = "auto"
    trials_per_group: Literal["auto"] | int = "auto"
    retries: int = Field(default=2, ge=0)
    checkpoint_seconds: float = Field(default=10.0, gt=0)

    @field_validator("workers", "trials_per_group")
    @classmethod
    def _at_least_one(cls, value: str | int) -> str | int:
        return _at_least_one(value)

    @field_validator("gpus_per_worker")
    @classmethod
    def _not_negative(cls, value: str | float) -> str | float:
        if not isinstance(value, str) and value < 0:
            raise ValueError("must be auto or at least 0")
        return value


class Method(BaseModel):
    """A sampler or pruner: a short name or dotted path, and the options of its constructor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    options: dict[str, Scalar | list[Scalar]] = {}

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if isinstance(value, Mapping) and "options" not in value:
            return {"name": value.get("name"), "options": {key: item for key, item in value.items() if key != "name"}}
        return value

    @model_serializer
    def _as_written(self) -> str | dict[str, Any]:
        return {"name": self.name} | self.options if self.options else self.name


class Objective(_Frozen):
    """A metric and its direction; for metrics of ours the direction is the metric's own."""

    metric: str
    direction: Literal["minimize", "maximize"]

    @property
    def name(self) -> str:
        """What the metric is called everywhere: of a dotted path the last part."""
        return self.metric.rpartition(".")[2]


class Constraint(_Frozen):
    """What a finished trial must keep besides its objective: a bound on a metric, `at_least` or `at_most`.

    A bound is a number, or `F floor`: F times what the metric says of real rows beside other real rows. A trial that
    breaks one is done, but not the best while another keeps them all.
    """

    metric: str
    at_least: float | str | None = None
    at_most: float | str | None = None

    @model_validator(mode="after")
    def _one_bound(self) -> Constraint:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("a constraint has either at_least or at_most")
        if isinstance(self._written, str) and _SHARE_OF_FLOOR.fullmatch(self._written) is None:
            raise ValueError("a bound is a number, or a share of the floor such as `0.8 floor`")
        return self

    @property
    def name(self) -> str:
        """What the metric is called; of a dotted path the last part."""
        return self.metric.rpartition(".")[2]

    @property
    def key(self) -> str:
        """What the constraint is called in the ledger."""
        return f"{self.name} {'at_least' if self.at_most is None else 'at_most'} {self._written}"

    @property
    def of_floor(self) -> bool:
        """Whether the bound is a share of the floor."""
        return isinstance(self._written, str)

    def missed(self, value: float, *, floor: float | None) -> float:
        """By how much a value breaks the bound, as a share of the bound's size; 0 or less where it keeps it."""
        bound = self._bound(floor)
        return (bound - value if self.at_most is None else value - bound) / (abs(bound) or 1.0)

    def told(self, value: float, *, floor: float | None) -> str:
        """In words that a value breaks the bound."""
        share = f" ({self._written})" if self.of_floor else ""
        return (
            f"{self.name} {value:.4g} is {'below' if self.at_most is None else 'above'} {self._bound(floor):.4g}{share}"
        )

    @property
    def _written(self) -> float | str:
        written = self.at_least if self.at_most is None else self.at_most
        assert written is not None
        return written

    def _bound(self, floor: float | None) -> float:
        if not isinstance(self._written, str):
            return self._written
        assert floor is not None
        return float(self._written.split()[0]) * floor


class Study(_Frozen):
    """A request: model family, data set, search space, objective, and what may be spent on it.

    metrics: what is measured of finished trials besides, and decides nothing. fuse: how many trials of equal structure
    a worker trains as one stack of tensors; auto measures which width is fastest. precision: tf32 and bf16 trade digits
    for speed where the device can.

    Load one with `Study.load`, or make it from Python with the same keys. Raises RequestError for what cannot be.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$")
    model: str
    data: str | dict[str, Scalar | list[Scalar]] | None = None
    space: str | dict[str, Any]
    objective: str | Objective | list[str]
    constraints: list[Constraint] = []
    metrics: list[str] = []
    budget: Budget
    sampler: Method = Method(name="tpe")
    pruner: Method = Method(name="asha", options={"eta": 3, "grace": 3})
    fuse: Literal["auto"] | int = 1
    precision: Precision = "float32"
    resources: Resources = Resources()
    ledger: str | None = None
    checkpoints: str | None = None
    tracking: str | None = None
    seed: int = Field(default=0, ge=0)

    @field_validator("fuse")
    @classmethod
    def _at_least_one(cls, value: str | int) -> str | int:
        return _at_least_one(value)

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise RequestError(_explain(error)) from None
        _refuse_unbuilt(self)

    @classmethod
    def load(cls, source: str | Path, *, changes: Sequence[str] = ()) -> Study:
        """Return the study in a YAML file, or the ready-made study of that name, with `a.b=value` changes applied."""
        path = Path(source)
        known = plugins.studies()
        if str(source) in known and not path.is_file():
            path = known[str(source)]
        elif not path.is_file():
            fault = "it is a folder" if path.is_dir() else "there is no such file"
            raise RequestError(f"A study is a YAML file or a ready-made one; {str(source)!r} is neither ({fault}): "
                               f"{nearest(str(source), known)}.")  # fmt: skip
        values = read_yaml(path)
        for change in changes:
            apply_change(values, change)
        return cls(**values)

    @property
    def races(self) -> bool:
        """Whether this is a stage of a selection, which trains a few configurations under many seeds."""
        return self.sampler.name == RACE

    @property
    def objective_name(self) -> str:
        """What the objective is called in the ledger, in MLflow and in figures."""
        metric = self.objective.metric if isinstance(self.objective, Objective) else str(self.objective)
        return metric.rpartition(".")[2]

    def save(self, path: Path) -> None:
        """Write the study as YAML, every key of it; a crash leaves the file as it was."""
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_text(yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False), encoding="utf-8")
        draft.replace(path)

    def check_continues(self, path: Path) -> None:
        """Raise RequestError where this study compares something else than the one in `path`, a home's study file."""
        before, now = Study.load(path).model_dump(mode="json"), self.model_dump(mode="json")
        before["budget.epochs"], now["budget.epochs"] = before["budget"]["epochs"], now["budget"]["epochs"]
        changed = [key for key in now if key not in CHANGEABLE and now[key] != before[key]]
        if changed:
            key = changed[0]
            raise RequestError(
                f"A resumed study keeps what it compares; {', '.join(changed)} differ from {path} "
                f"({key}: {before[key]!r} there, {now[key]!r} now). Undo the change, or give another --home."
            )


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file; RequestError where it is none. Safe load only."""
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} must be YAML in UTF-8; it is not: {error}") from None
    except OSError as error:
        raise RequestError(f"{path} must be a readable file: {error.strerror}.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise RequestError(f"{path} must hold a mapping of keys to values; it holds {type(values).__name__}.")
    return values


# Keys of the design that this release refuses by name: key -> (what is accepted until then, the test of it).
UNBUILT: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "ledger": ("null, a journal in the home", lambda value: value is None),
    "checkpoints": ("null, in the home", lambda value: value is None),
    "objective": ("one metric", lambda value: not isinstance(value, list)),
}


def _refuse_unbuilt(study: Study) -> None:
    for key, (accepted, test) in UNBUILT.items():
        value = getattr(study, key)
        if not test(value):
            raise NotBuilt(f"{key}: this release takes {accepted}; {value!r} came. The feature is not built yet: "
                           "leave the key out.")  # fmt: skip


# Keys that are a name by itself, or a mapping with the name under this key and options beside it.
_NAMED_BY = {"data": "name", "space": "base", "sampler": "name", "pruner": "name"}


def apply_change(values: dict[str, Any], change: str) -> None:
    """Set one key of a study as it is written: `key=value` or `a.b=value`, the value in YAML."""
    path, equals, text = change.partition("=")
    if not equals or not path:
        raise RequestError(f"--set takes key=value or a.b=value; {change!r} came.")
    *parents, last = path.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if isinstance(inner, str) and parent in _NAMED_BY:
            inner = values[parent] = {_NAMED_BY[parent]: inner}
        if not isinstance(inner, dict):
            raise RequestError(
                f"--set {change}: {parent!r} holds a plain value, not keys. Set {parent}=... as a whole."
            )
        values = inner
    try:
        values[last] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RequestError(f"--set {change}: the value must be YAML; {text!r} is not.") from None


def _explain(error: ValidationError) -> str:
    lines: dict[str, list[str]] = {}
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if not _is_branch(part)) or "study"
        if item["type"] == "extra_forbidden":
            parent, _, key = where.rpartition(".")
            text = f"no such key; {nearest(key, _keys_of(parent))}."
        elif item["type"] == "missing":
            text = "this key is required and was not given."
        else:
            text = f"{item['msg'].removeprefix('Value error, ')}; {item['input']!r} came."
        lines.setdefault(where, []).append(text)
    # Of a union, the branch that came furthest says what is wrong; the others only that they are not it.
    told = {where: texts for where, texts in lines.items() if not any(key.startswith(f"{where}.") for key in lines)}
    return "The study is not valid.\n  " + "\n  ".join(f"{where}: {texts[-1]}" for where, texts in told.items())


def _is_branch(part: int | str) -> bool:
    """Whether pydantic added this part for a branch of a union; no key of ours looks like it."""
    text = str(part)
    return "[" in text or text in {"str", "int", "float", "Objective"}


def _keys_of(parent: str) -> list[str]:
    models: dict[str, type[BaseModel]] = {
        "": Study, "budget": Budget, "resources": Resources, "objective": Objective, "constraints": Constraint,
    }  # fmt: skip
    parent = parent.partition(".")[0]
    return list(models[parent].model_fields) if parent in models else []
