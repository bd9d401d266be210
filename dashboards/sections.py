"""The parts of the report that are no figures, as HTML: every text that comes from a home is escaped here."""

from __future__ import annotations

import base64
import html
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from hpo import analysis, parts, plugins
from hpo.analysis import Reading, Summary
from hpo.effects import CONFOUNDED, Effect
from hpo.errors import RequestError
from hpo.home import Home
from hpo.messages import COUNTED
from hpo.progress import clock, comparison
from hpo.selected import Interval, Selection
from hpo.study import Study
from hpo.surroundings import versions

SHEETS = 6  # sample sheets of the best trials shown
IMAGE_BYTES = 1_500_000  # all images together: plotly.js takes 4.8 MB, and the page is to stay below 8 MB
CAUSES = 30  # rows of the table of ends
LINE = 160  # characters of a cause that are shown at once
CAUSE_BYTES = 20_000
TEXT_BYTES = 20_000  # of a sheet of text


def head(summary: Summary, now: datetime) -> str:
    counts = summary.counts
    ended = sum(counts[end] for end in COUNTED)
    running = counts["running"] + counts["waiting"]
    state = "finished" if summary.over else "under way or interrupted"
    tiles = {
        "trials": f"{ended} of {summary.budget.trials}",
        **{end: str(counts[end]) for end in ("done", "pruned", "died", "lost")},
        "not ended yet": str(running),
        "epochs trained": f"{summary.epochs_trained:,}",
        "epochs repeated": f"{summary.epochs_repeated:,}",
        "time searching": clock(summary.seconds),
        "trials a minute": _rounded(summary.trials_a_minute),
        "epochs a minute": _rounded(summary.epochs_a_minute),
        "workers busy": "-" if summary.worker_busy is None else f"{summary.worker_busy:.0%}",
    }
    if summary.width > 1 and summary.occupancy is not None:
        tiles[f"of {summary.width} slots taken"] = f"{summary.occupancy:.0%}"
    if not running:
        del tiles["not ended yet"]
    cells = "".join(
        f"<div><dt>{html.escape(key)}</dt><dd>{html.escape(value)}</dd></div>" for key, value in tiles.items()
    )
    better = "lower" if summary.objective.direction == "minimize" else "higher"
    return (
        f"<header><h1>{html.escape(summary.study)}</h1><p class='soft'>Search for the best "
        f"{html.escape(summary.objective.metric)} ({better} is better), up to {summary.budget.epochs} epochs a trial. "
        f"The search is {state}. Written {now:%Y-%m-%d %H:%M} UTC.</p><dl class='tiles'>{cells}</dl></header>"
    )


def winner(home: Home, summary: Summary, *, chosen: bool) -> str:
    """Return the best trial of the search. chosen: whether finalists were trained again, so that it need not win."""
    again = (
        "the finalists above say what it is worth" if chosen else "train it again with fresh seeds before you quote it"
    )
    heading = "The best trial of the search" if chosen else "The winner"
    best = summary.best
    if best is None:
        return section(heading, "<p>No trial is done yet.</p>")
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td class='number'>{html.escape(_shown(value))}</td></tr>"
        for name, value in best.params.items()
    )
    sheet = _sheet(home, best.files, caption=f"trial {best.trial}, samples")
    body = (
        f"<p>Trial {best.trial} reached {html.escape(summary.objective.metric)} = <strong>{best.value:.6g}</strong> "
        f"with seed {best.seed}{_broken(best.feasible, all_do=True)}. The best of many noisy values flatters itself: "
        f"{again}.</p><div class='sides'>"
        f"<table><thead><tr><th>parameter</th><th class='number'>value</th></tr></thead><tbody>{rows}</tbody></table>"
        f"{sheet}</div>"
    )
    return section(heading, body)


def beside(summary: Summary) -> str:
    """Return each metric of the winner and of what it is read beside; nothing where there is no more than its value."""
    rows = comparison(summary)
    if not rows:
        return ""
    metrics = "".join(f"<th class='number'>{html.escape(metric)}</th>" for metric in rows[0][1:])
    body = "".join(
        f"<tr><td>{html.escape(who)}</td>" + "".join(f"<td class='number'>{value}</td>" for value in values) + "</tr>"
        for who, *values in rows[1:]
    )
    text = (
        "Each metric of the winner's samples, or of its model, and of what to read it beside: real rows are those that "
        "no model saw, and a copy of the training rows wins every measure of fidelity."
    )
    return section(
        "Beside the winner",
        f"<p class='soft'>{text}</p><div class='wide'><table><thead><tr><th></th>{metrics}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>",
    )


