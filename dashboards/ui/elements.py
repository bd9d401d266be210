"""What the pages are made of: blocks, tables, tiles, figures, sample sheets. Dash escapes every text it is given."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote, urlencode

import plotly.graph_objects as go
from dash import dcc, html
from dash.development.base_component import Component

from dashboards import figures
from hpo.home import Home

Child: TypeAlias = Component | str
Children: TypeAlias = list[Child]

TEXT_BYTES = 20_000  # of a sheet of text
LINE = 160  # characters of a cause that are shown at once
# plotly.js 4 shows by default a button that sends the figure to a server of its makers.
_CONFIG = {
    "showSendToCloud": False,
    "displaylogo": False,
    "responsive": True,
    "modeBarButtonsToRemove": ["select2d", "lasso2d"],
}
_SHEET = re.compile(r"samples/trial-\d+/(step-(\d+))\.(png|wav|txt)")


@dataclass(frozen=True, kw_only=True)
class Page:
    """What one address shows. blocks: the parts that are drawn anew by themselves, in order, by name."""

    title: str
    blocks: dict[str, Children]
    here: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the address and the browser ask for. index: which home. query: of the address. picked: trials to compare,
    as `home.trial`. writes: whether the browser holds the token.
    """

    index: int
    query: Mapping[str, str]
    picked: tuple[str, ...] = ()
    writes: bool = False
    mlflow: bool = False

    def link(self, name: str, **changes: object) -> str:
        """Return the address of a page of this home; of the same one with some of its query changed."""
        query = {key: str(value) for key, value in changes.items() if value not in (None, "")}
        return f"/{self.index}/{name}" + (f"?{urlencode(query)}" if query else "")

    def again(self, name: str, **changes: object) -> str:
        """Return the address of this page with some of its query changed; None takes a key away."""
        return self.link(name, **{**self.query, **changes})

    def number(self, key: str, default: int) -> int:
        """Return a whole number of the query, the default where it is none."""
        text = self.query.get(key, "")
        return int(text) if re.fullmatch(r"\d{1,9}", text) else default


def heading(text: str) -> Component:
    return html.H2(text)


def soft(*children: Child) -> Component:
    return html.P(list(children), className="soft")


def link(text: str, address: str, *, current: bool = False, label: str = "") -> Component:
    """Return a link inside the page. label: what a screen reader says where the text alone says too little."""
    inner = dcc.Link(text, href=address, className="here" if current else "", title=label or None)
    return html.Span(inner, **{"aria-current": "true"}) if current else inner


def tiles(values: Mapping[str, str]) -> Component:
    """Return short figures with their names, side by side."""
    return html.Dl([html.Div([html.Dt(key), html.Dd(value)]) for key, value in values.items()], className="tiles")


def table(
    head: Sequence[Child], rows: Sequence[Sequence[Child]], *, name: str, numeric: Sequence[int] = (),
    marked: Sequence[int] = (), caption: str = "",
) -> Component:  # fmt: skip
    """Return a table that scrolls sideways where it must. name: for those who do not see it. numeric: columns of
    numbers. marked: rows that stand out.
    """
    kind = ["number" if place in numeric else "" for place in range(len(head))]
    body = [
        html.Tr([html.Td(cell, className=style) for cell, style in zip(row, kind, strict=True)],
                className="marked" if place in marked else "")
        for place, row in enumerate(rows)
    ]  # fmt: skip
    top = html.Thead(html.Tr([html.Th(cell, className=style, scope="col") for cell, style in
                              zip(head, kind, strict=True)]))  # fmt: skip
    said = [html.Caption(caption)] if caption else []
    # A region that scrolls must be reached by the keyboard, and have a name.
    attributes = {"tabIndex": "0", "role": "region", "aria-label": name}
    return html.Div(html.Table([*said, top, html.Tbody(body)]), className="wide", **attributes)


def plot(figure: go.Figure, name: str, *, min_width: int = 0) -> Children:
    """Return the figure under its title and above its sentence; the sentence alone where there is nothing to draw."""
    said = html.Figcaption(figures.sentence(figure))
    title = figures.title(figure)
    if not any(_points(trace) for trace in figure.data):
        return [heading(title), html.Figure(said)]
    if figure.data[0].type != "parcoords":  # whose axes have their names up there
        figure.update_layout(margin={"t": 20})
    figure.update_layout(title=None, uirevision=name)
    graph = dcc.Graph(id={"figure": name}, figure=figure, config=_CONFIG, responsive=True,
                      style={"height": f"{figure.layout.height}px", "minWidth": f"{min_width}px"})  # fmt: skip
    return [heading(title), html.Figure([html.Div(graph, className="wide plot"), said])]


def _points(trace: go.Scatter) -> bool:
    return bool(trace.dimensions) if trace.type == "parcoords" else trace.x is not None and len(trace.x) > 0


def cause_of(cause: str) -> Child:
    """Return a cause: its last line, and the rest folded where it is a traceback."""
    text = cause.strip()
    if not text:
        return ""
    last = text.splitlines()[-1]
    if last == text and len(text) <= LINE:
        return text
    return html.Details([html.Summary(last[:LINE]), html.Pre(text[:TEXT_BYTES], tabIndex="0")])


def shown(value: object) -> str:
    """Return a value as it is read: numbers with six digits, a missing one as nothing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def steps_of(files: Sequence[str]) -> dict[int, list[str]]:
    """Return the sample sheets of a trial by step, in order; what is no sheet of a home is left out."""
    found: dict[int, list[str]] = {}
    for file in files:
        match = _SHEET.fullmatch(file)
        if match:
            found.setdefault(int(match[2]), []).append(file)
    return dict(sorted(found.items()))


def sheet(home: Home, index: int, files: Sequence[str], *, caption: str, address: str | None = None) -> Component:
    """Return one sheet: its picture, its sounds to be played, its text. address: where its caption leads."""
    parts: Children = []
    for file in sorted(dict.fromkeys(files)):
        source = f"/files/{index}/{quote(file)}"
        if file.endswith(".png"):
            parts.append(html.Img(src=source, alt=f"Samples of {caption}"))
        elif file.endswith(".wav"):
            parts.append(html.Audio(src=source, controls=True, preload="none", title=f"Sounds of {caption}"))
        elif file.endswith(".txt"):
            parts.append(html.Pre(text_of(home, file), tabIndex="0", **{"aria-label": f"Samples of {caption}"}))
    kind = "text" if any(file.endswith(".txt") for file in files) else ""
    said = caption if address is None else link(caption, address)
    return html.Figure([*parts, html.Figcaption(said)], className=f"sheet {kind}")


def text_of(home: Home, file: str) -> str:
    """Return a sheet of text, whatever it holds; what is too long is cut. Nothing outside the samples is read."""
    path = inside(home, file)
    if path is None:
        return ""
    with path.open("rb") as stream:
        text = stream.read(TEXT_BYTES + 1)
    return text[:TEXT_BYTES].decode("utf-8", errors="replace") + ("..." if len(text) > TEXT_BYTES else "")


def inside(home: Home, file: str) -> Path | None:
    """Return the path of a sample file of the home; None for any other, links that lead elsewhere included."""
    if _SHEET.fullmatch(file) is None:
        return None
    path = (home.path / file).resolve()
    return path if path.is_relative_to(home.samples.resolve()) and path.is_file() else None
