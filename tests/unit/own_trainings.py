"""Trainings of a user's own, for tests: cheap curves by formula, and every way to go wrong."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any


def curve(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """A loss that falls to `x` squared."""
    x = params["x"]
    for epoch in range(1, budget + 1):
        yield {"loss": x * x + 1 / epoch, "lr": 0.1 / epoch}


def slow_curve(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """`curve` at 50 ms an epoch."""
    for metrics in curve(params, seed, budget):
        time.sleep(0.05)
        yield metrics


def returns_early(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """Ends by itself after two epochs."""
    for epoch in range(2):
        yield {"loss": params["x"] + epoch}


def diverges(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """Every trial but the default one is NaN at its second epoch."""
    x = params["x"]
    yield {"loss": 1.0}
    for _ in range(budget - 1):
        yield {"loss": 1.0 if x == 0.5 else float("nan")}


def raises(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """A bug of the user's."""
    yield {"loss": params["x"]}
    raise RuntimeError("the user's own bug")


def reads_nothing(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """Ignores its parameters."""
    yield {"loss": 1.0}


def misses_the_objective(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """Yields another name than the study's objective."""
    for _ in range(budget):
        yield {"lss": params["x"]}


def kills_its_worker(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """The process dies at the first epoch of every trial, as of a segmentation fault."""
    yield {"loss": params["x"]}
    os._exit(139)
