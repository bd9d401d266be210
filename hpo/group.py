"""A group: a worker process that trains trials in its slots and takes a new one as soon as a slot is free.

`Crew` does the work and knows the server as one callable; `Group` is the thin Ray Tune trainable around it. Nothing of
ours travels through Tune: its results carry a constant. Trials come from the server, events go to it. Stands above
`parts` and `trainables`; imports Ray only for the wire.
"""

from __future__ import annotations

import dataclasses
import functools
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ray import tune

from hpo.errors import RequestError, nearest
from hpo.home import Home
from hpo.messages import End, Event, Placement
from hpo.parts import out_of_memory, trainer_of, use_device
from hpo.plugins import reach
from hpo.study import Study
from hpo.wire import ServerHandle
from trainables.training.loop import Trainer, constraints, generates, share_left

NEWS_SECONDS = 2.0  # a slot trains at most so long before the server hears of it
RESULT_SECONDS = 5.0  # how often Tune hears that the group lives
EPOCH_SECONDS = "epoch_seconds"  # the metric beside the trainer's own: training and measuring of one epoch
LIFE_SECONDS = 60.0  # `trials_per_group: auto`: after this long a group takes no new trial

# (message number, events, slot to its trial or None, whether free slots want one, what could not be written) -> reply
Sync = Callable[[int, list[dict[str, Any]], dict[int, int | None], bool, str], dict[str, Any]]


@dataclasses.dataclass
class _Member:
    """One trial in a slot. `trainer` is None where it could not be built."""

    placement: Placement
    trainer: Trainer | None = None
    value: float | None = None  # the objective when it was last measured
    saved_at: float = dataclasses.field(default_factory=time.monotonic)
    ended: bool = False