def samples(home: Home, reading: Reading) -> str:
    """Return the sheets of the best done trials, best first."""
    trials = analysis.trials(reading)
    done = trials[(trials["end"] == "done") & trials["value"].notna()]
    up = reading.objective.direction == "minimize"
    done = done.sort_values(["feasible", "value", "number"], ascending=[False, up, True])
    sheets = [
        _sheet(home, analysis.files(reading, number), caption=f"trial {number}: {value:.6g}{_broken(feasible)}")
        for number, value, feasible in zip(done["number"].head(SHEETS), done["value"], done["feasible"], strict=False)
    ]
    shown = [sheet for sheet in sheets if sheet]
    if not shown:
        return ""
    text = f"Samples of the {len(shown)} best trials that left some, best first."
    return section("Samples of the best", f"<p class='soft'>{text}</p><div class='sheets'>{''.join(shown)}</div>")


def _sheet(home: Home, files: Sequence[str], *, caption: str) -> str:
    """Return the last sample sheet among `files` inside the page, an image or text; nothing where there is none."""
    for file in reversed(files):
        path = (home.path / file).resolve()
        # The log names the file, and a log may come from anywhere: only a sheet in this home is taken.
        if path.suffix not in (".png", ".txt") or not path.is_relative_to(home.samples) or not path.is_file():
            continue
        if path.suffix == ".txt":
            return _lines(path, caption=caption)
        if path.stat().st_size > IMAGE_BYTES // (SHEETS + 1):
            return f"<figure><figcaption>{html.escape(caption)}: the sheet is too large for this page; it is " \
                   f"{html.escape(file)} in the home.</figcaption></figure>"  # fmt: skip
        source = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii")
        text = html.escape(caption)
        return f"<figure><img alt='Samples, {text}' src='{source}'><figcaption>{text}</figcaption></figure>"
    return ""


def _lines(path: Path, *, caption: str) -> str:
    """Return a sheet of text, whatever it holds; what is too long for the page is cut."""
    with path.open("rb") as file:
        text = file.read(TEXT_BYTES + 1)
    shown = html.escape(text[:TEXT_BYTES].decode("utf-8", errors="replace"))
    more = "..." if len(text) > TEXT_BYTES else ""
    return f"<figure class='text'><pre>{shown}{more}</pre><figcaption>{html.escape(caption)}</figcaption></figure>"


def ends(summary: Summary) -> str:
    """Return how trials ended and why, most frequent first; a long cause such as a traceback unfolds."""
    found: dict[tuple[str, str], list[int]] = defaultdict(list)
    for trial in summary.trials:
        found[trial.end, trial.cause.strip()].append(trial.number)
    order = {end: index for index, end in enumerate(analysis.STATES)}
    ranked = sorted(found.items(), key=lambda item: (order[item[0][0]], -len(item[1]), item[1]))
    rows = "".join(
        f"<tr><td>{html.escape(end)}</td><td>{_cause(cause)}</td><td class='number'>{len(numbers)}</td>"
        f"<td>{', '.join(map(str, numbers[:5]))}{', ...' if len(numbers) > 5 else ''}</td></tr>"
        for (end, cause), numbers in ranked[:CAUSES]
    )
    rest = f"<p class='soft'>{len(ranked) - CAUSES} rarer causes are left out.</p>" if len(ranked) > CAUSES else ""
    text = (
        "Done: trained to the end. Pruned: stopped at a rung. Died: the training itself failed, which says something "
        "about the parameters. Lost: the machine or the code failed, which says nothing about them; another trial "
        "takes its place."
    )
    return section(
        "How trials ended, one by one",
        f"<p class='soft'>{text}</p><div class='wide'><table><thead><tr><th>end</th><th>cause</th>"
        f"<th class='number'>trials</th><th>numbers</th></tr></thead><tbody>{rows}</tbody></table></div>{rest}",
    )


def _cause(cause: str) -> str:
    if not cause:
        return "-"
    last = cause.splitlines()[-1]
    if last == cause and len(cause) <= LINE:
        return html.escape(cause)
    return (
        f"<details><summary>{html.escape(last[:LINE])}</summary><pre>{html.escape(cause[:CAUSE_BYTES])}</pre></details>"
    )


def _broken(feasible: bool, *, all_do: bool = False) -> str:
    """What is said of a trial that breaks a constraint; of the best, that all of them do."""
    return "" if feasible else f", breaks a constraint{', as all do' if all_do else ''}"


def _shown(value: bool | int | float | str) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _rounded(value: float | None) -> str:
    return "-" if value is None else f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


