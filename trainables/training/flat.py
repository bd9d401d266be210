"""All parameters of one player as one vector, of which the module's parameters are views.

One vector can be a row of a stack as well as stand alone, so a training changes its company without a change in its
module, optimizer or checkpoint. Alone it is faster too: one kernel a step in place of one for each parameter. What the
optimizer does not move, buffers and frozen parameters, is a second vector. Floor: torch. Axes: P entries of the vector,
Q of the second.
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
            vector[..., offset : offset + shape.numel()].view((*vector.shape[:-1], *shape))
            for shape, offset in zip(self.shapes, self.offsets, strict=True)
        ]


class Flat:
    """The parameters of a network as `values` [P], their gradients as `values.grad` [P], the rest as `state` [Q].

    Building it moves the network's tensors into the vectors; they keep their identity and their values. Parameters
    that want no gradient, and buffers of the type of the weights, are the rest; buffers of another type stay outside.

    names, kept_names: of the parameters and of the rest, in the network. Raises `ValueError` for a network of which
    nothing moves.
    """

    def __init__(self, network: nn.Module) -> None:
        moved = {name: value for name, value in network.named_parameters() if value.requires_grad}
        if not moved:
            raise ValueError(
                f"a player needs a parameter that is trained, and all of this {type(network).__name__} are frozen: "
                "freeze fewer layers"
            )
        self.names, self.parameters = list(moved), list(moved.values())
        dtype = self.parameters[0].dtype
        kept: dict[str, Tensor] = {name: value for name, value in network.named_parameters() if name not in moved}
        kept |= {name: value for name, value in network.named_buffers() if value.dtype == dtype}
        self.kept_names, self.kept = list(kept), list(kept.values())
        self.layout, self.state_layout = Layout.of(self.parameters), Layout.of(self.kept)
        like = self.parameters[0].detach()
        self.values, self.state = like.new_zeros(self.layout.size), like.new_zeros(self.state_layout.size)
        with torch.no_grad():
            for vector, layout, tensors in (
                (self.values, self.layout, self.parameters),
                (self.state, self.state_layout, self.kept),
            ):
                for view, tensor in zip(layout.views(vector), tensors, strict=True):
                    view.copy_(tensor)
        self._view(self.values, like.new_zeros(self.layout.size), self.state)

    def take(self, gradients: Sequence[Tensor]) -> None:
        """Make these, one for each parameter, the gradient of the vector."""
        with torch.no_grad():
            torch._foreach_copy_(self._gradients, list(gradients))

    def move(self, values: Tensor, grad: Tensor, state: Tensor) -> None:
        """From now on live in this memory, [P], [P] and [Q], with the same values."""
        values.copy_(self.values)
        state.copy_(self.state)
        self._view(values, grad, state)

    def follow(self, other: Flat) -> None:
        """Have the values of another network of this class and shape."""
        self.values.copy_(other.values)
        self.state.copy_(other.state)

    def leave(self) -> None:
        """From now on live in memory of one's own, with the same values."""
        self.move(torch.empty_like(self.values), torch.zeros_like(self.values), torch.empty_like(self.state))

    def _view(self, values: Tensor, grad: Tensor, state: Tensor) -> None:
        views = [*self.layout.views(values), *self.state_layout.views(state)]
        for tensor, view in zip([*self.parameters, *self.kept], views, strict=True):
            tensor.data = view
        # `.data`, because optimizers know the vector by its identity.
        self.values.data = values
        self.values.grad = grad
        self.state = state
        self._gradients = self.layout.views(grad)
