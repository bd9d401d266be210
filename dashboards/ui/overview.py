"""How the search stands: its state, the best so far, what is left, what mattered, and the space."""

from __future__ import annotations

import itertools
from collections import Counter

from dash import html

from dashboards import figures
from dashboards.ui.elements import Asked, Child, Children, Page, heading, link, plot, shown, soft, table, tiles
from dashboards.ui.views import Snapshot
from hpo import frames, plugins
from hpo.analysis import Reading
from hpo.progress import clock, comparison, time_left

LOOKED_AT = 100  # trials that say which metrics there are
RECENT = 30  # ends from which the time left is estimated
_AXIS_WIDTH = 74  # pixels for one axis of the parallel coordinates; a phone scrolls sideways


def page(snapshot: Snapshot, asked: Asked) -> Page:
    blocks: dict[str, Children] = {
        "state": _state(snapshot),
        "best": _best(snapshot, asked),
        **_figures(snapshot),
        "space": _space(snapshot),
        "notes": _notes(snapshot),
    }
    return Page(title=snapshot.reading.study.name, blocks=blocks, here="overview")


def _state(snapshot: Snapshot) -> Children:
    summary = snapshot.summary
    budget, counts = summary.budget, summary.counts
    values = {
        "state": snapshot.state,
        "trials": f"{snapshot.reading.counted} of {budget.trials}",
        **{end: str(counts[end]) for end in ("done", "pruned", "died", "lost")},
        "running": str(counts["running"]),
        "epochs trained": f"{summary.epochs_trained:,}"
        + (f" of {budget.epochs_total:,}" if budget.epochs_total else ""),
        "time searching": clock(summary.seconds) + (f" of {budget.hours:g} h" if budget.hours else ""),
        "time left, about": _left(snapshot),
        "workers busy": "" if summary.worker_busy is None else f"{summary.worker_busy:.0%}",
        "slots taken": "" if summary.occupancy is None else f"{summary.occupancy:.0%} of {summary.width}",
    }
    if counts["waiting"]:
        values["to be placed again"] = str(counts["waiting"])
    share = min(1.0, snapshot.reading.counted / budget.trials)
    bar = html.Progress(value=f"{share:.4f}", max="1", **{"aria-label": f"{share:.0%} of the trials"})
    better = "lower" if summary.objective.direction == "minimize" else "higher"
    said = f"Search for the best {summary.objective.metric} ({better} is better), up to {budget.epochs} epochs a trial."
    if snapshot.state == "interrupted":
        said += " Nobody holds the home and the budget is not used: the same hpo search goes on."
    return [soft(said), bar, tiles({key: value for key, value in values.items() if value})]


def _left(snapshot: Snapshot) -> str:
    """Return about how long the rest takes at the rate of the latest ends; nothing where it does not run."""
    times = sorted(
        event.time for events in snapshot.reading.events.values() for event in events if event.end is not None
    )[-RECENT:]
    if snapshot.state != "running" or len(times) < 3 or times[-1] <= times[0]:
        return ""
    summary = snapshot.summary
    budget = summary.budget
    return clock(
        time_left(
            trials=budget.trials - snapshot.reading.counted,
            trials_a_second=(len(times) - 1) / (times[-1] - times[0]),
            epochs=None if budget.epochs_total is None else budget.epochs_total - summary.epochs_trained,
            epochs_a_second=(summary.epochs_a_minute or 0.0) / 60,
            seconds=None if budget.hours is None else budget.hours * 3600 - summary.seconds,
        )
    )


def _best(snapshot: Snapshot, asked: Asked) -> Children:
    best, objective = snapshot.summary.best, snapshot.reading.objective
    if best is None:
        return [heading("Best so far"), soft("No trial is done yet.")]
    floor = "" if snapshot.floor is None else f"; real rows beside other real rows have {snapshot.floor:.5g}"
    broken = "" if best.feasible else ". It breaks a constraint, as all do"
    said = soft(link(f"Trial {best.trial}", asked.link(f"trial/{best.trial}")),
                f" has {objective.metric} {best.value:.6g}{floor}{broken}. One run of one seed: the best of many noisy "
                "values flatters itself.")  # fmt: skip
    rows = comparison(snapshot.summary)
    if not rows:
        return [heading("Best so far"), said]
    numeric = range(1, len(rows[0]))
    return [heading("Best so far"), said, table(rows[0], rows[1:], numeric=numeric, name="What it is read beside")]


