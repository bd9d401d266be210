"""Sample sheets: a grid of images in one PNG, or points in the plane.

Floor: torch; Pillow is imported by the function that needs it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data

# Small images are enlarged by a whole factor until a side has about this many pixels.
SIDE_PIXELS = 32
# Points are drawn on a square of so many pixels, over so many rows of the data.
PLANE_PIXELS, PLANE_ROWS = 256, 1000


def write_sheet(path: Path, samples: Tensor, *, data: Data, columns: int) -> None:
    """Write samples [N, C, H, W] of the data's range, C = 1 or 3, as rows of `columns` images; or points [N, 2]."""
    from PIL import Image

    pixels = _plane(samples, data=data) if samples.dim() == 2 else _grid(samples, data=data, columns=columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.numpy()).save(path, format="PNG")


def _grid(samples: Tensor, *, data: Data, columns: int) -> Tensor:
    low, high = data.value_range
    grey = ((samples.cpu().double() - low) / (high - low) * 255.0).round().clamp(0, 255).to(torch.uint8)
    factor = max(1, SIDE_PIXELS // grey.shape[-1])
    grey = grey.repeat_interleave(factor, 2).repeat_interleave(factor, 3)
    grey = torch.nn.functional.pad(grey, (1, 1, 1, 1), value=64)
    count, channels, height, width = grey.shape
    rows = -(-count // columns)
    canvas = torch.full((rows * columns, channels, height, width), 64, dtype=torch.uint8)
    canvas[:count] = grey
    grid = canvas.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, channels).squeeze(-1)


def _plane(samples: Tensor, *, data: Data) -> Tensor:
    """White dots for samples over grey ones for rows of the data; what lies outside the data's range is left out."""
    low, high = data.value_range
    canvas = torch.zeros(PLANE_PIXELS, PLANE_PIXELS, dtype=torch.uint8)
    for points, grey in ((data.train.x[:PLANE_ROWS], 96), (samples, 255)):
        places = (points.cpu().double() - low) / (high - low) * (PLANE_PIXELS - 1)
        places = places[((places >= 0) & (places <= PLANE_PIXELS - 1)).all(1)].round().long()
        # Upwards is up: the first row of an image is its top.
        canvas[PLANE_PIXELS - 1 - places[:, 1], places[:, 0]] = grey
    return canvas
