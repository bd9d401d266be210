"""The mirror in MLflow, against a real SQLite store: what a search leaves there, however often it was interrupted."""

from __future__ import annotations

import itertools
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hpo.errors import HpoError, RequestError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Record, Start
from hpo.mlflow_client import connect
from hpo.mlflow_runs import STATUS_OF_END
from hpo.study import Budget, Objective, Study
from hpo.surroundings import only_writer
from hpo.tracking import Tracker, sync

_home_numbers = itertools.count()


@pytest.fixture(scope="session")
def store_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One SQLite store for all: making its tables takes a second."""
    path = tmp_path_factory.mktemp("mlflow") / "shared.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store(store_file: Path) -> str:
    return f"sqlite:///{store_file}"


@pytest.fixture
def client(store: str) -> Any:
    return connect(store)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


@pytest.fixture
def study(store: str, home: Home) -> Study:
    return new_study(store, home)


def new_home(folder: Path) -> Home:
    path = folder / f"home-{next(_home_numbers)}"
    path.mkdir()
    return Home(path)


def new_study(uri: str | None, home: Home) -> Study:
    study = Study(
        name=home.path.name,
        model="tests.own.train",
        space={"lr": 0.1},
        objective=Objective(metric="nll", direction="minimize"),
        budget=Budget(trials=4, epochs=3),
        tracking=uri,
    )
    study.save(home.study)
    return study


# A small search: trial 0 is done, 1 pruned, 2 died, 3 lost, 4 goes on; each home's begins at a time of its own.

EPOCH = 1_700_000_000.0
_offsets = itertools.count()


def start(trial: int, time: float, **fields: Any) -> Start:
    values: dict[str, Any] = {"params": {"lr": 0.001 * (trial + 1), "depth": trial}, "seed": 10 + trial, "group": "g0"}
    return Start(trial=trial, time=time, **(values | fields))


def event(trial: int, step: int, time: float, *, value: float | None = None, **fields: Any) -> Event:
    metrics = {"train_loss": 1.0 / step if step else 0.0, "lr": 0.001 * (trial + 1)}
    return Event(trial=trial, step=step, time=time, metrics=metrics, value=value, **fields)


def search_records() -> list[Record]:
    t = EPOCH + next(_offsets) * 1000.0
    return [
        start(0, t),
        start(1, t + 1),
        event(0, 1, t + 2),
        event(1, 1, t + 3, value=9.0),
        Event(trial=1, step=1, time=t + 4, end="pruned", value=9.0, cause="rung 1"),
        start(2, t + 5),
        event(0, 2, t + 6),
        event(2, 1, t + 7, end="died", cause="nll is not finite"),
        event(0, 3, t + 8, value=2.5, end="done"),
        start(3, t + 9),
        Event(trial=3, step=0, time=t + 10, end="lost", cause="Traceback\n  KeyError"),
        start(4, t + 11),
        event(4, 1, t + 12, value=5.0),
    ]


def append(home: Home, records: list[Record]) -> None:
    log = EventLog(home)
    log.append(records)
    log.close()


def mirrored(home: Home, client: Any) -> dict[str, Any]:
    """Everything that MLflow holds of a home, without the ids, which differ from run to run."""
    experiment = client.get_experiment_by_name(home.path.name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    names = [run.info.run_name for run in runs]
    assert len(set(names)) == len(names), f"runs made twice: {sorted(names)}"
    parents = {run.info.run_id: run.info.run_name for run in runs}
    held = {}
    for run in runs:
        tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.")}
        tags["parent"] = parents.get(run.data.tags.get("mlflow.parentRunId", ""), "")
        found = [
            (name, point.step, point.timestamp, point.value)
            for name in run.data.metrics
            for point in client.get_metric_history(run.info.run_id, name)
        ]
        points = set(found)
        assert len(found) == len(points), f"points written twice in {run.info.run_name}"
        status = (run.info.status, run.info.start_time, run.info.end_time)
        held[run.info.run_name] = (status, run.data.params, tags, points)
    return held


def files_of(home: Home, client: Any) -> dict[str, list[str]]:
    """The files of each run of a home."""
    experiment = client.get_experiment_by_name(home.path.name)
    found = {}
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        place = Path(run.info.artifact_uri.removeprefix("file://"))
        files = (path for path in place.rglob("*") if path.is_file())
        found[run.info.run_name if "hpo.trial" in run.data.tags else "study"] = sorted(
            str(path.relative_to(place)) for path in files
        )
    return found


def draw(path: Path) -> None:
    """A sample sheet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (300, 40), color=100).save(path)


