"""Samples to be measured: drawn from a model in passes of a fixed size, or rows of the data in their place.

Floor: torch, data and models. `Replay` gives every distance between samples and rows its two yardsticks: what it says
of a copy of the training rows, and of real rows that no model saw. Axes: N samples.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..data._data import Split
from ..models._family import Generative, Noise

# Samples a pass: as many as stay in a core's cache.
CHUNK_ROWS = 250


def draw(model: Generative, generator: torch.Generator, *, rows: int) -> Split:
    """So many samples, and their classes where the model is told them. All noise is drawn first, in one piece.

    Of a `Replay` there are no more than it has rows: repeated ones would count as samples that came out alike.
    """
    if isinstance(model, Replay):
        rows = min(rows, len(model))
    with torch.inference_mode():
        noise = model.draw_samples(generator, rows=rows)
        parts = {name: torch.split(tensor, CHUNK_ROWS) for name, tensor in noise.items()}
        chunks = range(0, rows, CHUNK_ROWS)
        samples = [model.sample({name: part[place] for name, part in parts.items()}) for place in range(len(chunks))]
        return Split(x=torch.cat(samples), labels=noise.get("label"))


class Replay:
    """Gives rows of a split for samples, each equally often but for one, in random order."""

    def __init__(self, split: Split) -> None:
        self._split = split

    def __len__(self) -> int:
        return len(self._split)

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        """Which rows, and their labels."""
        count, device = len(self._split), generator.device
        rounds = [torch.randperm(count, generator=generator, device=device) for _ in range(-(-rows // count))]
        row = torch.cat(rounds)[:rows]
        return {"row": row} if self._split.labels is None else {"row": row, "label": self._split.labels[row]}

    def sample(self, noise: Noise) -> Tensor:
        """These rows."""
        return self._split.x[noise["row"]]
