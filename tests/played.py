"""A search of a GAN on digits as its home has it, without training: values are formulas, the ledger is the real one."""

from __future__ import annotations

import math
import time
from pathlib import Path

from PIL import Image

from hpo import parts
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.messages import Event, Placement
from hpo.study import Budget, Method, Objective, Study
from search_spaces import Choice, Float, Space
from trainables.training.loop import CONSTRAINTS

SPACE = Space(
    "played",
    {
        "lr": Float(1e-4, 1e-1, default=1e-2, log=True),
        "optimizer": Choice(("adam", "sgd"), default="adam"),
        "momentum": Float(0.0, 0.9, default=0.5, when={"optimizer": "sgd"}),
    },
)
PLAYERS = ("generator", "discriminator")
SHEETS_AT = (1, 3, 9)


def played_study(name: str, *, trials: int, epochs: int = 9, tracking: str | None = None) -> Study:
    """A study whose pruner never decides."""
    return Study(
        name=name,
        model="gan",
        data="digits",
        space=SPACE.to_mapping(),
        objective=Objective(metric="fd_self", direction="minimize"),
        budget=Budget(trials=trials, epochs=epochs),
        sampler=Method(name="random"),
        pruner=Method(name="none"),
        tracking=tracking,
    )


def play(study: Study, path: Path) -> Home:
    """Run the whole budget into a new home, one trial after another; the last one dies after its second epoch."""
    home = Home(path)
    home.path.mkdir(parents=True)
    study.save(home.study)
    home.keep_data(parts.data_hash(study))
    assert isinstance(study.objective, Objective)
    ledger = Ledger(study, home, space=SPACE, direction=study.objective.direction, ahead=0)
    for seq in range(1, study.budget.trials + 1):
        placement = ledger.place("g0", seq, 0)
        assert placement is not None
        dies = seq == study.budget.trials
        ledger.record([_event(home, placement, step, study.budget.epochs, dies=dies)
                       for step in range(1, 3 if dies else study.budget.epochs + 1)])  # fmt: skip
    ledger.close()
    return home


def _event(home: Home, placement: Placement, step: int, epochs: int, *, dies: bool) -> Event:
    last = step == (2 if dies else epochs)
    metrics = {}
    for player in PLAYERS:
        metrics |= {f"{player}.loss": 1.0 / step, f"{player}.lr": float(placement.params["lr"]),
                    f"{player}.grad_norm": 0.5 + 0.1 * step}  # fmt: skip
    files = []
    if step in SHEETS_AT:
        sheet = home.sheet(placement.trial, step)
        sheet.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (384, 256), color=(20 * step, 30 * placement.trial % 256, 80)).save(sheet)
        files = [str(sheet.relative_to(home.path))]
    return Event(
        trial=placement.trial,
        step=step,
        time=time.time() + 0.01 * step,
        metrics=metrics,
        value=None if dies else abs(math.log10(float(placement.params["lr"])) + 2) + 3.0 / step,
        end=("died" if dies else "done") if last else None,
        constraints=dict.fromkeys(CONSTRAINTS, -1.0) if last else {},
        cause="fd_self is not finite" if dies and last else "",
        files=tuple(files),
    )
