"""`hpo ui` as a user runs it: a process that prints its address, answers there, and ends with what it started."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from app_homes import finished
from mlflow import MlflowClient
from searches import HPO, environment, hpo
from servers import wait_for

from hpo.home import Home
from hpo.study import Study
from hpo.tracking import sync


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return finished(tmp_path / "home", trials=4)


@pytest.fixture
def page(home: Home, tmp_path: Path) -> Iterator[psutil.Popen]:
    with started(home, tmp_path, "--optuna") as process:
        yield process


@contextlib.contextmanager
def started(home: Home, tmp_path: Path, *options: str) -> Iterator[psutil.Popen]:
    command = [*HPO, "ui", str(home.path), "--port", "0", *options]
    process = psutil.Popen(command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, text=True,
                           start_new_session=True)  # fmt: skip
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.stdout.close()
        process.wait()


def test_it_prints_its_address_answers_there_and_ends_on_ctrl_c(page: psutil.Popen) -> None:
    first = page.stdout.readline()
    match = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=([\w-]{32,})\n", first)
    assert match is not None, first
    lines = [page.stdout.readline() for _ in range(2)]
    optuna = re.search(r"optuna-dashboard on .*: (http://127\.0\.0\.1:\d+)", lines[-1])
    assert optuna is not None, lines
    port = int(match[1])
    assert ask(f"http://127.0.0.1:{port}/version/0").startswith('"')
    assert '"study_name": "toy"' in ask(f"{optuna[1]}/api/studies")
    listening = {place.laddr.ip for place in page.net_connections() if place.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}
    page.send_signal(signal.SIGINT)
    assert page.wait(30) == 0
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


@pytest.mark.slow  # MLflow takes half a minute to make its database and to start
def test_mlflow_is_started_on_the_same_study_and_ends_with_the_page(home: Home, tmp_path: Path) -> None:
    sync(Study.load(home.study), home)
    with started(home, tmp_path, "--mlflow") as page:
        lines = [page.stdout.readline() for _ in range(3)]
        mlflow = re.fullmatch(rf"MLflow on {home.path}: http://127\.0\.0\.1:(\d+)\n", lines[-1])
        assert mlflow is not None, lines
        port = int(mlflow[1])
        wait_for(lambda: answers(port))
        client = MlflowClient(f"http://127.0.0.1:{port}")
        experiment = client.get_experiment_by_name("toy")
        runs = client.search_runs([experiment.experiment_id], "tags.`hpo.trial` = '3'")
        shown = f"http://127.0.0.1:{port}/#/experiments/{experiment.experiment_id}/runs/{runs[0].info.run_id}"
        assert led_to(lines[0].partition("?")[0] + "mlflow/0/3") == shown
        page.send_signal(signal.SIGINT)
        assert page.wait(30) == 0
        assert not answers(port)


def test_a_port_that_is_taken_is_told_of(home: Home, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = hpo("ui", home.path, "--port", str(taken.getsockname()[1]), folder=tmp_path)
    assert result.returncode == 2
    assert "Give another --port" in result.stderr


def test_what_is_no_home_is_refused(tmp_path: Path) -> None:
    result = hpo("ui", tmp_path, folder=tmp_path)
    assert result.returncode == 2
    assert "A home is a folder" in result.stderr


def ask(address: str) -> str:
    with urllib.request.urlopen(address, timeout=30) as answer:
        content: bytes = answer.read()
    return content.decode()


def answers(port: int) -> bool:
    try:
        return ask(f"http://127.0.0.1:{port}/health") == "OK"
    except OSError:
        return False


def led_to(address: str) -> str:
    """Where a link of the page leads: the address that it redirects to."""
    at = urllib.parse.urlsplit(address)
    with contextlib.closing(http.client.HTTPConnection(at.netloc, timeout=60)) as link:
        link.request("GET", at.path)
        return str(link.getresponse().headers["Location"])