def section(heading: str, body: str) -> str:
    return f"<section><h2>{html.escape(heading)}</h2>{body}</section>\n"


def techniques(found: Sequence[Effect]) -> str:
    """Return what each technique did, in words, with what such words cannot say."""
    if not found:
        return ""
    items = "".join(f"<li>{html.escape(effect.words)}</li>" for effect in found)
    pruned = found[0].pruned
    text = (
        "What the levels of each technique did to the objective, estimated over the trials: an option of a choice, or "
        "a fifth of a range, against the level of the default configuration, all else as it was in the trials. "
    )
    if pruned:
        text += (
            f"{pruned} of the {found[0].trials} trials were pruned; each enters at what the trials that went on beyond "
            "its rung say it would have come to. "
        )
    text += "A level that kills trials shows no harm here: trials that died have no value. " + CONFOUNDED
    return section("The techniques, in words", f"<ul class='words'>{items}</ul><p class='soft'>{html.escape(text)}</p>")


def selection(found: Selection | None, objective: str) -> str:
    """Return the winner over fresh seeds: what it may be expected to do, and what tuning gained."""
    if found is None:
        return ""
    winner, default = found.winner, found.default
    rows = [
        ("expected, on validation rows", _interval(winner.expected)),
        ("one more training falls in", _range(winner.one_run)),
        ("value in the search", "-" if found.chosen.searched is None else f"{found.chosen.searched:.5g}"),
        ("probability of being the best finalist", f"{found.chosen.chance:.0%}"),
        ("default configuration, on validation rows", _interval(default.expected)),
        ("gain over the default on the test rows", found.gain_note if found.gain is None else _interval(found.gain)),
    ]
    if found.shrinkage is not None:
        rows.insert(3, ("worse than the search said by", f"{found.shrinkage:.1%}"))
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td class='number'>{html.escape(value)}</td></tr>"
                    for name, value in rows)  # fmt: skip
    params = "".join(
        f"<tr><td>{html.escape(name)}</td><td class='number'>{html.escape(_shown(value))}</td></tr>"
        for name, value in winner.params.items()
    )
    text = (
        f"Selection {found.stage}, of {found.made}: {found.rule} The finalists were {len(found.finalists)}, trained "
        f"again at {found.epochs} epochs under fresh seeds; the winner and the default then again under "
        f"{len(winner.runs)} that took no part in the choice."
    )
    return section(
        f"The winner over fresh seeds: {winner.name}",
        f"<p class='soft'>{html.escape(text)}</p><div class='sides'><table><thead><tr><th>{html.escape(objective)}"
        f"</th><th class='number'></th></tr></thead><tbody>{cells}</tbody></table><table><thead><tr><th>parameter</th>"
        f"<th class='number'>value</th></tr></thead><tbody>{params}</tbody></table></div>",
    )


def _interval(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.mean:.5g} (95 %: {interval.low:.5g} to {interval.high:.5g})"


def _range(interval: Interval | None) -> str:
    return "-" if interval is None else f"{interval.low:.5g} to {interval.high:.5g}"


def made_of(home: Home, study: Study, now: datetime) -> str:
    """Return data and license, the study as it was asked for, and the versions of what wrote the page."""
    try:
        sha256 = home.data_hash.read_text(encoding="ascii").strip()
    except OSError:
        sha256 = ""
    written = study.data if isinstance(study.data, str) else json.dumps(study.data)
    license, source = _license(study)  # noqa: A001
    rows = {
        "data": "read by the training function" if study.data is None else written,
        "license": license,
        "source": source,
        "hash of the content": sha256,
        "model": study.model,
        "sampler, pruner": f"{study.sampler.name}, {study.pruner.name}",
        "seed": str(study.seed),
        "report written": f"{now:%Y-%m-%d %H:%M} UTC",
        "with": ", ".join(f"{name} {version}" for name, version in versions().items()),
    }
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>"
                    for name, value in rows.items() if value)  # fmt: skip
    return section("Data, license and versions", f"<table><tbody>{cells}</tbody></table>")


def _license(study: Study) -> tuple[str, str]:
    """Return license and source of the data. A loader that is not ours is not run, and neither is one that fails."""
    written: str | Mapping[str, object] | None = study.data
    name = written if isinstance(written, str) else str((written or {}).get("name", ""))
    if written is None or name not in plugins.names("data"):
        return "not known: the data are not ours", ""
    try:
        data = parts.data_of(study)
    except (RequestError, ImportError):
        return "not known: the data are not at hand", ""
    return str(data.license), str(data.source)
