"""The driver's life on Ray: the server beside the home, groups placed by Tune, signals, and the way out.

Tune decides where; what to try, when to stop and what survives a crash are the server's. Only public extension points
of Tune are used: `Trainable` (see `group.py`) and `Searcher`. Called by `launch.py`, which sets Ray's environment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from hpo.errors import RequestError, SearchFailed
from hpo.group import Group
from hpo.home import Home
from hpo.server import StudyServer, refuse
from hpo.study import Study
from hpo.wire import ServerGone, ServerHandle

STATUS_SECONDS = 0.5
DRAIN_SECONDS = 15.0  # after a signal, groups get so long to reach their next message; a longer epoch is trained again
SHUTDOWN_SECONDS = 8.0
JOIN_SECONDS = 5.0
SERVER_THREADS = 64  # calls in flight; a group has one

OnStatus = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True)
class Outcome:
    """How a driver's life ended. status: the fields of `hpo.ledger.Status`."""

    status: dict[str, Any]
    interrupted: bool


@dataclass(frozen=True)
class Shares:
    """How many workers there are, and what each gets of a node."""

    workers: int
    cpus: int
    gpus: float


def run(
    study: Study,
    home: Home,
    *,
    direction: str,
    data: str | None,
    address: str | None,
    on_status: OnStatus | None,
    on_open: Callable[[], None],
) -> Outcome:
    """Search until the budget is used, the study stops, or a signal drains it.

    data: the hash of what is trained on. on_open: called once the home is ours; before that it may be another
    driver's, and is left as it is.
    """
    stop = threading.Event()
    with _signals(stop), cluster_of(study, address) as cluster:
        given = cluster.shares
        name = f"hpo-{uuid.uuid4().hex[:8]}"
        server = _start_server(study, home, name=name, direction=direction, data=data, workers=given.workers)
        on_open()
        experiment = _Experiment(study, server, shares=given, name=name)
        show = on_status or (lambda status: None)
        drained, status = _watch(experiment, server, stop, show)
        cluster.answers = not (drained and experiment.thread.is_alive())
        try:
            status = server.hurry("close") if drained else server.call("close")
            show(status)
        except ServerGone:
            if not drained:
                raise
        if cluster.answers:
            server.end()
    if not (status["over"] or status["stopped"] or drained):
        raise SearchFailed(
            "Ray Tune must run until the budget is used; it ended before"
            + (f": {experiment.fault}." if experiment.fault else ".")
            + " The same command resumes the study."
        ) from experiment.fault
    return Outcome(status=status, interrupted=drained and not status["over"])


