"""The networks for text: against torch's own layers, and by the distributions that tokens are taken from."""

import pytest
import torch
from torch import Tensor, nn

from trainables.models._adversarial import one_hot
from trainables.models._language import LEAK, WIDTHS, TextCNN, Transformer, by_gumbel, by_uniform
from trainables.models._layers import masked_dropout

pytestmark = pytest.mark.usefixtures("float64")

ROWS, TOKENS, VOCABULARY, WIDTH, DEPTH, HEADS = 3, 7, 5, 8, 2, 2


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def transformer() -> Transformer:
    found = Transformer(VOCABULARY, TOKENS, width=WIDTH, depth=DEPTH, heads=HEADS, generator=seeded())
    with torch.no_grad():
        for parameter in found.parameters():
            # Norms would else begin as the identity, which a norm in the wrong place might be as well.
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=seeded(1)))
    return found


def rows(*, tokens: int = TOKENS) -> Tensor:
    return one_hot(torch.randint(VOCABULARY, (ROWS, tokens), generator=seeded(2)), VOCABULARY, dtype=torch.float64)


def stock(own: Transformer) -> nn.TransformerEncoder:
    """torch's encoder with the weights of ours; it has biases in the attention, which ours has not."""
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, norm_first=True, batch_first=True)
    found = nn.TransformerEncoder(layer, DEPTH, norm=nn.LayerNorm(WIDTH), enable_nested_tensor=False)
    for theirs, block in zip(found.layers, own.blocks, strict=True):
        ours = dict(block.named_parameters())
        theirs.load_state_dict(
            {
                "self_attn.in_proj_weight": ours["attention.in_proj_weight"],
                "self_attn.in_proj_bias": torch.zeros(3 * WIDTH),
                "self_attn.out_proj.weight": ours["attention.out_proj.weight"],
                "self_attn.out_proj.bias": torch.zeros(WIDTH),
                "norm1.weight": ours["before_attention.weight"],
                "norm1.bias": ours["before_attention.bias"],
                "norm2.weight": ours["before_mlp.weight"],
                "norm2.bias": ours["before_mlp.bias"],
                "linear1.weight": ours["mlp.layers.0.weight"],
                "linear1.bias": ours["mlp.layers.0.bias"],
                "linear2.weight": ours["mlp.layers.1.weight"],
                "linear2.bias": ours["mlp.layers.1.bias"],
            }
        )
    assert isinstance(found.norm, nn.LayerNorm)
    found.norm.load_state_dict(own.norm.state_dict())
    return found


class Factor(nn.Module):
    """In the place of a dropout: a row's units times these."""

    def __init__(self, factor_BE: Tensor) -> None:
        super().__init__()
        self.factor_BE = factor_BE

    def forward(self, x_BTE: Tensor) -> Tensor:
        return x_BTE * self.factor_BE[:, None]


def test_what_is_dropped_is_what_torchs_own_drops_at_all_tokens_of_a_row() -> None:
    own, x = transformer(), rows()
    keep = masked_dropout(torch.ones(ROWS, own.units), torch.rand(ROWS, own.units, generator=seeded(3)), 0.4)
    first, *of_blocks = keep.split(WIDTH, 1)
    theirs = stock(own)
    for place, layer in enumerate(theirs.layers):
        layer.dropout1, layer.dropout2 = (Factor(factor) for factor in of_blocks[2 * place : 2 * place + 2])
    before = torch.cat([own.start.expand(ROWS, 1, WIDTH), own.embedding(x)[:, :-1]], 1) + own.positions
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    torch.testing.assert_close(own(x, keep), own.head(theirs(Factor(first)(before), mask=mask)), rtol=1e-12, atol=1e-12)


def test_the_transformer_is_torchs_own_behind_a_start_and_with_a_head() -> None:
    own, x = transformer(), rows().requires_grad_()
    # The tokens as numbers, and not as one-hot vectors.
    embedded = own.embedding.weight.T[x.argmax(-1)]
    before = torch.cat([own.start.expand(ROWS, 1, WIDTH), embedded[:, :-1]], 1) + own.positions
    mask = nn.Transformer.generate_square_subsequent_mask(TOKENS)
    expected = nn.functional.linear(stock(own)(before, mask=mask), own.head.weight, own.head.bias)
    found = own(x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    (gradient,) = torch.autograd.grad(found[:, 3].sum(), x)
    assert bool((gradient[:, :3] != 0.0).any(-1).all())
    assert bool((gradient[:, 3:] == 0.0).all())


def test_a_row_that_is_written_has_the_logits_of_a_row_that_is_known() -> None:
    own, seen = transformer(), []

    def choose(logits_BV: Tensor, noise_B: Tensor) -> Tensor:
        seen.append(logits_BV)
        return by_uniform(logits_BV, noise_B)

    tokens = own.write(torch.rand(ROWS, TOKENS, generator=seeded(3)), choose)
    assert tokens.shape == (ROWS, TOKENS)
    assert len(tokens.unique(dim=0)) == ROWS
    known = own(one_hot(tokens, VOCABULARY, dtype=torch.float64))
    torch.testing.assert_close(torch.stack(seen, 1), known, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_a_token_is_as_frequent_as_it_is_probable(temperature: float) -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, -torch.inf, 0.0])
    uniforms = (torch.arange(10_000) + 0.5) / 10_000
    found = by_uniform(logits.expand(10_000, -1), uniforms, temperature=temperature)
    shares = torch.bincount(found, minlength=5) / 10_000
    torch.testing.assert_close(shares, (logits / temperature).softmax(0), rtol=0.0, atol=2e-4)


def test_a_uniform_beyond_what_rounding_leaves_of_one_gives_a_token() -> None:
    assert by_uniform(torch.zeros(1, 3), torch.ones(1)).tolist() == [2]


def test_the_largest_logit_with_gumbel_noise_is_as_frequent_as_it_is_probable() -> None:
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0])
    gumbel = -torch.empty(40_000, 4).exponential_(generator=seeded()).log()
    shares = torch.bincount(by_gumbel(logits.expand(40_000, -1), gumbel), minlength=4) / 40_000
    # Four standard errors of a share.
    torch.testing.assert_close(shares, logits.softmax(0), rtol=0.0, atol=4 * 0.5 / 200)


@pytest.mark.parametrize("tokens", [TOKENS, 3])
def test_the_judge_is_one_dimensional_convolutions_and_the_largest_answer_of_each_filter(tokens: int) -> None:
    own, x = TextCNN(VOCABULARY, tokens, width=WIDTH, generator=seeded()), rows(tokens=tokens)
    uniform, answers = torch.rand(ROWS, own.units, generator=seeded(3)), []
    embedded = own.embedding(x).transpose(1, 2)
    for size, layer in zip(WIDTHS, own.filters, strict=False):
        weight = layer.weight.view(WIDTH, size, WIDTH).transpose(1, 2)
        convolved = nn.functional.conv1d(embedded, weight, layer.bias)
        assert convolved.shape[2] == tokens - size + 1
        answers.append(nn.functional.leaky_relu(convolved, LEAK).max(2).values)
    for rate in (0.0, 0.4):
        kept = torch.cat(answers, 1) * (uniform >= rate) / (1.0 - rate)
        expected = nn.functional.linear(kept, own.last.weight, own.last.bias)[:, 0]
        found = own(x, uniform if rate else None, rate, 0.0)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert own.units == WIDTH * min(len(WIDTHS), tokens - 1)
