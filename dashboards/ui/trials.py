"""The table of trials: filtered, sorted and cut into pages here, so that a browser never holds more than one."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Hashable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from dash import dcc, html
from dash.development.base_component import Component

from dashboards.ui.elements import Asked, Child, Children, Page, link, shown, soft, table
from dashboards.ui.views import Snapshot
from hpo.analysis import PARAMS, STATES

ROWS = 50
PARAMETERS = 6  # columns of parameters, the most important ones
CAUSE = 80  # characters of a cause in the table; all of it is on the trial's page
_COLUMNS = {"trial": "number", "value": "value", "epochs": "step", "seconds": "seconds", "seed": "seed",
            "attempts": "attempts"}  # fmt: skip
_TERM = re.compile(r"([\w.]+)(<=|>=|!=|<|>|=)(\S+)")
_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt, ">": operator.gt, "<=": operator.le, ">=": operator.ge, "=": operator.eq, "!=": operator.ne,
}  # fmt: skip


def page(snapshot: Snapshot, asked: Asked) -> Page:
    frame = snapshot.trials
    found, problem = matching(frame, asked.query.get("q", ""))
    ends = found["end"].value_counts()
    end = asked.query.get("end", "")
    if end:
        found = found[found["end"] == end]
    blocks: dict[str, Children] = {
        "filter": _filter(asked),
        "ends": _ends(asked, ends, problem),
        "table": _table(snapshot, asked, _sorted(found, asked)),
    }
    return Page(title=f"Trials of {snapshot.reading.study.name}", blocks=blocks, here="trials")


def matching(frame: pd.DataFrame, text: str) -> tuple[pd.DataFrame, str]:
    """Return the rows that fit every term of the text, and what is wrong with a term that cannot be followed.

    A term is `lr<0.01`, `optimizer=adam` or `value>=3` over a parameter or a column; any other word is looked for in
    the cause.
    """
    for term in text.split():
        match = _TERM.fullmatch(term)
        if match is None:
            frame = frame.loc[frame["cause"].str.contains(term, case=False, regex=False)]
            continue
        name, sign, wanted = match.groups()
        column = _column(frame, name)
        if column is None:
            return frame.iloc[:0], f"A term such as lr<0.01 names a column; there is no {name}."
        numbers = _numbers(frame[column])
        if numbers is not None:
            try:
                bound = float(wanted)
            except ValueError:
                return frame.iloc[:0], f"{name} is a number; {wanted} is none."
            fits = numbers.notna() & pd.Series(_COMPARE[sign](numbers, bound))
        elif sign in ("=", "!="):
            fits = pd.Series(_COMPARE[sign](frame[column].map(shown).str.lower(), wanted.lower()))
        else:
            return frame.iloc[:0], f"{name} is no number, so it is compared with = or != alone."
        frame = frame.loc[fits]
    return frame, ""


def _numbers(values: pd.Series) -> pd.Series | None:
    """Return a column of numbers as such, a choice among numbers too; None for any other."""
    there = values.dropna()
    if any(isinstance(value, bool) or not isinstance(value, int | float | np.number) for value in there):
        return None
    return pd.to_numeric(values.where(values.notna(), math.nan)).astype(float)


def _column(frame: pd.DataFrame, name: str) -> str | None:
    """Return the column that a term names: a parameter before a column of ours."""
    known = [PARAMS + name, _COLUMNS.get(name, ""), name]
    return next((column for column in known if column in frame), None)


def _sorted(frame: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Return the rows in the order that is asked for, by number otherwise; what has no value comes last."""
    column = _column(frame, asked.query.get("sort", "trial")) or "number"
    key = frame[column]
    numbers = _numbers(key) if key.dtype == object else key
    key = key.map(lambda value: None if value is None else str(value)) if numbers is None else numbers
    order = key.reset_index(drop=True).sort_values(ascending=asked.query.get("desc") != "1", kind="stable").index
    return frame.iloc[order]


def _filter(asked: Asked) -> Children:
    """Return the field. It stands alone, so that what comes in meanwhile does not touch what is being typed."""
    example = "lr<0.01 optimizer=adam value>3, or a word of the cause"
    return [
        html.Label("Filter", htmlFor="trials-filter"),
        dcc.Input(id="trials-filter", type="text", value=asked.query.get("q", ""), debounce=True, maxLength=200,
                  placeholder=example, className="field"),
    ]  # fmt: skip


