"""The study server: one process that alone holds the ledger, and answers groups one message at a time.

It runs as a named Ray actor beside the home (see `launch.py`), but is a plain class, so that everything except the wire
is tested without Ray. Calls arrive at least once: each is safe to repeat, and the constructor rebuilds all of it from
the ledger after a crash. Stands below launch and group, above the ledger.
"""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from hpo.errors import HpoError, RequestError
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.messages import Event, Placement
from hpo.parts import space_of
from hpo.pruning import decision_steps
from hpo.study import Study

ASK_WAIT_SECONDS = 1.0  # how long a group's call may wait for the sampler before it is told to call again
KEPT_REPLIES = 64


class StudyServer:
    """Holds one study. `run` names this driver's life: groups of an earlier run are gone, those of this one live on."""

    def __init__(
        self,
        study: Mapping[str, Any],
        home: str,
        *,
        direction: str,
        workers: int,
        run: str,
        import_paths: Sequence[str] = (),
    ) -> None:
        self._import_paths = list(import_paths)
        sys.path.extend(path for path in import_paths if path not in sys.path)
        self._study = Study(**study)
        self._home = Home(home)
        self._lock = threading.Condition()
        self._replies: dict[str, tuple[int, dict[str, Any]]] = {}
        self._draining = False
        self._closed = False
        self._failure: tuple[bool, str] | None = None  # (the request was at fault, why); told by `ready`
        self._held = contextlib.ExitStack()
        try:
            self._held.enter_context(self._home.locked())
            self._ledger = Ledger(
                self._study,
                self._home,
                space=space_of(self._study),
                direction=direction,
                ahead=workers if workers > 1 else 0,
                run=run,
            )
        except (HpoError, OSError) as error:
            self._held.close()
            self._failure = (isinstance(error, RequestError), str(error))
            return
        if workers > 1:
            threading.Thread(target=self._ask_ahead, name="ask-ahead", daemon=True).start()

    def ready(self) -> tuple[bool, str] | None:
        """Return None once the ledger is open, else whether the request was at fault and the reason."""
        return self._failure

    def brief(self) -> dict[str, Any]:
        """Return what every group must know, as plain values."""
        return {
            "study": self._study.model_dump(mode="json"),
            "home": str(self._home.path),
            "import_paths": self._import_paths,
            "measure_at": list(decision_steps(self._study.pruner, epochs=self._study.budget.epochs)),
        }

    def open_group(self, group: str) -> dict[str, Any]:
        """Return the first message to a new group: its placements, or that there are none now, or never again."""
        return self._answer(group, 0, [], free=[0])

    def sync(
        self, group: str, seq: int, events: Sequence[Mapping[str, Any]], slots: Mapping[int, int | None], take: bool
    ) -> dict[str, Any]:
        """Record events, decide, and fill free slots. The one message of a group.

        slots: slot to the trial in it, None where it is free. take: whether free slots want a trial. Returns `free`
        (trials of this group that are over for it), `place` (placements), `over` (nothing more will come), `drain`
        (write checkpoints and end).
        """
        running = {trial: slot for slot, trial in slots.items() if trial is not None}
        with self._lock:
            last = self._replies.get(group)
            if last is not None and last[0] == seq:
                return last[1]
        try:
            ended = self._ledger.record([Event.from_json(event) for event in events])
        except OSError as error:
            return self._stop(error)
        gone = sorted({*ended, *(trial for trial in running if not self._ledger.owns(group, trial))} & running.keys())
        free = [slot for slot, trial in slots.items() if trial is None] + [running[trial] for trial in gone]
        return self._answer(group, seq, gone, free=sorted(free) if take else [])

    def close_group(self, group: str, *, failed: bool, cause: str = "") -> None:
        """The group is gone; what still ran in it waits to be placed again."""
        try:
            self._ledger.release(group, failed=failed, cause=cause or "the worker process went away")
        except OSError as error:
            self._stop(error)
        with self._lock:
            self._replies.pop(group, None)
            self._lock.notify_all()

    def drain(self) -> None:
        """From the next message on, groups write checkpoints and end; nothing more is placed."""
        self._draining = True
        with self._lock:
            self._lock.notify_all()

    def status(self) -> dict[str, Any]:
        """Return the figures of the progress display, as plain values."""
        return asdict(self._ledger.status())

    def over(self) -> bool:
        """Whether no group is wanted any more: budget used, draining, or stopped."""
        return self._draining or self._ledger.over() or bool(self._ledger.status().stopped)

    def close(self) -> dict[str, Any]:
        """Settle the ledger, free the home, and return the last status."""
        self._closed = True
        with self._lock:
            self._lock.notify_all()
        status = self.status()
        self._ledger.close()
        self._held.close()
        return status

    def _answer(self, group: str, seq: int, gone: list[int], *, free: list[int]) -> dict[str, Any]:
        try:
            placements = [] if self._draining else self._place(group, seq, free)
        except OSError as error:
            return self._stop(error)
        reply = {
            "free": gone,
            "place": [placement.to_json() for placement in placements],
            "over": self.over() or self._ledger.left() == 0,
            "drain": self._draining,
        }
        with self._lock:
            self._replies[group] = (seq, reply)
            self._lock.notify_all()  # a taken place makes room in the queue
        return reply

    def _place(self, group: str, seq: int, free: list[int]) -> list[Placement]:
        """Fill the slots; events are recorded already, so waiting here for the sampler holds up nobody else."""
        placed = self._ledger.placed(group, seq)  # a repeated call after a restart: these were given before
        deadline = time.monotonic() + ASK_WAIT_SECONDS
        for slot in free[len(placed) :]:
            while (placement := self._ledger.place(group, seq, slot)) is None:
                remaining = deadline - time.monotonic()
                if remaining <= 0 or self._draining or self._ledger.left() == 0:
                    return placed
                with self._lock:
                    self._lock.wait(min(remaining, 0.05))
            placed.append(placement)
        return placed

    def _ask_ahead(self) -> None:
        """Keep the queue filled while groups train: the sampler's time is never theirs."""
        while not self._closed:
            try:
                asked = not self._draining and self._ledger.ask_ahead()
            except OSError as error:
                self._stop(error)
                return
            with self._lock:
                if asked:
                    self._lock.notify_all()
                else:
                    self._lock.wait(1.0)

    def _stop(self, error: OSError) -> dict[str, Any]:
        """End the study in good order where its home cannot be written: what is in it stays whole."""
        self._ledger.stop(f"The home must be writable; {error}. Free the disk, then run the same command again.")
        self._draining = True
        return {"free": [], "place": [], "over": True, "drain": True}
