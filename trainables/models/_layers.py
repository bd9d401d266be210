"""Layers that are safe to stack: written for one member, with all randomness handed in.

Floor: torch. Nothing here draws from a global generator, and no rate is a module attribute, so that `torch.func.vmap`
over stacked parameters, rates and noise gives each member what it would get alone.
Axes: B rows, H hidden units, C channels, Y and X places in an image.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

LEAK = 0.01
# What can have a spectral norm.
NORMED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.ConvTranspose2d)


def is_on(knob: float | Tensor) -> bool:
    """Whether a technique with this knob may act: False for the float 0.0, True for any other float and any tensor."""
    return isinstance(knob, Tensor) or knob != 0.0


def masked_dropout(x_BH: Tensor, uniform_BH: Tensor, rate: float | Tensor) -> Tensor:
    """Zero where the uniform draw falls below `rate`, scaled so that the mean stays.

    Srivastava et al. 2014, JMLR 15; `dropout` of torch cannot take a rate that is a tensor, and draws by itself.
    """
    return x_BH * (uniform_BH >= rate).to(x_BH.dtype) / (1 - rate)


def over_rows(weight_B: Tensor, values: Tensor) -> Tensor:
    """The weighted sum over rows of values [B, ...], in the type of the weights.

    Not a matrix product, which autocast would take in half precision: a loss of three digits, or a variance of none.
    """
    weights = weight_B.view(-1, *[1] * (values.dim() - 1))
    return (weights * values).sum(0)


def linear(inputs: int, outputs: int, *, bias: bool = True, generator: torch.Generator) -> nn.Linear:
    """A linear layer with torch's own initial distribution, drawn from `generator` in place of the global one.

    U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weight and bias, as `nn.Linear.reset_parameters` has it.
    """
    # On "meta" first: torch would otherwise draw initial values from the global generator, only to see them replaced.
    layer = nn.Linear(inputs, outputs, bias, device="meta").to_empty(device="cpu")
    _draw(layer.weight, layer.bias, fan_in=inputs, generator=generator)
    return layer


def convolution(
    inputs: int, outputs: int, *, kernel: int, stride: int = 1, padding: int = 0, generator: torch.Generator
) -> nn.Conv2d:
    """A convolution with torch's own initial distribution, as in `nn.Conv2d.reset_parameters`."""
    layer = nn.Conv2d(inputs, outputs, kernel, stride, padding, device="meta").to_empty(device="cpu")
    _draw(layer.weight, layer.bias, fan_in=kernel**2 * inputs, generator=generator)
    return layer


def halving(inputs: int, outputs: int, *, generator: torch.Generator) -> nn.Conv2d:
    """A convolution of kernel 4 that halves an image."""
    return convolution(inputs, outputs, kernel=4, stride=2, padding=1, generator=generator)


def doubling(inputs: int, outputs: int, *, generator: torch.Generator) -> nn.ConvTranspose2d:
    """A transposed convolution of kernel 4 that doubles an image, drawn as in `nn.ConvTranspose2d.reset_parameters`."""
    layer = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, device="meta").to_empty(device="cpu")
    # torch counts the fan along the second axis of the weight, which here is that of the outputs.
    _draw(layer.weight, layer.bias, fan_in=16 * outputs, generator=generator)
    return layer


def quartering(inputs: int, outputs: int, *, generator: torch.Generator) -> nn.Conv1d:
    """A convolution of kernel 25 that leaves a quarter of the samples: Donahue et al. 2019, arXiv 1802.04208."""
    layer = nn.Conv1d(inputs, outputs, 25, stride=4, padding=11, device="meta").to_empty(device="cpu")
    _draw(layer.weight, layer.bias, fan_in=25 * inputs, generator=generator)
    return layer


def quadrupling(inputs: int, outputs: int, *, generator: torch.Generator) -> nn.ConvTranspose1d:
    """A transposed convolution of kernel 25 that makes four samples of one, drawn as torch's own."""
    layer = nn.ConvTranspose1d(inputs, outputs, 25, stride=4, padding=11, output_padding=1, device="meta")
    layer = layer.to_empty(device="cpu")
    _draw(layer.weight, layer.bias, fan_in=25 * outputs, generator=generator)
    return layer


