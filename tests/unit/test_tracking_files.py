"""What the runs in MLflow carry beside numbers: sheets by step, the files of the study, data, and the machine."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image
from played import SPACE, play, played_study

from dashboards.pages import NAME, figure_pages
from hpo.analysis import Reading
from hpo.home import Home
from hpo.mirror import Batch, Sheet
from hpo.mlflow_client import connect, without_password
from hpo.mlflow_facts import DIGEST_LENGTH
from hpo.mlflow_files import SMALL_PIXELS, lay_out, lay_out_trial
from hpo.study import Study
from hpo.study_files import AGE_SHARE, COST_FACTOR, REFRESH_SECONDS, StudyFiles
from hpo.system_metrics import FULL_SAMPLES, KEPT_SAMPLES, SAMPLE_SECONDS, SystemMetrics
from hpo.tracking import Mirror, Tracker, attach, sync

TRIALS = 4


class Clock:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class Recording:
    """A client that notes the name of each call."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.names: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **options: Any) -> Any:
            self.names.append(name)
            return getattr(self._inner, name)(*args, **options)

        return call


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty database, made once: its tables take seconds."""
    path = tmp_path_factory.mktemp("store") / "empty.db"
    connect(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="module")
def played(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A search that is over, told to MLflow in its home."""
    home = untold(store, tmp_path_factory.mktemp("played"), "played", trials=TRIALS)
    sync(Study.load(home.study), home, figures=figure_pages)
    return home


def untold(store: Path, folder: Path, name: str, *, trials: int) -> Home:
    """A search that is over, and of which MLflow, an empty file in the home, was told nothing."""
    home = play(played_study(name, trials=trials), folder / "home")
    shutil.copyfile(store, home.mlflow_db)
    return home


def client_of(home: Home) -> Any:
    return connect(f"sqlite:///{home.mlflow_db}")


def runs_of(home: Home) -> dict[str, Any]:
    client = client_of(home)
    experiment = client.get_experiment_by_name(Study.load(home.study).name)
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def files_of(run: Any) -> dict[str, Path]:
    place = Path(run.info.artifact_uri.removeprefix("file://"))
    return {str(path.relative_to(place)): path for path in place.rglob("*") if path.is_file()}


def test_the_study_run_carries_request_space_summary_and_figures(played: Home) -> None:
    files = files_of(runs_of(played)["home"])
    assert sorted(files) == [NAME, "space.yaml", "study.yaml", "summary.json"]
    assert files["study.yaml"].read_text() == played.study.read_text()
    assert yaml.safe_load(files["space.yaml"].read_text()) == SPACE.to_mapping()
    assert json.loads(files["summary.json"].read_text())["counts"]["done"] == TRIALS - 1
    page = files[NAME].read_text()
    for name in ("history", "learning-curves", "importances", "parallel-coordinates", "slices"):
        assert f'id="figure-{name}"' in page
    assert "src=" not in page.partition("<body>")[2]


def test_a_sheet_is_an_image_at_its_step_and_a_repeat_adds_none(played: Home) -> None:
    run = runs_of(played)["trial-000000"]
    images = sorted(name for name in files_of(run) if name.startswith("images/"))
    assert [name.split("+")[:3] for name in images if name.endswith(".png")] == [
        ["images/samples", "step", step] for step in ("1", "3", "9")
    ]
    assert [name for name in images if name.endswith(".webp")] == [
        name.removesuffix(".png") + "+compressed.webp" for name in images if name.endswith(".png")
    ]
    assert run.data.tags["mlflow.loggedImages"] == "True"
    played.tracking_offset.unlink()
    sync(Study.load(played.study), played)
    assert sorted(name for name in files_of(run) if name.startswith("images/")) == images


