"""Attention: each place of a row sees the others.

Vaswani et al. 2017, arXiv 1706.03762, section 3.2; for images Zhang et al. 2019 (SAGAN), arXiv 1805.08318. Scores,
softmax and mean are written out: torch's `scaled_dot_product_attention` has no second derivative on a CPU, and R1 needs
one.
There are no biases. That of the keys adds the same to every score of a query, which the softmax takes out again, so its
gradient would be nothing but rounding, of which Adam makes steps.
Floor: torch. Axes: B rows, T places that ask, S places that are seen, E numbers at a place, H heads, D numbers of a
head, C channels, Y and X places in an image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ._layers import linear, normed


class MultiheadAttention(nn.Module):
    """Attention of a row's places to one another, with the weights and the initial values of `nn.MultiheadAttention`.

    That is the one with `bias=False` and `batch_first=True`, whose `state_dict` can be loaded.
    Raises `ValueError` where the heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, *, generator: torch.Generator) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(
                f"heads must divide the width {width}, so that all are of one size, and they are {heads}: correct one "
                "of them in the space"
            )
        self.heads = heads
        # Xavier-uniform over the three as one, as torch has it: Glorot and Bengio 2010, eq. (16).
        bound = (6.0 / (width + 3 * width)) ** 0.5
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width).uniform_(-bound, bound, generator=generator))
        self.out_proj = linear(width, width, bias=False, generator=generator)

    def forward(self, x_BTE: Tensor, *, causal: bool = False) -> Tensor:
        """[B, T, E]; under `causal` a place sees itself and those before it."""
        return self.attend(*self.project(x_BTE), causal=causal)

    def project(self, x_BTE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values [B, H, T, D]. Those of earlier places may be kept for later ones."""
        parts = nn.functional.linear(x_BTE, self.in_proj_weight).chunk(3, -1)
        heads = (*x_BTE.shape[:2], self.heads, x_BTE.shape[2] // self.heads)
        query, key, value = (part.reshape(heads).transpose(1, 2) for part in parts)
        return query, key, value

    def attend(self, query_BHTD: Tensor, key_BHSD: Tensor, value_BHSD: Tensor, *, causal: bool = False) -> Tensor:
        """[B, T, E]: what the queries find; under `causal` they are the last T of the S places."""
        hidden = _later(query_BHTD, key_BHSD) if causal else None
        found_BHTD = attention(query_BHTD * query_BHTD.shape[-1] ** -0.5, key_BHSD, value_BHSD, hidden=hidden)
        out: Tensor = self.out_proj(found_BHTD.transpose(1, 2).flatten(2))
        return out

    def weights(self, x_BTE: Tensor) -> Tensor:
        """[B, H, T, T]: the share of each place's attention that each place has, those behind it none."""
        query_BHTD, key_BHSD, _ = self.project(x_BTE)
        return shares(query_BHTD * query_BHTD.shape[-1] ** -0.5, key_BHSD, hidden=_later(query_BHTD, key_BHSD))


class SelfAttention(nn.Module):
    """The places of a map attend to one another, and what they find is added to them times `gamma`, which begins at 0.

    SAGAN, section 3: 1x1 convolutions f and g to an eighth of the channels, h to half of them, and one back to all.
    Here they are linear layers over the places, which is the same and costs less. The scores are not scaled, as in the
    paper.
    """

    def __init__(self, channels: int, *, generator: torch.Generator) -> None:
        super().__init__()
        few, half = max(1, channels // 8), max(1, channels // 2)
        self.f = linear(channels, few, bias=False, generator=generator)
        self.g = linear(channels, few, bias=False, generator=generator)
        self.h = linear(channels, half, bias=False, generator=generator)
        self.back = linear(half, channels, bias=False, generator=generator)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x_BCYX: Tensor, spectral_norm: float | Tensor = 0.0) -> Tensor:
        """A map of the same shape; the four layers take part in a spectral norm, and `gamma` does not."""
        x_BTC = x_BCYX.flatten(2).mT
        key, query, value = (normed(layer, x_BTC, spectral_norm) for layer in (self.f, self.g, self.h))
        found_BTC = normed(self.back, attention(query, key, value), spectral_norm)
        return x_BCYX + self.gamma * found_BTC.mT.reshape(x_BCYX.shape)

    def weights(self, x_BCYX: Tensor, spectral_norm: float | Tensor = 0.0) -> Tensor:
        """[B, T, T]: the share of each place's attention that each place of the map has, row by row."""
        x_BTC = x_BCYX.flatten(2).mT
        key, query = (normed(layer, x_BTC, spectral_norm) for layer in (self.f, self.g))
        return shares(query, key)


def attention(query: Tensor, key: Tensor, value: Tensor, *, hidden: Tensor | None = None) -> Tensor:
    """[..., T, D]: for each query the mean of the values under the softmax over the keys of their products with it.

    `hidden` [T, S] is True where a query does not see a key; it sees one at least.
    """
    return shares(query, key, hidden=hidden) @ value


def shares(query: Tensor, key: Tensor, *, hidden: Tensor | None = None) -> Tensor:
    """[..., T, S]: the softmax over the keys of their products with each query; see `attention`."""
    scores = query @ key.mT
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    return scores.softmax(-1)


def _later(query_BHTD: Tensor, key_BHSD: Tensor) -> Tensor | None:
    """[T, S]: which places come behind each of the last T of the S places; None for the last one, which sees all."""
    asked, seen = query_BHTD.shape[2], key_BHSD.shape[2]
    if asked == 1:
        return None
    places = torch.arange(seen, device=key_BHSD.device)
    return places > places[seen - asked :, None]
