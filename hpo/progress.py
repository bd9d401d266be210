"""What the person at the terminal sees of a running search: one live line and a bar, or plain lines in a log.

Pure display: it is handed the status figures and knows nothing of where they come from. Imports Rich, and which ends
count.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from hpo.messages import COUNTED

if TYPE_CHECKING:
    from hpo.analysis import Summary, TrialSummary

_YARDSTICKS = {"floor": "real rows", "copy_of_train": "a copy of the training rows", "five_gram": "a 5-gram model"}
# A model that was trained by maximum likelihood, sampled at a temperature in hundredths.
_LIKELIHOOD = re.compile(r"mle_(\d+)")
_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")  # a color, or a move of the cursor
PLAIN_SECONDS = 10.0  # without a terminal: a line so often, and one at each end of the search
NARROW = 60  # characters in which no parameter of a trial fits beside its value


class Display:
    """A context manager whose `show` draws the latest status. Live on a terminal, lines elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._noted = False
        self._first: tuple[float, int, int] | None = None  # when the first status came; ends and epochs by then
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
        self._first = self._first or (now, counted(status), status["epochs"])
        if not self._noted:
            self._noted = True
            for note in status["notes"]:
                self._console.print(note)
        if self._live is not None:
            self._live.update(self._drawn(status, now), refresh=True)
            return
        line = "  ".join(self._parts(status, now))
        # Less often the longer it takes: ten hours are some hundreds of lines.
        pause = max(PLAIN_SECONDS, (now - self._first[0]) / 60)
        if line != self._last and (now - self._printed >= pause or status["over"]):
            self._console.print(line, highlight=False, soft_wrap=True)
            self._printed, self._last = now, line

    def _drawn(self, status: Mapping[str, Any], now: float) -> Group:
        """A bar, and beside it or below it as many lines as the parts need in this width."""
        width = self._console.width
        parts = self._parts(status, now)
        bar = ProgressBar(total=status["budget"], completed=counted(status), width=max(4, min(width // 5, 30)))
        beside = Table.grid(padding=(0, 1))
        lines = packed(parts, width=width, first=width - max(4, min(width // 5, 30)) - 1)
        beside.add_row(bar, Text(lines[0], no_wrap=True, overflow="ellipsis"))
        return Group(beside, *(Text(line, no_wrap=True, overflow="ellipsis") for line in lines[1:]))

    def _parts(self, status: Mapping[str, Any], now: float) -> list[str]:
        began, ended_before, epochs_before = self._first or (now, 0, 0)
        ended, left = counted(status) - ended_before, status["budget"] - counted(status)
        parts = [f"{counted(status)}/{status['budget']} trials", ends(status)]
        if status["best_value"] is not None:
            floor = "" if status["floor"] is None else f", real rows {status['floor']:.5g}"
            parts.append(f"best {status['best_value']:.5g} (trial {status['best_trial']}{floor})")
        seconds = now - began
        if ended > 0 and seconds > 0:
            parts.append(f"{60 * ended / seconds:.3g} trials/min")
            if left > 0:
                rest = time_left(
                    trials=left,
                    trials_a_second=ended / seconds,
                    epochs=status["epochs_left"],
                    epochs_a_second=(status["epochs"] - epochs_before) / seconds,
                    seconds=status["seconds_left"],
                )
                parts.append(f"{clock(rest)} left")
        if status["draining"] and not status["over"]:
            parts = ["stopping: checkpoints are being written ...", *parts]
        elif status["running"] and not ended:  # the first ends may be minutes away
            parts.append(f"{status['running']} training")
        return parts


def time_left(
    *,
    trials: int,
    trials_a_second: float,
    epochs: int | None = None,
    epochs_a_second: float = 0.0,
    seconds: float | None = None,
) -> float:
    """Return in about how many seconds the first bound of a budget is met; each is what is left of it, None where not
    set. What still trains then goes on to its end, which is not counted. trials_a_second: above 0."""
    bounds = [trials / trials_a_second]
    if epochs is not None and epochs_a_second > 0:
        bounds.append(epochs / epochs_a_second)
    if seconds is not None:
        bounds.append(seconds)
    return max(0.0, min(bounds))


def packed(parts: Sequence[str], *, width: int, first: int) -> list[str]:
    """Return the parts in lines of at most `width` characters, the first of `first`, none broken in the middle."""
    lines = [""]
    for part in parts:
        longer = f"{lines[-1]}  {part}" if lines[-1] else part
        if lines[-1] and len(longer) > (first if len(lines) == 1 else width):
            lines.append(part)
        else:
            lines[-1] = longer
    return lines


def counted(status: Mapping[str, Any]) -> int:
    """Return how many trials count against the budget."""
    return sum(int(status[end]) for end in COUNTED)


def ends(status: Mapping[str, Any]) -> str:
    """Return the ends so far in words; lost trials only where there are any."""
    shown = [f"{status[end]} {end}" for end in COUNTED]
    return ", ".join(shown + ([f"{status['lost']} lost"] if status["lost"] else []))


def clock(seconds: float) -> str:
    """Return a duration as h:mm:ss, or m:ss below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary_table(found: Summary, *, width: int = 200, most: int | None = None) -> Group:
    """Return what `hpo show` prints of a study.

    width: characters there are; in few the causes and the parameters of each trial are left out, and the best one's
    have lines of their own. most: rows of trials, the best; None is all of them.
    """
    narrow = width < NARROW
    ranked = sorted(found.trials, key=_rank(found))
    counts = ", ".join(f"{count} {end}" for end, count in found.counts.items() if count)
    lines = [f"{found.study}: {counts or 'no trial yet'} of {found.budget.trials} trials"]
    busy = "" if found.worker_busy is None else f", workers busy {found.worker_busy:.0%}{_slots(found)}"
    repeated = f"{found.epochs_repeated} of them repeated"
    lines.append(f"{found.epochs_trained} epochs in {clock(found.seconds)}, {repeated}{busy}")
    if found.best is not None:
        broken = "" if found.best.feasible else ", which breaks a constraint, as all do"
        lines.append(f"best: trial {found.best.trial}, {found.objective.metric} {found.best.value:.6g}{broken}")
        if narrow:
            lines += [f"  {name}: {_short(item)}" for name, item in found.best.params.items()]
    lines += map(_fit, found.fits)
    if found.importances:
        shares = sorted(found.importances.items(), key=lambda item: -item[1])
        lines.append("importances: " + "  ".join(f"{name} {share:.2f}" for name, share in shares))
    rest = [] if most is None or len(ranked) <= most else [Text(f"{len(ranked) - most} more: hpo show --json")]
    table = _trials_table(found, ranked[:most], narrow=narrow)
    return Group(*(Text(printable(line)) for line in lines), *_beside(found), Text(), table, *rest)


def _trials_table(found: Summary, ranked: Sequence[TrialSummary], *, narrow: bool) -> Table:
    """Return the trials, a row each, without the parameters that all of them share, and without a column of no causes.

    The parameters that matter most come first, since what does not fit is cut.
    """
    # That others were better, as of most pruned trials, need not be said.
    told = {
        trial.number: _last_line(trial.cause)
        for trial in ranked
        if trial.end != "pruned" or trial.cause.startswith("veto")
    }
    seen: dict[str, set[str]] = {}
    for trial in found.trials:
        for name, item in trial.params.items():
            seen.setdefault(name, set()).add(repr(item))
    fixed = {name for name, items in seen.items() if len(found.trials) > 1 and len(items) == 1
             and all(name in trial.params for trial in found.trials)}  # fmt: skip
    order = sorted(seen, key=lambda name: -found.importances.get(name, 0.0))
    columns = ["trial", "end", "value", "epochs", *(["cause"] if any(told.values()) and not narrow else [])]
    columns += [] if narrow else ["parameters"]
    table = Table(box=None, pad_edge=False)
    for column in columns:
        justify: JustifyMethod = "left" if column in ("end", "cause", "parameters") else "right"
        # A column that may wrap is narrowed first; its text is then cut instead.
        table.add_column(column, justify=justify, no_wrap=column not in ("cause", "parameters"))
    for trial in ranked:
        shown = [name for name in order if name in trial.params and name not in fixed]
        params = "  ".join(f"{name}={_short(trial.params[name])}" for name in shown)
        cells = {"trial": str(trial.number), "end": trial.end, "epochs": str(trial.steps), "parameters": params,
                 "value": "" if trial.value is None else f"{trial.value:.5g}",
                 "cause": told.get(trial.number, "")}  # fmt: skip
        table.add_row(*(Text(printable(cells[column]), no_wrap=True, overflow="ellipsis") for column in columns))
    return table


def printable(text: str) -> str:
    """Return text without control characters: a cause or a name may come from anywhere, and would move the cursor."""
    return "".join(sign if sign.isprintable() else " " for sign in _SEQUENCE.sub("", text))


def _last_line(cause: str) -> str:
    return (cause.strip().splitlines() or [""])[-1]


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
        table.add_column(Text(printable(name)), justify="right" if place else "left", overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(printable(cell)) for cell in row))
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
