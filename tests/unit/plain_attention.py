"""The reference of the self-attention GAN: `plain.py` with SAGAN's block, of 1x1 convolutions, at the map of half size.

Zhang et al. 2019 (arXiv 1805.08318, eq. 1 to 3). Of the models' code only initial weights, singular vectors at the
start and draws are used.
"""

import math
from collections.abc import Callable

import torch
from plain import Plain, Step
from torch import Tensor
from torch.nn import functional as F  # noqa: N812


class PlainAttention(Plain):
    """One training of an attention GAN on images of 8 places a side."""

    def _fakes(self, step: Step) -> Tensor:
        x = self._labeled(step.noise["latent"], step.noise.get("label"))
        x = F.linear(x, self._weight("generator.first"), self._all()["generator.first.bias"])
        x = x.view(len(x), -1, 2, 2)
        x = self._doubled(x, 0)
        return self._doubled(self._attended("generator", x), 1).tanh()

    def _doubled(self, x: Tensor, block: int) -> Tensor:
        front = f"generator.blocks.{block}"
        bias = self._all()[f"{front}.bias"]
        return F.conv_transpose2d(F.leaky_relu(x, 0.2), self._weight(front), bias, stride=2, padding=1)

    def _logits(self, x: Tensor, labels: Tensor | None, uniform: Tensor | None, step: Step) -> Tensor:
        x = self._labeled(x, labels)
        for block in range(2):
            front = f"discriminator.blocks.{block}"
            x = F.conv2d(x, self._weight(front), self._all()[f"{front}.bias"], stride=2, padding=1)
            if block == 0:
                x = self._attended("discriminator", x)
            x = F.leaky_relu(x, 0.2)
            if uniform is not None:
                own, uniform = uniform[:, : x.shape[1]], uniform[:, x.shape[1] :]
                x = self._dropped(x, own, step)
        last = F.linear(x.flatten(1), self._weight("discriminator.last"), self._all()["discriminator.last.bias"])
        return last[:, 0]

    def _attended(self, player: str, x: Tensor) -> Tensor:
        def convolved(name: str, x: Tensor) -> Tensor:
            return F.conv2d(x, self._weight(f"{player}.attention.{name}")[:, :, None, None])

        return sagan(x, convolved, self._all()[f"{player}.attention.gamma"])

    def _weight(self, layer: str) -> Tensor:
        weight = self._all()[f"{layer}.weight"]
        if not self._has_norm(layer.partition(".")[0]):
            return weight
        u, v = self._vectors[f"{layer}.u"], self._vectors[f"{layer}.v"]
        return weight / torch.dot(u, torch.mv(_matrix(layer, weight), v))

    def _has_norm(self, player: str) -> bool:
        return bool(self.config.get("spectral_norm" if player == "discriminator" else "generator.spectral_norm"))

    def _turn(self, step: Step) -> None:
        self._turn_of("discriminator", step)

    def _generator(self, step: Step) -> tuple[Tensor, dict[str, Tensor]]:
        self._turn_of("generator", step)
        return super()._generator(step)

    def _turn_of(self, player: str, step: Step) -> None:
        """One power iteration for each layer of this player."""
        layers = [name.removesuffix(".u") for name in self._vectors if name.endswith(".u") and name.startswith(player)]
        with torch.no_grad():
            for layer in layers if self._has_norm(player) else ():
                matrix = _matrix(layer, self._all()[f"{layer}.weight"])
                left = torch.mv(matrix, self._vectors[f"{layer}.v"])
                self._vectors[f"{layer}.u"] = left / left.norm()
                right = torch.mv(matrix.t(), self._vectors[f"{layer}.u"])
                self._vectors[f"{layer}.v"] = right / right.norm()
                step.acts[f"{player} turned"] += 1


def sagan(x: Tensor, convolved: Callable[[str, Tensor], Tensor], gamma: Tensor) -> Tensor:
    """The block on a map: `convolved` applies one of its 1x1 convolutions, f, g, h or back, by name."""
    f, g, h = (convolved(name, x).flatten(2) for name in "fgh")
    shares = torch.einsum("bci,bcj->bij", f, g).softmax(1)
    found = torch.einsum("bci,bij->bcj", h, shares)
    side = math.isqrt(found.shape[2])
    return x + gamma * convolved("back", found.view(len(x), -1, side, side))


def _matrix(layer: str, weight: Tensor) -> Tensor:
    """A row for each output: transposed convolutions, which are the generator's, have those second."""
    return (weight.transpose(0, 1) if layer.startswith("generator.blocks") else weight).flatten(1)
