"""The English text: pinned, split by paragraph, cut into windows."""

import os
import subprocess
import sys

import pytest

from trainables.data import english
from trainables.data._data import Data
from trainables.data._text import STAND_IN, encoded, windows

SHA256 = "0eae1a0653b31caa3ef403c85d3cb4f1449a94e8b3c9054aebe78dc7dbb4a2c4"


def rows(data: Data) -> list[str]:
    return [data.text(row) for _, split in data.splits() for row in split.x]


def test_the_content_is_pinned() -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert english.load().sha256 == SHA256


def test_another_process_gets_the_same_rows() -> None:
    script = "from trainables.data import english; print(english.load().sha256)"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    done = subprocess.run([sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.strip() == SHA256


def test_the_paragraphs_are_those_that_were_counted() -> None:
    paragraphs = english.split_paragraphs()
    assert {name: len(own) for name, own in paragraphs.items()} == {"train": 1299, "validation": 163, "test": 163}
    every = [paragraph for own in paragraphs.values() for paragraph in own]
    assert len(set(every)) == len(every) == 1625
    assert sum(map(len, every)) == 334_890


def test_each_row_lies_in_a_paragraph_of_its_split() -> None:
    data, paragraphs = english.load(), english.split_paragraphs()
    for name, split in data.splits():
        text = "\n".join(paragraphs[name])
        if name != "train":
            known = set(data.vocabulary or ())
            text = "".join(character if character in known or character == "\n" else STAND_IN for character in text)
        assert all(data.text(row) in text for row in split.x)
    trained = {data.text(row) for row in data.train.x}
    long = next(paragraph for paragraph in paragraphs["train"] if len(paragraph) > 1000)
    cut = [long[begin : begin + 64] for begin in range(0, len(long) - 63, 64)]
    assert set(cut) <= trained


def test_no_row_comes_twice() -> None:
    every = rows(english.load())
    assert len(set(every)) == len(every)


def test_the_vocabulary_is_that_of_training() -> None:
    data = english.load()
    assert data.vocabulary is not None
    assert data.vocabulary[-1] == STAND_IN
    assert set(data.vocabulary[:-1]) == {character for row in data.train.x for character in data.text(row)}


def test_windows_do_not_overlap() -> None:
    assert windows("abcdefg", 3) == ["abc", "def"]
    assert windows("abcdef", 3) == ["abc", "def"]
    assert windows("ab", 3) == []


def test_what_training_lacks_becomes_the_stand_in() -> None:
    splits, vocabulary = encoded({"train": ["ba"], "test": ["ax"]})
    assert vocabulary == ("a", "b", STAND_IN)
    assert splits["test"].x.tolist() == [[0, 2]]


def test_many_words_do_not_fit_one_byte() -> None:
    splits, _ = encoded({"train": [[str(number) for number in range(300)]]})
    assert int(splits["train"].x.max()) == 299


def test_a_length_that_leaves_too_little_is_refused() -> None:
    with pytest.raises(ValueError, match=r"16\.\.80, and it is 500"):
        english.load(length=500)
