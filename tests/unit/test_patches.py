"""The patches: where in a photograph each split may look, told by photographs whose pixels are their own places."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import ndimage

from trainables.data import patches
from trainables.data._data import Data, Split

SHA256 = "f26907576b7aa230665e7712995ac5c4a9016cb879947364be4da4df74e7a575"


@pytest.fixture(scope="module")
def data() -> Data:
    return patches.load()


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two photographs that hold, at each pixel, its row, its column and, in the last bits, which of them it is."""
    y, x = np.mgrid[:427, :640]

    def photographs() -> SimpleNamespace:
        high = (y // 256) + 4 * (x // 256)
        return SimpleNamespace(images=[np.stack([y % 256, x % 256, high + 16 * n], -1) for n in range(2)])

    monkeypatch.setattr("sklearn.datasets.load_sample_images", photographs)


def read(split: Split) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Row, column and photograph of each pixel [N, 32, 32]."""
    low_y, low_x, high = split.x.long().numpy().transpose(1, 0, 2, 3)
    return low_y + 256 * (high % 4), low_x + 256 * (high // 4 % 4), high // 16


def test_the_content_is_pinned(data: Data) -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert data.sha256 == SHA256


def test_sizes_and_labels(data: Data) -> None:
    assert (data.modality, data.levels, data.shape, data.classes) == ("images", 256, (3, 32, 32), 2)
    for (_, split), count in zip(data.splits(), (5616, 504, 504), strict=True):
        assert split.x.dtype == torch.uint8
        assert split.labels is not None
        assert split.labels.bincount().tolist() == [count // 2, count // 2]
        # A prefix is of both photographs.
        assert 25 < int(split.labels[:100].sum()) < 75


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("stride", [8, 7])
def test_a_patch_is_a_piece_of_the_photograph_that_its_label_names(stride: int) -> None:
    for name, split in patches.load(stride=stride).splits():
        y, x, photograph = read(split)
        assert split.labels is not None
        assert (photograph == split.labels.numpy()[:, None, None]).all()
        assert (y - y[:, :1, :1] == np.arange(32)[:, None]).all()
        assert (x - x[:, :1, :1] == np.arange(32)).all()
        corners = np.unique(np.stack([photograph[:, 0, 0], y[:, 0, 0], x[:, 0, 0]]), axis=1)
        assert corners.shape[1] == len(split)
        expected = stride if name == "train" else 8
        assert np.diff(np.unique(corners[1])).min() == expected
        assert np.diff(np.unique(corners[2])).min() == expected


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("stride", [8, 7])
def test_no_pixel_of_a_split_is_within_32_of_one_of_another(stride: int) -> None:
    seen = {name: np.zeros((427, 640), dtype=bool) for name in ("train", "validation", "test")}
    for name, split in patches.load(stride=stride).splits():
        y, x, _ = read(split)
        seen[name][y, x] = True
    for name, other in (("train", "validation"), ("validation", "test"), ("test", "train")):
        assert seen[name].any()
        # Each place within 32 of what the one split has seen, up, down and aside.
        assert not (ndimage.maximum_filter(seen[name], size=65) & seen[other]).any()


def test_each_split_has_tiles_in_every_row_and_all_but_one_column() -> None:
    for owner, count in (("t", 12), ("v", 4), ("e", 4)):
        tiles = [(y, x) for y, row in enumerate(patches.LAYOUT) for x, other in enumerate(row) if other == owner]
        assert len(tiles) == count
        assert len({y for y, _ in tiles}) == 4
        assert len({x for _, x in tiles}) >= 4


def test_the_stride_changes_the_training_rows_alone(data: Data) -> None:
    few = patches.load(stride=16)
    # 4 x 5 corners a tile; twelve tiles in each of two photographs.
    assert len(few.train) == 4 * 5 * 12 * 2
    assert torch.equal(few.validation.x, data.validation.x)
    with pytest.raises(ValueError, match="the stride of patches must be at least 1, and it is 0: raise it"):
        patches.load(stride=0)
