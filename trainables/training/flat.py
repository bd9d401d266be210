"""All parameters of one player as one vector, of which the module's parameters are views.

One vector can be a row of a stack as well as stand alone, so a training changes its company without a change in its
module, optimizer or checkpoint. Alone it is faster too: one kernel a step in place of one for each parameter. Floor:
torch. Axes: P entries of the vector.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

# Entries. Parameters begin on 64 bytes, as memory that torch allocates does, so that no kernel takes its slow path.
ALIGNMENT = 16


@dataclass(frozen=True)
class Layout:
    """Where each parameter lies in the vector; what lies between two of them is zero and stays so."""

    shapes: tuple[torch.Size, ...]
    offsets: tuple[int, ...]
    size: int

    @classmethod
    def of(cls, parameters: Sequence[Tensor]) -> Layout:
        """The layout of these parameters, in their order."""
        shapes, offsets, size = [], [], 0
        for parameter in parameters:
            shapes.append(parameter.shape)
            offsets.append(size)
            size += math.ceil(parameter.numel() / ALIGNMENT) * ALIGNMENT
        return cls(shapes=tuple(shapes), offsets=tuple(offsets), size=size)

    def views(self, vector: Tensor) -> list[Tensor]:
        """[..., P] -> one view [..., *shape] for each parameter."""
        return [
            vector[..., offset : offset + shape.numel()].view(*vector.shape[:-1], *shape)
            for shape, offset in zip(self.shapes, self.offsets, strict=True)
        ]


class Flat:
    """The parameters of a network as `values` [P], their gradients as `values.grad` [P].

    Building it moves the network's parameters into the vector; they keep their identity and their values.
    """

    def __init__(self, network: nn.Module) -> None:
        self.parameters = list(network.parameters())
        self.layout = Layout.of(self.parameters)
        like = self.parameters[0].detach()
        self.values = like.new_zeros(self.layout.size)
        self._view(self.values, like.new_zeros(self.layout.size), fill=True)

    def take(self, gradients: Sequence[Tensor]) -> None:
        """Make these, one for each parameter, the gradient of the vector."""
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, list(gradients))

    def move(self, values: Tensor, grad: Tensor) -> None:
        """From now on live in this memory, [P] each, with the same values."""
        values.copy_(self.values)
        self._view(values, grad, fill=False)

    def leave(self) -> None:
        """From now on live in memory of one's own, with the same values."""
        self.move(torch.empty_like(self.values), torch.zeros_like(self.values))

    def _view(self, values: Tensor, grad: Tensor, *, fill: bool) -> None:
        with torch.no_grad():
            for parameter, view in zip(self.parameters, self.layout.views(values), strict=True):
                if fill:
                    view.copy_(parameter)
                parameter.data = view
        # `.data`, because optimizers know the vector by its identity.
        self.values.data = values
        self.values.grad = grad
        self._gradients = self.layout.views(grad)
