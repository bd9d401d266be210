"""How well samples of text are predicted by an n-gram model that was trained on the training rows: bits a token.

The language model score of Cifka et al. 2018, arXiv 1804.07972: the quality beside which `reverse_lm` and `self_bleu`
show diversity (Caccia et al. 2020, arXiv 1811.02549). Samples that repeat what is most common, or copies, have less
than real rows, so it is no objective by itself. The n-gram model is that of `_ngrams`, order 5.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..data._data import Data, Split
from ._metric import Direction, Measurement
from ._ngrams import of_training
from ._text import TextMetric, per_token


class Metric(TextMetric):
    """Bits a token of 1000 samples, smaller is better down to the value of real rows, its floor."""

    name: ClassVar[str] = "forward_lm"
    direction: ClassVar[Direction] = "minimize"

    def count(self, data: Data) -> int:
        return 1000

    def of_samples(self, samples_NT: Tensor, rows: Split, data: Data) -> Measurement:
        return per_token(of_training(data).bits(samples_NT).sum(1), samples_NT, data)
