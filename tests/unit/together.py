"""Trainings in company, and what they become beside the reference in `plain.py`."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence

import torch
from plain import Config, Plain
from torch import Tensor

from trainables.data import digits, ring
from trainables.data._data import Data, Split, content_hash
from trainables.metrics._metric import Metric
from trainables.models import gan, vae
from trainables.training.alone import Training
from trainables.training.company import Company
from trainables.training.loop import Progress, Trainer
from trainables.training.stack import Stack

# 50 steps on 32 rows in batches of 16; many short epochs, so that a plateau shows.
ROWS, EPOCHS = 32, 25
FAMILIES = {
    "vae": vae.Model,
    **dict.fromkeys(("mlp", "conv", "ring", "conditional mlp", "conditional conv"), gan.Model),
}
BASE: dict[str, Config] = {
    "vae": {"optimizer": "adam", "lr": 0.1, "batch_size": 16, "latent": 2, "width": 8, "depth": 1},
    "mlp": {
        "architecture": "mlp",
        "optimizer": "adam",
        "lr": 0.03,
        "batch_size": 16,
        "latent": 3,
        "width": 8,
        "depth": 1,
    },
    "conv": {
        "architecture": "conv",
        "optimizer": "adam",
        "lr": 0.005,
        "batch_size": 16,
        "latent": 3,
        "width": 3,
    },
}

BASE["ring"] = BASE["mlp"]
for _network in ("mlp", "conv"):
    BASE[f"conditional {_network}"] = {**BASE[_network], "conditional": True}


@functools.cache
def few_points() -> Data:
    """Points of the ring: real numbers, without levels. As many as of the digits."""
    whole = ring.load()
    splits = {name: Split(x=split.x[:ROWS], labels=split.labels[:ROWS]) for name, split in whole.splits()}
    return dataclasses.replace(whole, sha256=content_hash(splits), **splits)


@functools.cache
def few_digits(rows: int = ROWS) -> Data:
    """So many digits to train on, of all classes and in 5 levels, and 40 to measure on."""
    whole = digits.load()

    def some(split: Split, count: int) -> Split:
        every = slice(None, len(split) // count * count, len(split) // count)
        return Split(x=(split.x[every] + 2) // 4, labels=split.labels[every])

    splits = {"train": some(whole.train, rows), "validation": some(whole.validation, 40), "test": some(whole.test, 40)}
    found = dataclasses.replace(whole, levels=5, value_range=(0.0, 4.0), sha256=content_hash(splits), **splits)
    return dataclasses.replace(found, name=f"{rows} digits")


def training(
    family: str,
    config: Config,
    *,
    seed: int,
    epochs: int = EPOCHS,
    metrics: Sequence[Metric] = (),
    data: Data | None = None,
    precision: str = "float32",
) -> Training:
    """A training on a few digits, under the family's base where the config says nothing else."""
    return Training(
        FAMILIES[family],
        data or (few_points() if family == "ring" else few_digits()),
        {**BASE[family], **config},
        seed=seed,
        epochs=epochs,
        metrics=metrics,
        precision=precision,
    )


def reference(family: str, config: Config, *, seed: int, epochs: int = EPOCHS) -> Plain:
    """The same in plain torch; one that was asked for before is not computed again."""
    return _reference(family, tuple(sorted(config.items())), seed, epochs, torch.get_default_dtype())


@functools.cache
def _reference(family: str, config: tuple[tuple[str, object], ...], seed: int, epochs: int, _: torch.dtype) -> Plain:
    data = few_points() if family == "ring" else few_digits()
    return Plain(FAMILIES[family], data, {**BASE[family], **dict(config)}, seed=seed, epochs=epochs)


class AtOnce(Stack):
    """A stack that moves all rows in one update, as on a GPU."""

    def __init__(self, first: Training, *, width: int) -> None:
        super().__init__(first, width=width, at_once=True)


def company_of(*trainers: Trainer, width: int = 8) -> Company:
    company = Company(lambda trainer: width)
    for trainer in trainers:
        company.join(trainer)
    return company


def go_on(company: Company, trainers: Sequence[Trainer], *, until: int | None = None) -> list[list[Progress]]:
    """Train these to the end of their budgets, or of epoch `until`, each then leaving; what each reported."""
    reports: dict[int, list[Progress]] = {id(trainer): [] for trainer in trainers}
    left = list(trainers)
    while left:
        for turn in company.advance():
            progress = turn.trainer.advance()
            reports[id(turn.trainer)].append(progress)
            if progress.cause is not None or progress.step == (until or turn.trainer.epochs):
                company.leave(turn.trainer)
                left = [trainer for trainer in left if trainer is not turn.trainer]
    return list(reports.values())


def weights(trained: Training) -> dict[str, Tensor]:
    """Weights and averages by name, as `Plain.weights` has them after an epoch."""
    found = {name: tensor.detach().clone() for name, tensor in trained.module.named_parameters()}
    for player in trained.players:
        if player.average is not None:
            own = trained.module.get_submodule(player.name).named_parameters(prefix=player.name)
            views = player.flat.layout.views(player.average)
            found |= {f"{player.name} average.{name}": view.clone() for (name, _), view in zip(own, views, strict=True)}
    return found


def apart(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    """The largest difference between two models, each tensor's relative to its largest entry, to 1 where that is 0."""
    assert left.keys() == right.keys()
    largest = {name: float(tensor.abs().max()) or 1.0 for name, tensor in right.items()}
    return max(float((left[name] - right[name]).abs().max()) / largest[name] for name in left)


def logs_apart(reports: Sequence[Progress], logs: Sequence[Mapping[str, float]]) -> float:
    """The largest difference between the logs of a training, each relative to its largest value in any epoch.

    Not to each value: a mean over the logits of an epoch may come out near 0, where only rounding is left of it.
    """
    largest: dict[str, float] = {}
    for name, value in (item for of_epoch in logs for item in of_epoch.items()):
        largest[name] = max(largest.get(name, 0.0), abs(value))
    worst = 0.0
    for report, of_epoch in zip(reports, logs, strict=True):
        assert report.metrics.keys() == of_epoch.keys()
        for name, value in of_epoch.items():
            worst = max(worst, abs(report.metrics[name] - value) / (largest[name] or 1.0))
    return worst


def differs(one: Plain, other: Plain, *, by: float) -> bool:
    """Whether the weights of two references come apart by more than this in some epoch."""
    for epoch in range(1, min(one.epochs, other.epochs) + 1):
        left, right = (plain.until(epoch).weights[epoch - 1] for plain in (one, other))
        shared = left.keys() & right.keys()
        if left.keys() != right.keys() or apart({n: left[n] for n in shared}, {n: right[n] for n in shared}) > by:
            return True
    return False
