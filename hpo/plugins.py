"""Names to plug-ins: a name without a dot is a file of ours, a dotted name an import path of the user's.

The file name is the registry, so adding a plug-in edits no other file, and a Ray worker finds what the driver found.
Imports only the plug-in that is asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from hpo.errors import RequestError, nearest

Kind = Literal["models", "data", "metrics", "spaces"]

# What a plug-in file of each kind must define.
ROLES: dict[Kind, str] = {"models": "Model", "data": "load", "metrics": "Metric", "spaces": "SPACE"}
_PACKAGES: dict[Kind, str] = {
    "models": "trainables.models",
    "data": "trainables.data",
    "metrics": "trainables.metrics",
    "spaces": "search_spaces",
}
_STUDIES = Path(__file__).parent / "studies"


def names(kind: Kind) -> list[str]:
    """Return the names of our plug-ins of this kind, sorted. Imports none of them."""
    return _files_in(_folder(kind), ".py")


def studies() -> dict[str, Path]:
    """Return the ready-made studies: name to YAML file."""
    return {name: _STUDIES / f"{name}.yaml" for name in _files_in(_STUDIES, ".yaml")}


def reach(paths: Iterable[str], *, folder: str = "") -> None:
    """Let this process import what the driver can, and find the files that it names.

    The driver's import paths come behind its own; the folder where the driver stands becomes its own, if it is here.
    """
    sys.path.extend(path for path in paths if path not in sys.path)
    if folder and Path(folder).is_dir():
        os.chdir(folder)


def load(kind: Kind, name: str) -> Any:
    """Return the plug-in: the `ROLES[kind]` of our file, or what the dotted path leads to.

    A dotted path may name a module (its role is taken) or an attribute of one. Raises RequestError with the nearest
    spelling where there is none, and with the line where a user's module cannot be imported.
    """
    if "." in name:
        return _load_dotted(kind, name)
    known = names(kind)
    if name not in known:
        raise RequestError(f"{kind}: a name is a file in {_PACKAGES[kind]} or a dotted import path; "
                           f"{name!r} is neither: {nearest(name, known)}.")  # fmt: skip
    return getattr(importlib.import_module(f"{_PACKAGES[kind]}.{name}"), ROLES[kind])


def _load_dotted(kind: Kind, name: str) -> Any:
    parent, _, attribute = name.rpartition(".")
    if _found(name):
        module = _import(kind, name)
        if hasattr(module, ROLES[kind]):
            return getattr(module, ROLES[kind])
        raise RequestError(f"{kind}: a module must define {ROLES[kind]!r}; {name} does not. "
                           f"Define it, or name one attribute: {name}.NAME.")  # fmt: skip
    if not _found(parent):
        raise RequestError(f"{kind}: a dotted name is an import path; no module {parent!r} is found for {name!r}. "
                           "Check the spelling, and start where it can be imported.")  # fmt: skip
    module = _import(kind, parent)
    if not hasattr(module, attribute):
        public = [item for item in vars(module) if not item.startswith("_")]
        raise RequestError(f"{kind}: module {parent} has no {attribute!r}: {nearest(attribute, public)}.")
    return getattr(module, attribute)


def _import(kind: Kind, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except Exception as error:  # whatever a user's module does when it is imported
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{error.filename}, line {error.lineno}" if isinstance(error, SyntaxError) else \
            f"{place.filename}, line {place.lineno}"  # fmt: skip
        raise RequestError(
            f"{kind}: the module {name} must import; it does not: {type(error).__name__}: {error} ({where}). Mend it."
        ) from None


def _found(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
    except Exception:  # a parent that fails to import is found, and told when it is imported
        return True


def _folder(kind: Kind) -> Path:
    spec = importlib.util.find_spec(_PACKAGES[kind])
    if spec is None or spec.origin is None:  # our own packages are always there
        raise AssertionError(_PACKAGES[kind])
    return Path(spec.origin).parent


def _files_in(folder: Path, suffix: str) -> list[str]:
    return sorted(file.stem for file in folder.glob(f"*{suffix}") if not file.name.startswith("_"))
