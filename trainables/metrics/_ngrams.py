"""How probable each token of a row is after those before it: an n-gram model with Witten-Bell smoothing.

Witten and Bell 1991, DOI 10.1109/18.87000, method C, interpolated: after a context that was seen N times with D
different continuations, a token that followed it c times has p_n = (c + D p_(n-1)) / (N + D), with p_(n-1) that of the
context without its first token and p_0 = 1 / V. A context that was never seen has p_n = p_(n-1). Before its first token
a row has marks of its beginning.

N-grams are numbered one order after another, each as its context's number and its last token; so nothing overflows,
whatever the vocabulary. Floor: numpy and torch. Axes: N rows, T tokens, P tokens and the marks before them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data._data import Data

# On prose of a few hundred thousand characters a longer context gains nothing.
ORDER = 5
# An n-gram model of the training rows takes them at even distances if they are more: it is sorted in memory.
MOST_TOKENS = 4_000_000

Numbers = NDArray[np.int64]
# What this process has trained, by the content of the data.
_TRAINED: dict[str, NGrams] = {}


class _Order(NamedTuple):
    """The n-grams of one length: their keys, sorted, how often each came, and of each context how often and with how
    many continuations."""

    keys: Numbers
    counts: Numbers
    seen: Numbers
    continuations: Numbers


class NGrams:
    """The model of these rows [N, T] of whole numbers 0..levels-1."""

    def __init__(self, rows_NT: Tensor, *, levels: int, order: int = ORDER) -> None:
        self._levels = levels
        self._marks = order - 1
        self._orders: list[_Order] = []
        tokens_NP = self._marked(rows_NT)
        context_NP = np.zeros_like(tokens_NP)
        for _ in range(order):
            keys, gram = np.unique(self._keys(context_NP, tokens_NP), return_inverse=True)
            gram_NP = gram.reshape(tokens_NP.shape)
            # A mark is a context and never a token that has to be told.
            counts = np.bincount(gram_NP[:, self._marks :].ravel(), minlength=len(keys))
            context = keys // (levels + 1)
            seen = np.bincount(context, weights=counts).astype(np.int64)
            self._orders.append(_Order(keys, counts, seen, np.bincount(context, weights=counts > 0).astype(np.int64)))
            context_NP = _shifted(gram_NP)

    def bits(self, rows_NT: Tensor) -> Tensor:
        """[N, T], float64: minus the base-2 logarithm of the probability of each token."""
        tokens_NP = self._marked(rows_NT)
        context_NP = np.zeros_like(tokens_NP)
        probability_NP = np.full(tokens_NP.shape, 1.0 / self._levels)
        for order in self._orders:
            keys_NP = self._keys(context_NP, tokens_NP)
            place_NP = np.searchsorted(order.keys, keys_NP).clip(max=len(order.keys) - 1)
            known_NP = order.keys[place_NP] == keys_NP
            counts_NP = np.where(known_NP, order.counts[place_NP], 0)
            # A context that was never seen is numbered -1, and has neither seen nor continuations.
            total_NP = np.where(context_NP < 0, 0, order.seen[context_NP])
            distinct_NP = np.where(total_NP > 0, order.continuations[context_NP], 1)
            probability_NP = (counts_NP + distinct_NP * probability_NP) / (total_NP + distinct_NP)
            context_NP = _shifted(np.where(known_NP, place_NP, -1))
        return torch.from_numpy(-np.log2(probability_NP[:, self._marks :]))

    def _marked(self, rows_NT: Tensor) -> Numbers:
        tokens_NT = rows_NT.cpu().numpy().astype(np.int64)
        marks = np.full((len(tokens_NT), self._marks), self._levels)
        return np.concatenate([marks, tokens_NT], 1)

    def _keys(self, context_NP: Numbers, tokens_NP: Numbers) -> Numbers:
        """The number of each n-gram from that of its context, 0 and more, and its last token; below 0 where the context
        is -1."""
        keys: Numbers = context_NP * (self._levels + 1) + tokens_NP
        return keys


def of_training(data: Data) -> NGrams:
    """The model of the training rows of text, or of as many as are `MOST_TOKENS` tokens; trained once a process."""
    if data.levels is None:
        raise ValueError(f"n-grams are those of tokens, and {data.name!r} holds real numbers: take text")
    if data.sha256 not in _TRAINED:
        x = data.train.x
        kept = torch.linspace(0, len(x) - 1, min(len(x), max(1, MOST_TOKENS // x.shape[1])), device=x.device).long()
        _TRAINED[data.sha256] = NGrams(x[kept], levels=data.levels)
    return _TRAINED[data.sha256]


def _shifted(gram_NP: Numbers) -> Numbers:
    """The number of the n-gram that ends before each token. That of the first is 0: it is a mark, if not alone."""
    return np.concatenate([np.zeros_like(gram_NP[:, :1]), gram_NP[:, :-1]], 1)
