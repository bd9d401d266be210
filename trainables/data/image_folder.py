"""A folder of the user's images: PNG, JPEG, BMP, GIF, WebP and TIFF files in it and below it.

Sub-folders are classes where every image lies in one of two or more; folders called train, validation (or val) and test
are the splits, and otherwise rows are held out at random, of each class the same share. Whatever sizes and kinds the
images have, rows are squares of one size, grey or in color: `_images.py` says how, and `notes` what that did. Images
that come out equal count once. Every process decodes the folder anew, so large photographs are best shrunk beforehand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from . import _own
from ._data import Data
from ._images import SUFFIXES, as_data, check_options, read_picture

READS_FOLDER = SUFFIXES


def load(
    *,
    path: str,
    size: int | None = None,
    mode: str | None = None,
    labels: str = "auto",
    held_out: float | None = None,
    seed: int = 0,
    skip_broken: bool = False,
) -> Data:
    """The images [N, C, size, size] in 256 levels, C = 1 for mode L and 3 for RGB; the same call, the same bytes.

    size: the side in pixels; without one, the median of the images' shorter sides, at most 32. mode: L or RGB; without
    one, L if all images are grey. labels: auto, folders or none. held_out: the share for validation, and as much for
    test. Raises `ValueError` that names the files which cannot be read.
    """
    check_options(size=size, mode=mode)
    folder = _own.existing(path, folder=True)
    files = _own.files_in(folder, SUFFIXES)
    found, broken = _own.read_each(files, lambda file: read_picture(file, size=size), skip_broken=skip_broken)
    names = [file.relative_to(folder) for file in found]
    parts, classes, said = _own.folder_classes(names, labels)
    return as_data(
        dict(zip([name.as_posix() for name in names], found.values(), strict=True)),
        parts=parts,
        classes=classes,
        size=size,
        mode=mode,
        held_out=held_out,
        seed=seed,
        name="image_folder",
        source=f"the images in {folder.name or path}",
        notes=[*said, *broken],
    )


def example(folder: Path) -> dict[str, object]:
    """Write 32 images of two kinds, a bright disk or a bright bar at some place on noise; the options to load them."""
    from PIL import Image

    random = np.random.RandomState(0)
    y_YX, x_YX = np.mgrid[:24, :32]
    for kind in ("disk", "bar"):
        (folder / kind).mkdir()
        for number in range(16):
            center_y, center_x = random.uniform(8, 16), random.uniform(10, 22)
            distance_YX = np.hypot(y_YX - center_y, x_YX - center_x) if kind == "disk" else abs(y_YX - center_y)
            pixels_YX = np.where(distance_YX < 4, 200, 20) + random.randint(0, 30, y_YX.shape)
            Image.fromarray(pixels_YX.astype(np.uint8)).save(folder / kind / f"{number:02d}.png")
    return {"path": str(folder), "size": 16}
