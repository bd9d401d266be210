"""Sample sheets: what a PNG of images and one of points show."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from trainables.data import digits, ring
from trainables.training.sheet import PLANE_PIXELS, write_sheet


def read(path: Path) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image)


def test_images_stand_in_rows_each_in_the_datas_range(tmp_path: Path) -> None:
    data = digits.load()
    samples = torch.stack([torch.full((1, 8, 8), level, dtype=torch.uint8) for level in (0, 16, 8)])
    write_sheet(tmp_path / "sheet.png", samples, data=data, columns=2)
    pixels = read(tmp_path / "sheet.png")
    assert pixels.shape == (2 * 34, 2 * 34)
    assert [int(pixels[y, x]) for y, x in ((17, 17), (17, 51), (51, 17))] == [0, 255, 128]


def test_points_stand_where_they_lie_and_over_the_data(tmp_path: Path) -> None:
    data = ring.load(rows=100)
    low, high = data.value_range
    samples = torch.tensor([[high, high], [low, 0.0], [2 * high, 0.0], [float("nan"), 0.0]])
    write_sheet(tmp_path / "sheet.png", samples, data=data, columns=8)
    pixels = read(tmp_path / "sheet.png")
    white = {(int(y), int(x)) for y, x in zip(*np.nonzero(pixels == 255), strict=True)}
    assert pixels.shape == (PLANE_PIXELS, PLANE_PIXELS)
    assert white == {(0, PLANE_PIXELS - 1), (PLANE_PIXELS // 2 - 1, 0)}
    assert 0 < int((pixels == 96).sum()) <= 100
