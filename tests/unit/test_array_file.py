"""A file of the user's arrays: what is read as what, how numbers become levels or are scaled, and what is refused."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainables.data import array_file
from trainables.data._arrays import as_data
from trainables.data._data import Data, Split

BYTES = np.random.RandomState(0).randint(0, 256, (30, 6, 8, 3)).astype(np.uint8)
REALS = np.random.RandomState(1).normal(50.0, 9.0, (30, 12, 2))


def saved(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "own.npz", **arrays)
    return str(folder / "own.npz")


def rows(data: Data) -> list[bytes]:
    return sorted(row.numpy().tobytes() for _, split in data.splits() for row in split.x)


def contents(x: NDArray[Any]) -> list[bytes]:
    return sorted(np.ascontiguousarray(row).tobytes() for row in x)


@pytest.mark.parametrize(
    ("x", "layout", "shape"),
    [
        (BYTES, None, (3, 6, 8)),
        (BYTES, "NHWC", (3, 6, 8)),
        (BYTES.transpose(0, 3, 1, 2), None, (3, 6, 8)),
        (BYTES.transpose(0, 3, 1, 2), "NCHW", (3, 6, 8)),
        (BYTES[..., 0], None, (1, 6, 8)),
        (BYTES[..., 0], "NHW", (1, 6, 8)),
    ],
)
def test_images_of_bytes_come_out_level_by_level(
    tmp_path: Path, x: NDArray[np.uint8], layout: str | None, shape: tuple[int, ...]
) -> None:
    data = array_file.load(path=saved(tmp_path, x=x), layout=layout)
    assert (data.modality, data.shape, data.levels, data.value_range) == ("images", shape, 256, (0.0, 255.0))
    assert rows(data) == contents(BYTES.transpose(0, 3, 1, 2)[:, : shape[0]])


@pytest.mark.parametrize(
    ("x", "layout", "expected"),
    [
        (REALS, "NTF", REALS),
        (REALS.transpose(0, 2, 1), "NFT", REALS),
        (REALS[..., 0], "NT", REALS[..., :1]),
        (REALS[:, 0], "ND", REALS[:, 0]),
    ],
)
def test_series_and_points_are_scaled_by_training_and_units_lead_back(
    tmp_path: Path, x: NDArray[np.float64], layout: str, expected: NDArray[np.float64]
) -> None:
    data = array_file.load(path=saved(tmp_path, x=x), layout=layout)
    assert data.modality == ("points" if layout == "ND" else "series")
    assert data.shape == expected.shape[1:]
    training = data.train.x.double().reshape(-1, data.shape[-1])
    assert training.mean(0).abs().max() < 1e-6
    assert (training.std(0, correction=0) - 1).abs().max() < 1e-6
    assert data.units is not None
    back = torch.cat([data.units(split.x) for _, split in data.splits()]).numpy()
    key = np.sort(expected.reshape(30, -1)[:, 0])
    order = np.argsort(back.reshape(30, -1)[:, 0])
    assert np.abs(back.reshape(30, -1)[order, 0] - key).max() < 1e-4
    plain = array_file.load(path=saved(tmp_path, x=x), layout=layout, scale=False)
    assert plain.units is None
    assert rows(plain) == contents(expected.astype(np.float32))


def test_the_scale_is_that_of_the_training_rows_alone(tmp_path: Path) -> None:
    split = np.array([0] * 22 + [1] * 4 + [2] * 4)
    far = REALS.copy()
    far[22:] += 1000.0
    near, other = (array_file.load(path=saved(tmp_path, x=x, split=split), layout="NTF") for x in (REALS, far))
    assert torch.equal(near.train.x, other.train.x)
    assert other.test.x.min() > 50
    assert other.value_range[1] >= float(other.test.x.max())


def test_the_levels_are_those_that_the_numbers_use(tmp_path: Path) -> None:
    for x, levels, expected in (
        (BYTES % 17, 17, BYTES % 17),
        (BYTES.astype(np.int64), 256, BYTES),
        (BYTES.astype(np.float32), 256, BYTES),
        (BYTES / 255.0, 256, BYTES),
        ((BYTES / 255.0).astype(np.float16), 256, BYTES),
        (BYTES / 127.5 - 1.0, 256, BYTES),
        (BYTES > 127, 2, BYTES > 127),
        ((BYTES > 127) * 2.0 - 1.0, 256, (BYTES > 127) * 255),
        ((BYTES > 127) * 1.0, 2, BYTES > 127),
    ):
        data = array_file.load(path=saved(tmp_path, x=x))
        assert (data.levels, data.train.x.dtype) == (levels, torch.uint8)
        assert rows(data) == contents(expected.astype(np.uint8).transpose(0, 3, 1, 2))
    assert array_file.load(path=saved(tmp_path, x=BYTES % 17), levels=20).levels == 20
    series = array_file.load(path=saved(tmp_path, x=BYTES[..., 0]), layout="NTF")
    assert (series.modality, series.levels) == ("series", 256)


def test_arrays_may_have_other_names_and_a_lone_one_any(tmp_path: Path) -> None:
    whole = array_file.load(path=saved(tmp_path, x=BYTES))
    assert array_file.load(path=saved(tmp_path, pictures=BYTES)).sha256 == whole.sha256
    other = array_file.load(path=saved(tmp_path, a=BYTES, b=np.arange(30) % 2), x="a", y="b")
    assert other.classes == 2
    np.save(tmp_path / "alone.npy", BYTES)
    assert array_file.load(path=str(tmp_path / "alone.npy")).sha256 == whole.sha256


@pytest.mark.parametrize(
    ("y", "named"),
    [
        (np.arange(30) % 3, []),
        (np.arange(30)[:, None] % 3, []),
        (np.arange(30) % 3 + 9.0, ["classes: 0 is 9, 1 is 10, 2 is 11"]),
        (np.array(["b", "a", "c"] * 10), ["classes: 0 is a, 1 is b, 2 is c"]),
    ],
)
def test_classes_stay_with_their_rows(tmp_path: Path, y: NDArray[Any], named: list[str]) -> None:
    data = array_file.load(path=saved(tmp_path, x=BYTES, y=y))
    expected = np.unique(y, return_inverse=True)[1].ravel()
    by_row = dict(zip([row.tobytes() for row in BYTES.transpose(0, 3, 1, 2)], expected.tolist(), strict=True))
    for _, split in data.splits():
        assert split.labels is not None
        assert [by_row[row.numpy().tobytes()] for row in split.x] == split.labels.tolist()
    assert [note for note in data.notes if note.startswith("classes")] == named


def test_stated_splits_are_kept(tmp_path: Path) -> None:
    numbers = np.array([0] * 20 + [1] * 6 + [2] * 4)
    words = np.array(["train", "val", "test"])[numbers]
    for split in (numbers, words, numbers.astype(np.uint8)):
        data = array_file.load(path=saved(tmp_path, x=BYTES, split=split))
        for number, (_, part) in enumerate(data.splits()):
            found = sorted(row.numpy().tobytes() for row in part.x)
            assert found == contents(BYTES.transpose(0, 3, 1, 2)[numbers == number])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=60, max_size=120), st.integers(0, 5), st.floats(0.05, 0.4))
def test_no_row_is_lost_or_in_two_splits(values: list[int], seed: int, share: float) -> None:
    x = np.array(values + list(range(41)), dtype=np.uint8)[:, None].repeat(2, axis=1)
    data = as_data(x, None, None, layout="ND", levels=None, scale=True, held_out=share, seed=seed, name="a", source="b")
    found = [int(row[0]) for _, split in data.splits() for row in split.x]
    assert sorted(found) == list(range(41))

    def wanted(split: Split) -> bool:
        return abs(len(split) - share * 41) <= 1

    assert wanted(data.validation)
    assert wanted(data.test)


def bad(**changes: Any) -> dict[str, Any]:
    return {"x": BYTES, **changes}


def with_nan() -> NDArray[np.float64]:
    x = REALS.copy()
    x[12, 3, 1], x[13, 0, 0] = np.nan, np.inf
    return x


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        ({"x": with_nan()}, {"layout": "NTF"}, "and 2 are not; the first is x[12, 3, 1] = nan: fill them in"),
        ({"x": BYTES[:3]}, {}, "there must be at least 20 rows, and there are 3: give more data"),
        ({"x": BYTES[:0]}, {}, "its shape is [0, 6, 8, 3]: give others"),
        ({"x": REALS}, {}, "x [30, 12, 2] of float64 can be read in several ways: say which with layout, one of "
                           "NHW (images), NTF (series), NFT (series)"),
        ({"x": REALS[:, 0]}, {}, "one of NT (series), ND (points)"),
        ({"x": BYTES[..., :2]}, {}, "one of NHWC (images), NCHW (images)"),
        ({"x": BYTES[..., :2]}, {"layout": "NHWC"}, "images have 1 or 3 colors"),
        ({"x": BYTES}, {"layout": "NTF"}, "one of NHWC (images), NCHW (images), and it is 'NTF': choose one"),
        ({"x": BYTES[:, 0, 0, 0]}, {}, "x must have 2 to 4 axes, rows first, and its shape is [30]: reshape it"),
        ({"x": BYTES[:, 0, 0, :1]}, {"layout": "ND"}, "points have at least 2 numbers"),
        ({"x": np.array(["a", "b"])}, {}, "x must hold real numbers, and its type is <U1: convert it"),
        ({"x": np.array([{}, []], dtype=object)}, {}, "the array 'x' holds Python objects, which are never read"),
        ({"x": BYTES + 0.5}, {}, "and x reaches from 0.5 to 255.5: scale them to 0..1"),
        ({"x": BYTES}, {"levels": 17}, "levels are whole numbers from 0 to 16"),
        ({"x": BYTES}, {"levels": 1}, "levels are a whole number from 2 to 256, and they are 1"),
        ({"x": BYTES * 0}, {}, "x must vary, and all its numbers are 0"),
        ({"x": REALS * [1.0, 0.0]}, {"layout": "NTF"}, "'number 1' is 0 in all of them: leave it out"),
        ({"a": BYTES, "b": BYTES}, {}, "it has no array 'x', but a, b: name one of these"),
        (bad(), {"y": "labels"}, "it has no array 'labels', but x: name one of these"),
        (bad(y=np.arange(29)), {}, "y must have one class for each of the 30 rows of x, and its shape is [29]"),
        (bad(y=np.eye(30)), {}, "y must have one class for each of the 30 rows of x, and its shape is [30, 30]"),
        (bad(y=np.full(30, np.nan)), {}, "y must hold classes, whole numbers or names, and its type is float64"),
        (bad(y=np.arange(30)), {}, "there must be at least 3 rows of the class '0', one for each split"),
        (bad(split=np.zeros(3)), {}, "split must have one entry for each of the 30 rows of x, and its shape is [3]"),
        (bad(split=np.array([0, 1, 3] * 10)), {}, "and it holds '3': correct it"),
        (bad(split=np.array([0, 1, 2] * 10)), {}, "at least 20 rows to train on, and there are 10: give more"),
        (bad(), {"held_out": 0.5}, "held_out must lie above 0 and below 0.5, and it is 0.5: correct it"),
    ],
)  # fmt: skip
def test_bad_arrays_get_one_message_with_the_name_of_the_file(
    tmp_path: Path, arrays: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, **arrays)
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        array_file.load(path=path, **options)
    assert str(told.value).startswith(f"{path}: ")


def test_bad_files_get_one_message(tmp_path: Path) -> None:
    whole = Path(saved(tmp_path, x=BYTES)).read_bytes()
    np.save(tmp_path / "whole.npy", BYTES)
    for name, content, message in (
        ("empty.npz", b"", "it is empty: save it anew"),
        ("words.npz", b"no arrays", "it is no .npz or .npy file: save it with numpy.savez or numpy.save"),
        ("short.npz", whole[: len(whole) // 2], "its content is broken ("),
        ("other.npz", whole[:400] + bytes(50) + whole[450:], "its content is broken ("),
        ("short.npy", (tmp_path / "whole.npy").read_bytes()[:500], "the array 'x' is broken ("),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=re.escape(f"{tmp_path / name}: {message}")):
            array_file.load(path=str(tmp_path / name))
    with pytest.raises(ValueError, match=r"gone\.npz does not exist in"):
        array_file.load(path=str(tmp_path / "gone.npz"))
    with pytest.raises(ValueError, match="is a folder: give a file"):
        array_file.load(path=str(tmp_path))


@pytest.mark.parametrize("declined", [None, ""])
def test_classes_and_splits_can_be_declined(tmp_path: Path, declined: str | None) -> None:
    path = saved(tmp_path, x=BYTES, y=np.array([7] + [8] * 29), split=np.zeros(30, int))
    with pytest.raises(ValueError, match=r"the class '7'.* or do without classes \(.*y: null of arrays\)"):
        array_file.load(path=path)
    data = array_file.load(path=path, y=declined, split=declined)
    assert data.classes == 0
    assert data.sha256 == array_file.load(path=saved(tmp_path, x=BYTES)).sha256


def test_python_objects_are_named_as_such_in_a_lone_array_too(tmp_path: Path) -> None:
    np.save(tmp_path / "own.npy", np.array([[1, 2], [3]], dtype=object))
    with pytest.raises(ValueError, match="the array 'x' holds Python objects, which are never read"):
        array_file.load(path=str(tmp_path / "own.npy"))


def test_of_rows_that_are_copied_across_splits_those_to_train_on_stay(tmp_path: Path) -> None:
    x = np.concatenate([BYTES[:4], BYTES])
    data = array_file.load(path=saved(tmp_path, x=x, split=np.array([2] * 4 + [0] * 24 + [1] * 3 + [2] * 3)))
    assert [len(split) for _, split in data.splits()] == [24, 3, 3]
    assert "copies across splits that were removed: x[0] of x[4], x[1] of x[5], x[2] of x[6], x[3] of x[7]" in (
        data.notes
    )
