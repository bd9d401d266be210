"""Samples beside the training rows that are nearest to them, with the distance that training rows have from each other.

A copy of a training row lies at distance 0. Distances are those of the memorization metrics: in the features of
`metrics._features`, standardized, of one a feature; of text it is the longest piece that is shared.
Floor: torch, models, data and metrics; Pillow is imported by the function that needs it.
Axes: N samples, F features, K neighbors.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..data._data import Data
from ..metrics._features import features_of
from ..metrics._neighbors import nearest
from ..models._family import Family
from .random import stream
from .sheet import write_sheet

SAMPLES, NEIGHBORS = 8, 3
# Real rows that no model saw, of which the typical shared piece of text is taken.
TYPICAL_ROWS = 50
# Room for the distances beside the pictures, in pixels.
CAPTION, LINE, INK = 260, 11, 220
# Between rows of text that are searched as one.
BETWEEN = "\0"


def neighbors(path: Path, model: Family, data: Data) -> list[Path]:
    """Write 8 samples in rows, each before its 3 nearest training rows, and the distances beside; of text in a `.txt`.

    Returns the files; none where a sample is not finite, and for points, which the sheet of samples shows whole.
    """
    if data.modality == "points":
        return []
    samples = model.sample(model.draw_samples(stream(0, "neighbors"), rows=SAMPLES))
    if data.modality == "text":
        return _write_text(path.with_suffix(".txt"), samples, data)
    features = features_of(data)
    found_NF = features.extract(samples)
    if not bool(found_NF.isfinite().all()):
        return []
    count = min(NEIGHBORS, len(data.train))
    distance_NK, index_NK = nearest(found_NF, features.train, count=count)
    own_N = nearest(features.train[index_NK[:, 0]], features.train, count=min(2, len(data.train)))[0][:, -1]
    rows = [torch.cat([samples[row : row + 1], data.train.x[index_NK[row]].cpu()]) for row in range(SAMPLES)]
    files = write_sheet(path, torch.cat(rows), data=data, columns=1 + count)
    _caption(
        path,
        [
            f"nearest training row at {float(distance):.3g}\nwhose own nearest other is at {float(own):.3g}"
            for distance, own in zip(distance_NK[:, 0], own_N, strict=True)
        ],
    )
    return files


def _caption(path: Path, captions: Sequence[str]) -> None:
    """Write captions beside the rows of a picture, one at the height of each."""
    from PIL import Image, ImageDraw

    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    height = max(picture.height, len(captions) * 3 * LINE)
    whole = Image.new("RGB", (picture.width + CAPTION, height))
    whole.paste(picture)
    pen = ImageDraw.Draw(whole)
    for number, caption in enumerate(captions):
        top = round((number + 0.5) * picture.height / len(captions)) - LINE
        pen.text((picture.width + 6, max(0, top)), caption, fill=(INK, INK, INK))
    whole.save(path, format="PNG")


def _write_text(path: Path, samples: Tensor, data: Data) -> list[Path]:
    """Each sample with the training row that shares the longest piece with it."""
    train = BETWEEN.join(data.text(row) for row in data.train.x.cpu())
    held_out = [_longest(data.text(row), train) for row in data.validation.x[:TYPICAL_ROWS].cpu()]
    typical = statistics.median(len(piece) for piece in held_out)
    lines = [f"A real row that no model saw shares {typical:g} characters with some training row (median).", ""]
    for row in samples.cpu():
        sample = data.text(row)
        lines += [*_beside(sample, _longest(sample, train), train), ""]
    path.write_text("\n".join(lines), encoding="utf-8")
    return [path]


def _beside(sample: str, piece: str, train: str) -> Iterator[str]:
    place = train.find(piece)
    begin, end = train.rfind(BETWEEN, 0, place) + 1, train.find(BETWEEN, place)
    yield f"sample    {sample!r}"
    yield f"training  {train[begin : end if end >= 0 else None]!r}"
    yield f"shared    {len(piece)} characters: {piece!r}"


def _longest(text: str, train: str) -> str:
    """The longest piece of a text that some training row has too, the first of several."""
    best = ""
    for begin in range(len(text)):
        while begin + len(best) < len(text) and text[begin : begin + len(best) + 1] in train:
            best = text[begin : begin + len(best) + 1]
    return best
