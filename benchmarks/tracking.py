"""What MLflow costs a search: ours beside Ray's MLflowLoggerCallback, on a file, on a server, and on one that dies.

    python -m benchmarks.tracking                          16 trials, 8 at once, at the pace of a digits GAN
    python -m benchmarks.tracking --trials 8 --repeats 1   a first look

One trial of `digits-gan` is trained once; its 27 reports, as they came, stand for those of every trial, at a pace of
`--epoch-seconds`. Each arm is a process of its own that tells MLflow of all trials:
    callback  MLflowLoggerCallback, called as Tune calls it: in the loop that hands out work, with Tune's own fields
    ours      reports are appended to the event log; `hpo.tracking.Tracker` follows it in its thread
Both go through MLflow's client. A call is one of its methods, called from outside of it; a method that splits itself
is one on both sides. *Late* is how much later the last report was taken than the pace asks for, a trial: what stood in
the way of the training. In the outage the server is killed half-way, and started again once the arm has ended.
It prints markdown for RESULTS.md.
"""

from __future__ import annotations

import argparse
import functools
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from benchmarks import machine, table
from hpo import parts
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Params, Start
from hpo.pruning import decision_steps
from hpo.study import Study
from tests.servers import MLflowServer

EPOCHS = 27
STUCK_SECONDS = 120.0  # an arm that has not come back from an outage by then is said to be stuck


class Count:
    """Calls of MLflow's client from outside of it, and the seconds spent in them."""

    def __init__(self) -> None:
        self.calls, self.seconds = 0, 0.0
        self._inside = threading.local()

    def watch(self, kind: type) -> None:
        """Count the public methods of this class from now on; the process is the benchmark's own."""
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_"):
                setattr(kind, name, self._counted(method))

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def call(*args: Any, **options: Any) -> Any:
            if getattr(self._inside, "yes", False):
                return method(*args, **options)
            self._inside.yes = True
            began = time.perf_counter()
            try:
                return method(*args, **options)
            finally:
                self._inside.yes = False
                self.calls += 1
                self.seconds += time.perf_counter() - began

        return call


class Told:
    """What the callback asks of Tune's trial."""

    def __init__(self, number: int, config: Params) -> None:
        self.number, self.config = number, config

    def __str__(self) -> str:
        return f"train_{self.number:05d}"


def record(file: Path) -> None:
    """Train one trial and write down its parameters and reports."""
    import torch

    torch.set_num_threads(1)
    study = study_for(None)
    params = parts.space_of(study).default()
    trainer, objective = parts.trainer_of(study, params, seed=0), parts.objective_of(study).name
    rungs = {*decision_steps(study.pruner, epochs=EPOCHS), EPOCHS}
    reports = []
    for epoch in range(1, EPOCHS + 1):
        progress = trainer.advance(measure=[objective] if epoch in rungs else ())
        reports.append({name: float(value) for name, value in progress.metrics.items()})
    file.write_text(json.dumps({"params": params, "objective": objective, "reports": reports}), encoding="utf-8")


def study_for(uri: str | None) -> Study:
    changes = [f"budget.epochs={EPOCHS}"] + ([] if uri is None else [f"tracking={uri}"])
    return Study.load("digits-gan", changes=changes)


def pace(trials: int, width: int, epoch_seconds: float) -> Iterator[tuple[int, int]]:
    """Say that it begins, then yield trial and epoch of each report when it is due, `width` trials side by side."""
    print("ready", flush=True)
    began, rounds = time.perf_counter(), 0
    for first in range(0, trials, width):
        for epoch in range(1, EPOCHS + 1):
            rounds += 1
            time.sleep(max(0.0, began + rounds * epoch_seconds - time.perf_counter()))
            for trial in range(first, min(first + width, trials)):
                yield trial, epoch


