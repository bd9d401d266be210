"""What a stack's width costs: seconds a member-step, and memory, measured on the real shapes and the real device.

Floor: the stack. A width is worth taking only where it is measured to be faster than training alone.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .alone import Training
from .captured import WARM_UP
from .stack import Stack

CPU = "cpu"
# A stack must beat training alone by this much to be taken: what a measurement of half a second may be off by.
MARGIN = 0.03
# Of two widths the smaller is taken where the larger gains less: it leaves fewer trials undecided, and more memory.
GAIN = 0.05
# After training alone: two members rarely pay for a stack, so they are measured only where no more may be.
FIRST = 4
ROUNDS = 5
SHARES = 6  # of the time, so much goes to one width; building the trainings takes the rest
LATEST = 3  # times the time: where single steps are long, no further width is begun after it


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What each width costs for one structure on one device, and the `width` to take.

    seconds: for each width the median seconds a member-step. memory: for each width the peak of allocated bytes; empty
    on a CPU. spent: the seconds that measuring took.
    """

    structure: str
    device: str
    seconds: dict[int, float]
    memory: dict[int, int]
    width: int
    spent: float

    @property
    def fewest(self) -> int:
        """How many members a stack must have to be faster than training alone, as far as was measured; at least 2.

        On a GPU a stack computes all of its rows whatever its members are, so its step costs what the full one does.
        """
        enough = _enough(self.seconds) if self.seconds else 0.0
        if not self.device.startswith(CPU) and self.width > 1:
            return max(2, math.ceil(self.width * self.seconds[self.width] / enough))
        return min((width for width, cost in self.seconds.items() if width > 1 and cost <= enough), default=2)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the keys of mappings are text."""
        values = dataclasses.asdict(self)
        for name in ("seconds", "memory"):
            values[name] = {str(width): value for width, value in values[name].items()}
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fit:
        read = {name: {int(width): value for width, value in values[name].items()} for name in ("seconds", "memory")}
        return cls(**{**values, **read})


def fit(make: Callable[[int], Training], *, limit: int, seconds: float, kinds: int = 1) -> Fit:
    """Measure widths 1, 4, 8, 16, ... up to `limit`, and stop where a wider one no longer gains.

    make: builds the i-th training under a seed of its own; they are thrown away. They are equal, or of several `kinds`
    by turns, such as batch sizes that share a stack: width 1 is then the mean of all kinds. seconds: about how long it
    may take; at least a few steps are made at each width. Where the device's memory ends, so do the widths.
    """
    if limit < 1:
        raise ValueError(f"the largest width must be at least 1, and it is {limit}: raise the limit")
    each = [make(number) for number in range(kinds)]
    first = each[0]
    began = time.perf_counter()
    found: dict[int, float] = {}
    memory: dict[int, int] = {}
    if first.structure is not None and limit > 1:
        watch = _Watch(seconds / SHARES, device=first.device)
        alone = functools.partial(_alone, each)
        built = (make(number) for number in itertools.count(kinds))
        trainings: list[Training] = []
        for width in _widths(limit):
            try:
                trainings += itertools.islice(built, width - len(trainings) if width > 1 else 0)
                step = watch.step(alone if width == 1 else _stacked(trainings[:width]))
            except torch.OutOfMemoryError:
                break
            fastest = min(found.values(), default=math.inf)
            found[width] = step / (kinds if width == 1 else width)
            memory |= watch.peak(width)
            if found[width] > fastest * (1 - GAIN) or time.perf_counter() - began > LATEST * seconds:
                break
        compared: set[int] = set()
        # Figures that lie some time apart may differ by what else the machine did: side by side decides.
        while (best := _best(found)) > 1 and best not in compared:
            compared.add(best)
            try:
                together, apart = watch.side_by_side(_stacked(trainings[:best]), alone)
            except torch.OutOfMemoryError:
                del found[best]
            else:
                found[best], found[1] = together / best, apart / kinds
    return Fit(
        structure=first.structure or "",
        device=device_name(first.device),
        seconds=found,
        memory=memory,
        width=_best(found),
        spent=time.perf_counter() - began,
    )


def _widths(limit: int) -> Iterator[int]:
    """1, 4, 8, 16, ... and never above the limit; 1, 2 and 1, 3 where that is lower."""
    yield 1
    width = min(FIRST, limit)
    while width <= limit:
        yield width
        width *= 2


def _best(seconds: Mapping[int, float]) -> int:
    """The smallest width that is about as fast as the fastest; 1 where that is not faster than training alone."""
    if not seconds:
        return 1
    limit = min(min(seconds.values()) / (1 - GAIN), _enough(seconds))
    return min((width for width, cost in seconds.items() if width > 1 and cost <= limit), default=1)


def _enough(seconds: Mapping[int, float]) -> float:
    """Seconds a member-step that are less than alone by more than a measurement may be off."""
    return seconds[1] * (1 - MARGIN)


class _Watch:
    """Times steps on one device. seconds: about how long one answer may take; a step that is longer is made once."""

    def __init__(self, seconds: float, *, device: torch.device) -> None:
        self._seconds, self._device = seconds, device
        self._on_cuda = device.type == "cuda"

    def step(self, run: Callable[[int], None]) -> float:
        """The median seconds of a step over some rounds."""
        if self._on_cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        return self._rounds(run)[0]

    def side_by_side(self, one: Callable[[int], None], other: Callable[[int], None]) -> tuple[float, float]:
        """The same of both, by turns."""
        first, second = self._rounds(one, other)
        return first, second

    def peak(self, width: int) -> dict[int, int]:
        """The most bytes that were allocated during the last answer, for this width; nothing on a CPU."""
        return {width: torch.cuda.max_memory_allocated(self._device)} if self._on_cuda else {}

    def _rounds(self, *runs: Callable[[int], None]) -> list[float]:
        # First calls of a kernel cost more than the ones that follow, and a GPU captures after some.
        first = [self._timed(run, WARM_UP + 2 if self._on_cuda else 1) for run in runs]
        if max(first) > self._seconds:
            return first
        counts = [max(1, round(self._seconds / ROUNDS / self._timed(run, 1))) for run in runs]
        rounds = [[self._timed(run, count) for run, count in zip(runs, counts, strict=True)] for _ in range(ROUNDS)]
        return [statistics.median(times) for times in zip(*rounds, strict=True)]

    def _timed(self, run: Callable[[int], None], steps: int) -> float:
        began = time.perf_counter()
        run(steps)
        if self._on_cuda:
            torch.cuda.synchronize(self._device)
        return (time.perf_counter() - began) / steps


def _alone(trainings: Sequence[Training], steps: int) -> None:
    """Make so many steps of each, of the same epoch again and again; only to be timed."""
    for training in trainings:
        left = steps
        while left > 0:
            epoch = training.begin_epoch()
            epoch = dataclasses.replace(epoch, last=min(epoch.last, epoch.first + left))
            training.train(epoch)
            left -= epoch.last - epoch.first


def _stacked(trainings: Sequence[Training]) -> Callable[[int], None]:
    stack = Stack(trainings[0], width=len(trainings))
    for training in trainings:
        stack.add(training)
    return stack.rehearse


def device_name(device: torch.device) -> str:
    """What the figures of a device are kept under; on a CPU they depend on the threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return CPU if threads == 1 else f"{CPU} with {threads} threads"
