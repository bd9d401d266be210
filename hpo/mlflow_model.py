"""An export as an MLflow model from code, and its place in the model registry under the study's name.

No pickle: `model/` holds a script (`served.py`), the weights, and the code that builds them. MLflow is imported inside
functions, as it takes seconds.
"""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import hpo
from hpo.configuration import Config
from hpo.home import Home
from hpo.mirror import Position
from hpo.mlflow_client import SERVER_SETTINGS, connect, uri_of, without_password
from hpo.study import Study
from hpo.surroundings import environment, silence
from trainables.training.transfer import WEIGHTS

FOLDER, ALIAS = "model", "champion"
# What the model needs where it is served; loaders of data need more, and it loads none.
REQUIREMENTS = ("mlflow", "torch", "numpy", "safetensors", "scikit-learn", "scipy")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}


def save(folder: Path) -> None:
    """Write `model/` into an export's folder."""
    from trainables import exported

    found = exported.load(folder)
    # One sample alone, so that an example of a large one stays small.
    example = [{"count": 1, "seed": 0}]
    with _quiet():
        import mlflow
        from mlflow.models import ModelSignature
        from mlflow.types.schema import AnyType, ColSpec, DataType, Schema

        numbers = ("count", "seed", "label")
        asked = Schema([ColSpec(DataType.long, name, required=False) for name in numbers])
        mlflow.pyfunc.save_model(
            path=folder / FOLDER,
            python_model=str(Path(hpo.__file__).with_name("served.py")),
            artifacts={"weights": str(folder / WEIGHTS)},
            code_paths=[str(path) for path in _code(found.recipe.model)],
            signature=ModelSignature(inputs=asked, outputs=Schema([ColSpec(AnyType(), "samples")])),
            input_example=example,
            pip_requirements=_requirements(),
            metadata={"study": found.notes.get("study", ""), "license": found.data.license},
        )


def register(folder: Path, study: Study, home: Home, config: Config, *, tags: Mapping[str, Any]) -> str:
    """Put the model of an export into the registry of the study's tracking store, with the alias `champion`.

    Returns in one line what became of it; the export stands whatever that is.
    """
    uri = uri_of(study, home)
    name = study.name
    with _quiet(server=not uri.startswith("sqlite")):
        try:
            run = Position.load(home.tracking_offset).parent
            if not run:
                return "not registered: MLflow knows no run of this study; hpo sync, then export again"
            client = connect(uri)
            number = 1 + max((int(found.version) for found in _versions(client, name)), default=0)
            place = f"{FOLDER}-{number}"
            client.log_artifacts(run, str(folder / FOLDER), place)
            source = f"{client.get_run(run).info.artifact_uri}/{place}"
            if not _exists(client, name):
                client.create_registered_model(name)
            told = {key: str(value)[:500] for key, value in {**_params(config), **tags}.items()}
            made = client.create_model_version(name, source, run_id=run, tags=told)
            client.set_registered_model_alias(name, ALIAS, made.version)
            return f"registered as {name!r} version {made.version}, alias {ALIAS}"
        except Exception as error:  # whatever a store answers, or does not
            line = next(iter(str(error).strip().splitlines()), type(error).__name__)
            return without_password(f"not registered in {uri}: {type(error).__name__}: {line}")


def _params(config: Config) -> dict[str, Any]:
    return {f"params.{name}": value for name, value in config.params.items()}


def _versions(client: Any, name: str) -> list[Any]:
    return list(client.search_model_versions(f"name='{name}'"))


def _exists(client: Any, name: str) -> bool:
    return any(found.name == name for found in client.search_registered_models(f"name='{name}'"))


def _code(model: str) -> list[Path]:
    """The folders and files that the model's code lies in: ours, and what holds the user's own module."""
    names = dict.fromkeys(["trainables", *([model.partition(".")[0]] if "." in model else [])])
    return [_place(name) for name in names]


def _place(package: str) -> Path:
    module = importlib.import_module(package)
    if hasattr(module, "__path__"):
        return Path(next(iter(module.__path__)))
    assert module.__file__ is not None
    return Path(module.__file__)


def _requirements() -> list[str]:
    import importlib.metadata

    # Without the local part, such as +cpu, that the index of packages does not have.
    return [f"{name}=={importlib.metadata.version(name).partition('+')[0]}" for name in REQUIREMENTS]


@contextlib.contextmanager
def _quiet(*, server: bool = False) -> Iterator[None]:
    """MLflow that logs nothing, sends nothing home, and tries a server that does not answer once."""
    settings = {**QUIET, **(SERVER_SETTINGS if server else {})}
    # Recorded, as some of its calls turn on what was turned off: it asks for hints, which say less than a signature.
    with environment(settings), warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  it sets up log handlers, which are then kept silent

        with silence():
            yield
