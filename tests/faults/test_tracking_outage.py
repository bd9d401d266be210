"""A tracking server that dies in the middle of a search and comes back after it, over real HTTP on loopback."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from servers import MLflowServer, wait_for

from hpo.errors import HpoError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Record, Start
from hpo.mlflow_client import SERVER_SETTINGS, connect
from hpo.study import Budget, Objective, Study
from hpo.tracking import Tracker, sync

EPOCHS = 3
FIRST, REST = 2, 30  # trials before the server dies, and after


def test_an_outage_costs_the_search_nothing_and_the_server_no_point(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    server = MLflowServer(tmp_path)
    study = Study(
        name="outage",
        model="tests.own.train",
        space={"lr": 0.1},
        objective=Objective(metric="nll", direction="minimize"),
        budget=Budget(trials=FIRST + REST, epochs=EPOCHS),
        tracking=server.uri,
    )
    study.save(home.study)
    log = EventLog(home)
    environment = dict(os.environ)
    try:
        server.start()
        tracker = Tracker(study, home)
        tracker.start()
        log.append([record for trial in range(FIRST) for record in records_of(trial)])
        wait_for(lambda: home.tracking_offset.exists())
        assert set(SERVER_SETTINGS) <= set(os.environ)
        server.kill()
        for trial in range(FIRST, FIRST + REST):
            log.append(records_of(trial))
        wait_for(lambda: tracker.error != "")
        began = time.monotonic()
        lacking = tracker.end("finished", timeout=60)
        assert time.monotonic() - began < 10
        assert lacking == REST * (EPOCHS + 1)
        assert dict(os.environ) == environment
        with pytest.raises(HpoError, match=f"MLflow must take .*{server.uri} did not"):
            sync(study, home)
        server.start()
        assert sync(study, home) == lacking
        written = capfd.readouterr()
        assert (written.out, written.err) == ("", "")
        check_totals(server.uri)
    finally:
        server.kill()
        log.close()


def records_of(trial: int) -> list[Record]:
    t = 1_700_000_000.0 + 100.0 * trial
    records: list[Record] = [Start(trial=trial, time=t, params={"lr": 0.1}, seed=trial, group="g0")]
    for step in range(1, EPOCHS + 1):
        last = step == EPOCHS
        records.append(
            Event(
                trial=trial,
                step=step,
                time=t + step,
                metrics={"train_loss": 1.0 / step},
                value=float(trial) if last else None,
                end="done" if last else None,
            )
        )
    return records


def check_totals(uri: str) -> None:
    """One run a trial, one point a step, every one of them finished."""
    client = connect(uri)
    experiment = client.get_experiment_by_name("outage").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    trials = {int(run.data.tags["hpo.trial"]): run for run in runs if "hpo.trial" in run.data.tags}
    assert len(runs) == 1 + FIRST + REST
    assert sorted(trials) == list(range(FIRST + REST))
    assert {run.info.status for run in runs} == {"FINISHED"}
    for number in (0, FIRST - 1, FIRST, FIRST + REST - 1):
        run = trials[number]
        assert run.data.metrics["nll"] == float(number)
        history = client.get_metric_history(run.info.run_id, "train_loss")
        assert [point.step for point in history] == list(range(1, EPOCHS + 1))
        assert run.info.end_time == int((1_700_000_000.0 + 100.0 * number + EPOCHS) * 1000)
