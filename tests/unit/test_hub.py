"""Data that Hugging Face's library reads: from files here without a network, and what is said where there is no hub."""

import json
import re
import socket
import sys
import threading
import warnings
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NoReturn

import datasets
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainables.data import hub, image_folder, parquet_file
from trainables.data._data import Data

TEXTS = [f"The text of number {n} says that {n * 7 % 13} and {n * 5 % 11} are two numbers." for n in range(40)]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library's cache, where nothing is to be left, and a hub that is not there."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(datasets.config, "HF_ENDPOINT", "http://127.0.0.1:9")
    return cache


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> NoReturn:
        raise AssertionError("a network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 30 images in two sub-folders."""
    place = tmp_path_factory.mktemp("images")
    for number in range(30):
        file = place / ("even", "odd")[number % 2] / f"{number:02d}.png"
        file.parent.mkdir(exist_ok=True)
        pixels = np.random.RandomState(number).randint(0, 256, (8, 8))
        Image.fromarray(pixels.astype(np.uint8)).save(file)
    return place


def table(folder: Path) -> dict[str, list[Any]]:
    files = sorted(folder.rglob("*.png"))
    return {
        "place": list(range(30)),
        "picture": [{"bytes": file.read_bytes(), "path": None} for file in files],
        "kind": [file.parent.name for file in files],
    }


def labeled(data: Data) -> list[tuple[bytes, int]]:
    return sorted(
        (row.numpy().tobytes(), int(label))
        for _, split in data.splits()
        if split.labels is not None
        for row, label in zip(split.x, split.labels, strict=True)
    )


@pytest.mark.usefixtures("no_network")
def test_images_are_those_of_the_folder_however_they_are_kept(folder: Path, tmp_path: Path, nowhere: Path) -> None:
    expected = image_folder.load(path=str(folder))
    assert expected.classes == 2
    columns = table(folder)
    pd.DataFrame(columns).to_parquet(tmp_path / "own.parquet")
    features = datasets.Features(
        place=datasets.Value("int64"), picture=datasets.Image(), kind=datasets.ClassLabel(names=["even", "odd"])
    )
    datasets.disable_progress_bars()
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "disk")
    for path, label in ((folder, "label"), (tmp_path / "own.parquet", "kind"), (tmp_path / "disk", "kind")):
        data = hub.load(path=str(path), label=label, held_out=0.2)
        assert (data.shape, data.levels, data.modality) == (expected.shape, 256, "images")
        assert labeled(data) == labeled(expected)
        assert "classes: 0 is even, 1 is odd" in data.notes
        assert hub.load(path=str(path)).classes == 0
    assert list(nowhere.iterdir()) == []


@pytest.mark.usefixtures("no_network")
def test_texts_are_the_same_however_they_are_kept(tmp_path: Path) -> None:
    pd.DataFrame({"number": range(40), "words": TEXTS}).to_csv(tmp_path / "own.csv", index=False)
    lines = [json.dumps({"number": n, "words": text}) for n, text in enumerate(TEXTS)]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    (tmp_path / "own.txt").write_text("\n".join(TEXTS))
    found = [hub.load(path=str(tmp_path / f"own.{kind}"), length=16) for kind in ("csv", "jsonl", "txt")]
    assert len({data.sha256 for data in found}) == 1
    data = found[0]
    rows = [data.text(row) for row in data.train.x]
    assert all(any(row in text for text in TEXTS) for row in rows)
    assert (data.modality, data.shape) == ("text", (16,))
    # A window that one text alone has is in the split of that text's others.
    own = [{n for row in split.x for n in only(data.text(row))} for _, split in data.splits()]
    assert all(own)
    assert sum(map(len, own)) == len(set.union(*own))


def only(window: str) -> list[int]:
    """The text that has this window, if there is but one."""
    found = [n for n, text in enumerate(TEXTS) if window in text]
    return found if len(found) == 1 else []


def test_no_more_rows_are_read_than_asked_for(tmp_path: Path) -> None:
    (tmp_path / "own.txt").write_text("\n".join(TEXTS))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data = hub.load(path=str(tmp_path / "own.txt"), length=40, rows=25)
    assert sum(len(split) for _, split in data.splits()) == 25
    assert any(note.startswith("the first 25 rows of the split train") for note in data.notes)


