"""The ledger of a study: what was tried, where it is trained, how it ended. The only truth, and the only writer of it.

It asks Optuna's sampler, records events, decides at rungs, and tells ends. Every event reaches the event log before
Optuna hears of it, so a rebuild after a crash at any point replays what is missing. The server calls it from several
threads: an ask, which may be slow, never holds the lock that events need. Plain Optuna, no ray; the caller holds the
home's lock.
"""

from __future__ import annotations

import contextlib
import math
import shutil
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from hpo.asking import Asker
from hpo.book import PICKLED, Book, keeps_pickles
from hpo.ends import complete, heeds_constraints, told
from hpo.errors import RequestError, SearchFailed
from hpo.home import Home
from hpo.line_file import LineFile, OpenFile
from hpo.messages import End, Event, Params, Placement, Start
from hpo.pruning import decision_steps, make_pruner
from hpo.rows import CAUSE, END, HIDDEN, PASSED, PLACEMENT, REPEATED, SEED, STEP, Stay, repeated_of, row_of, stay_of
from hpo.samplers import ends_by_itself, make_sampler, sampler_class
from hpo.study import Study
from hpo.tally import KEPT, Account, Tally
from hpo.vetoes import Vetoes, cause_of
from search_spaces import Space

# The file that makes a folder a checkpoint, `trainables.training.checkpoint.FILE`; named here because that one imports
# torch. It is renamed into place, so it is whole; other files may lie beside it.
CHECKPOINT = "checkpoint.safetensors"
CLOCK_SECONDS = 5.0  # how old the stored search time may be


@dataclass(frozen=True, kw_only=True)
class Status:
    """The figures of a search, plain values throughout.

    waiting: interrupted trials to be placed again. queued: asked ahead. floor: what the objective says of real rows,
    None until a trial that was measured beside them is done under this server. epochs: finished epochs; repeated: those
    that were executed again after a crash. epochs_left, seconds_left: of the budget, None where it does not bound them.
    over: the budget is used and nothing runs or waits. stopped: why the study stopped early, empty where it did not.
    notes: what the user should know about the chosen methods.
    """

    budget: int
    done: int
    pruned: int
    died: int
    lost: int
    running: int
    waiting: int
    queued: int
    best_trial: int | None
    best_value: float | None
    best_params: Params | None
    floor: float | None
    epochs: int
    repeated: int
    seconds: float
    epochs_left: int | None
    seconds_left: float | None
    over: bool
    stopped: str
    notes: tuple[str, ...]


