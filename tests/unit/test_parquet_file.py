"""Parquet files of the user's own: columns of numbers, or a column of lists, images or texts; and what is refused."""

import datetime
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from trainables.data import csv_file, image_folder, parquet_file
from trainables.data._data import Data

RANDOM = np.random.RandomState(0)
NOISE = RANDOM.standard_normal((600, 2)).round(3)
NUMBERS = {"a": NOISE[:, 0], "b": NOISE[:, 1]}
LISTS = RANDOM.standard_normal((60, 16))
TEXTS = ["".join(RANDOM.choice(list("abcdefgh "), RANDOM.randint(30, 200))) for _ in range(100)]


def png(height: int = 20) -> bytes:
    content = io.BytesIO()
    Image.fromarray(RANDOM.randint(0, 256, (height, 24)).astype(np.uint8)).save(content, "PNG")
    return content.getvalue()


PICTURES = [png() for _ in range(40)]


def saved(folder: Path, table: dict[str, Any] | pa.Table | pd.DataFrame | bytes, name: str = "table.parquet") -> str:
    path = folder / name
    path.parent.mkdir(exist_ok=True, parents=True)
    if isinstance(table, bytes):
        path.write_bytes(table)
    elif isinstance(table, pd.DataFrame):
        table.to_parquet(path)
    else:
        parquet.write_table(pa.table(table) if isinstance(table, dict) else table, path)
    return str(path)


def rows_of(data: Data) -> set[bytes]:
    return {row.numpy().tobytes() for _, split in data.splits() for row in split.x}


def test_columns_of_numbers_are_read_as_those_of_csv(tmp_path: Path) -> None:
    csv = tmp_path / "table.csv"
    pd.DataFrame(NUMBERS).to_csv(csv, index=False)
    for options in ({}, {"window": None}, {"window": 8, "stride": 3, "columns": "b", "blocks": 2}):
        data = parquet_file.load(path=saved(tmp_path, NUMBERS), **options)
        assert data.sha256 == csv_file.load(path=str(csv), **options).sha256


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame(NUMBERS, index=pd.date_range("2024-01-01", periods=600, tz="Europe/Berlin", name="when"))[::-1],
        {"when": [datetime.date(2024, 1, 1) + datetime.timedelta(days=599 - day) for day in range(600)],
         "a": NOISE[::-1, 0], "b": NOISE[::-1, 1]},
        {**NUMBERS, "k": [1] * 600, "city": ["Ulm"] * 600, "list": [[1.0]] * 600, "row": range(600)},
        {"a": pa.array([None if np.isnan(x) else str(x) for x in NOISE[:, 0]]).cast(pa.decimal128(10, 3)),
         "b": NOISE[:, 1], "l": [[1]] * 600, "m": [b"x"] * 600},
    ],
    ids=["index of times", "dates", "what is left out", "decimals"],
)  # fmt: skip
def test_the_numbers_are_the_same_however_they_are_typed(tmp_path: Path, table: Any) -> None:
    data = parquet_file.load(path=saved(tmp_path, table), columns=["a", "b"])
    assert data.sha256 == parquet_file.load(path=saved(tmp_path, NUMBERS)).sha256


def test_words_that_are_coded_are_groups(tmp_path: Path) -> None:
    kinds = pd.Categorical([f"machine {step // 100}" for step in range(600)])
    data = parquet_file.load(path=saved(tmp_path, pd.DataFrame({**NUMBERS, "machine": kinds})), group="machine")
    assert data.shape == (24, 2)
    assert sum(len(split) for _, split in data.splits()) == 6 * 77


def test_the_files_of_a_folder_are_one_table(tmp_path: Path) -> None:
    whole = parquet_file.load(path=saved(tmp_path, NUMBERS))
    for part in range(3):
        own = {name: column[200 * part : 200 * part + 200] for name, column in NUMBERS.items()}
        saved(tmp_path, own, f"parts/{part}.parquet")
    assert parquet_file.load(path=str(tmp_path / "parts")).sha256 == whole.sha256
    saved(tmp_path, {"a": ["x"]}, "parts/9.parquet")
    with pytest.raises(ValueError, match="must be parts of one table, and their columns differ"):
        parquet_file.load(path=str(tmp_path / "parts"))
    saved(tmp_path, b"PAR1", "parts/9.parquet")
    with pytest.raises(ValueError, match=r"1 of 4 are not: .*9\.parquet: it is no parquet, or cut off"):
        parquet_file.load(path=str(tmp_path / "parts"))


