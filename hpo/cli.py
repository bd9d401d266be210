"""The command line: one function a verb, a few lines over the library. Stands above everything, dashboards too.

Exit codes: 0; 1 where a search failed or a law is broken; 2 where the request cannot be done; 130 after Ctrl-C,
resumable.
"""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from hpo import plugins
from hpo.errors import HpoError, NotBuilt, RequestError, nearest
from hpo.study import Study

if TYPE_CHECKING:
    from hpo.selected import Selection

app = typer.Typer(
    add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Hyperparameter optimization for PyTorch generative models.",
)  # fmt: skip
out = Console(highlight=False, markup=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)

LOG_COLUMNS = 400  # of a table that goes to a file or a pipe
SHOWN = 40  # trials that a terminal shows of a study, the best

HomeArgument = Annotated[Path, typer.Argument(metavar="HOME", help="The folder of a study.")]


@app.command()
def search(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A YAML file, or the name of a ready-made study.")],
    home: Annotated[Path | None, typer.Option(help="Where the study lives; runs/NAME by default.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=V", help="Change a key of the study.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.")] = None,
) -> None:
    """Run a study, or go on with the one in its home."""
    from hpo.progress import Display, ends

    request = Study.load(study, changes=changes or [])
    where = home or Path("runs") / request.name
    command = f"hpo search {shlex.quote(study)} --home {shlex.quote(str(where))}" + "".join(
        f" --set {shlex.quote(change)}" for change in changes or []
    )
    try:
        with Display(out) as display:
            from hpo import search as run

            result = run(request, home=where, address=address, on_status=display.show)
    except KeyboardInterrupt:
        _leave_resumable(command)
    status = result.status
    out.print(f"{ends(status)} of {status['budget']} trials, {status['epochs']} epochs trained")
    if result.unsynced:
        out.print(f"MLflow lacks {result.unsynced} records; when it is back: hpo sync {shlex.quote(str(where))}")
    if result.interrupted:
        _leave_resumable(command)
    if result.no_report:
        out.print(f"no report was written: {result.no_report}")
    _print_winner(where)
    if result.report is not None:
        out.print(f"report: {result.report}")


@app.command()
def show(home: HomeArgument, as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False) -> None:
    """Show trials, ends, the best, importances and times of a study."""
    from hpo.analysis import summary
    from hpo.home import Home

    found = summary(Home(home).require())
    if as_json:
        print(json.dumps(found.to_json(), indent=2, allow_nan=False))  # noqa: T201 - the console would wrap it
        return
    from hpo.progress import summary_table

    wide = Console(highlight=False, width=out.width if out.is_terminal else LOG_COLUMNS)
    wide.print(summary_table(found, width=wide.width, most=SHOWN if out.is_terminal else None))


@app.command()
def export(
    home: HomeArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder.")],
    trial: Annotated[int | None, typer.Option(help="This trial as it was searched, with no selection.")] = None,
    finalists: Annotated[int, typer.Option(help="Of the best trials, so many are trained again.")] = 3,
    seeds: Annotated[int, typer.Option(help="Under so many fresh seeds each.")] = 4,
    address: Annotated[str | None, typer.Option(help="A running Ray cluster: auto, or host:port.")] = None,
) -> None:
    """Choose the winner over fresh seeds and write it: configuration, weights, metrics, samples, card, MLflow model."""
    from hpo.selection import Interrupted
    from hpo.selection import export as write
    from hpo.standings import Stages, standings

    def tell(found: Selection, known: bool) -> None:
        if known:
            out.print(f"the selection of {found.made} is used again: nothing was trained, no test row touched")
        wide = Console(highlight=False, width=out.width if out.is_terminal else LOG_COLUMNS)
        wide.print(standings(found))

    try:
        with Stages(out) as stages:
            files = write(
                home,
                folder,
                trial=trial,
                finalists=finalists,
                seeds=seeds,
                address=address,
                on_status=stages.show,
                on_selection=tell,
                say=out.print,
            )
    except (KeyboardInterrupt, Interrupted):
        options = f" --finalists {finalists} --seeds {seeds}"
        _leave_resumable(f"hpo export {shlex.quote(str(home))} {shlex.quote(str(folder))}{options}")
    out.print(f"{folder}: {', '.join(files)}")


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="An exported config.yaml, or its folder.")],
    folder: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder for weights and metrics.")],
    start: Annotated[
        Path | None, typer.Option("--from", metavar="DIR", help="An export whose weights it begins with.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Train under so many seeds, each in a folder.")] = None,
) -> None:
    """Train one configuration at its full budget."""
    from hpo.configuration import read_config
    from hpo.retrain import train as run
    from hpo.retrain import train_seeds

    read = read_config(config)

    def tell(step: int, metrics: dict[str, float]) -> None:
        values = "  ".join(f"{name} {value:.5g}" for name, value in metrics.items())
        out.print(f"epoch {step}/{read.epochs}  {values}")

    if seeds is None:
        files = run(read, folder, start=start, on_epoch=tell)
        out.print(f"{folder}: {', '.join(files)}")
        return
    found = train_seeds(read, folder, seeds=seeds, start=start, on_epoch=tell)
    for number, one in enumerate(found["runs"], start=1):
        out.print(f"{folder / f'seed-{number}'}: seed {one['seed']}, {read.objective.name} {one['value']:.6g}")
    if (mean := found["expected"]) is not None:
        out.print(f"mean {mean['mean']:.6g}, {mean['low']:.6g} to {mean['high']:.6g} (95 %)")