@pytest.mark.usefixtures("no_network")
def test_no_code_of_a_data_set_is_run(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "own.txt").write_text("\n".join(TEXTS))
    (own / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    pd.DataFrame({"words": TEXTS}).to_pickle(own / "own.pkl")
    with pytest.raises(ValueError, match="rows must be readable by the package datasets, and it says"):
        hub.load(path=str(own), length=16)
    assert not (tmp_path / "ran").exists()
    (own / "own.py").unlink()
    assert hub.load(path=str(own), length=16).modality == "text"
    with pytest.raises(ValueError, match=r"a file ends with \.arrow, \.csv"):
        hub.load(path=str(own / "own.pkl"))


class Hub(BaseHTTPRequestHandler):
    """One data set, of which it knows the commit."""

    def do_GET(self) -> None:
        there = self.path.startswith("/api/datasets/some/pictures")
        body = json.dumps({"id": "some/pictures", "sha": COMMIT} if there else {"error": "Repository not found"})
        self.send_response(200 if there else 404)
        if not there:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with HTTPServer(("127.0.0.1", 0), Hub) as server:
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield
        server.shutdown()
        thread.join()


@pytest.mark.usefixtures("reachable")
def test_data_of_the_hub_need_their_commit(tmp_path: Path) -> None:
    for revision in (None, "main"):
        with pytest.raises(ValueError, match=f"write `revision: {COMMIT}`, which is what it is now"):
            hub.load(path="some/pictures", revision=revision)
    with pytest.raises(
        ValueError, match=r"some/others is not \(404.*correct its name or its revision, or give the path"
    ):
        hub.load(path="some/others")


def test_where_the_hub_is_not_reachable_or_forbidden_the_ways_without_it_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ways = "give the path of a file or folder that is here, such as one that save_to_disk wrote, or take another loader"
    with pytest.raises(ValueError, match=rf"which cannot be reached \(.*refused\): {ways}"):
        hub.load(path="some/pictures", revision=COMMIT)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=rf"HF_HUB_OFFLINE or HF_DATASETS_OFFLINE forbids it\): {ways}"):
        hub.load(path="some/pictures", revision=COMMIT)


def test_a_missing_extra_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        ValueError, match=re.escape("and it is not: pip install 'generative-hpo[hub]', or give the path")
    ):
        hub.load(path="some/pictures")


def test_bad_requests_and_bad_rows_get_one_message_each(folder: Path, tmp_path: Path) -> None:
    columns = table(folder)
    columns["picture"][7] = {"bytes": b"no image", "path": None}
    columns["picture"][9] = {"bytes": None, "path": None}
    columns["kind"][3] = None
    pd.DataFrame(columns).to_parquet(tmp_path / "bad.parquet")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "three.txt").write_text("\n".join(TEXTS[:3]))
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "bad.parquet").read_bytes()[:500])
    (tmp_path / "list.jsonl").write_text('{"numbers": [1, 2]}\n')
    (tmp_path / "null.jsonl").write_text("\n".join(json.dumps({"words": text}) for text in [*TEXTS, None]))
    bad = str(tmp_path / "bad.parquet")
    for options, message in (
        ({"path": str(tmp_path / "no such file.csv")}, "or be a name on the hub, and "),
        ({"path": bad}, f"{bad}: all must be readable, and 2 of 30 are not: row 7: it is empty or no image that Pillow "
                        "reads: save it anew, as PNG or JPEG; row 9: it holds no image"),
        ({"path": bad, "label": "kind"}, f"{bad}: every row must say its 'kind', and row 3 does not: fill it in"),
        ({"path": bad, "label": "class"}, f"{bad}: there is no column 'class', but place, picture, kind: name one"),
        ({"path": bad, "column": "words"}, f"{bad}: there must be a column 'words' of images or text, and there are "
                                           "place, picture, kind: name one of these in column"),
        ({"path": bad, "column": "place"}, f"{bad}: the column 'place' must hold images or text, and it holds int"),
        ({"path": bad, "column": "picture", "kind": "text"}, "must hold text, and it holds dict: name another one"),
        ({"path": bad, "split": "test"}, f"{bad}: rows must be readable by the package datasets, and it says: "),
        ({"path": str(tmp_path / "cut.parquet")}, "cut.parquet: rows must be readable by the package datasets"),
        ({"path": str(tmp_path / "list.jsonl")}, "there must be a column of images or text, and there are numbers"),
        ({"path": str(tmp_path / "null.jsonl")}, "every row must have a text, and row 40 has none: leave it out"),
        ({"path": str(tmp_path / "empty.txt")}, "empty.txt: the split train must have rows, and it is empty"),
        ({"path": str(tmp_path / "three.txt"), "length": 40}, "three.txt: there must be at least 20 rows, and there"),
        ({"path": bad, "rows": 3}, "rows is a whole number of at least 20, and it is 3: correct it"),
        ({"path": bad, "kind": "sounds"}, "the kind is images or text, and it is 'sounds': choose one"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=re.escape(message)):
            hub.load(**options)  # type: ignore[arg-type]
    rest = hub.load(path=bad, skip_broken=True)
    assert sum(len(split) for _, split in rest.splits()) == 28
    assert [note for note in rest.notes if note.startswith("left out row 7: it is empty or no image")]


def test_a_row_names_no_picture_outside_the_folder(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / "own"
    place.mkdir()
    inside = [file.name for file in sorted(folder.rglob("*.png"))]
    for file in folder.rglob("*.png"):
        (place / file.name).write_bytes(file.read_bytes())
    cells = [{"bytes": None, "path": name} for name in inside]
    pd.DataFrame({"picture": cells}).to_parquet(place / "own.parquet")
    assert sum(len(split) for _, split in hub.load(path=str(place / "own.parquet")).splits()) == 30
    (tmp_path / "secret.png").write_bytes((place / inside[0]).read_bytes())
    cells[4]["path"], cells[5]["path"] = "../secret.png", str(tmp_path / "secret.png")
    pd.DataFrame({"picture": cells}).to_parquet(place / "bad.parquet")
    for load in (hub.load, parquet_file.load):
        with pytest.raises(ValueError, match=r"2 of 30 are not: row [45]: its path must lead to a file in .*own"):
            load(path=str(place / "bad.parquet"))
