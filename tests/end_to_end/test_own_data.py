"""From files of the user's to samples: what `hpo doctor` proposes is searched, shown and exported as it was written."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml
from searches import hpo, shown

from hpo import plugins
from hpo.home import Home

BUDGET = [f"--set={change}" for change in ("budget.trials=2", "budget.epochs=1", "resources.workers=1")]
SMALL = {
    "image_folder": ["space.width=4"],
    "csv_file": ["data.stride=4"],
    "text_file": ["space.width=16"],
    "wav_folder": ["space.width=4"],
}
# What a sheet of each kind is, beside the picture.
SHEETS = {"image_folder": "png", "csv_file": "png", "text_file": "txt", "wav_folder": "wav"}


@pytest.mark.parametrize(
    "loader",
    ["image_folder", *(pytest.param(name, marks=pytest.mark.slow) for name in SMALL if name != "image_folder")],
)
def test_what_the_doctor_proposes_is_searched_and_exported(tmp_path: Path, loader: str) -> None:
    (tmp_path / "own").mkdir()
    options = dict(sys.modules[plugins.load("data", loader).__module__].example(tmp_path / "own"))
    path = Path(str(options.pop("path"))).relative_to(tmp_path)
    changes = [f"--set=data.{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in options.items()]
    changes += [f"--set={change}" for change in SMALL[loader]]

    proposed = hpo("doctor", "--data", path, "--study", "own.yaml", *changes, folder=tmp_path)
    assert proposed.returncode == 0, proposed.stderr
    assert f"loader      {loader}" in proposed.stdout
    examined = hpo("doctor", "own.yaml", folder=tmp_path)
    assert examined.returncode == 0, examined.stdout
    assert not (tmp_path / "runs").exists()

    name = yaml.safe_load((tmp_path / "own.yaml").read_text(encoding="utf-8"))["name"]
    searched = hpo("search", "own.yaml", *BUDGET, folder=tmp_path)
    assert searched.returncode == 0, searched.stderr + searched.stdout
    assert "best: trial" in searched.stdout
    found = shown(Home(tmp_path / "runs" / name), tmp_path)
    assert [trial["end"] for trial in found["trials"]] == ["done", "done"]
    exported = hpo("export", f"runs/{name}", "best", "--trial", "0", folder=tmp_path)
    assert exported.returncode == 0, exported.stderr
    assert (tmp_path / "best" / f"samples.{SHEETS[loader]}").stat().st_size > 0
