"""A small study whose training is a formula, for tests of the ledger: no Ray, no torch, no clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hpo.home import Home
from hpo.ledger import CHECKPOINT, Ledger
from hpo.line_file import LineFile, OpenFile
from hpo.messages import Event, Params, Placement
from hpo.study import Budget, Constraint, Study
from search_spaces import Choice, Float, Int, Space

SPACE = Space(
    "toy",
    {
        "lr": Float(1e-4, 1e-1, default=1e-2, log=True),
        "depth": Int(1, 3, default=2),
        "optimizer": Choice(("adam", "sgd"), default="adam"),
        "momentum": Float(0.0, 0.9, default=0.5, when={"optimizer": "sgd"}),
        "width": 64,
    },
)


# What a study may bound; `report` says by how much a trial misses it.
BOUND = Constraint(metric="loss", at_most=0.6)


def toy_study(*, trials: int = 6, epochs: int = 4, **options: Any) -> Study:
    """A study of 4 epochs with rungs at 1 and 2, sampled at random unless told otherwise."""
    chosen = {"sampler": "random", "pruner": {"name": "asha", "eta": 2, "grace": 1}} | options
    return Study(
        name="toy",
        model="toy.train",
        space="toy",
        objective={"metric": "loss", "direction": "minimize"},
        budget=chosen.pop("budget", Budget(trials=trials, epochs=epochs)),
        **chosen,
    )


def opened(
    study: Study, home: Home, *, ahead: int = 0, run: str = "", space: Space = SPACE, open_file: OpenFile = LineFile
) -> Ledger:
    return Ledger(study, home, space=space, direction="minimize", ahead=ahead, run=run, open_file=open_file)


def loss(params: Params, step: int) -> float:
    """A falling curve; better for a small learning rate and a shallow net."""
    return float(params["lr"]) * 10 + float(params["depth"]) / 10 + 1 / step


def report(placement: Placement, step: int, *, epochs: int, time: float | None = None) -> Event:
    """What a worker says after one epoch: high learning rates die at their first."""
    dead = step == 1 and float(placement.params["lr"]) > 0.05
    value = loss(placement.params, step)
    return Event(
        trial=placement.trial,
        step=step,
        time=float(step) if time is None else time,
        metrics={"loss": value},
        value=None if dead else value,
        end="died" if dead else "done" if step == epochs else None,
        cause="loss is nan" if dead else "",
        constraints={BOUND.key: BOUND.missed(value, floor=None)} if step == epochs else {},
    )


def train(ledger: Ledger, placement: Placement, *, epochs: int = 4, start: int = 0) -> int:
    """Train one placed trial to its end, one event a call; return the epochs that took."""
    for step in range(start + 1, epochs + 1):
        if ledger.record([report(placement, step, epochs=epochs)]):
            return step - start
    raise AssertionError(f"trial {placement.trial} did not end")


def search(ledger: Ledger, *, epochs: int = 4, trials: int | None = None) -> list[Placement]:
    """Train in one slot until nothing is placed any more, or for so many trials; return what was placed."""
    placements: list[Placement] = []
    while trials is None or len(placements) < trials:
        placement = ledger.place("group", len(placements), 0)
        if placement is None:
            break
        placements.append(placement)
        train(ledger, placement, epochs=epochs)
    return placements


class Worker:
    """A worker that keeps checkpoints in the home and a diary of every epoch it trains, and may be killed anywhere."""

    def __init__(self, home: Home, *, epochs: int, every: int, clock: Callable[[], float]) -> None:
        self._home = home
        self._epochs = epochs
        self._every = every
        self._clock = clock

    def start(self, placement: Placement) -> int:
        """The step the trial goes on from."""
        if placement.checkpoint is None:
            return 0
        return int((self._home.checkpoint(placement.trial) / CHECKPOINT).read_text())

    def epoch(self, placement: Placement, step: int) -> Event:
        """Train one epoch."""
        with (self._home.path / "diary").open("a") as diary:
            diary.write(f"{placement.trial} {step}\n")
        return report(placement, step, epochs=self._epochs, time=self._clock())

    def recorded(self, placement: Placement, step: int) -> None:
        """Write a checkpoint after every so many epochs, once the ledger has them: else their events could be lost."""
        if step % self._every == 0:
            folder = self._home.checkpoint(placement.trial)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "beside").write_text(str(step))
            (folder / "beside").replace(folder / CHECKPOINT)

    @staticmethod
    def diary(home: Home) -> list[tuple[int, int]]:
        """Every epoch trained, as (trial, step)."""
        lines = (home.path / "diary").read_text().splitlines()
        return [(int(trial), int(step)) for trial, step in (line.split() for line in lines)]