def ideal_seconds(trials: int, width: int, epoch_seconds: float) -> float:
    return -(-trials // width) * EPOCHS * epoch_seconds


def ours(options: argparse.Namespace, recording: dict[str, Any]) -> dict[str, Any]:
    from hpo.tracking import Tracker

    home, study = Home(options.folder / "home"), study_for(options.uri)
    home.path.mkdir()
    study.save(home.study)
    home.keep_data(parts.data_hash(study))
    count, log = counting(), EventLog(home)
    tracker = Tracker(study, home)
    tracker.start()
    began = time.perf_counter()
    for trial, epoch in pace(options.trials, options.width, options.epoch_seconds):
        now = time.time()
        metrics = dict(recording["reports"][epoch - 1])
        value = metrics.pop(recording["objective"], None)
        end: Literal["done"] | None = "done" if epoch == EPOCHS else None
        event = Event(trial=trial, step=epoch, time=now, metrics=metrics, value=value, end=end)
        start = [Start(trial=trial, time=now, params=recording["params"], seed=trial, group="g0")] if epoch == 1 else []
        log.append([*start, event], sync=False)
    fed = time.perf_counter() - began
    unsynced = tracker.end("finished", timeout=STUCK_SECONDS)
    return {"calls": count.calls, "seconds": count.seconds, "fed": fed, "lacking": unsynced}


def callback(options: argparse.Namespace, recording: dict[str, Any]) -> dict[str, Any]:
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    count = counting()
    logger = MLflowLoggerCallback(tracking_uri=options.uri, experiment_name="digits-gan")
    logger.setup()
    trials = {number: Told(number, recording["params"]) for number in range(options.trials)}
    began = time.perf_counter()
    for number, epoch in pace(options.trials, options.width, options.epoch_seconds):
        trial = trials[number]
        if epoch == 1:
            logger.log_trial_start(trial)
        logger.log_trial_result(epoch, trial, as_tune_reports(recording["reports"][epoch - 1], epoch, trial))
        if epoch == EPOCHS:
            logger.log_trial_end(trial)
    return {"calls": count.calls, "seconds": count.seconds, "fed": time.perf_counter() - began, "lacking": 0}


def as_tune_reports(metrics: dict[str, float], epoch: int, trial: Told) -> dict[str, Any]:
    """The metrics with the fields that Tune 2.60 adds to each result."""
    now = time.time()
    return metrics | {
        "timestamp": int(now), "checkpoint_dir_name": None, "done": epoch == EPOCHS, "training_iteration": epoch,
        "trial_id": str(trial), "date": time.strftime("%Y-%m-%d_%H-%M-%S"), "time_this_iter_s": 0.05,
        "time_total_s": 0.05 * epoch, "pid": os.getpid(), "hostname": "host", "node_ip": "127.0.0.1",
        "config": trial.config, "time_since_restore": 0.05 * epoch, "iterations_since_restore": epoch,
    }  # fmt: skip


def sync(options: argparse.Namespace, recording: dict[str, Any]) -> dict[str, Any]:
    from hpo.tracking import sync as run

    count = counting()
    written = run(study_for(options.uri), Home(options.folder / "home"))
    return {"calls": count.calls, "seconds": count.seconds, "fed": 0.0, "lacking": 0, "written": written}


ARMS = {"callback": callback, "ours": ours, "sync": sync}


def counting() -> Count:
    from mlflow import MlflowClient

    count = Count()
    count.watch(MlflowClient)
    return count


def run_arm(arm: str, uri: str, folder: Path, options: argparse.Namespace, *, kill: Callable[[], None] | None = None
            ) -> dict[str, Any] | None:  # fmt: skip
    """Run one arm in a process of its own; None where it got stuck or failed. kill: called half-way."""
    folder.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "benchmarks.tracking", "--arm", arm, "--uri", uri, "--folder", str(folder),
               "--recording", str(options.recording), "--trials", str(options.trials), "--width", str(options.width),
               "--epoch-seconds", str(options.epoch_seconds)]  # fmt: skip
    quiet = os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
    pace_seconds = ideal_seconds(options.trials, options.width, options.epoch_seconds)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=quiet) as process:
        assert process.stdout is not None
        try:
            if kill is not None:
                ready = process.stdout.readline()
                assert ready == "ready\n"
                time.sleep(pace_seconds / 2)
                kill()
                out, _ = process.communicate(timeout=STUCK_SECONDS + pace_seconds / 2)
            else:
                out, _ = process.communicate()
        except subprocess.TimeoutExpired:
            process.kill()
            return None
    return dict(json.loads(out.splitlines()[-1])) if process.returncode == 0 else None


