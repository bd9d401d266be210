"""English prose about a programming language: rows of 64 characters from the help topics of Python.

The text of `pydoc_data.topics` of CPython 3.11.7, its topics in the order of their names: 465,048 characters. It
changes with each release of Python, so a copy ships beside this file, `english.txt.gz`, under the PSF license in
`english.LICENSE`. White space within a paragraph becomes one space; the 1625 different paragraphs of at least 40
characters, 334,890 in all, are split at random into 1299, 163 and 163. A paragraph is cut into rows from its first
character on, without overlap; what is left at its end, shorter than a row, is left out, and so is a row that came
before. The vocabulary is that of training, and one stand-in for the rest.

What a model has to beat is a 5-gram with Witten-Bell smoothing: `bits_per_char` reports it beside its own value.
"""

from __future__ import annotations

import gzip
import hashlib
import random
import re
from pathlib import Path

from ._data import Data
from ._text import encoded, windows

TEXT = Path(__file__).with_name("english.txt.gz")
SHA256 = "2a95af4ac93f5b719944030ce3769070ddf827d847cba42192afa8da989e5dc4"
SHORTEST_PARAGRAPH = 40
# The order of the paragraphs. The last tenth is test, the tenth before it validation: those test paragraphs on which a
# Witten-Bell 5-gram that saw all others takes 1.790 bits a character.
SEED = 0


def load(*, length: int = 64) -> Data:
    """The rows [N, length]: 3520 for training, 426 for validation and 429 for test at 64 characters.

    The same call returns the same bytes. Raises `ValueError` for a length outside 16..80: longer rows are too few.
    """
    if not 16 <= length <= 80:
        raise ValueError(f"the length of rows of english must lie in 16..80, and it is {length}: correct it")
    parts = {
        name: [row for paragraph in paragraphs for row in windows(paragraph, length)]
        for name, paragraphs in split_paragraphs().items()
    }
    splits, vocabulary = encoded(parts)
    return Data.of(
        splits,
        name="english",
        modality="text",
        levels=len(vocabulary),
        value_range=(0.0, len(vocabulary) - 1.0),
        license="PSF-2.0",
        source="pydoc_data.topics of CPython 3.11.7, (c) 2001-2023 Python Software Foundation",
        vocabulary=vocabulary,
    )


def split_paragraphs() -> dict[str, list[str]]:
    """The paragraphs of each split, no two alike."""
    text = gzip.decompress(TEXT.read_bytes())
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise ValueError(f"{TEXT} must hold the text with the hash {SHA256[:12]}, and it does not: install hpo again")
    every = (" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text.decode("utf-8")))
    found = list(dict.fromkeys(paragraph for paragraph in every if len(paragraph) >= SHORTEST_PARAGRAPH))
    random.Random(SEED).shuffle(found)
    test = len(found) * 9 // 10
    validation = 2 * test - len(found)
    return {"train": found[:validation], "validation": found[validation:test], "test": found[test:]}
