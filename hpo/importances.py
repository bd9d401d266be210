"""Which parameters set the best trials apart: each one's share of the importance. Imports Optuna and pandas."""

from __future__ import annotations

import warnings
from collections import Counter

import optuna
import pandas as pd

from hpo.home import Home
from hpo.reading import Reading, reading_of

MIN_DONE = 10  # over fewer done trials importance is chance
_TOP_TRIALS = 5  # PED-ANOVA wants at least this many trials in its top quantile


def importances(source: Home | Reading) -> pd.DataFrame:
    """Return each parameter's share of the importance: parameter, importance (they sum to 1), trials it rests on.

    PED-ANOVA (Watanabe et al. 2023, arXiv 2304.10255; conditional parameters: arXiv 2601.20800) over done trials; the
    top tenth, and at least 5 trials, against all. Parameters that fewer than `MIN_DONE` of them have are left out: over
    a handful of trials a conditional parameter seems to matter by chance. Empty below `MIN_DONE` done trials.
    """
    reading = reading_of(source)
    frame = pd.DataFrame({"parameter": pd.Series(dtype=str), "importance": pd.Series(dtype=float),
                          "trials": pd.Series(dtype=int)})  # fmt: skip
    count = len(reading.done)
    seen = Counter(name for trial in reading.done for name, kind in trial.distributions.items() if not kind.single())
    varied = [name for name, times in seen.items() if times >= MIN_DONE]
    if not varied:
        return frame
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, _TOP_TRIALS / count))
    with warnings.catch_warnings():  # a condition that one trial meets alone: the share is rough, and said to be
        warnings.filterwarnings("ignore", message="Some regimes for parameter")
        shares = optuna.importance.get_param_importances(_in_memory(reading), evaluator=evaluator, params=varied)
    ordered = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    return pd.DataFrame({"parameter": [name for name, _ in ordered], "importance": [share for _, share in ordered],
                         "trials": count})  # fmt: skip


def _in_memory(reading: Reading) -> optuna.Study:
    """Return a study of the done trials alone: in the ledger a dead one may be complete too, at a made-up value."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(direction=reading.objective.direction)
        study.add_trials(reading.done)
    finally:
        optuna.logging.set_verbosity(before)
    return study
