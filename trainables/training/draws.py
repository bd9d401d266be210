"""The draws of a stack's members: rows of data and noise, drawn by each for itself, read by all at once.

Floor: torch. A member's draws are as many as it needs, at its own place; the memory they lie in does not move, so that
a captured step can read it. Axes: K members, B rows of a batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .players import Chunk

Noise = dict[str, dict[str, Tensor]]


class Draws:
    """One slot for each of `width` members; a slot holds up to `rows` rows."""

    def __init__(self, width: int, *, rows: int, device: torch.device) -> None:
        self._width, self._room, self._device = width, rows, device
        self._rows = torch.zeros(width, rows, dtype=torch.int64, device=device)
        self._noise: Noise = {}
        self._drawn: list[frozenset[tuple[str, str]]] = [frozenset()] * width

    def put(self, slot: int, chunk: Chunk) -> None:
        """A member's next draws. Noise that others draw and this one does not is zero."""
        count = len(chunk.rows)
        self._rows[slot, :count] = chunk.rows
        drawn = frozenset((player, name) for player, noise in chunk.noise.items() for name in noise)
        for player, name in self._drawn[slot] - drawn:
            self._noise[player][name][slot] = 0.0
        self._drawn[slot] = drawn
        for player, noise in chunk.noise.items():
            kept = self._noise.setdefault(player, {})
            for name, tensor in noise.items():
                if name not in kept:
                    kept[name] = tensor.new_zeros(self._width, self._room, *tensor.shape[1:])
                kept[name][slot, :count] = tensor

    def drawn(self, slots: list[int]) -> frozenset[tuple[str, str]]:
        """Player and name of the noise that any of these draws."""
        return frozenset().union(*(self._drawn[slot] for slot in slots))

    def take(
        self, slot_K: Tensor, first_K: Tensor, size: int, *, drawn: frozenset[tuple[str, str]]
    ) -> tuple[Tensor, Noise]:
        """`size` indices of rows [K, B] for each slot from its `first` on, and of the noise those that are `drawn`."""
        # What lies beyond a member's own batch has weight 0; it only must be there.
        place_KB = (first_K[:, None] + torch.arange(size, device=self._device)).clamp_(max=self._room - 1)
        slot_K1 = slot_K[:, None]
        noise: Noise = {}
        for player, name in sorted(drawn):
            noise.setdefault(player, {})[name] = self._noise[player][name][slot_K1, place_KB]
        return self._rows[slot_K1, place_KB], noise