class Recording:
    """A client that notes the name of each call, and does something before or after one of them."""

    def __init__(self, inner: Any, at: int = -1) -> None:
        self.inner, self.at = inner, at
        self.names: list[str] = []
        self.before: Callable[[], None] = nothing
        self.after: Callable[[], None] = nothing

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.names.append(name)
            due = len(self.names) == self.at
            if due:
                self.before()
            answer = getattr(self.inner, name)(*args, **options)
            if due:
                self.after()
            return answer

        return call


def nothing() -> None:
    pass


class Killed(BaseException):
    """Stands for the end of the process: no handler of ours takes it."""


def killed() -> None:
    raise Killed


def test_a_search_becomes_one_run_with_one_below_it_for_each_trial(study: Study, home: Home, client: Any) -> None:
    records = search_records()
    append(home, records)
    assert sync(study, home) == len(records)
    held = mirrored(home, client)
    assert sorted(held) == [home.path.name, *(f"trial-{number:06d}" for number in range(5))]
    ends = {name: (status[0], tags.get("end"), tags.get("cause")) for name, (status, _, tags, _) in held.items()}
    assert ends == {
        home.path.name: ("KILLED", "interrupted", None),
        "trial-000000": ("FINISHED", "done", None),
        "trial-000001": ("KILLED", "pruned", "rung 1"),
        "trial-000002": ("FAILED", "died", "nll is not finite"),
        "trial-000003": ("FAILED", "lost", "Traceback\n  KeyError"),
        "trial-000004": ("KILLED", "interrupted", None),
    }
    status, params, tags, points = held["trial-000000"]
    first = int(records[0].time * 1000)
    assert status[1:] == (first, first + 8000)
    assert params == {"lr": "0.001", "depth": "0"}
    assert {name: tags[name] for name in ("hpo.trial", "seed", "group", "attempts", "parent")} == {
        "hpo.trial": "0",
        "seed": "10",
        "group": "g0",
        "attempts": "1",
        "parent": home.path.name,
    }
    assert points == {
        ("train_loss", 1, first + 2000, 1.0),
        ("train_loss", 2, first + 6000, 0.5),
        ("train_loss", 3, first + 8000, 1 / 3),
        *(("lr", step, first + after, 0.001) for step, after in ((1, 2000), (2, 6000), (3, 8000))),
        ("nll", 3, first + 8000, 2.5),
        ("trial_seconds", 3, first + 8000, 8.0),
    }


def test_the_study_run_says_what_was_searched_with_what(study: Study, home: Home, client: Any) -> None:
    append(home, search_records())
    sync(study, home)
    _, _, tags, points = mirrored(home, client)[home.path.name]
    assert tags["study.yaml"] == home.study.read_text()
    assert tags["seed"] == "0"
    assert tags["model"] == "tests.own.train"
    assert tags["best_trial"] == "0"
    assert {f"version.{name}" for name in ("python", "torch", "ray", "optuna", "mlflow")} <= set(tags)
    last = {name: value for name, step, _, value in points if step == 4}
    assert last == {"done": 1, "pruned": 1, "died": 1, "lost": 1, "best_value": 2.5}


def test_search_runs_returns_the_trials_as_a_frame(study: Study, home: Home, store: str) -> None:
    import mlflow

    append(home, search_records())
    sync(study, home)
    mlflow.set_tracking_uri(store)
    try:
        frame = mlflow.search_runs(experiment_names=[study.name], filter_string="tags.`hpo.trial` != ''")
    finally:
        mlflow.set_tracking_uri(None)
        os.environ.pop("MLFLOW_TRACKING_URI", None)
    assert not isinstance(frame, list)
    frame = frame.set_index("tags.hpo.trial").sort_index()
    assert list(frame.index) == ["0", "1", "2", "3", "4"]
    assert list(frame["status"]) == ["FINISHED", "KILLED", "FAILED", "FAILED", "KILLED"]
    assert frame.loc["0", "metrics.nll"] == 2.5
    assert frame.loc["1", "params.lr"] == "0.002"


