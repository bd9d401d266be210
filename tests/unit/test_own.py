"""What the loaders of the user's own files share: which rows are held out, and what becomes of files and copies."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from trainables.data import _own


def grouped(sizes: Sequence[int]) -> list[str]:
    """A name for each row: groups of these sizes."""
    return [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("sizes", [[60] * 9 + [5000], [3] * 9 + [300]])
def test_one_large_group_is_trained_on_and_never_held_out(sizes: list[int], seed: int) -> None:
    groups = grouped(sizes)
    places, _, notes = _own.divided(groups, seed=seed)
    assert sorted(np.concatenate(list(places.values())).tolist()) == list(range(len(groups)))
    largest = {place for place, group in enumerate(groups) if group == f"g{int(np.argmax(sizes))}"}
    assert largest <= set(places["train"].tolist())
    wanted = _own.share_held_out(None, rows=len(groups)) * len(groups)
    missed = [name for name in ("validation", "test") if abs(len(places[name]) - wanted) > wanted / 2]
    assert any("where held_out asks for" in note for note in notes) == bool(missed)
    assert all(f"{name} has {len(places[name])}" in notes[0] for name in missed)


def test_equal_groups_come_near_the_share_and_nothing_is_noted() -> None:
    places, _, notes = _own.divided(grouped([10] * 20), share=0.2)
    assert {name: len(own) for name, own in places.items()} == {"train": 120, "validation": 40, "test": 40}
    assert notes == []


@pytest.mark.parametrize("seed", range(4))
def test_a_group_of_several_classes_is_in_one_split(seed: int) -> None:
    groups = grouped([10] * 30)
    classes = np.random.RandomState(seed).choice(["a", "b"], 300, p=[0.2, 0.8]).tolist()
    places, labels, _ = _own.divided(groups, classes=classes, seed=seed)
    assert labels is not None
    parted = [{groups[place] for place in own} for own in places.values()]
    assert sum(map(len, parted)) == len(set.union(*parted)) == 30
    assert all(set(labels[own].tolist()) == {0, 1} for own in places.values())


def test_where_groups_of_several_classes_leave_a_split_without_one_another_seed_is_the_remedy() -> None:
    classes = ["rare" if place in (0, 11, 22) else "usual" for place in range(300)]
    with pytest.raises(ValueError, match="has none of 'rare': add some, or split with another seed"):
        _own.divided(grouped([10] * 30), classes=classes)


def test_a_name_that_is_no_utf_8_is_a_name() -> None:
    places = _own.held_out([f"caf\udce9{number}.png" for number in range(40)])
    assert sum(map(len, places.values())) == 40


def test_links_to_folders_are_followed_once_and_hidden_files_are_none(tmp_path: Path) -> None:
    for name in ("own/a/1.png", "elsewhere/2.png", "own/.cache/3.png", "own/a/.4.png", "own/a/notes.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "own" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "own" / "a" / "up").symlink_to(tmp_path / "own")
    (tmp_path / "elsewhere" / "around").symlink_to(tmp_path / "own" / "a")
    found = [file.relative_to(tmp_path / "own").as_posix() for file in _own.files_in(tmp_path / "own", (".png",))]
    assert found == ["a/1.png", "b/2.png", "b/around/1.png"]


def test_links_to_nothing_and_closed_folders_count_as_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.png").touch()
    (tmp_path / "2.png").symlink_to("annex/2")
    scandir = os.scandir

    def refuse(folder: Path) -> Iterator[os.DirEntry[str]]:
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refuse)
    files = _own.files_in(tmp_path, (".png",))
    with pytest.raises(ValueError, match="2 of 3 are not: ") as told:
        _own.read_each(files, Path.read_bytes, skip_broken=False)
    assert "2.png: it is a link to annex/2, where nothing is: fetch or copy the file itself" in str(told.value)
    assert "closed: this folder cannot be opened: give yourself the right to read it" in str(told.value)
    found, notes = _own.read_each(files, Path.read_bytes, skip_broken=True)
    assert list(found) == [tmp_path / "open" / "1.png"]
    assert len(notes) == 2
    with pytest.raises(ValueError, match="closed: this folder cannot be opened"):
        _own.read_each(_own.files_in(tmp_path / "closed", (".png",)), Path.read_bytes, skip_broken=True)


def test_an_empty_path_is_not_the_folder_where_one_is() -> None:
    for folder in (False, True):
        with pytest.raises(ValueError, match="and it is empty: name one"):
            _own.existing("", folder=folder)


def test_names_that_are_no_utf_8_can_be_printed_wherever_they_are_said() -> None:
    def read(file: str) -> str:
        if file.startswith("bad"):
            raise ValueError("broken")
        return file

    name = "caf\udce9.png"
    _, broken = _own.read_each([name, f"bad{name}"], read, skip_broken=True)
    _, copies = _own.originals(np.zeros((2, 3)), names=[name, "2.png"], parts=None, classes=None)
    _, classes, _ = _own.folder_classes([Path(name) / "1.png", Path("tea") / "1.png"])
    assert broken == [r"left out badcaf\xe9.png: broken"]
    assert copies[1] == r"copies that were removed: 2.png of caf\xe9.png"
    assert classes == [r"caf\xe9.png", "tea"]
