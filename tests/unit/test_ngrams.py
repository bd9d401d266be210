"""The n-gram model by hand, against its own definition, and on the text for which figures were published."""

import itertools
import math
from collections import Counter

import pytest
import torch
from torch import Tensor

from trainables.data import english
from trainables.metrics import _ngrams
from trainables.metrics._ngrams import NGrams, of_training

VOWELS = "ab"


def rows(*texts: str) -> Tensor:
    return torch.tensor([[VOWELS.index(character) for character in text] for text in texts])


def probabilities(model: NGrams, text: str) -> list[float]:
    return [2.0**-bits for bits in model.bits(rows(text))[0].tolist()]


def test_the_first_two_orders_by_hand() -> None:
    # Of "aab": a twice, b once, so p1(a) = (2 + 2/2) / (3 + 2) and p1(b) = (1 + 2/2) / (3 + 2).
    assert probabilities(NGrams(rows("aab"), levels=2, order=1), "ab") == pytest.approx([3 / 5, 2 / 5])
    # At the beginning only a was seen, once; after a once each, of two kinds; after b nothing, which leaves p1.
    model = NGrams(rows("aab"), levels=2, order=2)
    assert probabilities(model, "aa") == pytest.approx([(1 + 3 / 5) / 2, (1 + 2 * 3 / 5) / 4])
    assert probabilities(model, "ba") == pytest.approx([(0 + 2 / 5) / 2, 3 / 5])


def by_definition(trained: list[str], text: str, place: int, order: int) -> float:
    """The recursion of Witten and Bell over counts of strings; "^" stands before a row."""
    probability = 1 / len(VOWELS)
    for length in range(order):
        context = ("^" * order + text[:place])[order + place - length :]
        after: Counter[str] = Counter()
        for row in trained:
            padded = "^" * order + row
            after.update(padded[end] for end in range(order, len(padded)) if padded[end - length : end] == context)
        total, distinct = sum(after.values()), len(after)
        if total:
            probability = (after[text[place]] + distinct * probability) / (total + distinct)
    return probability


def test_every_order_is_the_recursion_over_strings() -> None:
    trained, asked = ["abbab", "aabba", "bbbab"], "babba"
    for order in (1, 2, 3, 5):
        expected = [by_definition(trained, asked, place, order) for place in range(len(asked))]
        assert probabilities(NGrams(rows(*trained), levels=2, order=order), asked) == pytest.approx(expected)


def test_the_probabilities_of_all_rows_sum_to_one() -> None:
    generator = torch.Generator().manual_seed(0)
    trained = torch.randint(3, (4, 6), generator=generator)
    every = torch.tensor(list(itertools.product(range(4), repeat=4)))
    # Level 3 is in no row of training, and has a share all the same.
    bits = NGrams(trained, levels=4, order=3).bits(every).sum(1)
    assert float((2.0**-bits).sum()) == pytest.approx(1.0)


def test_a_row_does_not_depend_on_the_others() -> None:
    generator = torch.Generator().manual_seed(0)
    model = NGrams(torch.randint(5, (20, 12), generator=generator), levels=5)
    asked = torch.randint(5, (9, 12), generator=generator)
    assert torch.equal(model.bits(asked), torch.cat([model.bits(row) for row in asked.split(2)]))


def test_a_large_vocabulary_does_not_overflow() -> None:
    levels = 2**31
    trained = torch.tensor([[levels - 1, levels - 2, levels - 1, levels - 2, 5, 6]])
    bits = NGrams(trained, levels=levels).bits(trained)
    assert bool((bits < math.log2(levels) / 2).all())


def test_the_control_of_the_english_text_is_reproduced() -> None:
    # Bits a character on whole test paragraphs after all others, by the order: measured once by another program.
    paragraphs = english.split_paragraphs()
    known = "\n".join(paragraphs["train"] + paragraphs["validation"])
    asked = "\n".join(paragraphs["test"])
    place = {character: number for number, character in enumerate(sorted(set(known)))}
    train, test = (torch.tensor([[place.get(one, len(place)) for one in text]]) for text in (known, asked))
    for order, bits in ((1, 4.798), (2, 3.517), (3, 2.632), (5, 1.790), (7, 1.793)):
        found = float(NGrams(train, levels=len(place) + 1, order=order).bits(test).mean())
        assert found == pytest.approx(bits, abs=0.001)


def test_too_many_training_rows_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    data = english.load()
    monkeypatch.setattr(_ngrams, "MOST_TOKENS", 64 * 100)
    monkeypatch.setattr(_ngrams, "_TRAINED", {})
    thinned = of_training(data).bits(data.validation.x).mean()
    places = torch.linspace(0, len(data.train) - 1, 100).long()
    expected = NGrams(data.train.x[places], levels=len(data.vocabulary or ())).bits(data.validation.x).mean()
    assert float(thinned) == float(expected)


def test_one_model_of_the_training_rows_is_trained_for_all_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_ngrams, "_TRAINED", {})
    assert of_training(english.load()) is of_training(english.load())
    assert of_training(english.load(length=32)) is not of_training(english.load())
