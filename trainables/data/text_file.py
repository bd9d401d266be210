"""The user's own text: a file in UTF-8, or a folder of such files, as rows of equally many characters, bytes or words.

Line ends become "\\n" and characters their composed form (Unicode NFC). What comes again is left out: equal lines or
paragraphs, and of running text the paragraphs of at least 40 characters. The vocabulary is that of the training rows;
what is rare or missing there becomes one stand-in, which reads as U+FFFD.

unit: what a row is. `window`: running text, cut every `length` tokens without overlap; rows come into one split by
blocks of eight or more windows, and a block is made of whole paragraphs, if these are not longer themselves. What is
left at the end of a block is left out. `line` or `paragraph` (what empty lines part): cut every `length` tokens, the
last piece filled with a token that reads as nothing; pieces of one line or paragraph come into one split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from . import _own
from ._data import Data
from ._text import STAND_IN, encoded, windows

READS_FILE = READS_FOLDER = (".txt", ".text", ".md")
UNITS = ("window", "line", "paragraph")
# Shorter paragraphs, such as refrains and names of speakers, come again in good text.
LONG_PARAGRAPH = 40
BLOCK_WINDOWS = 8
# Fills a row; no token of a text is empty.
FILL = ""
BYTES = tuple(chr(byte) if byte < 128 else f"\\x{byte:02x}" for byte in range(256))


def _characters(text: str) -> Sequence[str]:
    return text


def _bytes(text: str) -> Sequence[str]:
    return [BYTES[byte] for byte in text.encode("utf-8")]


def _words(text: str) -> Sequence[str]:
    return [f"{word} " for word in text.split()]


# How text is cut into tokens; those of a row, one after another, read as text.
TOKENS: Mapping[str, Callable[[str], Sequence[str]]] = MappingProxyType(
    {"characters": _characters, "bytes": _bytes, "words": _words}
)


def load(
    *,
    path: str,
    unit: str = "window",
    tokens: str = "characters",
    length: int = 64,
    vocabulary: int = 1000,
    held_out: float | None = None,
    seed: int = 0,
    skip_broken: bool = False,
) -> Data:
    """The rows [N, length]; the same call, the same bytes.

    unit: window, line or paragraph. tokens: characters, bytes or words, which are what white space parts. vocabulary:
    at most so many tokens are told apart, the most frequent. held_out: the share for validation, and as much for test;
    without one, what gives each 300 rows, within 10 and 25 %. Raises `ValueError` that names the files which cannot be
    read.
    """
    _check(unit=unit, tokens=tokens, length=length, vocabulary=vocabulary)
    place = Path(path)
    folder = place.is_dir()
    files = _own.files_in(place, READS_FOLDER) if folder else [_own.existing(path, folder=False)]
    found, notes = _own.read_each(files, _read, skip_broken=skip_broken)
    texts = {file.relative_to(place).as_posix() if folder else file.name: text for file, text in found.items()}
    cut = _windows if unit == "window" else _pieces
    parted, copies = _parts(texts, unit)
    if copies:
        notes.append(f"removed {copies} {'paragraphs' if unit == 'window' else unit + 's'} that equal another one")
    every = list(cut(parted, TOKENS[tokens], length))
    # The first of equal rows, with its group.
    group_of = {row: group for group, row in reversed(every)}
    rows = list(group_of)
    if len(rows) < _own.FEWEST_ROWS:
        raise ValueError(
            f"there must be at least {_own.FEWEST_ROWS} different rows, and {path} gives {len(rows)}, each of {length} "
            f"{tokens}: give more text, a smaller length, or another unit"
        )
    places = _own.held_out(list(group_of.values()), share=held_out, seed=seed)
    stand_in = STAND_IN + " " if tokens == "words" else STAND_IN
    splits, found_tokens = encoded(
        {name: [rows[place] for place in own] for name, own in places.items()},
        most=vocabulary,
        stand_in=stand_in,
    )
    if not all(map(len, splits.values())):
        raise ValueError(
            f"rows must differ in the {vocabulary} most frequent {tokens}, and those of {path} hardly do: raise "
            "vocabulary, or take characters"
        )
    notes += _own.copies_note(len(every), sum(map(len, splits.values())))
    if len({token for place in places["train"] for token in rows[place]} - {stand_in}) > vocabulary:
        notes.append(f"kept the {vocabulary} most frequent {tokens}; the others read as {STAND_IN}")
    return Data.of(
        splits,
        name="text_file",
        modality="text",
        levels=len(found_tokens),
        value_range=(0.0, len(found_tokens) - 1.0),
        license=_own.LICENSE,
        source=f"the text in {place.name or path}",
        vocabulary=found_tokens,
        notes=notes,
    )


def example(folder: Path) -> dict[str, object]:
    """Write two files of numbered sentences in English and French; the options to load them."""
    for name, sentence in (
        ("english.txt", "Sentence {} says that {} and {} are {}, and ends here.\n\n"),
        ("french.txt", "La phrase {} dit que {} et {} font {}, déjà finie.\n\n"),
    ):
        lines = [sentence.format(n + 1, n * 7 % 13, n * 5 % 11, n * 7 % 13 + n * 5 % 11) for n in range(60)]
        (folder / name).write_text("".join(lines), encoding="utf-8")
    return {"path": str(folder), "length": 16}


def _check(*, unit: str, tokens: str, length: int, vocabulary: int) -> None:
    if unit not in UNITS:
        raise ValueError(f"the unit of text is one of {', '.join(UNITS)}, and it is {unit!r}: correct it in the study")
    if tokens not in TOKENS:
        raise ValueError(f"tokens are one of {', '.join(TOKENS)}, and they are {tokens!r}: correct them in the study")
    for name, value in (("length", length), ("vocabulary", vocabulary)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 2:
            raise ValueError(f"{name} must be a whole number of at least 2, and it is {value!r}: correct it")


def _read(file: Path) -> str:
    """The text of a file; raises `ValueError` with the reason and the remedy where it holds none."""
    content = file.read_bytes()
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError("it begins as UTF-16 does: save it as UTF-8")
    if (zero := content.find(b"\0")) >= 0:
        raise ValueError(f"it is no text, for byte {zero} is 0: give a text file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"it is not UTF-8, for byte {error.start} is 0x{content[error.start]:02x}, {error.reason}: save it as UTF-8"
        ) from None
    if not text.strip():
        raise ValueError("it holds no text: fill it")
    return unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n"))


def _parts(texts: Mapping[str, str], unit: str) -> tuple[dict[str, list[str]], int]:
    """The lines or paragraphs of each text, those that came before left out, and how many these were."""
    seen: set[str] = set()
    found: dict[str, list[str]] = {}
    copies = 0
    for name, text in texts.items():
        every = text.split("\n") if unit == "line" else re.split(r"\n[^\S\n]*\n", text)
        own = found.setdefault(name, [])
        for part in filter(None, (part.strip("\n") if unit == "window" else part.strip() for part in every)):
            if part in seen and (unit != "window" or len(part) >= LONG_PARAGRAPH):
                copies += 1
            else:
                seen.add(part)
                own.append(part)
    return found, copies


def _windows(
    parts: Mapping[str, Sequence[str]], tokens_of: Callable[[str], Sequence[str]], length: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each window, with the name of its block before it."""
    enough = BLOCK_WINDOWS * length
    for name, paragraphs in parts.items():
        block: list[str] = []
        number = 0
        for place, paragraph in enumerate(paragraphs):
            last = place == len(paragraphs) - 1
            block += tokens_of(paragraph if last else f"{paragraph}\n\n")
            # What lies between one block and two is one; a paragraph that is longer has to be parted. Only blocks are
            # copied: copies of all that is left of a long one would take quadratic time.
            begin = 0
            while (left := len(block) - begin) >= enough or (last and left):
                end = begin + (enough if left >= 2 * enough else left)
                for row in windows(block[begin:end], length):
                    yield f"{name}:{number}", tuple(row)
                begin, number = end, number + 1
            del block[:begin]


def _pieces(
    parts: Mapping[str, Sequence[str]], tokens_of: Callable[[str], Sequence[str]], length: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each piece of a line or paragraph, filled up, with the name of what it is a piece of before it."""
    for name, own in parts.items():
        for number, part in enumerate(own):
            tokens = list(tokens_of(part))
            tokens += [FILL] * (-len(tokens) % length)
            for row in windows(tokens, length):
                yield f"{name}:{number}", tuple(row)
