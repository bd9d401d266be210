"""What every data set keeps, found by walking the folder: a new one is tested by being there."""

from importlib import import_module
from pathlib import Path

import pytest
import torch

import trainables.data
from trainables.data._data import Data, content_hash

NAMES = sorted(path.stem for path in Path(trainables.data.__file__).parent.glob("[!_]*.py"))


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def load(name: str) -> Data:
    data = import_module(f"trainables.data.{name}").load()
    assert isinstance(data, Data)
    return data


def test_the_walk_finds_what_there_is() -> None:
    assert "digits" in NAMES


def test_the_same_call_returns_the_same_bytes(name: str) -> None:
    first, again = load(name), load(name)
    assert first.sha256 == again.sha256
    for (_, left), (_, right) in zip(first.splits(), again.splits(), strict=True):
        assert torch.equal(left.x, right.x)
        assert left.x.data_ptr() != right.x.data_ptr(), "two callers must not share what one may change"


def test_the_hash_is_that_of_the_content(name: str) -> None:
    data = load(name)
    assert content_hash(dict(data.splits())) == data.sha256
    data.train.x[0] += 1
    assert content_hash(dict(data.splits())) != data.sha256


def test_rows_lie_in_their_range_and_are_finite(name: str) -> None:
    data = load(name)
    low, high = data.value_range
    for _, split in data.splits():
        assert tuple(split.x.shape[1:]) == data.shape
        values = split.x.double()
        assert bool(values.isfinite().all())
        assert low <= float(values.min()) <= float(values.max()) <= high
    if data.levels is not None:
        assert (low, high) == (0.0, data.levels - 1.0)
        assert not data.train.x.is_floating_point()


def test_labels_fit_their_rows(name: str) -> None:
    for _, split in load(name).splits():
        assert split.labels is None or split.labels.shape == (len(split),)


def test_no_row_is_in_two_splits(name: str) -> None:
    rows = [{row.numpy().tobytes() for row in split.x} for _, split in load(name).splits()]
    assert sum(map(len, rows)) == len(set.union(*rows))


def test_validation_is_large_enough_to_rank_by(name: str) -> None:
    assert len(load(name).validation) >= 300


def test_it_says_whose_it_is_and_where_it_comes_from(name: str) -> None:
    data = load(name)
    assert data.name == name
    assert data.license
    assert data.source
    assert import_module(f"trainables.data.{name}").__doc__
