"""What a law is, and how one is tried on a subject. Imports nothing of ours."""

from __future__ import annotations

import inspect
import math
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Law = Callable[[Any], None]


class Broken(AssertionError):
    """A plug-in breaks the law that raises this. came: what was found. remedy: what to do about it."""

    def __init__(self, came: str, *, remedy: str) -> None:
        super().__init__(f"{came}: {remedy}")


class NotAsked(Exception):
    """The law does not ask anything of this subject; the text says why."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How one law was found on one subject; `text` says what broke it, or why it was not asked."""

    law: str
    outcome: Literal["ok", "broken", "not asked"]
    text: str = ""


def laws_of(module: ModuleType) -> list[Law]:
    """The laws that a module defines, in the order of the file."""
    return [
        function
        for name, function in vars(module).items()
        if inspect.isfunction(function)
        and not name.startswith("_")
        and function.__module__ == module.__name__
        and list(inspect.signature(function).parameters) == ["subject"]
    ]


def sentence(law: Law) -> str:
    """The law in words."""
    return (inspect.getdoc(law) or law.__name__).partition("\n")[0]


def judge(law: Law, subject: object) -> Verdict:
    """Try one law; whatever a plug-in raises breaks it, and is told with its place."""
    try:
        law(subject)
    except Broken as error:
        return Verdict(law=sentence(law), outcome="broken", text=str(error))
    except NotAsked as error:
        return Verdict(law=sentence(law), outcome="not asked", text=str(error))
    except Exception as error:  # whatever a user's code does
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"it raised {type(error).__name__}: {error} ({place.filename}, line {place.lineno})"
        return Verdict(law=sentence(law), outcome="broken", text=text)
    return Verdict(law=sentence(law), outcome="ok")


@contextmanager
def in_float64() -> Iterator[None]:
    """Whatever is built and drawn in here is float64, so that what should be equal is so to many digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def globally_seeded(seed: int) -> Iterator[None]:
    """The global generators of Python, NumPy and torch stand at this seed; drawing from one breaks the law.

    They are as before afterwards.
    """
    before = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        _seed(seed)
        expected = _next_draws()
        _seed(seed)
        yield
        if _next_draws() != expected:
            raise Broken(
                "a global generator was drawn from, of torch, NumPy or Python",
                remedy="draw from the generator that is handed in, and nowhere else",
            )
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
        torch.set_rng_state(before[2])


def _seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _next_draws() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))


def generator(seed: int = 0) -> torch.Generator:
    """A new generator at this seed."""
    return torch.Generator().manual_seed(seed)


def apart(left: Tensor, right: Tensor) -> float:
    """The largest difference, relative to the largest entry of the second; to 1 where that is less. NaN is apart.

    An optimizer that divides by the gradient's size makes much of a gradient that is 0 but for rounding.
    """
    if left.shape != right.shape:
        return math.inf
    if left.numel() == 0:
        return 0.0
    found = float((left.double() - right.double()).abs().max()) / max(1.0, float(right.double().abs().max()))
    return math.inf if math.isnan(found) else found
