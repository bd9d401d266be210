"""What comes out: the finalists over fresh seeds, what the winner is worth, and how it is taken away."""

from __future__ import annotations

import shlex

from dash import html

from dashboards import figures
from dashboards.ui.elements import (
    Asked,
    Child,
    Children,
    Page,
    heading,
    link,
    plot,
    sheet,
    shown,
    soft,
    steps_of,
    table,
    tiles,
)
from dashboards.ui.views import Snapshot
from hpo import analysis, frames
from hpo.selected import Interval, Selection


def page(snapshot: Snapshot, asked: Asked) -> Page:
    selection = snapshot.selection
    blocks: dict[str, Children] = (
        {"best": _unselected(snapshot, asked)} if selection is None else _selected(snapshot, asked, selection)
    )
    if selection is not None and snapshot.home.card.is_file():
        card = snapshot.home.card.read_text(encoding="utf-8", errors="replace")
        blocks["card"] = [html.Details([html.Summary("The card of its last export"), html.Pre(card)])]
    blocks["export"] = _export(snapshot, selection)
    return Page(title=f"Winner of {snapshot.reading.study.name}", blocks=blocks, here="winner")


def _unselected(snapshot: Snapshot, asked: Asked) -> Children:
    best = snapshot.summary.best
    if best is None:
        return [heading("No winner yet"), soft("No trial is done.")]
    said = soft(
        link(f"Trial {best.trial}", asked.link(f"trial/{best.trial}")),
        f" is the best so far with {snapshot.reading.objective.metric} {best.value:.6g}, from one run of one seed. A "
        "selection trains the best few again under fresh seeds, and says what the winner is worth.",
    )
    steps = steps_of(best.files)
    sheets = [sheet(snapshot.home, asked.index, steps[max(steps)], caption=f"trial {best.trial}")] if steps else []
    rows: list[list[Child]] = [[name, shown(value)] for name, value in best.params.items()]
    return [heading("Not selected yet"), said, *sheets, table(["parameter", "value"], rows, name="Its parameters")]


def _selected(snapshot: Snapshot, asked: Asked, selection: Selection) -> dict[str, Children]:
    winner, chosen = selection.winner, selection.chosen
    values = {
        "winner": winner.name,
        "expected": _interval(winner.expected),
        "one more run": _interval(winner.one_run),
        "chance of being the best": f"{chosen.chance:.0%}",
        "value in the search": shown(chosen.searched),
        "shrinkage": "" if selection.shrinkage is None else f"{selection.shrinkage:.1%}",
        "gain on the test rows": _interval(selection.gain),
        "selection": f"{selection.stage}, {selection.made}",
    }
    said: Children = [soft(f"{selection.rule} {selection.finalists_asked} finalists, up to {selection.seeds_asked} "
                           f"seeds each, {selection.epochs} epochs a run.")]  # fmt: skip
    if selection.gain is None and selection.gain_note:
        said.append(soft(selection.gain_note))
    objective = snapshot.reading.objective
    rows: list[list[Child]] = [
        [
            link(one.name, asked.link(f"trial/{one.trial}")) if one.trial is not None else one.name,
            shown(one.mean), shown(one.error), f"{one.chance:.0%}", str(len(one.runs)), shown(one.searched),
            "" if one.out_after is None else f"after {one.out_after}",
        ]
        for one in selection.finalists
    ]  # fmt: skip
    head = ["finalist", "mean", "standard error", "chance", "runs", "in the search", "eliminated"]
    drawn = figures.finalists(frames.race(selection), objective=objective, floor=snapshot.floor)
    params: list[list[Child]] = [[name, shown(value)] for name, value in winner.params.items()]
    blocks: dict[str, Children] = {
        "worth": [heading("The winner"), tiles({key: value for key, value in values.items() if value}), *said],
        "finalists": plot(drawn, "finalists"),
        "race": [table(head, rows, numeric=range(1, 6), name="The finalists")],
        "winner-parameters": [
            heading("Its parameters"), table(["parameter", "value"], params, name="The winner's parameters")
        ],
    }  # fmt: skip
    if chosen.trial is not None:
        steps = steps_of(analysis.files(snapshot.reading, chosen.trial))
        if steps:
            last = sheet(snapshot.home, asked.index, steps[max(steps)], caption=f"trial {chosen.trial} in the search")
            blocks["winner-samples"] = [heading("Samples"), html.Div([last], className="sheets")]
    return blocks


def _interval(interval: Interval | None) -> str:
    return "" if interval is None else f"{interval.mean:.5g} ({interval.low:.5g} to {interval.high:.5g})"


def _export(snapshot: Snapshot, selection: Selection | None) -> Children:
    home = shlex.quote(str(snapshot.home.path))
    command = f"hpo export {home} best/" + ("" if selection is not None else " --finalists 3 --seeds 4")
    return [
        heading("Take it away"),
        html.Div([html.Code(command, id="export-command"), html.Button("Copy", id="export-copy", n_clicks=0)],
                 className="form"),
        html.Span(id="export-copied", role="status"),
    ]  # fmt: skip
