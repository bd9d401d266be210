"""The command line up to where a search would begin: exit codes, messages, and that nothing is created."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from hpo import cli, plugins

STUDY = {
    "name": "small",
    "model": "vae",
    "data": "digits",
    "space": "vae",
    "objective": "nll",
    "budget": {"trials": 2, "epochs": 1},
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_training.py").write_text("def train(params, seed, budget):\n    yield {'loss': params['x']}\n")
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modle": "vae"}, "modle: no such key; did you mean 'model'"),
        ({"model": "vea"}, "'vea' is neither: did you mean 'vae'"),
        ({"data": "digit"}, "'digit' is neither: did you mean 'digits'"),
        ({"data": {"name": "digits", "spilt": "ordered"}}, "digits takes split"),
        ({"space": "vaee"}, "'vaee' is neither: did you mean 'vae'"),
        ({"objective": "nlll"}, "'nlll' is neither: did you mean 'nll'"),
        ({"space": {"base": "vae", "lr": {"low": 0.1, "high": 0.001, "log": True, "default": 0.01}}}, "lr.*low"),
        ({"space": {"base": "vae", "dropuot": 0.1}}, "does not fit model 'vae'.*dropuot"),
        ({"space": {"base": "vae", "lr": None}}, "lr"),
        ({"budget": {"trials": 0, "epochs": 1}}, "budget.trials: .*0 came"),
        ({"objective": {"metric": "nll", "direction": "maximize"}}, "nll is a metric to minimize; 'maximize' came"),
        ({"objective": ["nll", "elbo"]}, "objective: this release takes one metric"),
        ({"sampler": "tpee"}, "did you mean 'tpe'"),
        ({"sampler": {"name": "tpe", "startup": 3}}, "startup"),
        ({"pruner": "ashe"}, "did you mean 'asha'"),
        ({"pruner": {"name": "asha", "etta": 3}}, "etta"),
        ({"data": None}, "a model family needs a data set"),
        (
            {"model": "own_training.train", "space": {"x": 1.0}, "objective": "loss", "data": None},
            "needs its direction",
        ),
        ({"model": "own_training.trian", "data": None}, "did you mean 'train'"),
    ],
)
def test_a_bad_request_is_one_message_exit_2_and_nothing_created(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    message: str,
) -> None:
    (here / "s.yaml").write_text(yaml.safe_dump(STUDY | changes), encoding="utf-8")
    before = sorted(here.iterdir())
    assert run(monkeypatch, "search", "s.yaml", "--home", "home") == 2
    text = capsys.readouterr().err
    assert "Traceback" not in text
    assert re.search(message, text), text
    assert sorted(path for path in here.iterdir() if path.name != "__pycache__") == before


@pytest.mark.parametrize("verb", cli.UNBUILT)
def test_a_verb_that_is_not_built_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert run(monkeypatch, verb, "anything", "--with", "options") == 2
    assert f"{verb}: the design has this verb" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["show", "report", "sync"])
def test_a_folder_that_is_no_home_is_refused(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    assert run(monkeypatch, verb, str(here)) == 2
    assert "a folder that `hpo search` made" in capsys.readouterr().err


def test_lists_name_what_there_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for kind in [*plugins.ROLES, "studies"]:
        assert run(monkeypatch, "list", kind) == 0
    listed = capsys.readouterr().out.split()
    assert {"vae", "digits", "nll", "elbo", "digits-vae"} <= set(listed)
    assert run(monkeypatch, "list", "modles") == 2
    assert "did you mean 'models'" in capsys.readouterr().err
