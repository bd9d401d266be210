"""One trial: how it went and ended, its parameters, its curves, its samples by step, and the veto."""

from __future__ import annotations

import pandas as pd
from dash import dcc, html

from dashboards import overlay
from dashboards.ui.elements import (
    Asked,
    Child,
    Children,
    Page,
    cause_of,
    heading,
    link,
    plot,
    sheet,
    shown,
    soft,
    steps_of,
    table,
    tiles,
)  # fmt: skip
from dashboards.ui.trials import pick
from dashboards.ui.views import Snapshot
from hpo import analysis
from hpo.messages import YARDSTICKS
from hpo.progress import clock
from hpo.rows import TrialRow

FIGURES = 6  # metrics drawn over the epochs
TOKEN_HELP = "This page is read-only: whoever opens the address that `hpo ui` printed, with its token, may veto."


def page(snapshot: Snapshot, asked: Asked, number: int) -> Page:
    row = next((row for row in snapshot.reading.rows if row.number == number), None)
    title = f"Trial {number} of {snapshot.reading.study.name}"
    if row is None:
        said = soft(f"There is no trial {number}. ", link("All trials", asked.link("trials")))
        return Page(title=title, blocks={"none": [said]}, here="trials")
    frame = snapshot.trials
    values = frame[frame["number"] == number].iloc[0]
    curves = snapshot.curves_of(number)
    blocks: dict[str, Children] = {
        "state": _state(snapshot, asked, row, values),
        "veto": _veto(snapshot, asked, row),
        "samples": _samples(snapshot, asked, number),
        **_curves(snapshot, curves, number),
        "parameters": _parameters(snapshot, row),
        "measured": _measured(curves, snapshot.reading.objective.metric),
    }
    return Page(title=title, blocks={key: block for key, block in blocks.items() if block}, here="trials")


def _state(snapshot: Snapshot, asked: Asked, row: TrialRow, values: pd.Series) -> Children:
    reading = snapshot.reading
    spans = reading.spans.get(row.number, ())
    budget = reading.study.budget.epochs
    cells = {
        "end": row.end,
        reading.objective.metric: shown(row.value),
        "epochs": f"{values['step']} of {budget}",
        "time": clock(sum(span.end - span.start for span in spans)),
        "placements": str(row.placements),
        "epochs repeated": str(row.repeated) if row.repeated else "",
    }
    broken = [f"{key} by {value:.3g}" for key, value in row.constraints.items() if value > 0 and row.end == "done"]
    where = f" Begun {values['start']:%Y-%m-%d %H:%M:%S} UTC in group {spans[-1].group}." if spans else ""
    said: Children = [soft(f"Seed {row.seed}.{where}")]
    if row.cause.strip():
        said.append(html.Div(["Cause: ", cause_of(row.cause)]))
    if broken:
        said.append(html.P("Breaks " + "; ".join(broken)))
    before, after = _neighbors(snapshot, row.number)
    turn: Children = [link(f"trial {other}", asked.link(f"trial/{other}")) for other in (before, after)
                      if other is not None]  # fmt: skip
    turn.append(pick(asked, row.number))
    if asked.mlflow:
        address = f"/mlflow/{asked.index}/{row.number}"
        turn.append(html.A("its run in MLflow", href=address, target="_blank", rel="noreferrer"))
    shown_cells = {key: value for key, value in cells.items() if value}
    return [tiles(shown_cells), *said, html.Nav(turn, className="turn", **{"aria-label": "Other trials"})]


def _neighbors(snapshot: Snapshot, number: int) -> tuple[int | None, int | None]:
    numbers = [row.number for row in snapshot.reading.rows]
    place = numbers.index(number)
    return (numbers[place - 1] if place else None), (numbers[place + 1] if place + 1 < len(numbers) else None)


def _veto(snapshot: Snapshot, asked: Asked, row: TrialRow) -> Children:
    """Return the veto that stands, and the buttons; without the token, how to get it."""
    number, reason = row.number, snapshot.reading.vetoed.get(row.number)
    said = "A veto stops a running trial, and leaves a finished one out when the winner is chosen."
    if reason is not None:
        said = "Vetoed" + (f": {reason}" if reason else ".")
    if not asked.writes:
        return [heading("Veto"), html.P(said), soft(TOKEN_HELP)]
    action = "lift" if reason is not None else "veto"
    field: Children = []
    if action == "veto":
        field = [html.Label("Reason", htmlFor="veto-reason"),
                 dcc.Input(id="veto-reason", type="text", maxLength=200, value="", className="field")]  # fmt: skip
    else:  # the callback reads the field, so it is always there
        field = [dcc.Input(id="veto-reason", type="hidden", value="")]
    text = f"Veto trial {number}" if action == "veto" else f"Lift the veto on trial {number}"
    button = html.Button(text, id={"veto": number, "action": action}, n_clicks=0)
    return [heading("Veto"), html.P(said), html.Div([*field, button], className="form"),
            html.P(id="veto-said", role="status")]  # fmt: skip


def _samples(snapshot: Snapshot, asked: Asked, number: int) -> Children:
    steps = steps_of(analysis.files(snapshot.reading, number))
    if not steps:
        return []
    sheets = [sheet(snapshot.home, asked.index, files, caption=f"trial {number}, epoch {step}")
              for step, files in steps.items()]  # fmt: skip
    return [heading("Samples by epoch"), html.Div(sheets, className="sheets")]


def _curves(snapshot: Snapshot, curves: pd.DataFrame, number: int) -> dict[str, Children]:
    """Return a figure for each metric that was measured more than once, the objective first."""
    counts = curves["metric"].value_counts()
    objective = snapshot.reading.objective.metric
    often = sorted(
        (str(name) for name, count in counts.items() if count > 1), key=lambda name: (name != objective, name)
    )
    return {
        f"curve-{place}": plot(
            overlay.curves({f"trial {number}": curves}, metric=name, objective=snapshot.reading.objective,
                           rungs=snapshot.rungs), f"curve-{place}",
        )
        for place, name in enumerate(often[:FIGURES])
    }  # fmt: skip


def _parameters(snapshot: Snapshot, row: TrialRow) -> Children:
    best = snapshot.summary.best
    rows: list[list[Child]] = []
    for axis in snapshot.ordered_axes():
        mine, theirs = row.params.get(axis.name), best.params.get(axis.name) if best else None
        rows.append([axis.name, shown(mine), shown(theirs)])
    head: list[Child] = ["parameter", f"trial {row.number}", "the best so far"]
    return [heading("Parameters"), table(head, rows, name="Parameters beside those of the best")]


def _measured(curves: pd.DataFrame, objective: str) -> Children:
    """Return the last value of each metric, and what it is read beside."""
    last = curves.sort_values("step").groupby("metric").tail(1).set_index("metric")
    names = [str(name) for name in last.index if str(name).rpartition(".")[2] not in YARDSTICKS]
    if not names:
        return []
    rows: list[list[Child]] = []
    for name in sorted(names, key=lambda name: (name != objective, name)):
        beside = [last["value"].get(f"{name}.{kind}") for kind in YARDSTICKS[:2]]
        rows.append([name, shown(last["value"][name]), str(last["step"][name]), *map(shown, beside)])
    head: list[Child] = ["metric", "last value", "epoch", "real rows", "a copy of the training rows"]
    return [heading("Measured"), table(head, rows, numeric=range(1, 5), name="The last value of each metric")]
