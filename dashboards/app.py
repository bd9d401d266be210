"""The page of `hpo ui`: one Dash app over one or more homes. What an address shows is a function of what they hold.

The browser asks each second whether a home has grown; only where it has is a page made anew, and only the blocks of it
that came out different are sent. Everything a person chooses stands in the address, so that it can be kept and sent.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, ctx, dcc, html, no_update
from dash.development.base_component import Component
from dash.exceptions import PreventUpdate
from plotly.utils import PlotlyJSONEncoder

from dashboards import guard
from dashboards.guard import Guard
from dashboards.ui import compare, overview, samples, trial, trials, winner
from dashboards.ui.elements import Asked, Children, Page, inside, link, soft
from dashboards.ui.views import View
from hpo import vetoes
from hpo.errors import HpoError
from hpo.home import Home

TICK_MS = 1000
LATER = ""  # the version of a page of which something is still to be sent
PAGES = {"overview": "Overview", "trials": "Trials", "samples": "Samples", "winner": "Winner"}
ALL_HOMES = "all"

_INDEX = """<!doctype html>
<html lang="en"><head>{%metas%}<title>{%title%}</title>{%favicon%}{%css%}</head>
<body>{%app_entry%}<footer>{%config%}{%scripts%}{%renderer%}</footer></body></html>"""


class Site:
    """The homes of one page, and which page an address leads to."""

    def __init__(self, homes: Sequence[Home], *, mlflow: Mapping[int, tuple[str, str]] | None = None) -> None:
        self.views = [View(home) for home in homes]
        self.mlflow = dict(mlflow or {})

    def page(self, path: str, search: str, *, picked: Sequence[str], writes: bool) -> tuple[Page, int | None, str]:
        """Return the page of an address, the home it is of (None for all), and the version of what it shows."""
        parts = [part for part in path.split("/") if part]
        query = {key: values[-1] for key, values in parse_qs(search.removeprefix("?")).items()}
        index = int(parts[0]) if parts and parts[0].isdigit() else 0
        asked = Asked(index=index, query=query, picked=tuple(picked), writes=writes, mlflow=index in self.mlflow)
        name = "compare" if parts[:1] == ["compare"] else parts[1] if len(parts) > 1 else "overview"
        try:
            if name == "compare":
                snapshots = [view.snapshot() for view in self.views]
                version = "|".join(snapshot.version for snapshot in snapshots)
                return compare.page(snapshots, asked), None, version
            if index >= len(self.views):
                return _nothing(f"There is no study {index} here."), None, self.version(ALL_HOMES)
            snapshot = self.views[index].snapshot()
            if name == "trial" and len(parts) == 3 and parts[2].isdigit() and len(parts[2]) < 10:
                return trial.page(snapshot, asked, int(parts[2])), index, snapshot.version
            made = {"overview": overview.page, "trials": trials.page, "samples": samples.page, "winner": winner.page}
            if name in made and len(parts) < 3:
                return made[name](snapshot, asked), index, snapshot.version
            return _nothing(f"There is no page {path}."), index, snapshot.version
        except HpoError as error:  # a damaged file: what is said of it is for the person
            return _nothing(str(error)), None, self.version(ALL_HOMES)

    def warm(self) -> None:
        """Draw the first page of each home once, so that whoever opens it does not wait for that."""
        for index in range(len(self.views)):
            self.page(f"/{index}/overview", "", picked=(), writes=False)

    def version(self, which: str) -> str:
        """Return what there is to read of one home by its place, or of all."""
        if which.isdigit() and int(which) < len(self.views):
            return self.views[int(which)].version()
        return "|".join(view.version() for view in self.views)

    def file(self, index: int, name: str) -> Path | None:
        """Return a sample file of a home, None for any other."""
        return inside(self.views[index].home, name) if index < len(self.views) else None

    def head(self, page: Page, index: int | None, picked: Sequence[str]) -> Children:
        """Return what stands on top of every page: the studies, the pages, and how many trials are taken."""
        at = index or 0
        links = [html.Li(link(text, f"/{at}/{name}", current=page.here == name)) for name, text in PAGES.items()]
        text = f"Compare ({len(picked)})" if picked else "Compare"
        links.append(html.Li(link(text, "/compare", current=page.here == "compare")))
        nav: Children = [html.Nav(html.Ul(links), className="pages", **{"aria-label": "Pages"})]
        if len(self.views) > 1:
            studies = [html.Li(link(f"{view.home.path.name} ({place})", f"/{place}/overview", current=place == index))
                       for place, view in enumerate(self.views)]  # fmt: skip
            nav.insert(0, html.Nav(html.Ul(studies), className="studies", **{"aria-label": "Studies"}))
        return nav


def make_app(homes: Sequence[Home], *, access: Guard, mlflow: Mapping[int, tuple[str, str]] | None = None) -> Dash:
    """Return the app over these homes. mlflow: of a home by its place, the address of MLflow and the experiment.

    Raises RequestError for a folder that is no home.
    """
    site = Site(homes, mlflow=mlflow)
    threading.Thread(target=site.warm, name="warm", daemon=True).start()
    # Eager: a figure that is drawn again while its own code is still on the way would wait for ever.
    app = Dash(
        "dashboards", title="hpo", update_title="", serve_locally=True, eager_loading=True,
        suppress_callback_exceptions=True,
        assets_folder=str(Path(__file__).with_name("assets")), index_string=_INDEX, add_log_handler=False,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )  # fmt: skip
    app.layout = _layout()
    _add_reading(app, site, access)
    _add_choices(app, site)
    _add_writing(app, site, access)
    guard.add_files(app.server, site.file)
    guard.add_versions(app.server, site.version)
    guard.add_mlflow(app.server, [view.home for view in site.views], site.mlflow)
    access.install(app.server, hashes=app.csp_hashes())
    return app


def _layout() -> Component:
    return html.Div([
        dcc.Location(id="url", refresh="callback-nav"),
        dcc.Interval(id="tick", interval=TICK_MS),
        dcc.Store(id="asked"),
        dcc.Store(id="seen"),
        dcc.Store(id="picked", storage_type="session", data=[]),
        html.A("to the content", href="#main", className="skip"),
        html.Header([html.Div(id="head"), html.Div("The server of this page has ended.", className="offline",
                                                   role="alert")]),
        html.Main([html.H1(id="title"), html.Div(id="blocks")], id="main", tabIndex="-1"),
    ])  # fmt: skip


def _add_reading(app: Dash, site: Site, access: Guard) -> None:
    """Draw the page that the address names, and again what changed of it."""

    @app.callback(
        Output("title", "children"),
        Output("head", "children"),
        Output("blocks", "children"),
        Output({"block": ALL}, "children"),
        Output("seen", "data"),
        Input("url", "pathname"),
        Input("url", "search"),
        Input("asked", "data"),
        Input("picked", "data"),
        State("seen", "data"),
    )  # type: ignore[untyped-decorator]
    def draw(path: str | None, search: str | None, _: object, picked: list[str] | None, seen: Any) -> list[Any]:
        taken = picked or []
        page, index, version = site.page(path or "/", search or "", picked=taken, writes=access.writes())
        found = {name: _etag(children) for name, children in page.blocks.items()}
        head = site.head(page, index, taken)
        which = ALL_HOMES if index is None else str(index)
        now = {"path": path, "which": which, "version": version, "at": time.time(), "title": page.title,
               "head": _etag(head), "blocks": found}  # fmt: skip
        there = [place["id"]["block"] for place in ctx.outputs_list[3]]
        before = seen if isinstance(seen, dict) else {}
        top = no_update if before.get("head") == now["head"] else head
        if before.get("path") == path and there == list(found):
            known = before.get("blocks", {})
            parts = [no_update if known.get(name) == found[name] else page.blocks[name] for name in there]
            title = no_update if before.get("title") == page.title else page.title
            return [title, top, no_update, parts, now]
        # A browser takes seconds to draw all figures of a page: where it comes new, text is there meanwhile.
        later = [] if before else [name for name, children in page.blocks.items() if _has_figure(children)]
        if later:
            now |= {"version": LATER, "blocks": found | dict.fromkeys(later, LATER)}
        whole = [html.Section([] if name in later else children, id={"block": name},
                              className=f"block {name.rpartition('-')[0] or name}")
                 for name, children in page.blocks.items()]  # fmt: skip
        return [page.title, top, whole, [no_update] * len(there), now]

    app.clientside_callback(
        ClientsideFunction("page", "poll"), Output("asked", "data"), Input("tick", "n_intervals"), State("seen", "data")
    )
    app.clientside_callback(
        ClientsideFunction("page", "copy"), Output("export-copied", "children"), Input("export-copy", "n_clicks"),
        State("export-command", "children"), prevent_initial_call=True,
    )  # fmt: skip


def _add_choices(app: Dash, site: Site) -> None:
    """Put what is typed into the address, and keep which trials are taken for the comparison."""

    @app.callback(
        Output("url", "search"), Input("trials-filter", "value"), State("url", "search"), prevent_initial_call=True
    )  # type: ignore[untyped-decorator]
    def filter_trials(text: str | None, search: str | None) -> str:
        query = {key: values[-1] for key, values in parse_qs((search or "").removeprefix("?")).items()}
        if (text or "") == query.get("q", ""):
            raise PreventUpdate
        query.pop("page", None)
        query["q"] = text or ""
        return "?" + urlencode({key: value for key, value in query.items() if value})

    @app.callback(
        Output("picked", "data"), Input({"pick": ALL}, "n_clicks"), State("picked", "data"), prevent_initial_call=True
    )  # type: ignore[untyped-decorator]
    def pick(clicks: list[int | None], picked: list[str] | None) -> list[str]:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict) or not ctx.triggered[0]["value"]:
            raise PreventUpdate  # buttons that were drawn, and not pressed
        name, taken = str(ctx.triggered_id["pick"]), picked or []
        if name in taken:
            return [other for other in taken if other != name]
        return [*taken, name][-compare.MOST :]

    @app.callback(
        Output("picked", "data", allow_duplicate=True), Output("compare-add", "value"), Input("compare-add", "value"),
        State("picked", "data"), prevent_initial_call=True,
    )  # type: ignore[untyped-decorator]  # fmt: skip
    def add(text: str | None, picked: list[str] | None) -> tuple[list[str], str]:
        if not text:
            raise PreventUpdate
        named = compare.parse(text, index=0, homes=len(site.views))
        return list(dict.fromkeys([*(picked or []), *named]))[-compare.MOST :], ""


def _add_writing(app: Dash, site: Site, access: Guard) -> None:
    """The one thing that the page writes: a veto, for whoever holds the token."""

    @app.callback(
        Output("veto-said", "children"), Input({"veto": ALL, "action": ALL}, "n_clicks"), State("veto-reason", "value"),
        State("seen", "data"), prevent_initial_call=True,
    )  # type: ignore[untyped-decorator]  # fmt: skip
    def veto(clicks: list[int | None], reason: str | None, seen: Any) -> str:
        if not any(clicks) or not isinstance(ctx.triggered_id, dict):
            raise PreventUpdate
        if not access.writes():
            return trial.TOKEN_HELP
        which = str(seen["which"])
        if not which.isdigit() or int(which) >= len(site.views):
            raise PreventUpdate
        home, number = site.views[int(which)].home, int(ctx.triggered_id["veto"])
        try:
            if ctx.triggered_id["action"] == "lift":
                vetoes.lift(home, number)
            else:
                vetoes.veto(home, number, reason or "")
        except (HpoError, OSError) as error:
            return str(error)
        return ""


def _etag(children: Children) -> str:
    """Return a short text that differs where what is drawn differs."""
    text = json.dumps(children, cls=PlotlyJSONEncoder, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _has_figure(children: object) -> bool:
    """Return whether a browser has a figure to draw for these."""
    if isinstance(children, dcc.Graph):
        return True
    if isinstance(children, Component):
        return _has_figure(getattr(children, "children", None))
    return isinstance(children, list | tuple) and any(map(_has_figure, children))


def _nothing(said: str) -> Page:
    return Page(title="Nothing to show", blocks={"none": [soft(said)]})
