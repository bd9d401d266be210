"""How well held-out text is predicted by an n-gram model that was trained on samples: bits a token of real rows.

The reverse language model score (Cifka et al. 2018, arXiv 1804.07972; as reverse perplexity in Zhao et al. 2018,
arXiv 1706.04223), which sees both samples that are no text and samples that are all alike. The n-gram model is that of
`_ngrams`, order 5. With characters for tokens, these are bits a character.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..data._data import Data, Split
from ._metric import Direction, Measurement
from ._ngrams import NGrams
from ._text import TextMetric, per_token

# Fewer tokens teach an n-gram model little: values compare only at equal numbers.
TOKENS = 200_000


class Metric(TextMetric):
    """Bits a token of the rows, smaller is better; as many samples as have 200,000 tokens, fills among them.

    Test rows in the place of samples are far fewer, which makes the value larger: so it has no floor, and the copy of
    the training rows is its yardstick. The standard error is that of the rows.
    """

    name: ClassVar[str] = "reverse_lm"
    direction: ClassVar[Direction] = "minimize"
    has_floor: ClassVar[bool] = False

    def count(self, data: Data) -> int:
        return -(-TOKENS // data.shape[0])

    def of_samples(self, samples_NT: Tensor, rows: Split, data: Data) -> Measurement:
        assert data.levels is not None  # text has a vocabulary
        return per_token(NGrams(samples_NT, levels=data.levels).bits(rows.x).sum(1), rows.x, data)
