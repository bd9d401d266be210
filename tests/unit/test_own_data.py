"""What is understood of a path: which loader reads it, what it made of it, and a study that stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import yaml

from hpo import cli, own_data, parts, plugins
from hpo.errors import RequestError
from hpo.study import Study

READERS = [
    name
    for name in plugins.names("data")
    if any(hasattr(sys.modules[plugins.load("data", name).__module__], role) for role in ("READS_FILE", "READS_FOLDER"))
]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["hpo", *arguments])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def images(folder: Path) -> dict[str, object]:
    """A folder of images, and the options to read it."""
    folder.mkdir()
    found: dict[str, object] = sys.modules["trainables.data.image_folder"].example(folder)
    return found


@pytest.mark.parametrize("name", READERS)
def test_each_loader_is_taken_for_its_own_files_and_a_study_of_them_stands(tmp_path: Path, name: str) -> None:
    module = sys.modules[plugins.load("data", name).__module__]
    options = module.example(tmp_path)
    path = Path(str(options.pop("path")))
    claimed = getattr(module, "READS_FOLDER" if path.is_dir() else "READS_FILE", ())
    if own_data.suffixes_in(path).keys() <= set(claimed):
        assert own_data.loader_of(path) == name
    else:  # it is asked for by its name
        options["name"] = name
    changes = [f"data.{key}={yaml.safe_dump(value, default_flow_style=True)}" for key, value in options.items()]
    study, text = own_data.study_for(path, changes=changes)
    assert Study(**yaml.safe_load(text)) == study
    parts.check(study)
    told = dict(own_data.understood(data := parts.data_of(study)))
    assert told["loader"] == name
    assert told["rows"].startswith(f"{len(data.train)} train, {len(data.validation)} validation")
    assert data.sha256 in told["content"]


def test_a_folder_is_what_most_of_its_files_are_and_hidden_ones_are_none(tmp_path: Path) -> None:
    for number in range(2):
        (tmp_path / f"{number}.PNG").touch()
    (tmp_path / "notes.csv").touch()
    (tmp_path / ".cache").mkdir()
    for number in range(5):
        (tmp_path / ".cache" / f"{number}.csv").touch()
    assert own_data.loader_of(tmp_path) == "image_folder"
    for number in range(2):
        (tmp_path / f"{number}.csv").touch()
    assert own_data.loader_of(tmp_path) == "csv_file"


def test_images_with_texts_that_describe_them_are_images(tmp_path: Path) -> None:
    for number in range(3):
        for name in (f"images/{number}.jpg", f"labels/{number}.txt"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
    (tmp_path / "labels" / "classes.txt").touch()
    assert own_data.loader_of(tmp_path) == "image_folder"
    for number in range(4):
        (tmp_path / f"letter{number}.txt").touch()
    assert own_data.loader_of(tmp_path) == "text_file"


def test_a_folder_behind_a_link_counts_and_a_closed_one_is_not_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "1.png").touch()
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "cats").symlink_to(tmp_path / "elsewhere")
    assert own_data.loader_of(tmp_path / "own") == "image_folder"

    def refuse(_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(RequestError, match=r"a folder must be open to you, and .*own is not"):
        own_data.loader_of(tmp_path / "own")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "nothing does not exist in "),
        ("empty", "a folder must hold files, and .*empty is empty"),
        ("film.mkv", r"no loader reads files \.mkv, and .*film\.mkv is one"),
        ("films", r"no loader reads folders of 2 \.mkv, 1 without a suffix files"),
    ],
)
def test_what_no_loader_reads_is_refused_with_what_there_is(tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "films").mkdir()
    for file in ("film.mkv", "films/a.mkv", "films/b.mkv", "films/README"):
        (tmp_path / file).touch()
    with pytest.raises(RequestError, match=message) as refused:
        own_data.loader_of(tmp_path / path)
    if path != "nothing":
        assert ".csv, .tsv (csv_file)" in str(refused.value)
        assert ".png, .jpg" in str(refused.value)


def test_few_rows_are_compared_by_what_takes_few_and_the_study_says_why(tmp_path: Path) -> None:
    images(tmp_path / "photos")
    study, text = own_data.study_for(tmp_path / "photos")
    assert study.objective == "sliced_wasserstein"
    assert text.startswith("# objective: the metric 'fd_self' needs at least 300 rows to measure on, and there are ")
    assert study.name == "photos-gan"


def test_the_command_prints_or_writes_the_study_and_makes_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "doctor", "--data", "photos", "--set", "data.size=8") == 0
    printed = capsys.readouterr().out
    assert "images, 1 x 8 x 8 (channels, height, width)" in printed
    assert {path.name for path in tmp_path.iterdir()} == {"photos"}

    assert run(monkeypatch, "doctor", "--data", "photos", "--set", "data.size=8", "--study", "mine.yaml") == 0
    assert "hpo search mine.yaml" in capsys.readouterr().out
    assert (tmp_path / "mine.yaml").read_text(encoding="utf-8") in printed
    assert Study.load(tmp_path / "mine.yaml").data == {"name": "image_folder", "path": "photos", "size": 8}

    assert run(monkeypatch, "doctor", "--data", "photos", "--study", "mine.yaml") == 2
    assert "a study is written to a new file; mine.yaml is there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "photos"], r"1 of 33 are not: photos/disk/broken\.png: "),
        (["--data", ""], "--data names a file or a folder, and it is empty. Name one"),
        (["--data", "photos", "--set", "data.sise=8"], "image_folder takes path, size.*; sise came"),
        (["--data", "photos", "--set", "data=digits"], "changes an option of the loader; data='digits' came"),
        (["digits-vae", "--data", "photos"], "one thing at a time; digits-vae and --data photos came"),
        (["digits-vae", "--study", "mine.yaml"], "--study mine.yaml is written for data"),
        (["--set", "seed=1"], "--set seed=1 changes a study. Name it"),
    ],
)
def test_a_bad_request_is_one_message_and_nothing_above_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    images(tmp_path / "photos")
    (tmp_path / "photos" / "disk" / "broken.png").write_bytes(b"no picture")
    monkeypatch.chdir(tmp_path)
    assert run(monkeypatch, "doctor", *arguments) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert len(told.err.splitlines()) == 1
    assert re.search(message, told.err), told.err