class Ledger:
    """The open ledger of one home. Opening it after a crash at any point brings it back to where it stood.

    space: what is drawn from. direction: minimize or maximize. ahead: how many trials are asked before a slot wants
    them; 0 asks when one does, which keeps a single worker deterministic. run: one driver's life; trials placed under
    the same run stay with their groups, those of an earlier one, or of none, wait to be placed again. open_file: how
    the two files are written. Raises RequestError for a method or a home that cannot be used, with nothing changed.
    """

    def __init__(
        self,
        study: Study,
        home: Home,
        *,
        space: Space,
        direction: str,
        ahead: int,
        run: str = "",
        open_file: OpenFile = LineFile,
    ) -> None:
        self._study = study
        self._home = home
        self._ahead = ahead
        self._run = run
        self._objective = study.objective_name
        self._constraints = tuple(constraint.key for constraint in study.constraints)
        self._sampler_class = sampler_class(study.sampler)
        if self._constraints and not heeds_constraints(self._sampler_class):
            raise RequestError(
                f"constraints: {study.sampler.name} learns from no constraint, and would go on where they break. Take "
                "tpe, nsgaii or gp, or leave the constraints out."
            )
        self._steps = decision_steps(study.pruner, epochs=study.budget.epochs)
        sampler = make_sampler(study.sampler, space=space, seed=study.seed)
        self._lock = threading.RLock()  # everything but a running ask
        self._asking = threading.Lock()  # one ask at a time; taken before `_lock`, never after
        kept = study.budget.trials if study.races else KEPT
        self._tally = Tally(direction=direction, kept=kept, floor_name=f"{study.objective_name}.floor")
        self._kept: set[int] = set()
        self._vetoes = Vetoes(home)
        self._met: dict[str, tuple[str, str]] = {}  # of each group that a process has: worker and device
        self._opened = self._clocked = time.monotonic()
        self._book = Book(
            study,
            home,
            space=space,
            direction=direction,
            sampler=sampler,
            pruner=make_pruner(study.pruner, epochs=study.budget.epochs),
            pickles=keeps_pickles(self._sampler_class),
            run=run,
            open_file=open_file,
        )
        self._before = self._book.seconds
        self._fits = self._book.fits
        self._wide = self._book.slots
        self._asker = Asker(
            self._book,
            space=space,
            seed=study.seed,
            sampler=study.sampler.name,
            finite=ends_by_itself(self._sampler_class),
        )
        try:
            self._rebuild()
        except BaseException:
            self._book.close()
            raise

    # -- opening ------------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        """Bring Optuna up to the event log, and memory up to both."""
        for frozen in self._book.trials():
            account = None if frozen.state == TrialState.WAITING else self._account(frozen)
            if account is not None:
                self._tally.add(account)
        records, _ = self._book.log.read()
        for record in records:
            account = self._logged(record.trial)
            if isinstance(record, Start) and record.worker:
                self._met[record.group] = (record.worker, record.device)
            if account.end:
                continue
            if isinstance(record, Start):
                account.heard, account.start = -math.inf, record
            else:
                self._tally.fold(account, record)
                self._write(account, record)
        for account in self._tally.running():
            account.heard = max(account.heard, repeated_of(self._book.frozen(account.number))[1])
            if not self._run or account.stay.run != self._run:
                self._settle(account, replace(account.stay, group=""))
        self._decide(self._tally.open())
        self.heed_vetoes()
        if not self._book.same_run:
            self._tally.stopped = ""  # the same command again is the user's word that the cause is gone
        self._book.over = self.over()  # the budget may have grown
        self._book.flush(sync=True)
        self._tidy([account.number for account in self._tally.all() if account.end])

    def _logged(self, number: int) -> Account:
        try:
            return self._tally.get(number)
        except ValueError:
            raise RequestError(
                f"Event log and ledger of a home belong together; {self._book.log.path} speaks of trial {number}, and "
                f"{self._home.ledger} has none of that number. Restore both from one backup, or give another --home."
            ) from None

    def _account(self, frozen: FrozenTrial) -> Account | None:
        """Return the trial in memory, None for one that is not shown; what a crash cut off is finished first."""
        finished = frozen.state.is_finished()
        if HIDDEN in frozen.user_attrs:
            if not finished:
                self._book.hide(self._book.handle(frozen.number))
            return None
        if not finished and SEED not in frozen.user_attrs:
            return self._asker.finish(frozen.number)
        row = row_of(frozen)
        self._asker.remember(row.number, row.params)
        return Account(
            number=row.number,
            params=row.params,
            seed=row.seed,
            trial=None if finished else self._book.handle(row.number),
            stay=stay_of(frozen),
            values=dict(row.values) | ({row.step: row.value} if row.end == "done" and row.value is not None else {}),
            reported=set(row.values),
            step=row.step if finished else 0,  # the event log knows the rest
            repeated=row.repeated,
            passed=int(frozen.user_attrs.get(PASSED, 0)),
            end=row.end if finished else "",
            feasible=row.feasible,
        )

    # -- budget -------------------------------------------------------------------------------------------------------

    def left(self) -> int:
        """Return how many more trials may be asked: the budget less all that count, run, wait or are queued."""
        with self._lock:
            if self._tally.stopped or self._book.exhausted or not self._may_begin():
                return 0
            return max(0, self._study.budget.trials - self._tally.num_counted() - len(self._tally.open()))

    def over(self) -> bool:
        """Whether the budget is used and nothing runs or waits. A study that stopped early is not over."""
        with self._lock:
            if self._tally.stopped or self.left() > 0 or self._tally.running() or self._tally.waiting():
                return False
            return not self._tally.queued() or not self._may_begin()

    @property
    def stopped(self) -> str:
        """Why the study stopped early, empty where it did not."""
        with self._lock:
            return self._tally.stopped

    def stop(self, cause: str) -> None:
        """Place and ask nothing more; the first cause is kept."""
        with self._lock:
            self._tally.stopped = self._tally.stopped or cause

    def _may_begin(self) -> bool:
        """Whether time and epochs are left for a trial that has not begun."""
        budget = self._study.budget
        in_time = budget.hours is None or self._seconds() < budget.hours * 3600
        return in_time and (budget.epochs_total is None or self._tally.epochs < budget.epochs_total)

    def _seconds(self) -> float:
        return self._before + time.monotonic() - self._opened

    # -- asking -------------------------------------------------------------------------------------------------------

    def look_ahead(self, length: int) -> None:
        """Let the queue be so long at least; a ledger that was opened without one goes on without."""
        with self._lock:
            if self._ahead > 0:
                self._ahead = max(self._ahead, length)

    def ask_ahead(self) -> bool:
        """Ask for one more trial if the queue is short and budget is left; return whether it asked."""
        return self._ask_up_to(self._ahead)

    def _ask_up_to(self, length: int) -> bool:
        with self._asking:
            with self._lock:
                if len(self._tally.queued()) >= length or self.left() == 0:
                    return False
            try:
                account = self._asker.ask()
            except SearchFailed as error:
                self.stop(str(error))
                return False
            with self._lock:
                if account is not None:
                    self._tally.add(account)
                # Whatever the event log says of a trial later, the ledger must know the trial by then.
                self._book.flush(sync=True)
            return True

    # -- placing ------------------------------------------------------------------------------------------------------

    def place(self, group: str, seq: int, slot: int) -> Placement | None:
        """Give one trial to a slot: an interrupted one first, then a queued one; None where there is none now.

        Without a queue it asks here. On return the placement is in the ledger, so no crash leaves the trial unowned.
        A trial on its last try has the group to itself: had it company, one that kills its worker would take trials
        down with it that did nothing.
        """
        if self._is_alone(group):
            return None
        while self._ahead == 0 and self._next(group) is None and self._ask_up_to(1):
            pass
        with self._lock:
            account = None if self._is_alone(group) else self._next(group)
            if account is None:
                return None
            worker, device = self._met.get(group, ("", ""))
            account.start = Start(
                trial=account.number,
                time=time.time(),
                params=account.params,
                seed=account.seed,
                group=group,
                worker=worker,
                device=device,
            )
            self._book.log.append([account.start], sync=False)
            stay = replace(account.stay, group=group, seq=seq, slot=slot, run=self._run, count=account.stay.count + 1)
            self._settle(account, stay)
            account.heard = -math.inf
            self._tick()
            self._book.flush(sync=False)
            return self._placement(account)

    def meet(self, group: str, *, worker: str, device: str) -> None:
        """A process has this group: starts in it say so from now on, and those before are told again."""
        with self._lock:
            self._met[group] = (worker, device)
            for account in self._tally.running(group):
                if account.start is not None and not account.start.worker:
                    account.start = replace(account.start, worker=worker, device=device)
                    self._book.log.append([account.start], sync=False)

    def placed(self, group: str, seq: int) -> list[Placement]:
        """Return what was placed in answer to this message, which is repeated where a server died before its reply."""
        with self._lock:
            return [self._placement(account) for account in self._tally.running(group) if account.stay.seq == seq]

    def in_group(self, group: str) -> set[int]:
        """Return the trials that go on in this group."""
        with self._lock:
            return {account.number for account in self._tally.running(group)}

    def release(self, group: str, *, failed: bool, cause: str) -> None:
        """The group is gone: its trials wait to be placed again. failed: that was a try of each, and tries are few."""
        with self._lock:
            self._met.pop(group, None)
            lost = []
            for account in self._tally.running(group):
                tries = account.stay.tries + int(failed)
                self._settle(account, replace(account.stay, group="", tries=tries))
                if tries > self._study.resources.retries:
                    lost.append(self._end_event(account, "lost", at=time.time(), cause=f"{cause}; {tries} tries"))
            self._commit(lost)
            self._book.flush(sync=False)
            self._tidy([event.trial for event in lost])

    def _next(self, group: str) -> Account | None:
        """The trial that this group is given next."""
        with self._lock:
            if self._tally.stopped:
                return None
            in_company = bool(self._tally.running(group))
            waiting = [account for account in self._tally.waiting() if not (in_company and self._on_last_try(account))]
            ready = waiting or (self._tally.queued() if self._may_begin() else [])
            return ready[0] if ready else None

    def _is_alone(self, group: str) -> bool:
        """Whether a trial in this group must have it to itself."""
        with self._lock:
            return any(self._on_last_try(account) for account in self._tally.running(group))

    def _on_last_try(self, account: Account) -> bool:
        return 0 < account.stay.tries == self._study.resources.retries

    def _settle(self, account: Account, stay: Stay) -> None:
        assert account.trial is not None
        account.stay = stay
        account.trial.set_user_attr(PLACEMENT, asdict(stay))

    def _placement(self, account: Account) -> Placement:
        folder = self._home.checkpoint(account.number)
        return Placement(
            trial=account.number,
            slot=account.stay.slot,
            params=account.params,
            seed=account.seed,
            checkpoint=str(folder) if (folder / CHECKPOINT).is_file() else None,
        )

    # -- recording ----------------------------------------------------------------------------------------------------

    def record(self, events: Sequence[Event]) -> list[int]:
        """Take in a batch: log it, tell Optuna, then decide at rungs; return the trials that are over for their slots.

        An event that came before changes nothing, so a batch may be repeated. An epoch that was trained again after a
        crash is counted and not recorded twice.
        """
        with self._lock:
            self._commit([kept for event in events if (kept := self._sift(event)) is not None])
            touched = {event.trial: self._tally.get(event.trial) for event in events}
            self._decide([account for account in touched.values() if not account.end])
            self._tick()
            self._book.flush(sync=False)
            ended = [number for number, account in touched.items() if account.end]
            self._tidy(ended)
            return ended

    def _sift(self, event: Event) -> Event | None:
        """Fold an event that is news and return it as it is to be recorded; None for one that is not."""
        account = self._tally.get(event.trial)
        if account.end:
            return None
        if event.end is None and event.step <= account.step:
            if self._tally.repeat(account, event):
                assert account.trial is not None
                account.trial.set_user_attr(REPEATED, [account.repeated, account.heard])
            return None
        event = self._judged(event, account)
        self._tally.fold(account, event)
        return event

    def _judged(self, event: Event, account: Account) -> Event:
        """Return the event with the end that its objective implies, and with every constraint where it is an end."""
        value = event.value
        if value is not None and not math.isfinite(value):
            event = replace(event, value=None)
            if event.end in (None, "done"):
                event = replace(event, end="died", cause=f"{self._objective} is {value}")
        if event.end == "done" and event.value is None:
            known = account.values.get(event.step)
            measured = ", ".join(sorted(event.metrics)) or "none"
            cause = (
                f"A finished trial must have measured its objective {self._objective!r}; the metrics of its last step "
                f"are: {measured}."
            )
            event = replace(event, value=known) if known is not None else replace(event, end="lost", cause=cause)
        if event.end is None:
            return event
        constraints = self._complete(event.constraints, end=event.end, step=max(event.step, account.step))
        return replace(event, constraints=constraints)

    def _complete(self, constraints: Mapping[str, float], *, end: End, step: int) -> dict[str, float]:
        epochs = self._study.budget.epochs
        return complete(constraints, end=end, step=step, epochs=epochs, of_study=self._constraints)

    def _commit(self, events: Sequence[Event], *, sync: bool = True) -> None:
        """Log events that are folded already, then tell Optuna; the caller flushes."""
        self._book.log.append(events, sync=sync)
        for event in events:
            self._write(self._tally.get(event.trial), event)

    def _write(self, account: Account, event: Event) -> None:
        """Tell Optuna what it does not have yet of a logged event: the value, the end."""
        trial = account.trial
        assert trial is not None
        if event.value is not None and event.step not in account.reported:
            trial.report(event.value, event.step)
            account.reported.add(event.step)
        if event.end is None:
            return
        value = account.values.get(event.step)
        tell = told(event.end, sampler=self._sampler_class, value=value, last=account.last(), seen=self._tally.seen)
        known = trial.constraints  # all of them where the process died within this very list
        for key, constraint in event.constraints.items():
            if key not in known:
                trial.set_constraint(key, constraint)
        for key, attr in ((END, event.end), (CAUSE, event.cause), (STEP, account.step)):
            trial.set_user_attr(key, attr)
        self._book.tell(trial, state=tell.state, value=tell.value)
        account.trial = None

    def _decide(self, accounts: Sequence[Account]) -> None:
        """Ask the pruner about each trial that came to a decision step, after all of the batch was recorded."""
        losers = []
        for account in sorted(accounts, key=lambda account: account.number):
            step = self._due(account)
            if step is None:
                continue
            assert account.trial is not None
            if account.trial.should_prune():
                losers.append(self._end_event(account, "pruned", at=_heard(account), cause=f"lost at step {step}"))
            else:
                account.passed = step
                account.trial.set_user_attr(PASSED, step)
        self._commit(losers, sync=False)  # lost with the power, they would be decided again

    def heed_vetoes(self) -> None:
        """End vetoed trials that run or wait as pruned, drop those asked ahead, and have no done one as the best."""
        with self._lock:
            vetoed = self._vetoes.now()
            self._tally.vetoed = vetoed.keys()
            ended = []
            for account in (account for account in self._tally.open() if account.number in vetoed):
                if account.stay.count == 0:
                    self._drop(account)
                    continue
                cause = cause_of(vetoed[account.number])
                ended.append(self._end_event(account, "pruned", at=_heard(account), cause=cause))
            self._commit(ended)
            self._book.flush(sync=False)
            self._tidy([event.trial for event in ended])

    def _due(self, account: Account) -> int | None:
        """Return the last decision step the trial came to with a value, None where that was decided."""
        reached = (step for step in self._steps if account.passed < step <= account.step and step in account.values)
        return max(reached, default=None)

    def _end_event(self, account: Account, end: Literal["pruned", "lost"], *, at: float, cause: str) -> Event:
        """Return, folded, an end that the ledger itself decided."""
        constraints = self._complete({}, end=end, step=account.step)
        event = Event(trial=account.number, step=account.step, time=at, end=end, constraints=constraints, cause=cause)
        self._tally.fold(account, event)
        return event

    # -- widths -------------------------------------------------------------------------------------------------------

    def fits(self) -> list[dict[str, Any]]:
        """Return what widths cost, structure by structure, in the order in which it was measured."""
        with self._lock:
            return [dict(fit) for fit in self._fits]

    def record_fit(self, fit: Mapping[str, Any]) -> dict[str, Any]:
        """Keep what widths cost for one structure on one device, unless that is known; return what counts."""
        with self._lock:
            for known in self._fits:
                if (known["structure"], known["device"]) == (fit["structure"], fit["device"]):
                    return dict(known)
            self._fits.append(dict(fit))
            self._book.add_fit(fit)
            self._book.flush(sync=True)
            return dict(fit)

    def record_slots(self, group: str, slots: int) -> None:
        """Keep how many slots a group has, which speaks for the first time; one need not be kept."""
        with self._lock:
            if slots > 1 and group not in self._wide:
                self._wide[group] = (slots, time.time())
                self._book.set_slots(group, slots, since=self._wide[group][1])

    # -- files, status, end -------------------------------------------------------------------------------------------

    def _tidy(self, ended: Sequence[int]) -> None:
        """Remove the checkpoints of trials that ended, and all weights but those of the best."""
        if not ended:
            return
        kept = self._tally.best_numbers()
        for number in ended:
            shutil.rmtree(self._home.checkpoint(number), ignore_errors=True)
        for number in {*ended, *self._kept} - kept:
            self._home.weights(number).unlink(missing_ok=True)
        self._kept = kept

    def status(self) -> Status:
        """Return the figures of the search now."""
        with self._lock:
            tally, best, budget = self._tally, self._tally.best(), self._study.budget
            return Status(
                budget=budget.trials,
                done=tally.ended["done"],
                pruned=tally.ended["pruned"],
                died=tally.ended["died"],
                lost=tally.ended["lost"],
                running=len(tally.running()),
                waiting=len(tally.waiting()),
                queued=len(tally.queued()),
                best_trial=None if best is None else best.number,
                best_value=None if best is None else best.last(),
                best_params=None if best is None else dict(best.params),
                floor=tally.floor,
                epochs=tally.epochs,
                repeated=tally.repeated,
                seconds=self._seconds(),
                epochs_left=None if budget.epochs_total is None else max(0, budget.epochs_total - tally.epochs),
                seconds_left=None if budget.hours is None else max(0.0, budget.hours * 3600 - self._seconds()),
                over=self.over(),
                stopped=tally.stopped,
                notes=(PICKLED,) if keeps_pickles(self._sampler_class) else (),
            )

    def close(self) -> None:
        """Write what is held and close the files.

        On a study that is over, what was asked ahead is hidden; on any other it stays queued for the resume.
        """
        with self._asking, self._lock:
            self._book.over = self.over()
            if self._book.over:
                for account in self._tally.queued():
                    self._drop(account)
            self._book.seconds = self._seconds()
            with contextlib.suppress(OSError):  # a full disk was said at the write that failed
                self._book.flush(sync=True)
            self._book.close()

    def _drop(self, account: Account) -> None:
        """Hide a trial that was asked ahead and never placed."""
        assert account.trial is not None
        self._book.hide(account.trial)
        self._tally.remove(account)

    def _tick(self) -> None:
        """Keep the time of the search in the ledger, in the write that is due anyway."""
        if time.monotonic() - self._clocked >= CLOCK_SECONDS:
            self._clocked = time.monotonic()
            self._book.seconds = self._seconds()


def _heard(account: Account) -> float:
    """When a trial was last heard of, by its worker's clock; now, where it has not spoken since its last placement."""
    return account.heard if math.isfinite(account.heard) else time.time()
