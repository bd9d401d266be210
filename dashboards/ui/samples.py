"""The gallery: the same latents under every trial, sorted by a metric, at the last epoch or at each rung."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from dash import html

from dashboards.ui.elements import Asked, Children, Page, link, sheet, shown, soft, steps_of
from dashboards.ui.views import Snapshot
from hpo import analysis, plugins

PER_PAGE = 24


def page(snapshot: Snapshot, asked: Asked) -> Page:
    found = with_sheets(snapshot)
    metrics = _metrics(snapshot, found)
    metric = asked.query.get("by", snapshot.reading.objective.metric)
    ranked, unmeasured = _ranked(snapshot, found, metric if metric in metrics else metrics[0])
    blocks: dict[str, Children] = {
        "choice": _choice(asked, metrics, metric, sorted({step for steps in found.values() for step in steps})),
        "gallery": _gallery(snapshot, asked, found, ranked, unmeasured),
    }
    return Page(title=f"Samples of {snapshot.reading.study.name}", blocks=blocks, here="samples")


def with_sheets(snapshot: Snapshot) -> dict[int, dict[int, list[str]]]:
    """Return each trial that left sample sheets, with its sheets by step."""
    reading = snapshot.reading
    found = {row.number: steps_of(analysis.files(reading, row.number)) for row in reading.rows}
    return {number: steps for number, steps in found.items() if steps}


def _metrics(snapshot: Snapshot, found: Iterable[int]) -> list[str]:
    """Return what the gallery may be sorted by: the objective first, then every metric of ours that was measured."""
    objective, known = snapshot.reading.objective.metric, {*plugins.names("metrics"), "loss"}
    events = itertools.chain.from_iterable(snapshot.reading.events.get(number, ()) for number in found)
    measured = {name for event in events for name in event.metrics} & known
    return [objective, *sorted(measured - {objective})]


def _ranked(snapshot: Snapshot, found: Iterable[int], metric: str) -> tuple[list[tuple[int, float]], list[int]]:
    """Return the trials with sheets and their last value of the metric, best first, and those that have none.

    Other metrics than the objective are ranked from low to high.
    """
    last = {number: snapshot.last(metric, number) for number in found}
    values = {number: value for number, value in last.items() if value is not None}
    objective = snapshot.reading.objective
    down = metric == objective.metric and objective.direction == "maximize"
    ranked = sorted(values.items(), key=lambda item: (-item[1] if down else item[1], item[0]))
    return ranked, sorted(set(last) - set(values))


def _choice(asked: Asked, metrics: list[str], metric: str, steps: list[int]) -> Children:
    """Return links that choose what to sort by, and which epoch's samples to show."""
    by: Children = ["sorted by"]
    by += [link(name, asked.again("samples", by=name, page=None), current=name == metric) for name in metrics]
    now = asked.query.get("step", "last")
    at: Children = ["samples of"]
    for name, text in (("last", "the last epoch"), ("all", "all epochs"), *((str(s), f"epoch {s}") for s in steps)):
        at.append(link(text, asked.again("samples", step=name, page=None), current=name == now))
    return [html.Nav(by, className="chips", **{"aria-label": "Sort by"}),
            html.Nav(at, className="chips", **{"aria-label": "Epoch"})]  # fmt: skip


def _gallery(
    snapshot: Snapshot, asked: Asked, found: dict[int, dict[int, list[str]]], ranked: list[tuple[int, float]],
    unmeasured: list[int],
) -> Children:  # fmt: skip
    if not found:
        return [soft("No trial has left samples yet. Images, series, sounds and text are shown here as they come.")]
    step = asked.query.get("step", "last")
    wanted = [(number, shown(value)) for number, value in ranked] + [(number, "not measured") for number in unmeasured]
    if step.isdigit():
        wanted = [(number, value) for number, value in wanted if int(step) in found[number]]
    pages = max(1, -(-len(wanted) // PER_PAGE))
    number = min(max(asked.number("page", 1), 1), pages)
    sheets: Children = []
    for trial, value in wanted[(number - 1) * PER_PAGE : number * PER_PAGE]:
        steps = found[trial]
        chosen = list(steps) if step == "all" else [int(step)] if step.isdigit() else [max(steps)]
        drawn: Children = [
            sheet(snapshot.home, asked.index, steps[at], caption=f"trial {trial}, epoch {at}: {value}",
                  address=asked.link(f"trial/{trial}"))
            for at in chosen
        ]  # fmt: skip
        sheets += [html.Div(drawn, className="strip")] if step == "all" else drawn
    said = soft(f"{len(wanted)} trials with samples, from the same latents at each epoch and in each trial of the same "
                "latent size.")  # fmt: skip
    turn: Children = []
    if number > 1:
        turn.append(link("previous page", asked.again("samples", page=number - 1)))
    if number < pages:
        turn.append(link("next page", asked.again("samples", page=number + 1)))
    style = "strips" if step == "all" else "sheets"
    return [said, html.Div(sheets, className=style), html.Nav(turn, className="turn", **{"aria-label": "Pages"})]
