"""The runs of one home in MLflow: one of the study, one below it for each trial. The one file that speaks MLflow.

Runs are found by their tags and written by their ids: no active run, nothing global. Every write may be repeated: the
same point, parameter or tag replaces itself, and a run is made only where none has its tag. MLflow is imported inside
functions, as it takes more than a second. `tracking.py` decides what is written when.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hpo.errors import HpoError
from hpo.home import Home
from hpo.messages import End
from hpo.mirror import VALUE_LENGTH, Batch, Chunk, Ending, Point, Position, plain
from hpo.study import Study
from hpo.surroundings import git_commit, versions

# How a trial's end is told to MLflow, and how a search's. The tag `end` beside it has our word.
STATUS_OF_END: dict[End, str] = {"done": "FINISHED", "pruned": "KILLED", "died": "FAILED", "lost": "FAILED"}
STATUS_OF_ENDING: dict[Ending, str] = {"finished": "FINISHED", "interrupted": "KILLED", "stopped": "FAILED"}

# A server is tried once: we look for the run that a lost answer may have left, while MLflow's own retries would make it
# twice, and go on for minutes. And no link is printed for each run that ends.
SERVER_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

Connect = Callable[[str], Any]


def connect(uri: str) -> Any:
    """Return MLflow's client for this URI."""
    from mlflow import MlflowClient

    return MlflowClient(uri)


class GivenUp(HpoError):
    """The search is over and MLflow was too slow for it: nothing more is written."""


@dataclass
class Traffic:
    """Calls made, failed ones included; writes that MLflow refused for good; whether calls are still allowed."""

    calls: int = 0
    refused: int = 0
    given_up: bool = False


@dataclass
class _Run:
    id: str
    status: str


class Runs:
    """Where the runs are and what state they are in: what one look at MLflow told, and our own writes since.

    After a failed call the state is not known any more; look again with `find`.
    """

    def __init__(self, client: _Counted, *, experiment: str, parent: _Run, ending: str, traffic: Traffic) -> None:
        self._client, self._experiment, self._parent, self._traffic = client, experiment, parent, traffic
        self._trials: dict[int, _Run] = {}
        self.ending = ending

    @classmethod
    def find(cls, client: Any, *, study: Study, home: Home, position: Position, traffic: Traffic) -> Runs:
        """Return the runs of the home whose log begins as `position` says; makes the study's where there is none."""
        counted = _Counted(client, traffic)
        experiment = _experiment(counted, study, home)
        tags = _study_tags(study, home, position)
        home_tag = f"tags.`hpo.home` = '{position.identity}'"
        found = counted.search_runs([experiment], home_tag, order_by=["attributes.start_time ASC"], max_results=1)
        if not found:
            name = home.path.name
            made = counted.create_run(experiment, start_time=position.began_ms, tags=tags, run_name=name)
            return cls(
                counted, experiment=experiment, parent=_Run(made.info.run_id, "RUNNING"), ending="", traffic=traffic
            )
        parent = _Run(found[0].info.run_id, found[0].info.status)
        ending = found[0].data.tags.get("end", "")
        counted.log_batch(parent.id, tags=_tags(tags))
        runs = cls(counted, experiment=experiment, parent=parent, ending=ending, traffic=traffic)
        runs._trials = _children(counted, experiment, parent.id)
        return runs

    @property
    def study_run(self) -> str:
        """The id of the study's run."""
        return self._parent.id

    def write(self, chunk: Chunk, *, home: Home, live: bool) -> None:
        """Write one chunk of the log. live: a search is running, so runs that go on are opened again."""
        if live and self._parent.status != "RUNNING":
            self._reopen(self._parent)
        for batch in chunk.batches:
            self._write_trial(batch, home, live)
        if chunk.summary:
            best = chunk.position.best_trial
            tags = {} if best is None else {"best_trial": str(best)}
            with self._refusable():
                self._client.log_batch(self._parent.id, metrics=_metrics(chunk.summary), tags=_tags(tags))

    def interrupt_trial(self, number: int, *, time_ms: int) -> None:
        """Close the run of a trial that stopped half-way and may go on one day."""
        run = self._trials.get(number)
        if run is not None and run.status == "RUNNING":
            self._close(run, end="interrupted", status="KILLED", time_ms=time_ms)

    def end_study(self, ending: Ending, *, time_ms: int) -> None:
        """Close the study's run."""
        self._close(self._parent, end=ending, status=STATUS_OF_ENDING[ending], time_ms=time_ms)

    def _write_trial(self, batch: Batch, home: Home, live: bool) -> None:
        run, tags = self._trials.get(batch.trial), batch.tags
        if run is None:
            made = self._client.create_run(
                self._experiment,
                start_time=batch.start_time_ms,
                tags={"mlflow.parentRunId": self._parent.id, "hpo.trial": str(batch.trial)} | tags,
                run_name=f"trial-{batch.trial:06d}",
            )
            run, tags = self._trials.setdefault(batch.trial, _Run(made.info.run_id, "RUNNING")), {}
        with self._refusable():
            if live and batch.started and batch.end is None and run.status != "RUNNING":
                self._reopen(run)
            if batch.points or batch.params or tags:
                self._client.log_batch(
                    run.id, metrics=_metrics(batch.points.values()), params=_params(batch.params), tags=_tags(tags)
                )
            self._attach(run, batch, home)
            if batch.end is not None:
                run.status = STATUS_OF_END[batch.end]
                self._client.set_terminated(run.id, run.status, end_time=batch.end_time_ms)

    def _attach(self, run: _Run, batch: Batch, home: Home) -> None:
        """Log files under fixed names, so that a repeat replaces them. All lie in the home too, and so none is insisted
        on where an artifact store refuses it.
        """
        try:
            if len(batch.cause) > VALUE_LENGTH:
                self._client.log_text(run.id, batch.cause, "cause.txt")
            for name in batch.files:
                path = (home.path / name).resolve()
                if not path.is_relative_to(home.path):
                    raise ValueError(name)
                self._client.log_artifact(run.id, str(path), "samples")
        except GivenUp:
            raise
        except Exception:
            self._traffic.refused += 1

    def _reopen(self, run: _Run) -> None:
        self._client.update_run(run.id, "RUNNING")
        with self._refusable("RESOURCE_DOES_NOT_EXIST"):  # the tag may be gone already
            self._client.delete_tag(run.id, "end")
        run.status = "RUNNING"

    def _close(self, run: _Run, *, end: str, status: str, time_ms: int) -> None:
        with self._refusable():
            self._client.set_tag(run.id, "end", end)
            self._client.set_terminated(run.id, status, end_time=time_ms)
        run.status = status

    @contextlib.contextmanager
    def _refusable(self, *codes: str) -> Iterator[None]:
        """Go on where MLflow will never take a write, such as one to a run that somebody deleted."""
        try:
            yield
        except Exception as error:
            if getattr(error, "error_code", "") not in ("INVALID_PARAMETER_VALUE", *codes):
                raise
            self._traffic.refused += 1


