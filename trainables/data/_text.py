"""What loaders of text share: windows of equal length, the vocabulary of the training rows, and rows as its places.

A token is a string: a character, a word or a byte. Floor: torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from ._data import Split

# In place of tokens that training does not have: U+FFFD, which stands for characters that are not known.
STAND_IN = "\ufffd"
# So many levels and no more fit uint8.
BYTE_LEVELS = 256


def windows(tokens: Sequence[str], length: int) -> list[tuple[str, ...]]:
    """Every `length` tokens from the first on, without overlap; fewer that are left at the end are left out."""
    return [tuple(tokens[begin : begin + length]) for begin in range(0, len(tokens) - length + 1, length)]


def encoded(parts: Mapping[str, Sequence[Sequence[str]]]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The splits of rows of equally many tokens, and the vocabulary: the tokens of training, sorted, and `STAND_IN`.

    parts: the rows of each split by name, with one named `train`. All other tokens become the stand-in.
    """
    vocabulary = (*sorted({token for row in parts["train"] for token in row} - {STAND_IN}), STAND_IN)
    place = {token: number for number, token in enumerate(vocabulary)}
    dtype = torch.uint8 if len(vocabulary) <= BYTE_LEVELS else torch.int64
    unknown = place[STAND_IN]
    splits = {
        name: Split(x=torch.tensor([[place.get(token, unknown) for token in row] for row in rows], dtype=dtype))
        for name, rows in parts.items()
    }
    return splits, vocabulary
