"""Metrics of text: by hand on a few words, and in the order of quality on the English text."""

import functools
import importlib
import itertools
import math
import random

import pytest
import torch
from torch import Tensor, nn

from trainables.data import digits, english
from trainables.data._data import Data, Split
from trainables.data._text import encoded
from trainables.metrics import _samples, _yardsticks, bits_per_char
from trainables.metrics._metric import Measurement, Metric, refusal
from trainables.metrics._ngrams import of_training
from trainables.metrics._samples import Replay
from trainables.metrics._text import per_token
from trainables.metrics.self_bleu import self_bleu
from trainables.models.gan import Model as Gan

OF_SAMPLES = ("reverse_lm", "forward_lm", "copy_rate", "self_bleu")


def metric_of(name: str) -> Metric:
    found: Metric = importlib.import_module(f"trainables.metrics.{name}").Metric()
    return found


def measured(name: str, x: Tensor | Split, *, data: Data | None = None, seed: int = 0) -> Measurement:
    """What the metric says of these rows as samples."""
    data = data or load()
    metric = metric_of(name)
    metric.prepare(data)  # type: ignore[attr-defined]
    rows = x if isinstance(x, Split) else Split(x=x)
    return metric.measure(Replay(rows), data.validation, torch.Generator().manual_seed(seed))


@functools.cache
def load() -> Data:
    return english.load()


@functools.cache
def texts() -> dict[str, Tensor]:
    """Equally many rows: real, of shuffled words, of shuffled characters, and of characters at random."""
    data = load()
    generator = torch.Generator().manual_seed(0)
    place = {character: number for number, character in enumerate(data.vocabulary or ())}
    real = data.train.x
    words = " ".join(data.text(row) for row in real).split()
    random.Random(0).shuffle(words)
    shuffled = torch.tensor([place[character] for character in " ".join(words)])
    characters = real.flatten()[torch.randperm(real.numel(), generator=generator)].view_as(real)
    count = len(shuffled) // 64
    found = {
        "real": real,
        "words": shuffled[: count * 64].view(count, 64),
        "characters": characters,
        "uniform": torch.randint(len(place), real.shape, generator=generator),
    }
    return {name: rows[:3200] for name, rows in found.items()}


@pytest.mark.parametrize("name", ["reverse_lm", "forward_lm"])
def test_the_nearer_to_language_the_fewer_the_bits(name: str) -> None:
    bits = [measured(name, texts()[kind]).value for kind in ("real", "words", "characters", "uniform")]
    assert bits == sorted(bits)
    assert all(later > earlier + 0.2 for earlier, later in itertools.pairwise(bits))


def test_only_the_reverse_model_sees_that_all_samples_are_alike() -> None:
    one = load().train.x[:1].expand(3200, -1)
    assert measured("forward_lm", one).value < measured("forward_lm", load().test).value
    assert measured("reverse_lm", one).value > measured("reverse_lm", texts()["characters"]).value


def test_copies_are_copied_and_other_text_is_not() -> None:
    found = measured("copy_rate", load().train)
    assert (found.value, found.standard_error) == (1.0, 0.0)
    assert measured("copy_rate", load().test).value < 0.2
    assert measured("copy_rate", texts()["characters"]).value == 0.0


def tiny(train: list[str], others: list[str]) -> Data:
    splits, vocabulary = encoded({"train": train, "validation": others, "test": others})
    return Data.of(
        splits,
        name="tiny",
        modality="text",
        levels=len(vocabulary),
        value_range=(0.0, len(vocabulary) - 1.0),
        license="-",
        source="-",
        vocabulary=vocabulary,
    )


def test_the_copied_share_by_hand() -> None:
    train = "abcdefghijklmnopqrstuvwxyz"
    # Of the seven pieces of 20 characters the first two are those of training; of the second row none is.
    data = tiny([train], [train[:21] + "aaaaa", "z" * 26])
    assert measured("copy_rate", data.validation, data=data).value == pytest.approx((2 / 7 + 0) / 2)