def _ends(asked: Asked, ends: pd.Series, problem: str) -> Children:
    """Return a link for each end, with how many trials have it."""
    now = asked.query.get("end", "")
    shown_ends = [end for end in STATES if ends.get(end, 0) or end == now]
    links: Children = [link(f"all {int(ends.sum()):,}", asked.again("trials", end=None, page=None), current=not now)]
    links += [
        link(f"{end} {int(ends.get(end, 0)):,}", asked.again("trials", end=end, page=None), current=end == now)
        for end in shown_ends
    ]
    said: Children = [html.P(problem, className="problem", role="alert")] if problem else []
    return [html.Nav(links, className="chips", **{"aria-label": "Trials by their end"}), *said]


def _table(snapshot: Snapshot, asked: Asked, found: pd.DataFrame) -> Children:
    pages = max(1, -(-len(found) // ROWS))
    number = min(max(asked.number("page", 1), 1), pages)
    part = found.iloc[(number - 1) * ROWS : number * ROWS]
    axes = [axis for axis in snapshot.ordered_axes() if len(axis.options) != 1][:PARAMETERS]
    names = [axis.name for axis in axes]
    numbers = [5 + place for place, axis in enumerate(axes) if not any(isinstance(o, str) for o in axis.options)]
    head: list[Child] = [_head(name, asked) for name in ("trial", "end", "value", "epochs", "seconds", *names)]
    rows = [_row(snapshot, asked, values, names) for values in part.to_dict("records")]
    best = snapshot.summary.best
    marked = [place for place, trial in enumerate(part["number"]) if best is not None and trial == best.trial]
    drawn = table([*head, "cause", "compare"], rows, numeric=[0, 2, 3, 4, *numbers], marked=marked,
                  name="Trials", caption=f"{len(found):,} trials, page {number} of {pages}")  # fmt: skip
    turn: Children = []
    if number > 1:
        turn.append(link("previous page", asked.again("trials", page=number - 1)))
    if number < pages:
        turn.append(link("next page", asked.again("trials", page=number + 1)))
    if len(snapshot.reading.axes) > len(names):
        turn.append(soft("The most important parameters are shown; a filter and a trial's page know them all."))
    return [drawn, html.Nav(turn, className="turn", **{"aria-label": "Pages of the table"})]


def _head(name: str, asked: Asked) -> Component:
    """Return the head of a column: a link that sorts by it, the other way round where it sorts already."""
    now = asked.query.get("sort", "trial") == name
    down = asked.query.get("desc") == "1"
    mark = (" \u2193" if down else " \u2191") if now else ""
    address = asked.again("trials", sort=name, desc=None if not now or down else "1", page=None)
    said = f"sort by {name}" + (", descending" if now and not down else "")
    return link(name + mark, address, label=said)


def _row(snapshot: Snapshot, asked: Asked, values: Mapping[Hashable, Any], names: list[str]) -> list[Child]:
    number = int(str(values["number"]))
    cause = (str(values["cause"]).strip().splitlines() or [""])[-1]
    end = str(values["end"]) + (", vetoed" if number in snapshot.reading.vetoed else "")
    told = values["end"] in ("died", "lost") or not values["feasible"]
    seconds = values["seconds"]
    return [
        link(str(number), asked.link(f"trial/{number}"), label=f"trial {number}"),
        html.Span(end, className=f"end {values['end']}"),
        shown(values["value"]),
        str(values["step"]),
        f"{seconds:.1f}" if isinstance(seconds, float) else "",
        *(_short(values.get(PARAMS + name)) for name in names),
        html.Span(cause[:CAUSE], className="words") if told and cause else "",
        pick(asked, number),
    ]


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) and not math.isnan(value) else shown(value)


def pick(asked: Asked, number: int) -> Component:
    """Return the button that takes a trial into the comparison, or out of it."""
    name = f"{asked.index}.{number}"
    taken = name in asked.picked
    return html.Button(
        "taken" if taken else "take", id={"pick": name}, className="pick", n_clicks=0,
        **{"aria-pressed": "true" if taken else "false", "aria-label": f"compare trial {number}"},
    )  # fmt: skip
