"""Trials side by side, of one study or of several, and studies beside each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from dash import dcc, html

from dashboards import overlay
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
)
from dashboards.ui.views import Snapshot
from hpo import analysis
from hpo.messages import Params
from hpo.progress import clock
from hpo.rows import TrialRow

MOST = 12  # trials: more columns than that nobody reads
FIGURES = 4


def page(snapshots: Sequence[Snapshot], asked: Asked) -> Page:
    chosen = {name: found for name in asked.picked if (found := _find(snapshots, name)) is not None}
    several = len(snapshots) > 1
    names = {name: _called(snapshots, name) for name in chosen}
    blocks: dict[str, Children] = {}
    if several:
        blocks["studies"] = _studies(snapshots)
    blocks["choose"] = _choose(several)
    blocks["chosen"] = _chosen(names)
    if chosen:
        blocks |= _curves(snapshots, chosen, names)
        blocks["parameters"] = _parameters(chosen, names)
        blocks["samples"] = _samples(snapshots, chosen, names)
    return Page(title="Compare", blocks=blocks, here="compare")


def parse(text: str, *, index: int, homes: int) -> list[str]:
    """Return the trials that a person names, `3` of the home that is looked at or `1.3` of another, as `home.trial`."""
    found = []
    for home, number in re.findall(r"(?<![\w.])(?:(\d{1,3})\.)?(\d{1,9})(?![\w.])", text):
        at = int(home) if home else index
        if at < homes:
            found.append(f"{at}.{int(number)}")
    return list(dict.fromkeys(found))


def _find(snapshots: Sequence[Snapshot], name: str) -> tuple[int, TrialRow] | None:
    """Return the home's place and the row of a trial named `home.trial`, None where there is none."""
    match = re.fullmatch(r"(\d{1,3})\.(\d{1,9})", name)
    if match is None or int(match[1]) >= len(snapshots):
        return None
    index, number = int(match[1]), int(match[2])
    row = next((row for row in snapshots[index].reading.rows if row.number == number), None)
    return None if row is None else (index, row)


def _called(snapshots: Sequence[Snapshot], name: str) -> str:
    index, _, number = name.partition(".")
    if len(snapshots) == 1:
        return f"trial {number}"
    return f"{snapshots[int(index)].reading.study.name} ({index}), trial {number}"


def _studies(snapshots: Sequence[Snapshot]) -> Children:
    """Return the studies in a table, and the best so far of those that share the first one's objective."""
    rows: list[list[Child]] = []
    for index, snapshot in enumerate(snapshots):
        summary, study = snapshot.summary, snapshot.reading.study
        best = summary.best
        rows.append([
            str(index), link(study.name, f"/{index}/overview"), snapshot.state,
            f"{snapshot.reading.counted} of {summary.budget.trials}", summary.objective.metric,
            shown(best and best.value), f"{summary.epochs_trained:,}", clock(summary.seconds), study.model,
            study.sampler.name,
        ])  # fmt: skip
    head = ["", "study", "state", "trials", "objective", "best", "epochs", "time", "model", "sampler"]
    objective = snapshots[0].reading.objective
    alike = {
        f"{snapshot.reading.study.name} ({index})": snapshot.trials
        for index, snapshot in enumerate(snapshots) if snapshot.reading.objective == objective
    }  # fmt: skip
    drawn = table(head, rows, numeric=[3, 5, 6, 7], name="Studies")
    if len(alike) < 2:
        return [heading("Studies"), drawn, soft("No two of them have one objective.")]
    return [heading("Studies"), drawn, *plot(overlay.best_so_far(alike, objective=objective), "studies")]


def _choose(several: bool) -> Children:
    example = "3 17, or 1.3 for trial 3 of study 1" if several else "such as 3 17"
    return [
        heading("Trials"), html.Label("Add trials by number", htmlFor="compare-add"),
        dcc.Input(id="compare-add", type="text", value="", debounce=True, maxLength=200, placeholder=example,
                  className="field"),
    ]  # fmt: skip


def _chosen(names: Mapping[str, str]) -> Children:
    if not names:
        return [soft("No trial is taken. Take some from the table of trials, or name them here.")]
    buttons: Children = [
        html.Button(f"drop {text}", id={"pick": name}, n_clicks=0, className="pick", **{"aria-pressed": "true"})
        for name, text in names.items()
    ]
    return [html.Div(buttons, className="chips")]


def _curves(
    snapshots: Sequence[Snapshot], chosen: Mapping[str, tuple[int, TrialRow]], names: Mapping[str, str]
) -> dict[str, Children]:
    """Return a figure for each metric that every one of the trials measured more than once, the objective first."""
    of_each = {names[name]: snapshots[index].curves_of(row.number) for name, (index, row) in chosen.items()}
    first, _ = next(iter(chosen.values()))
    objective = snapshots[first].reading.objective
    counts = [frame["metric"].value_counts() for frame in of_each.values()]
    shared = set.intersection(*({str(name) for name, times in count.items() if times > 1} for count in counts))
    ordered = sorted(shared, key=lambda name: (name != objective.metric, name != "loss", name))
    return {
        f"overlay-{place}": plot(
            overlay.curves(of_each, metric=name, objective=objective, rungs=snapshots[first].rungs), f"overlay-{place}"
        )
        for place, name in enumerate(ordered[:FIGURES])
    }


def _parameters(chosen: Mapping[str, tuple[int, TrialRow]], names: Mapping[str, str]) -> Children:
    """Return how the trials went and their parameters, a column each; rows in which they differ stand out."""
    rows: list[list[Child]] = [
        ["end", *(row.end for _, row in chosen.values())],
        ["value", *(shown(row.value) for _, row in chosen.values())],
        ["epochs", *(str(row.step) for _, row in chosen.values())],
    ]
    params = [row.params for _, row in chosen.values()]
    marked = []
    for name in dict.fromkeys(name for of_one in params for name in of_one):
        if differs(params, name):
            marked.append(len(rows))
        label: Child = html.Span([name, html.Span(" differs", className="unseen")]) if differs(params, name) else name
        rows.append([label, *(shown(of_one.get(name)) for of_one in params)])
    caption = f"Parameters side by side; the {len(marked)} in which they differ are marked"
    return [
        heading("Parameters"),
        table(["", *names.values()], rows, marked=marked, name="Parameters side by side", caption=caption),
    ]


def differs(params: Sequence[Params], name: str) -> bool:
    """Whether the trials disagree on a parameter; one that lacks it differs, and True is not 1."""
    return len({f"{type(of_one.get(name)).__name__} {of_one.get(name)!r}" for of_one in params}) > 1


def _samples(
    snapshots: Sequence[Snapshot], chosen: Mapping[str, tuple[int, TrialRow]], names: Mapping[str, str]
) -> Children:
    sheets: Children = []
    for name, (index, row) in chosen.items():
        steps = steps_of(analysis.files(snapshots[index].reading, row.number))
        if steps:
            last = max(steps)
            sheets.append(sheet(snapshots[index].home, index, steps[last], caption=f"{names[name]}, epoch {last}",
                                address=f"/{index}/trial/{row.number}"))  # fmt: skip
    if not sheets:
        return [heading("Samples"), soft("None of these trials has left samples.")]
    return [heading("Samples"), html.Div(sheets, className="sheets")]
