"""The trials of a study in memory: who runs, who waits, what was used of the budget, which are the best.

Pure bookkeeping that the ledger folds its records into, again from the start after a crash. Knows no file. Imports
optuna for the handle of a running trial only.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field

from optuna.trial import Trial

from hpo.ends import Seen
from hpo.messages import COUNTED, Event, Params, Start
from hpo.rows import Stay

KEPT = 10  # of the done trials, the best so many keep their weights
LOST_IN_A_ROW = 10  # so many lost trials without another end between them stop a study


@dataclass(kw_only=True)
class Account:
    """One trial. trial: Optuna's handle, None once it ended. start: what the event log says of its last placement.

    reported: steps that Optuna has the value of.

    step: finished epochs. heard: the worker's time of the last report since the last placement. passed: the last step
    at which the pruner let it go on. end: empty while it goes on. feasible: whether it broke no constraint.
    """

    number: int
    params: Params
    seed: int
    trial: Trial | None = None
    start: Start | None = None
    stay: Stay = field(default_factory=Stay)
    values: dict[int, float] = field(default_factory=dict)
    reported: set[int] = field(default_factory=set)
    step: int = 0
    heard: float = -math.inf
    repeated: int = 0
    passed: int = 0
    end: str = ""
    feasible: bool = True

    def last(self) -> float | None:
        """The objective when it was last measured."""
        return self.values[max(self.values)] if self.values else None


class Tally:
    """Every trial that is shown, in order of number, and the figures that follow from them."""

    def __init__(self, *, direction: str, kept: int = KEPT, floor_name: str = "") -> None:
        self._sign = -1.0 if direction == "maximize" else 1.0
        self._floor_name = floor_name
        self.floor: float | None = None  # of the objective, once a trial that is done was measured beside real rows
        self._num_kept = kept
        self._accounts: dict[int, Account] = {}
        self._open: dict[int, Account] = {}
        self._best: list[tuple[bool, float, int]] = []
        self._lost_in_a_row = 0
        self.ended: Counter[str] = Counter()
        self.epochs = 0
        self.repeated = 0
        self.seen = Seen(direction=direction)
        self.stopped = ""
        self.vetoed: Set[int] = frozenset()  # trials that are not the best, whatever they reached

    def get(self, number: int) -> Account:
        """The trial of this number; ValueError where the ledger has none."""
        if number not in self._accounts:
            raise ValueError(f"the ledger must have every trial that is reported; it has no trial {number}")
        return self._accounts[number]

    def all(self) -> list[Account]:
        return list(self._accounts.values())

    def open(self) -> list[Account]:
        """Trials that have not ended, by number."""
        return [self._open[number] for number in sorted(self._open)]

    def running(self, group: str | None = None) -> list[Account]:
        """Trials placed in a group that goes on, or in this one."""
        return [account for account in self.open() if account.stay.group and group in (None, account.stay.group)]

    def waiting(self) -> list[Account]:
        """Interrupted trials, to be placed again."""
        return [account for account in self.open() if account.stay.count > 0 and not account.stay.group]

    def queued(self) -> list[Account]:
        """Trials asked ahead and never placed."""
        return [account for account in self.open() if account.stay.count == 0]

    def num_counted(self) -> int:
        """Trials that count against the budget."""
        return sum(self.ended[end] for end in COUNTED)

    def best(self) -> Account | None:
        """The best done trial that is not vetoed, of those that keep all constraints while there is one."""
        return next((self._accounts[number] for *_, number in self._best if number not in self.vetoed), None)

    def best_numbers(self) -> set[int]:
        """The done trials whose files are kept; a vetoed one takes nobody's place, and its veto may be lifted."""
        return {number for *_, number in self._best[: self._num_kept + len(self.vetoed)]}

    def add(self, account: Account) -> None:
        """Take in a trial, ended or not."""
        self._accounts[account.number] = account
        self.epochs += account.step
        self.repeated += account.repeated
        for value in account.values.values():
            self.seen.add(value)
        if account.end:
            self._end(account, account.end)
        else:
            self._open[account.number] = account

    def remove(self, account: Account) -> None:
        """Forget a trial that never began."""
        del self._accounts[account.number], self._open[account.number]

    def fold(self, account: Account, event: Event) -> None:
        """Take in what an event says. The trial has not ended yet."""
        self.epochs += max(0, event.step - account.step)
        account.step = max(account.step, event.step)
        account.heard = max(account.heard, event.time)
        if event.value is not None:
            account.values[event.step] = event.value
            self.seen.add(event.value)
        self.floor = event.metrics.get(self._floor_name, self.floor)
        if event.end is not None:
            account.feasible = event.feasible
            del self._open[account.number]
            self._end(account, event.end)
            self._lost_in_a_row = self._lost_in_a_row + 1 if event.end == "lost" else 0
            if self._lost_in_a_row == LOST_IN_A_ROW:
                self.stopped = f"{LOST_IN_A_ROW} trials in a row were lost, the last with: {event.cause}"

    def repeat(self, account: Account, event: Event) -> bool:
        """Count an epoch that was executed again; False where this very report came before."""
        if event.time <= account.heard:
            return False
        account.heard = event.time
        account.repeated += 1
        self.repeated += 1
        return True

    def _end(self, account: Account, end: str) -> None:
        account.end = end
        self.ended[end] += 1
        value = account.last()
        if end == "done" and value is not None:
            bisect.insort(self._best, (not account.feasible, self._sign * value, account.number))
