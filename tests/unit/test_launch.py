"""hpo.launch where no Ray is needed: a search that is over, asked for again."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import crews
import mlflow
import pytest

from hpo import launch, parts
from hpo.home import Home
from hpo.study import Budget, Method, Study

STUDY = Study(
    name="again",
    model="gan",
    data="ring",
    space={"base": "gan", "architecture": "mlp", "latent": 4, "width": 16, "depth": 1},
    objective="coverage",
    budget=Budget(trials=2, epochs=1),
    pruner=Method(name="none"),
)


class Asked(Exception):
    """Ray would be started."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A search whose budget is used, on a machine where Ray may not be started."""
    home = Home(tmp_path / "home")
    with contextlib.closing(crews.serve(STUDY, home, data=parts.data_hash(STUDY))) as server:
        crews.finish(server)

    def run(*_: Any, **__: Any) -> None:
        raise Asked

    monkeypatch.setattr(launch, "_driver", lambda address: SimpleNamespace(run=run))
    return home


def test_a_search_that_is_over_starts_nothing_and_is_tracked_to_its_end(home: Home) -> None:
    before = home.ledger.read_bytes()
    found = launch.search(STUDY, home=home.path)
    assert (found.status["over"], found.interrupted, found.unsynced) == (True, False, 0)
    assert sum(found.status[end] for end in ("done", "pruned", "died")) == 2
    assert found.best is not None
    assert home.holder() is None
    assert before == home.ledger.read_bytes()[: len(before)], "the ledger only grows"
    client = mlflow.MlflowClient(f"sqlite:///{home.mlflow_db}")
    runs = client.search_runs([client.get_experiment_by_name("again").experiment_id])
    assert sorted(run.info.status for run in runs) == ["FINISHED"] * 3


def test_a_larger_budget_goes_on(home: Home) -> None:
    with pytest.raises(Asked):
        launch.search(STUDY.model_copy(update={"budget": Budget(trials=3, epochs=1)}), home=home.path)
    assert home.holder() is None