def test_a_row_shorter_than_a_piece_is_copied_where_it_equals_one_of_training() -> None:
    data = tiny(["abc", "cba"], ["cab", "bca"])
    assert measured("copy_rate", data.validation, data=data).value == 0.0
    assert measured("copy_rate", torch.cat([data.train.x, data.validation.x]), data=data).value == 0.5


def names(length: int) -> Data:
    """The same short lines, filled up to so many tokens as `text_file` does."""
    parts = {"train": ["anna", "bea", "abe", "nan"], "validation": ["ban", "enna"], "test": ["ben", "aba"]}
    splits, vocabulary = encoded(
        {name: [[*line, *[""] * (length - len(line))] for line in lines] for name, lines in parts.items()}
    )
    return Data.of(
        splits,
        name="names",
        modality="text",
        levels=len(vocabulary),
        value_range=(0.0, len(vocabulary) - 1.0),
        license="-",
        source="-",
        vocabulary=vocabulary,
    )


def test_bits_are_those_of_a_token_that_is_read_and_not_of_what_fills_rows_up() -> None:
    data, metric = names(5), bits_per_char.Metric()
    levels = len(data.vocabulary or ())
    # Seven characters in the two rows. All the bits of a row count, those of its fills too.
    expected = float(of_training(data).bits(data.validation.x).sum()) / 7
    assert measured("forward_lm", data.validation, data=data).value == pytest.approx(expected)
    assert measured("reverse_lm", data.train, data=data).value == pytest.approx(expected)
    assert metric.baselines(data) == {"five_gram": pytest.approx(expected)}
    metric.prepare(data)
    found = metric.measure(Uniform(levels), data.validation, torch.Generator())
    assert found.value == pytest.approx(2 * 5 * math.log2(levels) / 7)


def test_rows_of_nothing_have_bits_all_the_same() -> None:
    data = names(5)
    nothing = torch.full((3, 5), (data.vocabulary or ()).index(""))
    assert math.isfinite(measured("forward_lm", nothing, data=data).value)


def test_the_error_of_bits_a_token_is_that_of_rows_drawn_again() -> None:
    data = names(5)
    generator = torch.Generator().manual_seed(0)
    x = data.train.x[torch.randint(4, (400,), generator=generator)]
    bits, tokens = of_training(data).bits(x).sum(1), torch.tensor([len(data.text(row)) for row in x])
    drawn = torch.randint(400, (10_000, 400), generator=generator)
    spread = float((bits[drawn].sum(1) / tokens[drawn].sum(1)).std())
    assert per_token(bits, x, data).standard_error == pytest.approx(spread, rel=0.03)


def test_reverse_lm_has_no_floor_for_test_rows_are_too_few() -> None:
    beside = {}
    for name in ("reverse_lm", "forward_lm"):
        metric = metric_of(name)
        metric.prepare(load())  # type: ignore[attr-defined]
        beside |= _yardsticks.yardsticks(metric, load(), torch.Generator)
    assert beside.keys() == {"reverse_lm.copy_of_train", "forward_lm.floor", "forward_lm.copy_of_train"}


def test_one_yardstick_that_fails_takes_no_other_with_it() -> None:
    class OfManyRows:
        name, direction, each_epoch = "of_many_rows", "minimize", False

        def measure(self, model: Replay, split: Split, generator: torch.Generator) -> Measurement:
            if len(model) < 4:
                raise ValueError("too few rows")
            return Measurement(value=1.0, standard_error=0.0, sample_size=len(model))

    found = _yardsticks.yardsticks(OfManyRows(), names(5), torch.Generator)  # type: ignore[arg-type]
    assert found == {"of_many_rows.copy_of_train": 1.0}


def test_self_bleu_of_one_or_two_rows() -> None:
    data = names(5)
    assert math.isnan(measured("self_bleu", data.train.x[:1], data=data).value)
    # Two rows have a value, and no error: without one of them there is nothing to compare with.
    found = measured("self_bleu", data.train.x[:1].expand(2, -1), data=data)
    assert found.value == pytest.approx(1.0)
    assert math.isnan(found.standard_error)


