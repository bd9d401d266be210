"""A file of the user's arrays, .npz or .npy: images, series or points, with classes and splits if it has them.

`x` holds the rows, `y` a class for each, `split` whether it is for training (0), validation (1) or test (2); these may
have other names. Pickled objects are never read. Images become levels: bytes and other whole numbers from 0 to 255 as
they are (256 levels, or as many as are used where those are fewer than 128), real numbers in 0..1 or -1..1 rounded to
256. Series and points of bytes are levels too; of other numbers they are real, each feature scaled to mean 0 and
standard deviation 1 of the training rows. Rows that are equal count once.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import _own
from ._arrays import as_data
from ._data import Data

READS_FILE = (".npz", ".npy")


def load(
    *,
    path: str,
    x: str = "x",
    y: str | None = "y",
    split: str | None = "split",
    layout: str | None = None,
    levels: int | None = None,
    scale: bool = True,
    held_out: float | None = None,
    seed: int = 0,
) -> Data:
    """The rows of an array: images [C, H, W], series [T, F] or points [D]; the same call returns the same bytes.

    x, y, split: names of arrays in an .npz. Without `x` an only array is it; the others are taken if they are there by
    these names, and declined by null. layout: what the axes are: NHW, NHWC, NCHW (images), NT, NTF, NFT (series), ND
    (points); found by itself for bytes and for 4 axes of which one has 1 or 3 colors. levels: how many, where the
    numbers do not tell. scale: whether real numbers are scaled. held_out: the share for validation, and as much for
    test. Raises `ValueError` with the file's name.
    """
    file = _own.existing(path, folder=False)
    try:
        rows, classes, parts = _read(file, x=x, y=y, split=split)
        return as_data(
            rows,
            classes,
            parts,
            layout=layout,
            levels=levels,
            scale=scale,
            held_out=held_out,
            seed=seed,
            name="array_file",
            source=f"the arrays in {file.name}",
        )
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{path}: its content is broken ({error}): save or copy it anew") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _read(
    file: Path, *, x: str, y: str | None, split: str | None
) -> tuple[NDArray[Any], NDArray[Any] | None, NDArray[Any] | None]:
    """The arrays of rows, of classes and of splits. A lone array is mapped, not read, until its rows are chosen."""
    with file.open("rb") as start:
        magic = start.read(6)
    if not magic:
        raise ValueError("it is empty: save it anew")
    if magic == b"\x93NUMPY":
        try:
            return np.load(file, mmap_mode="r", allow_pickle=False), None, None
        except ValueError as error:
            raise _unreadable("x", error) from None
    if not magic.startswith(b"PK"):
        raise ValueError("it is no .npz or .npy file: save it with numpy.savez or numpy.save")
    # Of a file that it opens itself, numpy leaves a broken one open.
    with file.open("rb") as opened, np.load(opened, allow_pickle=False) as arrays:
        there = arrays.files
        if x == "x" and x not in there and len(there) == 1:
            x = there[0]

        def array(name: str) -> NDArray[Any]:
            if name not in there:
                raise ValueError(f"it has no array {name!r}, but {', '.join(there) or 'none'}: name one of these")
            try:
                found: NDArray[Any] = arrays[name]
            except ValueError as error:
                raise _unreadable(name, error) from None
            return found

        def optional(name: str | None, usual: str) -> NDArray[Any] | None:
            return None if not name or (name == usual and usual not in there) else array(name)

        return array(x), optional(y, "y"), optional(split, "split")


def _unreadable(name: str, error: ValueError) -> ValueError:
    if "Object arrays" in str(error) or "Python objects" in str(error):  # read, or mapped
        return ValueError(f"the array {name!r} holds Python objects, which are never read: save it as plain numbers, "
                          "all rows of one shape")  # fmt: skip
    return ValueError(f"the array {name!r} is broken ({error}): save or copy it anew")


def example(folder: Path) -> dict[str, object]:
    """Write 40 series of two kinds, slow and fast waves of two features; the options to load them."""
    random = np.random.RandomState(0)
    y = np.arange(40) % 2
    phase = 2 * np.pi * (random.rand(40, 1) + np.outer(y + 1, np.arange(12)) / 12)
    np.savez(folder / "waves.npz", x=np.stack([20 + 5 * np.sin(phase), np.cos(phase)], -1), y=y)
    return {"path": str(folder / "waves.npz"), "layout": "NTF"}