@app.command()
def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An export, or what `hpo train` wrote.")],
    file: Annotated[Path, typer.Option("--out", metavar="F", help=".png, .npz, .wav, .txt or .csv, or a folder.")],
    count: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many.")] = 64,
    seed: Annotated[int, typer.Option(help="The same seed gives the same samples.")] = 0,
    label: Annotated[int | None, typer.Option(help="The class of all, of a model that knows classes.")] = None,
) -> None:
    """Write new samples of a model that left a home."""
    from trainables import exported

    try:
        model = exported.load(folder)
        files = model.write(file, model.sample(count, seed=seed, label=label))
    except (ValueError, OSError) as error:
        raise RequestError(f"sample: {error}.") from None
    out.print(f"{count} samples: {files[0] if len(files) == 1 else f'{len(files)} files in {file}'}")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An export, or what `hpo train` wrote.")],
    seed: Annotated[int | None, typer.Option(help="Train under this seed instead of a random one.")] = None,
    same_seed: Annotated[bool, typer.Option("--same-seed", help="Train under the recorded seed.")] = False,
) -> None:
    """Say whether an export is what it says: its files, its data, its numbers, and a training of the same again."""
    from hpo.verify import Finding
    from hpo.verify import verify as run

    def tell(finding: Finding) -> None:
        style = None if finding.right else "red"
        out.print(f"{'ok' if finding.right else 'WRONG':8}{finding.subject}: {finding.text}", style=style)

    found = run(folder, seed=seed, same_seed=same_seed, on_finding=tell)
    wrong = list(dict.fromkeys(finding.subject for finding in found if not finding.right))
    out.print(f"not fair: {', '.join(wrong)}" if wrong else "fair")
    if wrong:
        raise typer.Exit(1)


@app.command()
def report(home: HomeArgument) -> None:
    """Write the report of a study: one HTML file that needs no network."""
    from dashboards.report import write
    from hpo.home import Home

    place = Home(home).require()
    write(place, place.report)
    out.print(str(place.report))


@app.command()
def ui(
    homes: Annotated[list[Path], typer.Argument(metavar="HOME...", help="The folders of one study or of several.")],
    host: Annotated[str, typer.Option(help="Where to listen; other machines reach only what is not 127.0.0.1.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8050,
    mlflow: Annotated[bool, typer.Option("--mlflow", help="Start MLflow's UI beside it.")] = False,
    optuna: Annotated[bool, typer.Option("--optuna", help="Start optuna-dashboard beside it.")] = False,
) -> None:
    """Show studies in the browser, live while they are searched."""
    from dashboards.serve import serve
    from hpo.home import Home

    serve([Home(home) for home in homes], host=host, port=port, mlflow=mlflow, optuna=optuna, tell=out.print)


@app.command()
def sync(home: HomeArgument) -> None:
    """Bring MLflow up to date with the event log of a study."""
    from dashboards.pages import figure_pages
    from hpo.home import Home
    from hpo.tracking import sync as run

    place = Home(home).require()
    written = run(Study.load(place.study), place, figures=figure_pages)
    out.print(f"{written} records written")


@app.command(name="list")
def list_plugins(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="models, data, metrics, spaces or studies.")],
) -> None:
    """List what there is of one kind."""
    if kind == "studies":
        found = list(plugins.studies())
    elif kind in plugins.ROLES:
        found = plugins.names(kind)
    else:
        raise RequestError(f"list: {kind!r} is no kind; {nearest(kind, [*plugins.ROLES, 'studies'])}.")
    out.print("\n".join(found))


