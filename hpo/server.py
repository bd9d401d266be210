"""The study server: one process that alone holds the ledger, and answers groups one message at a time.

It runs as a named Ray actor beside the home (see `driver.py`), but is a plain class, so that everything except the wire
is tested without Ray. Calls arrive at least once: each is safe to repeat, and the constructor rebuilds all of it from
the ledger after a crash. Stands below group and driver, above the ledger.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Literal

from hpo.errors import HpoError, RequestError, SearchFailed
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.messages import Event, Placement
from hpo.parts import space_of
from hpo.plugins import reach
from hpo.pruning import decision_steps
from hpo.sheets import keep
from hpo.study import Study

ASK_WAIT_SECONDS = 1.0  # how long a group that trains nothing waits for the sampler before it is told to call again
AHEAD_SHARE = 4  # one in so many slots has a trial asked ahead: rungs free several at once, and a queue ages
# `fuse: auto` has at most one in so many trials of the budget in flight, since a sampler learns from ends only; see
# docs/decisions/2026-11-22-structure-in-a-group.md.
IN_FLIGHT_SHARE = 8

_DRAIN = {"free": [], "place": [], "over": True, "drain": True, "fits": 0}


def refuse(fault: tuple[bool, str] | None) -> None:
    """Raise what `StudyServer.ready` says is at fault, RequestError or SearchFailed; nothing where all is well."""
    if fault is not None:
        at_request, cause = fault
        raise (RequestError if at_request else SearchFailed)(cause)


class StudyServer:
    """Holds one study. `run` names this driver's life: groups of an earlier run are gone, those of this one live on.

    data: the hash of what is trained on; None where a training function reads its own.
    """

    def __init__(
        self,
        study: Mapping[str, Any],
        home: str,
        *,
        direction: Literal["minimize", "maximize"],
        workers: int,
        run: str,
        data: str | None = None,
        import_paths: Sequence[str] = (),
        folder: str = "",
    ) -> None:
        self._import_paths, self._folder = list(import_paths), folder
        reach(import_paths, folder=folder)
        self._study = Study(**study)
        self._home = Home(home)
        self._workers = workers
        self._lock = threading.Condition()  # placing, and what is known of groups; the ledger has a lock of its own
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)  # one message of a group at a time
        self._replies: dict[str, tuple[int, dict[str, Any]]] = {}
        self._gone: set[str] = set()
        self._draining = False
        self._last: dict[str, Any] | None = None  # the status at `close`
        self._ledger: Ledger | None = None
        self._fault: tuple[bool, str] | None = None  # why there is no ledger: (the request was at fault, the cause)
        self._held = contextlib.ExitStack()
        try:
            self._ledger = self._open(direction=direction, ahead=workers if workers > 1 else 0, run=run, data=data)
        except (HpoError, OSError) as error:
            self._held.close()
            self._fault = (isinstance(error, RequestError), str(error))
            return
        if workers > 1:
            threading.Thread(target=self._ask_ahead, name="ask-ahead", daemon=True).start()

    def _open(self, *, direction: Literal["minimize", "maximize"], ahead: int, run: str, data: str | None) -> Ledger:
        """Begin the home or go on with it: nothing is written before its lock is held."""
        self._home.path.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(self._home.locked())
        if self._home.exists():
            self._study.check_continues(self._home.study)
            self._home.check_data(data)
        space = space_of(self._study)
        ledger = Ledger(self._study, self._home, space=space, direction=direction, ahead=ahead, run=run)
        self._study.save(self._home.study)
        self._home.keep_data(data)
        return ledger

    def ready(self) -> tuple[bool, str] | None:
        """Return None once the ledger is open, else whether the request was at fault and the cause."""
        return self._fault

    def brief(self) -> dict[str, Any]:
        """Return what every group must know, as plain values."""
        return {
            "study": self._study.model_dump(mode="json"),
            "home": str(self._home.path),
            "import_paths": self._import_paths,
            "folder": self._folder,
            "measure_at": list(decision_steps(self._study.pruner, epochs=self._study.budget.epochs)),
            "most_slots": max(1, self._study.budget.trials // self._share() // self._workers),
            "fits": self._open_ledger().fits(),
        }

    def _share(self) -> int:
        """One in how many trials of the budget may be in flight; all, where the sampler knows what it proposes."""
        return 1 if self._study.races else IN_FLIGHT_SHARE

    def fitted(self, fit: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """Take in what widths cost for a structure on a device; return every fit that counts: the first of its kind."""
        ledger = self._open_ledger()
        if fit is not None:
            try:
                ledger.record_fit(fit)
            except OSError as error:
                self._stop(str(error))
        return ledger.fits()

    def open_group(self, group: str) -> dict[str, Any]:
        """Return the first message to a new group: its placements, or that there are none now, or never again."""
        with self._turns[group]:
            if (reply := self._known(group, 0)) is not None:
                return reply
            try:
                self._open_ledger().heed_vetoes()
            except OSError as error:
                return self._stop(str(error))
            return self._answer(group, 0, [], free=[0])

    def meet(self, group: str, *, worker: str, device: str) -> None:
        """A process has this group; see `hpo.messages.Start`. Called once, before its first message."""
        try:
            self._open_ledger().meet(group, worker=worker, device=device)
        except OSError as error:
            self._stop(str(error))

    def sync(
        self,
        group: str,
        seq: int,
        events: Sequence[Mapping[str, Any]],
        slots: Mapping[int, int | None],
        take: int,
        fault: str = "",
        sheets: Mapping[str, bytes] | None = None,
    ) -> dict[str, Any]:
        """Record events, decide, heed vetoes, and fill free slots. The one message of a group.

        slots: slot to the trial in it, None where it is free. take: how many more trials it takes. fault: why the
        group could not write into the home, which ends the study in good order. sheets: the files that the events name,
        by their paths in the home. Returns `free` (trials of this group
        that are over for it), `place` (placements), `over` (nothing more will come), `drain` (checkpoint and end),
        `fits` (how many of them are known).
        """
        with self._turns[group]:
            if (reply := self._known(group, seq)) is not None:
                return reply
            ledger = self._open_ledger()
            running = {trial: slot for slot, trial in slots.items() if trial is not None}
            ledger.look_ahead(self._workers * math.ceil(len(slots) / AHEAD_SHARE))
            try:
                keep(self._home, sheets or {})  # first: whoever reads of a file finds it
                ledger.record_slots(group, len(slots))
                ended = ledger.record([Event.from_json(event) for event in events])
                ledger.heed_vetoes()
            except OSError as error:
                return self._stop(str(error))
            if fault:
                self._stop(fault)
            gone = {*ended, *(running.keys() - ledger.in_group(group))} & running.keys()
            free = [slot for slot, trial in slots.items() if trial is None] + [running[trial] for trial in gone]
            return self._answer(group, seq, sorted(gone), free=sorted(free)[:take])

    def close_group(self, group: str, *, failed: bool) -> None:
        """The group is gone; what still ran in it waits to be placed again, and nothing is placed in it any more."""
        with self._lock:
            self._gone.add(group)
            self._replies.pop(group, None)
            try:
                self._open_ledger().release(group, failed=failed, cause="the worker process went away")
            except OSError as error:
                self._stop(str(error))
            self._lock.notify_all()

    def drain(self) -> None:
        """From the next message on, groups write checkpoints and end; nothing more is placed."""
        with self._lock:
            self._draining = True
            self._lock.notify_all()

    def status(self) -> dict[str, Any]:
        """Return the fields of `hpo.ledger.Status` and `draining`; the last ones after `close`."""
        return self._last or asdict(self._open_ledger().status()) | {"draining": self._draining}

    def over(self) -> bool:
        """Whether no group is wanted any more: budget used, draining, or stopped."""
        if self._draining or self._last is not None:
            return True
        ledger = self._open_ledger()
        return ledger.over() or bool(ledger.stopped)

    def close(self) -> dict[str, Any]:
        """Settle the ledger, free the home, and return the last status."""
        with self._lock:
            if self._last is None:
                ledger = self._open_ledger()
                self._last = asdict(ledger.status()) | {"draining": self._draining}
                ledger.close()
                self._held.close()
            self._lock.notify_all()
            return self._last

    def _open_ledger(self) -> Ledger:
        if self._ledger is None or self._last is not None:
            raise SearchFailed(
                self._fault[1] if self._fault else "The study server is closed; nothing more is recorded."
            )
        return self._ledger

    def _known(self, group: str, seq: int) -> dict[str, Any] | None:
        """Return the reply that this message had before."""
        with self._lock:
            last = self._replies.get(group)
            return last[1] if last is not None and last[0] == seq else None

    def _answer(self, group: str, seq: int, gone: list[int], *, free: list[int]) -> dict[str, Any]:
        try:
            placements = self._place(group, seq, free)
        except OSError as error:
            return self._stop(str(error))
        reply = {
            "free": gone,
            "place": [placement.to_json() for placement in placements],
            "over": self.over() or self._open_ledger().left() == 0,
            "drain": self._draining,
            "fits": len(self._open_ledger().fits()),
        }
        with self._lock:
            if group not in self._gone:
                self._replies[group] = (seq, reply)
            self._lock.notify_all()  # a taken place makes room in the queue
        return reply

    def _place(self, group: str, seq: int, free: list[int]) -> list[Placement]:
        """Fill the slots; events are recorded already, so waiting here for the sampler holds up nobody else."""
        ledger = self._open_ledger()
        placed = ledger.placed(group, seq)  # a repeated call after a restart: these were given before
        given = {placement.slot for placement in placed}
        deadline = time.monotonic() + (0.0 if ledger.in_group(group) else ASK_WAIT_SECONDS)
        for slot in free:
            if slot in given:
                continue
            while True:
                with self._lock:  # a group that went away while it waited must not be given a trial
                    if self._draining or self._last is not None or group in self._gone:
                        return placed
                    if (placement := ledger.place(group, seq, slot)) is not None:
                        placed.append(placement)
                        break
                    if time.monotonic() > deadline or ledger.left() == 0:
                        return placed
                    self._lock.wait(0.05)
        return placed

    def _ask_ahead(self) -> None:
        """Keep the queue filled while groups train: the sampler's time is never theirs."""
        while self._last is None:
            try:
                asked = not self._draining and self._open_ledger().ask_ahead()
            except OSError as error:
                self._stop(str(error))
                return
            except SearchFailed:  # closed meanwhile
                return
            with self._lock:
                if asked:
                    self._lock.notify_all()
                else:
                    self._lock.wait(1.0)

    def _stop(self, cause: str) -> dict[str, Any]:
        """End the study in good order where its home cannot be written: what is in it stays whole."""
        self._open_ledger().stop(f"The home must be writable: {cause}. Free the disk, then run the same command again.")
        with self._lock:
            self._draining = True
        return _DRAIN
