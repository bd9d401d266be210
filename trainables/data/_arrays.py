"""Arrays of the user's as data: which axis is what, levels or real numbers, the scale, the classes and the splits.

Floor: numpy and torch. Axes of a row: C colors, H height, W width, T steps, F features, D numbers; N counts rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Data, Units
from ._own import LICENSE, as_splits, divided, originals, scale_of, split_name

# What the axes of an array may be, and of what; and in which order a row of that modality has them.
LAYOUTS = {
    "NHW": "images",
    "NHWC": "images",
    "NCHW": "images",
    "NT": "series",
    "NTF": "series",
    "NFT": "series",
    "ND": "points",
}
AXES = {"images": "NCHW", "series": "NTF", "points": "ND"}
COLORS = (1, 3)
# Images whose largest level is below half of these have as many levels as they use, such as the 17 of small digits.
BYTE_LEVELS = 256


def as_data(
    x: NDArray[Any],
    y: NDArray[Any] | None,
    split: NDArray[Any] | None,
    *,
    layout: str | None,
    levels: int | None,
    scale: bool,
    held_out: float | None,
    seed: int,
    name: str,
    source: str,
    notes: Sequence[str] = (),
) -> Data:
    """The rows of `x` with the classes `y` [N], in the splits that `split` [N] says; the options are `array_file`'s.

    Raises `ValueError` for what no rows, classes or splits can be made of.
    """
    check_numbers(x)
    found = layout_of(x, layout)
    modality = LAYOUTS[found]
    rows = np.transpose(x, [found.index(axis) for axis in AXES[modality] if axis in found])
    rows = np.expand_dims(rows, [place for place, axis in enumerate(AXES[modality]) if axis not in found])
    if modality == "images" and rows.shape[1] not in COLORS:
        raise ValueError(f"images have 1 or 3 colors, and x {_shape(x)} read as {found} has {rows.shape[1]}: correct "
                         "the layout, or choose the colors")  # fmt: skip
    if modality == "points" and rows.shape[1] < 2:
        raise ValueError(f"points have at least 2 numbers, and x {_shape(x)} has one a row: give others")
    classes = None if y is None else _classes(y, len(x))
    parts = None if split is None else _parts(split, len(x))
    said = [*notes, f"rows are {modality}: x {_shape(x)} is read as {found}"]
    in_levels = modality == "images" or levels is not None or x.dtype in (np.uint8, np.bool_)
    if in_levels:
        rows, levels, how = _in_levels(rows, levels)
        said.append(how)
    if modality == "series" and parts is None:
        said.append("each series counts as independent; if they overlap, say in an array `split` which belong together")
    kept, copies = originals(rows, names=[f"x[{row}]" for row in range(len(rows))], parts=parts, classes=classes)
    said += copies
    places, labels, named = divided(
        [str(place) for place in kept],
        parts=None if parts is None else [parts[place] for place in kept],
        classes=None if classes is None else [classes[place] for place in kept],
        share=held_out,
        seed=seed,
    )
    units = None
    rows = rows[kept]
    if not in_levels:
        rows, units = _scaled(rows.astype(np.float64), places["train"], scale=scale)
        said.append("numbers are scaled by mean and standard deviation of the training rows" if scale else "not scaled")
    return Data.of(
        as_splits(rows, labels, places),
        name=name,
        modality=modality,
        levels=levels,
        value_range=(0.0, levels - 1.0) if levels else (float(math.floor(rows.min())), float(math.ceil(rows.max()))),
        license=LICENSE,
        source=source,
        units=units,
        notes=[*said, *named],
    )


def check_numbers(x: NDArray[Any]) -> None:
    """Raise `ValueError` for an array that is empty, is not of real numbers, or holds one that is not finite."""
    if x.dtype.kind not in "biuf":
        raise ValueError(f"x must hold real numbers, and its type is {x.dtype}: convert it, such as by astype")
    if x.size == 0:
        raise ValueError(f"x must have rows and numbers in them, and its shape is {list(x.shape)}: give others")
    if x.dtype.kind == "f" and not (finite := np.isfinite(x)).all():
        first = tuple(int(place) for place in np.argwhere(~finite)[0])
        raise ValueError(
            f"every number must be finite, and {int((~finite).sum())} are not; the first is x{list(first)} = "
            f"{x[first]}: fill them in, or leave out these rows"
        )


def layout_of(x: NDArray[Any], layout: str | None) -> str:
    """The layout as stated, or the only one that fits; raises `ValueError` where none does, or several do."""
    known = ", ".join(f"{own} ({modality})" for own, modality in LAYOUTS.items() if len(own) == x.ndim)
    if not known:
        raise ValueError(f"x must have 2 to 4 axes, rows first, and its shape is {list(x.shape)}: reshape it")
    if layout is not None:
        if layout not in LAYOUTS or len(layout) != x.ndim:
            raise ValueError(f"the layout of x {_shape(x)} is one of {known}, and it is {layout!r}: choose one of them")
        return layout
    if x.ndim == 4 and (x.shape[1] in COLORS) != (x.shape[3] in COLORS):
        return "NCHW" if x.shape[1] in COLORS else "NHWC"
    if x.ndim == 3 and x.dtype == np.uint8:
        return "NHW"
    raise ValueError(f"x {_shape(x)} can be read in several ways: say which with layout, one of {known}")


def _shape(x: NDArray[Any]) -> str:
    return f"{list(x.shape)} of {x.dtype}"


def _in_levels(x: NDArray[Any], levels: int | None) -> tuple[NDArray[np.uint8], int, str]:
    """The rows as uint8, the number of levels, and a note on where they come from."""
    if levels is not None and not (isinstance(levels, int) and 2 <= levels <= BYTE_LEVELS):
        raise ValueError(f"levels are a whole number from 2 to {BYTE_LEVELS}, and they are {levels!r}: correct them")
    low, high = float(x.min()), float(x.max())
    if low == high:
        raise ValueError(f"x must vary, and all its numbers are {low:g}: give others")
    whole = x.dtype.kind != "f" or bool((x == np.rint(x)).all())
    if whole and low >= 0 and high < (levels or BYTE_LEVELS):
        count = levels or (BYTE_LEVELS if high >= BYTE_LEVELS // 2 else int(high) + 1)
        return x.astype(np.uint8), count, f"whole numbers, {low:g} to {high:g}, are {count} levels; levels: sets others"
    if x.dtype.kind == "f" and low >= -1 and high <= 1:
        bottom, count = (0.0 if low >= 0 else -1.0), levels or BYTE_LEVELS
        # Of float16 a level would be a matter of rounding.
        steps = np.rint((x.astype(np.float64) - bottom) / (1.0 - bottom) * (count - 1))
        return steps.astype(np.uint8), count, f"real numbers in {bottom:g}..1 are rounded to {count} levels"
    raise ValueError(
        f"levels are whole numbers from 0 to {(levels or BYTE_LEVELS) - 1}, or real ones in 0..1 or -1..1, and x "
        f"reaches from {low:g} to {high:g}: scale them to 0..1"
    )


def _scaled(
    x: NDArray[np.float64], train: NDArray[np.int64], *, scale: bool
) -> tuple[NDArray[np.float32], Units | None]:
    """The rows, of which each feature has mean 0 and standard deviation 1 in training, and what they were before."""
    if not scale:
        return x.astype(np.float32), None
    names = tuple(f"number {place}" for place in range(x.shape[-1]))
    mean_F, deviation_F = scale_of(x[train].reshape(-1, x.shape[-1]), names)
    return ((x - mean_F) / deviation_F).astype(np.float32), Units(
        names=names,
        mean=torch.from_numpy(mean_F),
        deviation=torch.from_numpy(deviation_F),
    )


def _classes(y: NDArray[Any], rows: int) -> list[str]:
    """The class of each row by name."""
    own = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if own.shape != (rows,):
        raise ValueError(f"y must have one class for each of the {rows} rows of x, and its shape is {list(y.shape)}: "
                         "give a class a row")  # fmt: skip
    if own.dtype.kind == "f" and bool((own == np.rint(own)).all()):
        own = own.astype(np.int64)
    if own.dtype.kind not in "biuU":
        raise ValueError(f"y must hold classes, whole numbers or names, and its type is {y.dtype}: convert it, or "
                         "leave it out")  # fmt: skip
    return [str(name) for name in own.tolist()]


def _parts(split: NDArray[Any], rows: int) -> list[str]:
    """The split of each row by name."""
    if split.shape != (rows,):
        raise ValueError(f"split must have one entry for each of the {rows} rows of x, and its shape is "
                         f"{list(split.shape)}: give one a row")  # fmt: skip
    words = {"0": "train", "1": "validation", "2": "test"}
    found = {str(word): words.get(str(word), split_name(str(word))) for word in np.unique(split).tolist()}
    if unknown := [word for word, part in found.items() if part is None]:
        raise ValueError(f"split must hold 0, 1, 2 or train, validation, test, and it holds {unknown[0]!r}: correct it")
    return [found[str(word)] or "" for word in split.tolist()]
