"""The prices: which days each split has, how far apart, and whose days standardize all."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib import cbook
from numpy.typing import NDArray

from trainables.data import prices
from trainables.data._data import Data

SHA256 = "b9c085cff02c274474415c8a31c4af8873fb27261d736736ac13a66676a5bbbe"
# First and last day of each block, of 1046 changes from one day to the next.
DAYS = {
    "train": ((197, 341), (535, 679), (901, 1045)),
    "validation": ((0, 172), (704, 876)),
    "test": ((366, 510),),
}


@pytest.fixture(scope="module")
def data() -> Data:
    return prices.load()


@pytest.fixture(scope="module")
def scaled() -> NDArray[np.float64]:
    with np.load(cbook.get_sample_data("goog.npz", asfileobj=False)) as file:
        days = file["price_data"]
    assert (days["adj_close"] == days["close"]).all(), "else it is a feature too"
    names = ("open", "high", "low", "close", "volume")
    changes = np.stack([np.log(days[name][1:] / days[name][:-1]) for name in names], 1)
    train = np.concatenate([changes[first : last + 1] for first, last in DAYS["train"]])
    scaled: NDArray[np.float64] = (changes - train.mean(0)) / train.std(0)
    return scaled


def in_order(x_NTF: NDArray[np.float64]) -> NDArray[np.float64]:
    return x_NTF[np.lexsort(x_NTF[:, 0, :2].T)]


def test_the_content_is_pinned(data: Data) -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert data.sha256 == SHA256


def test_24_days_and_more_lie_between_two_splits() -> None:
    spans = sorted(span for found in DAYS.values() for span in found)
    assert (spans[0][0], spans[-1][1]) == (0, 1045)
    assert [after[0] - before[1] - 1 for before, after in pairwise(spans)] == [24] * 5


def test_windows_are_24_days_of_one_block_by_the_scale_of_the_training_days(
    data: Data, scaled: NDArray[np.float64]
) -> None:
    for (name, split), count in zip(data.splits(), (366, 300, 122), strict=True):
        windows = [scaled[day : day + 24] for first, last in DAYS[name] for day in range(first, last - 22)]
        assert tuple(split.x.shape) == (count, 24, 5)
        assert np.allclose(in_order(split.x.double().numpy()), in_order(np.stack(windows)), rtol=0, atol=1e-5)


def test_only_the_days_of_training_are_standard(data: Data) -> None:
    for name, split in data.splits():
        days = np.unique(split.x.double().numpy().reshape(-1, 5), axis=0)
        assert len(days) == sum(last - first + 1 for first, last in DAYS[name])
        standard = np.allclose(days.mean(0), 0, atol=1e-6) and np.allclose(days.std(0), 1, atol=1e-6)
        assert standard == (name == "train")


def test_the_spread_of_training_and_test_is_near_that_of_validation(data: Data) -> None:
    train, validation, test = (split.x.double().numpy().reshape(-1, 5) for _, split in data.splits())
    spread = np.unique(validation, axis=0).std(0)
    for x in (train, test):
        assert np.abs(np.unique(x, axis=0).std(0) / spread - 1).max() < 0.15


def test_the_first_rows_are_of_all_eras(data: Data, scaled: NDArray[np.float64]) -> None:
    """The two blocks of validation have 150 windows each; the first 100 are about as many of one as of the other."""
    first = data.validation.x[:100, 0].double().numpy()
    day = np.abs(scaled[None] - first[:, None]).max(-1).argmin(1)
    assert 30 < (day < 173).sum() < 70
