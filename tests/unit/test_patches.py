"""The patches: where in a photograph each split may look, told by photographs whose pixels are their own places."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainables.data import patches
from trainables.data._data import Data, Split

SHA256 = "9e8d9058a021389b1a52d5a514c5a72933dca641aa67e12d625384355dc80279"


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
    for (_, split), count in zip(data.splits(), (3900, 500, 500), strict=True):
        assert split.x.dtype == torch.uint8
        assert split.labels is not None
        assert split.labels.bincount().tolist() == [count // 2, count // 2]
        # A prefix is of both photographs.
        assert 25 < int(split.labels[:100].sum()) < 75


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("stride", [8, 5])
def test_a_patch_is_a_piece_of_the_photograph_that_its_label_names(stride: int) -> None:
    for name, split in patches.load(stride=stride).splits():
        y, x, photograph = read(split)
        assert split.labels is not None
        assert (photograph == split.labels.numpy()[:, None, None]).all()
        assert (y - y[:, :1, :1] == np.arange(32)[:, None]).all()
        assert (x - x[:, :1, :1] == np.arange(32)).all()
        corners = np.unique(np.stack([photograph[:, 0, 0], y[:, 0, 0], x[:, 0, 0]]), axis=1)
        assert corners.shape[1] == len(split)
        assert (np.diff(np.unique(corners[1])) == (stride if name == "train" else 8)).all()


@pytest.mark.usefixtures("places")
@pytest.mark.parametrize("stride", [8, 5])
def test_no_pixel_of_a_split_is_within_32_of_one_of_another(stride: int) -> None:
    columns = [np.unique(read(split)[1]) for _, split in patches.load(stride=stride).splits()]
    for n, some in enumerate(columns):
        for others in columns[n + 1 :]:
            assert np.abs(np.subtract.outer(some, others)).min() > 32


@pytest.mark.usefixtures("places")
def test_the_strips_fill_the_photograph() -> None:
    columns = np.concatenate([np.unique(read(split)[1]) for _, split in patches.load().splits()])
    assert (columns.min(), columns.max(), len(columns)) == (0, 639, 640 - 4 * 32)


def test_the_stride_changes_the_training_rows_alone(data: Data) -> None:
    few = patches.load(stride=16)
    # Per photograph and strip 25 x 7 corners; three strips in each of two photographs.
    assert len(few.train) == 25 * 7 * 3 * 2
    assert torch.equal(few.validation.x, data.validation.x)
    with pytest.raises(ValueError, match="the stride of patches must be at least 1, and it is 0: raise it"):
        patches.load(stride=0)
