"""A plug-in of the user's held against the laws: which roles a file has, and what each is tried on.

Imports torch by way of the laws, so only the verb that needs it imports this. Floor: plugins, laws, trainables.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

from hpo import plugins
from hpo.errors import RequestError, nearest
from hpo.laws import data as data_laws
from hpo.laws import metrics as metric_laws
from hpo.laws import models as model_laws
from hpo.laws import spaces as space_laws
from hpo.laws import trainings as training_laws
from hpo.laws._law import Law, Verdict, judge, laws_of
from hpo.laws._measured import Measured, first_measured, on_model, on_rows
from hpo.laws._subject import Subject, subjects
from hpo.laws.data import Loaded, example_of, loaded_by
from hpo.laws.spaces import Named
from hpo.plugins import Kind
from search_spaces import Space
from trainables.data._data import Data

# What is tried first where neither the user nor the file says more: small, with levels and labels.
FIRST_DATA = "digits"

Found = tuple[str, Verdict]


def check(target: str, *, space: str | None = None, data: str | None = None) -> Iterator[Found]:
    """Try every law on what `target` defines; yields what was tried and how it was found, one law after another.

    target: a file, a dotted name, or the name of a plug-in of ours. space: where a model's configurations are drawn
    from; the file's own by default, or the one of the same name. data: what models and metrics are tried on; the
    file's own by default, or the first of ours that is not refused. Raises RequestError where there is nothing to try.
    """
    name, roles = _roles(target)
    if "spaces" in roles:
        yield from _tried(laws_of(space_laws), Named(name=name, space=roles["spaces"]))
    with tempfile.TemporaryDirectory() as folder:
        own = _of_data(name, roles["data"], Path(folder)) if "data" in roles else None
        candidates = _Candidates(data=data, load=None if own is None else own.again)
        if own is not None:
            called = judge(data_laws.its_options_have_names, own)
            if called.outcome == "broken":  # without its options it cannot be called
                yield name, called
                return
            yield from _tried(laws_of(data_laws), own)
        if "models" in roles:
            yield from _of_model(name, roles, candidates, space=space)
        if "metrics" in roles:
            yield from _of_metric(name, roles["metrics"], candidates)


class _Candidates:
    """The data that models and metrics are tried on, loaded as they are asked for."""

    def __init__(self, *, data: str | None, load: Callable[[], Data] | None) -> None:
        if data is not None:
            self._loads: list[Callable[[], Data]] = [plugins.load("data", data)]
        elif load is not None:
            self._loads = [load]
        else:
            others = [name for name in plugins.names("data") if name != FIRST_DATA]
            every = [plugins.load("data", name) for name in (FIRST_DATA, *others)]
            self._loads = [load for load in every if example_of(load) is None]
        self._loaded: dict[int, Data] = {}

    def __iter__(self) -> Iterator[Data]:
        for place, load in enumerate(self._loads):
            if place not in self._loaded:
                try:
                    self._loaded[place] = load()
                except Exception as error:  # whatever a user's function does
                    raise RequestError(f"check: models and metrics are tried on data, and those that were given do not "
                                       f"load: {type(error).__name__}: {error}. Mend them, or give others: --data NAME."
                                       ) from None  # fmt: skip
            yield self._loaded[place]


def _of_data(name: str, load: Callable[..., Data], folder: Path) -> Loaded:
    try:
        return loaded_by(name, load, folder)
    except Exception as error:  # whatever a user's function does
        raise RequestError(f"check: `example(folder)` of a loader writes files and returns the options to read them; "
                           f"that of {name} does not: {type(error).__name__}: {error}. Mend it.") from None  # fmt: skip


def _of_model(
    name: str, roles: Mapping[Kind, Any], candidates: Iterable[Data], *, space: str | None
) -> Iterator[Found]:
    family: Any = roles["models"]
    if not isinstance(family, type):
        raise RequestError(f"check: the laws of models are those of a class Model; {family!r} came. "
                           "A training function of your own is tried by `hpo search`.")  # fmt: skip
    said = judge(model_laws.says_what_it_is, SimpleNamespace(family=family))
    if said.outcome == "broken":  # without its names nothing can be tried
        yield name, said
        return
    whole = _space_of(name, roles, space)
    for data in candidates:
        if found := subjects(name, family, data, whole):
            for subject in found:
                yield from _tried([*laws_of(model_laws), *laws_of(training_laws)], subject)
            return
    raise RequestError(f"check: a model is tried on data that it does not refuse, and {name} refuses all that there "
                       "is. Give some it takes: --data NAME.")  # fmt: skip


def _of_metric(name: str, metric: Any, candidates: Iterable[Data]) -> Iterator[Found]:
    on_model_first = first_measured(_models_for(name, metric, candidates))
    subject = first_measured(own for data in candidates for own in on_rows(name, metric, [data])) or on_model_first
    if subject is None:
        text = "it refuses all data and models that there are: give data that it takes by --data NAME"
        yield name, Verdict(law="A metric measures something.", outcome="broken", text=text)
        return
    laws = [law for law in laws_of(metric_laws) if law is not metric_laws.it_refuses_in_words]
    yield from _tried(laws, subject)
    if on_model_first is not None and on_model_first is not subject:
        yield from _tried(metric_laws.OF_MODELS, on_model_first)
    refused = (own for own in _models_for(name, metric, candidates) if own.refuses_beforehand is not None)
    if (first := next(refused, None)) is not None:
        yield from _tried([metric_laws.it_refuses_in_words], first)


def _models_for(name: str, metric: Any, candidates: Iterable[Data]) -> Iterator[Measured]:
    """The metric on a new model of each family of ours, of each of the data."""
    for data in candidates:
        for family in plugins.names("models"):
            if family in plugins.names("spaces"):
                for subject in subjects(family, plugins.load("models", family), data, plugins.load("spaces", family)):
                    yield on_model(name, metric, subject, data)


def _tried(laws: Iterable[Law], subject: Subject | Measured | Loaded | Named) -> Iterator[Found]:
    for law in laws:
        yield str(subject), judge(law, subject)


def _space_of(name: str, roles: Mapping[Kind, Any], written: str | None) -> Space:
    if written is not None:
        found = plugins.load("spaces", written)
    elif "spaces" in roles:
        found = roles["spaces"]
    elif name in plugins.names("spaces"):
        found = plugins.load("spaces", name)
    else:
        raise RequestError(f"check: a model is tried at draws from its space, and {name} has none. "
                           "Define SPACE in its file, or give one: --space NAME.")  # fmt: skip
    if not isinstance(found, Space):
        raise RequestError(f"check: SPACE must be a search_spaces.Space; it is {type(found).__name__}.")
    return found


def _roles(target: str) -> tuple[str, dict[Kind, Any]]:
    """The name of the plug-in, and what it is by role."""
    if target.endswith(".py"):
        module = _from_file(Path(target))
        return Path(target).stem, _defined(module, target)
    if "." not in target:
        kinds = [kind for kind in plugins.ROLES if target in plugins.names(kind)]
        if not kinds:
            known = {name for kind in plugins.ROLES for name in plugins.names(kind)}
            raise RequestError(f"check: a plug-in is a file FILE.py, a dotted name or one of ours; {target!r} is none: "
                               f"{nearest(target, known)}.")  # fmt: skip
        return target, {kind: plugins.load(kind, target) for kind in kinds}
    parent, _, attribute = target.rpartition(".")
    try:
        module = importlib.import_module(parent)
        if hasattr(module, "__path__") and importlib.util.find_spec(target) is not None:
            importlib.import_module(target)
    except Exception as error:  # whatever a user's module does when it is imported
        raise RequestError(_does_not_import(target, error)) from None
    if not hasattr(module, attribute):
        raise RequestError(f"check: module {parent} has no {attribute!r}: {nearest(attribute, vars(module))}.")
    found = getattr(module, attribute)
    if isinstance(found, ModuleType):
        return attribute, _defined(found, target)
    return parent.rpartition(".")[2], {_kind_of(found): found}


def _from_file(path: Path) -> ModuleType:
    """The module in a file: under its dotted name where it lies in a package, so that it may import relatively."""
    if not path.is_file():
        raise RequestError(f"check: a file is a path to it; there is none at {path}. Check the spelling.")
    path = path.resolve()
    above, names = path.parent, [path.stem]
    while (above / "__init__.py").is_file():
        names.insert(0, above.name)
        above = above.parent
    if str(above) not in sys.path:
        sys.path.append(str(above))  # what lies beside the file may be imported by it
    try:
        if len(names) > 1:
            return importlib.import_module(".".join(names))
        return _alone(path)
    except Exception as error:  # whatever a user's module does when it is imported
        raise RequestError(_does_not_import(str(path), error)) from None


def _alone(path: Path) -> ModuleType:
    """A file by itself, under a name of its own: that of the file may be one of a library."""
    name = f"hpo_checked_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _defined(module: ModuleType, target: str) -> dict[Kind, Any]:
    """What the module defines itself, and does not only import."""
    found: dict[Kind, Any] = {}
    for kind, role in plugins.ROLES.items():
        value = getattr(module, role, None)
        if value is not None and getattr(value, "__module__", module.__name__) in (module.__name__, Space.__module__):
            found[kind] = value
    if not found:
        raise RequestError(f"check: a plug-in defines one of {', '.join(plugins.ROLES.values())}; {target} has none. "
                           "Define one, or name what you mean: MODULE.NAME.")  # fmt: skip
    return found


def _kind_of(value: object) -> Kind:
    if isinstance(value, Space):
        return "spaces"
    if inspect.isclass(value):
        return "metrics" if hasattr(value, "measure") else "models"
    return "data"


def _does_not_import(target: str, error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{error.filename}, line {error.lineno}" if isinstance(error, SyntaxError) else \
        f"{place.filename}, line {place.lineno}"  # fmt: skip
    return f"check: {target} must import; it does not: {type(error).__name__}: {error} ({where}). Mend it."
