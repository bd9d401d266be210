"""Sample sheets: a grid of images in one PNG.

Floor: torch; Pillow is imported by the function that needs it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data

# Small images are enlarged by a whole factor until a side has about this many pixels.
SIDE_PIXELS = 32


def write_sheet(path: Path, samples: Tensor, *, data: Data, columns: int) -> None:
    """Write samples [N, C, H, W] of the data's range, C = 1 or 3, as rows of `columns` images."""
    from PIL import Image

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
    pixels = grid.reshape(rows * height, columns * width, channels).squeeze(-1).numpy()
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")
