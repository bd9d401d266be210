"""Tables of numbers as data: which columns are features, and in what order their rows come.

What is common to tables of whatever file. A table is a pandas frame whose index is the place of each row in its file,
such as the line; `_windows` cuts rows of data from it. Floor: numpy; pandas inside the functions. Axes: S steps of a
series, F features.
"""

from __future__ import annotations

import difflib
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ._data import Data
from ._own import split_name
from ._windows import Form, Series, cut

if TYPE_CHECKING:
    import pandas as pd

# Columns whose cells are numbers in at least this share are meant to be numbers.
MOSTLY = 0.5
# A date, perhaps with a time; and cells that pandas takes for text, but a person for numbers.
DATE = r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([T ].*)?"
NUMBER = r"\s*[-+]?(\d{1,3}([,.' ]\d{3})+([,.]\d+)?|\d+,\d+)\s*"
# A date that may begin with its day or with its month.
DAY_OR_MONTH = r"\s*(0?[1-9]|1[0-2])[-/](0?[1-9]|1[0-2])[-/]\d{4}([T ].*)?"
# What the user says for the time where rows are in order as they come.
NO_TIME = "none"
# Cells, columns or series that one message names.
NAMED = 5


def splits_stated(files: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The split of each file, where all are in folders or begin with words for splits, some of them for training.

    files: their paths below the user's folder, such as test/a.csv or train-00000.parquet. Notes on what was taken.
    """
    words = {file: [*Path(file).parts[:-1], re.split(r"[-_. ]", Path(file).name)[0]] for file in files}
    found = {file: next(filter(None, map(split_name, own)), None) for file, own in words.items()}
    stated = {file: split for file, split in found.items() if split is not None}
    splits = sorted(set(stated.values()))
    if len(stated) == len(files) and "train" in splits and len(splits) > 1:
        return stated, [f"the files called {', '.join(splits)} are taken as splits"]
    if splits and splits != ["train"]:
        return {}, [f"no splits are taken from the names of files: {len(stated)} of {len(files)} are called "
                    f"{', '.join(splits)}, and all must be called so, some of them train"]  # fmt: skip
    return {}, []


def tabular(
    tables: Mapping[str, pd.DataFrame],
    form: Form,
    *,
    name: str,
    place: str,
    source: str,
    splits: Mapping[str, str] = MappingProxyType({}),
    notes: Sequence[str] = (),
) -> Data:
    """The data of these tables by the names of their files; one alone may have the name "".

    place: what a table's index counts, such as "line". splits: of the files, if the user states them.
    Raises `ValueError` for columns that are not there or hold no numbers, for what is missing where the form does not
    say what to do, and for too few rows.
    """
    said = list(notes)
    form = _with_time(tables, form, said=said)
    features = _features(tables, form, place=place, said=said)
    series = [
        replace(part, split=splits.get(file))
        for file, table in tables.items()
        for part in _series(file, table, features, form, place=place, said=said)
    ]
    kept = _that_tell(series, features, asked=form.columns is not None, said=said)
    features = [features[column] for column in kept]
    series = [replace(part, x=part.x[:, kept]) for part in series]
    _check_complete(series, features, form, place=place)
    return cut(series, features, form, name=name, source=source, said=said)


def _with_time(tables: Mapping[str, pd.DataFrame], form: Form, *, said: list[str]) -> Form:
    """The form with a column of time where just one holds dates, unless the user names one or declines."""
    for file, table in tables.items():
        table.columns = [str(column) for column in table.columns]
        if len(table) == 0:
            raise ValueError(f"a table must have rows, and {file or 'this one'} has none: give another one")
    if form.time == NO_TIME:
        return replace(form, time=None)
    if form.window is None or form.time is not None:
        return form
    dates = [column for column in _common(tables) if all(_dates(table[column]) for table in tables.values())]
    if len(dates) == 1:
        said.append(f"the time is {dates[0]}; time: {NO_TIME} keeps the rows as they come")
        return replace(form, time=dates[0])
    said.append("rows follow one another as they come: time names a column to sort by; window: null is for rows that "
                "stand alone")  # fmt: skip
    return form


def _common(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The columns that every table has."""
    first, *others = tables.values()
    return [str(column) for column in first.columns if all(column in other.columns for other in others)]


def _dates(found: pd.Series[Any]) -> bool:
    """Whether a column is dates, or text all of which looks like them."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(found):
        return True
    return pd.api.types.is_string_dtype(found) and bool(found.astype(str).str.fullmatch(DATE).all())


def column_named(column: str, there: Sequence[str], *, option: str) -> str:
    """The column, if it is there; raises `ValueError` with the nearest name if not."""
    if str(column) in there:
        return str(column)
    near = difflib.get_close_matches(str(column), there, n=1, cutoff=0.5)
    nearest = f"the nearest is {near[0]!r}" if near else f"there are {_listed(there)}"
    raise ValueError(f"{option} must name a column, and there is no {column!r}: {nearest}; correct it in the study")


def _features(tables: Mapping[str, pd.DataFrame], form: Form, *, place: str, said: list[str]) -> list[str]:
    """The columns of numbers that the user names, or all that every table has; turned into float64 in the tables."""
    roles = {"time": form.time, "group": form.group, "label": form.label}
    asked = [form.columns] if isinstance(form.columns, str) else form.columns
    for table in tables.values():
        for option, column in roles.items():
            if column is not None:
                column_named(column, list(table.columns), option=option)
    if asked is not None:
        names = list(dict.fromkeys(str(column) for column in asked))
        for file, table in tables.items():
            for column in names:
                _numbers(
                    table,
                    column_named(column, list(table.columns), option="columns"),
                    asked=True,
                    file=file,
                    place=place,
                )
        return names
    common = _common(tables)
    for column in dict.fromkeys(str(column) for table in tables.values() for column in table.columns):
        if lacking := [file for file, table in tables.items() if column not in table.columns]:
            said.append(f"left out the column {column}, which {len(lacking)} of {len(tables)} files lack: "
                        f"{_listed(lacking)}")  # fmt: skip
    free = [column for column in common if column not in roles.values()]
    names = [
        column
        for column in free
        if all(_numbers(table, column, asked=False, file=file, place=place) for file, table in tables.items())
    ]
    if not names:
        used = _listed(f"{column!r}, the {option}" for option, column in roles.items() if column is not None)
        besides = f" (besides {used})" if used else ""
        raise ValueError(
            f"a table must have columns of numbers that all of its files share, and there "
            f"are none in {_listed(map(repr, free)) or 'any'}{besides}: name the separator with sep, or "
            "give another table"
        )
    if left := [column for column in free if column not in names]:
        said.append(f"left out columns without numbers: {', '.join(left)}")
    return names


def _numbers(table: pd.DataFrame, column: str, *, asked: bool, file: str, place: str) -> bool:
    """Whether the column holds numbers; if so it is float64 afterwards, with NaN for what is missing or infinite.

    Raises `ValueError` for a few cells that are no numbers among many that are, and for any where it is asked for.
    """
    import pandas as pd

    found = table[column]
    if pd.api.types.is_datetime64_any_dtype(found) or pd.api.types.is_timedelta64_dtype(found):
        numbers = pd.Series(np.nan, index=found.index)
    else:
        numbers = pd.to_numeric(found.astype(object), errors="coerce").astype(np.float64)
    wrong = found.notna() & numbers.isna()
    alike = found[wrong].astype(str).str.fullmatch(NUMBER).sum()
    share = 1.0 - (wrong.sum() - alike) / max(1, found.notna().sum())
    if found.isna().all() and not asked:
        return False
    if wrong.any() and (asked or share >= MOSTLY):
        first: Any = wrong.idxmax()
        of = f" of {file}" if file else ""
        remedy = (
            "mend them, or state decimal or thousands if that is how they are written"
            if share >= MOSTLY
            else "name another column"
        )
        raise ValueError(
            f"columns must hold numbers, and {column!r}{of} holds {wrong.sum()} that are none, such as "
            f"{str(found[first])!r} in {place} {first}: {remedy}, or leave it out by naming others in columns"
        )
    table[column] = numbers.where(np.isfinite(numbers))
    return not wrong.any()


def _series(
    file: str, table: pd.DataFrame, features: list[str], form: Form, *, place: str, said: list[str]
) -> list[Series]:
    """The series of one table, each in the order of time."""
    for column in (form.group, form.label):
        if column is not None and (gone := table[column].isna()).any():
            raise ValueError(f"every row must say its {column!r}, and that of {place} {gone.idxmax()} is empty: "
                             "fill it in, or remove the row")  # fmt: skip
    if form.time is not None and form.window is not None:
        table = _in_order(file, table, [*features, *filter(None, (form.label,))], form, place=place, said=said)
    found = [("", table)] if form.group is None else [(str(of), part) for of, part in table.groupby(form.group)]
    series = []
    for group, part in found:
        name = "/".join(filter(None, (file, group)))
        labels = None if form.label is None else part[form.label].astype(str).to_numpy(dtype=np.str_)
        if labels is not None and form.window is not None and len(set(labels)) > 1:
            raise ValueError(
                f"a series has one label, and {name or 'the table'} has {_listed(sorted(set(labels)))}: name the "
                "column that tells the series apart with group, or leave label out"
            )
        series.append(
            Series(
                name=name,
                x=part[features].to_numpy(dtype=np.float64),
                places=part.index.to_numpy(dtype=np.int64),
                labels=labels,
            )
        )
    return series


def _in_order(
    file: str, table: pd.DataFrame, content: list[str], form: Form, *, place: str, said: list[str]
) -> pd.DataFrame:
    """The table by time, and within a group by time; rows that come twice with the same content come once."""
    of = f"{file}: " if file else ""
    assert form.time is not None
    within = [form.time] if form.group is None else [form.group, form.time]
    if table[form.time].astype(str).str.fullmatch(DAY_OR_MONTH).all():
        said.append(f"{of}dates in {form.time}, such as {table[form.time].iloc[0]}, are read month first: write them "
                    "as 2024-01-31 if the day comes first")  # fmt: skip
    table = table.assign(**{form.time: _times(table[form.time], place=place)})
    once = table.drop_duplicates([*within, *content])
    if len(once) < len(table):
        said.append(f"{of}removed {len(table) - len(once)} rows that repeat a time and all numbers")
    if (again := once.duplicated(within)).any():
        second = once.index[int(np.flatnonzero(again)[0])]
        raise ValueError(
            f"a series has one row at a time, and that of {place} {second} comes twice with other numbers: name the "
            f"column that tells the series apart with group, remove one, or state time: {NO_TIME} to keep the rows as "
            "they come; rows that stand alone have window: null"
        )
    ordered = once.sort_values(within, kind="stable")
    if not once.index.equals(ordered.index):
        said.append(f"{of}sorted by {form.time}")
    apart = ordered[form.time].diff() if form.group is None else ordered.groupby(form.group)[form.time].diff()
    apart = apart.dropna()
    if len(apart) and apart.min() != apart.max():
        said.append(f"{of}steps are {apart.min()} to {apart.max()} apart in {form.time}, and taken as equally far")
    return ordered


def _times(times: pd.Series[Any], *, place: str) -> pd.Series[Any]:
    """Numbers as they are, and else dates; raises `ValueError` for a cell that is neither."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(times):
        found = times
    else:
        with warnings.catch_warnings():
            # That each cell was read by itself, for want of one format.
            warnings.simplefilter("ignore")
            # Dots stand behind a day; of 2/1/2024 only the whole column may tell which is the day.
            dots = bool(times.astype(str).str.match(r"\s*\d{1,2}\.").all())
            found = pd.to_datetime(times, errors="coerce", utc=True, dayfirst=dots)
            if (found.isna() & times.notna()).any():
                found = pd.to_datetime(times, errors="coerce", utc=True, dayfirst=True, format="mixed")
        # Words such as "now" would be another time each day.
        found = found.where(times.astype(str).str.contains(r"\d"))
    if (wrong := found.isna()).any():
        first: Any = wrong.idxmax()
        raise ValueError(
            f"time must hold dates or numbers, and {times.name!r} holds {str(times[first])!r} in {place} {first}: mend "
            f"it, remove the row, or state time: {NO_TIME}, so that rows follow one another as they come"
        )
    return found


def _that_tell(series: list[Series], features: list[str], *, asked: bool, said: list[str]) -> list[int]:
    """The places of the features that are measurements: neither constant nor a mere count of the rows.

    Raises `ValueError` for a constant one that the user asked for, and where none is left.
    """
    kept, constant, counts = [], [], []
    for place, feature in enumerate(features):
        columns = [part.x[:, place] for part in series]
        numbers = np.concatenate(columns)
        numbers = numbers[~np.isnan(numbers)]
        if len(numbers) == 0 or (numbers == numbers[0]).all():
            constant.append(feature)
        elif not asked and all(_counts(column_S) for column_S in columns):
            counts.append(feature)
        else:
            kept.append(place)
    if constant and (asked or not kept):
        raise ValueError(f"columns must vary, and {_listed(map(repr, constant))} holds one number all along: leave it "
                         "out of columns")  # fmt: skip
    if not kept:
        raise ValueError(f"columns must measure something, and {_listed(map(repr, counts))} only counts the rows: name "
                         "it in columns if it is meant")  # fmt: skip
    said.append(f"numbers: {', '.join(features[place] for place in kept)}")
    if constant:
        said.append(f"left out constant columns: {', '.join(constant)}")
    if counts:
        said.append(f"left out columns that grow by the same at each row: {', '.join(counts)}")
    rise = [features[place] for place in kept if all(_rises(part.x[:, place]) for part in series)]
    if rise and not asked:
        said.append(f"columns that only rise, as a time or a count does, are taken as features: {', '.join(rise)}; if "
                    "they are none, name the others in columns")  # fmt: skip
    return kept


def _counts(column_S: NDArray[np.float64]) -> bool:
    steps = np.diff(column_S)
    return len(steps) > 1 and steps[0] != 0 and bool(np.allclose(steps, steps[0], rtol=1e-6, atol=0))


def _rises(column_S: NDArray[np.float64]) -> bool:
    return len(column_S) > 2 and bool((np.diff(column_S) > 0).all())


def _check_complete(series: list[Series], features: list[str], form: Form, *, place: str) -> None:
    """Raise `ValueError` for a missing number, unless the form says what to do."""
    if form.missing is not None:
        return
    for part in series:
        missing_SF = np.isnan(part.x)
        if missing_SF.any():
            step, feature = np.argwhere(missing_SF)[0]
            of = f" of {part.name}" if part.name else ""
            ways = "missing: drop leaves out each row of data with one"
            ways += "" if form.window is None else ", missing: interpolate fills short gaps"
            raise ValueError(
                f"every number must be there and finite, and {missing_SF.sum()}{of} are not, such as "
                f"{features[feature]!r} in {place} {part.places[step]}: fill them in, or say what to do ({ways})"
            )


def _listed(names: Iterable[str]) -> str:
    """The first of these names."""
    found = list(names)
    return ", ".join(found[:NAMED]) + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "")
