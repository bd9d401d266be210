"""Sample sheets: a PNG with a grid of images or spectra, a grid of series as lines, or points in the plane; lines of
text; sounds to be heard.

Floor: torch, data, and the spectra that metrics take; Pillow is imported by the function that needs it.
Axes: N samples, C colors or channels, Y down, X to the right, T steps, F features, S samples of a sound, B mel bands,
W windows.
"""

from __future__ import annotations

import io
import math
import wave
from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data
from ..metrics._spectra import SILENCE, WINDOW, log_mel

# Small images are enlarged by a whole factor until a side has about this many pixels.
SIDE_PIXELS = 32
# The least size of a series' picture, and how far up and down it reaches: in standard deviations of the training rows.
LINE_PIXELS, LINE_REACH = (48, 80), 4.0
# Colors of features that are told apart on black by everyone (Okabe and Ito, "Color Universal Design", 2008).
COLORS = ((240, 228, 66), (86, 180, 233), (230, 159, 0), (0, 158, 115), (204, 121, 167), (213, 94, 0), (0, 114, 178))
FRAME = 64
# Points are drawn on a square of so many pixels, over so many rows of the data.
PLANE_PIXELS, PLANE_ROWS = 256, 1000
# Bands of mel are drawn so many pixels high, and a sound at least so wide, with so many windows at most.
BAND_PIXELS, SOUND_PIXELS, SOUND_WINDOWS = 2, 64, 128
# A wav file holds so many sounds, with this silence after each, in seconds.
HEARD, PAUSE = 16, 0.1


