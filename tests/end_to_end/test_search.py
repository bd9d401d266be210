"""The whole line as a user runs it: search, show, MLflow, Optuna, export, train, report, and the same command again."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from searches import SMALL, Search, assert_exact, hpo, shown

from hpo.configuration import read_config
from hpo.home import Home
from trainables.training.checkpoint import read_tensors

STATUS_OF_END = {"done": "FINISHED", "pruned": "KILLED", "died": "FAILED", "lost": "FAILED"}


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> Search:
    found = Search(tmp_path_factory.mktemp("search"), SMALL)
    assert found.finish() == 0, found.output
    return found


def test_a_search_ends_with_exact_totals_and_says_so_without_noise(search: Search) -> None:
    found = assert_exact(search, trials=8, epochs=9)
    lines = search.output.splitlines()
    assert lines[0] == "starting ..."
    assert any(line.startswith("8/8 trials") for line in lines)
    assert any(line.startswith(f"best: trial {found['best']['trial']} ") for line in lines)
    for noise in ("Warning", "Traceback", "ray", "INFO", "WARN", "deprecat", "mlflow.", "╭"):
        assert noise not in search.output, search.output
    assert found["trials"][0]["params"]["optimizer"] == "adam", "the default configuration is the first trial"


def test_show_mlflow_and_optuna_agree_on_every_trial(search: Search) -> None:
    import mlflow
    import optuna

    found = {trial["number"]: trial for trial in shown(search.home, search.folder)["trials"]}
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(search.home.ledger)))
    trials = [t for t in optuna.load_study(study_name="small", storage=storage).trials if "hidden" not in t.user_attrs]
    assert {trial.number for trial in trials} == set(found)
    for trial in trials:
        mine = found[trial.number]
        assert trial.user_attrs["end"] == mine["end"]
        assert trial.params == mine["params"]
        assert trial.user_attrs["seed"] == mine["seed"]
        last = trial.value if trial.state.name == "COMPLETE" else trial.intermediate_values.get(trial.last_step)
        assert last == mine["value"]
    client = mlflow.MlflowClient(f"sqlite:///{search.home.mlflow_db}")
    experiment = client.get_experiment_by_name("small")
    parents = client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED' and tags.`hpo.home` != ''")
    assert len(parents) == 1
    runs = client.search_runs(
        [experiment.experiment_id], f"tags.`mlflow.parentRunId` = '{parents[0].info.run_id}'", max_results=100
    )
    assert {int(run.data.tags["hpo.trial"]) for run in runs} == set(found)
    for run in runs:
        mine = found[int(run.data.tags["hpo.trial"])]
        assert run.data.tags["end"] == mine["end"]
        assert run.info.status == STATUS_OF_END[mine["end"]]
        assert run.data.params == {name: str(value) for name, value in mine["params"].items()}
        assert run.data.tags["seed"] == str(mine["seed"])
        if mine["value"] is not None:
            assert run.data.metrics["nll"] == pytest.approx(mine["value"], rel=1e-12)
        history = client.get_metric_history(run.info.run_id, "lr")
        assert [point.step for point in history] == list(range(1, mine["steps"] + 1)) or mine["end"] == "died"


def test_the_study_run_in_mlflow_has_figures_space_summary_and_data(search: Search) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{search.home.mlflow_db}")
    experiment = client.get_experiment_by_name("small")
    (run,) = client.search_runs([experiment.experiment_id], "tags.`hpo.home` != ''")
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {
        "figures",
        "report.html",
        "space.yaml",
        "study.yaml",
        "summary.json",
    }
    page = search.home.mlartifacts / run.info.run_id / "artifacts" / "figures" / "figures.html"
    assert 'id="figure-history"' in page.read_text(encoding="utf-8")
    (data,) = run.inputs.dataset_inputs
    assert (data.dataset.name, run.data.tags["data.sha256"]) == ("digits", search.home.data_hash.read_text().strip())


def test_search_runs_of_mlflow_returns_the_frame(search: Search) -> None:
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{search.home.mlflow_db}")
    frame = mlflow.search_runs(experiment_names=["small"], filter_string="params.optimizer = 'adam'")
    assert (frame["params.optimizer"] == "adam").all()
    assert len(frame) >= 1


def test_the_same_command_again_finds_nothing_to_do(search: Search) -> None:
    before = shown(search.home, search.folder)
    result = hpo("search", "study.yaml", "--home", "home", folder=search.folder)
    assert result.returncode == 0, result.stdout + result.stderr
    assert shown(search.home, search.folder)["trials"] == before["trials"]


def test_an_export_trains_again_to_the_same_numbers(search: Search) -> None:
    folder = search.folder
    best = shown(search.home, folder)["best"]
    exported = hpo("export", "home", "best", "--trial", str(best["trial"]), folder=folder)
    assert exported.returncode == 0, exported.stderr
    names = {"config.yaml", "weights.safetensors", "metrics.json", "samples.png"}
    assert {file.name for file in (folder / "best").iterdir()} == names | {"card.md", "look", "model"}
    config = read_config(folder / "best")
    assert (config.trial, config.params, config.seed, config.epochs) == (best["trial"], best["params"], best["seed"], 9)
    metrics = json.loads((folder / "best" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"]["nll"]["value"] == pytest.approx(best["value"], rel=1e-5)
    assert math.isfinite(metrics["validation"]["nll"]["standard_error"])
    trained = hpo("train", "best/config.yaml", "--out", "again", folder=folder)
    assert trained.returncode == 0, trained.stderr
    assert {file.name for file in (folder / "again").iterdir()} == names
    again = json.loads((folder / "again" / "metrics.json").read_text(encoding="utf-8"))
    for found in (again, metrics):
        # By a clock; all else is the same number.
        assert found["validation"].pop("sampling_rate")["value"] > 0
    assert again["validation"] == metrics["validation"]
    # Each says of itself which metrics lie beside it; the numbers are the same, bit for bit.
    weights, others = (read_tensors(folder / name / "weights.safetensors")[0] for name in ("best", "again"))
    assert weights.keys() == others.keys()
    assert all(torch.equal(weights[name], others[name]) for name in weights)


def test_an_export_does_not_overwrite_what_no_export_made(search: Search) -> None:
    (search.folder / "thesis").mkdir()
    (search.folder / "thesis" / "chapter.tex").write_text("mine", encoding="utf-8")
    refused = hpo("export", "home", "thesis", folder=search.folder)
    assert refused.returncode == 2
    assert "over an earlier export" in refused.stderr
    assert (search.folder / "thesis" / "chapter.tex").read_text(encoding="utf-8") == "mine"
    pruned = next(t["number"] for t in shown(search.home, search.folder)["trials"] if t["end"] != "done")
    assert (
        "reached the end of its budget"
        in hpo("export", "home", "out", "--trial", str(pruned), folder=search.folder).stderr
    )


def test_the_report_is_one_file_with_the_winner_in_it(search: Search) -> None:
    result = hpo("report", "home", folder=search.folder)
    assert result.returncode == 0, result.stderr
    text = search.home.report.read_text(encoding="utf-8")
    assert "data:image/png;base64" in text
    assert f"{shown(search.home, search.folder)['best']['value']:.6g}" in text


def test_a_study_that_differs_is_refused_and_a_larger_budget_goes_on(search: Search) -> None:
    changed = hpo("search", "study.yaml", "--home", "home", "--set", "seed=1", folder=search.folder)
    assert changed.returncode == 2
    assert "seed: 0 there, 1 now" in changed.stderr
    larger = hpo("search", "study.yaml", "--home", "home", "--set", "budget.trials=10", folder=search.folder)
    assert larger.returncode == 0, larger.stdout + larger.stderr
    assert_exact(search, trials=10, epochs=9)


def test_one_trial_a_group_is_one_optuna_trial_per_tune_trial(tmp_path: Path) -> None:
    (tmp_path / "mypkg.py").write_text(_readme("python", "def train(params, seed, budget)"), encoding="utf-8")
    study: dict[str, Any] = yaml.safe_load(_readme("yaml", "model: mypkg.train"))
    study |= {"budget": {"trials": 5, "epochs": 4}, "resources": {"trials_per_group": 1, "workers": 1}}
    search = Search(tmp_path, study)
    assert search.finish() == 0, search.output
    assert_exact(search, trials=5, epochs=4)
    starts = search.starts()
    assert len({start.group for start in starts}) == len(starts) == 5


def _readme(language: str, marker: str) -> str:
    """The block of the README in this language that holds the marker: what it shows is what is tested."""
    text = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    blocks = [block.split("\n```", 1)[0] for block in text.split(f"```{language}\n")[1:]]
    return next(block for block in blocks if marker in block)


def test_a_home_is_where_it_was_said(search: Search) -> None:
    home = Home(search.folder / "home")
    there = {path.name for path in home.path.iterdir()}
    assert {"study.yaml", "ledger.journal", "events", "samples", "mlflow.db", "mlartifacts", "lock"} <= there
    assert not list(search.folder.glob("mlruns")), "nothing may fall outside the home"
