"""Two-sample test by a random forest: how much better than by chance samples are told from rows.

Lopez-Paz and Oquab 2017, arXiv 1610.06545, with the random forest of scikit-learn as classifier, on a series and its
differences from step to step. Floor: scikit-learn, numpy, torch, data and models.
Axes: N rows, T steps, F features, D numbers of a row and of its differences.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import cross_val_predict
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Family, Generative
from ._metric import Direction, Measurement, mean_over_rows
from ._samples import draw
from ._series import as_series, series_refusal

# So many samples are drawn, and as many rows are asked about, where there are as many.
ROWS = 500
FEWEST_ROWS = 50
FOLDS, TREES, SEED = 5, 50, 0


class Metric:
    """|accuracy - 1/2| of a cross-validated random forest that tells samples from rows, 0 to 1/2, smaller is better.

    Rows and samples that come again are asked about once; a model with fewer than 50 different samples of 500 has 1/2.
    The accuracy of N fresh rows against N others scatters about one half by about .5 / sqrt(2 N). It lies above where
    rows overlap, as windows of one series do: a forest knows them by their neighbors. So the value of other real rows
    is the yardstick, and not 0.
    """

    name: ClassVar[str] = "forest_test"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = False

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """All data but series are refused, and too few validation rows."""
        if (problem := series_refusal(data, metric=cls.name)) is not None:
            return problem
        return None if len(data.validation) >= FEWEST_ROWS else _too_few(len(data.validation))

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The distance from one half, its error that of a share; NaN where a sample is not finite."""
        # What comes again would be known from the fold where it was first.
        random = np.random.RandomState(SEED)
        rows_ND = random.permutation(np.unique(_with_differences(split.x), axis=0))
        if len(rows_ND) < FEWEST_ROWS:
            raise ValueError(_too_few(len(rows_ND)))
        drawn_ND = _with_differences(draw(model, generator, rows=ROWS).x)
        if not np.isfinite(drawn_ND).all():
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=ROWS)
        samples_ND = random.permutation(np.unique(drawn_ND, axis=0))
        count = min(len(rows_ND), len(samples_ND), ROWS)
        if count < FEWEST_ROWS:
            return Measurement(value=0.5, standard_error=0.0, sample_size=count)
        is_row = np.arange(2 * count) < count
        forest = RandomForestClassifier(TREES, random_state=SEED, n_jobs=1)
        found = cross_val_predict(forest, np.concatenate([rows_ND[:count], samples_ND[:count]]), is_row, cv=FOLDS)
        accuracy = mean_over_rows(torch.from_numpy(found == is_row))
        return replace(accuracy, value=abs(accuracy.value - 0.5), sample_size=count)


def _with_differences(x: Tensor) -> NDArray[np.float32]:
    """[N, D]: the numbers of a row, and those by which it goes on from step to step."""
    x_NTF = as_series(x, metric=Metric.name)
    numbers: NDArray[np.float32] = torch.cat([x_NTF, x_NTF.diff(dim=1)], 1).flatten(1).float().cpu().numpy()
    return numbers


def _too_few(rows: int) -> str:
    return (
        f"the metric {Metric.name!r} needs at least {FEWEST_ROWS} different rows to measure on, and there are {rows}: "
        "choose another metric, or hold out more"
    )
