"""How wide the stacks of one group may be: as the study asks, or as it was measured and recorded.

Under `fuse: auto` the width of the default configuration is measured when the first group begins, that of another
structure when two trials of it first meet, and the server keeps the first that was measured. Used by `group.py`; stands
above parts, and reaches into trainables only where a training exists.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

from hpo.messages import Params
from hpo.parts import space_of, trainer_of
from hpo.plugins import load
from hpo.study import Study
from trainables.training.loop import Trainer

if TYPE_CHECKING:
    from trainables.training.alone import Training
    from trainables.training.widths import Fit

FIT_SECONDS = 1.5  # what measuring one structure may take
DRAWS, KINDS = 16, 4  # random trials that are looked at, and that are measured together with the one in question
GROUPS = 16  # of random trials, to see how often trials of one structure meet
FIT_SHARE = 0.02  # of a group's time, for structures other than that of the default configuration
MOST_SLOTS = {"cpu": 64, "cuda": 256}

# (a fit to be kept, or None) -> every fit that counts, each as `trainables.training.widths.Fit.to_json` writes it
Fitted = Callable[[Mapping[str, Any] | None], list[dict[str, Any]]]


class Widths:
    """The slots of one group, and how many trainings of a structure may share a stack in it.

    most: the slots that `fuse: auto` may have here. fits: what was measured before. fitted: sends a fit to the server.
    """

    def __init__(
        self, study: Study, *, device: str, most: int, fits: Sequence[Mapping[str, Any]], fitted: Fitted
    ) -> None:
        self._study = study
        self._device = device
        self._limit = min(most, MOST_SLOTS[device])
        self._fitted = fitted
        self._known: dict[str, Fit] = {}
        self._num_known = 0
        self._narrowed: dict[str, int] = {}  # structures that did not fit in memory
        self._shy: WeakKeyDictionary[Trainer, int] = WeakKeyDictionary()  # trainings whose stack failed
        self._failed: set[str] = set()  # structures whose measuring raised: their trials will say why
        self._born = time.monotonic()
        self._spent = 0.0
        self._learn(fits)
        self.slots = self._num_slots()

    def of(self, trainer: Trainer) -> int:
        """Return how many trainings of this one's structure may share a stack with it."""
        structure = trainer.structure
        if structure is None:
            return 1
        if self._study.fuse == "auto":
            width = self._known[structure].width if structure in self._known else 1
        else:
            width = self._study.fuse
        return min(width, self._narrowed.get(structure, width), self._shy.get(trainer, width))

    def fewest(self, trainer: Trainer) -> int:
        """Return with how many members a stack pays: as was measured, else 2."""
        found = self._known.get(trainer.structure or "")
        return 2 if self._study.fuse != "auto" or found is None else found.fewest

    def narrow(self, structure: str, *, failed: int) -> None:
        """A stack of so many did not fit in memory: from now on this structure's are at most half as wide."""
        self._narrowed[structure] = max(1, failed // 2)

    def part(self, trainer: Trainer, *, failed: int) -> None:
        """This training's stack failed with so many members: from now on it has at most half of that company."""
        self._shy[trainer] = max(1, failed // 2)

    def catch_up(self, num_known: int) -> set[str]:
        """The server knows so many fits; fetch them where that is news. Return the structures that are."""
        return set() if num_known <= self._num_known else self._learn(self._fitted(None))

    def meet(self, present: Sequence[tuple[Trainer, Params]]) -> set[str]:
        """Measure a structure that several trainings here have, if it is not known and there is time for it.

        Return the structures that are known since.
        """
        if self._study.fuse != "auto" or self._spent > FIT_SHARE * (time.monotonic() - self._born):
            return set()
        params = {trainer.structure: params for trainer, params in present if trainer.structure is not None}
        counts = Counter(trainer.structure for trainer, _ in present)
        for structure in params:
            if counts[structure] > 1 and structure not in self._known and structure not in self._failed:
                return self._measure(structure, params[structure])
        return set()

    def _num_slots(self) -> int:
        limit = self._study.resources.trials_per_group
        most = self._limit if self._study.fuse == "auto" else self._study.fuse
        most = most if limit == "auto" else min(most, limit)
        if most == 1:
            return 1
        default = space_of(self._study).default()
        try:
            structure = trainer_of(self._study, default, seed=0, device=self._device).structure
        except Exception:  # its trial, the first of the study, will say why
            return 1
        if structure is None:
            return 1
        if self._study.fuse != "auto":
            return most
        if structure not in self._known:
            self._measure(structure, default)
        if structure not in self._known:
            return 1
        found = self._known[structure]
        slots = min(most, found.width)
        if slots < found.fewest:
            return 1
        return slots if self._study.races or self._meet_often(slots, fewest=found.fewest) else 1

    def _meet_often(self, slots: int, *, fewest: int) -> bool:
        """Whether most trials of the space would find as many of their structure in the group as a stack needs.

        Else more slots would gain little, and a sampler learns less from trials that are all in flight.
        """
        from trainables.training.alone import largest_batch

        family = load("models", self._study.model)
        alike = 0
        draws = self._draws(GROUPS * slots)
        for begin in range(0, len(draws), slots):
            keys = Counter(
                (
                    largest_batch(int(params["batch_size"])),
                    *(params.get(name) for name in (*family.structural, "freeze")),
                )
                for params in draws[begin : begin + slots]
            )
            alike += sum(count for count in keys.values() if count >= fewest)
        return alike > GROUPS * slots / 2

    def _measure(self, structure: str, params: Params) -> set[str]:
        from trainables.training.widths import fit

        kinds = self._kinds(params)

        def make(number: int) -> Training:
            made = trainer_of(self._study, kinds[number % len(kinds)], seed=number, device=self._device)
            return cast("Training", made)

        began = time.monotonic()
        try:
            found = fit(make, limit=self._limit, seconds=FIT_SECONDS, kinds=len(kinds))
        except Exception:
            self._failed.add(structure)
            return set()
        finally:
            self._spent += time.monotonic() - began
        if not found.seconds:
            self._failed.add(structure)
            return set()
        return self._learn(self._fitted(found.to_json()))

    def _kinds(self, params: Params) -> list[Params]:
        """Return the configuration, and some of equal structure as the space draws them.

        Members of a stack differ in batch size, optimizer, penalties and dropout, and a stack pays for all that any of
        them uses; so a width must pay for them together.
        """
        family = load("models", self._study.model)
        fixed = {name: params[name] for name in family.structural if name in params}
        structure = self._structure(params)
        kinds = [params]
        for draw in self._draws(DRAWS):
            kind = {name: value for name, value in draw.items() if name not in family.structural} | fixed
            if len(kinds) < KINDS and self._structure(kind) == structure:
                kinds.append(kind)
        return kinds

    def _structure(self, params: Params) -> str | None:
        try:
            return trainer_of(self._study, params, seed=0, device=self._device).structure
        except ValueError:  # a draw whose other values do not go with this structure
            return None

    def _draws(self, count: int) -> list[Params]:
        generator, space = random.Random(0), space_of(self._study)
        return [space.random(generator) for _ in range(count)]

    def _learn(self, fits: Sequence[Mapping[str, Any]]) -> set[str]:
        import torch

        from trainables.training.widths import Fit, device_name

        here = device_name(torch.device(self._device))
        before = self._known.keys()
        self._num_known = len(fits)
        self._known = {fit["structure"]: Fit.from_json(fit) for fit in fits if fit["device"] == here}
        return self._known.keys() - before
