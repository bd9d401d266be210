"""The sines: every row is a sine wave, and its frequency, amplitude and phase are uniform in their ranges."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from trainables.data import sines
from trainables.data._data import Data

SHA256 = "bceb44615e7a45405a3801549b3ab27218d8e8476b41ec935735706cee06d560"


@pytest.fixture(scope="module")
def data() -> Data:
    return sines.load()


def fitted(x_NT: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Frequency, amplitude, phase and what is left of each row: least squares over ever finer frequencies."""
    steps = 2.0 * np.pi * np.arange(1, 31) / 30
    rows = np.arange(len(x_NT))
    centers, width = np.linspace(0.5, 5.5, 101)[:, None] + np.zeros(len(x_NT)), 0.05
    for _ in range(6):
        angles = centers[:, :, None] * steps
        waves = np.stack([np.sin(angles), np.cos(angles)], -1)
        weights = np.linalg.solve(waves.mT @ waves, waves.mT @ x_NT[None, :, :, None])
        left = np.abs((waves @ weights)[..., 0] - x_NT).max(-1)
        best = left.argmin(0)
        f, (sine, cosine) = centers[best, rows], weights[best, rows, :, 0].T
        centers, width = f + np.linspace(-width, width, 21)[:, None], width / 10
    return f, np.hypot(sine, cosine), np.arctan2(cosine, sine), left.min(0)


def test_the_content_is_pinned(data: Data) -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert data.sha256 == SHA256


def test_there_are_14_000_series_of_30_steps_of_one_feature(data: Data) -> None:
    assert [tuple(split.x.shape) for _, split in data.splits()] == [(10_000, 30, 1), (2000, 30, 1), (2000, 30, 1)]
    assert (data.modality, data.levels, data.value_range) == ("series", None, (-1.0, 1.0))


def test_each_row_is_a_sine_with_parameters_uniform_in_their_ranges(data: Data) -> None:
    f, amplitude, phase, left = fitted(data.train.x[:300, :, 0].double().numpy())
    assert left.max() < 1e-4
    ranges = ((f, 1.0, 5.0), (amplitude, 0.1, 0.9), (phase, -np.pi, np.pi))
    for values, low, high in ranges:
        # Of 300 draws one nearly always lies in the last thirtieth at either end; and none beyond it.
        edge = (high - low) / 30
        assert low - 1e-3 <= values.min() <= low + edge
        assert high - edge <= values.max() <= high + 1e-3
        assert stats.kstest(values, stats.uniform(low, high - low).cdf).pvalue > 0.01


def test_rows_are_an_option_and_change_the_training_rows_alone(data: Data) -> None:
    few = sines.load(rows=10)
    assert len(few.train) == 10
    assert torch.equal(few.validation.x, data.validation.x)
    with pytest.raises(ValueError, match="rows of sines must be at least 1, and they are 0: raise them"):
        sines.load(rows=0)