class _Counted:
    """A client that counts its calls, and makes none once the mirror was given up."""

    def __init__(self, client: Any, traffic: Traffic) -> None:
        self._client, self._traffic = client, traffic

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            if self._traffic.given_up:
                raise GivenUp
            self._traffic.calls += 1
            return method(*args, **options)

        return call


def _experiment(client: _Counted, study: Study, home: Home) -> str:
    found = client.get_experiment_by_name(study.name)
    if found is not None:
        return str(found.experiment_id)
    # With a database alone MLflow would put files into the current folder; a server has a place for them.
    location = None if (study.tracking or "").startswith(("http:", "https:")) else home.mlartifacts.as_uri()
    return str(client.create_experiment(study.name, artifact_location=location))


def _study_tags(study: Study, home: Home, position: Position) -> dict[str, str]:
    """What the study's run says about it; written again when a search goes on, as its budget may differ by then."""
    values = study.model_dump(mode="json")
    shown = ("model", "data", "space", "objective", "constraints", "sampler", "pruner", "budget", "seed")
    tags = {key: plain(values[key]) for key in shown if values[key] is not None}
    tags |= {"hpo.home": position.identity, "hpo.path": plain(str(home.path))}
    tags |= {f"version.{name}": version for name, version in versions().items()}
    if home.study.is_file():
        tags["study.yaml"] = plain(home.study.read_text(encoding="utf-8"))
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def _children(client: _Counted, experiment: str, parent: str) -> dict[int, _Run]:
    """Return the runs of trials below the study's run, by the number in their tag."""
    runs: dict[int, _Run] = {}
    token = None
    while True:
        page = client.search_runs(
            [experiment],
            f"tags.mlflow.parentRunId = '{parent}'",
            max_results=1000,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        for run in page:
            number = run.data.tags.get("hpo.trial", "")
            if number.isdigit():
                runs.setdefault(int(number), _Run(run.info.run_id, run.info.status))
        token = page.token
        if not token:
            return runs


def _metrics(points: Iterable[Point]) -> list[Any]:
    from mlflow.entities import Metric

    return [Metric(point.name, point.value, point.time_ms, point.step) for point in points]


def _params(params: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import Param

    return [Param(name, value) for name, value in params.items()]


def _tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, value) for name, value in tags.items()]
