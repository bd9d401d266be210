"""Handwritten digits as series: the eight rows of an image, from top to bottom, are eight steps of eight features.

The rows, labels and splits of `digits`. After the serialized MNIST of RGAN, arXiv 1706.02633, on which they train on
synthetic and test on real rows.
"""

from __future__ import annotations

from dataclasses import replace

from . import digits
from ._data import Data, Split, content_hash


def load() -> Data:
    """The digits [N, 8, 8] with their fixed splits; the same call returns the same bytes."""
    data = digits.load()
    parts = {name: Split(x=split.x.squeeze(1), labels=split.labels) for name, split in data.splits()}
    return replace(
        data,
        name="digit_rows",
        modality="series",
        sha256=content_hash(parts),
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
    )
