"""How much samples of text are alike: the BLEU-4 of each against all others as references, averaged.

Self-BLEU (Zhu et al. 2018, Texygen, arXiv 1802.01886) of BLEU (Papineni et al. 2002, DOI 10.3115/1073083.1073135), over
words between white space: of n-grams of characters nearly all are in some other sample. As Texygen has it, where no
n-gram of one length matches, 0.1 of one is counted (method 1 of Chen and Cherry 2014, DOI 10.3115/v1/W14-3346). A
sample of fewer than four words is compared by the lengths of n-grams that it has. The value grows with the number of
samples, and real rows are somewhat alike too: its floor.
Axes: N samples, O lengths of n-grams, P pairs of a sample and an n-gram in it, G n-grams.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import ClassVar

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
    """The mean over 400 samples, 0..1; smaller is more diverse. The error is that of a jackknife over the samples."""

    name: ClassVar[str] = "self_bleu"
    direction: ClassVar[Direction] = "minimize"

    def count(self, data: Data) -> int:
        return 400

    def of_samples(self, samples_NT: Tensor, rows: Split, data: Data) -> Measurement:
        texts = lines(samples_NT, data)
        without = [self_bleu([*texts[:begin], *texts[end:]]) for begin, end in cuts(len(texts))]
        return Measurement(value=self_bleu(texts), standard_error=jackknife_error(without), sample_size=len(texts))


def self_bleu(texts: Sequence[str]) -> float:
    """The mean BLEU of each text against the others, of which there is at least one."""
    words = [text.split() or [""] for text in texts]
    lengths_N = np.array([len(own) for own in words])
    logs_NO = np.stack([_log_precision(words, length) for length in range(1, LONGEST + 1)], 1)
    orders_N = lengths_N.clip(max=LONGEST)
    kept_NO = np.arange(LONGEST) < orders_N[:, None]
    log_precision_N = np.where(kept_NO, logs_NO, 0.0).sum(1) / orders_N
    brevity_N = np.minimum(0.0, 1.0 - _closest_other(lengths_N) / lengths_N)
    return float(np.exp(log_precision_N + brevity_N).mean())


def _log_precision(words: Sequence[Sequence[str]], length: int) -> NDArray[np.float64]:
    """[N]: the logarithm of the share of a sample's n-grams that another has as often; 0 for a sample without any."""
    number: dict[tuple[str, ...], int] = {}
    sample, gram, count = [], [], []
    for place, own in enumerate(words):
        pieces = Counter(zip(*(own[begin:] for begin in range(length)), strict=False))
        for piece, times in pieces.items():
            sample.append(place)
            gram.append(number.setdefault(piece, len(number)))
            count.append(times)
    sample_P, gram_P, count_P = (np.array(values, dtype=np.int64) for values in (sample, gram, count))
    # The most that one sample has of each n-gram, and the most that any other has.
    order_P = np.lexsort((-count_P, gram_P))
    first_G = np.searchsorted(gram_P[order_P], np.arange(len(number)))
    last_G = np.append(first_G[1:], len(order_P))
    top_G = order_P[first_G]
    second_G = np.where(last_G - first_G > 1, count_P[order_P[np.minimum(first_G + 1, last_G - 1)]], 0)
    of_others_P = np.where(top_G[gram_P] == np.arange(len(gram_P)), second_G[gram_P], count_P[top_G][gram_P])
    matched_N = np.bincount(sample_P, weights=np.minimum(count_P, of_others_P), minlength=len(words))
    total_N = np.bincount(sample_P, weights=count_P, minlength=len(words))
    found_N: NDArray[np.float64] = np.log(np.where(matched_N > 0, matched_N, NO_MATCH) / total_N.clip(min=1))
    return np.where(total_N > 0, found_N, 0.0)


def _closest_other(lengths_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """[N]: the length among the other samples that is closest to each one's own; the shorter of two."""
    counts = Counter(lengths_N.tolist())
    closest = {
        own: min((other for other in counts if other != own or counts[own] > 1), key=lambda o: (abs(o - own), o))
        for own in counts
    }
    return np.array([closest[own] for own in lengths_N.tolist()])
