"""From a home to a served model, as a user does it: export, MLflow's registry, serving, samples, verification."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crews
import numpy as np
import pytest
from mlflow import MlflowClient
from searches import environment, hpo

from hpo import parts
from hpo.export import export
from hpo.home import Home
from hpo.study import Budget, Method, Study
from hpo.tracking import sync

STUDY = Study(
    name="leaving",
    model="gan",
    data="digits",
    space={"base": "gan", "architecture": "mlp", "latent": 4, "width": 16, "depth": 1, "conditional": True},
    objective="coverage",
    budget=Budget(trials=2, epochs=2),
    pruner=Method(name="none"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a home that MLflow knows, and two exports of it, `first` and `best`."""
    place = tmp_path_factory.mktemp("leaving")
    home, said = Home(place / "home"), list[str]()
    with contextlib.closing(crews.serve(STUDY, home, data=parts.data_hash(STUDY))) as server:
        crews.finish(server)
    sync(STUDY, home)
    export(home, place / "first", trial=0, say=said.append)
    export(home, place / "best", trial=1, say=said.append)
    assert said == [f"registered as 'leaving' version {version}, alias champion" for version in (1, 2)]
    return place


def test_the_second_export_is_the_champion(folder: Path) -> None:
    client = MlflowClient(f"sqlite:///{folder / 'home' / 'mlflow.db'}")
    champion = client.get_model_version_by_alias("leaving", "champion")
    assert str(champion.version) == "2"
    assert champion.tags["trial"] == "1"
    assert champion.tags["objective"] == "coverage"
    assert champion.tags["params.width"] == "16"
    assert client.get_model_version("leaving", "1").tags["trial"] == "0"
    run = client.get_run(champion.run_id)
    assert "mlflow.parentRunId" not in run.data.tags
    assert {file.path for file in client.list_artifacts(run.info.run_id, "winner")} >= {"winner/card.md"}


@contextlib.contextmanager
def served(model: str, place: Path) -> Iterator[str]:
    """The address of `mlflow models serve`, which runs meanwhile with none of this project on its path."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    beside = str(Path(sys.executable).parent)  # where it finds uvicorn
    settings = environment() | {
        "PATH": f"{beside}:{os.environ['PATH']}",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_TRACKING_URI": f"sqlite:///{place}/home/mlflow.db",
    }
    with (place / "served.txt").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "models", "serve", "-m", model, "--env-manager", "local", "--host",
             "127.0.0.1", "--port", str(port)],
            cwd=place, env=settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 240
        while True:
            assert process.poll() is None, (place / "served.txt").read_text()
            assert time.monotonic() < deadline, (place / "served.txt").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5):
                break
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/invocations"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(timeout=60)


def asked(address: str, request: dict[str, Any]) -> Any:
    body = json.dumps(request).encode()
    call = urllib.request.Request(address, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(call, timeout=60) as answer:
        return json.load(answer)["predictions"]


def test_the_champion_is_served(folder: Path) -> None:
    """By its alias, from the registry; the samples are those that `hpo sample` writes under the same seed."""
    written = hpo("sample", "best", "-n", "3", "--seed", "7", "--label", "2", "--out", "three.npz", folder=folder)
    assert written.returncode == 0, written.stderr
    with served("models:/leaving@champion", folder) as address:
        found = asked(address, {"inputs": [{"count": 3, "seed": 7, "label": 2}]})
        records = asked(address, {"dataframe_records": [{"count": 2, "seed": 1}, {"count": 1, "seed": 2}]})
        bare = asked(address, {"dataframe_records": [{"seed": 5}]})
    with np.load(folder / "three.npz") as three:
        assert np.array_equal(np.array(found[0]["samples"]), three["samples"])
    assert [len(record["samples"]) for record in records] == [2, 1]
    assert np.array(bare[0]["samples"]).shape == (1, 1, 8, 8)


def test_the_model_is_code_and_no_pickle(folder: Path) -> None:
    names = [file.name for file in (folder / "best" / "model").rglob("*") if file.is_file()]
    assert {"served.py", "weights.safetensors", "exported.py", "input_example.json"} <= set(names)
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".pt", ".pth"))]
    required = (folder / "best" / "model" / "requirements.txt").read_text(encoding="utf-8").split()
    assert {line.partition("==")[0] for line in required} == {
        "mlflow", "torch", "numpy", "safetensors", "scikit-learn", "scipy",
    }  # fmt: skip


def test_it_is_fair_and_sampled(folder: Path) -> None:
    fair = hpo("verify", "best", folder=folder)
    assert fair.returncode == 0, fair.stdout + fair.stderr
    assert fair.stdout.splitlines()[-1] == "fair"
    assert hpo("sample", "best", "-n", "5", "--out", "grid.png", folder=folder).returncode == 0
    assert hpo("sample", "best", "-n", "3", "--out", "each", folder=folder).returncode == 0
    assert len(list((folder / "each").iterdir())) == 3
    refused = hpo("sample", "best", "--out", "sound.wav", folder=folder)
    assert refused.returncode == 2
    assert "are images, which are written as .png, .npz, a folder, and 'sound.wav' is none" in refused.stderr
