"""A training that costs nothing: its loss is a formula, so a search over it shows what everything else costs.

A study names it as `model: benchmarks.fake.train` and `space: benchmarks.fake`. Imports search_spaces alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from search_spaces import Choice, Float, Int, Space

_OFFSET = {"adam": 0.0, "rmsprop": 0.1, "sgd": 0.3}

SPACE = Space(
    "fake",
    {
        "lr": Float(1e-4, 1e-1, default=1e-3, log=True),
        "momentum": Float(0.0, 0.99, default=0.9, when={"optimizer": "sgd"}),
        "optimizer": Choice(("adam", "sgd", "rmsprop"), default="adam"),
        "width": Int(16, 512, default=128, log=True),
    },
)


def train(params: Mapping[str, Any], seed: int, budget: int) -> Iterator[dict[str, float]]:
    """Yield a loss that falls toward a floor; the floor is lowest at lr 0.01, width 128 and adam.

    The seed moves it by less than 0.01, so equal parameters rarely tie.
    """
    floor = math.log10(params["lr"] / 1e-2) ** 2 + 0.1 * math.log2(params["width"] / 128) ** 2
    floor += _OFFSET[params["optimizer"]]
    if params["optimizer"] == "sgd":
        floor += (params["momentum"] - 0.9) ** 2
    for epoch in range(1, budget + 1):
        yield {"loss": floor + 1.0 / epoch + (seed % 1000) * 1e-5}
