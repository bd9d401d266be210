"""Means over seeds with their intervals at 95 %, by Student's t. Imports SciPy and the form of an interval."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from scipy import stats

from hpo.selected import Interval

CONFIDENCE = 0.95


def interval(values: Sequence[float], *, one_more: bool = False) -> Interval | None:
    """Return the mean with its interval at 95 % by Student's t; one_more: of one further value from the same source.

    None for fewer than two values, which say nothing of their spread.
    """
    error = standard_error(values)
    if error is None:
        return None
    half = error * float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    half *= math.sqrt(len(values) + 1) if one_more else 1.0
    mean = statistics.fmean(values)
    return Interval(mean=mean, low=mean - half, high=mean + half)


def difference(ours: Sequence[float], others: Sequence[float]) -> Interval | None:
    """Return the mean of `others` less that of `ours` and its interval at 95 % (Welch 1947); None below two of each."""
    errors = [standard_error(values) for values in (ours, others)]
    if errors[0] is None or errors[1] is None:
        return None
    mean = statistics.fmean(others) - statistics.fmean(ours)
    squares = [error**2 for error in (errors[0], errors[1])]
    if sum(squares) == 0.0:
        return Interval(mean=mean, low=mean, high=mean)
    freedom = sum(squares) ** 2 / sum(
        square**2 / (len(values) - 1) for square, values in zip(squares, (ours, others), strict=True)
    )
    half = math.sqrt(sum(squares)) * float(stats.t.ppf((1 + CONFIDENCE) / 2, freedom))
    return Interval(mean=mean, low=mean - half, high=mean + half)


def standard_error(values: Sequence[float]) -> float | None:
    """The standard error of the mean; None below two values."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
