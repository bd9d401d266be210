"""Bits a token of held-out text under the model: minus the base-2 logarithm of its probability, over its tokens.

With characters for tokens, these are bits a character, or cross-entropy. Each row is by itself: what was before its
first token is unknown to all. It is read beside the 5-gram model of `_ngrams` on the same rows, trained on the
training rows, which a network has to beat.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Family, Generative, Language
from ._metric import Direction, Measurement
from ._ngrams import of_training
from ._text import per_token, text_refusal

# Rows a forward pass: keeps the memory of large data small.
CHUNK_ROWS = 512


class Metric:
    """Over all tokens of the rows but those that fill a row up, smaller is better."""

    name: ClassVar[str] = "bits_per_char"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = True
    of_model: ClassVar[bool] = True

    def __init__(self) -> None:
        self._data: Data | None = None

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Every family but those that know the probability of a row of tokens is refused, and all data but text."""
        # A class is asked for what `Language` has; it has no instance yet.
        if not callable(getattr(model, "log_probability", None)):
            return _no_language(model)
        return text_refusal(data, metric=cls.name)

    def baselines(self, data: Data) -> Mapping[str, float]:
        """The value of the 5-gram model."""
        x = data.validation.x
        return {"five_gram": per_token(of_training(data).bits(x).sum(1), x, data).value}

    def prepare(self, data: Data) -> None:
        """Take the vocabulary; raises `ValueError` for data that are no text."""
        if (problem := text_refusal(data, metric=self.name)) is not None:
            raise ValueError(problem)
        self._data = data

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """Minus the mean log-probability of a token, in bits."""
        if not isinstance(model, Language):
            raise ValueError(_no_language(type(model)))
        if self._data is None:
            raise ValueError(f"the metric {self.name!r} needs the data before it measures, and got none: call prepare")
        with torch.inference_mode():
            nats_B = torch.cat([-model.log_probability(x).double() for x in torch.split(split.x, CHUNK_ROWS)])
        return per_token(nats_B / math.log(2.0), split.x, self._data)


def _no_language(model: type) -> str:
    return (
        f"the metric 'bits_per_char' needs a model that knows the probability of a row of tokens, and "
        f"{model.__module__} does not: choose another metric such as reverse_lm, or the model attention_gan_text"
    )
