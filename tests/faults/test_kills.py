"""Real kills under Ray: driver, worker, server, and signals; then the same command, and exact totals.

test_kills_company.py kills all of them in a stack; those of trials by themselves are for `make test-slow`.
"""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from searches import SMALL, Search, assert_exact, hpo, shown

TRIALS, EPOCHS, CHECKPOINT_SECONDS, WORKERS = 4, 60, 1.0, 2
STUDY: dict[str, Any] = SMALL | {
    "budget": {"trials": TRIALS, "epochs": EPOCHS},
    # One structure, so that an epoch takes about as long in every trial.
    "space": {"base": "vae", "width": 256, "depth": 2, "batch_size": 64},
    "pruner": "none",
    "resources": {"workers": WORKERS, "checkpoint_seconds": CHECKPOINT_SECONDS},
}


def underway(search: Search) -> bool:
    """Both workers are in the middle of a trial: at least one has ended, each has reported lately."""
    events = search.events()
    running = {event.trial for event in events} - {event.trial for event in events if event.end}
    return any(event.end for event in events) and len(running) >= WORKERS


def assert_little_repeated(search: Search, found: dict[str, Any], *, kills: int) -> None:
    """At most one checkpoint interval a running trial was trained again: the epochs that fit into it, and one."""
    times: dict[int, list[float]] = {}
    for event in search.events():
        times.setdefault(event.trial, []).append(event.time)
    steps = [later - earlier for trial in times.values() for earlier, later in itertools.pairwise(trial)]
    fastest = sorted(steps)[len(steps) // 20]
    bound = kills * (CHECKPOINT_SECONDS / max(fastest, 1e-3) + 1)
    assert found["epochs_repeated"] <= bound, (found["epochs_repeated"], bound)


@pytest.mark.slow
def test_a_killed_driver_resumes_with_exact_totals(tmp_path: Path) -> None:
    search = Search(tmp_path, STUDY)
    search.wait_for(lambda: underway(search), what="two trials underway")
    search.kill()
    ended = {event.trial for event in search.events() if event.end}
    running = {start.trial for start in search.starts()} - ended
    search.start()
    assert search.finish() == 0, search.output
    found = assert_exact(search, trials=TRIALS, epochs=EPOCHS)
    assert_little_repeated(search, found, kills=WORKERS)
    placements = Counter(start.trial for start in search.starts())
    assert all(placements[trial] == 1 for trial in ended), "what had ended was trained again"
    assert sum(placements.values()) == TRIALS + len(running)
    assert len(running) >= 1
    _assert_runs_closed(search)


@pytest.mark.slow
@pytest.mark.parametrize("title", ["ray::ResourceTrainable.train", "ray::StudyServer"])
def test_a_killed_worker_or_server_is_survived_by_the_search(tmp_path: Path, title: str) -> None:
    search = Search(tmp_path, STUDY)
    search.wait_for(lambda: underway(search), what="two trials underway")
    process = search.wait_for(lambda: search.worker(title), what=title)
    process.kill()
    assert search.finish() == 0, search.output
    found = assert_exact(search, trials=TRIALS, epochs=EPOCHS)
    placements = sum(Counter(start.trial for start in search.starts()).values())
    if title != "ray::StudyServer":
        assert placements == TRIALS + 1
        assert_little_repeated(search, found, kills=1)
    else:
        assert placements == TRIALS, "the groups went on"
        assert found["epochs_repeated"] == 0
    _assert_runs_closed(search)


def test_ctrl_c_drains_and_sigterm_ends_and_the_printed_command_goes_on(tmp_path: Path) -> None:
    epochs = 100  # long enough to be interrupted twice
    search = Search(tmp_path, STUDY | {"budget": {"trials": TRIALS, "epochs": epochs}})
    search.wait_for(search.events, what="first event")
    second = hpo("search", "study.yaml", "--home", "home", folder=tmp_path)
    assert second.returncode == 2, "a second driver is refused, and the first is named"
    assert "is held by process" in second.stderr
    for number, repeated in ((signal.SIGINT, 0), (signal.SIGTERM, None)):
        seen = len(search.events())
        search.wait_for(lambda seen=seen: len(search.events()) > seen + 10, what="epochs")
        search.signal(number)
        assert search.finish(seconds=90) == 130, search.output
        assert "hpo search study.yaml --home home" in search.output
        assert "Traceback" not in search.output
        assert _statuses(search)["RUNNING"] == 0
        search.start()
        if repeated is not None:  # Ctrl-C leaves Ray alone: a drained trial goes on exactly where it was
            seen = len(search.events())
            search.wait_for(lambda seen=seen: len(search.events()) > seen + 20, what="epochs")
            assert shown(search.home, tmp_path)["epochs_repeated"] == repeated
    assert search.finish() == 0, search.output
    found = assert_exact(search, trials=TRIALS, epochs=epochs)
    assert_little_repeated(search, found, kills=WORKERS)
    _assert_runs_closed(search)


def _statuses(search: Search) -> Counter[str]:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{search.home.mlflow_db}")
    experiment = client.get_experiment_by_name("small")
    return Counter(run.info.status for run in client.search_runs([experiment.experiment_id], max_results=1000))


def _assert_runs_closed(search: Search) -> None:
    statuses = _statuses(search)
    assert statuses["RUNNING"] == 0
    assert sum(statuses.values()) == TRIALS + 1, "one run a trial, and the study's own"
