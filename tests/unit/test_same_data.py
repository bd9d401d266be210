"""A study goes on with the data that it began with, and says so where they are others; options have their types."""

import contextlib
import datetime
from pathlib import Path
from typing import Any

import crews
import numpy as np
import pytest

from hpo import doctor, launch, parts
from hpo.configuration import read_config
from hpo.errors import RequestError
from hpo.export import export
from hpo.home import Home
from hpo.retrain import train
from hpo.study import Budget, Method, Resources, Study


def write(folder: Path, *, seed: int) -> Path:
    file = folder / "points.npz"
    np.savez(file, x=np.random.RandomState(seed).randn(1200, 2))
    return file


def study_of(file: Path, **changes: Any) -> Study:
    base: dict[str, Any] = {
        "name": "own",
        "model": "vae",
        "data": {"name": "array_file", "path": str(file), "layout": "ND"},
        "space": {"base": "vae", "latent": 2, "width": 8, "depth": 1},
        "objective": "nll",
        "budget": Budget(trials=2, epochs=1),
        "pruner": Method(name="none"),
        "resources": Resources(workers=1),
    }
    return Study(**{**base, **changes})


@pytest.fixture
def searched(tmp_path: Path) -> tuple[Study, Home]:
    """A home with one study, all of its trials done, whose file has since been replaced."""
    study, home = study_of(write(tmp_path, seed=0)), Home(tmp_path / "home")
    with contextlib.closing(crews.serve(study, home, data=parts.data_hash(study))) as server:
        crews.finish(server)
    parts._load_data.cache_clear()
    write(tmp_path, seed=1)
    return study, home


def test_a_search_does_not_go_on_with_other_data(searched: tuple[Study, Home]) -> None:
    study, home = searched
    before = home.ledger.read_bytes()
    with pytest.raises(RequestError, match=r"trained on the same data.*Put the files back"):
        launch.search(study.model_copy(update={"budget": Budget(trials=4, epochs=1)}), home=home.path)
    assert home.ledger.read_bytes() == before


def test_what_is_exported_saw_these_data(searched: tuple[Study, Home], tmp_path: Path) -> None:
    study, home = searched
    with pytest.raises(RequestError, match="trained on the same data"):
        export(home, tmp_path / "best")
    assert not (tmp_path / "best").exists()
    assert any(found.outcome == "broken" and "same data" in found.text for found in doctor.request(str(home.path)))
    write(tmp_path, seed=0)
    parts._load_data.cache_clear()
    export(home, tmp_path / "best")
    config = read_config(tmp_path / "best")
    assert config.data_sha256 == parts.data_hash(study)
    write(tmp_path, seed=1)
    parts._load_data.cache_clear()
    with pytest.raises(RequestError, match="remove data_sha256 from the configuration"):
        train(config, tmp_path / "again")
    train(config.model_copy(update={"data_sha256": None}), tmp_path / "others")


def test_a_worker_that_sees_other_data_loses_the_trial(searched: tuple[Study, Home], tmp_path: Path) -> None:
    study, home = searched
    write(tmp_path, seed=0)
    parts._load_data.cache_clear()
    more = study.model_copy(update={"budget": Budget(trials=3, epochs=1)})
    with contextlib.closing(crews.serve(more, home, data=parts.data_hash(study), run="again")) as server:
        write(tmp_path, seed=1)
        parts._load_data.cache_clear()
        crew = crews.crew(server, "g")
        assert crew is not None
        crew.work(seconds=60)
        status = server.status()
    assert (status["done"], status["lost"] > 0) == (2, True)


def test_a_home_of_an_earlier_release_learns_its_data(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.check_data("a" * 64)
    home.keep_data("a" * 64)
    home.keep_data("b" * 64)
    home.check_data("a" * 64)
    for other in ("b" * 64, None):
        with pytest.raises(RequestError, match="aaaaaaaaaaaa"):
            home.check_data(other)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"name": "english", "length": "long"}, "length of english must be a valid integer; 'long' came"),
        (
            {"name": "image_folder", "path": ".", "skip_broken": "no"},
            "skip_broken of image_folder .* boolean; 'no' came",
        ),
        ({"name": "csv_file", "path": ".", "columns": 3}, "columns of csv_file must be .*; 3 came"),
        ({"name": "csv_file", "path": ".", "time": datetime.date(2024, 1, 1)}, "Write a text in quotes"),
        ({"name": "image_folder"}, "image_folder needs path"),
    ],
)
def test_an_option_of_another_type_is_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        parts.load_data(written)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "must fit in memory"),
        (PermissionError(13, "Permission denied", "a.csv"), r"must be readable; it is not: .*'a.csv'"),
        (KeyError("x"), r"must load; it does not: KeyError: 'x' \(.*test_same_data.py, line \d+\)"),
    ],
)
def test_whatever_a_loader_raises_is_one_message(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> None:
        raise error

    monkeypatch.setattr(parts.plugins, "load", lambda kind, name: load)
    with pytest.raises(RequestError, match=message):
        parts.load_data("mine.load")
