"""Frames of a search beside those of `analysis`: what the groups did over time, and all metrics of finished trials."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from hpo.home import Home
from hpo.intervals import interval
from hpo.reading import Reading, Span, reading_of
from hpo.selected import Selection

Floats = npt.NDArray[np.float64]

STRETCHES = 120  # into which the time of a search is cut


def load(source: Home | Reading) -> pd.DataFrame:
    """Return what the slots of each group did in each of `STRETCHES` equal stretches of the search, pauses included.

    minute (when the stretch begins, since the first trial did), length (minutes), group, taken (mean number of its
    slots that held a trial), slots (mean number that were there: from the group's first sign of life to its last),
    epochs (finished in it, repeated ones once). Rows without slots are left out; empty before the first trial began.
    """
    reading = reading_of(source)
    spans = [span for of_trial in reading.spans.values() for span in of_trial]
    columns = ["minute", "length", "group", "taken", "slots", "epochs"]
    begin, end = min((span.start for span in spans), default=0.0), max((span.end for span in spans), default=0.0)
    if not end > begin:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns, float) | {"group": str})
    edges = np.linspace(begin, end, STRETCHES + 1)
    length = float(edges[1] - edges[0])
    finished = _epochs(reading, spans)
    rows = []
    for group in dict.fromkeys(span.group for span in sorted(spans, key=lambda span: span.start)):
        of_group = [span for span in spans if span.group == group]
        count, since = reading.slots.get(group, (1, -math.inf))
        first, last = max(since, min(span.start for span in of_group)), max(span.end for span in of_group)
        taken = np.sum([_share(edges, max(span.start, first), span.end) for span in of_group], axis=0)
        there = count * _share(edges, first, last)
        epochs, _ = np.histogram(finished.get(group, []), bins=edges)
        rows += [
            ((edges[place] - begin) / 60, length / 60, group, taken[place], there[place], epochs[place])
            for place in np.flatnonzero((there > 0) | (epochs > 0))
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).sort_values(["minute", "group"], ignore_index=True)


def finals(source: Home | Reading) -> pd.DataFrame:
    """Return one row for each done trial: number, feasible, vetoed, and each metric as it was at the end.

    The objective has its own name; NaN stands for what was not measured.
    """
    reading = reading_of(source)
    rows = []
    for row in reading.rows:
        if row.end == "done":
            measured = {name: value for event in reading.events.get(row.number, ()) if event.end == "done"
                        for name, value in event.metrics.items()}  # fmt: skip
            value = math.nan if row.value is None else float(row.value)
            known = {"number": row.number, "feasible": row.feasible, "vetoed": row.number in reading.vetoed}
            rows.append({**known, **measured, reading.objective.metric: value})
    return pd.DataFrame(rows, columns=None if rows else ["number", "feasible", "vetoed", reading.objective.metric])


def race(selection: Selection) -> pd.DataFrame:
    """Return one row for each run of the finalists: name, seed, value, mean, low, high, searched, eliminated.

    The last five are its finalist's: low and high are Student's interval at 95 %. NaN stands for a run that died, an
    interval of fewer than two runs, and a default configuration that was never tried.
    """
    rows = []
    for one in selection.finalists:
        found = interval([run.value for run in one.runs if run.value is not None])
        mean, searched = (math.nan if value is None else value for value in (one.mean, one.searched))
        low, high = (math.nan, math.nan) if found is None else (found.low, found.high)
        rows += [
            (one.name, run.seed, math.nan if run.value is None else run.value, mean, low, high, searched,
             one.out_after is not None)
            for run in one.runs
        ]  # fmt: skip
    columns = ["name", "seed", "value", "mean", "low", "high", "searched", "eliminated"]
    return pd.DataFrame(rows, columns=columns)


def _share(edges: Floats, start: float, end: float) -> Floats:
    """Return the share of each stretch that lies between two times."""
    inside: Floats = np.minimum(edges[1:], end) - np.maximum(edges[:-1], start)
    share: Floats = np.maximum(inside, 0.0) / (edges[1] - edges[0])
    return share


def _epochs(reading: Reading, spans: Sequence[Span]) -> dict[str, list[float]]:
    """Return when each epoch was finished, by the group that finished it."""
    found: dict[str, list[float]] = {}
    for number, events in reading.events.items():
        stays = reading.spans.get(number, ())
        seen = 0
        for event in events:
            if event.step > seen and stays:
                seen = event.step
                stay = next((stay for stay in reversed(stays) if stay.start <= event.time), stays[0])
                found.setdefault(stay.group, []).append(event.time)
    return found
