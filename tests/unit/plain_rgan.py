"""The reference of the recurrent GAN: `plain.py` with torch's own GRU for networks, and losses over steps.

A logit at every step, whose losses are averaged (Esteban, Hyland and Raetsch 2017). Of the models' code only initial
weights and draws are used.
"""

import torch
from plain import Plain, Step
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class PlainRecurrent(Plain):
    """One training of an RGAN."""

    def _loss(self, player: str, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        fakes = self._made(step)
        if player == "generator":
            logits = self._judged(fakes, step.noise.get("label"), step.noise.get("dropout_fake"), step)
            return self._of_generator(logits), {"loss": self._of_generator(logits), "spread": self._spread(fakes)}
        x, fakes = self._scaled(step.x).requires_grad_(), fakes.detach()
        real = self._judged(x, self._labels(step), step.noise.get("dropout_real"), step)
        fake = self._judged(fakes, step.noise.get("label"), step.noise.get("dropout_fake"), step)
        penalty = self._penalty(x, real, step)
        loss = self._of_discriminator(real, fake, step) + penalty
        logs = {"loss": loss, "real": real.mean(), "fake": fake.mean(), "penalty": penalty}
        return loss, {**logs, "sign": self._sign(real.detach(), fake.detach())}

    def _of_discriminator(self, real: Tensor, fake: Tensor, step: Step) -> Tensor:
        match self.config.get("loss", "non-saturating"):
            case "hinge":
                step.acts["hinged"] += 1
                return torch.relu(1.0 - real).mean() + torch.relu(1.0 + fake).mean()
            case "non-saturating":
                one, zero = torch.ones_like(real), torch.zeros_like(fake)
                return F.binary_cross_entropy_with_logits(real, one) + F.binary_cross_entropy_with_logits(fake, zero)
            case other:
                raise ValueError(other)

    def _of_generator(self, logits: Tensor) -> Tensor:
        match self.config.get("loss", "non-saturating"):
            case "hinge":
                return -logits.mean()
            case _:
                return F.binary_cross_entropy_with_logits(logits, torch.ones_like(logits))

    def _penalty(self, x: Tensor, real: Tensor, step: Step) -> Tensor:
        """R1 of each series' mean logit (Mescheder et al. 2018, eq. 9)."""
        if not self.number("r1"):
            return torch.zeros(())
        (slope,) = torch.autograd.grad(real.mean(1).sum(), x, create_graph=True)
        penalty = self.number("r1") / 2.0 * slope.pow(2).sum((1, 2)).mean()
        step.acts["penalized"] += bool(penalty > 0.0)
        return penalty

    def _made(self, step: Step) -> Tensor:
        """New series in the discriminator's scale."""
        states = self._states("generator", self._told(step.noise["latent"], step.noise.get("label")))
        rows = self._last("generator", states)
        return rows if self.data.levels is None else rows.tanh()

    def _judged(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        """The logits [rows, steps]; a mask of dropout hides a unit from the next step and from the logit alike."""
        told = self._told(x, labels)
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

    def _told(self, x: Tensor, labels: Tensor | None) -> Tensor:
        """The class of each series at each of its steps."""
        if labels is None:
            return x
        one_hot = F.one_hot(labels, int(self.data.train.labels.max()) + 1)
        return torch.cat([x, one_hot[:, None].repeat(1, x.shape[1], 1).to(x.dtype)], 2)

    def _labels(self, step: Step) -> Tensor | None:
        """The classes of the rows of this step, which are found by what is in them."""
        if not self.config.get("conditional"):
            return None
        same = (step.x[:, None] == self.data.train.x[None]).flatten(2).all(2)
        assert bool((same.sum(1) == 1).all())
        return self.data.train.labels[same.long().argmax(1)]

    def _spread(self, fakes: Tensor) -> Tensor:
        of_data = self._scaled(self.data.train.x).var(0, unbiased=False).mean().sqrt()
        return fakes.var(0, unbiased=False).mean().sqrt() / of_data
