"""The digits and their fixed splits."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from trainables.data import digits
from trainables.data._data import Data

SHA256 = "b9efb1da56c7ca0eb726064b91dae4f1d67e1f9b464f42b1334c5e1b39b0a0a1"


def rows(data: Data) -> list[bytes]:
    return [row.numpy().tobytes() for _, split in data.splits() for row in split.x]


def test_the_content_is_pinned() -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert digits.load().sha256 == SHA256


def test_the_splits_have_the_stated_sizes_and_lose_no_row() -> None:
    for split, sizes in (("stratified", (1000, 300, 497)), ("ordered", (1000, 350, 447))):
        data = digits.load(split=split)
        assert tuple(len(part) for _, part in data.splits()) == sizes
        images = load_digits().images.astype(np.uint8)
        assert sorted(rows(data)) == sorted(image.tobytes() for image in images)


def test_the_stratified_split_keeps_the_share_of_each_class() -> None:
    data = digits.load()
    everything = np.bincount(load_digits().target)
    for _, part in data.splits():
        assert part.labels is not None
        expected = everything * len(part) / 1797
        assert np.abs(torch.bincount(part.labels).numpy() - expected).max() < 4


def test_the_ordered_split_is_the_order_of_the_file() -> None:
    data = digits.load(split="ordered")
    images = load_digits().images
    assert torch.equal(data.train.x[:, 0], torch.from_numpy(images[:1000].astype(np.uint8)))
    assert torch.equal(data.test.x[:, 0], torch.from_numpy(images[1350:].astype(np.uint8)))


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="'stratified' or 'ordered', and it is 'random'"):
        digits.load(split="random")