def test_files_called_after_splits_are_these(tmp_path: Path) -> None:
    random = np.random.RandomState(1)
    cells: dict[str, list[Any]] = {
        "a": [*NOISE[:120, 0].tolist()],
        "wave": random.standard_normal((120, 8)).tolist(),
        "text": ["".join(random.choice(list("abcdefgh"), 20)) for _ in range(120)],
        "image": [png(8) for _ in range(120)],
    }
    names = [("test-00000-of-00001", 80, 120), ("train-00000-of-00002", 0, 40), ("train-00001-of-00002", 40, 80)]
    for column, options in (
        ("a", {"columns": "a", "window": 4}),
        ("wave", {"column": "wave"}),
        ("text", {"column": "text", "length": 20}),
        ("image", {"column": "image", "size": 8}),
    ):
        for name, begin, end in names:
            # The first row to train on comes again among those of test.
            own = cells[column][begin:end] + cells[column][:1] * (name[:4] == "test" and column != "a")
            saved(tmp_path, {column: own}, f"{column}/data/{name}.parquet")
        data = parquet_file.load(path=str(tmp_path / column), **options)
        alone = parquet_file.load(path=saved(tmp_path, {column: cells[column]}), **options)
        assert "the files called test, train are taken as splits" in data.notes
        if column == "a":
            back = {name: data.units(split.x).numpy().round(3) for name, split in data.splits() if data.units}
            assert set(back["test"].ravel()) == set(NOISE[80:120, 0])
            assert set(back["train"].ravel()) | set(back["validation"].ravel()) <= set(NOISE[:80, 0])
            continue
        assert len(data.test) == 40
        assert sum(len(split) for _, split in data.splits()) == sum(len(split) for _, split in alone.splits()) == 120
        if column == "text":
            assert {data.text(row) for row in data.test.x} == set(cells["text"][80:])


def test_an_index_of_pandas_is_no_feature_but_one_of_dates_is_the_time(tmp_path: Path) -> None:
    frame = pd.DataFrame(NUMBERS)
    kept = frame[frame.a > -1]
    path = saved(tmp_path, kept)
    assert "__index_level_0__" in parquet.read_schema(path).names
    data = parquet_file.load(path=path)
    assert data.units is not None
    assert data.units.names == ("a", "b")
    assert "left out the index of pandas: __index_level_0__" in data.notes
    assert parquet_file.load(path=path, time="__index_level_0__").sha256 == data.sha256
    days = saved(tmp_path, frame.set_axis(pd.date_range("2024-01-01", periods=600)))
    assert any(note.startswith("the time is __index_level_0__") for note in parquet_file.load(path=days).notes)


@pytest.mark.parametrize("kind", [pa.list_(pa.float64()), pa.large_list(pa.float32()), pa.list_(pa.float64(), 16)])
def test_lists_are_series(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"wave": pa.array(LISTS.tolist(), kind), "kind": ["up", "down"] * 30})
    data = parquet_file.load(path=saved(tmp_path, table), label="kind", scale=False)
    assert (data.modality, data.shape, data.classes) == ("series", (16, 1), 2)
    places = {row.astype(np.float32).tobytes(): place for place, row in enumerate(LISTS)}
    found = [places[row.numpy().tobytes()] for _, split in data.splits() for row in split.x]
    assert sorted(found) == list(range(60))
    labels = [label for _, split in data.splits() if split.labels is not None for label in split.labels.tolist()]
    assert labels == [1 - place % 2 for place in found], "down is 0 and up is 1"


def test_lists_of_lists_are_series_of_features(tmp_path: Path) -> None:
    steps = RANDOM.standard_normal((60, 5, 3))
    data = parquet_file.load(path=saved(tmp_path, {"wave": steps.tolist()}), scale=False)
    assert data.shape == (5, 3)
    assert rows_of(data) == {row.astype(np.float32).tobytes() for row in steps}


@pytest.mark.parametrize("form", ["bytes", "struct", "path"])
def test_images_are_those_of_a_folder(tmp_path: Path, form: str) -> None:
    for number, content in enumerate(PICTURES):
        saved(tmp_path, content, f"pictures/{number}.png")
    cells: dict[str, list[Any]] = {
        "bytes": PICTURES,
        "struct": [{"bytes": content, "path": None} for content in PICTURES],
        "path": [{"bytes": None, "path": f"pictures/{number}.png"} for number in range(40)],
    }
    data = parquet_file.load(path=saved(tmp_path, {"image": cells[form], "label": [3, 7] * 20}), size=12, label="label")
    assert (data.modality, data.shape, data.levels, data.classes) == ("images", (1, 12, 12), 256, 2)
    assert rows_of(data) == rows_of(image_folder.load(path=str(tmp_path / "pictures"), size=12))
    odd = {row.numpy().tobytes() for _, split in data.splits() for row in split.x[split.labels == 1]}
    alone = saved(tmp_path, {"image": cells[form][1::2]}, "odd.parquet")
    assert odd == rows_of(parquet_file.load(path=alone, size=12)), "7 is the second class"