def test_a_trial_between_two_looks_at_the_log_costs_three_calls(study: Study, home: Home) -> None:
    recording = Recording(connect(study.tracking or ""))
    for trial in range(20):
        t = EPOCH + 10.0 * trial
        append(home, [start(trial, t), event(trial, 1, t + 1), event(trial, 2, t + 2, value=1.0, end="done")])
    sync(study, home, connect=lambda _: recording)
    assert len(recording.names) == 3 * 20 + 8
    assert [name for name in recording.names if name not in ("create_run", "log_batch", "set_terminated")] == [
        "get_experiment_by_name",
        "create_experiment",
        "search_runs",
        "set_tag",
        "log_artifacts",
    ]


def test_reading_the_log_again_adds_nothing(study: Study, home: Home, client: Any) -> None:
    append(home, search_records())
    sync(study, home)
    before = mirrored(home, client)
    assert sync(study, home) == 0
    assert mirrored(home, client) == before
    home.tracking_offset.unlink()
    assert sync(study, home) == len(search_records())
    assert mirrored(home, client) == before


def test_killed_after_any_call_the_next_sync_makes_it_whole(store: str, tmp_path: Path, client: Any) -> None:
    """Every call in turn is the last of its process, which dies before it hears the answer or saves the offset."""
    t = EPOCH + 10_000_000
    records: list[Record] = [start(0, t), event(0, 1, t + 1), start(1, t + 2), event(1, 1, t + 3)]
    records += [event(0, 2, t + 4), start(2, t + 5), event(0, 3, t + 6, value=2.5, end="done")]

    sheet = "samples/trial-000000/step-000003.png"
    records[-1] = event(0, 3, t + 6, value=2.5, end="done", files=(sheet,))

    def interrupted_at(call: int) -> tuple[Home, bool]:
        home = new_home(tmp_path)
        study = new_study(store, home)
        draw(home.path / sheet)
        recording = Recording(connect(store), at=call)
        recording.after = killed
        append(home, records[:4])
        alive = True
        try:
            sync(study, home, connect=lambda _: recording)
            append(home, records[4:])
            sync(study, home, connect=lambda _: recording)
        except Killed:
            alive = False
            append(home, records[len(EventLog(home).read()[0]) :])
            sync(study, home)
        return home, alive

    def comparable(home: Home) -> dict[str, Any]:
        held = mirrored(home, client)
        status, params, tags, points = held.pop(home.path.name)
        own = {name: value for name, value in tags.items() if name not in ("hpo.path", "study.yaml", "study")}
        return held_without_parent(held) | {"study": (status, params, own, points), "files": files_of(home, client)}

    def held_without_parent(held: dict[str, Any]) -> dict[str, Any]:
        return {
            name: (status, params, {key: tags[key] for key in tags if key not in ("parent", "study")}, points)
            for name, (status, params, tags, points) in held.items()
        }

    whole = None
    for call in itertools.count(0):
        home, alive = interrupted_at(call)
        if whole is None:
            assert alive
            whole = comparable(home)
            continue
        assert comparable(home) == whole, f"killed after call {call}"
        if alive:
            break
    assert call > 25  # else the loop has tried nothing


def test_a_tracker_writes_while_the_search_runs(study: Study, home: Home, client: Any) -> None:
    records = search_records()
    tracker = Tracker(study, home)
    tracker.start()
    append(home, records[:3])
    wait_for(lambda: home.tracking_offset.exists())
    held = mirrored(home, client)
    assert {name: status[0] for name, (status, *_) in held.items()} == dict.fromkeys(
        [home.path.name, "trial-000000", "trial-000001"], "RUNNING"
    )
    append(home, records[3:])
    assert tracker.end("finished", timeout=30) == 0
    held = mirrored(home, client)
    assert held[home.path.name][0][0] == "FINISHED"
    assert len(held) == 6
    assert (tracker.error, tracker.refused) == ("", 0)