class GroupSearcher(Searcher):  # type: ignore[misc]
    """Hands groups to Tune. It holds no study and has nothing to save: the server has it all."""

    def __init__(self, server: ServerHandle, *, name: str, gpu: float) -> None:
        super().__init__()
        self._server = server
        self._name = name
        self._gpu = gpu

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a group's config, None where there is no work now, FINISHED where there will be none."""
        group = f"{self._name}/{trial_id}"
        reply = self._server.call("open_group", group)
        if not reply["place"]:
            self._server.call("close_group", group, failed=False)
            return Searcher.FINISHED if self._server.call("over") else None
        return {"server": self._name, "group": group, "gpu": self._gpu, "trials": reply["place"]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell the server that a group is gone; Tune never retries one."""
        self._server.call("close_group", f"{self._name}/{trial_id}", failed=error)

    def save(self, checkpoint_path: str) -> None:
        """Write nothing."""

    def restore(self, checkpoint_path: str) -> None:
        """Read nothing."""


class _Experiment:
    """The Tune experiment, on a thread of its own so that the main thread keeps signals and the display."""

    def __init__(self, study: Study, server: ServerHandle, *, shares: Shares, name: str) -> None:
        self._study = study
        self._searcher = GroupSearcher(server, name=name, gpu=shares.gpus)
        self._shares = shares
        self.fault: BaseException | None = None
        self.thread = threading.Thread(target=self._fit, name="tune", daemon=True)
        self.thread.start()

    def _fit(self) -> None:
        try:
            with TemporaryDirectory(prefix="hpo-tune-", ignore_cleanup_errors=True) as scratch:
                tune.Tuner(
                    tune.with_resources(Group, {"cpu": self._shares.cpus, "gpu": self._shares.gpus}),
                    tune_config=tune.TuneConfig(
                        search_alg=self._searcher,
                        num_samples=-1,
                        max_concurrent_trials=self._shares.workers,
                        reuse_actors=True,
                        trial_dirname_creator=lambda trial: str(trial.trial_id),
                    ),
                    run_config=tune.RunConfig(name=self._study.name, storage_path=scratch, verbose=0),
                ).fit()
        except BaseException as error:  # an exception of a thread is lost unless it is kept
            self.fault = error


def _watch(
    experiment: _Experiment, server: ServerHandle, stop: threading.Event, on_status: OnStatus
) -> tuple[bool, dict[str, Any]]:
    """Show the status until Tune ends; return whether a signal drained the groups before, and the last status.

    A signal to the whole process group, as `timeout` and batch systems send it, ends Ray's own processes too. Then Tune
    never ends and the server may not answer; the ledger is whole all the same.
    """
    status: dict[str, Any] = server.call("status")
    while experiment.thread.is_alive() and not stop.is_set():
        status = server.call("status")
        on_status(status)
        experiment.thread.join(STATUS_SECONDS)
    if not stop.is_set():
        return False, status
    deadline = time.monotonic() + DRAIN_SECONDS
    with contextlib.suppress(ServerGone):
        while experiment.thread.is_alive() and time.monotonic() < deadline:
            server.hurry("drain")  # again each time: a server that was restarted has forgotten it
            experiment.thread.join(STATUS_SECONDS)
            status = server.hurry("status")
            on_status(status)
    return True, status


@contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C and SIGTERM set `stop`; a second one raises KeyboardInterrupt at once.

    Only the main thread may set handlers; called from another one, the caller's own stay in force.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(signum: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass
class Cluster:
    """Ray while a search runs. answers: False once a signal has ended Ray's own processes, as far as can be seen."""

    shares: Shares
    answers: bool = True


@contextmanager
def cluster_of(study: Study, address: str | None) -> Iterator[Cluster]:
    """Join or start Ray, and leave it as it was found: searches inside share one."""
    ours = not ray.is_initialized()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    if ours:
        if address is None:
            ray.init(
                address="local",
                num_cpus=_local_cpus(study),
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        else:
            _join(address)
    if threading.current_thread() is threading.main_thread():
        for number, handler in handlers.items():  # ray.init takes SIGTERM for itself
            signal.signal(number, handler)
    cluster = None
    try:
        cluster = Cluster(shares(study, ray.cluster_resources()))
        yield cluster
    finally:
        if ours and (cluster is None or cluster.answers):
            ray.shutdown()
        elif ours:  # it would wait a minute for processes that are gone
            leaving = threading.Thread(target=ray.shutdown, name="ray-shutdown", daemon=True)
            leaving.start()
            leaving.join(SHUTDOWN_SECONDS)


def _join(address: str) -> None:
    """Join a running cluster; RequestError where none answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if host and port.isdigit():  # Ray itself would try for a minute, and then end the process
            socket.create_connection((host, int(port)), timeout=JOIN_SECONDS).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError) as error:
        raise RequestError(
            f"--address: a running Ray cluster must answer there; {address} does not: {str(error).splitlines()[0]}. "
            "Start it with `ray start --head`, or leave --address out."
        ) from None


def _local_cpus(study: Study) -> int | None:
    """Return how many CPUs a local Ray counts: what Ray finds, or as many as the asked workers need."""
    asked = study.resources.workers
    return None if asked == "auto" else max(os.cpu_count() or 1, asked * study.resources.cpus_per_worker)


def shares(study: Study, cluster: Mapping[str, float]) -> Shares:
    """Return the workers that the cluster holds, never more than there are trials."""
    resources = study.resources
    cpus = resources.cpus_per_worker
    has_gpus = cluster.get("GPU", 0) > 0
    gpus = (1.0 if has_gpus else 0.0) if resources.gpus_per_worker == "auto" else resources.gpus_per_worker
    fit = int(cluster.get("CPU", 1) // cpus)
    if gpus > 0:
        fit = min(fit, int(cluster.get("GPU", 0) / gpus + 1e-9))
    if fit < 1:
        raise RequestError(
            f"A worker needs {cpus} CPUs and {gpus:g} GPUs; Ray has {cluster.get('CPU', 0):g} and "
            f"{cluster.get('GPU', 0):g}. Lower resources.cpus_per_worker or gpus_per_worker."
        )
    workers = fit if resources.workers == "auto" else resources.workers
    return Shares(workers=min(workers, study.budget.trials), cpus=cpus, gpus=gpus)


def _start_server(
    study: Study, home: Home, *, name: str, direction: str, data: str | None, workers: int
) -> ServerHandle:
    """Start the study server on this node, where the home is; return its handle once the ledger is open."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1, max_concurrency=SERVER_THREADS)(StudyServer)
    # No environment of its own: it has no need of torch, and Ray then takes a process that stands ready.
    actor = remote.options(name=name, scheduling_strategy=here).remote(
        study.model_dump(mode="json"),
        str(home.path),
        direction=direction,
        data=data,
        workers=workers,
        run=name,
        import_paths=[path for path in sys.path if path],
        folder=os.getcwd(),
    )
    server = ServerHandle(actor)
    refuse(server.call("ready"))
    return server
