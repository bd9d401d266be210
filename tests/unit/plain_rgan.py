"""The reference of the recurrent GAN: `plain.py` with torch's own GRU for networks.

A logit at every step, whose losses are averaged (Esteban, Hyland and Raetsch 2017). Of the models' code only initial
weights and draws are used.
"""

import torch
from plain import Plain, Step
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class PlainRecurrent(Plain):
    """One training of an RGAN."""

    def _fakes(self, step: Step) -> Tensor:
        states = self._states("generator", self._labeled(step.noise["latent"], step.noise.get("label")))
        rows = self._last("generator", states)
        return rows if self.data.levels is None else rows.tanh()

    def _logits(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        """The logits [rows, steps]; a mask of dropout hides a unit from the next step and from the logit alike."""
        told = self._labeled(x, labels)
        if uniform is None:
            return self._last("discriminator", self._states("discriminator", told))[:, :, 0]
        mask = self._dropped(torch.ones_like(uniform), uniform, step)
        weights, state, logits = self._all(), torch.zeros_like(uniform), []
        for now in told.unbind(1):
            # Cho et al. 2014, eq. 5 to 8, as in the documentation of nn.GRU.
            front = "discriminator.gru"
            of_x = F.linear(now, weights[f"{front}.weight_ih"], weights[f"{front}.bias_ih"]).split(mask.shape[1], 1)
            of_h = F.linear(mask * state, weights[f"{front}.weight_hh"], weights[f"{front}.bias_hh"])
            hidden = of_h.split(mask.shape[1], 1)
            reset, update = torch.sigmoid(of_x[0] + hidden[0]), torch.sigmoid(of_x[1] + hidden[1])
            state = (1.0 - update) * torch.tanh(of_x[2] + reset * hidden[2]) + update * state
            logits.append(self._last("discriminator", mask * state))
        return torch.cat(logits, 1)

    def _states(self, player: str, x: Tensor) -> Tensor:
        """torch's own GRU."""
        weights = [self._all()[f"{player}.gru.{name}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        start = x.new_zeros(1, len(x), weights[1].shape[1])
        states, _ = torch.gru(x, start, weights, True, 1, 0.0, True, False, True)
        return states

    def _last(self, player: str, states: Tensor) -> Tensor:
        return F.linear(states, self._all()[f"{player}.last.weight"], self._all()[f"{player}.last.bias"])

    def _labeled(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The class of each series at each of its steps."""
        if labels is None:
            return x
        one_hot = F.one_hot(labels, self.data.classes).to(x.dtype)
        return torch.cat([x, one_hot[:, None].repeat(1, x.shape[1], 1)], 2)
