"""The user's own table as text: a CSV file, or a folder of them with a series in each.

Rows are windows of consecutive rows of the table, as series [steps, features]; or, with `window: null`, each row of it
by itself, as points. Numbers are scaled by those of training, and `units` gives them back. What was assumed of a file,
such as its separator, and what was left out of it, is in the notes. Floor: numpy; pandas inside the functions.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ._data import Data
from ._own import existing, files_in, read_each
from ._tables import splits_stated, tabular
from ._windows import Form

if TYPE_CHECKING:
    import pandas as pd

READS_FILE = READS_FOLDER = (".csv", ".tsv")
SEPARATORS = (",", ";", "\t", "|")
# So many lines show how a file is written.
HEAD = 50
DECIMAL_COMMA = re.compile(r"\s*[-+]?\d+,\d+\s*")
DECIMAL_POINT = re.compile(r"\s*[-+]?\d+\.\d+\s*")
LINE_END = re.compile(r"\r\n|\r|\n")
# What Excel takes for the separator, if it is the first line.
STATED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)


def load(
    *,
    path: str,
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
    sep: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    header: bool | None = None,
    encoding: str = "utf-8",
    skip_broken: bool = False,
) -> Data:
    """The windows [steps, features] of a table, or its rows [numbers]; the same files give the same bytes.

    path: of a file, or of a folder whose files are a series each; files that are called train, validation and test, or
    lie in folders called so, are those splits.
    columns: the features; without it all columns of numbers but those that are constant or count the rows.
    time: the column to sort by, dates or numbers. Without it, the only column of dates, if there is one; else rows
    follow one another as they come, as they do with `none`.
    window, stride: steps of a row of data, and from one to the next; null for rows that stand by themselves.
    group: the column that tells the series of one file apart. label: the column of the class, one for a series.
    blocks: how many blocks of time each series is cut into for each split. Without it several series are split whole,
    and one alone is cut into as many as its length allows.
    held_out: the share for validation, and as much for test. seed: of the split.
    scale: whether features get mean 0 and standard deviation 1 over the training steps.
    missing: `drop` leaves out each row of data that lacks a number; `interpolate` first fills gaps shorter than a
    window on a line between their neighbors.
    sep, decimal, thousands, header, encoding: how the file is written; the first two and the presence of a header are
    found out where they are not stated.
    skip_broken: leave out files of a folder that cannot be read.

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
    marks = [mark for mark in (sep, decimal, thousands) if mark is not None]
    if any(not isinstance(mark, str) or len(mark) != 1 for mark in marks) or len(set(marks)) < len(marks):
        raise ValueError(f"sep, decimal and thousands must be one character each and all different, and they are "
                         f"{', '.join(map(repr, marks))}: correct them in the study")  # fmt: skip
    said: dict[str, None] = {}

    def read(file: Path) -> pd.DataFrame:
        return _read(file, sep=sep, decimal=decimal, thousands=thousands, header=header, encoding=encoding, said=said)

    if Path(path).is_dir():
        folder = Path(path)
        found, left_out = read_each(files_in(folder, READS_FOLDER), read, skip_broken=skip_broken)
        tables = {file.relative_to(folder).as_posix(): table for file, table in found.items()}
        splits, named = splits_stated(list(tables))
        left_out += named
    else:
        file, left_out, splits = existing(path, folder=False), [], {}
    try:
        if not Path(path).is_dir():
            tables = {"": read(file)}
        return tabular(
            tables,
            form,
            name="csv_file",
            place="line",
            source=Path(path).name,
            splits=splits,
            notes=[*left_out, *said],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def example(folder: Path) -> dict[str, object]:
    """Write a table of two waves with noise, hour by hour, and return the options to load it."""
    hours = np.arange(600)
    noise = np.random.RandomState(0).standard_normal((len(hours), 2))
    waves = np.stack([20.0 + 5.0 * np.sin(2.0 * np.pi * hours / 24.0), 60.0 - 9.0 * np.cos(hours / 9.0)], 1)
    times = np.datetime64("2024-01-01T00") + hours.astype("timedelta64[h]")
    lines = [f"{time},{a:.3f},{b:.3f}\n" for time, (a, b) in zip(times, waves + noise, strict=True)]
    (folder / "weather.csv").write_text("time,temperature,humidity\n" + "".join(lines), encoding="utf-8")
    return {"path": str(folder / "weather.csv"), "time": "time"}


def _read(
    file: Path,
    *,
    sep: str | None,
    decimal: str | None,
    thousands: str | None,
    header: bool | None,
    encoding: str,
    said: dict[str, None],
) -> pd.DataFrame:
    """The table, whose index counts the lines of the file from 1; rows and columns without any cell are left out."""
    import pandas as pd

    text = _decoded(file, encoding)
    lines = LINE_END.split(text)
    stated = STATED.fullmatch(lines[0])
    skipped = 0 if stated is None else 1
    head = lines[skipped : skipped + HEAD]
    if not any(map(str.strip, head)):
        raise ValueError("the file must hold a table, and it begins with empty lines only: remove these")
    if sep is None:
        sep = _separator(head, decimal=decimal) if stated is None else stated[1]
        if sep != ",":
            said[f"columns are separated by {sep!r}"] = None
    cells = _cells(head, sep)
    guessed = decimal is None
    if decimal is None:
        decimal = _decimal(cells, besides=sep + (thousands or ""))
        if decimal != ".":
            said[f"numbers have a decimal {decimal!r}"] = None
    if header is None:
        header = not any(_number(cell, decimal) for cell in cells[0])
        if not header:
            said["the first line has numbers, so columns have no names and are called 1, 2, ... (else state header: "
                 "true)"] = None  # fmt: skip
    options: dict[str, Any] = {
        "sep": sep,
        "decimal": decimal,
        "thousands": thousands,
        "header": 0 if header else None,
        "index_col": False,
        "skiprows": skipped,
        "skip_blank_lines": False,
        "skipinitialspace": True,
        "low_memory": False,
    }
    begins = _begins(lines, sep)
    try:
        with warnings.catch_warnings():
            # That a row has more cells than the header, which would lose them.
            warnings.simplefilter("error", pd.errors.ParserWarning)
            table: pd.DataFrame = pd.read_csv(io.StringIO(text), **options)
    except (pd.errors.ParserWarning, pd.errors.ParserError) as error:
        reason = " ".join(str(error).split()).removeprefix("Error tokenizing data. C error: ")
        # pandas counts rows, lines from 1 and what it calls rows from 0.
        reason = re.sub(r"(line|row) (\d+)", lambda at: f"line {begins[int(at[2]) - (at[1] == 'line')]}", reason)
        raise ValueError(
            f"every line must have the cells of the first one ({reason}): mend it, or correct sep"
        ) from None
    first = skipped + (1 if header else 0)
    table.index = pd.Index(begins[first : first + len(table)])
    table.columns = [str(column).strip() if header else str(place) for place, column in enumerate(table.columns, 1)]
    if guessed and (suspects := [place for place in range(table.shape[1]) if _may_be_thousands(table.iloc[:, place])]):
        written: pd.DataFrame = pd.read_csv(io.StringIO(text), **options, usecols=suspects, dtype=str)
        _check_thousands(table, written, suspects, mark=decimal)
    return _without_blanks(table, lines).dropna(axis=1, how="all")


def _begins(lines: list[str], sep: str) -> Sequence[int]:
    """The line, from 1, in which each row begins: quoted cells may hold line ends."""
    if any('"' in line for line in lines):
        rows = csv.reader(lines, delimiter=sep, skipinitialspace=True)
        with contextlib.suppress(csv.Error):  # a cell that is longer than this module takes
            return [1, *(rows.line_num + 1 for _ in rows)]
    return range(1, len(lines) + 1)


def _may_be_thousands(column: pd.Series[Any]) -> bool:
    """Whether all numbers are below 1000, as 1.234 is for 1234, and some but not all of them are whole."""
    if column.dtype != np.float64:
        return False
    size = column.dropna().abs()
    whole = size % 1 == 0
    return bool((size < 1000).all() and (size[~whole] > 1).all() and whole.any() and not whole.all())


def _check_thousands(table: pd.DataFrame, cells: pd.DataFrame, places: list[int], *, mark: str) -> None:
    """Raise `ValueError` for a column where each mark has three digits behind it, and some numbers have no mark.

    cells: as they are written, of the columns at these places.
    """
    for place, (_, column) in zip(places, cells.items(), strict=True):
        written = column.dropna().str.strip()
        marked = written.str.contains(mark, regex=False)
        if not marked.all() and written[marked].str.fullmatch(rf"[-+]?[1-9]\d{{0,2}}\{mark}\d{{3}}").all():
            row: Any = marked.idxmax()
            raise ValueError(
                f"it must be plain what a mark in a number means, and {table.columns[place]!r} holds "
                f"{written[row]} in line {table.index[row]} beside whole numbers such as {written[~marked].iloc[0]}: "
                f"state thousands: '{mark}', or decimal: '{mark}' if it is a fraction"
            )


def _without_blanks(table: pd.DataFrame, lines: list[str]) -> pd.DataFrame:
    """The table without rows of blank lines, and without rows of empty cells at its end; others lack their numbers."""
    empty = table.index[table.isna().all(axis=1)]
    if len(empty) == 0:
        return table
    last = table.dropna(how="all").index.max()
    return table.drop([line for line in empty if line > last or not lines[line - 1].strip()])


def _decoded(file: Path, encoding: str) -> str:
    """The text of the file without a byte-order mark; raises `ValueError` for another encoding, or for none of it."""
    try:
        text = file.read_bytes().decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except LookupError:
        raise ValueError(f"the encoding must be one that Python knows, and {encoding!r} is none: take utf-8, cp1252 or "
                         "another one") from None  # fmt: skip
    except UnicodeDecodeError as error:
        raise ValueError(
            f"the file must be text in {encoding}, and its byte {error.start} is not: save it as UTF-8, or "
            "state what it is saved as, such as encoding: cp1252 (Windows) or utf-16"
        ) from None
    if "\0" in text:
        raise ValueError(f"the file must be text, and it holds null characters in {encoding}: state another "
                         "encoding, or export the table as CSV")  # fmt: skip
    if not text.strip():
        raise ValueError("the file must hold a table, and it is empty: give another one")
    return text


def _cells(head: list[str], sep: str) -> list[list[str]]:
    """The cells of each line that is not blank; raises `ValueError` for what is no line of them."""
    try:
        return [row for row in csv.reader(head, delimiter=sep, skipinitialspace=True) if row]
    except csv.Error as error:
        raise ValueError(
            f"every line must be cells with separators between, and one is not ({error}): mend it"
        ) from None


def _separator(head: list[str], *, decimal: str | None) -> str:
    """What cuts the most lines into equally many cells, and into the most; the first where nothing does."""
    found = {}
    for sep in SEPARATORS:
        cells, lines = Counter(len(row) for row in _cells(head, sep)).most_common(1)[0]
        found[sep] = (lines, cells) if cells > 1 and sep != decimal else (0, 0)
    return max(found, key=lambda sep: found[sep])


def _decimal(cells: list[list[str]], *, besides: str) -> str:
    """A comma where some cell reads as 1,5 but none as 1.5, or where the point is another mark; else a point."""
    if "." in besides:
        return ","
    flat = [cell.translate(dict.fromkeys(map(ord, besides))) for row in cells for cell in row]
    commas = "," not in besides and any(DECIMAL_COMMA.fullmatch(cell) for cell in flat)
    return "," if commas and not any(DECIMAL_POINT.fullmatch(cell) for cell in flat) else "."


def _number(cell: str, decimal: str) -> bool:
    try:
        return math.isfinite(float(cell.replace(decimal, ".")))
    except ValueError:
        return False