def test_self_bleu_by_hand() -> None:
    # a: 4 words of which 3 are matched, 3 pairs of which 2, 2 triples of which 1, and no four: 0.1 of 1.
    pair = ["the cat sat down", "the cat sat up"]
    expected = (3 / 4 * 2 / 3 * 1 / 2 * 0.1) ** (1 / 4)
    assert self_bleu(pair) == pytest.approx(expected)
    # A word counts as often as one other has it: "a a a b" has two a of three matched, and b not.
    clipped = self_bleu(["a a a b", "a a c d"])
    first = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1 / 1) ** (1 / 4)
    second = (2 / 4 * 1 / 3 * 0.1 / 2 * 0.1 / 1) ** (1 / 4)
    assert clipped == pytest.approx((first + second) / 2)


def test_a_sample_shorter_than_the_closest_other_is_punished() -> None:
    # Its words are all matched, and its length is 2 of 3; the other has 2 of 3 words and 1 of 2 pairs, no triple.
    short, long = math.exp(1 - 3 / 2), (2 / 3 * 1 / 2 * 0.1 / 1) ** (1 / 3)
    assert self_bleu(["a b", "a b c"]) == pytest.approx((short + long) / 2)


@pytest.mark.parametrize("text", ["one string that comes again", "short", "   "])
def test_self_bleu_of_copies_of_one_string_is_one(text: str) -> None:
    assert self_bleu([text] * 7) == pytest.approx(1.0)


def test_self_bleu_sees_samples_that_are_alike() -> None:
    rows = load().train.x
    alike = measured("self_bleu", rows[:20].repeat(25, 1))
    assert alike.value == pytest.approx(1.0)
    assert measured("self_bleu", rows).value < 0.2


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_the_value_does_not_depend_on_the_pass(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    found = measured(name, load().test)
    monkeypatch.setattr(_samples, "CHUNK_ROWS", 33)
    assert measured(name, load().test) == found


@pytest.mark.parametrize("name", OF_SAMPLES)
def test_what_is_no_text_is_refused(name: str) -> None:
    data = digits.load()
    assert f"the metric {name!r} needs text" in str(refusal(metric_of(name), Gan, data))
    with pytest.raises(ValueError, match="holds images: choose another metric"):
        metric_of(name).prepare(data)  # type: ignore[attr-defined]


class Uniform(nn.Module):
    """Knows that all tokens are equally probable."""

    def __init__(self, levels: int) -> None:
        super().__init__()
        self.levels = levels

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {}

    def sample(self, noise: object) -> Tensor:
        raise AssertionError("it is measured by its probabilities")

    def log_probability(self, x: Tensor) -> Tensor:
        return torch.full((len(x),), -x.shape[1] * math.log(self.levels))


def test_bits_per_char_of_a_uniform_model_are_those_of_the_vocabulary() -> None:
    data, metric = load(), bits_per_char.Metric()
    metric.prepare(data)
    found = metric.measure(Uniform(102), data.validation, torch.Generator())
    assert found.value == pytest.approx(math.log2(102), rel=1e-6)
    assert found.sample_size == len(data.validation)


def test_bits_per_char_stand_beside_the_5_gram_on_the_same_rows() -> None:
    data = load()
    beside = _yardsticks.yardsticks(bits_per_char.Metric(), data, torch.Generator)
    expected = float(of_training(data).bits(data.validation.x).mean())
    assert beside == {"bits_per_char.five_gram": pytest.approx(expected)}
    assert 1.9 < expected < 2.2


def test_bits_per_char_refuses_a_model_that_knows_no_probability() -> None:
    assert "needs a model that knows the probability" in str(refusal(bits_per_char.Metric, Gan, load()))
    with pytest.raises(ValueError, match="choose another metric such as reverse_lm"):
        bits_per_char.Metric().measure(Replay(load().train), load().validation, torch.Generator())
