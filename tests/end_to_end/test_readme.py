"""The newcomer's page of the README, line by line as it stands there, on a smaller study of the same name."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from searches import environment

from hpo.home import Home
from hpo.selected import Selection

README = Path(__file__).parents[2] / "README.md"
SECTION = "## From a search to samples"
SERVERS = ("hpo ui ", "mlflow ui ", "mlflow models serve ")
AGREE = """
numbers = sorted(int(value) for value in runs["tags.hpo.trial"])
assert numbers == [trial.number for trial in study.trials if "hidden" not in trial.user_attrs], numbers
"""


def blocks(language: str) -> list[str]:
    """The blocks of code in the section."""
    section = README.read_text(encoding="utf-8").split(SECTION)[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, flags=re.S)


def lines() -> list[str]:
    """The commands of the section, without what is said beside them."""
    found = [re.split(r"\s{2,}# ", line)[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in found if line and not line.startswith("source ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a newcomer stands: a file there is taken before the ready study of its name."""
    place = tmp_path_factory.mktemp("newcomer")
    study = yaml.safe_load((README.parent / "hpo" / "studies" / "digits-vae.yaml").read_text(encoding="utf-8"))
    study |= {"budget": {"trials": 6, "epochs": 3}, "pruner": "none", "resources": {"workers": 2}}
    (place / "digits-vae").write_text(yaml.safe_dump(study), encoding="utf-8")
    return place


def run(line: str, folder: Path, *, seconds: float = 400) -> str:
    """Run one command of the page to its end; return what it printed."""
    command = [str(Path(sys.executable).with_name("hpo")), *shlex.split(line)[1:]]
    found = subprocess.run(
        command, cwd=folder, env=path(), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert found.returncode == 0, f"{line}\n{found.stdout}\n{found.stderr}"
    return found.stdout


def path() -> dict[str, str]:
    """The environment after `source .venv/bin/activate`."""
    return environment() | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


@contextmanager
def served(line: str, folder: Path, *, port: int, seconds: float = 180) -> Iterator[None]:
    """Run one server of the page while the context lasts, on a port that is free, and end it by its group."""
    command = shlex.split(re.sub(r" --port \d+", "", line))
    environment = path() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.txt").open("wb") as out:
        server = subprocess.Popen([*command, "--port", str(port)], cwd=folder, env=environment, stdout=out,
                                  stderr=subprocess.STDOUT, start_new_session=True)  # fmt: skip
        try:
            deadline = time.monotonic() + seconds
            while not answers(port):
                said = (folder / "server.txt").read_text()
                assert server.poll() is None, f"{line}\n{said}"
                assert time.monotonic() < deadline, f"{line}\n{said}"
                time.sleep(0.2)
            yield
        finally:
            os.killpg(server.pid, signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait(30)


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_every_line_does_what_the_page_says(folder: Path) -> None:
    commands = lines()
    assert len(commands) == 13
    port = free_port()
    for line in commands:
        if line.startswith(SERVERS[:2]):
            with (
                served(line, folder, port=port),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=60) as page,
            ):
                assert page.status == 200
                assert b"<title>" in page.read()
            port = free_port()
        elif line.startswith(SERVERS[2]):
            (question,) = (other for other in commands if other.startswith("curl "))
            with served(line, folder, port=port):
                asked = subprocess.run(
                    shlex.split(re.sub(r":5001/", f":{port}/", question)), capture_output=True, text=True, timeout=120,
                    check=True,
                )  # fmt: skip
                assert '"samples"' in asked.stdout
        elif not line.startswith("curl "):
            if "other.yaml" in line:
                config = yaml.safe_load((folder / "best" / "config.yaml").read_text(encoding="utf-8"))
                config["params"]["lr"] *= 2
                (folder / "other.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
            run(line, folder)
    left = {entry.name for entry in (folder / "best").iterdir()}
    assert {"config.yaml", "weights.safetensors", "metrics.json", "card.md", "samples.png", "model", "look"} <= left
    assert (folder / "new.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "again" / "weights.safetensors").is_file()
    assert len(list((folder / "seeds").glob("seed-*"))) == 3
    assert (folder / "new" / "weights.safetensors").is_file()
    assert (folder / "runs" / "digits-vae" / "report.html").is_file()
    found = Selection.load(Home(folder / "runs" / "digits-vae"))
    assert found is not None
    assert len(found.winner.runs) == 4
    # What stands in Python on the page, and that the three agree.
    (code,) = blocks("python")
    subprocess.run([sys.executable, "-c", code + AGREE], cwd=folder, env=path(), check=True, timeout=120)
    # A second export trains nothing.
    said = run("hpo export runs/digits-vae best/", folder)
    assert "is used again" in said