def test_a_broken_image_is_named_or_left_out(tmp_path: Path) -> None:
    cells = [*PICTURES[:30], PICTURES[30][:50], *PICTURES[31:]]
    path = saved(tmp_path, {"image": cells, "kind": ["a"] * 32 + ["b"] * 8})
    with pytest.raises(ValueError, match=r"table\.parquet: .*1 of 40 are not: row 31: its content is broken"):
        parquet_file.load(path=path)
    data = parquet_file.load(path=path, skip_broken=True, label="kind")
    assert sum(len(split) for _, split in data.splits()) == 39
    assert any(note.startswith("left out row 31: ") for note in data.notes)
    second = [int(split.labels.sum()) for _, split in data.splits() if split.labels is not None]
    assert sum(second) == 8, "the labels of the rows behind it stay theirs"


def test_texts_are_cut_into_windows_and_stay_together(tmp_path: Path) -> None:
    data = parquet_file.load(path=saved(tmp_path, {"text": TEXTS}), length=16)
    assert (data.modality, data.shape, data.vocabulary) == ("text", (16,), (*" abcdefgh", "\ufffd"))
    owners = {
        name: {next(text for text in TEXTS if data.text(row) in text) for row in split.x}
        for name, split in data.splits()
    }
    assert sum(map(len, owners.values())) == len(set.union(*owners.values())) == 100


def test_numbers_come_before_texts_but_not_before_lists(tmp_path: Path) -> None:
    assert parquet_file.load(path=saved(tmp_path, {**NUMBERS, "t": ["x"] * 600})).modality == "series"
    assert parquet_file.load(path=saved(tmp_path, {"label": range(60), "w": LISTS.tolist()})).shape == (16, 1)
    data = parquet_file.load(path=saved(tmp_path, {"label": range(100), "t": TEXTS}), column="t")
    assert data.modality == "text"


def test_bytes_that_changed_are_seen(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    parquet.write_table(pa.table(NUMBERS), path, compression="none", use_dictionary=False, write_page_checksum=True)
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="it is no parquet, or cut off"):
        parquet_file.load(path=str(path))


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (b"", {}, "it is no parquet, or cut off (Parquet file size is 0 bytes): write it anew"),
        (b"a,b\n1,2\n3,4\n", {}, "it is no parquet, or cut off"),
        ({"a": pa.array([], pa.float64())}, {}, "a table must have rows, and this one has none"),
        ({"a": [1.0, 2.0, 4.0]}, {}, "need at least 157 steps, and there are 3"),
        ({"w": [[1.0, 2.0], [2.0, 1.0], [3.0, 1.0]]}, {}, "at least 20 rows, and there are 3: give more data"),
        (NUMBERS, {"columns": "aa"}, "columns must name a column, and there is no 'aa': the nearest is 'a'"),
        ({"wave": LISTS.tolist()}, {"column": "waves"}, "column must name a column, and there is no 'waves': the "
                                                        "nearest is 'wave'"),
        (NUMBERS, {"column": "a"}, "must be lists, images or texts, and those of 'a' are double: name columns of"),
        ({"a": [*NOISE[:7, 0], None, *NOISE[8:, 0]]}, {}, "and 1 are not, such as 'a' in row 8: fill them in"),
        ({"a": NOISE[:, 0], "c": ["x"] * 600}, {"columns": ["c"]}, "'c' holds 600 that are none, such as 'x' in row 1"),
        ({"w": [[1.0, 2.0]] * 30 + [[1.0]]}, {}, "one length, and in 'w' row 1 is [2] and row 31 is [1]"),
        ({"w": [[[1.0], [2.0]]] * 30 + [[[1.0], [2.0, 3.0]]]}, {}, "with steps of several lengths: cut or pad them"),
        ({"w": [[[1.0], [2.0]]] * 30 + [[None, [2.0]]]}, {}, "in 'w' row 31 is one with a step that is null: cut"),
        ({"w": [None, *LISTS.tolist()]}, {}, "every row must have its 'w', and 1 have none, such as row 1: fill them"),
        ({"w": [[1.0, None]] * 30}, {}, "every number must be finite, and 30 are not"),
        ({"w": [["x", "y"]] * 30}, {}, "lists must hold numbers, and those of 'w' are list<element: string>"),
        ({"w": LISTS.tolist(), "k": [None] + ["x"] * 59}, {"label": "k"}, "must say its 'k', and that of row 1"),
        ({"w": LISTS.tolist()}, {"window": 8, "group": "k"}, "window, group are for columns of numbers, and the cells "
                                                             "of 'w' are rows by themselves: leave them out"),
        ({"t": TEXTS}, {"length": 500}, "a text must have at least 500 characters, and the longest has"),
        ({"t": TEXTS, "k": TEXTS}, {"column": "t", "label": "k"}, "texts have no classes"),
        ({"i": PICTURES}, {"size": "big"}, "the size of images is a whole number"),
        ({"i": [{"bytes": None, "path": "gone.png"}] * 30}, {}, "30 of 30 are not: row 1: its content is broken"),
    ],
)  # fmt: skip
def test_bad_tables_get_one_message(tmp_path: Path, table: Any, options: dict[str, Any], message: str) -> None:
    path = saved(tmp_path, table)
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        parquet_file.load(path=path, **options)
    assert str(told.value).startswith(f"{path}: ") or "size" in options
