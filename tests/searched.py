"""A search without training: trials whose values are a formula, driven through the real ledger into a real home."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hpo.home import Home
from hpo.ledger import Ledger
from hpo.messages import End, Event, Params, Placement
from hpo.study import Budget, Method, Objective, Study
from search_spaces import Choice, Float, Int, Space
from trainables.training.loop import CONSTRAINTS

SPACE = Space(
    "toy",
    {
        "lr": Float(1e-4, 1e-1, default=1e-2, log=True),
        "optimizer": Choice(("adam", "sgd"), default="adam"),
        "momentum": Float(0.0, 0.9, default=0.5, when={"optimizer": "sgd"}),
        "depth": Int(1, 3, default=2),
        "noise": Float(0.0, 1.0, default=0.5),
        "width": 64,
    },
)


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What becomes of a trial: its end, the epochs it trains, its objective by step, other metrics, cause, files."""

    end: End | None = "done"
    epochs: int = 9
    values: Mapping[int, float] = field(default_factory=dict)
    cause: str = ""
    files: tuple[str, ...] = ()
    loss: Callable[[int], float] = float


def study(
    *,
    trials: int = 8,
    epochs: int = 9,
    direction: Literal["minimize", "maximize"] = "minimize",
    sampler: str = "random",
    metric: str = "score",
) -> Study:
    """A study whose pruner never decides: every end is scripted."""
    return Study(
        name="toy",
        model="nowhere.train",
        space=SPACE.to_mapping(),
        objective=Objective(metric=metric, direction=direction),
        budget=Budget(trials=trials, epochs=epochs),
        sampler=Method(name=sampler),
        pruner=Method(name="none"),
    )


def open_ledger(home: Home, made: Study, *, space: Space = SPACE) -> Ledger:
    assert isinstance(made.objective, Objective)
    return Ledger(made, home, space=space, direction=made.objective.direction, ahead=0)


def search(
    path: Path,
    made: Study,
    fate: Callable[[int, Params], Fate],
    *,
    space: Space = SPACE,
    groups: Sequence[str] = ("g0",),
) -> Home:
    """Run the whole budget, one trial after another; a trial without an end stays in its slot, running."""
    home = Home(path)
    home.path.mkdir(parents=True, exist_ok=True)
    made.save(home.study)
    ledger = open_ledger(home, made, space=space)
    for seq in range(1, 10 * made.budget.trials):
        placement = ledger.place(groups[seq % len(groups)], seq, seq)
        if placement is None:
            break
        train(ledger, placement, fate(placement.trial, placement.params), epochs=made.budget.epochs)
    ledger.close()
    return home


def train(ledger: Ledger, placement: Placement, fate: Fate, *, epochs: int) -> None:
    """Report every epoch in one batch, as a worker that trains fast would; epochs are a hundredth of a second apart."""
    assert fate.end != "done" or fate.epochs == epochs
    now = time.time()
    batch = []
    for step in range(1, fate.epochs + 1):
        last = step == fate.epochs
        batch.append(
            Event(
                trial=placement.trial,
                step=step,
                time=now + 0.01 * step,
                metrics={"loss": fate.loss(step)},
                value=fate.values.get(step),
                end=fate.end if last else None,
                constraints=dict.fromkeys(CONSTRAINTS, -1.0) if last and fate.end else {},
                cause=fate.cause if last else "",
                files=fate.files if last else (),
            )
        )
    ledger.record(batch)
