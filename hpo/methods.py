"""Samplers and pruners by name: a short name of ours or a dotted path, with options checked against the constructor.

Shared by `samplers` and `pruning`. Imports the study file's `Method` and, of Optuna, its warning class.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from optuna.exceptions import ExperimentalWarning

from hpo.errors import RequestError, nearest
from hpo.study import Method


def resolve(method: Method, *, key: str, known: Mapping[str, type]) -> type:
    """Return the class that the method names. key: the key of the study file, for the message."""
    if "." not in method.name:
        if method.name not in known:
            raise RequestError(
                f"{key}: a short name or a dotted path to a class; {method.name!r} is neither: "
                f"{nearest(method.name, known)}."
            )
        return known[method.name]
    module, _, name = method.name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise RequestError(f"{key}: a dotted path must lead to a class; {method.name!r} does not: {error}.") from None
    if not inspect.isclass(found):
        raise RequestError(f"{key}: a dotted path must lead to a class; {method.name} is {found!r}.")
    return found


def check_options(method: Method, *, key: str, takes: Callable[..., Any], ours: Mapping[str, str]) -> None:
    """Raise RequestError for an option that the constructor does not take. ours: option -> why it is not given here."""
    allowed = {name for name in inspect.signature(takes).parameters if name not in ours}
    for option in method.options:
        if option in ours:
            raise RequestError(f"{key}: the option {option!r} of {method.name} is set by hpo; {ours[option]}.")
        if option not in allowed:
            raise RequestError(
                f"{key}: {method.name} takes no option {option!r}: {nearest(option, allowed)}."
                if allowed
                else f"{key}: {method.name} takes no options; {option!r} came."
            )


def construct(method: Method, *, key: str, takes: type, options: Mapping[str, Any]) -> Any:
    """Return the object, with what its constructor refuses turned into a RequestError."""
    try:
        with quiet():
            return takes(**options)
    except ImportError as error:
        raise RequestError(
            f"{key}: {method.name} needs a package that is not installed: {error.name}. "
            "Install the extra: pip install 'generative-hpo[samplers]'."
        ) from None
    except (TypeError, ValueError) as error:
        raise RequestError(f"{key}: {method.name} refuses its options: {error}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Optuna's notes on experimental and ageing options from the user, who has no use for them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", FutureWarning)
        yield