def test_a_resumed_trial_goes_on_in_its_own_run(study: Study, home: Home, client: Any) -> None:
    append(home, search_records())
    sync(study, home)
    closed = mirrored(home, client)["trial-000004"]
    assert (closed[0][0], closed[2]["end"]) == ("KILLED", "interrupted")
    tracker = Tracker(study, home)
    tracker.start()
    t = EPOCH + 5_000_000
    append(home, [start(4, t, group="g1"), event(4, 2, t + 1)])
    wait_for(lambda: mirrored(home, client)["trial-000004"][2]["group"] == "g1")
    status, _, tags, _ = mirrored(home, client)["trial-000004"]
    assert (status[0], "end" in tags) == ("RUNNING", False)
    assert mirrored(home, client)[home.path.name][0][0] == "RUNNING"
    append(home, [event(4, 3, t + 2, value=1.0, end="done")])
    assert tracker.end("finished", timeout=30) == 0
    held = mirrored(home, client)
    status, _, tags, points = held["trial-000004"]
    assert (status[0], tags["end"], tags["attempts"]) == ("FINISHED", "done", "2")
    assert sorted(step for name, step, *_ in points if name == "train_loss") == [1, 2, 3]
    assert [value for name, _, _, value in points if name == "trial_seconds"] == [3.0]
    assert (held[home.path.name][2]["best_trial"], held[home.path.name][2]["end"]) == ("4", "finished")


def test_a_search_without_a_trial_leaves_no_run_and_no_database(home: Home) -> None:
    study = new_study(None, home)
    tracker = Tracker(study, home)
    tracker.start()
    assert tracker.end("interrupted", timeout=30) == 0
    assert not home.mlflow_db.exists()


