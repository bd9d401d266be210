"""The random streams of one trial: initial weights, order of the data, noise of the loss.

Floor: torch. Each stream is a generator of its own under a seed that is a hash of trial seed and purpose, so that one
stream's length never shifts another, and nothing here depends on the other members of a stack.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

# The noise of a measurement is the same for every trial and every epoch, so that trials differ by their models only.
MEASUREMENT_SEED = 20_140_613


def stream(seed: int, purpose: str, *, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator for one purpose of the trial with this seed."""
    digest = hashlib.sha256(f"{seed}:{purpose}".encode()).digest()
    return torch.Generator(device).manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def measurement_stream(*, device: torch.device | str = "cpu") -> torch.Generator:
    """A new generator for one measurement."""
    return stream(MEASUREMENT_SEED, "measurement", device=device)


class Order:
    """The rows in the order of training: an endless stream of permutations, cut into batches by the caller.

    Always drawn on the CPU, so that the order is the same on every device.
    """

    def __init__(self, rows: int, *, seed: int) -> None:
        self.rows = rows
        self.generator = stream(seed, "order")
        self._left = torch.empty(0, dtype=torch.int64)

    def take(self, count: int) -> Tensor:
        """The next `count` row indices."""
        parts = [self._left]
        while sum(map(len, parts)) < count:
            parts.append(torch.randperm(self.rows, generator=self.generator))
        stream_so_far = torch.cat(parts)
        taken, self._left = stream_so_far[:count], stream_so_far[count:].clone()
        return taken

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint keeps: the generator, and the rest of the permutation that is being dealt."""
        return {"generator": self.generator.get_state(), "left": self._left}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on where `state` was taken."""
        self.generator.set_state(state["generator"])
        self._left = state["left"].clone()


def steps_until(epoch: int, *, rows: int, batch_size: int) -> int:
    """Steps that are done when `epoch` epochs are: the first number that has seen `epoch * rows` rows."""
    return -(-epoch * rows // batch_size)
