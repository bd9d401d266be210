"""A recurrent layer that is safe to stack: written for one member, of plain matrix products.

Gated recurrent unit: Cho et al. 2014, arXiv 1406.1078, in torch's variant, where the reset gate acts on the state after
its matrix product. `nn.GRU` has no rule under `torch.func.vmap`, and on a GPU no second derivative, which R1 needs.
Floor: torch. Axes: B rows, T steps, I numbers of a step, H hidden units.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class GRU(nn.Module):
    """One layer; parameters, their names and the order of the gates (reset, update, new) are those of `nn.GRUCell`."""

    def __init__(self, inputs: int, hidden: int, *, generator: torch.Generator) -> None:
        super().__init__()
        self.hidden = hidden

        def drawn(*shape: int) -> nn.Parameter:
            # U(-1/sqrt(H), 1/sqrt(H)) for all, as in `nn.GRU.reset_parameters`.
            return nn.Parameter(torch.empty(shape).uniform_(-(hidden**-0.5), hidden**-0.5, generator=generator))

        self.weight_ih, self.weight_hh = drawn(3 * hidden, inputs), drawn(3 * hidden, hidden)
        self.bias_ih, self.bias_hh = drawn(3 * hidden), drawn(3 * hidden)

    def forward(self, x_BTI: Tensor, h_BH: Tensor | None = None, keep_BH: Tensor | None = None) -> Tensor:
        """The states after each step [B, T, H], from `h_BH` or from zeros; in the weights' type under autocast too.

        keep_BH: factors on the state wherever a step reads it, the same at all steps: dropout after Gal and Ghahramani
        2016, arXiv 1512.05287. The states that come out are without them.
        """
        state_BH = self.weight_hh.new_zeros(x_BTI.shape[0], self.hidden) if h_BH is None else h_BH
        states = []
        # The inputs' share of all steps is one product; unbound, because the backward of an index into it would make a
        # tensor of its whole size at each step.
        for of_input in linear(x_BTI, self.weight_ih, self.bias_ih).unbind(1):
            input_reset, input_update, input_new = of_input.chunk(3, -1)
            read_BH = state_BH if keep_BH is None else state_BH * keep_BH
            state_reset, state_update, state_new = linear(read_BH, self.weight_hh, self.bias_hh).chunk(3, -1)
            update_BH = (input_update + state_update).sigmoid()
            new_BH = (input_new + (input_reset + state_reset).sigmoid() * state_new).tanh()
            state_BH = new_BH + update_BH * (state_BH - new_BH)
            states.append(state_BH)
        return torch.stack(states, 1)