def test_by_default_everything_lies_in_the_home(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    sheet = home.samples / "trial-000000" / "step-000003.png"
    draw(sheet)
    sheet.with_suffix(".wav").write_bytes(b"a sound")
    names = [str(file.relative_to(home.path)) for file in (sheet, sheet.with_suffix(".wav"))]
    done = event(0, 3, EPOCH + 1, value=1.0, end="done", files=tuple(names))
    append(home, [start(0, EPOCH), done, Event(trial=1, step=0, time=EPOCH, end="lost", cause="x" * 6000)])
    assert sync(new_study(None, home), home) == 3
    assert home.mlflow_db.is_file()
    assert not list(elsewhere.iterdir())
    (logged,) = home.mlartifacts.rglob("*.png")
    assert logged.read_bytes() == sheet.read_bytes()
    assert logged.parts[-3:-1] == ("artifacts", "images")
    assert logged.name.startswith(f"samples+step+3+timestamp+{int(1000 * (EPOCH + 1))}+")
    (small,) = home.mlartifacts.rglob("*.webp")
    assert small.name == f"{logged.stem}+compressed.webp"
    with Image.open(small) as image:
        assert image.size == (256, 34)
    (sound,) = home.mlartifacts.rglob("*.wav")
    assert sound.parts[-3:] == ("artifacts", "samples", "step-000003.wav")
    (cause,) = home.mlartifacts.rglob("cause.txt")
    assert cause.read_text() == "x" * 6000


def test_a_file_outside_the_home_is_not_logged(study: Study, home: Home, client: Any) -> None:
    draw(home.path.parent / "secret.png")
    append(home, [start(0, EPOCH), event(0, 3, EPOCH + 1, value=1.0, end="done", files=("../secret.png",))])
    tracker = Tracker(study, home)
    tracker.start()
    assert tracker.end("finished", timeout=30) == 0
    assert tracker.refused == 1
    assert files_of(home, client)["trial-000000"] == []
    assert mirrored(home, client)["trial-000000"][0][0] == "FINISHED"


def test_another_tracking_uri_gets_everything_from_the_start(
    study: Study, home: Home, tmp_path: Path, store_file: Path
) -> None:
    other = f"sqlite:///{shutil.copyfile(store_file, tmp_path / 'other.db')}"
    records = search_records()
    append(home, records)
    sync(study, home)
    assert sync(study.model_copy(update={"tracking": other}), home) == len(records)
    assert len(mirrored(home, connect(other))) == 6


def test_a_run_that_somebody_deleted_stops_nothing(study: Study, home: Home, client: Any) -> None:
    records = search_records()
    append(home, records[:3])
    tracker = Tracker(study, home)
    tracker.start()
    wait_for(lambda: home.tracking_offset.exists())
    experiment = client.get_experiment_by_name(study.name).experiment_id
    (run,) = client.search_runs([experiment], "tags.`hpo.trial` = '0'")
    client.delete_run(run.info.run_id)
    append(home, records[3:])
    assert tracker.end("finished", timeout=30) == 0
    assert tracker.refused >= 1
    held = mirrored(home, client)
    assert sorted(held) == [home.path.name, *(f"trial-{number:06d}" for number in range(1, 5))]


def test_a_store_that_fails_costs_the_search_nothing(study: Study, home: Home, client: Any) -> None:
    def unreachable(uri: str) -> Any:
        raise ConnectionError("refused\nand more")

    records = search_records()
    append(home, records)
    tracker = Tracker(study, home, connect=unreachable)
    tracker.start()
    wait_for(lambda: tracker.error != "")
    assert tracker.error == "ConnectionError: refused"
    assert tracker.end("finished", timeout=30) == len(records)
    with pytest.raises(HpoError, match=r"MLflow must take .*shared\.db did not: ConnectionError: refused.*hpo sync"):
        sync(study, home, connect=unreachable)
    assert sync(study, home) == len(records)
    assert mirrored(home, client)[home.path.name][2]["end"] == "finished"


def test_an_answer_lost_on_the_way_is_made_good_by_the_same_search(study: Study, home: Home, client: Any) -> None:
    recording = Recording(connect(study.tracking or ""), at=5)

    def lose_the_answer() -> None:
        raise ConnectionError("reset by peer")

    recording.after = lose_the_answer
    append(home, search_records())
    tracker = Tracker(study, home, connect=lambda _: recording)
    tracker.start()
    wait_for(lambda: home.tracking_offset.exists())
    assert recording.names[4] == "create_run"  # of the first trial: its run is there, and we were not told
    assert tracker.end("finished", timeout=30) == 0
    assert tracker.calls == len(recording.names)
    assert len(mirrored(home, client)) == 6


def test_a_store_that_hangs_is_left_behind_and_written_to_no_more(study: Study, home: Home, client: Any) -> None:
    release = threading.Event()
    recording = Recording(connect(study.tracking or ""), at=5)
    recording.before = lambda: wait_for(release.is_set)
    records = search_records()
    append(home, records)
    tracker = Tracker(study, home, connect=lambda _: recording)
    tracker.start()
    wait_for(lambda: len(recording.names) == 5)
    began = time.monotonic()
    assert tracker.end("finished", timeout=0.2) == len(records)
    assert time.monotonic() - began < 5
    with pytest.raises(RequestError, match="One process at a time"):
        sync(study, home)
    release.set()
    wait_for(lambda: is_left(home))
    assert len(recording.names) == 5
    assert sync(study, home) == len(records)
    assert mirrored(home, client)[home.path.name][2]["end"] == "finished"


def test_sync_refuses_while_another_process_writes(study: Study, home: Home) -> None:
    append(home, search_records())
    with only_writer(home), pytest.raises(RequestError, match="One process at a time"):
        sync(study, home)


def test_a_password_in_the_uri_is_not_shown(study: Study, home: Home) -> None:
    def unreachable(uri: str) -> Any:
        raise ConnectionError("refused")

    append(home, search_records())
    secret = study.model_copy(update={"tracking": "http://me:secret@127.0.0.1:1"})
    with pytest.raises(HpoError, match=r"http://127\.0\.0\.1:1 did not") as caught:
        sync(secret, home, connect=unreachable)
    assert "secret" not in str(caught.value)


@pytest.fixture
def log_lines() -> Iterator[list[str]]:
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    handler = Collect()
    logging.getLogger("mlflow").addHandler(handler)
    yield lines
    logging.getLogger("mlflow").removeHandler(handler)


def test_nothing_of_mlflow_reaches_the_user(
    home: Home, capfd: pytest.CaptureFixture[str], log_lines: list[str]
) -> None:
    study = new_study(None, home)
    append(home, search_records())
    before = dict(os.environ)
    tracker = Tracker(study, home)
    tracker.start()
    wait_for(lambda: home.mlflow_db.exists())
    logging.getLogger("mlflow").warning("from another thread")
    assert tracker.end("finished", timeout=30) == 0
    written = capfd.readouterr()
    assert log_lines == ["from another thread"]
    assert written.out == ""
    assert written.err.count("\n") == written.err.count("from another thread")
    assert dict(os.environ) == before
    logging.getLogger("mlflow").warning("afterwards")
    assert log_lines == ["from another thread", "afterwards"]


def test_every_end_has_a_status() -> None:
    from hpo.messages import ENDS

    assert set(STATUS_OF_END) == set(ENDS)


def is_left(home: Home) -> bool:
    """Whether nobody holds the right to write the home's runs any more."""
    try:
        with only_writer(home):
            return True
    except RequestError:
        return False


def wait_for(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
