"""The share of the 20-character pieces of samples that the training rows have too.

A shorter row is one piece, and copied where a training row is the same. 1 for copies of training rows. Real rows that
no model saw have some as well, since people repeat themselves: its floor.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor

from ..data._data import Data, Split
from ._metric import Direction, Measurement, mean_over_rows
from ._text import TextMetric, lines

CHARACTERS = 20


class Metric(TextMetric):
    """The share in 1000 samples, smaller is better; the mean over samples."""

    name: ClassVar[str] = "copy_rate"
    direction: ClassVar[Direction] = "minimize"

    def count(self, data: Data) -> int:
        return 1000

    def of_samples(self, samples_NT: Tensor, rows: Split, data: Data) -> Measurement:
        every = [list(_pieces(line)) for line in lines(samples_NT, data)]
        wanted = {piece for own in every for piece in own}
        copied: set[str] = set()
        for line in lines(data.train.x, data):
            copied.update(wanted.intersection(_pieces(line)))
        shares = [sum(piece in copied for piece in own) / len(own) for own in every]
        return mean_over_rows(torch.tensor(shares, dtype=torch.float64))


def _pieces(line: str) -> Iterator[str]:
    return (line[begin : begin + CHARACTERS] for begin in range(max(1, len(line) - CHARACTERS + 1)))
