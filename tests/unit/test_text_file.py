"""The user's own text: what becomes of it, and what is said of files that cannot be read."""

import itertools
import struct
import tracemalloc
from pathlib import Path

import pytest

from trainables.data import text_file
from trainables.data._data import Data
from trainables.data._text import STAND_IN

WORDS = [f"{first}{middle}{last}" for first, middle, last in itertools.product("bdfgk", "aeiou", "lmnrs")]
LINES = [f"{word} {WORDS[-place]} {WORDS[place * 7 % len(WORDS)]}" for place, word in enumerate(WORDS)]


def loaded(folder: Path, text: str, **options: object) -> Data:
    file = folder / "own.txt"
    file.write_bytes(text.encode("utf-8"))
    return text_file.load(path=str(file), **options)  # type: ignore[arg-type]


def rows(data: Data, name: str = "") -> list[str]:
    return [data.text(row) for own, split in data.splits() for row in split.x if name in ("", own)]


def test_lines_are_rows_that_read_as_they_were(tmp_path: Path) -> None:
    data = loaded(tmp_path, "\r\n".join(LINES) + "\r\n\r\n", unit="line", length=16)
    assert sorted(rows(data)) == sorted(LINES)
    assert data.shape == (16,)


def test_a_long_line_is_cut_and_its_pieces_stay_together(tmp_path: Path) -> None:
    data = loaded(tmp_path, "\n".join(LINES), unit="line", length=4)
    whole = {line[begin : begin + 4]: line for line in LINES for begin in range(0, len(line), 4)}
    split_of: dict[str, set[str]] = {}
    alone = [piece for piece in whole if sum(piece in line for line in LINES) == 1]
    for name, _ in data.splits():
        for piece in set(rows(data, name)) & set(alone):
            split_of.setdefault(whole[piece], set()).add(name)
    assert set(rows(data)) == set(whole)
    assert split_of
    assert all(len(names) == 1 for names in split_of.values())


def test_windows_cover_the_text_once_but_for_the_ends_of_blocks(tmp_path: Path) -> None:
    text = "\n".join(LINES)
    data = loaded(tmp_path, text, length=10)
    found = rows(data)
    assert all(row in text for row in found)
    assert len(found) >= 0.9 * len(text) / 10
    # Rows without overlap begin at places which are whole blocks of windows apart, or windows within one.
    begins = sorted(text.index(row) for row in found)
    assert all(later - earlier >= 10 for earlier, later in itertools.pairwise(begins))