@app.command()
def check(
    targets: Annotated[
        list[str], typer.Argument(metavar="TARGET...", help="A file, a dotted name, or the name of a plug-in.")
    ],
    space: Annotated[str | None, typer.Option(help="The space of a model; its own by default.")] = None,
    data: Annotated[str | None, typer.Option(help="What models and metrics are tried on.")] = None,
) -> None:
    """Hold a model, data set, metric or space of yours against the laws that ours keep."""
    import torch

    from hpo.checking import check as run

    torch.set_num_threads(1)
    counts = {"ok": 0, "broken": 0, "not asked": 0}
    for target in targets:
        for subject, verdict in run(target, space=space, data=data):
            counts[verdict.outcome] += 1
            out.print(f"{verdict.outcome:10}{subject}: {verdict.law}")
            if verdict.text:
                out.print(f"{'':10}{verdict.text}", style="red" if verdict.outcome == "broken" else None)
    out.print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if counts["broken"]:
        raise typer.Exit(1)


@app.command()
def doctor(
    target: Annotated[str | None, typer.Argument(metavar="[STUDY|HOME]", help="What is to be run, or goes on.")] = None,
    data: Annotated[str | None, typer.Option(metavar="PATH", help="A file or folder of your own data.")] = None,
    study: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the study that fits --data here.")] = None,
    changes: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=V", help="Change a key of the study.")
    ] = None,
) -> None:
    """Say what stands in the way of a search, or what is understood of your own data."""
    if data is not None:
        if target is not None:
            raise RequestError(f"doctor: one thing at a time; {target} and --data {data} came. Give one of them.")
        if not data:  # as a path it would be the folder where one is
            raise RequestError("doctor: --data names a file or a folder, and it is empty. Name one.")
        _explain_data(Path(data), study, changes or [])
        return
    if study is not None:
        raise RequestError(f"doctor: --study {study} is written for data. Give them: --data PATH.")
    if target is None and changes:
        raise RequestError(f"doctor: --set {changes[0]} changes a study. Name it, or give --data PATH.")
    from hpo.doctor import machine, request

    of_study = request(target, changes=changes or []) if target else ()
    broken = False
    for finding in itertools.chain(machine(), of_study):
        broken = broken or finding.outcome == "broken"
        style = {"broken": "red", "note": "yellow"}.get(finding.outcome)
        out.print(f"{finding.outcome:8}{finding.subject}: {finding.text}", style=style)
    if broken:
        raise typer.Exit(1)


def _explain_data(path: Path, file: Path | None, changes: list[str]) -> None:
    """Print what is understood of the data, and the study that fits; write it where a file is given."""
    from hpo import own_data, parts

    if file is not None and file.exists():
        raise RequestError(f"doctor: a study is written to a new file; {file} is there. Give another --study.")
    found, study = own_data.study_for(path, changes=changes)
    kinds = ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in own_data.suffixes_in(path).items())
    out.print(f"{path}: {kinds}")
    for subject, text in own_data.understood(parts.data_of(found)):
        out.print(f"  {subject:12}{text}")
    if file is None:
        out.print("\nA study that fits; --study FILE writes it:\n")
        out.print(study)
        return
    file.write_text(study, encoding="utf-8")
    name = shlex.quote(str(file))
    out.print(f"{file} is a study that fits; next: hpo doctor {name}   hpo search {name}")


def _unbuilt(verb: str) -> Callable[[], None]:
    def refuse() -> None:
        raise NotBuilt(f"{verb}: the design has this verb and this release does not yet. See `hpo --help`.")

    refuse.__name__ = verb
    return refuse


UNBUILT = ("submit", "replay")
for _verb in UNBUILT:
    app.command(name=_verb, hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
        _unbuilt(_verb)
    )


def main() -> None:
    """Run the command line; every error of ours is one message and an exit code."""
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a user's own modules, as with `python -m`
    try:
        app()
    except RequestError as error:
        err.print(str(error), style="red")
        sys.exit(2)
    except HpoError as error:
        err.print(str(error), style="red")
        sys.exit(1)


def _leave_resumable(command: str) -> NoReturn:
    out.print(f"interrupted; nothing is lost. To go on:\n  {command}")
    if any(thread.name == "ray-shutdown" for thread in threading.enumerate()):
        os._exit(130)  # Ray was ended by the same signal; its exit handlers would wait a minute for it, and abort
    raise typer.Exit(130)


def _print_winner(where: Path) -> None:
    from hpo.analysis import best
    from hpo.home import Home

    found = best(Home(where))
    if found is None:
        out.print("no trial reached the end of its budget, so there is no winner")
        return
    broken = "" if found.feasible else "; it breaks a constraint, as all do: see hpo show"
    out.print(f"best: trial {found.trial} at {found.value:.6g} (one run; seeds vary{broken})")
    for name, value in sorted(found.params.items()):
        out.print(f"  {name}: {value}")
    home = shlex.quote(str(where))
    out.print(f"next: hpo show {home}   hpo report {home}   hpo export {home} best/")