def add_singular_vectors(network: nn.Module, *, generator: torch.Generator) -> None:
    """Give each linear layer and convolution of a network what `normed` needs: the buffers `u` [O] and `v` [I].

    They are the left and right singular vectors of the largest singular value of its weight [O, I], a convolution's
    with all axes but that of the outputs as one: Miyato et al. 2018, arXiv 1802.05957. `u` is drawn, and both then
    found by as many power iterations as torch's own spectral norm makes at first.
    """
    for layer in network.modules():
        if isinstance(layer, NORMED):
            weight_OI = _matrix(layer).detach()
            u_O = torch.randn(len(weight_OI), generator=generator)
            layer.register_buffer("u", nn.functional.normalize(u_O, dim=0))
            layer.register_buffer("v", nn.functional.normalize(weight_OI.mT @ u_O, dim=0))
    for _ in range(15):
        turn_singular_vectors(network, 1.0)


def turn_singular_vectors(network: nn.Module, spectral_norm: float | Tensor) -> None:
    """One power iteration for each layer that has singular vectors, in place; none where `spectral_norm` is 0."""
    if not is_on(spectral_norm):
        return
    for layer in network.modules():
        if not (isinstance(layer, NORMED) and "u" in layer._buffers):
            continue
        # In full precision also where autocast is on.
        with torch.no_grad(), torch.autocast(layer.weight.device.type, enabled=False):
            weight_OI, v_I = _matrix(layer), layer.get_buffer("v")
            turned_O = nn.functional.normalize(weight_OI @ v_I, dim=0)
            turned_I = nn.functional.normalize(weight_OI.mT @ turned_O, dim=0)
            for name, turned in (("u", turned_O), ("v", turned_I)):
                kept = layer.get_buffer(name)
                if isinstance(spectral_norm, Tensor):
                    turned = torch.where(spectral_norm > 0.0, turned, kept)
                kept.copy_(turned)


def normed(layer: nn.Module, x: Tensor, spectral_norm: float | Tensor) -> Tensor:
    """The layer's output, its weight divided by its largest singular value where `spectral_norm` is 1.

    The value is u W v, under the singular vectors as they stand. It is one number, so the input is divided instead.
    """
    if is_on(spectral_norm):
        assert isinstance(layer, NORMED)
        # A sum and not a matrix product, which autocast would take in half precision.
        largest = (torch.outer(layer.get_buffer("u"), layer.get_buffer("v")) * _matrix(layer)).sum()
        if isinstance(spectral_norm, Tensor):
            largest = torch.where(spectral_norm > 0.0, largest, 1.0)
        x = x / largest
    out: Tensor = layer(x)
    return out


def _matrix(layer: nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose2d) -> Tensor:
    """The weight [O, I], all axes but that of the outputs as one; a transposed convolution has the outputs second."""
    weight = layer.weight
    return (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(1)


def _draw(weight: Tensor, bias: Tensor | None, *, fan_in: int, generator: torch.Generator) -> None:
    bound = fan_in**-0.5
    with torch.no_grad():
        for tensor in (weight, bias):
            if tensor is not None:
                tensor.uniform_(-bound, bound, generator=generator)


class MLP(nn.Module):
    """Linear layers with leaky ReLU between them, and dropout after each hidden one where uniforms are handed in.

    Under a spectral norm the layers have singular vectors; see `add_singular_vectors`.
    """

    def __init__(self, sizes: Sequence[int], *, generator: torch.Generator, leak: float = LEAK) -> None:
        super().__init__()
        self.leak = leak
        self.layers = nn.ModuleList(
            linear(inputs, outputs, generator=generator) for inputs, outputs in itertools.pairwise(sizes)
        )

    def forward(
        self,
        x: Tensor,
        uniforms: Sequence[Tensor] = (),
        rate: float | Tensor = 0.0,
        spectral_norm: float | Tensor = 0.0,
    ) -> Tensor:
        """The last layer's output; `uniforms` is empty (no dropout) or has one [B, H] tensor for each hidden layer."""
        *hidden, last = self.layers
        for place, layer in enumerate(hidden):
            x = nn.functional.leaky_relu(normed(layer, x, spectral_norm), self.leak)
            if uniforms:
                x = masked_dropout(x, uniforms[place], rate)
        return normed(last, x, spectral_norm)
