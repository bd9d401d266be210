"""The study file: what it takes, what it refuses, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hpo import plugins
from hpo.errors import NotBuilt, RequestError
from hpo.study import Budget, Method, Objective, Study

MINIMAL: dict[str, Any] = {
    "name": "digits",
    "model": "vae",
    "data": "digits",
    "space": "vae",
    "objective": "nll",
    "budget": {"trials": 4, "epochs": 2},
}


def test_a_minimal_study_has_the_documented_defaults() -> None:
    study = Study(**MINIMAL)
    assert study.sampler == Method(name="tpe")
    assert study.pruner == Method(name="asha", options={"eta": 3, "grace": 3})
    assert study.resources.workers == "auto"
    assert study.fuse == 1


def test_a_study_written_to_a_file_comes_back_equal(tmp_path: Path) -> None:
    study = Study(
        **MINIMAL | {"sampler": {"name": "tpe", "n_startup_trials": 3}, "space": {"base": "vae", "lr": [1e-3, 1e-4]}}
    )
    study.save(tmp_path / "study.yaml")
    assert Study.load(tmp_path / "study.yaml") == study


def test_a_method_keeps_its_options_beside_its_name() -> None:
    written = {"name": "asha", "eta": 4, "grace": 1}
    method = Study(**MINIMAL | {"pruner": written}).pruner
    assert method.options == {"eta": 4, "grace": 1}
    assert method.model_dump() == written


@pytest.mark.parametrize("name", sorted(plugins.studies()))
def test_every_ready_made_study_loads_by_its_name(name: str) -> None:
    assert Study.load(name).name == name


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"modle": "vae"}, "modle: no such key; did you mean 'model'"),
        ({"budget": {"trials": 4, "epoch": 2}}, "budget.epoch: no such key; did you mean 'epochs'"),
        ({"budget": {"trials": 0, "epochs": 2}}, "budget.trials: .*greater than or equal to 1; 0 came"),
        ({"budget": {"trials": 4, "epochs": 0}}, "budget.epochs: .*greater than or equal to 1; 0 came"),
        ({"budget": {"trials": True, "epochs": 2}}, "budget.trials: .*integer; True came"),
        ({"budget": {"trials": 4, "epochs": 2, "hours": float("nan")}}, "budget.hours: .*finite"),
        ({"resources": {"workers": 0}}, "resources.workers: must be auto or at least 1; 0 came"),
        ({"resources": {"gpus_per_worker": -1.0}}, "resources.gpus_per_worker: must be auto or at least 0"),
        ({"resources": {"trials_per_group": 0}}, "resources.trials_per_group: must be auto or at least 1"),
        ({"fuse": 0}, "fuse: must be auto or at least 1; 0 came"),
        ({"fuse": "car"}, "fuse: .*; 'car' came"),
        ({"precision": "float16"}, "precision: .*'float32', 'tf32' or 'bf16'"),
        ({"name": "../escape"}, "name: .*pattern"),
        ({"seed": -1}, "seed: .*greater than or equal to 0"),
        ({"objective": {"metric": "loss"}}, "objective.direction: this key is required"),
        ({"objective": {"metric": "loss", "direction": "up"}}, "objective.direction: .*'minimize' or 'maximize'"),
        ({"sampler": {"seed": 3}}, "sampler.name: .*string; None came"),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_came(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Study(**MINIMAL | change)


def test_every_fault_of_a_study_is_told_at_once() -> None:
    with pytest.raises(RequestError) as caught:
        Study(**{key: value for key, value in MINIMAL.items() if key != "model"} | {"seed": "x", "spaces": 1})
    assert all(part in str(caught.value) for part in ("model: this key is required", "seed:", "did you mean 'space'"))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ledger", "postgresql://localhost/hpo"),
        ("checkpoints", "s3://bucket"),
        ("objective", ["nll", "elbo"]),
    ],
)
def test_a_key_of_the_design_that_is_not_built_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(NotBuilt, match=f"^{key}: this release takes .* not built yet"):
        Study(**MINIMAL | {key: value})


@pytest.mark.parametrize(("key", "value", "may"), [("fuse", 8, True), ("precision", "bf16", False)])
def test_a_resumed_study_may_change_how_it_is_trained_not_what(
    tmp_path: Path, key: str, value: object, may: bool
) -> None:
    Study(**MINIMAL).save(tmp_path / "study.yaml")
    changed = Study(**MINIMAL | {key: value})
    if may:
        changed.check_continues(tmp_path / "study.yaml")
        return
    with pytest.raises(RequestError, match=f"{key}: 'float32' there, 'bf16' now"):
        changed.check_continues(tmp_path / "study.yaml")


def test_changes_from_the_command_line_reach_nested_keys(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(MINIMAL | {"pruner": "none"}), encoding="utf-8")
    study = Study.load(
        tmp_path / "s.yaml", changes=["budget.trials=9", "resources.workers=2", "pruner.name=asha", "pruner.eta=4"]
    )
    assert study.budget == Budget(trials=9, epochs=2)
    assert study.resources.workers == 2
    assert study.pruner == Method(name="asha", options={"eta": 4})


def test_a_change_of_what_is_a_name_by_itself_keeps_the_name(tmp_path: Path) -> None:
    written = MINIMAL | {"data": "digits", "space": "vae", "sampler": "tpe", "pruner": "asha"}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(written), encoding="utf-8")
    changes = ["data.classes=0-4", "space.width=64", "sampler.n_startup_trials=3", "pruner.eta=4"]
    study = Study.load(tmp_path / "s.yaml", changes=changes)
    assert study.data == {"name": "digits", "classes": "0-4"}
    assert study.space == {"base": "vae", "width": 64}
    assert study.sampler == Method(name="tpe", options={"n_startup_trials": 3})
    assert study.pruner == Method(name="asha", options={"eta": 4})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("budget", "--set takes key=value"),
        ("=3", "--set takes key=value"),
        ("name.x=3", "'name' holds a plain value"),
        ("seed=[", "the value must be YAML"),
        ("budjet.trials=3", "budjet: no such key; did you mean 'budget'"),
    ],
)
def test_a_change_that_cannot_be_applied_says_why(tmp_path: Path, change: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(MINIMAL), encoding="utf-8")
    with pytest.raises(RequestError, match=message):
        Study.load(tmp_path / "s.yaml", changes=[change])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "must be YAML in UTF-8"),
        (b"- a\n- b\n", "must hold a mapping"),
        (b"a: [", "must be YAML in UTF-8"),
        (b"!!python/object/apply:os.system ['true']", "must be YAML in UTF-8"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(RequestError, match=message):
        Study.load(tmp_path / "s.yaml")


def test_an_unknown_study_lists_the_ready_made_ones() -> None:
    with pytest.raises(RequestError, match="did you mean 'digits-vae'"):
        Study.load("digit-vae")


def test_an_objective_of_ones_own_carries_its_direction() -> None:
    study = Study(**MINIMAL | {"objective": {"metric": "loss", "direction": "maximize"}})
    assert study.objective == Objective(metric="loss", direction="maximize")
