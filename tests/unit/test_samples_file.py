"""Samples as files, by suffix and modality, read again with other means than they were written with."""

import csv
import wave
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hpo import plugins
from trainables.data._data import Data, Units
from trainables.training.samples import FORMS, in_units, write_samples


def data_of(name: str) -> Data:
    found: Data = plugins.load("data", name)()
    return found


@pytest.fixture(scope="module")
def prices() -> Data:
    """Series that are said to have been scaled."""
    names = ("open", "high", "low", "close", "volume")
    units = Units(names=names, mean=torch.arange(5.0), deviation=torch.tensor([2.0, 3.0, 4.0, 5.0, 1e6]))
    return replace(data_of("prices"), units=units)


def test_arrays_of_series_are_in_their_units(prices: Data, tmp_path: Path) -> None:
    rows = prices.train.x[:3]
    assert write_samples(tmp_path / "deep" / "new.npz", rows, data=prices) == [tmp_path / "deep" / "new.npz"]
    assert prices.units is not None
    with np.load(tmp_path / "deep" / "new.npz") as written:
        expected = rows.double().numpy() * prices.units.deviation.numpy() + prices.units.mean.numpy()
        assert np.allclose(written["samples"], expected, rtol=1e-12)
        assert tuple(written["features"]) == prices.units.names


def test_a_table_has_a_line_for_each_step(prices: Data, tmp_path: Path) -> None:
    rows = prices.train.x[:2]
    write_samples(tmp_path / "new.csv", rows, data=prices)
    with (tmp_path / "new.csv").open(encoding="utf-8", newline="") as file:
        head, *lines = csv.reader(file)
    assert prices.units is not None
    assert head == ["sample", "step", *prices.units.names]
    steps = rows.shape[1]
    assert [(line[0], line[1]) for line in lines] == [(str(n), str(t)) for n in range(2) for t in range(steps)]
    assert float(lines[steps][2]) == float(in_units(rows, data=prices)[1, 0, 0])


def test_a_table_of_points_has_no_steps(tmp_path: Path) -> None:
    ring = data_of("ring")
    write_samples(tmp_path / "new.csv", ring.train.x[:4], data=ring)
    lines = (tmp_path / "new.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "sample,feature_0,feature_1"
    assert len(lines) == 5


def test_sounds_are_one_file_or_a_folder_of_them(tmp_path: Path) -> None:
    sounds = data_of("instruments")
    rows = sounds.train.x[:20]
    write_samples(tmp_path / "new.wav", rows, data=sounds)
    with wave.open(str(tmp_path / "new.wav")) as heard:
        # All of them, where a sheet has 16, with a silence after each.
        silence = round(0.1 * heard.getframerate())
        assert (heard.getframerate(), heard.getnframes()) == (sounds.sample_rate, 20 * (rows.shape[-1] + silence))
    files = write_samples(tmp_path / "each", rows[:3], data=sounds)
    assert sorted(file.name for file in files) == ["0.wav", "1.wav", "2.wav"]
    assert write_samples(tmp_path / "new.png", rows[:2], data=sounds) == [tmp_path / "new.png"]
    write_samples(tmp_path / "new.npz", rows[:2], data=sounds)
    with np.load(tmp_path / "new.npz") as written:
        assert int(written["sample_rate"]) == sounds.sample_rate
        assert np.array_equal(written["samples"], rows[:2].numpy())


def test_images_are_a_grid_or_a_folder(tmp_path: Path) -> None:
    digits = data_of("digits")
    write_samples(tmp_path / "new.png", digits.train.x[:10], data=digits)
    files = write_samples(tmp_path / "each", digits.train.x[:11], data=digits)
    assert files[0].name == "00.png"
    assert len(list((tmp_path / "each").iterdir())) == 11
    with Image.open(tmp_path / "new.png") as grid, Image.open(files[0]) as one:
        assert grid.size[0] == 8 * (one.size[0] // 8)
        assert grid.size[1] == 2 * one.size[1]


def test_text_is_lines_or_strings(tmp_path: Path) -> None:
    english = data_of("english")
    rows = english.train.x[:3]
    write_samples(tmp_path / "new.txt", rows, data=english)
    lines = (tmp_path / "new.txt").read_text(encoding="utf-8").splitlines()
    assert lines == [repr(english.text(row)) for row in rows]
    write_samples(tmp_path / "new.npz", rows, data=english)
    with np.load(tmp_path / "new.npz", allow_pickle=False) as written:
        assert list(written["samples"]) == [english.text(row) for row in rows]


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("digits", ".wav"), ("digits", ".csv"), ("english", ".png"), ("instruments", ".txt"), ("ring", "")],
)
def test_a_form_that_the_modality_has_not_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    data = data_of(name)
    with pytest.raises(
        ValueError, match=rf"which are written as .*, and 'new{suffix}' is none: name a file that ends in"
    ):
        write_samples(tmp_path / f"new{suffix}", data.train.x[:1], data=data)
    assert list(tmp_path.iterdir()) == []


def test_every_modality_has_forms() -> None:
    assert FORMS.keys() == {"images", "series", "points", "audio", "text"}
    assert torch.equal(in_units(torch.ones(1, 2), data=data_of("ring")), torch.ones(1, 2))
