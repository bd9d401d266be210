"""`--address`: a search on a Ray cluster that was running before and goes on running after."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from searches import SMALL, Search, assert_exact, environment, hpo

# Two nodes on this machine, on loopback, until the test closes standard input.
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    process = subprocess.Popen(
        [sys.executable, "-c", CLUSTER],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        assert process.poll() is None, "the cluster ended with the search"
    finally:
        process.communicate(timeout=60)


def test_a_search_joins_a_running_cluster_and_uses_its_nodes(tmp_path: Path, address: str) -> None:
    search = Search(tmp_path, SMALL | {"resources": {"workers": "auto"}}, "--address", address)
    assert search.finish() == 0, search.output
    assert_exact(search, trials=8, epochs=9)
    starts = search.starts()
    assert len({start.group for start in starts[:2]}) == 2, "one worker on each node"
    assert len({start.worker for start in starts[:2]}) == 2
    assert {start.device for start in starts} == {"cpu"}
    sheets = {event.trial: event.files for event in search.events() if event.files}
    assert {event.trial for event in search.events() if event.end == "done"} <= set(sheets)
    assert all((search.home.path / name).stat().st_size > 100 for files in sheets.values() for name in files)


def test_an_address_where_nothing_answers_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    refused = hpo("search", "digits-vae", "--home", "home", "--address", "127.0.0.1:9", folder=tmp_path)
    assert refused.returncode == 2, refused.stderr
    assert "a running Ray cluster must answer there; 127.0.0.1:9 does not" in refused.stderr
    assert list(tmp_path.iterdir()) == []
