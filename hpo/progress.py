"""What the person at the terminal sees of a running search: one live line and a bar, or plain lines in a log.

Pure display: it is handed the status figures and knows nothing of where they come from. Imports Rich alone.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from hpo.analysis import Summary, TrialSummary

_YARDSTICKS = {"floor": "real rows", "copy_of_train": "a copy of the training rows", "five_gram": "a 5-gram model"}
# A model that was trained by maximum likelihood, sampled at a temperature in hundredths.
_LIKELIHOOD = re.compile(r"mle_(\d+)")
PLAIN_SECONDS = 10.0  # without a terminal: a line so often, and one at each end of the search


class Display:
    """A context manager whose `show` draws the latest status. Live on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._noted = False
        self._first: tuple[float, int] | None = None  # when the first status came, and what had ended by then
        self._printed = 0.0
        self._last = ""

    def __enter__(self) -> Display:
        if self._live is not None:
            self._live.start()
            self._live.update(Text("starting ..."), refresh=True)
        else:
            self._console.print("starting ...")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: Mapping[str, Any]) -> None:
        """Draw this status; without a terminal, print it if the last line is some seconds old and says less."""
        now = time.monotonic()
        self._first = self._first or (now, counted(status))
        if not self._noted:
            self._noted = True
            for note in status["notes"]:
                self._console.print(note)
        line = self._line(status, now)
        if self._live is not None:
            grid = Table.grid(padding=(0, 1))
            bar = ProgressBar(total=status["budget"], completed=counted(status), width=self._console.width // 5)
            grid.add_row(bar, Text(line, no_wrap=True, overflow="ellipsis"))
            self._live.update(grid, refresh=True)
        elif line != self._last and (now - self._printed >= PLAIN_SECONDS or status["over"]):
            self._console.print(line, highlight=False, soft_wrap=True)
            self._printed, self._last = now, line

    def _line(self, status: Mapping[str, Any], now: float) -> str:
        began, ended_before = self._first or (now, 0)
        ended, left = counted(status) - ended_before, status["budget"] - counted(status)
        parts = [f"{counted(status)}/{status['budget']} trials", ends(status)]
        if status["best_value"] is not None:
            parts.append(f"best {status['best_value']:.5g} (trial {status['best_trial']})")
        minutes = (now - began) / 60
        if ended > 0 and minutes > 0:
            parts.append(f"{ended / minutes:.3g} trials/min")
            if left > 0:
                parts.append(f"{clock(left * minutes * 60 / ended)} left")
        if status["draining"] and not status["over"]:
            parts = ["stopping: checkpoints are being written ...", *parts]
        return "  ".join(part for part in parts if part)


def counted(status: Mapping[str, Any]) -> int:
    """Return how many trials count against the budget."""
    return int(status["done"] + status["pruned"] + status["died"])


def ends(status: Mapping[str, Any]) -> str:
    """Return the ends so far in words; lost trials only where there are any."""
    shown = [f"{status[end]} {end}" for end in ("done", "pruned", "died")]
    return ", ".join(shown + ([f"{status['lost']} lost"] if status["lost"] else []))


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary_table(found: Summary) -> Group:
    """Return what `hpo show` prints of a study."""
    table = Table(box=None, pad_edge=False)
    for column in ("trial", "end", "value", "epochs", "cause", "parameters"):
        justify: JustifyMethod = "left" if column in ("end", "cause", "parameters") else "right"
        # A column that may wrap is narrowed first; its text is then cut instead.
        table.add_column(column, justify=justify, no_wrap=column not in ("cause", "parameters"))
    for trial in sorted(found.trials, key=_rank(found)):
        value = "" if trial.value is None else f"{trial.value:.5g}"
        params = "  ".join(f"{name}={_short(item)}" for name, item in trial.params.items())
        told = trial.end != "pruned" or trial.cause.startswith("veto")  # that others were better need not be said
        cause = (trial.cause.strip().splitlines() or [""])[-1] if told else ""
        texts = (Text(text, no_wrap=True, overflow="ellipsis") for text in (cause, params))
        table.add_row(str(trial.number), trial.end, value, str(trial.steps), *texts)
    counts = ", ".join(f"{count} {end}" for end, count in found.counts.items() if count)
    lines = [f"{found.study}: {counts or 'no trial yet'} of {found.budget.trials} trials"]
    busy = "" if found.worker_busy is None else f", workers busy {found.worker_busy:.0%}{_slots(found)}"
    repeated = f"{found.epochs_repeated} of them repeated"
    lines.append(f"{found.epochs_trained} epochs in {clock(found.seconds)}, {repeated}{busy}")
    if found.best is not None:
        broken = "" if found.best.feasible else ", which breaks a constraint, as all do"
        lines.append(f"best: trial {found.best.trial}, {found.objective.metric} {found.best.value:.6g}{broken}")
    lines += map(_fit, found.fits)
    if found.importances:
        shares = sorted(found.importances.items(), key=lambda item: -item[1])
        lines.append("importances: " + "  ".join(f"{name} {share:.2f}" for name, share in shares))
    return Group(*map(Text, lines), *_beside(found), Text(), table)


def comparison(found: Summary) -> list[list[str]]:
    """Return what the best trial measured and what that is read beside, a row each under a row of the metrics' names.

    The best trial comes first. Empty where its objective is all there is.
    """
    if found.best is None:
        return []
    values = {f"trial {found.best.trial}": found.best.metrics}
    for beside in (found.yardsticks, found.best.controls):
        for metric, kinds in beside.items():
            for kind, value in kinds.items():
                values.setdefault(_told(kind), {})[metric] = value
    metrics = list(dict.fromkeys(metric for row in values.values() for metric in row))
    if len(values) == len(metrics) == 1:
        return []
    rows = [[f"{row[metric]:.4g}" if metric in row else "" for metric in metrics] for row in values.values()]
    return [["", *metrics], *([who, *row] for who, row in zip(values, rows, strict=True))]


def _told(kind: str) -> str:
    """Say what it is that a metric was measured of besides, which `kind` names in `metric.kind`."""
    if found := _LIKELIHOOD.fullmatch(kind):
        return f"likelihood alone at temperature {int(found[1]) / 100:g}"
    return _YARDSTICKS.get(kind, kind)


def _beside(found: Summary) -> list[Text | Table]:
    rows = comparison(found)
    if not rows:
        return []
    table = Table(box=None, pad_edge=False)
    for place, name in enumerate(rows[0]):
        table.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*map(Text, row))
    return [Text(), table]


def _slots(found: Summary) -> str:
    if found.width == 1 or found.occupancy is None:
        return f", width {found.width}"
    return f", {found.width} slots each, {found.occupancy:.0%} of them taken"


def _fit(fit: Mapping[str, Any]) -> str:
    """One line of what was measured of widths: the choice, and each width's time a member-step against width 1."""
    alone = fit["seconds"]["1"]
    rates = "  ".join(f"{width}: {alone / seconds:.3g}x" for width, seconds in fit["seconds"].items())
    return f"width {fit['width']} for {fit['structure']} on {fit['device']}, measured in {fit['spent']:.2g} s: {rates}"


def _rank(found: Summary) -> Callable[[TrialSummary], tuple[int, float, int]]:
    """Done trials first, the best on top, those that break a constraint behind the others; then by epochs."""
    sign = 1.0 if found.objective.direction == "minimize" else -1.0

    def key(trial: TrialSummary) -> tuple[int, float, int]:
        value = sign * trial.value if trial.value is not None else float("inf")
        steps = trial.steps if trial.end != "done" else found.budget.epochs + 1 + trial.feasible
        return (-steps, value, trial.number)

    return key


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
