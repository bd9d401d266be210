"""A plug-in as a user writes one: an autoencoder of points with noise on its code, its space, points and a metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from search_spaces import Choice, Float, Space
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from trainables.data._data import Data, Split, content_hash
from trainables.metrics._metric import Measurement
from trainables.models._family import Knobs, Losses, Noise
from trainables.models._layers import is_on, linear, masked_dropout, over_rows
from trainables.training.params import Params


class Model(nn.Module):
    players: ClassVar[tuple[str, ...]] = ("net",)
    structural: ClassVar[tuple[str, ...]] = ("width",)
    averaged: ClassVar[tuple[str, ...]] = ("net",)
    stacks: ClassVar[bool] = True

    def __init__(self, data: Data, *, width: int, generator: torch.Generator) -> None:
        super().__init__()
        if data.levels is not None:
            raise ValueError(f"own_plugin models real numbers, and {data.name!r} has levels: take other data")
        self.shape, self.width = data.shape, width
        size = math.prod(data.shape)
        encoder, decoder = linear(size, width, generator=generator), linear(width, size, generator=generator)
        self.net = nn.ModuleDict({"encoder": encoder, "decoder": decoder})

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        return cls(data, width=params.integer("width"), generator=generator)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {"blur": params.number("blur"), "dropout": params.number("dropout")}

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return {**knobs, "blur": knobs["blur"] * (1.0 - progress)}

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"net": 1}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        noise = {"code": torch.randn(rows, self.width, generator=generator)}
        if knobs["dropout"] > 0.0:
            noise["dropout"] = torch.rand(rows, self.width, generator=generator)
        return noise

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        rows = x.flatten(1).to(weight_B.dtype)
        code = self.net["encoder"](rows).tanh() + (0.1 + knobs["blur"]) * noise["code"]
        if is_on(knobs["dropout"]) and "dropout" in noise:
            code = masked_dropout(code, noise["dropout"], knobs["dropout"])
        error_B = (self.net["decoder"](code) - rows).square().sum(1)
        loss = over_rows(weight_B, error_B)
        return loss, {"loss": loss.detach()}

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"code": torch.randn(rows, self.width, generator=generator)}

    def sample(self, noise: Noise) -> Tensor:
        rows: Tensor = self.net["decoder"](noise["code"])
        return rows.view(-1, *self.shape).float()


SPACE = Space.of(
    "own_plugin",
    {"width": Choice((4, 8), default=4), "blur": Float(0.0, 1.0, default=0.5), "batch_size": 16},
    {"dropout": Choice((0.0, 0.2), default=0.0), "ema": Choice((0.0, 0.9), default=0.9)},
    learning_rate(),
    optimizer(),
)


def load(*, rows: int = 1000) -> Data:
    generator = torch.Generator().manual_seed(0)
    train, validation, test = (_points(count, generator) for count in (rows, 300, 300))
    splits = {"train": train, "validation": validation, "test": test}
    return Data(
        name="own_plugin",
        modality="points",
        levels=None,
        value_range=(-4.0, 4.0),
        license="none",
        source="drawn",
        sha256=content_hash(splits),
        **splits,
    )


def _points(count: int, generator: torch.Generator) -> Split:
    labels = torch.arange(count) % 2
    x = torch.randn(count, 3, generator=generator).clamp(-3, 3) * 0.3 + labels[:, None]
    return Split(x=x, labels=labels)


class Metric:
    """The distance between the means of the rows and of 500 samples."""

    name: ClassVar[str] = "own_plugin"
    direction: ClassVar[Any] = "minimize"
    each_epoch: ClassVar[bool] = True

    def measure(self, model: Any, split: Split, generator: torch.Generator) -> Measurement:
        with torch.inference_mode():
            samples = model.sample(model.draw_samples(generator, rows=500)).flatten(1).double()
            rows = split.x.flatten(1).double()
            apart = samples.mean(0) - rows.mean(0)
            # The delta method: along the direction of the difference.
            along = samples @ (apart / apart.norm())
            return Measurement(
                value=float(apart.norm()),
                standard_error=float(along.std()) / math.sqrt(len(samples)),
                sample_size=len(samples),
            )
