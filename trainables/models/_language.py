"""Networks for text: a causal transformer that says what comes next, and convolutions that judge a row.

The transformer: Vaswani et al. 2017, arXiv 1706.03762, with the norms before each part and one at the end, as in
Xiong et al. 2020, arXiv 2002.04745, and learned positions. The judge: Kim 2014, arXiv 1408.5882. Both take rows of
one-hot vectors, so that a gradient by a row's tokens exists. Floor: torch.
Axes: B rows, T tokens of a row, V tokens of the vocabulary, E numbers for a token, U units that can be
dropped, and as in `_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from ._adversarial import one_hot
from ._attention import MultiheadAttention
from ._layers import MLP, linear, masked_dropout, normed

# Of the discriminator's leaky ReLU, as in Radford et al. 2016, arXiv 1511.06434.
LEAK = 0.2
# Tokens that a filter sees. Kim 2014 has 3 to 5; RelGAN (Nie et al. 2019, ICLR) has these.
WIDTHS = (2, 3, 4, 5)
# A transformer's hidden numbers for each of its width: Vaswani et al. 2017, section 3.3.
HIDDEN = 4


class Seen:
    """Keys and values of the places of a row so far, with room for all of its places."""

    def __init__(self, places: int) -> None:
        self._places, self._count = places, 0
        self._kept: tuple[Tensor, ...] = ()

    def add(self, *new: Tensor) -> tuple[Tensor, ...]:
        """Keys and values [B, H, S, D] with those of the next place [B, H, 1, D], where no gradient is asked for."""
        if not self._kept:
            self._kept = tuple(own.new_empty(*own.shape[:2], self._places, own.shape[3]) for own in new)
        for kept, own in zip(self._kept, new, strict=True):
            kept[:, :, self._count] = own[:, :, 0]
        self._count += 1
        return tuple(kept[:, :, : self._count] for kept in self._kept)


class Block(nn.Module):
    """Attention to what came before, then a perceptron for each token, each added to what it was given."""

    def __init__(self, width: int, heads: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.before_attention, self.before_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = MultiheadAttention(width, heads, generator=generator)
        self.mlp = MLP((width, HIDDEN * width, width), generator=generator, leak=0.0)

    def forward(self, x_BTE: Tensor, seen: Seen | None = None, keep: Sequence[Tensor] = ()) -> Tensor:
        """The places of a row further on, or the one place that comes after those that were `seen`.

        keep: two factors [B, 1, E] on what is added.
        """
        query, key, value = self.attention.project(self.before_attention(x_BTE))
        if seen is not None:
            key, value = seen.add(key, value)
        found_BTE = self.attention.attend(query, key, value, causal=True)
        x_BTE = x_BTE + (found_BTE * keep[0] if keep else found_BTE)
        made_BTE: Tensor = self.mlp(self.before_mlp(x_BTE))
        return x_BTE + (made_BTE * keep[1] if keep else made_BTE)


class Transformer(nn.Module):
    """The logits of each token given those before it in its row; the first is given a learned start.

    units: U, how many can be dropped.
    Raises `ValueError` where the heads do not divide the width.
    """

    def __init__(
        self, vocabulary: int, tokens: int, *, width: int, depth: int, heads: int, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.vocabulary, self.units = vocabulary, (1 + 2 * depth) * width
        # As many numbers as a token's, with the variance of a linear layer's initial values.
        self.start = nn.Parameter(_drawn(1, width, generator=generator))
        self.positions = nn.Parameter(_drawn(tokens, width, generator=generator))
        self.embedding = linear(vocabulary, width, bias=False, generator=generator)
        self.blocks = nn.ModuleList(Block(width, heads, generator=generator) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = linear(width, vocabulary, generator=generator)

    def forward(self, x_BTV: Tensor, keep_BU: Tensor | None = None) -> Tensor:
        """[B, T, V]: the logits of every token of rows that are known.

        keep_BU: factors on what goes into the first block and on what each adds, the same at all tokens of a row:
        dropout after Gal and Ghahramani 2016, arXiv 1512.05287.
        """
        start_B1E = self.start.expand(len(x_BTV), 1, -1)
        x_BTE = torch.cat([start_B1E, self.embedding(x_BTV[:, :-1])], 1) + self.positions
        keep = () if keep_BU is None else torch.split(keep_BU[:, None], self.start.shape[1], 2)
        if keep:
            x_BTE = x_BTE * keep[0]
        for place, block in enumerate(self.blocks):
            x_BTE = block(x_BTE, keep=keep[2 * place + 1 : 2 * place + 3])
        logits: Tensor = self.head(self.norm(x_BTE))
        return logits

    def attention(self, x_BTV: Tensor) -> list[Tensor]:
        """For each layer [B, H, T, T]: the share of attention that each place of known rows gives to each."""
        start_B1E = self.start.expand(len(x_BTV), 1, -1)
        x_BTE, found = torch.cat([start_B1E, self.embedding(x_BTV[:, :-1])], 1) + self.positions, []
        for block in self.blocks:
            assert isinstance(block, Block)
            found.append(block.attention.weights(block.before_attention(x_BTE)))
            x_BTE = block(x_BTE)
        return found

    def write(self, noise: Tensor, choose: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """New rows, int64 [B, T]: `choose` takes each token from its logits [B, V] and its noise, of [B, T, ...].

        Keys and values of earlier tokens are kept, so the cost of T tokens is of the order of T squared. No gradient.
        """
        with torch.no_grad():
            now_B1E, tokens = self.start.expand(len(noise), 1, -1), []
            seen = [Seen(len(self.positions)) for _ in self.blocks]
            for position, of_token in zip(self.positions, noise.unbind(1), strict=True):
                x_B1E = now_B1E + position
                for block, of_block in zip(self.blocks, seen, strict=True):
                    x_B1E = block(x_B1E, of_block)
                logits_BV = self.head(self.norm(x_B1E))[:, 0].to(self.start.dtype)
                tokens.append(choose(logits_BV, of_token))
                now_B1E = self.embedding(one_hot(tokens[-1], self.vocabulary, dtype=self.start.dtype)[:, None])
            return torch.stack(tokens, 1)


class TextCNN(nn.Module):
    """A logit for each row [B, T, V] from convolutions of several widths: the largest answer of each filter counts.

    A convolution is a linear layer on windows, which stacks as a matrix product. Dropout takes a filter's answer. Under
    a spectral norm the layers have singular vectors; see `_layers.add_singular_vectors`.
    """

    def __init__(self, vocabulary: int, tokens: int, *, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.widths = tuple(size for size in WIDTHS if size <= tokens)
        self.units = len(self.widths) * width
        self.embedding = linear(vocabulary, width, generator=generator)
        self.filters = nn.ModuleList(linear(size * width, width, generator=generator) for size in self.widths)
        self.last = linear(self.units, 1, generator=generator)

    def forward(
        self, x_BTV: Tensor, uniform_BU: Tensor | None, rate: float | Tensor, spectral_norm: float | Tensor
    ) -> Tensor:
        """[B]; `uniform_BU` is None without dropout."""
        x_BTE = normed(self.embedding, x_BTV, spectral_norm)
        answers = []
        for size, filters in zip(self.widths, self.filters, strict=True):
            count = x_BTE.shape[1] - size + 1
            # Not by `unfold`, the backward of which cannot be stacked.
            windows = torch.cat([x_BTE[:, first : first + count] for first in range(size)], 2)
            answers.append(leaky_relu(normed(filters, windows, spectral_norm), LEAK).amax(1))
        answers_BU = torch.cat(answers, 1)
        if uniform_BU is not None:
            answers_BU = masked_dropout(answers_BU, uniform_BU, rate)
        return normed(self.last, answers_BU, spectral_norm)[:, 0]


def by_uniform(logits_BV: Tensor, uniform_B: Tensor, *, temperature: float = 1.0) -> Tensor:
    """[B]: a token under softmax(logits / temperature), the one at which the distribution function passes a uniform."""
    passed_BV = (logits_BV / temperature).softmax(-1).cumsum(-1) <= uniform_B[:, None]
    # Rounding may leave the last value of the function below 1.
    return passed_BV.sum(-1).clamp(max=logits_BV.shape[-1] - 1)


def by_gumbel(logits_BV: Tensor, gumbel_BV: Tensor) -> Tensor:
    """[B]: a token under softmax(logits), the largest of logits with Gumbel noise (Gumbel 1954)."""
    return (logits_BV + gumbel_BV).argmax(-1)


def _drawn(rows: int, width: int, *, generator: torch.Generator) -> Tensor:
    return torch.empty(rows, width).uniform_(-(width**-0.5), width**-0.5, generator=generator)
