"""What stands between a user and a search: each line of `hpo doctor`, and what it says of what is broken."""

from __future__ import annotations

import importlib.metadata
import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch
from packaging.requirements import Requirement

from hpo import cli, doctor, home
from hpo.doctor import Finding, machine, request
from hpo.home import Home
from hpo.study import Study


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def by_subject(findings: Iterator[Finding]) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


@contextmanager
def answering(code: int) -> Iterator[str]:
    """A server that gives this answer; its address."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()
    assert asked == ["/health"]


def test_this_machine_is_fine_and_its_parts_are_told() -> None:
    found = by_subject(machine())
    assert not [finding for finding in found.values() if finding.outcome == "broken"]
    for name in ("torch", "ray", "optuna", "mlflow", "numpy"):
        assert f"{name} {importlib.metadata.version(name)}" in found["installed"].text
    assert torch.cuda.is_available() or found["GPUs"].text.startswith(("none", "there seem"))
    assert float(found["memory"].text.split()[0]) > 0


def test_what_is_lacking_or_too_old_is_told_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    known = importlib.metadata.version

    def version(name: str) -> str:
        if name in ("safetensors", "cmaes"):
            raise importlib.metadata.PackageNotFoundError(name)
        return "4.9" if name == "optuna" else known(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = by_subject(machine())
    assert found["safetensors"].outcome == found["optuna"].outcome == "broken"
    assert "pip install 'safetensors" in found["safetensors"].text
    assert re.search(r"optuna must be .*>=5\.0.*, and is 4\.9\. Give: pip install 'optuna", found["optuna"].text)
    assert found["extra samplers"].outcome == "note"
    assert "pip install 'generative-hpo[samplers]'" in found["extra samplers"].text
    assert "optuna" not in found["installed"].text


def test_a_range_holds_for_a_build_of_a_release() -> None:
    needed = Requirement(f"torch=={importlib.metadata.version('torch').partition('+')[0]}")
    assert doctor._package(needed).outcome == "ok"


def test_a_full_disk_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(home, "FREE_BYTES", 1 << 60)
    found = by_subject(machine())["disk"]
    assert found.outcome == "broken"
    assert "MiB of free disk" in found.text


def test_a_study_that_stands_is_fine_and_nothing_is_made(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "doctor", "digits-vae") == 0
    printed = capsys.readouterr().out
    for line in (
        "data: rows: 1000 train, 300 validation, 497 test",
        "objective: nll, to minimize",
        "space: searches latent, ",
        f"home: {here.resolve()}/runs/digits-vae: new",
        f"tracking: sqlite:///{here.resolve()}/runs/digits-vae/mlflow.db",
    ):
        assert f"ok      {line}" in printed
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data={name: digits, classes: 4-12}", "data: "),
        ("space=gan", "space 'gan' does not fit model 'vae'"),
        ("objective=tsrt", "did you mean 'tstr'"),
        ("pruner={name: asha, etta: 3}", "etta"),
        ("sampler={name: tpe, startup: 3}", "startup"),
    ],
)
def test_what_does_not_fit_is_broken_and_the_rest_is_looked_at(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], change: str, message: str
) -> None:
    assert run(monkeypatch, "doctor", "digits-vae", "--set", change) == 1
    printed = capsys.readouterr().out
    assert re.search(f"broken  fit: .*{message}", printed), printed
    assert "tracking: sqlite" in printed


@pytest.mark.parametrize("target", ["nothing.yaml", "."])
def test_what_is_no_study_is_a_bad_request_with_nothing_above(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], target: str
) -> None:
    assert run(monkeypatch, "doctor", target) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "nothing.yaml' is neither" in told.err or "a folder that `hpo search` made" in told.err


@pytest.mark.parametrize(
    ("code", "outcome", "message"),
    [
        (200, "ok", "http://127.0.0.1"),
        (401, "note", "asks who you are"),
        (404, "broken", "//127.0.0.1.*/health answers 404"),
    ],
)
def test_a_server_is_asked_whether_it_is_there(here: Path, code: int, outcome: str, message: str) -> None:
    with answering(code) as uri:
        found = doctor._tracking(uri, where=Home("home"))
    assert found.outcome == outcome
    assert re.search(message, found.text)
    assert "secret" not in found.text


def test_a_server_that_is_not_there_is_broken_and_the_remedy_is_named() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        port = server.server_port
    found = doctor._tracking(f"http://127.0.0.1:{port}", where=Home("home"))
    assert found.outcome == "broken"
    assert "refused" in found.text
    assert f"hpo sync {Home('home').path}" in found.text


def test_a_database_is_tried_and_left_as_it_was(here: Path) -> None:
    file = here / "mlflow.db"
    with sqlite3.connect(file) as base:
        base.execute("CREATE TABLE t (x)")
    base.close()
    before = file.read_bytes()
    assert doctor._tracking(f"sqlite:///{file}", where=Home("home")).outcome == "ok"
    assert file.read_bytes() == before
    file.write_bytes(b"not a database" * 100)
    found = doctor._tracking(f"sqlite:///{file}", where=Home("home"))
    assert found.outcome == "broken"
    assert "not a database" in found.text


def test_a_home_is_looked_at_as_it_stands(here: Path) -> None:
    study = Study.load("ring-vae")
    place = Home(here / "home")
    place.path.mkdir()
    study.save(place.study)
    place.ledger.write_text("{torn\n", encoding="utf-8")
    with place.locked():
        found = by_subject(request("home"))
    assert found["home"].outcome == "note"
    assert "a search runs in it, process " in found["home"].text
    assert found["ledger"].outcome == "broken"
    assert f"{place.ledger} is not" in found["ledger"].text
    changed = by_subject(request("home", changes=["seed=7"]))
    assert changed["home"].outcome == "broken"
    assert "seed differ" in changed["home"].text
