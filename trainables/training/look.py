"""Pictures to understand a trained model by: what its latents do, what lies near its samples, what attention sees.

Floor: torch, models, data and metrics; Pillow is imported by the function that needs it.
Axes: N samples, L latents, R rows and C columns of a picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data
from ..models._family import Family
from .attended import attention_maps
from .neighbors import neighbors
from .random import stream
from .sheet import write_sheet

# Latents of a traversal, and pairs of samples that are walked between; the steps of each.
ROWS, STEPS = 8, 9
# How far a latent is moved up and down, in its standard deviations.
REACH = 2.5
# Samples by which the effect of a latent is measured.
BASES = 16


def look(folder: Path, model: Family, data: Data) -> list[Path]:
    """Write into the folder whatever pictures make sense for this model, on the CPU and in evaluation, and its data.

    `traversals`, `interpolations`, `neighbors` and `attention`, each `.png` or `.txt`; returns the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        return [
            *traversals(folder / "traversals.png", model, data),
            *interpolations(folder / "interpolations.png", model, data),
            *neighbors(folder / "neighbors.png", model, data),
            *attention_maps(folder / "attention.png", model, data),
        ]


def traversals(path: Path, model: Family, data: Data) -> list[Path]:
    """Write a row of pictures for each of the 8 latents that change samples most, the first the most effective.

    In a row that latent goes from -2.5 to 2.5 standard deviations, at all steps of a series, and all else is one draw.
    Models without normal latents, and points, have no such picture.
    """
    noise = _latents(model, data, rows=BASES)
    if noise is None:
        return []
    order = _effects(model, noise).argsort(descending=True)[:ROWS]
    values = torch.linspace(-REACH, REACH, STEPS)
    one = {name: tensor[:1] for name, tensor in noise.items()}
    rows = [_moved(one, int(latent), values) for latent in order]
    return write_sheet(path, _sampled(model, rows), data=data, columns=STEPS)


def interpolations(path: Path, model: Family, data: Data) -> list[Path]:
    """Write 8 rows of pictures, each from one sample to another along the great circle between their latents.

    Spherical, so that what lies between is as far from the origin as draws are: White 2016, arXiv 1609.04468. All other
    noise, the class too, is that of the first sample.
    """
    noise = _latents(model, data, rows=2 * ROWS)
    if noise is None:
        return []
    shares = torch.linspace(0.0, 1.0, STEPS)
    rows = []
    for row in range(ROWS):
        fixed = {name: _repeated(tensor[row : row + 1], STEPS) for name, tensor in noise.items()}
        rows.append({**fixed, "latent": _circle(noise["latent"][row], noise["latent"][ROWS + row], shares)})
    return write_sheet(path, _sampled(model, rows), data=data, columns=STEPS)


def _latents(model: Family, data: Data, *, rows: int) -> dict[str, Tensor] | None:
    """The noise of samples whose `latent` is normal; None where a walk in it shows nothing."""
    if data.modality in ("text", "points"):
        return None
    noise = dict(model.draw_samples(stream(0, "look"), rows=rows))
    return noise if "latent" in noise else None


def _effects(model: Family, noise: Mapping[str, Tensor]) -> Tensor:
    """[L]: by how much samples change from one end of each latent to the other, as root mean square."""
    ends = torch.tensor([-REACH, REACH])
    found = []
    for latent in range(noise["latent"].shape[-1]):
        low, high = (model.sample({**noise, "latent": _set(noise["latent"], latent, end)}) for end in ends)
        found.append((high.double() - low.double()).square().mean().sqrt())
    return torch.stack(found)


def _moved(one: Mapping[str, Tensor], latent: int, values: Tensor) -> dict[str, Tensor]:
    """The noise of one sample [1, ...] for each value of one latent."""
    many = {name: _repeated(tensor, len(values)) for name, tensor in one.items()}
    own = values.view(-1, *[1] * (many["latent"].dim() - 2))
    return {**many, "latent": _set(many["latent"], latent, own)}


def _set(latents: Tensor, latent: int, value: Tensor) -> Tensor:
    moved = latents.clone()
    moved[..., latent] = value
    return moved


def _circle(begin: Tensor, end: Tensor, shares: Tensor) -> Tensor:
    """[C, *shape]: points on the great circle from one latent to another, lengths in between interpolated too."""
    flat_begin, flat_end = begin.flatten().double(), end.flatten().double()
    cosine = float(torch.dot(flat_begin, flat_end) / (flat_begin.norm() * flat_end.norm()))
    angle = math.acos(max(-1.0, min(1.0, cosine)))
    if math.sin(angle) < 1e-6:  # one direction, or two opposite ones, between which no circle is the shortest
        points = torch.lerp(flat_begin, flat_end, shares.double()[:, None])
    else:
        of_begin, of_end = ((1.0 - shares) * angle).sin(), (shares * angle).sin()
        points = (of_begin.double()[:, None] * flat_begin + of_end.double()[:, None] * flat_end) / math.sin(angle)
    return points.to(begin.dtype).view(-1, *begin.shape)


def _repeated(tensor: Tensor, count: int) -> Tensor:
    return tensor.repeat(count, *[1] * (tensor.dim() - 1))


def _sampled(model: Family, rows: list[dict[str, Tensor]]) -> Tensor:
    return torch.cat([model.sample(noise) for noise in rows])
