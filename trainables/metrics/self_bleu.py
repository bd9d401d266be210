"""How much samples of text are alike: the BLEU-4 of each against all others as references, averaged.

Self-BLEU (Zhu et al. 2018, Texygen, arXiv 1802.01886) of BLEU (Papineni et al. 2002, DOI 10.3115/1073083.1073135), over
words between white space: of n-grams of characters nearly all are in some other sample. As Texygen has it, where no
n-gram of one length matches, 0.1 of one is counted (method 1 of Chen and Cherry 2014, DOI 10.3115/v1/W14-3346). A
sample of fewer than four words is compared by the lengths of n-grams that it has. The value grows with the number of
samples, and real rows are somewhat alike too: its floor.
Axes: N samples, O lengths of n-grams, P pairs of a sample and an n-gram in it, G n-grams.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ..data._data import Data, Split
from ._jackknife import cuts, jackknife_error
from ._metric import Direction, Measurement
from ._text import TextMetric, lines

LONGEST = 4
NO_MATCH = 0.1


class Metric(TextMetric):
    """The mean over 400 samples, 0..1; smaller is more diverse. The error is that of a jackknife over the samples.

    NaN of one sample, which is compared with none.
    """

    name: ClassVar[str] = "self_bleu"
    direction: ClassVar[Direction] = "minimize"

    def count(self, data: Data) -> int:
        return 400

    def of_samples(self, samples_NT: Tensor, rows: Split, data: Data) -> Measurement:
        words = _words(lines(samples_NT, data))
        pieces = [_pieces(words, length) for length in range(1, LONGEST + 1)]
        lengths_N = np.array([len(own) for own in words])
        kept_N = np.ones(len(words), dtype=bool)
        without = []
        for begin, end in cuts(len(words)):
            kept_N[begin:end] = False
            without.append(_mean_bleu(pieces, lengths_N, kept_N))
            kept_N[begin:end] = True
        return Measurement(
            value=_mean_bleu(pieces, lengths_N, kept_N),
            standard_error=jackknife_error(without),
            sample_size=len(words),
        )


class _Pieces(NamedTuple):
    """The n-grams of one length, each [P]: in which sample, which one, how often; of one, the most frequent first."""

    sample: NDArray[np.int64]
    gram: NDArray[np.int64]
    times: NDArray[np.int64]


def self_bleu(texts: Sequence[str]) -> float:
    """The mean BLEU of each text against the others, of which there is at least one."""
    words = _words(texts)
    pieces = [_pieces(words, length) for length in range(1, LONGEST + 1)]
    return _mean_bleu(pieces, np.array([len(own) for own in words]), np.ones(len(words), dtype=bool))


def _words(texts: Sequence[str]) -> list[list[str]]:
    """A text of white space alone has one word, which is empty."""
    return [text.split() or [""] for text in texts]


def _pieces(words: Sequence[Sequence[str]], length: int) -> _Pieces:
    number: dict[tuple[str, ...], int] = {}
    found = [
        (place, number.setdefault(piece, len(number)), times)
        for place, own in enumerate(words)
        for piece, times in Counter(zip(*(own[begin:] for begin in range(length)), strict=False)).items()
    ]
    sample_P, gram_P, count_P = np.array(found, dtype=np.int64).reshape(-1, 3).T
    order_P = np.lexsort((-count_P, gram_P))
    return _Pieces(sample_P[order_P], gram_P[order_P], count_P[order_P])


def _mean_bleu(pieces: Sequence[_Pieces], lengths_N: NDArray[np.int64], kept_N: NDArray[np.bool_]) -> float:
    """The mean over the samples that are kept, each against the others of these; NaN of one."""
    if kept_N.sum() < 2:
        return math.nan
    logs_NO = np.stack([_log_precision(own, kept_N) for own in pieces], 1)[kept_N]
    lengths_N = lengths_N[kept_N]
    orders_N = lengths_N.clip(max=LONGEST)
    had_NO = np.arange(LONGEST) < orders_N[:, None]
    log_precision_N = np.where(had_NO, logs_NO, 0.0).sum(1) / orders_N
    brevity_N = np.minimum(0.0, 1.0 - _closest_other(lengths_N) / lengths_N)
    return float(np.exp(log_precision_N + brevity_N).mean())


def _log_precision(pieces: _Pieces, kept_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """[N]: the logarithm of the share of a sample's n-grams that another has as often; any number without such."""
    sample_P, gram_P, count_P = (own_P[kept_N[pieces.sample]] for own_P in pieces)
    # The first of an n-gram has it most often, and the next of the same, if there is one, comes second.
    first_P = np.append(True, gram_P[1:] != gram_P[:-1])[: len(gram_P)]
    top_P = count_P[np.flatnonzero(first_P)[np.cumsum(first_P) - 1]]
    second_P = np.where(np.append(first_P[1:], True), 0, np.append(count_P[1:], 0))[: len(gram_P)]
    of_others_P = np.where(first_P, second_P, top_P)
    matched_N = np.bincount(sample_P, weights=np.minimum(count_P, of_others_P), minlength=len(kept_N))
    total_N = np.bincount(sample_P, weights=count_P, minlength=len(kept_N))
    found_N: NDArray[np.float64] = np.log(np.where(matched_N > 0, matched_N, NO_MATCH) / total_N.clip(min=1))
    return found_N


def _closest_other(lengths_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N]: the length among the other samples that is closest to each one's own; the shorter of two."""
    counts = Counter(lengths_N.tolist())
    closest = {
        own: min((other for other in counts if other != own or counts[own] > 1), key=lambda o: (abs(o - own), o))
        for own in counts
    }
    return np.array([closest[own] for own in lengths_N.tolist()])
