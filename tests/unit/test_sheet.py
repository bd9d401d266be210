"""Sample sheets: what a PNG of images, of series, of points and of sounds shows, and what is heard of sounds."""

import math
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainables.data import digit_rows, digits, instruments, patches, prices, ring, sines
from trainables.data._data import Data
from trainables.data._sound import read_sound
from trainables.training.sheet import (
    BAND_PIXELS,
    COLORS,
    HEARD,
    LINE_PIXELS,
    PAUSE,
    PLANE_PIXELS,
    SOUND_PIXELS,
    write_sheet,
)


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


def test_images_in_color_stand_as_they_are(tmp_path: Path) -> None:
    data = patches.load(stride=32)
    write_sheet(tmp_path / "sheet.png", data.test.x[:3], data=data, columns=2)
    pixels = read(tmp_path / "sheet.png")
    assert pixels.shape == (2 * 34, 2 * 34, 3)
    assert np.array_equal(pixels[35:67, 1:33], data.test.x[2].permute(1, 2, 0).numpy())


def test_series_of_levels_are_shown_as_images_a_step_in_each_row(tmp_path: Path) -> None:
    series, images = digit_rows.load(), digits.load()
    write_sheet(tmp_path / "series.png", series.test.x[:6], data=series, columns=3)
    write_sheet(tmp_path / "images.png", images.test.x[:6], data=images, columns=3)
    assert np.array_equal(read(tmp_path / "series.png"), read(tmp_path / "images.png"))


def lines(path: Path, samples: Tensor, *, data: Data, feature: int) -> list[NDArray[np.bool_]]:
    """For each sample, where [Y, X] its picture has the color of this feature."""
    write_sheet(path, samples, data=data, columns=len(samples))
    height, width = LINE_PIXELS
    pixels = read(path)
    assert pixels.shape == (height + 2, len(samples) * (width + 2), 3)
    on = (pixels == COLORS[feature]).all(-1)
    return [on[1:-1, n * (width + 2) + 1 : (n + 1) * (width + 2) - 1] for n in range(len(samples))]


def test_series_are_lines_from_left_to_right_and_upwards_is_up(tmp_path: Path) -> None:
    data = sines.load(rows=100)
    rising = torch.linspace(-1.0, 1.0, 30)
    rows = torch.stack([rising, torch.ones(30), torch.full((30,), -3.0), torch.full((30,), float("nan"))])
    line, top, below, missing = lines(tmp_path / "sheet.png", rows[:, :, None], data=data, feature=0)
    height, width = LINE_PIXELS
    # From corner to corner, a pixel or two in each column, and none is jumped over.
    assert line[-1, 0]
    assert line[0, -1]
    assert (np.diff([column.argmax() for column in line.T]) <= 0).all()
    assert line.any(0).all()
    assert line.any(1).all()
    assert line.sum() <= 2 * width
    for constant, row in ((top, 0), (below, height - 1)):
        assert constant[row].all()
        assert constant.sum() == width
    assert not missing.any()


def test_a_steep_line_has_no_gaps(tmp_path: Path) -> None:
    data = sines.load(rows=100)
    zigzag = torch.tensor([-1.0, 1.0]).repeat(15)[None, :, None]
    (line,) = lines(tmp_path / "sheet.png", zigzag, data=data, feature=0)
    for column in line.T:
        places = np.flatnonzero(column)
        assert len(places) == places[-1] - places[0] + 1
    assert (line[:, 1:] & line[:, :-1]).any(0).all()


def test_each_feature_has_a_color_and_outliers_do_not_flatten_the_rest(tmp_path: Path) -> None:
    data = prices.load()
    samples = torch.zeros(1, 24, 5)
    samples[:, :, 1], samples[:, :, 2], samples[:, :, 4] = 2.0, 9.0, -2.0
    rows = [
        np.flatnonzero(lines(tmp_path / "sheet.png", samples, data=data, feature=n)[0].all(1)) for n in (3, 1, 2, 4)
    ]
    middle, up, outlier, down = (int(found.item()) for found in rows)
    assert outlier == 0
    # Two standard deviations are about half the way to the edge, which is at four.
    assert abs((middle - up) / middle - 0.5) < 0.1
    assert abs((down - middle) / middle - 0.5) < 0.1


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


def tones(*hertz: float, samples: int = 4096) -> Tensor:
    time = torch.arange(samples, dtype=torch.float64) / instruments.SAMPLE_RATE
    return torch.stack([(2 * math.pi * one * time).sin() for one in hertz]).float()[:, None]


def test_sounds_are_seen_as_spectra_low_at_the_bottom_and_time_to_the_right(tmp_path: Path) -> None:
    data = instruments.load(rows=4)
    late = tones(3000.0)
    late[:, :, :2048] = 0.0
    samples = torch.cat([tones(200.0), late, torch.zeros(1, 1, 4096)])
    files = write_sheet(tmp_path / "sheet.png", samples, data=data, columns=3)
    assert files == [tmp_path / "sheet.png", tmp_path / "sheet.wav"]
    pixels = read(files[0])
    height, width = 32 * BAND_PIXELS, 33 * -(-SOUND_PIXELS // 33)
    assert pixels.shape == (height + 2, 3 * (width + 2))
    low, high, silent = (pixels[1:-1, n * (width + 2) + 1 : (n + 1) * (width + 2) - 1].astype(int) for n in range(3))
    assert (low.argmax(0)[8:-8] > 0.8 * height).all()
    assert low.max() > 240
    assert (high.argmax(0)[width // 2 + 8 : -8] < 0.2 * height).all()
    assert high[:, : width // 2 - 8].max() == 0
    assert silent.max() == 0


def test_sounds_are_heard_one_after_another_as_they_are(tmp_path: Path) -> None:
    data = instruments.load(rows=4, samples=1024)
    samples = data.test.x[: HEARD + 3].clone()
    samples[1] *= 2.0
    samples[2, 0, 100] = math.nan
    _, file = write_sheet(tmp_path / "sheet.png", samples, data=data, columns=8)
    heard = read_sound(file)
    assert heard.sample_rate == data.sample_rate
    parts = torch.from_numpy(heard.x).view(HEARD, 1024 + round(PAUSE * instruments.SAMPLE_RATE))
    assert float(parts[:, 1024:].abs().max()) == 0.0
    assert torch.equal(parts[3:, :1024], samples[3:HEARD, 0])
    assert torch.equal(parts[1, :1024], samples[1, 0].clamp(-1.0, 1.0 - 2.0**-15))
    assert torch.equal(parts[2, :1024], samples[2, 0].nan_to_num())


def test_channels_are_heard_side_by_side_and_short_sounds_are_seen(tmp_path: Path) -> None:
    data = replace(instruments.load(rows=4), sample_rate=16_000)
    left = tones(500.0, samples=300)
    _, file = write_sheet(tmp_path / "sheet.png", torch.cat([left, -0.5 * left], 1), data=data, columns=1)
    with wave.open(str(file), "rb") as opened:
        assert (opened.getnchannels(), opened.getsampwidth(), opened.getframerate()) == (2, 2, 16_000)
        assert opened.getnframes() == 300 + round(PAUSE * 16_000)
    found = torch.from_numpy(read_sound(file).x)
    assert torch.allclose(found[1, :300], -0.5 * left[0, 0], atol=2.0**-15)
    assert read(tmp_path / "sheet.png").max() > 64
