"""The page on transfer, run as it stands but for budgets: low digits, then high ones from their weights."""

import re
from pathlib import Path

import pytest
import torch
import yaml
from searches import hpo, shown

from hpo.configuration import read_config
from hpo.home import Home
from trainables.training.checkpoint import read_tensors

PAGE = Path(__file__).parents[2] / "docs" / "transfer.md"
SET = ("budget.trials=4", "pruner=none", "resources.workers=1", "space.width=32", "space.depth=1")
SMALL = {
    "search": [part for change in SET for part in ("--set", change)],
    "export": ["--trial", "0"],  # the page of the README has a selection
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the commands of the page were run."""
    folder = tmp_path_factory.mktemp("transfer")
    text = PAGE.read_text(encoding="utf-8")
    for study in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
        name = "low" if "0-4" in study else "high"
        (folder / f"{name}.yaml").write_text(study, encoding="utf-8")
    low, high, _ = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    for line in (low + high).splitlines():
        _, *arguments = line.split()
        run = hpo(*arguments, *SMALL.get(arguments[0], []), folder=folder)
        assert run.returncode == 0, run.stderr + run.stdout
    return folder


def test_a_search_compares_both_starts_and_leaves_what_it_began_with(folder: Path) -> None:
    found = shown(Home(folder / "runs" / "digits-high"), folder)
    first = found["trials"][0]["params"]
    assert first["transfer"] == "low"
    assert first["freeze"] == 0
    assert all(("freeze" in trial["params"]) == (trial["params"]["transfer"] == "low") for trial in found["trials"])
    assert all(trial["end"] in ("done", "pruned") for trial in found["trials"])


def test_one_configuration_begins_with_the_weights_and_says_so(folder: Path) -> None:
    config = read_config(folder / "low")
    other = config.model_copy(update={"data": {"name": "digits", "classes": "5-9"}, "data_sha256": None, "epochs": 1})
    frozen = other.model_copy(update={"params": {**other.params, "freeze": 1}})
    (folder / "other").mkdir()
    (folder / "other" / "config.yaml").write_text(yaml.safe_dump(frozen.model_dump()), encoding="utf-8")
    run = hpo("train", "other", "--from", "low", "--out", "high", folder=folder)
    assert run.returncode == 0, run.stderr
    assert read_config(folder / "high").params["transfer"] == str(folder / "low")
    before, after = (read_tensors(folder / name / "weights.safetensors")[0] for name in ("low", "high"))
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {name for name in before if name.startswith("vae.encoder.layers.0.")}


def test_a_source_that_is_not_there_is_refused_before_anything_is_made(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "high.yaml").write_text((folder / "high.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    run = hpo("search", "high.yaml", folder=tmp_path)
    assert run.returncode == 2
    assert "low/weights.safetensors" in run.stderr
    assert not (tmp_path / "runs").exists()
