"""What each trial came to, or could be expected to come to: a pruned one has no value at its end of its own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from hpo.reading import Reading, finite
from hpo.rows import TrialRow

MIN_LEVEL = 5  # trials, or nothing is said of them
_FAR = 3.0  # interquartile ranges beyond the worse quartile: Tukey's outer fence (1977), where the worst values count
_SEED = 0

Floats = npt.NDArray[np.float64]


def outcomes(reading: Reading) -> tuple[list[TrialRow], Floats, int]:
    """Return the trials that effects are told from, what each has or could be expected to have at its end, and how many
    of them were pruned.

    Done trials alone would be a choice of the good ones, which hides what made others bad. A rung looks at the value
    there and nothing else, so given that value it is chance who went on: the trials that did say what a pruned one
    would have come to, by a line through their values then and at the end plus one of their deviations from it (Rubin
    1987, "Multiple Imputation", monotone missing data). It is drawn from the last rung to the first. A trial stopped
    where fewer than `MIN_LEVEL` went on is left out, and so are those that died or were lost. Values that are worse
    than Tukey's outer fence are set to it: one that exploded would be all of a mean.
    """
    ends = {row.number: value for row in reading.rows if row.end == "done" and (value := finite(row.value)) is not None}
    stopped = [row for row in reading.rows if row.end == "pruned" and finite(row.value) is not None and row.values]
    sign = 1.0 if reading.objective.direction == "minimize" else -1.0
    known = {number: sign * value for number, value in ends.items()}
    at = {row.number: row.values for row in reading.rows}
    generator = np.random.default_rng(_SEED)
    for step in sorted({max(row.values) for row in stopped}, reverse=True):
        went_on = [number for number in known if finite(at[number].get(step)) is not None]
        if len(went_on) < MIN_LEVEL:
            continue
        ending = [row for row in stopped if max(row.values) == step]
        seen = _fenced(np.array([sign * at[number][step] for number in [*went_on, *(row.number for row in ending)]]))
        here, then = seen[: len(went_on)], _fenced(np.array([known[number] for number in went_on]))
        slope = max(0.0, float(np.cov(here, then)[0, 1] / here.var(ddof=1))) if here.std() > 0 else 0.0
        level = float(then.mean() - slope * here.mean())
        left = then - level - slope * here
        for row, value in zip(ending, seen[len(went_on) :], strict=True):
            known[row.number] = level + slope * float(value) + float(generator.choice(left))
    rows = [row for row in reading.rows if row.number in known]
    values = _fenced(np.array([known[row.number] for row in rows])) if rows else np.zeros(0)
    return rows, sign * values, len(rows) - len(ends)


def _fenced(costs: Floats) -> Floats:
    """Return values to minimize, those beyond the outer fence set to it."""
    lower, upper = np.quantile(costs, [0.25, 0.75])
    fenced: Floats = np.minimum(costs, upper + _FAR * (upper - lower))
    return fenced
