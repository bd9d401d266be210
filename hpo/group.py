"""A group: a worker process that trains trials in its slots and takes a new one as soon as a slot is free.

`Crew` does the work and knows the server as one callable; `Group` is the thin Ray Tune trainable around it. Trials of
equal structure share stacks of tensors, which is `trainables.training.company`'s doing. Nothing of ours travels through
Tune: its results carry a constant. Trials come from the server, events go to it. Stands above `parts`, `widths` and
`trainables`; imports Ray only for the wire.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import tune

from hpo.errors import RequestError, nearest
from hpo.home import Home
from hpo.messages import End, Event, Placement
from hpo.parts import data_hash, free_memory, metric_names, out_of_memory, own_function, trainer_of, use_device
from hpo.plugins import reach
from hpo.sheets import named, sheet_steps
from hpo.study import Study
from hpo.widths import Widths
from hpo.wire import ServerHandle
from trainables.training.loop import Trainer, constraints, generates, share_left

if TYPE_CHECKING:
    from trainables.training.company import StackFailed, Turn

NEWS_SECONDS = 2.0  # a group trains at most so long before the server hears of it
HUNGRY_SECONDS = 0.2  # the same while it has a slot to fill and others that train
RESULT_SECONDS = 5.0  # how often Tune hears that the group lives
EPOCH_SECONDS = "epoch_seconds"  # the metric beside the trainer's own: training and measuring of one epoch
# `trials_per_group: auto`: after so long a group of one slot takes no new trial, and one of several hands its own over.
LIFE_SECONDS = 60.0
LONG_LIFE_SECONDS = 600.0
DRAIN_SECONDS = 10.0  # so long may epochs go on once the study is stopped; less than the driver waits

# (message number, events, slot to its trial or None, trials it takes at most, what could not be written, sample sheets
# that the events name) -> reply
Sync = Callable[[int, list[dict[str, Any]], dict[int, int | None], int, str, dict[str, bytes]], dict[str, Any]]


@dataclasses.dataclass(eq=False)
class _Member:
    """One trial in a slot. `trainer` is None where it could not be built; `saved` is the step of its checkpoint."""

    placement: Placement
    trainer: Trainer | None = None
    joined: bool = False
    value: float | None = None  # the objective when it was last measured
    saved: int = 0
    saved_at: float = dataclasses.field(default_factory=time.monotonic)
    ended: bool = False


@dataclasses.dataclass
class _Failed:
    """What is kept of a `StackFailed`: the exception holds the frames in which it was raised, with their tensors."""

    members: list[Trainer]
    rows: int
    memory: bool

    @classmethod
    def of(cls, error: StackFailed) -> _Failed:
        return cls(members=error.members, rows=error.rows, memory=error.memory)


class Crew:
    """Trains the trials of one group until the server has no more for it, or its life is over.

    sync: sends (message number, events, slots, sample sheets) to the server and returns its reply. measure_at: steps
    at which the objective is measured besides the last. widths: the slots, and who may share a stack. device: where the
    tensors live.
    """

    def __init__(
        self,
        study: Study,
        home: Home,
        *,
        measure_at: frozenset[int],
        placements: list[Placement],
        sync: Sync,
        widths: Widths,
        device: str,
    ) -> None:
        from trainables.training.company import Company  # the driver, which knows this class, needs no torch

        self._study = study
        self._home = home
        self._objective = study.objective_name
        # What a finished trial is judged by, what is measured of it besides, and all that has yardsticks.
        self._judged = list(dict.fromkeys([self._objective, *(bound.name for bound in study.constraints)]))
        self._wanted = list(dict.fromkeys([*self._judged, *(name.rpartition(".")[2] for name in study.metrics)]))
        self._measured = [] if own_function(study) else metric_names(study)
        self._measure_at = measure_at
        self._sheet_at = sheet_steps(measure_at, epochs=study.budget.epochs)
        self._sync = sync
        self._widths = widths
        self._device = device
        self._company = Company(widths.of, fewest=widths.fewest)
        self._seq = 0
        self._born = time.monotonic()
        self._taken = 0
        self._slots: dict[int, _Member | None] = dict.fromkeys(range(widths.slots))
        self._news: list[Event] = []
        self._sheets: dict[str, bytes] = {}
        self._floors_checked = False
        self._urgent = widths.slots > 1  # the first message fills the slots
        self._told = self._born  # when the server last heard
        self._fed = True  # whether it may have more trials
        self._leaving = False  # no member begins another epoch: checkpoints, and the end
        self._give_up = math.inf
        self._fault = ""  # why the home could not be written; the server then ends the study in good order
        self.over = False
        self._seat(placements)

    def work(self, *, seconds: float) -> None:
        """Train and sync for about so long, or until `over`."""
        deadline = time.monotonic() + seconds
        while not self.over and time.monotonic() < deadline:
            self._train()
            self._exchange()

    def _members(self) -> list[_Member]:
        return [member for member in self._slots.values() if member is not None and not member.ended]

    def _seat(self, placements: list[Placement]) -> None:
        for placement in placements:
            member = _Member(placement)
            self._slots[placement.slot] = member
            self._taken += 1
            self._begin(member, placement.checkpoint)
        present = [(member.trainer, member.placement.params) for member in self._members() if member.trainer]
        if placements:
            self._join_again(self._widths.meet(present))

    def _begin(self, member: _Member, checkpoint: str | None, *, company: int | None = None) -> None:
        """Build a member's training. company: of how many its stack failed with."""
        placement = member.placement
        try:
            self._home.check_data(data_hash(self._study))
            trainer = trainer_of(self._study, placement.params, seed=placement.seed, device=self._device)
            member.trainer = trainer
            self._check_floors(trainer)
            if checkpoint is not None and Path(checkpoint).is_dir():  # a node may not reach the home's disk
                trainer.restore(Path(checkpoint))
            member.saved = trainer.step
            if company is not None:
                self._widths.part(trainer, failed=company)
        except (Exception, SystemExit) as error:
            self._lose(member, error)
            return
        self._join(member, trainer)

    def _join(self, member: _Member, trainer: Trainer) -> None:
        from trainables.training.company import StackFailed

        try:
            self._company.join(trainer)
            member.joined = True
            return
        except StackFailed as error:
            failed = _Failed.of(error)
        self._mend(failed)

    def _join_again(self, structures: set[str]) -> None:
        """The width of these is known now: who trained by itself may find company."""
        for member in self._members():
            trainer = member.trainer
            if trainer is not None and member.joined and trainer.structure in structures:
                self._company.leave(trainer)
                member.joined = False
                self._join(member, trainer)

    def _train(self) -> None:
        """Train until the server must hear: of a decision, an end, a due checkpoint, a free slot, or just of us."""
        while self._members() and not self._urgent and time.monotonic() - self._told < self._patience():
            for turn in self._turns():
                self._close(turn)

    def _patience(self) -> float:
        return HUNGRY_SECONDS if self._appetite() and None in self._slots.values() else NEWS_SECONDS

    def _turns(self) -> list[Turn]:
        """Train until members have an epoch to be closed. Where a stack failed there are none, and it is mended."""
        from trainables.training.company import StackFailed

        try:
            return self._company.advance()
        except StackFailed as error:
            failed = _Failed.of(error)
        self._mend(failed)
        return []

    def _mend(self, failed: _Failed) -> None:
        """Build the members of a stack that failed again, to go on in company half as large.

        At width 1 one that is at fault fails by itself. Where memory ran out, the whole structure is to blame.
        """
        count, structure = len(failed.members), failed.members[0].structure
        if failed.memory and structure is not None:
            self._widths.narrow(structure, failed=failed.rows)
        members = [member for member in self._members() if any(member.trainer is other for other in failed.members)]
        failed.members.clear()
        for member in members:
            member.trainer, member.joined = None, False
        if failed.memory:
            free_memory()
        for member in members:
            checkpoint = str(self._home.checkpoint(member.placement.trial)) if member.saved else None
            self._begin(member, checkpoint, company=None if failed.memory else count)

    def _close(self, turn: Turn) -> None:
        """Close the epoch of one member and note what is to be told."""
        member = next(member for member in self._members() if member.trainer is turn.trainer)
        try:
            event = self._advance(member, turn.trainer, shared=turn.seconds)
        except (Exception, SystemExit) as error:
            self._lose(member, error)
            return
        self._news.append(event)
        member.ended = event.end is not None
        self._urgent |= member.ended or self._leaving or event.step in self._measure_at or self._is_due(member)

    def _advance(self, member: _Member, trainer: Trainer, *, shared: float) -> Event:
        """Return the event of one epoch. shared: its seconds in a stack."""
        last = trainer.step + 1 == trainer.epochs
        wanted = last or trainer.step + 1 in self._measure_at
        began = time.monotonic()
        progress = trainer.advance(measure=self._wanted if last else [self._objective] if wanted else [])
        if progress.step == 1 and not trainer.can_sample and progress.cause is None:
            self._check_yield(progress.metrics)
        seconds = shared + time.monotonic() - began
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
        if end == "done" or (end is None and event.step in self._sheet_at):
            event = dataclasses.replace(event, files=self._draw(event, trainer))
        if end is None:
            return event
        event = dataclasses.replace(event, end=end, constraints=dict(progress.constraints), cause=progress.cause or "")
        return self._finished(event, trainer) if end == "done" else event

    def _finished(self, event: Event, trainer: Trainer) -> Event:
        """Return the end of a trial that is done with its yardsticks, and what it keeps and breaks."""
        self._keep(event.trial, trainer)
        metrics, kept, broken = dict(event.metrics), dict(event.constraints), []
        if generates(trainer):
            metrics |= trainer.yardsticks([name for name in self._measured if name in metrics])
        for constraint in self._study.constraints:
            if (value := metrics.get(constraint.name)) is None:
                raise RequestError(f"constraints: a finished trial must have measured {constraint.name!r}; its last "
                                   f"metrics are: {', '.join(sorted(metrics))}. Yield it each time.")  # fmt: skip
            floor = metrics.get(f"{constraint.name}.floor")
            kept[constraint.key] = constraint.missed(value, floor=floor)
            if kept[constraint.key] > 0:
                broken.append(constraint.told(value, floor=floor))
        return dataclasses.replace(event, metrics=metrics, constraints=kept, cause="; ".join(broken))

    def _check_floors(self, trainer: Trainer) -> None:
        """Raise where a constraint takes a share of what real rows do not have: before anything is trained."""
        shares = [constraint for constraint in self._study.constraints if constraint.of_floor]
        if self._floors_checked or not shares or not generates(trainer):
            return
        floors = trainer.yardsticks([constraint.name for constraint in shares])
        for constraint in shares:
            floor = floors.get(f"{constraint.name}.floor")
            if floor is None or floor <= 0:
                raise RequestError(
                    f"constraints: a share of a floor needs one above 0, and {constraint.name} of real rows "
                    f"{'cannot be told' if floor is None else f'is {floor:.4g}'}. Write a number as the bound of "
                    f"{constraint.key!r}."
                )
        self._floors_checked = True

    def _check_yield(self, metrics: Mapping[str, float]) -> None:
        """Raise where a user's training lacks what it is judged by: at its first yield, not after a full budget."""
        for name in self._judged:
            if name not in metrics:
                key = "objective" if name == self._objective else "constraints"
                raise RequestError(
                    f"A training function yields the study's {key}, {name!r}, each time; it yielded others: "
                    f"{nearest(name, metrics)}. Correct `{key}` in the study, in a new --home."
                )

    def _draw(self, event: Event, trainer: Trainer) -> tuple[str, ...]:
        """Keep a sheet of samples for the next message; return the paths of its files in the home."""
        if not generates(trainer):
            return ()
        sheet = named(self._home, event.trial, event.step, drawn=trainer.drawn())
        self._sheets |= sheet
        return tuple(sheet)

    def _keep(self, trial: int, trainer: Trainer) -> None:
        """Leave the weights of a finished trial in the home."""
        if not generates(trainer):
            return
        weights = self._home.weights(trial)
        try:
            weights.parent.mkdir(parents=True, exist_ok=True)
            trainer.save_weights(weights)
        except OSError as error:  # the trial is done all the same
            self._fault = str(error)

    def _is_due(self, member: _Member) -> bool:
        """Whether so much was trained since the last checkpoint that losing it is too much."""
        return time.monotonic() - member.saved_at >= self._study.resources.checkpoint_seconds

    def _save(self, member: _Member) -> None:
        trainer = member.trainer
        assert trainer is not None
        member.saved_at = time.monotonic()
        if trainer.step == member.saved:
            return
        try:
            trainer.save(self._home.checkpoint(member.placement.trial))
            member.saved = trainer.step
        except OSError as error:  # the checkpoint before it is still whole
            self._fault = str(error)

    def _lose(self, member: _Member, error: BaseException) -> None:
        """End a trial that raised: `died` where it does not fit in memory, else `lost`, with the traceback as cause."""
        member.ended = self._urgent = True
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
        """Tell the server the news, free the slots of trials that are over, save those that are due, seat new ones."""
        self._seq += 1
        self._leaving = self._leaving or (self._is_old() and self._widths.slots > 1 and self._fed)
        slots = {slot: None if member is None else member.placement.trial for slot, member in self._slots.items()}
        fault, news = self._fault, [event.to_json() for event in self._news]
        reply = self._sync(self._seq, news, slots, self._appetite(), fault, self._sheets)
        self._news.clear()
        self._sheets = {}
        self._urgent, self._fed = False, not reply["over"]
        if reply["drain"] and self._give_up == math.inf:
            self._leaving, self._give_up = True, time.monotonic() + DRAIN_SECONDS
        for slot, member in self._slots.items():
            if member is not None and (member.ended or member.placement.trial in reply["free"]):
                self._empty(slot, member)
        # Only now: a checkpoint ahead of what the server has recorded would leave a gap in the trial's curve.
        for slot, member in self._slots.items():
            if member is not None and self._rests(member):
                if self._leaving or self._is_due(member):
                    self._save(member)
                if self._leaving:
                    self._empty(slot, member)
        self._join_again(self._widths.catch_up(reply["fits"]))
        self._seat([Placement.from_json(value) for value in reply["place"]])
        self._told = time.monotonic()
        if self._leaving:
            settled = not self._members() and not self._news and self._fault == fault
            self.over = settled or self._told > self._give_up
        elif not self._members() and not self._news and (reply["over"] or not self._appetite()):
            self.over = True

    def _rests(self, member: _Member) -> bool:
        return member.trainer is not None and member.joined and self._company.at_rest(member.trainer)

    def _empty(self, slot: int, member: _Member) -> None:
        self._slots[slot] = None
        if member.trainer is not None:
            if member.joined:
                self._company.leave(member.trainer)
            member.trainer.close()

    def _appetite(self) -> int:
        """How many more trials this group takes."""
        if self._leaving or self._is_old():
            return 0
        limit = self._study.resources.trials_per_group
        return len(self._slots) if limit == "auto" else max(0, limit - self._taken)

    def _is_old(self) -> bool:
        if self._study.resources.trials_per_group != "auto":
            return False
        return time.monotonic() - self._born >= (LIFE_SECONDS if self._widths.slots == 1 else LONG_LIFE_SECONDS)


class Group(tune.Trainable):  # type: ignore[misc]
    """The Ray Tune trainable: one group of the study, renewed by `reset_config` in the same process."""

    def setup(self, config: dict[str, Any]) -> None:
        """Begin a group. config: `server` (actor name), `group`, `trials` (placements), `gpu` (its share of one)."""
        import torch

        from trainables.training.widths import device_name

        server = ServerHandle.named(config["server"])
        brief = server.call("brief")
        reach(brief["import_paths"], folder=brief["folder"])
        study = Study(**brief["study"])
        device = use_device(threads=study.resources.cpus_per_worker, gpu=config["gpu"])
        worker = f"{socket.gethostname()}:{os.getpid()}"
        server.call("meet", config["group"], worker=worker, device=device_name(torch.device(device)))
        self._crew = Crew(
            study,
            Home(brief["home"]),
            measure_at=frozenset(brief["measure_at"]),
            placements=[Placement.from_json(value) for value in config["trials"]],
            sync=functools.partial(server.call, "sync", config["group"]),
            widths=Widths(
                study,
                device=device,
                most=brief["most_slots"],
                fits=brief["fits"],
                fitted=functools.partial(server.call, "fitted"),
            ),
            device=device,
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
