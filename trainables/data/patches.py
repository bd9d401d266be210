"""Color patches, 32 x 32 pixels, of the two photographs in scikit-learn: a temple (label 0) and a flower (label 1).

Ship inside scikit-learn, so nothing is downloaded. The photographs, 427 x 640 pixels, are cut into upright strips that
belong to training, validation or test, 32 pixels apart; a patch lies in one strip. So no pixel of a held-out patch is
in a patch of training. Axes: Y down, X to the right, C colors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ._blocks import blocks, shuffled
from ._data import Data, Split, content_hash

SIDE = 32
GAP = 32
# Pixels from left to right; with the gaps they fill the 640 of a photograph.
STRIPS = (("train", 128), ("validation", 64), ("train", 128), ("test", 64), ("train", 128))
HELD_OUT_STRIDE = 8


def load(*, stride: int = 8) -> Data:
    """The patches [N, 3, 32, 32]: 3900 for training, at every eighth pixel, and 500 each for validation and test.

    `stride` is the distance of patches for training alone; at 1 they are 230,472 and fill 700 MB. The same call returns
    the same bytes. Raises `ValueError` for a stride below one.
    """
    from sklearn.datasets import load_sample_images

    if stride < 1:
        raise ValueError(f"the stride of patches must be at least 1, and it is {stride}: raise it")
    photographs = [np.asarray(image, dtype=np.uint8) for image in load_sample_images().images]
    parts: dict[str, Split] = {}
    for seed, (part, step) in enumerate(
        (("train", stride), ("validation", HELD_OUT_STRIDE), ("test", HELD_OUT_STRIDE))
    ):
        found = [_patches(image_YXC, part=part, stride=step) for image_YXC in photographs]
        labels = np.repeat(np.arange(len(found), dtype=np.int64), [len(rows) for rows in found])
        parts[part] = shuffled(np.concatenate(found), labels, seed=seed)
    return Data(
        name="patches",
        modality="images",
        levels=256,
        value_range=(0.0, 255.0),
        license="CC BY 2.0",
        source="scikit-learn load_sample_images: china.jpg and flower.jpg, photographs from Flickr by danielbuechele "
        "and vultilion",
        sha256=content_hash(parts),
        **parts,
    )


def _patches(image_YXC: NDArray[np.uint8], *, part: str, stride: int) -> NDArray[np.uint8]:
    """All patches [N, C, SIDE, SIDE] at this stride inside the strips of one split."""
    found = []
    for owner, columns in blocks(STRIPS, gap=GAP):
        if owner == part:
            windows = np.lib.stride_tricks.sliding_window_view(image_YXC[:, columns], (SIDE, SIDE), axis=(0, 1))
            found.append(windows[::stride, ::stride].reshape(-1, image_YXC.shape[2], SIDE, SIDE))
    return np.concatenate(found)