class Crew:
    """Trains the trials of one group until the server has no more for it, or its life is over.

    sync: sends (message number, events, slots) to the server and returns its reply. measure_at: steps at which the
    objective is measured besides the last. device: where the tensors live.
    """

    def __init__(
        self,
        study: Study,
        home: Home,
        *,
        measure_at: frozenset[int],
        placements: list[Placement],
        sync: Sync,
        device: str,
    ) -> None:
        self._study = study
        self._home = home
        self._objective = study.objective_name
        self._measure_at = measure_at
        self._sync = sync
        self._device = device
        self._seq = 0
        self._born = time.monotonic()
        self._taken = 0
        self._slots: dict[int, _Member | None] = {0: None}
        self._news: list[Event] = []
        self._fault = ""  # why the home could not be written; the server then ends the study in good order
        self.over = False
        self._seat(placements)

    def work(self, *, seconds: float) -> None:
        """Train and sync for about so long, or until `over`."""
        deadline = time.monotonic() + seconds
        while not self.over and time.monotonic() < deadline:
            for member in self._members():
                self._train(member)
            self._exchange()

    def _members(self) -> list[_Member]:
        return [member for member in self._slots.values() if member is not None and not member.ended]

    def _seat(self, placements: list[Placement]) -> None:
        for placement in placements:
            member = _Member(placement)
            self._slots[placement.slot] = member
            self._taken += 1
            try:
                member.trainer = trainer_of(self._study, placement.params, seed=placement.seed, device=self._device)
                if placement.checkpoint is not None:
                    member.trainer.restore(Path(placement.checkpoint))
            except (Exception, SystemExit) as error:
                self._lose(member, error)

    def _train(self, member: _Member) -> None:
        """Train one trial until a decision, its end, or about `NEWS_SECONDS`."""
        began = time.monotonic()
        while not member.ended:
            try:
                event = self._advance(member)
            except (Exception, SystemExit) as error:
                self._lose(member, error)
                return
            self._news.append(event)
            member.ended = event.end is not None
            if event.step in self._measure_at or self._is_due(member) or time.monotonic() - began >= NEWS_SECONDS:
                return

    def _advance(self, member: _Member) -> Event:
        trainer = member.trainer
        assert trainer is not None
        last = trainer.step + 1 == trainer.epochs
        wanted = last or trainer.step + 1 in self._measure_at
        began = time.monotonic()
        progress = trainer.advance(measure=[self._objective] if wanted else [])
        if progress.step == 1 and not trainer.can_sample and progress.cause is None:
            self._check_objective(progress.metrics)
        seconds = time.monotonic() - began
        member.value = progress.metrics.get(self._objective, member.value if progress.ended else None)
        event = Event(
            trial=member.placement.trial,
            step=progress.step,
            time=time.time(),
            metrics=dict(progress.metrics) if progress.ended else {**progress.metrics, EPOCH_SECONDS: seconds},
            value=member.value,
        )
        if progress.cause is not None:
            end: End | None = "died"
        else:
            end = "done" if last or progress.ended else None
        if end is None:
            return event
        files = self._keep(member.placement.trial, trainer) if end == "done" else ()
        return dataclasses.replace(
            event, end=end, constraints=dict(progress.constraints), cause=progress.cause or "", files=files
        )

    def _check_objective(self, metrics: Mapping[str, float]) -> None:
        """Raise where a user's training lacks the objective: at its first yield, not after a full budget."""
        if self._objective not in metrics:
            raise RequestError(
                f"A training function yields the study's objective, {self._objective!r}, each time; it yielded others: "
                f"{nearest(self._objective, metrics)}. Correct `objective` in the study, in a new --home."
            )

    def _keep(self, trial: int, trainer: Trainer) -> tuple[str, ...]:
        """Leave the weights and a sample sheet of a finished trial in the home; return the sheet's path in it."""
        if not generates(trainer):
            return ()
        weights, sheet = self._home.weights(trial), self._home.sheet(trial, trainer.step)
        try:
            for file in (weights, sheet):
                file.parent.mkdir(parents=True, exist_ok=True)
            trainer.save_weights(weights)
            trainer.sheet(sheet)
        except OSError as error:  # the trial is done all the same
            self._fault = str(error)
            return ()
        return (str(sheet.relative_to(self._home.path)),)

    def _is_due(self, member: _Member) -> bool:
        """Whether so much was trained since the last checkpoint that losing it is too much."""
        return time.monotonic() - member.saved_at >= self._study.resources.checkpoint_seconds

    def _save(self, member: _Member) -> None:
        assert member.trainer is not None
        member.saved_at = time.monotonic()
        try:
            member.trainer.save(self._home.checkpoint(member.placement.trial))
        except OSError as error:  # the checkpoint before it is still whole
            self._fault = str(error)

    def _lose(self, member: _Member, error: BaseException) -> None:
        """End a trial that raised: `died` where it does not fit in memory, else `lost`, with the traceback as cause."""
        member.ended = True
        step = member.trainer.step if member.trainer is not None else 0
        left = share_left(step=step + 1, epochs=self._study.budget.epochs)
        too_large = out_of_memory(error)
        self._news.append(
            Event(
                trial=member.placement.trial,
                step=step,
                time=time.time(),
                end="died" if too_large else "lost",
                constraints=constraints("memory", left=left) if too_large else constraints(),
                cause="it does not fit in memory" if too_large else traceback.format_exc(limit=-8),
            )
        )

    def _exchange(self) -> None:
        """Tell the server the news, free the slots of trials that are over, seat new ones."""
        self._seq += 1
        slots = {slot: None if member is None else member.placement.trial for slot, member in self._slots.items()}
        reply = self._sync(self._seq, [event.to_json() for event in self._news], slots, self._hungry(), self._fault)
        self._news.clear()
        for slot, member in self._slots.items():
            if member is not None and (member.ended or member.placement.trial in reply["free"]):
                self._slots[slot] = None
                if member.trainer is not None:
                    member.trainer.close()
        # Only now: a checkpoint ahead of what the server has recorded would leave a gap in the trial's curve.
        for member in self._members():
            if reply["drain"] or self._is_due(member):
                self._save(member)
        self._seat([Placement.from_json(value) for value in reply["place"]])
        if reply["drain"] or (not self._members() and (reply["over"] or not self._hungry())):
            self.over = True

    def _hungry(self) -> bool:
        """Whether this group still takes new trials."""
        limit = self._study.resources.trials_per_group
        return time.monotonic() - self._born < LIFE_SECONDS if limit == "auto" else self._taken < limit


class Group(tune.Trainable):  # type: ignore[misc]
    """The Ray Tune trainable: one group of the study, renewed by `reset_config` in the same process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a group. config: `server` (actor name), `group`, `trials` (placements), `gpu` (whether it has one)."""
        server = ServerHandle.named(config["server"])
        brief = server.call("brief")
        reach(brief["import_paths"])
        study = Study(**brief["study"])
        self._crew = Crew(
            study,
            Home(brief["home"]),
            measure_at=frozenset(brief["measure_at"]),
            placements=[Placement.from_json(value) for value in config["trials"]],
            sync=functools.partial(server.call, "sync", config["group"]),
            device=use_device(threads=study.resources.cpus_per_worker, gpu=config["gpu"]),
        )

    def step(self) -> dict[str, Any]:
        """Train for some seconds. The result says only that the group lives, and whether it is done."""
        self._crew.work(seconds=RESULT_SECONDS)
        return {"ok": 0.0, "done": self._crew.over}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another group; Tune calls it with `reuse_actors`."""
        self.setup(new_config)
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write nothing: trials keep their own checkpoints in the home."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Read nothing: see `save_checkpoint`."""
