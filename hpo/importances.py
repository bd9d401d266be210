"""Which parameters set the best trials apart: each one's share of the importance. Imports Optuna and pandas."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Sequence

import numpy as np
import optuna
import pandas as pd

from hpo.home import Home
from hpo.reading import Reading, reading_of

MIN_DONE = 10  # over fewer done trials importance is chance
RESAMPLES = 30  # a standard error within an eighth
MOST_RESAMPLED = 100  # trials in one: what an evaluation takes grows with them
_TOP_TRIALS = 5  # PED-ANOVA wants at least this many trials in its top quantile
_NORMAL = 1.96


def importances(source: Home | Reading, *, intervals: bool = False) -> pd.DataFrame:
    """Return each parameter's share of the importance: parameter, importance (they sum to 1), trials it rests on.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255; conditional parameters: arXiv 2601.20800) over done trials; the
    top tenth, and at least 5 trials, against all. Parameters that fewer than `MIN_DONE` of them have are left out: over
    a handful of trials a conditional parameter seems to matter by chance. Empty below `MIN_DONE` done trials.

    intervals: with low and high, the share and 1.96 standard errors on either side, within 0 and 1. The errors are
    those of a bootstrap over trials with `RESAMPLES` resamples, the same at each call; beyond `MOST_RESAMPLED` trials a
    resample has that many, and its error is scaled by the root of the ratio (Bickel, Goetze and van Zwet 1997,
    Statistica Sinica 7, 1-31). It takes some seconds.
    """
    reading = reading_of(source)
    varied = _varied(reading)
    shares = _shares(reading, reading.done, varied) if varied else {}
    ordered = sorted(shares, key=lambda name: (-shares[name], name))
    frame = pd.DataFrame({"parameter": pd.Series(ordered, dtype=str), "trials": len(reading.done)})
    frame.insert(1, "importance", pd.Series([shares[name] for name in ordered], dtype=float))
    if intervals:
        errors = _errors(reading, varied) if varied else {}
        width = pd.Series([_NORMAL * errors[name] for name in ordered], dtype=float)
        frame["low"] = (frame["importance"] - width).clip(lower=0.0)
        frame["high"] = (frame["importance"] + width).clip(upper=1.0)
    return frame


def _varied(reading: Reading) -> list[str]:
    seen = Counter(name for trial in reading.done for name, kind in trial.distributions.items() if not kind.single())
    return [name for name, times in seen.items() if times >= MIN_DONE]


def _shares(reading: Reading, trials: Sequence[optuna.trial.FrozenTrial], names: list[str]) -> dict[str, float]:
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, _TOP_TRIALS / len(trials)))
    with warnings.catch_warnings():  # a condition that one trial meets alone: the share is rough, and said to be
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        study = _in_memory(reading, trials)
        return optuna.importance.get_param_importances(study, evaluator=evaluator, params=names)


def _errors(reading: Reading, varied: list[str]) -> dict[str, float]:
    """Return the standard error of each share."""
    generator = np.random.default_rng(0)
    count = len(reading.done)
    taken = min(count, MOST_RESAMPLED)
    found: dict[str, list[float]] = {name: [] for name in varied}
    for _ in range(RESAMPLES):
        some = [reading.done[place] for place in generator.integers(count, size=taken)]
        # A resample may lack a conditional parameter, whose share is then 0.
        there = [name for name in varied if any(name in trial.params for trial in some)]
        shares = _shares(reading, some, there)
        for name in varied:
            found[name].append(shares.get(name, 0.0))
    return {name: float(np.std(shares)) * math.sqrt(taken / count) for name, shares in found.items()}


def _in_memory(reading: Reading, trials: Sequence[optuna.trial.FrozenTrial]) -> optuna.Study:
    """Return a study of these done trials alone: in the ledger a dead one may be complete too, at a made-up value."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction=reading.objective.direction)
        study.add_trials(trials)
    finally:
        optuna.logging.set_verbosity(before)
    return study
