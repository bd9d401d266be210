"""Samples as files that others read: pictures, arrays, sounds, text and tables, by the suffix of the path.

Floor: torch, numpy and data. Axes: N samples, T steps, F features, S samples of a sound, C channels.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ..data._data import Data
from .sheet import write_sheet, write_wav

COLUMNS = 8
# What each modality can be written as; a path without a suffix is a folder with a file for each sample.
FORMS = {
    "images": (".png", ".npz", ""),
    "series": (".png", ".npz", ".csv"),
    "points": (".png", ".npz", ".csv"),
    "audio": (".wav", ".png", ".npz", ""),
    "text": (".txt", ".npz"),
}


def write_samples(path: Path, samples: Tensor, *, data: Data) -> list[Path]:
    """Write samples of the data's range [N, *shape], and return the files.

    `.png`: a grid, of audio its spectra. `.npz`: the array `samples`, of series that were scaled in the units of their
    source, of text strings. `.wav`: the sounds one after another. `.txt`: a sample a line, written as a Python string.
    `.csv`: a line for each step of each series, or for each point, in the units of their source. A path without a
    suffix: a folder of images or sounds. Raises `ValueError` for a form that the modality has not.
    """
    forms = FORMS[data.modality]
    if path.suffix not in forms:
        named = ", ".join(form or "a folder" for form in forms)
        raise ValueError(
            f"samples of {data.name!r} are {data.modality}, which are written as {named}, and {path.name!r} is none: "
            f"name a file that ends in {forms[0]}"
        )
    if path.suffix == "":
        return _write_each(path, samples, data=data)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".wav":
        write_wav(path, samples, data=data)
    elif path.suffix == ".npz":
        np.savez_compressed(path, **_arrays(samples, data=data))
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(_lines(samples, data=data))
    else:
        return [file for file in write_sheet(path, samples, data=data, columns=COLUMNS) if file.suffix == path.suffix]
    return [path]


def _write_each(folder: Path, samples: Tensor, *, data: Data) -> list[Path]:
    suffix = FORMS[data.modality][0]
    digits = len(str(len(samples) - 1))
    files = [folder / f"{number:0{digits}d}{suffix}" for number in range(len(samples))]
    return [written for file, one in zip(files, samples, strict=True) for written in _write_one(file, one, data=data)]


def _write_one(file: Path, sample: Tensor, *, data: Data) -> list[Path]:
    return write_samples(file, sample[None], data=data)


def _arrays(samples: Tensor, *, data: Data) -> dict[str, Any]:
    if data.modality == "text":
        return {"samples": np.array([data.text(row) for row in samples])}
    found: dict[str, Any] = {"samples": in_units(samples, data=data).numpy()}
    if data.units is not None:
        found["features"] = np.array(data.units.names)
    if data.sample_rate is not None:
        found["sample_rate"] = np.array(data.sample_rate)
    return found


def in_units(samples: Tensor, *, data: Data) -> Tensor:
    """Samples in the units of their source, on the CPU: levels and numbers as they are where nothing was scaled."""
    return samples.cpu() if data.units is None else data.units(samples)


def _lines(samples: Tensor, *, data: Data) -> Iterator[list[Any]]:
    """A head, and a line for each step [F] of each series [T, F], or for each point [F]."""
    rows = in_units(samples, data=data)
    steps = rows.dim() == 3
    features = rows.shape[-1]
    names = data.units.names if data.units is not None else tuple(f"feature_{place}" for place in range(features))
    yield ["sample", *(["step"] if steps else []), *names]
    for number, row in enumerate(rows.tolist()):
        for step, values in enumerate(row if steps else [row]):
            yield [number, *([step] if steps else []), *values]
