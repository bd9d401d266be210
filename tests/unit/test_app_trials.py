"""dashboards.ui.trials: what a filter finds, in which order, and how much of it a browser gets."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pandas as pd
import pytest
from app_homes import finished, texts

from dashboards.app import Site
from dashboards.ui.trials import ROWS, matching


@pytest.fixture
def frame() -> pd.DataFrame:
    table = pd.DataFrame({
        "number": [0, 1, 2, 3], "end": ["done", "died", "pruned", "done"], "value": [3.0, math.nan, 7.0, 2.5],
        "step": [9, 2, 3, 9], "cause": ["", "Loss is NaN (at 2)", "lost at step 3", ""],
        "params.lr": [1e-3, 1e-1, 1e-2, 1e-4], "params.momentum": [math.nan, 0.9, math.nan, 0.5],
    })  # fmt: skip
    choices = {"params.batch": [16, 64, None, 128], "params.bias": [True, False, True, None]}
    return table.assign(**{name: pd.Series(values, dtype=object) for name, values in choices.items()})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [0, 1, 2, 3]),
        ("lr<0.01", [0, 3]),
        ("lr<=0.01 value>=3", [0, 2]),
        ("momentum>0", [1, 3]),
        ("momentum!=0.9", [3]),
        ("batch<100", [0, 1]),
        ("batch=128", [3]),
        ("bias=true", [0, 2]),
        ("end!=done", [1, 2]),
        ("end=DONE epochs=9", [0, 3]),
        ("nan", [1]),
        ("(at", [1]),
        ("trial>2", [3]),
    ],
)
def test_every_term_must_fit(frame: pd.DataFrame, text: str, found: list[int]) -> None:
    rows, problem = matching(frame, text)
    assert list(rows["number"]) == found
    assert problem == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nothing<3", "there is no nothing"),
        ("lr<x", "x is none"),
        ("end<3", "is no number"),
        ("bias>0", "is no number"),
    ],
)
def test_what_cannot_be_followed_is_told(frame: pd.DataFrame, text: str, said: str) -> None:
    rows, problem = matching(frame, text)
    assert said in problem
    assert rows.empty


def numbers(site: Site, search: str) -> list[int]:
    """The numbers of the trials in the table, in order."""
    table = site.page("/0/trials", search, picked=(), writes=False)[0].blocks["table"][0]
    rows = table.children.children[-1].children
    return [int("".join(texts(row.children[0]))) for row in rows]


def test_sorting_goes_both_ways_and_puts_what_has_no_value_last(tmp_path: Path) -> None:
    site = Site([finished(tmp_path / "home")])
    assert numbers(site, "") == [0, 1, 2, 3, 4, 5, 6, 7]
    assert numbers(site, "?sort=trial&desc=1") == [7, 6, 5, 4, 3, 2, 1, 0]
    assert numbers(site, "?sort=value") == [7, 6, 5, 4, 3, 0, 1, 2]
    assert numbers(site, "?sort=value&desc=1") == [1, 0, 3, 4, 5, 6, 7, 2]
    assert numbers(site, "?end=done&sort=value") == [7, 6, 5, 4, 3, 0]
    assert numbers(site, "?q=value%3C4.5") == [6, 7]


def test_a_browser_gets_one_page_of_a_long_table(tmp_path: Path) -> None:
    site = Site([finished(tmp_path / "home", trials=ROWS + 7)])
    first, second = numbers(site, ""), numbers(site, "?page=2")
    assert first + second == list(range(ROWS + 7))
    assert len(first) == ROWS
    text = " ".join(texts(site.page("/0/trials", "?page=2", picked=(), writes=False)[0].blocks["table"]))
    assert re.search(rf"{ROWS + 7} trials, page 2 of 2", text)
    assert "previous page" in text
    assert "next page" not in text