@contextmanager
def server_in(folder: Path) -> Iterator[MLflowServer]:
    folder.mkdir()
    with MLflowServer(folder) as server:
        yield server


def measure(options: argparse.Namespace, folder: Path) -> None:
    """Print the tables: arms in turn within each repeat, so that a busy minute meets both."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for repeat in range(options.repeats):
        for arm in ("callback", "ours"):
            place = folder / f"file-{repeat}-{arm}"
            place.mkdir()
            result = run_arm(arm, f"sqlite:///{place / 'mlflow.db'}", place, options)
            found.setdefault(("sqlite", arm), []).append(result or {})
        with server_in(folder / f"server-{repeat}") as server:
            for arm in ("callback", "ours"):
                result = run_arm(arm, server.uri, folder / f"http-{repeat}-{arm}", options)
                found.setdefault(("HTTP", arm), []).append(result or {})
    print(machine.line())
    print(f"{options.trials} trials of {EPOCHS} reports, {options.width} at once, an epoch every "
          f"{options.epoch_seconds:g} s; {options.repeats} repeats, medians.\n")  # fmt: skip
    print(table.head(["store", "arm", "calls a trial", "ms a trial in MLflow", "late, ms a trial"]))
    ideal = ideal_seconds(options.trials, options.width, options.epoch_seconds)
    for (store, arm), results in found.items():
        if not all(results):
            print(table.line([store, arm, "failed", "-", "-"]))
            continue
        calls, spent, late = (
            statistics.median(map(value, results)) / options.trials
            for value in (
                lambda result: result["calls"],
                lambda result: 1000 * result["seconds"],
                lambda result: 1000 * (result["fed"] - ideal),
            )
        )
        print(table.line([store, arm, f"{calls:.1f}", f"{spent:.0f}", f"{late:.1f}"]))
    print()
    outage(options, folder)


def outage(options: argparse.Namespace, folder: Path) -> None:
    """Print what became of each arm whose server was killed half-way."""
    ideal = ideal_seconds(options.trials, options.width, options.epoch_seconds)
    print(table.head(["arm, server killed half-way", "late, ms a trial", "records lacking at its end", "and then"]))
    for arm in ("callback", "ours"):
        with server_in(folder / f"outage-{arm}") as server:
            place = folder / f"outage-{arm}-files"
            result = run_arm(arm, server.uri, place, options, kill=server.kill)
            server.start()
            if result is None:
                print(table.line([arm, "-", "-", f"failed, or not back after {STUCK_SECONDS:.0f} s"]))
                continue
            then = "-"
            if arm == "ours":
                synced = run_arm("sync", server.uri, place, options)
                then = "sync failed"
                if synced is not None:
                    then = f"`hpo sync` wrote {synced['written']} in {synced['calls']} calls, {synced['seconds']:.1f} s"
            late = 1000 * (result["fed"] - ideal) / options.trials
            print(table.line([arm, f"{late:.1f}", str(result["lacking"]), then]))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--width", type=int, default=8, help="trials at once")
    parser.add_argument("--epoch-seconds", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--arm", choices=list(ARMS), help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--recording", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.arm is not None:
        recording = json.loads(options.recording.read_text(encoding="utf-8"))
        print(json.dumps(ARMS[options.arm](options, recording)), flush=True)
        os._exit(0)  # what MLflow's own retries may still hold must not keep the process
    with tempfile.TemporaryDirectory(prefix="hpo-tracking-") as folder:
        options.recording = Path(folder) / "recording.json"
        record(options.recording)
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
