"""What the attention of a generator sees while it makes samples: maps of images, and of text what each place looks at.

Floor: torch, models and data. Axes: B samples, T places that ask, S places that are seen, H heads, E numbers at a
place, C channels, Y and X places in an image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data._data import Data
from ..models._attention import SelfAttention
from ..models._family import Family, as_module
from ..models._language import Transformer
from .random import stream
from .sheet import write_sheet

SAMPLES = 8
# The places of an image that are asked, as shares of its height and width.
ASKED = ((0.5, 0.5), (0.25, 0.25), (0.25, 0.75), (0.75, 0.25), (0.75, 0.75))
# Rows of text that are shown, and how many places each of theirs looks at most.
TEXTS, MOST = 3, 3


def attention_maps(path: Path, model: Family, data: Data) -> list[Path]:
    """Write what the generator's attention sees, and return the files; none for a model without it.

    Images: a row for each of 8 samples: the sample, what its middle sees, and what the middles of its four quarters
    see, upper ones first; white is what is seen most. Text: a `.txt` with the three places that each character looks at
    most, mean over heads and layers, and as `.png` the maps of the first text, a row of heads for each layer.
    """
    generator = getattr(as_module(model), "generator", None)
    if not isinstance(generator, nn.Module):
        return []
    if isinstance(generator, Transformer):
        return _of_text(path, model, generator, data)
    layers = [layer for layer in generator.modules() if isinstance(layer, SelfAttention)]
    if data.modality != "images" or not layers:
        return []
    return _of_images(path, model, layers[-1], data)


def _of_images(path: Path, model: Family, layer: SelfAttention, data: Data) -> list[Path]:
    with _seen(layer) as calls:
        samples = model.sample(model.draw_samples(stream(0, "attention"), rows=SAMPLES))
    (x_BCYX, *rest) = calls[-1]
    _, _, rows, columns = x_BCYX.shape
    weight_BTS = layer.weights(x_BCYX, *rest)
    low, high = data.value_range
    pictures = [samples.to(torch.float32)]
    for down, right in ASKED:
        place = min(rows - 1, int(down * rows)) * columns + min(columns - 1, int(right * columns))
        map_B1YX = weight_BTS[:, place].view(-1, 1, rows, columns)
        map_B1YX = map_B1YX / map_B1YX.amax((2, 3), keepdim=True)
        larger = nn.functional.interpolate(map_B1YX, size=samples.shape[2:], mode="nearest")
        pictures.append((low + larger * (high - low)).expand_as(samples))
    # Pictures of one sample side by side.
    sheet = torch.stack(pictures, 1).flatten(0, 1)
    return write_sheet(path, sheet, data=data, columns=len(pictures))


def _of_text(path: Path, model: Family, generator: Transformer, data: Data) -> list[Path]:
    samples = model.sample(model.draw_samples(stream(0, "attention"), rows=TEXTS))
    tokens_BTV = nn.functional.one_hot(samples.long(), generator.vocabulary).to(generator.start.dtype)
    of_layers = generator.attention(tokens_BTV)
    mean_BTS = torch.stack([weight_BHTS.mean(1) for weight_BHTS in of_layers]).mean(0)
    lines = ["What each place looks at most when it is written: itself (its input is the character before it) and "
             "those before it; shares are means over heads and layers.", ""]  # fmt: skip
    for row, weight_TS in zip(samples, mean_BTS, strict=True):
        text = data.text(row)
        lines += [repr(text), *_looks(text, weight_TS), ""]
    words = path.with_suffix(".txt")
    words.write_text("\n".join(lines), encoding="utf-8")
    maps = torch.cat([weight_BHTS[0] for weight_BHTS in of_layers])
    return [words, *_write_maps(path, maps, columns=of_layers[0].shape[1])]


def _looks(text: str, weight_TS: Tensor) -> Iterator[str]:
    for place, weight_S in enumerate(weight_TS):
        share, seen = weight_S[: place + 1].topk(min(MOST, place + 1))
        told = ", ".join(
            f"{_input(text, int(other))} at {int(other)} {float(own):.0%}"
            for own, other in zip(share, seen, strict=True)
        )
        yield f"{place:4} {text[place]!r}: {told}"


def _input(text: str, place: int) -> str:
    """What the transformer is given at a place: the character before it, and a start at the first."""
    return "start" if place == 0 else repr(text[place - 1])


def _write_maps(path: Path, map_NTS: Tensor, *, columns: int) -> list[Path]:
    """Write maps as grey pictures, each scaled to its largest share."""
    from PIL import Image

    rows, size = math.ceil(len(map_NTS) / columns), map_NTS.shape[-1] + 2
    canvas = torch.full((rows * size, columns * size), 64, dtype=torch.uint8)
    for number, map_TS in enumerate(map_NTS):
        top, left = number // columns * size + 1, number % columns * size + 1
        grey = (255.0 * map_TS / map_TS.max()).round().to(torch.uint8)
        canvas[top : top + size - 2, left : left + size - 2] = grey
    Image.fromarray(canvas.repeat_interleave(2, 0).repeat_interleave(2, 1).numpy()).save(path, format="PNG")
    return [path]


@contextmanager
def _seen(layer: nn.Module) -> Iterator[list[tuple[Any, ...]]]:
    """What a layer is called with meanwhile."""
    calls: list[tuple[Any, ...]] = []
    hook = layer.register_forward_hook(lambda module, given, made: calls.append(given))
    try:
        yield calls
    finally:
        hook.remove()
