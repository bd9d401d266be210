"""The user's own table as parquet: a file, or a folder of files that are parts of one table, or of its splits.

Either its columns are numbers, which become rows as those of `csv_file` do; or one column holds a row of data in each
cell: a list of numbers is a series, or a list of lists one of several features; bytes, or a struct of `bytes` and
`path`, are an image; a string is a text, cut into windows of characters. Floor: numpy; pyarrow and pandas inside the
functions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import _arrays, _images, _text
from ._data import Data
from ._own import existing, files_in, read_each
from ._tables import column_named, splits_stated, tabular
from ._windows import ROUND, Form

if TYPE_CHECKING:
    import pyarrow as pa

READS_FILE = READS_FOLDER = (".parquet", ".pq")
INDEX = re.compile(r"__index_level_\d+__")
# The options that say how rows are made of columns of numbers.
OF_NUMBERS = ("columns", "time", "window", "stride", "group", "blocks", "missing")


def load(
    *,
    path: str,
    column: str | None = None,
    columns: str | Sequence[str] | None = None,
    time: str | None = None,
    window: int | None = 24,
    stride: int = 1,
    group: str | None = None,
    label: str | None = None,
    blocks: int | None = None,
    held_out: float | None = None,
    seed: int = 0,
    scale: bool = True,
    missing: str | None = None,
    size: int | None = None,
    mode: str | None = None,
    length: int = 64,
    skip_broken: bool = False,
) -> Data:
    """The rows of a table; the same files give the same bytes.

    path: of a file, or of a folder whose files are parts of one table. Where all are called after splits, such as
    train-00000.parquet, or lie in folders called so, they are parts of these.
    column: the one whose cells are rows of data. Without it, and without `columns`, it is the only one of lists or
    images, if there is one; else rows come from the columns of numbers.
    columns, time, window, stride, group, blocks, missing: as in `csv_file`, for columns of numbers.
    label: the column of the class. held_out: the share for validation, and as much for test. seed: of the split.
    scale: whether numbers get mean 0 and standard deviation 1 over training.
    size, mode, skip_broken: as in `image_folder`, for images. length: characters of a row, for texts.

    Raises `ValueError` for what cannot be read or used.
    """
    form = Form(
        columns=columns,
        time=time,
        window=window,
        stride=stride,
        group=group,
        label=label,
        blocks=blocks,
        held_out=held_out,
        seed=seed,
        scale=scale,
        missing=missing,
    )
    _images.check_options(size=size, mode=mode)
    file = existing(path, folder=Path(path).is_dir())
    try:
        table, parts, notes = _read(file)
        if column is None and columns is None:
            column = _only_one_of_rows(table)
        if column is None:
            return _of_numbers(table, parts, form, source=file.name, notes=notes)
        return _of_cells(
            table,
            parts,
            column,
            form,
            file,
            size=size,
            mode=mode,
            length=length,
            skip_broken=skip_broken,
            notes=notes,
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def example(folder: Path) -> dict[str, object]:
    """Write a table of 80 lists of 32 numbers, waves that rise or fall, and return the options to load it."""
    import pyarrow as pa
    from pyarrow import parquet

    random = np.random.RandomState(0)
    kinds = ["rising", "falling"] * 40
    waves = [
        (random.uniform(0.5, 1.5) * np.linspace(-1, 1, 32) * (1 if kind == "rising" else -1)
         + 0.1 * random.standard_normal(32)).tolist()
        for kind in kinds
    ]  # fmt: skip
    parquet.write_table(pa.table({"wave": waves, "kind": kinds}), folder / "waves.parquet")
    return {"path": str(folder / "waves.parquet"), "column": "wave", "label": "kind"}


def _read(file: Path) -> tuple[pa.Table, list[str] | None, list[str]]:
    """The table, or that of all files of a folder, with words in place of codes for them; the split of each row, if the
    names of the files state it, those to train on first; and notes on these."""
    import pyarrow as pa
    from pyarrow import parquet

    def read(part: Path) -> pa.Table:
        try:
            return parquet.ParquetFile(part, page_checksum_verification=True).read()
        except (pa.ArrowException, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"it is no parquet, or cut off ({reason}): write it anew") from None

    if file.is_dir():
        found, _ = read_each(files_in(file, READS_FOLDER), read, skip_broken=False)
        tables = {part.relative_to(file).as_posix(): table for part, table in found.items()}
        splits, notes = splits_stated(list(tables))
        tables = dict(sorted(tables.items(), key=lambda item: ROUND.index(splits.get(item[0], "train"))))
        parts = [splits[name] for name, table in tables.items() for _ in range(len(table))] if splits else None
        try:
            table = pa.concat_tables(tables.values(), promote_options="permissive")
        except pa.ArrowException as error:
            raise ValueError(f"the files of a folder must be parts of one table, and their columns differ ({error}): "
                             "give one file") from None  # fmt: skip
    else:
        table, parts, notes = read(file), None, []
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(place, field.name, table.column(place).cast(field.type.value_type))
    return table, parts, notes


def _of_numbers(table: pa.Table, parts: Sequence[str] | None, form: Form, *, source: str, notes: Sequence[str]) -> Data:
    """The rows that are made of columns of numbers."""
    import pyarrow as pa

    flat = [field.name for field in table.schema if not pa.types.is_nested(field.type) and not _is_image(field.type)]
    left = [name for name in table.column_names if name not in flat]
    notes = [*notes, *([f"left out columns of lists or bytes: {', '.join(left)}"] if left else [])]
    named = {
        form.time,
        form.group,
        form.label,
        *([form.columns] if isinstance(form.columns, str) else form.columns or []),
    }
    # How pandas writes the numbers of rows, once some rows are gone.
    if indices := [name for name in flat if INDEX.fullmatch(name) and name not in named
                   and pa.types.is_integer(table.schema.field(name).type)]:  # fmt: skip
        flat = [name for name in flat if name not in indices]
        notes.append(f"left out the index of pandas: {', '.join(indices)}")
    frame = table.select(flat).to_pandas(ignore_metadata=True, date_as_object=False)
    frame.index += 1
    tables = {"": frame}
    if parts is not None:
        tables = {str(split): own.reset_index(drop=True) for split, own in frame.groupby(np.array(parts))}
        for own in tables.values():
            own.index += 1
    return tabular(
        tables,
        form,
        name="parquet_file",
        place="row",
        source=source,
        splits={} if parts is None else {split: split for split in tables},
        notes=notes,
    )


def _of_cells(
    table: pa.Table,
    parts: list[str] | None,
    column: str,
    form: Form,
    file: Path,
    *,
    size: int | None,
    mode: str | None,
    length: int,
    skip_broken: bool,
    notes: Sequence[str],
) -> Data:
    """The rows that are the cells of one column."""
    own = table.column(column_named(column, table.column_names, option="column"))
    if others := [option for option in OF_NUMBERS if getattr(form, option) != getattr(Form(), option)]:
        raise ValueError(f"{', '.join(others)} are for columns of numbers, and the cells of {column!r} are rows by "
                         "themselves: leave them out, or leave column out")  # fmt: skip
    classes = None if form.label is None else _classes(table, form.label)
    if own.null_count:
        first = own.is_null().to_pylist().index(True)
        raise ValueError(f"every row must have its {column!r}, and {own.null_count} have none, such as row "
                         f"{first + 1}: fill them in, or remove these rows")  # fmt: skip
    notes = [*notes, f"rows are the cells of {column}"]
    if _is_list(own.type):
        return _arrays.as_data(
            _lists(own, column),
            None if classes is None else np.array(classes),
            None if parts is None else np.array(parts),
            layout="NTF" if _is_list(own.type.value_type) else "NT",
            levels=None,
            scale=form.scale,
            held_out=form.held_out,
            seed=form.seed,
            name="parquet_file",
            source=file.name,
            notes=notes,
        )
    if _is_image(own.type):
        folder = file if file.is_dir() else file.parent
        pictures, broken = _pictures(own, folder, size=size, skip_broken=skip_broken)
        rows = [int(row.split()[1]) - 1 for row in pictures]
        return _images.as_data(
            pictures,
            parts=None if parts is None else [parts[row] for row in rows],
            classes=None if classes is None else [classes[row] for row in rows],
            size=size,
            mode=mode,
            held_out=form.held_out,
            seed=form.seed,
            name="parquet_file",
            source=file.name,
            notes=[*notes, *broken],
        )
    if not _is_text(own.type):
        raise ValueError(f"the cells of column must be lists, images or texts, and those of {column!r} are {own.type}: "
                         "name columns of numbers with columns")  # fmt: skip
    if classes is not None:
        raise ValueError("texts have no classes, as no model takes them: leave label out")
    return _text.as_data(
        own.to_pylist(),
        length=length,
        held_out=form.held_out,
        seed=form.seed,
        name="parquet_file",
        source=file.name,
        parts=parts,
        notes=notes,
    )


def _only_one_of_rows(table: pa.Table) -> str | None:
    """The only column of lists or images, if there is one; of texts, where nothing else is."""
    rows = [field.name for field in table.schema if _is_list(field.type) or _is_image(field.type)]
    if not rows and all(_is_text(field.type) for field in table.schema):
        rows = table.column_names
    return rows[0] if len(rows) == 1 else None


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_image(kind: Any) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return "bytes" in [field.name for field in kind]
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _classes(table: pa.Table, label: str) -> list[str]:
    """The class of each row by name."""
    found = table.column(column_named(label, table.column_names, option="label")).to_pylist()
    if None in found:
        raise ValueError(f"every row must say its {label!r}, and that of row {found.index(None) + 1} is empty: fill it "
                         "in, or remove the row")  # fmt: skip
    return [str(name) for name in found]


def _lists(own: pa.ChunkedArray, column: str) -> NDArray[np.float64]:
    """The lists as an array [N, T], or [N, T, F]."""
    found = own.to_pylist()
    first: list[int] = []
    for row, cell in enumerate(found, 1):
        lengths = {-1 if step is None else len(step) for step in cell} if _is_list(own.type.value_type) else set()
        if -1 in lengths or len(lengths) > 1:
            wrong = "a step that is null" if -1 in lengths else "steps of several lengths"
            raise ValueError(f"the steps of a list must be lists of one length, and in {column!r} row {row} is one "
                             f"with {wrong}: cut or pad them")  # fmt: skip
        shape = [len(cell), *lengths]
        first = first or shape
        if shape != first:
            raise ValueError(f"lists must have one length, and in {column!r} row 1 is {first} and row {row} is "
                             f"{shape}: cut or pad them")  # fmt: skip
    try:
        return np.array(found, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(
            f"lists must hold numbers, and those of {column!r} are {own.type}: name another column"
        ) from None


def _pictures(
    own: pa.ChunkedArray, folder: Path, *, size: int | None, skip_broken: bool
) -> tuple[dict[str, _images.Picture], list[str]]:
    """The images whose bytes, or whose paths from the folder on, are in the cells, by row; notes on those left out."""
    cells = {f"row {row}": cell for row, cell in enumerate(own.to_pylist(), 1)}

    def read(row: str) -> _images.Picture:
        cell = cells[row]
        content = (
            cell if isinstance(cell, bytes) else cell["bytes"] or _images.file_within(folder, cell.get("path") or "")
        )
        return _images.read_picture(content, size=size)

    return read_each(list(cells), read, skip_broken=skip_broken)
