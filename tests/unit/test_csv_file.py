"""CSV files of the user's own: each way to write one, which steps each split has, and what is refused."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainables.data import csv_file
from trainables.data._data import Data
from trainables.data._windows import Form, Series, cut

STEPS = 600
NOISE = np.random.RandomState(0).standard_normal((STEPS, 2)).round(3)
LINES = [f"{a},{b + 5:.3f}" for a, b in NOISE]
PLAIN = "\n".join(["a,b", *LINES]) + "\n"

# Two lines each row; and whole numbers with a point between thousands.
QUOTED = "a,b,c\n" + "".join(f'{line},"x\ny"\n' for line in LINES[:300])
MARKED = "a,b\n" + "".join(f"{x},{n if n < 300 else f'1.{n}'}\n" for n, (x, _) in enumerate(NOISE))


def saved(folder: Path, text: str | bytes, name: str = "table.csv") -> str:
    content = text.encode() if isinstance(text, str) else text
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).write_bytes(content)
    return str(folder / name)


def with_line(number: int, line: str, text: str = PLAIN) -> str:
    """The text with another line of that number, counted from 1."""
    lines = text.splitlines()
    return "\n".join([*lines[: number - 1], line, *lines[number:]]) + "\n"


def dated(days: list[int], form: str) -> str:
    """A row a day, day 0 being the first of January; the numbers tell the day."""
    dates = [np.datetime64("2024-01-01") + day for day in days]
    written = [form.format(*str(date).split("-")) for date in dates]
    numbers = ((x, y) for x, y in NOISE[days])
    return "when,a,b\n" + "".join(f"{date},{x},{y}\n" for date, (x, y) in zip(written, numbers, strict=True))


def numbered(*lengths: int) -> list[Series]:
    """Series of steps that count from 0 to the last step of the last one, beside noise."""
    found, first = [], 0
    for number, length in enumerate(lengths):
        steps = np.arange(first, first + length)
        x = np.stack([steps.astype(np.float64), np.random.RandomState(number).standard_normal(length)], 1)
        found.append(Series(name=str(number), x=x, places=steps, labels=None))
        first += length
    return found


def steps_of(data: Data) -> dict[str, NDArray[np.int64]]:
    """The numbers of the steps of each window [N, T] of data that were not scaled."""
    return {name: split.x[..., 0].numpy().astype(np.int64) for name, split in data.splits()}


@settings(max_examples=60, deadline=None)
@given(
    steps=st.integers(150, 900),
    window=st.integers(2, 30),
    stride=st.integers(1, 6),
    rounds=st.one_of(st.none(), st.integers(1, 3)),
    share=st.one_of(st.none(), st.floats(0.05, 0.3)),
)
def test_blocks_of_two_splits_are_a_window_apart(
    steps: int, window: int, stride: int, rounds: int | None, share: float | None
) -> None:
    form = Form(window=window, stride=stride, blocks=rounds, held_out=share, scale=False)
    try:
        data = cut(numbered(steps), ["step", "noise"], form, name="csv_file", source="test", said=[])
    except ValueError as error:
        needed = re.search(r"need at least (\d+) steps", str(error))
        assert needed is not None
        assert int(needed[1]) > steps
        return
    found = steps_of(data)
    for windows in found.values():
        assert (np.diff(windows, axis=1) == 1).all()
    owner = np.full(steps, -1)
    for split, windows in enumerate(found.values()):
        assert (owner[windows] == -1).all() or set(owner[windows].ravel()) <= {-1, split}, "a step is in two splits"
        owner[windows] = split
    used = np.flatnonzero(owner >= 0)
    for before, after in pairwise(used):
        if owner[before] != owner[after]:
            assert after - before > window
    assert len(found["validation"]) == len(found["test"])
    if share is not None:
        every = sum(map(len, found.values()))
        # A block of each round holds a whole number of windows.
        assert abs(len(found["validation"]) - share * every) <= (rounds or 5)


@pytest.mark.parametrize("more", [0, -1])
def test_the_steps_that_are_asked_for_are_enough_and_one_less_is_not(more: int) -> None:
    form = Form(window=24, stride=3, blocks=2)
    with pytest.raises(ValueError, match="need at least") as told:
        cut(numbered(100), ["step", "noise"], form, name="csv_file", source="test", said=[])
    needed = int(str(told.value).split("need at least ")[1].split()[0])
    if more:
        with pytest.raises(ValueError, match=f"need at least {needed} steps, and there are {needed - 1}"):
            cut(numbered(needed - 1), ["step", "noise"], form, name="csv_file", source="test", said=[])
    else:
        data = cut(numbered(needed), ["step", "noise"], form, name="csv_file", source="test", said=[])
        assert len(data.train) == 20


def test_several_series_are_split_whole() -> None:
    form = Form(window=10, scale=False, held_out=0.25)
    data = cut(numbered(*[40] * 12), ["step", "noise"], form, name="csv_file", source="test", said=[])
    found = steps_of(data)
    series = {name: set((windows // 40).ravel()) for name, windows in found.items()}
    assert set.union(*series.values()) == set(range(12))
    assert sum(map(len, series.values())) == 12
    assert {name: len(own) for name, own in series.items()} == {"train": 6, "validation": 3, "test": 3}
    assert all(len(windows) == 31 * len(series[name]) for name, windows in found.items())
    assert all((windows[:, 0] // 40 == windows[:, -1] // 40).all() for windows in found.values())


def test_windows_are_consecutive_lines_of_the_file(tmp_path: Path) -> None:
    data = csv_file.load(path=saved(tmp_path, PLAIN), scale=False, window=7, stride=2)
    file = np.array([[float(cell) for cell in line.split(",")] for line in LINES], dtype=np.float32)
    places = {file[first : first + 7].tobytes(): first for first in range(STEPS - 6)}
    firsts = {name: sorted(places[row.numpy().tobytes()] for row in split.x) for name, split in data.splits()}
    assert sorted(np.diff(firsts["validation"]))[: len(data.validation) // 2] == [2] * (len(data.validation) // 2)
    assert (data.modality, data.shape, data.levels) == ("series", (7, 2), None)


def test_the_scale_is_that_of_the_training_steps(tmp_path: Path) -> None:
    plain = csv_file.load(path=saved(tmp_path, PLAIN), scale=False)
    scaled = csv_file.load(path=saved(tmp_path, PLAIN))
    steps = np.unique(plain.train.x.double().numpy().reshape(-1, 2), axis=0)
    assert scaled.units is not None
    assert np.allclose(scaled.units.mean, steps.mean(0), rtol=1e-6)
    assert np.allclose(scaled.units.deviation, steps.std(0), rtol=1e-6)
    assert scaled.units.names == ("a", "b")
    for (_, before), (_, after) in zip(plain.splits(), scaled.splits(), strict=True):
        assert torch.allclose(scaled.units(after.x), before.x.double(), rtol=0, atol=1e-5)


def test_held_out_numbers_change_nothing_of_training(tmp_path: Path) -> None:
    """Neither through the scale nor through what fills a gap, wherever numbers are missing."""
    random = np.random.RandomState(1)
    marked = cut(numbered(STEPS), ["a", "b"], Form(window=8, scale=False), name="csv_file", source="test", said=[])
    train = np.unique(steps_of(marked)["train"])
    held = np.setdiff1d(np.unique(np.concatenate([steps_of(marked)[name] for name in ("validation", "test")])), train)
    for _ in range(10):
        x = NOISE.copy()
        for first in random.randint(0, STEPS, 25):
            x[first : first + random.randint(1, 12), random.randint(2)] = np.nan
        other = x.copy()
        other[held] = 100.0 + random.standard_normal((len(held), 2))
        found = [
            cut(
                [Series(name="", x=own, places=np.arange(STEPS), labels=None)],
                ["a", "b"],
                Form(window=8, missing="interpolate"),
                name="csv_file",
                source="test",
                said=[],
            ).train.x
            for own in (x, other)
        ]
        # Which windows are complete may differ at most by what is held out.
        assert len(found[0]) > 50
        assert {row.numpy().tobytes() for row in found[0]} == {row.numpy().tobytes() for row in found[1]}


def test_short_gaps_are_filled_on_a_line_and_long_ones_left_out() -> None:
    x = np.stack([np.arange(200.0), np.random.RandomState(0).standard_normal(200)], 1)
    gaps = x.copy()
    gaps[[50, 51, 60], 0] = np.nan
    gaps[120:129, 0] = np.nan
    gaps[:3, 1] = np.nan

    def cut_at(missing: str) -> Data:
        part = Series(name="", x=gaps, places=np.arange(200), labels=None)
        form = Form(window=8, missing=missing, scale=False, blocks=1)
        return cut([part], ["a", "b"], form, name="csv_file", source="test", said=[])

    filled, dropped = cut_at("interpolate"), cut_at("drop")
    steps = np.concatenate(list(steps_of(filled).values()))
    rows = np.concatenate([split.x.double().numpy() for _, split in filled.splits()])
    assert np.allclose(rows[..., 0], steps, atol=1e-4), "a ramp is a line"
    assert {50, 51, 60} <= set(steps.ravel())
    assert not set(range(120, 129)) & set(steps.ravel())
    assert not {0, 1, 2} & set(steps.ravel())
    gone = set(np.concatenate(list(steps_of(dropped).values())).ravel())
    assert not {50, 51, 60, 120, 128, 0} & gone
    assert any(re.fullmatch(r"left out \d+ of \d+ rows of data, which lack a number", note) for note in dropped.notes)


@pytest.mark.parametrize(
    ("content", "options", "note"),
    [
        (PLAIN.replace(",", ";"), {}, "columns are separated by ';'"),
        (PLAIN.replace(",", ";").replace(".", ","), {}, "numbers have a decimal ','"),
        (PLAIN.replace(",", "\t"), {}, r"columns are separated by '\t'"),
        (PLAIN.replace(",", "|"), {}, "columns are separated by '|'"),
        (PLAIN.replace(",", "~"), {"sep": "~"}, ""),
        ("sep=;\r\n" + PLAIN.replace(",", ";").replace("\n", "\r\n"), {}, "columns are separated by ';'"),
        ("sep=~\n" + PLAIN.replace(",", "~"), {}, "columns are separated by '~'"),
        ("\ufeff" + PLAIN, {}, ""),
        (PLAIN.encode("utf-16"), {"encoding": "utf-16"}, ""),
        (PLAIN.replace("\n", "\r\n"), {}, ""),
        (PLAIN.replace("\n", "\r\r\n"), {}, ""),
        (PLAIN.replace("\n", "\n\n") + " \n,\n,\n", {}, ""),
        (PLAIN.replace("\n", ",\n"), {}, ""),
        (PLAIN.replace(",", " , "), {}, ""),
        ("\n".join(['"a","b"', *(re.sub(r"([^,]+)", r'"\1"', line) for line in LINES)]), {}, ""),
        ("\n".join(["a,b,city", *(line + ",Ulm" for line in LINES)]), {}, "left out columns without numbers: city"),
        ("\n".join(["a,b,unit", *(line + ",7" for line in LINES)]), {}, "left out constant columns: unit"),
        ("\n".join([",a,b", *(f"{row},{line}" for row, line in enumerate(LINES))]), {},
         "left out columns that grow by the same at each row: Unnamed: 0"),
        ("\n".join(["c,a,b", *(f"{line[-1]},{line}" for line in LINES)]), {"columns": ["a", "b"]}, "numbers: a, b"),
        ("\n".join(["k,a,b", *(f"{row},{line}" for row, line in enumerate(LINES))][::-1][:-1] + ["k,a,b"][:0]),
         {"time": "1", "columns": [2, 3]}, "sorted by 1"),
    ],
)  # fmt: skip
def test_however_it_is_written_the_numbers_are_the_same(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], note: str
) -> None:
    data = csv_file.load(path=saved(tmp_path, content), **options)
    assert data.sha256 == csv_file.load(path=saved(tmp_path, PLAIN)).sha256
    assert not note or note in data.notes


def test_thousands_and_decimal_commas(tmp_path: Path) -> None:
    millions = (NOISE * 1e6).round(1)
    swapped = str.maketrans(",.", ".,")
    lines = [";".join(f"{number:,.1f}".translate(swapped) for number in row) for row in millions]
    data = csv_file.load(path=saved(tmp_path, "\n".join(["a;b", *lines])), thousands=".", scale=False)
    plain = "\n".join(["a,b", *(f"{a},{b}" for a, b in millions)])
    assert data.sha256 == csv_file.load(path=saved(tmp_path, plain), scale=False).sha256
    assert "numbers have a decimal ','" in data.notes


def test_points_between_thousands_and_decimal_points_are_as_stated(tmp_path: Path) -> None:
    path = saved(tmp_path, MARKED)
    options: dict[str, Any] = {"columns": "b", "scale": False}
    assert csv_file.load(path=path, thousands=".", **options).value_range[1] > 1300
    assert csv_file.load(path=path, decimal=".", **options).value_range[1] < 1000
    for other in (MARKED.replace(",7\n", ",7.5\n"), MARKED.replace("1.599", "1599")):
        csv_file.load(path=saved(tmp_path, other), columns="b")


@pytest.mark.parametrize(
    "form", ["{0}-{1}-{2}", "{2}.{1}.{0}", "{2}/{1}/{0}", "{0}/{1}/{2} 10:00", "{0}-{1}-{2}T06:30:00Z"]
)
@pytest.mark.parametrize("named", [True, False])
def test_lines_are_sorted_by_time(tmp_path: Path, form: str, named: bool) -> None:
    days = list(range(300))
    ordered = csv_file.load(path=saved(tmp_path, "\n".join(["a,b", *(f"{x},{y}" for x, y in NOISE[:300])])))
    # The first one, the second of January, could be the first of February by itself.
    shuffled = [1, *(day for day in np.random.RandomState(3).permutation(days).tolist() if day != 1)]
    data = csv_file.load(path=saved(tmp_path, dated(shuffled, form)), time="when" if named else None)
    assert data.sha256 == ordered.sha256
    assert "sorted by when" in data.notes
    assert any(note.startswith("the time is when") for note in data.notes) != named


def test_of_dates_with_dots_the_day_comes_first(tmp_path: Path) -> None:
    """Even where no day is above 12: the second of January comes before the first of February."""
    days = [day for day in range(300) if int(str(np.datetime64("2024-01-01") + day)[-2:]) <= 12]
    long = [(NOISE[row % 600, 0], day) for row, day in enumerate(days)]
    for form in ("{2}.{1}.{0}", "{0}-{1}-{2}"):
        dates = [form.format(*str(np.datetime64("2024-01-01") + day).split("-")) for _, day in long]
        saved(
            tmp_path,
            "when,a\n" + "".join(f"{date},{x}\n" for date, (x, _) in zip(dates, long, strict=True)),
            f"{form[1]}",
        )
    options: dict[str, Any] = {"window": 4, "time": "when"}
    assert (
        csv_file.load(path=str(tmp_path / "2"), **options).sha256
        == csv_file.load(path=str(tmp_path / "0"), **options).sha256
    )


def test_the_time_can_be_declined(tmp_path: Path) -> None:
    plain = csv_file.load(path=saved(tmp_path, PLAIN)).sha256
    hours = [f"{day},{hour}:00" for day in dated([*range(25)], "{0}-{1}-{2}").split()[1:] for hour in range(24)]
    two = "\n".join(["day,hour,a,b", *(f"{hour.split(',')[0]},{hour.split(',')[-1]},{x}"
                                       for hour, x in zip(hours, LINES, strict=True))])  # fmt: skip
    wrong = "\n".join(["when,a,b", *(f"2024-13-{row % 28 + 1},{x}" for row, x in enumerate(LINES))])
    for content in (two, wrong):
        path = saved(tmp_path, content)
        with pytest.raises(ValueError, match="time: none"):
            csv_file.load(path=path)
        assert csv_file.load(path=path, time="none").sha256 == plain


def test_it_is_said_that_dates_are_read_month_first_where_they_may_not_be(tmp_path: Path) -> None:
    days = [day for day in range(900) if int(str(np.datetime64("2024-01-01") + day)[-2:]) <= 12]
    dates = [str(np.datetime64("2024-01-01") + day).split("-") for day in days]
    text = "when,a\n" + "".join(f"{d}/{m}/{y},{x}\n" for (y, m, d), (x, _) in zip(dates, NOISE, strict=False))
    notes = csv_file.load(path=saved(tmp_path, text)).notes
    assert any(note.startswith("dates in when, such as 01/01/2024, are read month first") for note in notes)
    known = text + f"13/12/2030,{NOISE[-1, 0]}\n"
    assert not any("month first" in note for note in csv_file.load(path=saved(tmp_path, known)).notes)


def test_a_column_that_only_rises_is_told_of(tmp_path: Path) -> None:
    seconds = np.cumsum(np.random.RandomState(0).randint(1, 9, STEPS))
    path = saved(
        tmp_path, "\n".join(["a,b,timestamp", *(f"{line},{s}" for line, s in zip(LINES, seconds, strict=True))])
    )
    notes = csv_file.load(path=path).notes
    assert any("only rise" in note and "features: timestamp; if they are none" in note for note in notes)
    for options in ({"columns": ["a", "timestamp"]}, {"columns": ["a", "b"]}, {"time": "timestamp"}):
        assert not any("only rise" in note for note in csv_file.load(path=path, **options).notes)


def test_steps_that_are_not_equally_far_are_told_of(tmp_path: Path) -> None:
    days = [*range(100), *range(103, 300)]
    notes = csv_file.load(path=saved(tmp_path, dated(days, "{0}-{1}-{2}"))).notes
    assert any("1 days 00:00:00 to 4 days 00:00:00 apart in when" in note for note in notes)


def test_a_repeated_line_of_one_time_counts_once(tmp_path: Path) -> None:
    text = dated(list(range(300)), "{0}-{1}-{2}")
    twice = text + text.splitlines()[17] + "\n"
    data = csv_file.load(path=saved(tmp_path, twice))
    assert data.sha256 == csv_file.load(path=saved(tmp_path, text)).sha256
    assert "removed 1 rows that repeat a time and all numbers" in data.notes


def many(rows: int = 40) -> str:
    """Eight machines of two kinds, their lines interleaved; every number tells its machine."""
    lines = [
        f"{machine},{hour},{'old' if machine < 4 else 'new'},{100 * machine + hour / 10},{NOISE[hour, 0]}"
        for hour in range(rows)
        for machine in range(8)
    ]
    return "\n".join(["machine,hour,kind,a,b", *lines])


def test_a_group_never_straddles_a_split(tmp_path: Path) -> None:
    data = csv_file.load(path=saved(tmp_path, many()), group="machine", time="hour", columns=["a", "b"], scale=False)
    machines = {name: set((split.x[..., 0] // 100).int().ravel().tolist()) for name, split in data.splits()}
    assert sum(map(len, machines.values())) == 8
    assert set.union(*machines.values()) == set(range(8))
    assert (data.train.x[:, 1:, 0] - data.train.x[:, :-1, 0] > 0).all(), "hours of one machine follow one another"


def test_a_label_is_that_of_its_series_and_each_split_has_all(tmp_path: Path) -> None:
    data = csv_file.load(
        path=saved(tmp_path, many()), group="machine", time="hour", columns=["a", "b"], label="kind", scale=False
    )
    assert "classes: 0 is new, 1 is old" in data.notes
    for _, split in data.splits():
        assert split.labels is not None
        assert ((split.x[:, 0, 0] < 400).long() == split.labels).all()


def test_each_file_of_a_folder_is_a_series(tmp_path: Path) -> None:
    for machine in range(8):
        lines = [line.split(",", 1)[1] for line in many().splitlines()[1:] if line.startswith(f"{machine},")]
        saved(tmp_path, "\n".join(["hour,kind,a,b", *lines]), f"plant/{machine}.csv")
    folder = str(tmp_path / "plant")
    options: dict[str, Any] = {"time": "hour", "columns": ["a", "b"], "scale": False}
    data = csv_file.load(path=folder, **options)
    machines = [set((split.x[..., 0] // 100).int().ravel().tolist()) for _, split in data.splits()]
    assert sum(map(len, machines)) == 8

    saved(tmp_path, b"\xff\xfe\x00", "plant/9.csv")
    with pytest.raises(ValueError, match=r"1 of 9 are not: .*9\.csv: the file must be text in utf-8"):
        csv_file.load(path=folder, **options)
    again = csv_file.load(path=folder, skip_broken=True, **options)
    assert again.sha256 == data.sha256
    assert any(note.startswith("left out ") and "9.csv" in note for note in again.notes)


@pytest.mark.parametrize(
    ("train", "test"), [("train.csv", "test.csv"), ("train/a.csv", "test/a.csv"), ("training_set.csv", "test_set.csv")]
)
@pytest.mark.parametrize("window", [24, None])
def test_files_called_train_and_test_are_splits(tmp_path: Path, train: str, test: str, window: int | None) -> None:
    saved(tmp_path, "\n".join(["a,b", *LINES[:400]]), f"own/{train}")
    saved(tmp_path, "\n".join(["a,b", *LINES[400:], LINES[7]]), f"own/{test}")
    data = csv_file.load(path=str(tmp_path / "own"), window=window, scale=False, held_out=0.1)
    places = {np.array(line.split(","), dtype=np.float32).tobytes(): place for place, line in enumerate(LINES)}
    found = {name: {places[step.tobytes()] for step in split.x.numpy().reshape(-1, 2)} for name, split in data.splits()}
    assert found["test"] - {7} == set(range(400, 600))
    assert found["train"] | found["validation"] <= set(range(400))
    assert not found["train"] & found["validation"]
    assert len(found["train"]) > 250
    assert len(found["validation"]) >= 40
    assert "the files called test, train are taken as splits" in data.notes
    if window is None:
        assert 7 not in found["test"], "of equal rows the one to train on stays"
        assert 7 in found["train"] | found["validation"]


def test_three_stated_splits_are_whole_and_other_names_are_told_of(tmp_path: Path) -> None:
    for name, own in (("train", LINES[:300]), ("val", LINES[300:400]), ("test", LINES[400:])):
        saved(tmp_path, "\n".join(["a,b", *own]), f"own/{name}.csv")
    data = csv_file.load(path=str(tmp_path / "own"))
    assert [len(split) for _, split in data.splits()] == [277, 77, 177]
    saved(tmp_path, "\n".join(["a,b", *LINES[::-1]]), "own/more.csv")
    told = csv_file.load(path=str(tmp_path / "own")).notes[0]
    assert told.startswith("no splits are taken from the names of files: 3 of 4 are called test, train, validation")


def test_a_column_that_a_file_lacks_is_told_of(tmp_path: Path) -> None:
    for file in range(6):
        lines = [",".join(line.split(",")[: 1 if file == 4 else 2]) for line in ["a,b", *LINES[80 * file :][:80]]]
        saved(tmp_path, "\n".join(lines), f"own/{file}.csv")
    data = csv_file.load(path=str(tmp_path / "own"))
    assert "left out the column b, which 1 of 6 files lack: 4.csv" in data.notes


def test_blocks_cut_each_of_several_series(tmp_path: Path) -> None:
    data = csv_file.load(
        path=saved(tmp_path, many(200)), group="machine", time="hour", columns=["a", "b"], blocks=1, scale=False
    )
    for _, split in data.splits():
        assert set((split.x[..., 0] // 100).int().ravel().tolist()) == set(range(8))


def test_rows_that_stand_alone_are_points(tmp_path: Path) -> None:
    lines = ["size,weight,kind", *(f"{a},{b},{'xyz'[row % 3]}" for row, (a, b) in enumerate(NOISE)), "0.5,0.5,x"]
    lines += lines[1:4]
    data = csv_file.load(path=saved(tmp_path, "\n".join(lines)), window=None, label="kind", held_out=0.2)
    assert (data.modality, data.shape, data.classes) == ("points", (2,), 3)
    lengths = [len(split) for _, split in data.splits()]
    assert sum(lengths) == 601
    # A fifth of each class, less the copies among them.
    assert all(116 <= length <= 122 for length in lengths[1:])
    assert "removed 3 rows that equal another one" in data.notes
    assert data.units is not None
    back = {tuple(row) for _, split in data.splits() for row in data.units(split.x).numpy().round(3).tolist()}
    assert back == {(a, b) for a, b in NOISE.tolist()} | {(0.5, 0.5)}


def test_a_split_of_rows_hardly_moves_when_rows_are_added(tmp_path: Path) -> None:
    few = csv_file.load(path=saved(tmp_path, PLAIN), window=None, scale=False, held_out=0.1)
    more = csv_file.load(path=saved(tmp_path, PLAIN + "9.5,9.5\n8.5,8.5\n"), window=None, scale=False, held_out=0.1)
    stays = {row.numpy().tobytes() for row in few.test.x} & {row.numpy().tobytes() for row in more.test.x}
    assert len(stays) >= len(few.test) - 2


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("", {}, "the file must hold a table, and it is empty: give another one"),
        ("a,b\n", {}, "a table must have rows, and this one has none: give another one"),
        ("\n".join(PLAIN.splitlines()[:4]), {}, "need at least 157 steps, and there are 3: take a smaller window"),
        ("\n".join(PLAIN.splitlines()[:4]), {"window": None}, "at least 20 rows, and there are 3: give more data"),
        (PLAIN.replace("a,b", "a,größe").encode("cp1252"), {}, "must be text in utf-8, and its byte 4 is not: save it "
                                                               "as UTF-8, or state what it is saved as, such as"),
        (PLAIN.encode("utf-16"), {"encoding": "utf-16-le-but-wrong"}, "and 'utf-16-le-but-wrong' is none: take utf-8"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), {}, "must be text in utf-8, and its byte 0 is not"),
        (b"abc" + bytes(50), {}, "it holds null characters in utf-8: state another encoding"),
        (with_line(101, "1.5,"), {}, "and 1 are not, such as 'b' in line 101: fill them in, or say what to do "
                                     "(missing: drop leaves out each row of data with one, missing: interpolate"),
        (with_line(101, "1.5,NaN"), {"window": None}, "and 1 are not, such as 'b' in line 101"),
        (with_line(101, "inf,1.5"), {}, "must be there and finite, and 1 are not, such as 'a' in line 101"),
        (with_line(101, "1.5"), {}, "and 1 are not, such as 'b' in line 101"),
        (with_line(101, "1.5,broken"), {}, "'b' holds 1 that are none, such as 'broken' in line 101: mend them"),
        (with_line(101, "1.5,2,3"), {}, "the cells of the first one (Expected 2 fields in line 101, saw 3): mend it"),
        (with_line(11, "1.5,2,3"), {}, "the cells of the first one (Expected 2 fields in line 11, saw 3): mend it"),
        (with_line(101, '1.5,"2'), {}, "(EOF inside string starting at line 101): mend it"),
        ("sep=,\n" + with_line(100, "1.5,broken"), {}, "such as 'broken' in line 101"),
        ("sep=,\n" + with_line(100, "1.5,2,3"), {}, "(Expected 2 fields in line 101, saw 3)"),
        (QUOTED + "1.5,2,3,4\n", {}, "(Expected 3 fields in line 602, saw 4): mend it"),
        (QUOTED + "1.5,wrong,x\n", {}, "such as 'wrong' in line 602"),
        (QUOTED + "1.5,,x\n", {}, "such as 'b' in line 602"),
        (MARKED, {}, "'b' holds 1.300 in line 302 beside whole numbers such as 0: state thousands: '.', or decimal: "
                     "'.' if it is a fraction"),
        (MARKED.replace(",", ";").replace(".", ","), {}, "'b' holds 1,300 in line 302 beside whole numbers such as 0: "
                                                         "state thousands: ',', or decimal: ','"),
        ("\n" * 60 + PLAIN, {}, "the file must hold a table, and it begins with empty lines only"),
        (with_line(2, "1,2,3"), {}, "every line must have the cells of the first one"),
        (PLAIN, {"columns": ["a", "bb"]}, "columns must name a column, and there is no 'bb': the nearest is 'b'"),
        (PLAIN, {"time": "hour"}, "time must name a column, and there is no 'hour': there are a, b; correct it"),
        (PLAIN, {"group": "c"}, "group must name a column"),
        (PLAIN.replace("\n", ",x\n"), {"columns": ["a", "x"]}, "'x' holds 600 that are none, such as 'x' in line 2: "
                                                               "name another column"),
        (PLAIN.replace("\n", ",7\n").replace("b,7", "b,c"), {"columns": ["a", "c"]}, "'c' holds one number all along"),
        ("word,city\n" + "x,y\n" * 50, {}, "that all of its files share, and there are none in 'word', 'city': name "
                                             "the separator with sep"),
        ("date,a\n" + "2024-01-01,x\n" * 50, {}, "and there are none in 'a' (besides 'date', the time)"),
        (PLAIN, {"columns": []}, "columns must name one at least, and they are []: name some, or leave columns out"),
        ("a,b\n" + '"1,000.5","2,000.5"\n' * 50, {}, "such as '1,000.5' in line 2: mend them, or state decimal or "
                                                      "thousands"),
        (PLAIN, {"sep": ";;"}, "must be one character each and all different, and they are ';;'"),
        (PLAIN, {"sep": ",", "decimal": ","}, "must be one character each and all different, and they are ',', ','"),
        (PLAIN, {"window": 1}, "window must be a whole number of at least 2, and it is 1: correct it"),
        (PLAIN, {"window": "24"}, "window must be a whole number of at least 2, and it is '24'"),
        (PLAIN, {"stride": 0}, "stride must be a whole number of at least 1, and it is 0"),
        (PLAIN, {"missing": "mean"}, "missing must be one of drop, interpolate, and it is 'mean': choose one"),
        (PLAIN, {"missing": "interpolate", "window": None}, "interpolate needs windows of steps in time"),
        (PLAIN, {"held_out": 0.6}, "held_out must lie above 0 and below 0.5, and it is 0.6: correct it"),
        (PLAIN, {"window": None, "columns": "a"}, "rows that stand alone need two columns of numbers"),
        (PLAIN, {"blocks": 9}, "need at least 1285 steps, and there are 600: take a smaller window or stride, or fewer "
                               "blocks, or give more"),
        ("a,b\n" + "".join(f"{n % 24},{n * 7 % 24}\n" for n in range(600)), {}, "every split must have rows, and "
                                                                                "validation lacks some"),
        (dated([*range(300)], "{0}-{1}-{2}") + "2024-02-01,1,1\n", {}, "one row at a time, and that of line 302 comes "
                                                                       "twice with other numbers: name the column"),
        (dated([*range(300)], "{0}-{1}-{2}") + "today,1,1\n", {"time": "when"}, "'when' holds 'today' in line 302"),
        (many(), {"time": "hour"}, "comes twice with other numbers: name the column that tells the series apart"),
        (many(), {"group": "machine", "window": 50}, "must have the 50 steps of a window, and the longest of 8 has 40"),
        (many(), {"label": "kind", "columns": ["a", "b"]}, "a series has one label, and the table has new, old: name "
                                                           "the column that tells the series apart with group"),
        (many().replace("7,39,new", "7,39,"), {"label": "kind", "group": "machine"}, "every row must say its 'kind', "
                                                                                     "and that of line 321 is empty"),
    ],
)  # fmt: skip
def test_bad_tables_get_one_message(
    tmp_path: Path, content: str | bytes, options: dict[str, Any], message: str
) -> None:
    path = saved(tmp_path, content)
    with pytest.raises(ValueError, match=re.escape(message)) as told:
        csv_file.load(path=path, **options)
    own = {"window", "stride", "missing", "sep", "columns"} & set(options) and not str(told.value).startswith(path)
    assert own or str(told.value).startswith(f"{path}: "), "the file is named"


def test_a_path_that_leads_nowhere(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.csv does not exist"):
        csv_file.load(path=str(tmp_path / "nothing.csv"))
    with pytest.raises(ValueError, match=r"must hold files \.csv, \.tsv, and .* is empty"):
        csv_file.load(path=str(tmp_path))
