"""Color patches, 32 x 32 pixels, of the two photographs in scikit-learn: a temple (label 0) and a flower (label 1).

Ship inside scikit-learn, so nothing is downloaded. The photographs, 427 x 640 pixels, are cut into 20 tiles, 32 pixels
apart, that belong to training, validation or test; a patch lies in one tile. So no pixel of a held-out patch is in a
patch of training. A split has tiles all over a photograph: of two halves one would be sky and the other temple.
Axes: Y down, X to the right, C colors.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ._blocks import shuffled
from ._data import Data, Split

SIDE = 32
GAP = 32
# Of each tile, the split by its letter. Of the layouts whose rows are one row, shifted, it is the one whose splits are
# most alike by the Frechet distance of colors' means and standard deviations and of neighbors' differences.
LETTERS = {"train": "t", "validation": "v", "test": "e"}
LAYOUT = ("tettv", "tvtet", "ettvt", "vtett")
TILE_Y, TILE_X = 82, 102
HELD_OUT_STRIDE = 8


def load(*, stride: int = 4) -> Data:
    """The patches [N, 3, 32, 32]: 5616 for training, at every fourth pixel, and 504 each for validation and test.

    `stride` is the distance of patches for training alone; at 1 they are 86,904 and fill 267 MB. The same call returns
    the same bytes. Raises `ValueError` for a stride below one.
    """
    from sklearn.datasets import load_sample_images

    if stride < 1:
        raise ValueError(f"the stride of patches must be at least 1, and it is {stride}: raise it")
    photographs = [np.asarray(image, dtype=np.uint8) for image in load_sample_images().images]
    parts: dict[str, Split] = {}
    for seed, (part, owner) in enumerate(LETTERS.items()):
        step = stride if part == "train" else HELD_OUT_STRIDE
        found = [_patches(image_YXC, owner=owner, stride=step) for image_YXC in photographs]
        labels = np.repeat(np.arange(len(found), dtype=np.int64), [len(rows) for rows in found])
        parts[part] = shuffled(np.concatenate(found), labels, seed=seed)
    return Data.of(
        parts,
        name="patches",
        modality="images",
        levels=256,
        value_range=(0.0, 255.0),
        license="CC BY 2.0",
        source="scikit-learn load_sample_images: china.jpg and flower.jpg, photographs from Flickr by danielbuechele "
        "and vultilion",
    )


def _patches(image_YXC: NDArray[np.uint8], *, owner: str, stride: int) -> NDArray[np.uint8]:
    """All patches [N, C, SIDE, SIDE] at this stride inside the tiles of one split."""
    windows = [
        np.lib.stride_tricks.sliding_window_view(image_YXC[y : y + TILE_Y, x : x + TILE_X], (SIDE, SIDE), axis=(0, 1))
        for y, x in _tiles(owner)
    ]
    return np.concatenate([found[::stride, ::stride].reshape(-1, 3, SIDE, SIDE) for found in windows])


def _tiles(owner: str) -> Iterator[tuple[int, int]]:
    """Row and column of the first pixel of each tile of this split."""
    for row, owners in enumerate(LAYOUT):
        for column, other in enumerate(owners):
            if other == owner:
                yield row * (TILE_Y + GAP), column * (TILE_X + GAP)
