"""Handwritten digits, 8 x 8 pixels of 17 grey levels, 1797 rows: the test part of UCI's optical digits.

Ships inside scikit-learn, so nothing is downloaded. Source: E. Alpaydin and C. Kaynak, "Optical Recognition of
Handwritten Digits", UCI Machine Learning Repository, 1998, DOI 10.24432/C50P49.
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Data, Split

# Rows for training, validation and test. Validation has 300 rows because a Frechet distance needs that many.
STRATIFIED = (1000, 300, 497)
# The order of the file, in which the last rows come from other writers: only to reproduce figures measured on it.
ORDERED = (1000, 350, 447)
SPLIT_SALT = "digits"


def load(*, split: str = "stratified", classes: str = "0-9") -> Data:
    """The digits with fixed splits; the same call returns the same bytes.

    `stratified` keeps the share of each class in each part; `ordered` cuts the file as it stands. `classes` keeps some
    digits, such as those from 5 to 9, whose labels then count from 0. Raises `ValueError` for what is no such range.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.asarray(bunch.images, dtype=np.uint8)[:, None]
    labels = np.asarray(bunch.target, dtype=np.int64)
    if split == "stratified":
        rows = _stratified(labels, STRATIFIED)
    elif split == "ordered":
        rows = np.split(np.arange(len(labels)), np.cumsum(ORDERED)[:-1])
    else:
        raise ValueError(f"the split of digits is 'stratified' or 'ordered', and it is {split!r}: choose one of them")
    first, last = _range(classes)
    parts: dict[str, Split] = {}
    for name, part in zip(("train", "validation", "test"), rows, strict=True):
        kept = part[(labels[part] >= first) & (labels[part] <= last)]
        parts[name] = Split(x=torch.from_numpy(pixels[kept]), labels=torch.from_numpy(labels[kept] - first))
    return Data.of(
        parts,
        name="digits" if (first, last) == (0, 9) else f"digits {classes}",
        modality="images",
        levels=17,
        value_range=(0.0, 16.0),
        license="CC BY 4.0",
        source="scikit-learn load_digits; UCI Machine Learning Repository, DOI 10.24432/C50P49",
    )


def _range(classes: str) -> tuple[int, int]:
    first, dash, last = classes.partition("-")
    if not (dash and len(first) == len(last) == 1 and classes[0] <= classes[-1] and (first + last).isdecimal()):
        raise ValueError(f"classes of digits are a range such as '5-9', and they are {classes!r}: write it so")
    return int(first), int(last)


def _stratified(labels: NDArray[np.int64], sizes: tuple[int, ...]) -> list[NDArray[np.int64]]:
    """Row indices of parts of exactly these sizes, each class spread evenly over them.

    Written out, because a library's shuffling may change between versions and the splits must not. Rows are shuffled
    by a hash, then sorted by class; the rank of a row in that order decides its part by a low-discrepancy sequence, so
    that every stretch of the order, and so every class, is cut in the same proportions.
    """
    keys = [hashlib.sha256(f"{SPLIT_SALT}:{row}".encode()).digest() for row in range(len(labels))]
    by_class = np.array(sorted(range(len(labels)), key=lambda row: (labels[row], keys[row])))
    golden = (np.sqrt(5.0) - 1.0) / 2.0
    places = np.argsort(np.arange(len(labels)) * golden % 1.0, kind="stable")
    return [np.sort(by_class[part]) for part in np.split(places, np.cumsum(sizes)[:-1])]
