"""What loaders of text share: windows of equal length, the vocabulary of the training rows, and rows as its places.

A token is a string: a character, a byte or a word. Floor: numpy and torch.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Data, Split
from ._own import LICENSE, copies_note, distinct, divided

Tokens = TypeVar("Tokens", bound=Sequence[str])

# In place of tokens that training does not have: U+FFFD, which stands for characters that are not known.
STAND_IN = "\ufffd"
# So many levels and no more fit uint8.
BYTE_LEVELS = 256


def windows(tokens: Tokens, length: int) -> list[Tokens]:
    """Every `length` tokens from the first on, without overlap; fewer that are left at the end are left out."""
    begins = range(0, len(tokens) - length + 1, length)
    return [tokens[begin : begin + length] for begin in begins]  # type: ignore[misc]  # a slice is of the same type


def encoded(
    parts: Mapping[str, Sequence[Sequence[str]]], *, most: int | None = None, stand_in: str = STAND_IN
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The splits of rows of equally many tokens, and the vocabulary: the tokens of training, sorted, and the stand-in.

    parts: the rows of each split by name, `train` first. most: so many tokens of training are kept, the most frequent.
    All others become the stand-in. A row that equals one before it, in its split or an earlier one, is left out.
    """
    counts = Counter(token for row in parts["train"] for token in row)
    del counts[stand_in]
    # Of equally frequent ones the first in order, so that the same rows give the same vocabulary.
    frequent = sorted(counts, key=lambda token: (-counts[token], token))[:most]
    vocabulary = (*sorted(frequent), stand_in)
    place = {token: number for number, token in enumerate(vocabulary)}
    dtype = np.uint8 if len(vocabulary) <= BYTE_LEVELS else np.int64
    length = len(parts["train"][0])
    every = [row for rows in parts.values() for row in rows]
    flat: NDArray[np.uint8 | np.int64] = np.fromiter(
        (place.get(token, place[stand_in]) for row in every for token in row), dtype, len(every) * length
    )
    rows_NT = flat.reshape(-1, length)
    kept = distinct(rows_NT)
    splits, begin = {}, 0
    for name, rows in parts.items():
        own = kept[(begin <= kept) & (kept < begin + len(rows))]
        splits[name] = Split(x=torch.from_numpy(rows_NT[own]))
        begin += len(rows)
    return splits, vocabulary


def as_data(
    texts: Sequence[str],
    *,
    length: int,
    held_out: float | None,
    seed: int,
    name: str,
    source: str,
    parts: Sequence[str] | None = None,
    notes: Sequence[str] = (),
) -> Data:
    """The data set of the windows of these texts, character by character in Unicode's composed form (NFC).

    A window that comes again counts once, and those of one text come into one split; parts: that of each text, if the
    user states it. Raises `ValueError` for texts that
    are all too short, or too few.
    """
    if isinstance(length, bool) or not isinstance(length, int) or length < 2:
        raise ValueError(f"length must be a whole number of at least 2 characters, and it is {length!r}: correct it")
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    different = list(dict.fromkeys(composed))
    found = [(row, text) for text in different for row in windows(text, length)]
    # Of windows that come again, the text that has the first.
    owner = dict(reversed(found))
    if not owner:
        raise ValueError(f"a text must have at least {length} characters, and the longest has "
                         f"{max(map(len, different), default=0)}: lower length")  # fmt: skip
    rows = list(owner)
    part_of = None if parts is None else dict(reversed(list(zip(composed, parts, strict=True))))
    stated = None if part_of is None else [part_of[text] for text in owner.values()]
    places, _, _ = divided(list(owner.values()), parts=stated, share=held_out, seed=seed)
    splits, vocabulary = encoded({part: [rows[place] for place in own] for part, own in places.items()})
    short = sum(len(text) < length for text in different)
    return Data.of(
        splits,
        name=name,
        modality="text",
        levels=len(vocabulary),
        value_range=(0.0, len(vocabulary) - 1.0),
        license=LICENSE,
        source=source,
        vocabulary=vocabulary,
        notes=[
            *notes,
            *(
                [f"left out {short} of {len(different)} texts, which are shorter than {length} characters"]
                * (short > 0)
            ),
            *copies_note(len(found), len(rows)),
        ],
    )
