"""Homes of searches that nobody trained: the real ledger and event log, filled with learning curves of a formula."""

from __future__ import annotations

import math
import random
import time
from pathlib import Path

from hpo.home import Home
from hpo.ledger import Ledger
from hpo.line_file import LineFile
from hpo.messages import Event, Params, Placement
from hpo.pruning import decision_steps
from hpo.study import Budget, Method, Study
from search_spaces import vae
from trainables.training.loop import CONSTRAINTS

EPOCHS = 27
_DIES = 0.02  # share of the trials


class Unsynced(LineFile):
    """A file that no power cut is survived by: making ten thousand trials waits for no disk."""

    def append(self, lines: bytes, *, sync: bool) -> None:
        super().append(lines, sync=False)


class Simulated:
    """A search of the study `digits-vae`, trial after trial, as far as it is asked to go; one thread's worth of truth.

    Values and ends follow from the seed and the parameters; random sampling, as an ask of TPE costs more than
    all the rest at ten thousand trials.
    """

    def __init__(self, path: Path, *, trials: int, seed: int = 0, groups: int = 2) -> None:
        self.home = Home(path)
        path.mkdir(parents=True, exist_ok=True)
        self.study = Study(
            name="simulated", model="vae", data="digits", space="vae", objective="nll",
            budget=Budget(trials=trials, epochs=EPOCHS), sampler=Method(name="random"), seed=seed,
        )  # fmt: skip
        self.study.save(self.home.study)
        self.ledger = Ledger(self.study, self.home, space=vae.SPACE, direction="minimize", ahead=0, open_file=Unsynced)
        self._steps = {*decision_steps(self.study.pruner, epochs=EPOCHS), EPOCHS}
        self._draw = random.Random(seed)
        self._groups = groups
        self._seq = 0

    def begin(self) -> Placement | None:
        """Place the next trial; None where the budget is used."""
        self._seq += 1
        return self.ledger.place(f"g{self._seq % self._groups}", self._seq, self._seq)

    def epochs(self, placement: Placement, first: int, last: int) -> bool:
        """Train from epoch `first` to `last`; return whether the trial has ended by then."""
        batch = []
        for step in range(first, last + 1):
            loss = _loss(placement.params, step, noise=self._draw.gauss(0.0, 1.0))
            dies = step == 2 and self._draw.random() < _DIES
            end = "died" if dies else "done" if step == EPOCHS else None
            batch.append(
                Event(
                    trial=placement.trial,
                    step=step,
                    time=time.time(),
                    metrics={"loss": loss, "lr": float(placement.params["lr"])},
                    value=loss - 5.0 if step in self._steps and not dies else None,
                    end=end,
                    constraints=dict.fromkeys(CONSTRAINTS, 1.0 if dies else -1.0) if end else {},
                    cause="loss is nan at epoch 2" if dies else "",
                )
            )
            if dies:
                break
        return placement.trial in self.ledger.record(batch)

    def trial(self) -> bool:
        """Train one trial to its end; return whether there was one."""
        placement = self.begin()
        if placement is None:
            return False
        first = 1
        for step in sorted(self._steps):
            if self.epochs(placement, first, step):
                break
            first = step + 1
        return True

    def run(self, trials: int) -> None:
        """Train so many trials."""
        for _ in range(trials):
            if not self.trial():
                return

    def close(self) -> None:
        self.ledger.close()


def _loss(params: Params, step: int, *, noise: float) -> float:
    """A falling curve in nats, lowest near a learning rate of 3e-3 and wide layers."""
    off = math.log10(float(params["lr"]) / 3e-3) ** 2 * 8.0 + math.log2(512 / float(params["width"])) * 2.0
    return 90.0 + off + 60.0 / step + 0.5 * noise