def write_sheet(path: Path, samples: Tensor, *, data: Data, columns: int) -> list[Path]:
    """Write what `draw_sheet` draws: its picture at `path`, and what else there is beside it; returns the files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = draw_sheet(samples, data=data, columns=columns)
    files = {path.with_suffix(suffix) if suffix != ".png" else path: content for suffix, content in drawn.items()}
    for file, content in files.items():
        file.write_bytes(content)
    return list(files)


def draw_sheet(samples: Tensor, *, data: Data, columns: int) -> dict[str, bytes]:
    """Draw samples of the data's range: images [N, C, Y, X], C = 1 or 3, or series [N, T, F], as rows of `columns`
    pictures; points [N, 2] in one; audio [N, C, S] as pictures of its spectra, and the first 16 sounds one after
    another in a `.wav` beside the picture; text [N, T] as lines of a `.txt`, instead of a picture.

    Series of real numbers are drawn as lines, a color for each feature. Series of levels are drawn as grey images, a
    step in each row, since among so few values lines would hide each other. Returns the content of each file by its
    suffix, the picture's first.
    """
    from PIL import Image

    if data.modality == "text":
        return {".txt": "".join(f"{data.text(row)!r}\n" for row in samples).encode()}
    sound: dict[str, bytes] = {}
    if data.modality == "audio":
        pixels = _grid(_spectra(samples, data=data), columns=columns)
        sound[".wav"] = _wav(samples[:HEARD], data=data)
    elif samples.dim() == 2:
        pixels = _plane(samples, data=data)
    elif samples.dim() == 4:
        pixels = _grid(_images(samples, data=data), columns=columns)
    elif data.levels is not None:
        pixels = _grid(_images(samples[:, None], data=data), columns=columns)
    else:
        pixels = _grid(_lines(samples, data=data), columns=columns)
    picture = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(picture, format="PNG")
    return {".png": picture.getvalue()} | sound


def _grid(pictures_NCYX: Tensor, *, columns: int) -> Tensor:
    """The pictures, uint8, framed and side by side: [Y, X] where C = 1, and else [Y, X, C]."""
    framed_NCYX = torch.nn.functional.pad(pictures_NCYX, (1, 1, 1, 1), value=FRAME)
    count, channels, height, width = framed_NCYX.shape
    rows = -(-count // columns)
    canvas = torch.full((rows * columns, channels, height, width), FRAME, dtype=torch.uint8)
    canvas[:count] = framed_NCYX
    grid = canvas.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    return grid.reshape(rows * height, columns * width, channels).squeeze(-1)


def _images(samples_NCYX: Tensor, *, data: Data) -> Tensor:
    """The images [N, C, Y, X] as uint8, small ones enlarged."""
    low, high = data.value_range
    grey = ((samples_NCYX.cpu().double() - low) / (high - low) * 255.0).round().clamp(0, 255).to(torch.uint8)
    factor = max(1, SIDE_PIXELS // grey.shape[-1])
    return grey.repeat_interleave(factor, 2).repeat_interleave(factor, 3)


def _spectra(samples_NCS: Tensor, *, data: Data) -> Tensor:
    """Pictures [N, 1, Y, X], uint8, of sounds: mel upwards, time to the right; white is a full sine, black silence.

    The mean of channels is drawn; numbers that are not finite are silent.
    """
    assert data.sample_rate is not None
    x = samples_NCS.cpu().float().nan_to_num(0.0, 0.0, 0.0).mean(1, keepdim=True)
    x = torch.nn.functional.pad(x, (0, max(0, WINDOW - x.shape[-1])))
    log_N1BW = log_mel(x, sample_rate=data.sample_rate, windows=SOUND_WINDOWS)
    grey = (255.0 * (1.0 - log_N1BW / math.log(SILENCE))).round().clamp(0, 255).to(torch.uint8)
    wider = -(-SOUND_PIXELS // grey.shape[-1])
    # Upwards is up: the first row of an image is its top.
    return grey.flip(2).repeat_interleave(BAND_PIXELS, 2).repeat_interleave(wider, 3)


def write_wav(path: Path, samples_NCS: Tensor, *, data: Data) -> None:
    """Write sounds [N, C, S] one after another in 16 bits, a silence after each; what lies beyond -1..1 is cut off."""
    path.write_bytes(_wav(samples_NCS, data=data))


def _wav(samples_NCS: Tensor, *, data: Data) -> bytes:
    assert data.sample_rate is not None
    x = samples_NCS.cpu().double().nan_to_num(0.0, 0.0, 0.0)
    x = torch.nn.functional.pad(x, (0, round(PAUSE * data.sample_rate)))
    whole = (x * 2**15).round().clamp(-(2**15), 2**15 - 1).to(torch.int16)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(x.shape[1])
        file.setsampwidth(2)
        file.setframerate(data.sample_rate)
        # Channels lie side by side, in little endian.
        file.writeframes(whole.transpose(1, 2).contiguous().numpy().astype("<i2").tobytes())
    return content.getvalue()


def _lines(samples_NTF: Tensor, *, data: Data) -> Tensor:
    """Pictures [N, 3, Y, X], uint8, of series as lines on black; what leaves the picture runs along its edge."""
    x = data.train.x.cpu().double()
    middle, reach = x.mean(), LINE_REACH * x.std()
    low, high = max(data.value_range[0], float(middle - reach)), min(data.value_range[1], float(middle + reach))
    height, width = LINE_PIXELS[0], max(LINE_PIXELS[1], samples_NTF.shape[1])
    series_NFT = samples_NTF.cpu().double().transpose(1, 2).clamp(low, high)
    # One column more than is drawn: a column shows the line from its left edge to its right.
    edges_NFX = torch.nn.functional.interpolate(series_NFT, size=width + 1, mode="linear", align_corners=True)
    # Upwards is up: the first row of an image is its top.
    edges_NFX = (high - edges_NFX) / (high - low) * (height - 1)
    left_NFX, right_NFX = edges_NFX[..., :-1].round(), edges_NFX[..., 1:].round()
    top_NFX, bottom_NFX = torch.minimum(left_NFX, right_NFX), torch.maximum(left_NFX, right_NFX)
    row_Y1 = torch.arange(height)[:, None]
    canvas = torch.zeros(len(samples_NTF), 3, height, width, dtype=torch.uint8)
    for feature, (top_NX, bottom_NX) in enumerate(zip(top_NFX.unbind(1), bottom_NFX.unbind(1), strict=True)):
        on_NYX = (row_Y1 >= top_NX[:, None]) & (row_Y1 <= bottom_NX[:, None])
        color = torch.tensor(COLORS[feature % len(COLORS)], dtype=torch.uint8)
        canvas = torch.where(on_NYX[:, None], color[:, None, None], canvas)
    return canvas


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
