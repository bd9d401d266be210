"""Standard errors by leaving out one part of the samples at a time.

Efron 1982, DOI 10.1137/1.9781611970319. The rows count as given, so the error is that of drawing samples. It is rather
too large than too small (Efron and Stein 1981, DOI 10.1214/aos/1176345462).
Floor: the standard library and torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch

PARTS = 20


def cuts(count: int) -> list[tuple[int, int]]:
    """Where each part of so many samples begins and ends."""
    edges = [count * part // PARTS for part in range(PARTS + 1)]
    return list(itertools.pairwise(edges))


def jackknife_error(without: Sequence[float]) -> float:
    """The standard error, from the value without each of the parts."""
    spread = torch.tensor(without, dtype=torch.float64).var(correction=0)
    return math.sqrt((len(without) - 1) * float(spread))
