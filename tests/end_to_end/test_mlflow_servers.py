"""The same runs on a real MLflow server over HTTP: PostgreSQL behind it, files through it, a password before it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from played import SHEETS_AT, play, played_study
from servers import ADMIN, PASSWORD, MLflowServer, postgres

import hpo
from dashboards.pages import NAME, figure_pages
from hpo import parts
from hpo.errors import HpoError
from hpo.home import Home
from hpo.mlflow_client import connect
from hpo.study import Study
from hpo.tracking import Tracker, attach, sync


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with postgres() as database:
        yield database("tracking")


@pytest.fixture(scope="module")
def server(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    with MLflowServer(tmp_path_factory.mktemp("open"), store=store) as server:
        yield server


@pytest.fixture(scope="module")
def guarded(store: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    """A server on the same database that asks for a password."""
    with MLflowServer(tmp_path_factory.mktemp("guarded"), store=store, password=True) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A search that is over, and of which MLflow was told nothing; tracked in its own file if nobody says otherwise."""
    return play(played_study(f"played-{tmp_path.name}", trials=4), tmp_path / "home")


def told(home: Home, uri: str | None) -> Study:
    """Tell MLflow there of the home, as the thread beside a search does, and return the study."""
    study = Study.load(home.study).model_copy(update={"tracking": uri})
    tracker = Tracker(study, home, figures=figure_pages)
    tracker.start()
    lacking = tracker.end("finished", timeout=300)
    assert (lacking, tracker.error, tracker.refused) == (0, "", 0)
    return study


def test_a_server_holds_what_a_file_in_the_home_would(home: Home, server: MLflowServer, tmp_path: Path) -> None:
    there, here = told(home, server.uri), told(home, None)
    card = tmp_path / "card.md"
    card.write_text("# The winner")
    assert attach(there, home, {"winner/card.md": card})
    assert attach(here, home, {"winner/card.md": card})
    held = held_of(there, connect(server.uri), tmp_path / "there")
    assert held == held_of(here, connect(f"sqlite:///{home.mlflow_db}"), tmp_path / "here")
    assert sorted(held) == ["home", *(f"trial-{number:06d}" for number in range(4))]
    study_run, trial = held["home"], held["trial-000001"]
    assert sorted(study_run["files"]) == [NAME, "space.yaml", "study.yaml", "summary.json", "winner/card.md"]
    assert json.loads(study_run["files"]["summary.json"])["counts"]["done"] == 3
    images = [name for name in trial["files"] if name.endswith(".png")]
    assert sorted(int(name.split("+")[2]) for name in images) == list(SHEETS_AT)
    assert trial["files"][images[0]] == home.sheet(1, int(images[0].split("+")[2])).read_bytes()
    assert [step for step, _ in trial["points"]["generator.grad_norm"]] == list(range(1, 10))
    assert [step for step, _ in trial["points"]["discriminator.lr"]] == list(range(1, 10))
    sha256 = parts.data_hash(there)
    assert trial["tags"] | {"model": "gan", "data": "digits", "data.sha256": sha256, "end": "done"} == trial["tags"]
    assert study_run["tags"]["hpo.version"] == trial["tags"]["hpo.version"] == hpo.__version__
    ((name, digest, profile),) = study_run["inputs"]
    assert (name, profile["rows"], profile["shape"]) == (
        "digits", {"train": 1000, "validation": 300, "test": 497}, [1, 8, 8],
    )  # fmt: skip
    assert (profile["sha256"], digest) == (sha256, str(sha256)[:36])


def test_a_filter_finds_trials_by_parameter_and_tag(home: Home, server: MLflowServer) -> None:
    study = told(home, server.uri)
    client = connect(server.uri)
    experiment = client.get_experiment_by_name(study.name).experiment_id

    def numbers(query: str) -> set[str]:
        return {run.data.tags["hpo.trial"] for run in client.search_runs([experiment], query)}

    adam = numbers("params.optimizer = 'adam'")
    assert adam | numbers("params.optimizer = 'sgd'") == {"0", "1", "2", "3"}
    assert adam & numbers("params.optimizer = 'sgd'") == set()
    assert numbers("tags.end = 'died' AND tags.model = 'gan'") == {"3"}
    (found,) = client.search_runs([experiment], "dataset.name = 'digits'")
    assert found.info.run_name == "home"


@pytest.fixture
def small(tmp_path: Path) -> Home:
    """One trial: each request to a server with a password costs the check of it, made slow on purpose."""
    return play(played_study(f"small-{tmp_path.name}", trials=1), tmp_path / "home")


@pytest.mark.parametrize("written", ["environment", "uri"])
def test_a_password_opens_the_server(
    written: str, small: Home, guarded: MLflowServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uri = guarded.uri
    if written == "uri":
        uri = f"http://{ADMIN}:{PASSWORD}@{guarded.address}"
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", ADMIN)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    Study.load(small.study).model_copy(update={"tracking": uri}).save(small.study)
    study, client = told(small, uri), connect(uri)
    experiment = client.get_experiment_by_name(study.name).experiment_id
    runs = {run.info.run_name: run for run in client.search_runs([experiment])}
    assert sorted(runs) == ["home", "trial-000000"]
    saved = Path(client.download_artifacts(runs["home"].info.run_id, "study.yaml", str(tmp_path))).read_text()
    for text in (saved, runs["home"].data.tags["study.yaml"]):
        assert f"tracking: http://{guarded.address}" in text
        assert PASSWORD not in text
    images = guarded.artifacts / experiment / runs["trial-000000"].info.run_id / "artifacts" / "images"
    assert len(list(images.glob("*.png"))) == 1


def test_a_wrong_password_is_told_by_sync_and_hurts_no_search(small: Home, guarded: MLflowServer) -> None:
    uri = f"http://{ADMIN}:mistaken-one@{guarded.address}"
    study = Study.load(small.study).model_copy(update={"tracking": uri})
    tracker = Tracker(study, small)
    tracker.start()
    assert tracker.end("finished", timeout=60) > 0
    assert "UNAUTHENTICATED" in tracker.error or "401" in tracker.error
    with pytest.raises(HpoError, match=f"{guarded.address} did not.*401") as caught:
        sync(study, small)
    assert "mistaken-one" not in str(caught.value)
    assert not attach(study, small, {"winner/card.md": small.study})


def held_of(study: Study, client: Any, folder: Path) -> dict[str, dict[str, Any]]:
    """What MLflow holds of a study, by the name of the run; small files whole, of pages that they are there."""
    experiment = client.get_experiment_by_name(study.name).experiment_id
    held: dict[str, dict[str, Any]] = {}
    for run in client.search_runs([experiment], max_results=100):
        place = folder / run.info.run_id
        place.mkdir(parents=True)
        client.download_artifacts(run.info.run_id, "", str(place))
        files = {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}
        assert run.info.run_name not in held
        inputs = [(found.dataset.name, found.dataset.digest, json.loads(found.dataset.profile))
                  for found in run.inputs.dataset_inputs]  # fmt: skip
        held[run.info.run_name] = {
            "status": run.info.status,
            "times": (run.info.start_time, run.info.end_time),
            "params": run.data.params,
            "tags": {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
            "points": {
                name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
                for name in run.data.metrics
                if not name.startswith("system/")
            },
            "files": files,
            "inputs": inputs,
        }
    return held