def test_windows_of_one_block_come_into_one_split(tmp_path: Path) -> None:
    text = "\n".join(LINES)
    data = loaded(tmp_path, text, length=10)
    split_of = {text.index(row): name for name, _ in data.splits() for row in rows(data, name)}
    blocks = [{split_of[begin] for begin in split_of if begin // 80 == number} for number in range(len(text) // 80 - 1)]
    assert len(blocks) > 5
    assert all(len(names) == 1 for names in blocks)


def test_a_text_without_blank_lines_is_not_copied_for_each_block() -> None:
    text = "abcdefgh" * 25_000
    tracemalloc.start()
    try:
        for _ in text_file._windows({"a": [text]}, text_file.TOKENS["characters"], 16):
            pass
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < 1.5 * len(text) * struct.calcsize("P"), "one list of all tokens, and blocks of it"


def test_paragraphs_do_not_straddle_blocks(tmp_path: Path) -> None:
    paragraphs = [f"{line}\n{line[::-1]}" for line in LINES]
    data = loaded(tmp_path, "\n\n".join(paragraphs), length=20)
    where: dict[str, set[str]] = {}
    for name, _ in data.splits():
        for row, paragraph in itertools.product(rows(data, name), paragraphs):
            if any(part in row for part in (paragraph[:8], paragraph[8:16])):
                where.setdefault(paragraph, set()).add(name)
    assert len(where) > 100
    assert all(len(names) == 1 for names in where.values())


def test_what_comes_again_counts_once(tmp_path: Path) -> None:
    data = loaded(tmp_path, "\n".join(LINES + LINES[:30]), unit="line", length=16)
    assert len(rows(data)) == len(LINES)
    assert data.notes == ("removed 30 lines that equal another one",)
    long = [" ".join(WORDS[place : place + 20]) for place in range(100)]
    once, twice = (loaded(tmp_path, "\n\n".join(every)) for every in (long, long + long))
    assert rows(twice) == rows(once)
    assert twice.notes[0] == "removed 100 paragraphs that equal another one"


def test_a_mark_of_byte_order_and_decomposed_characters_make_no_difference(tmp_path: Path) -> None:
    lines = [line.replace("a", "é") for line in LINES]
    plain = loaded(tmp_path, "\n".join(lines), unit="line", length=16)
    other = loaded(tmp_path, "\ufeff" + "\n".join(lines).replace("é", "e\u0301"), unit="line", length=16)
    assert plain.sha256 == other.sha256
    assert "é" in (plain.vocabulary or ())


def test_words_and_bytes_are_tokens_too(tmp_path: Path) -> None:
    words = loaded(tmp_path, "\n".join(LINES), unit="line", tokens="words", length=3)
    assert {row.count(" ") for row in rows(words)} == {3}
    assert set(words.vocabulary or ()) <= {f"{word} " for word in WORDS} | {f"{STAND_IN} "}
    found = loaded(tmp_path, "\n".join(LINES).replace("a", "é"), unit="line", tokens="bytes", length=16)
    assert {"\\xc3", "\\xa9"} <= set(found.vocabulary or ())


def test_rare_tokens_become_the_stand_in(tmp_path: Path) -> None:
    data = loaded(tmp_path, "\n".join(LINES), unit="line", tokens="words", length=3, vocabulary=100)
    assert len(data.vocabulary or ()) == 101
    assert any(f"{STAND_IN} " in row for row in rows(data, "train"))
    assert f"kept the 100 most frequent words; the others read as {STAND_IN}" in data.notes
    # 16 characters, and what fills a row.
    other = loaded(tmp_path, "\n".join(LINES), unit="line", length=16, vocabulary=17)
    assert not [note for note in other.notes if "most frequent" in note], "as many as there are"


def test_the_vocabulary_is_that_of_training(tmp_path: Path) -> None:
    # One line in three has a character of its own, so that most of them are not in training.
    lines = [line + chr(0x4E00 + place) for place, line in enumerate(LINES)]
    data = loaded(tmp_path, "\n".join(lines), unit="line", length=16)
    assert set(data.vocabulary or ()) - {STAND_IN} == {c for row in data.train.x for c in _tokens(data, row.tolist())}
    assert all(STAND_IN in row for row in rows(data, "test"))


def _tokens(data: Data, places: list[int]) -> list[str]:
    return [(data.vocabulary or ())[place] for place in places]


def test_a_folder_is_read_in_order_and_another_seed_splits_otherwise(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "b.txt").write_text("\n".join(LINES[:60]), encoding="utf-8")
    (tmp_path / "below" / "a.md").write_text("\n".join(LINES[60:]), encoding="utf-8")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\0")
    data = text_file.load(path=str(tmp_path), unit="line", length=16)
    assert sorted(rows(data)) == sorted(LINES)
    other = text_file.load(path=str(tmp_path), unit="line", length=16, seed=1)
    assert set(rows(other, "test")) != set(rows(data, "test"))
    half = text_file.load(path=str(tmp_path), unit="line", length=16, held_out=0.4)
    assert len(half.test) == len(half.validation) == 50


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "it holds no text"),
        (b" \n\t\n", "it holds no text"),
        (b"a\0b", "it is no text, for byte 1 is 0: give a text file"),
        ("caf\u00e9 au lait".encode("latin-1"), "it is not UTF-8, for byte 3 is 0xe9, .*: save it as UTF-8"),
        ("text".encode("utf-16"), "it begins as UTF-16 does: save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_named_with_the_reason(tmp_path: Path, content: bytes, said: str) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_bytes(content)
    with pytest.raises(ValueError, match=said) as raised:
        text_file.load(path=str(bad))
    assert str(bad) in str(raised.value)
    (tmp_path / "good.txt").write_text("\n".join(LINES), encoding="utf-8")
    with pytest.raises(ValueError, match="1 of 2 are not"):
        text_file.load(path=str(tmp_path), unit="line", length=16)
    data = text_file.load(path=str(tmp_path), unit="line", length=16, skip_broken=True)
    assert sorted(rows(data)) == sorted(LINES)
    assert str(bad) in data.notes[0]


@pytest.mark.parametrize(
    ("text", "options", "said"),
    [
        (
            "one\ntwo\nthree",
            {"unit": "line", "length": 8},
            "at least 20 different rows, and .* gives 3, each of 8 char",
        ),
        ("abc " * 1000, {}, "at least 20 different rows"),
        ("short", {}, "gives 0, each of 64 characters: give more text, a smaller length"),
        ("text", {"unit": "sentence"}, "window, line, paragraph, and it is 'sentence'"),
        ("text", {"tokens": "letters"}, "characters, bytes, words, and they are 'letters'"),
        ("text", {"length": 1}, "length must be a whole number of at least 2, and it is 1"),
        ("text", {"length": 8.5}, "length must be a whole number of at least 2, and it is 8.5"),
        ("text", {"vocabulary": True}, "vocabulary must be a whole number of at least 2, and it is True"),
        ("\n".join(LINES), {"unit": "line", "length": 16, "held_out": 0.7}, "held_out must lie above 0 and below 0.5"),
    ],
)
def test_what_cannot_be_is_refused_in_words(tmp_path: Path, text: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        loaded(tmp_path, text, **options)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        text_file.load(path=str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="is empty"):
        text_file.load(path=str(tmp_path))
