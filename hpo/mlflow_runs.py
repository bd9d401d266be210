"""The runs of one home in MLflow: one of the study, one below it for each trial. The one file that speaks MLflow.

Runs are found by their tags and written by their ids: no active run, nothing global. Every write may be repeated: the
same point, parameter or tag replaces itself, and a run is made only where none has its tag. MLflow is imported inside
functions, as it takes more than a second. `tracking.py` decides what is written when.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo.home import Home
from hpo.messages import End
from hpo.mirror import Batch, Chunk, Ending, Point, Position
from hpo.mlflow_client import Counted, GivenUp, Traffic
from hpo.mlflow_facts import data_input, study_tags, trial_tags
from hpo.mlflow_files import lay_out, lay_out_trial
from hpo.study import Study

# How a trial's end is told to MLflow, and how a search's. The tag `end` beside it has our word.
STATUS_OF_END: dict[End, str] = {"done": "FINISHED", "pruned": "KILLED", "died": "FAILED", "lost": "FAILED"}
STATUS_OF_ENDING: dict[Ending, str] = {"finished": "FINISHED", "interrupted": "KILLED", "stopped": "FAILED"}


# MLflow's page then opens an experiment on runs and charts, and not on traces of language models.
EXPERIMENT_TAGS = {"mlflow.experimentKind": "custom_model_development"}


@dataclass
class _Run:
    id: str
    status: str


class Runs:
    """Where the runs are and what state they are in: what one look at MLflow told, and our own writes since.

    After a failed call the state is not known any more; look again with `find`.
    """

    def __init__(
        self, client: Counted, *, experiment: str, parent: _Run, ending: str, tags: Mapping[str, str], traffic: Traffic
    ) -> None:
        self._client, self._experiment, self._parent, self._traffic = client, experiment, parent, traffic
        self._trials: dict[int, _Run] = {}
        self._tags = tags
        self.ending = ending

    @classmethod
    def find(cls, client: Any, *, study: Study, home: Home, position: Position, traffic: Traffic) -> Runs:
        """Return the runs of the home whose log begins as `position` says; makes the study's where there is none."""
        counted = Counted(client, traffic)
        experiment = _experiment(counted, study, home)
        tags = study_tags(study, home, position)
        found = _study_run(counted, experiment, position.identity)
        if found is None:
            made = counted.create_run(experiment, start_time=position.began_ms, tags=tags, run_name=home.path.name)
            parent, ending = _Run(made.info.run_id, "RUNNING"), ""
        else:
            parent, ending = _Run(found.info.run_id, found.info.status), found.data.tags.get("end", "")
            counted.log_batch(parent.id, tags=_tags(tags))
        runs = cls(
            counted, experiment=experiment, parent=parent, ending=ending, tags=trial_tags(study, home), traffic=traffic
        )
        if found is not None:
            runs._trials = _children(counted, experiment, parent.id)
        if found is None or not found.inputs.dataset_inputs:
            runs._log_data(study, home)
        return runs

    @property
    def study_run(self) -> str:
        """The id of the study's run."""
        return self._parent.id

    def write(self, chunk: Chunk, *, home: Home, live: bool, beside: Sequence[Point] = ()) -> None:
        """Write one chunk of the log. live: a search is running, so runs that go on are opened again.

        beside: points of the study's run that come from elsewhere than the log.
        """
        if live and self._parent.status != "RUNNING":
            self._reopen(self._parent)
        for batch in chunk.batches:
            self._write_trial(batch, home, live)
        if chunk.summary or beside:
            best = chunk.position.best_trial
            self.write_study([*chunk.summary, *beside], tags={} if best is None else {"best_trial": str(best)})

    def write_study(self, points: Sequence[Point], *, tags: Mapping[str, str]) -> None:
        """Write points and tags of the study's run."""
        with self._refusable():
            self._client.log_batch(self._parent.id, metrics=_metrics(points), tags=_tags(tags))

    def attach(self, files: Mapping[str, str | Path]) -> bool:
        """Log texts and files to the study's run under these names, and return whether the artifact store took them."""
        return self._send(self._parent, lambda folder: lay_out(files, folder))

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
                tags={"mlflow.parentRunId": self._parent.id, "hpo.trial": str(batch.trial), **self._tags} | tags,
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
        """Log what the batch has of files."""

        def lay(folder: Path) -> None:
            self._traffic.refused += lay_out_trial(batch, home, folder)

        if batch.sheets or batch.cause:
            self._send(run, lay)

    def _send(self, run: _Run, lay: Callable[[Path], None]) -> bool:
        """Log what `lay` puts into an empty folder with one call, none where it puts nothing there.

        All files lie in the home too, and so none is insisted on where an artifact store refuses them.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="hpo-mlflow-") as name:
                lay(Path(name))
                if any(Path(name).iterdir()):
                    self._client.log_artifacts(run.id, name)
            return True
        except GivenUp:
            raise
        except Exception:
            self._traffic.refused += 1
            return False

    def _log_data(self, study: Study, home: Home) -> None:
        """Log the data set as an input of the study's run, where it can be read here and the server knows inputs.

        Not of the trials' runs: that would be one more call for each. They have its hash as a tag.
        """
        try:
            if (data := data_input(study, home)) is not None:
                self._client.log_inputs(self._parent.id, datasets=[data])
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


def attach(client: Any, *, study: Study, identity: str, files: Mapping[str, Path], traffic: Traffic) -> bool:
    """Log files to the study's run of that identity; return whether there is one and its artifact store took them."""
    counted = Counted(client, traffic)
    experiment = counted.get_experiment_by_name(study.name)
    found = experiment and _study_run(counted, str(experiment.experiment_id), identity)
    if not found:
        return False
    parent = _Run(found.info.run_id, found.info.status)
    runs = Runs(counted, experiment=str(experiment.experiment_id), parent=parent, ending="", tags={}, traffic=traffic)
    return runs.attach(files)


def _experiment(client: Counted, study: Study, home: Home) -> str:
    found = client.get_experiment_by_name(study.name)
    if found is not None:
        return str(found.experiment_id)
    # With a database alone MLflow would put files into the current folder; a server has a place for them.
    location = None if (study.tracking or "").startswith(("http:", "https:")) else home.mlartifacts.as_uri()
    return str(client.create_experiment(study.name, artifact_location=location, tags=EXPERIMENT_TAGS))


def _study_run(client: Counted, experiment: str, identity: str) -> Any:
    """Return the study's run, the first made where there are several; None where there is none."""
    found = client.search_runs(
        [experiment], f"tags.`hpo.home` = '{identity}'", order_by=["attributes.start_time ASC"], max_results=1
    )
    return found[0] if found else None


def _children(client: Counted, experiment: str, parent: str) -> dict[int, _Run]:
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