def test_images_are_named_as_mlflow_names_its_own(store: Path, tmp_path: Path) -> None:
    """The page finds key, step and time in the name, and the small image by its end."""
    home = Home(tmp_path / "home")
    sheet = home.sheet(0, 7)
    sheet.parent.mkdir(parents=True)
    Image.new("L", (600, 300)).save(sheet)
    laid = tmp_path / "laid"
    laid.mkdir()
    batch = Batch(trial=0, start_time_ms=0)
    batch.sheets.append(Sheet(name=str(sheet.relative_to(home.path)), step=7, time_ms=1234))
    assert lay_out_trial(batch, home, laid) == 0
    client = connect(f"sqlite:///{shutil.copyfile(store, tmp_path / 'mlflow.db')}")
    run = client.create_run(client.create_experiment("theirs", artifact_location=(tmp_path / "theirs").as_uri()))
    client.log_image(run.info.run_id, Image.open(sheet), key="samples", step=7, timestamp=1234)
    theirs = files_of(run)

    def shape(names: Any) -> list[tuple[list[str], str]]:
        """Without the number that each name has of its own."""
        parts = [(Path(name).stem.split("+"), Path(name).suffix) for name in names]
        return sorted((part[:5] + part[6:], suffix) for part, suffix in parts)

    ours = {str(path.relative_to(laid)): path for path in laid.rglob("*.*")}
    assert shape(ours) == shape(theirs)
    sizes = []
    for files in (ours, theirs):
        (small,) = (path for name, path in files.items() if name.endswith(".webp"))
        with Image.open(small) as image:
            sizes.append(image.size)
    assert sizes == [(SMALL_PIXELS, SMALL_PIXELS // 2)] * 2


def test_a_sheet_that_is_no_image_or_is_gone_is_left_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    (home.path / "a.png").write_bytes(b"no image")
    (home.path / "b.txt").write_text("'lines'")
    batch = Batch(trial=0, start_time_ms=0)
    batch.sheets = [Sheet(name=name, step=1, time_ms=0) for name in ("a.png", "b.txt", "gone.png")]
    laid = tmp_path / "laid"
    laid.mkdir()
    assert lay_out_trial(batch, home, laid) == 2
    assert [str(path.relative_to(laid)) for path in laid.rglob("*.*")] == ["samples/b.txt"]


@pytest.mark.parametrize("name", ["../out.txt", "/out.txt", "a/../../out.txt"])
def test_a_name_that_leaves_the_run_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="lies inside its folder"):
        lay_out({name: "text"}, tmp_path)


def test_the_data_set_is_an_input_with_its_hash(played: Home) -> None:
    runs = runs_of(played)
    sha256 = played.data_hash.read_text().strip()
    (found,) = runs["home"].inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("digits", sha256[:DIGEST_LENGTH])
    profile = json.loads(found.dataset.profile)
    assert (profile["num_rows"], profile["shape"], profile["sha256"]) == (1797, [1, 8, 8], sha256)
    assert "[-1, 1, 8, 8]" in found.dataset.schema
    assert "scikit-learn" in found.dataset.source
    assert {run.data.tags["data.sha256"] for run in runs.values()} == {sha256}


def test_data_of_another_content_than_the_trials_saw_are_no_input(store: Path, tmp_path: Path) -> None:
    home = untold(store, tmp_path, "other", trials=1)
    home.data_hash.write_text("0" * 64)
    sync(Study.load(home.study), home)
    assert runs_of(home)["home"].inputs.dataset_inputs == []


def test_every_run_can_be_found_by_what_its_study_says(played: Home) -> None:
    import hpo

    for run in runs_of(played).values():
        said = {"study": "played", "model": "gan", "data": "digits", "hpo.version": hpo.__version__}
        assert said.items() <= run.data.tags.items()
        assert '"optimizer"' in run.data.tags["space"]


def test_a_password_in_the_study_stays_out_of_mlflow(store: Path, tmp_path: Path) -> None:
    home = untold(store, tmp_path, "secret", trials=1)
    study = Study.load(home.study)
    text = home.study.read_text().replace("tracking: null", "tracking: http://me:hidden@host:5000")
    assert "hidden" in text
    home.study.write_text(text)
    sync(study, home)
    run = runs_of(home)["home"]
    assert "hidden" not in run.data.tags["study.yaml"] + files_of(run)["study.yaml"].read_text()
    assert "http://host:5000" in files_of(run)["study.yaml"].read_text()
    assert without_password("a //b:c@d //e\nf@g") == "a //d //e\nf@g"


def test_a_figure_that_fails_is_told_in_the_run_and_stops_nothing(store: Path, tmp_path: Path) -> None:
    def broken(reading: Reading) -> Mapping[str, str]:
        raise ZeroDivisionError(f"{len(reading.rows)} trials")

    home = untold(store, tmp_path, "broken", trials=1)
    study = Study.load(home.study)
    tracker = Tracker(study, home, figures=broken)
    tracker.start()
    assert tracker.end("finished", timeout=60) == 0
    assert (tracker.error, tracker.refused) == ("", 0)
    files = files_of(runs_of(home)["home"])
    assert sorted(files) == ["error.txt", "space.yaml", "study.yaml", "summary.json"]
    assert "ZeroDivisionError: 1 trials" in files["error.txt"].read_text()
    assert runs_of(home)["home"].info.status == "FINISHED"


def test_files_are_made_again_rarely_where_they_cost_much_and_as_a_search_grows_old(played: Home) -> None:
    clock = Clock()
    files = StudyFiles(Study.load(played.study), played, figures=None, clock=clock)

    def wait_until_due() -> float:
        began = clock.now
        while not files.due:
            clock.now += 1.0
        return clock.now - began

    assert wait_until_due() == REFRESH_SECONDS
    files.done(seconds=0.1)
    assert wait_until_due() == REFRESH_SECONDS
    files.done(seconds=10.0)
    assert wait_until_due() == COST_FACTOR * 10.0
    age = 36_000.0
    clock.now = 1_700_000_000.0 + age
    files.done(seconds=0.1)
    assert wait_until_due() == AGE_SHARE * age


def test_files_are_made_while_the_search_runs_and_only_if_it_went_on(store: Path, tmp_path: Path) -> None:
    """At their time and in the tracking thread alone; nothing new in the log, no new files."""
    threads: list[str] = []

    def figures(reading: Reading) -> Mapping[str, str]:
        threads.append(threading.current_thread().name)
        return {"figures/figures.html": f"{len(reading.rows)} trials"}

    home = untold(store, tmp_path, "live", trials=2)
    study, clock = Study.load(home.study), Clock()
    with Mirror(study, home, live=True, figures=figures, clock=clock) as mirror:
        mirror.catch_up()
        mirror.keep_company()
        assert threads == []
        clock.now += REFRESH_SECONDS
        mirror.keep_company()
        assert threads == [threading.current_thread().name]
        clock.now += 10 * REFRESH_SECONDS
        mirror.keep_company()
        assert len(threads) == 1
        mirror.finish("finished")
        assert len(threads) == 2
    tracker = Tracker(study, home, figures=figures)
    tracker.start()
    assert tracker.end("finished", timeout=60) == 0
    assert threads[2:] == ["hpo-tracking"]
    assert files_of(runs_of(home)["home"])["figures/figures.html"].read_text() == "2 trials"


def test_files_join_the_study_run_later(played: Home, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# The winner")
    assert attach(Study.load(played.study), played, {"winner/card.md": card})
    assert files_of(runs_of(played)["home"])["winner/card.md"].read_text() == "# The winner"


def test_files_that_cannot_join_are_no_fault(played: Home, store: Path, tmp_path: Path) -> None:
    card = tmp_path / "card.md"
    card.write_text("# The winner")
    study = Study.load(played.study)
    empty = shutil.copyfile(store, tmp_path / "empty.db")
    elsewhere = study.model_copy(update={"tracking": f"sqlite:///{empty}"})
    assert not attach(elsewhere, played, {"winner/card.md": card})
    assert not attach(study.model_copy(update={"tracking": "http://127.0.0.1:9"}), played, {"winner/card.md": card})
    assert not attach(study, played, {"winner/gone.md": tmp_path / "gone.md"})
    assert not attach(study, Home(tmp_path / "nowhere"), {"winner/card.md": card})


@pytest.fixture
def machine() -> tuple[SystemMetrics, Clock]:
    clock = Clock()
    return SystemMetrics(clock=clock), clock


def test_the_machine_is_sampled_every_ten_seconds(machine: tuple[SystemMetrics, Clock]) -> None:
    system, clock = machine
    began_ms = int(clock.now * 1000) - 5000
    system.sample(began_ms=began_ms)
    assert system.waiting() == []
    clock.now += SAMPLE_SECONDS
    for _ in range(3):
        system.sample(began_ms=began_ms)
    points = {point.name: point for point in system.waiting()}
    assert len(points) == len(system.waiting())
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= set(points)
    assert {(point.step, point.time_ms) for point in points.values()} == {(15, int(clock.now * 1000))}
    assert 0 < points["system/system_memory_usage_percentage"].value < 100
    system.written()
    assert system.waiting() == []


def test_samples_of_a_long_outage_are_dropped_from_the_oldest(machine: tuple[SystemMetrics, Clock]) -> None:
    system, clock = machine
    for count in range(1, KEPT_SAMPLES + 11):
        clock.now += SAMPLE_SECONDS
        system.sample(began_ms=0)
        assert system.full == (count >= FULL_SAMPLES)
    steps = {point.step for point in system.waiting()}
    assert len(steps) == KEPT_SAMPLES
    assert max(steps) == int(clock.now)


def test_the_machine_shows_in_the_study_run_at_one_call_a_minute(store: Path, tmp_path: Path) -> None:
    """Nothing ends in that minute; where trials end, samples go with what is told of them, at no call of their own."""
    home = untold(store, tmp_path, "machine", trials=1)
    study, clock = Study.load(home.study), Clock()
    recording = Recording(client_of(home))
    with Mirror(study, home, live=True, connect=lambda _: recording, clock=clock) as mirror:
        mirror.catch_up()
        before = len(recording.names)
        for _ in range(FULL_SAMPLES + 1):
            mirror.keep_company()
            clock.now += SAMPLE_SECONDS
        assert [name for name in recording.names[before:] if name != "log_artifacts"] == ["log_batch"]
    points = client_of(home).get_metric_history(runs_of(home)["home"].info.run_id, "system/cpu_utilization_percentage")
    assert len(points) == FULL_SAMPLES


def test_a_trial_with_sheets_costs_four_calls_however_many_they_are(store: Path, tmp_path: Path) -> None:
    home = untold(store, tmp_path, "calls", trials=10)
    recording = Recording(client_of(home))
    sync(Study.load(home.study), home, connect=lambda _: recording)
    per_trial = ("create_run", "log_batch", "set_terminated", "log_artifacts")
    assert {name: recording.names.count(name) for name in per_trial} == dict.fromkeys(per_trial, 11)
    assert [name for name in recording.names if name not in per_trial] == [
        "get_experiment_by_name", "create_experiment", "search_runs", "log_inputs", "set_tag",
    ]  # fmt: skip