def _figures(snapshot: Snapshot) -> dict[str, Children]:
    """Return the figures, each made anew only where what it shows has changed."""
    reading, objective, epochs = snapshot.reading, snapshot.reading.objective, snapshot.reading.study.budget.epochs
    floor, rungs, ended = snapshot.floor, snapshot.rungs, (snapshot.progress, *sorted(snapshot.reading.vetoed))
    events, valued = snapshot.measurements

    def history() -> Children:
        return plot(figures.history(snapshot.trials, objective=objective, rungs=rungs, floor=floor), "history")

    def curves(metric: str, name: str) -> Children:
        known = floor if metric == objective.metric else None
        return plot(figures.learning_curves(snapshot.curves(metric), snapshot.trials, metric=metric, epochs=epochs,
                                            objective=objective, rungs=rungs, floor=known), name)  # fmt: skip

    def parallel() -> Children:
        figure = figures.parallel_coordinates(snapshot.trials, axes=snapshot.ordered_axes(), objective=objective)
        width = _AXIS_WIDTH * (len(figure.data[0].dimensions) + 1) if figure.data else 0
        return plot(figure, "parallel", min_width=width)

    told = -1 if snapshot.told is None else snapshot.told.done
    found = {
        "history": snapshot.once("history", (ended, floor, rungs), history),
        "curves": snapshot.once("curves", (valued, ended, floor, epochs), lambda: curves(objective.metric, "curves")),
    }
    beside = each_epoch(reading)
    if beside is not None:
        name = "curves-beside"
        found[name] = snapshot.once(name, (beside, events, ended, epochs), lambda: curves(beside, name))
    found["importances"] = snapshot.once("importances", told, lambda: _mattered(snapshot))
    found["parallel"] = snapshot.once("parallel", (snapshot.progress[0], told), parallel)
    found["ends"] = snapshot.once("ends", ended, lambda: plot(figures.ends(snapshot.trials), "ends"))
    found["load"] = snapshot.once("load", ended, lambda: plot(figures.load(frames.load(reading)), "load"))
    return found


def _mattered(snapshot: Snapshot) -> Children:
    """Return what set trials apart, which is said by a thread and may be of a moment ago."""
    told = snapshot.told
    if told is None:
        return [heading("What mattered"), soft("This is being worked out.")]
    objective = snapshot.reading.objective
    drawn = plot(figures.importances(told.shares, objective=objective, num_trials=told.done), "importances")
    said = html.Ul([html.Li(effect.words) for effect in told.effects])
    return [*drawn, *plot(figures.effects(told.effects, objective=objective), "effects"), said]


def each_epoch(reading: Reading) -> str | None:
    """Return the metric to show beside an objective that is measured at less than half of the epochs."""
    counts: Counter[str] = Counter()
    for events in itertools.islice(reading.events.values(), LOOKED_AT):
        for event in events:
            counts.update(name for name in event.metrics if name.rpartition(".")[2] != "lr")
            counts[reading.objective.metric] += event.value is not None
    often = [name for name, count in counts.items() if count > 2 * counts[reading.objective.metric]]
    ours = set(plugins.names("metrics"))
    rank = {name: (name not in ours, name.rpartition(".")[2] != "loss", -counts[name], name) for name in often}
    return min(often, key=lambda name: rank[name], default=None)


def _space(snapshot: Snapshot) -> Children:
    best = snapshot.summary.best
    rows: list[list[Child]] = []
    for axis in snapshot.ordered_axes():
        domain = ", ".join(map(shown, axis.options)) if axis.options else f"{axis.low:.5g} to {axis.high:.5g}"
        kind = "choice" if axis.options else ("whole" if axis.whole else "real") + (", log" if axis.log else "")
        rows.append([axis.name, kind, domain, shown(best.params.get(axis.name)) if best else ""])
    return [heading("Space"), table(["parameter", "kind", "from", "best so far"], rows, name="What is searched")]


def _notes(snapshot: Snapshot) -> Children:
    study = snapshot.reading.study
    rows: list[list[Child]] = [[key, shown_value] for key, shown_value in (
        ("home", str(snapshot.home.path)),
        ("model", study.model),
        ("data", "" if study.data is None else str(study.data)),
        ("sampler", study.sampler.name),
        ("pruner", " ".join([study.pruner.name, *(f"{key} {value}" for key, value in study.pruner.options.items())])),
        ("constraints", "; ".join(constraint.key for constraint in study.constraints)),
        ("seed", str(study.seed)),
        ("held by", snapshot.holder or "nobody"),
    )]  # fmt: skip
    for fit in snapshot.summary.fits:
        rows.append([f"width for {fit['structure']}", f"{fit['width']} on {fit['device']}"])
    return [heading("The study"), table(["key", "value"], [row for row in rows if row[1]], name="The study")]
