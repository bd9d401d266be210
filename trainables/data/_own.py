"""What the loaders of the user's own files share: what is there, what is refused, what is held out.

Every file is read before anything is returned, so that nothing is half loaded. One that cannot be read stops the
loading with its name, the reason and the remedy; or, where the user says `skip_broken`, is left out and told of in the
notes of the data. Copies are removed before rows are held out, and what belongs together, such as windows of one
recording, is never parted. Floor: numpy and torch.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ._data import Split

Read = TypeVar("Read")
Item = TypeVar("Item", bound=Hashable)

LICENSE = "not stated: these are the user's own files"
# Fewer rows than these are no data set.
FEWEST_ROWS = 20
# The share of the rows for validation, and for test, where the user says none: what gives each 300 rows, as a Frechet
# distance needs them, within these bounds.
HELD_OUT, WANTED_ROWS = (0.1, 0.25), 300
# The splits that models do not train on.
HELD = ("validation", "test")
# Broken files that one message names.
NAMED = 5


def existing(path: str, *, folder: bool) -> Path:
    """The path, which leads to a folder or to a file; raises `ValueError` where it does not."""
    if not path:
        raise ValueError("the path must lead to a file or a folder, and it is empty: name one")
    kind, found = ("folder", Path(path).is_dir()) if folder else ("file", Path(path).is_file())
    if found:
        return Path(path)
    if not Path(path).exists():
        raise ValueError(f"the path must lead to a {kind}, and {path} does not exist in {Path.cwd()}: correct it")
    other = "file" if folder else "folder"
    raise ValueError(f"the path must lead to a {kind}, and {path} is a {other}: give a {kind}, or take another loader")


def files_in(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """Every file with one of these suffixes in the folder or below, sorted; hidden ones are left out.

    So are links to nothing and folders that cannot be opened, which `read_each` counts as broken. Raises `ValueError`
    where there is none.
    """
    inside = sorted(within(folder), key=lambda file: file.relative_to(folder))
    # A folder that is closed may hold such files.
    found = [file for file in inside if file.suffix.lower() in suffixes or file.is_dir()]
    if not found:
        there = sorted({file.suffix or file.name for file in inside})
        said = f"holds {', '.join(there[:NAMED])}" if there else "is empty"
        raise ValueError(f"the folder must hold files {', '.join(suffixes)}, and {folder} {said}: give another folder")
    return found


def within(folder: Path, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """Every file in the folder or below, hidden ones left out, links to nothing and folders that are closed included.

    Links to folders are followed, but not to those `above`.
    """
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        entries = [entry for entry in os.scandir(folder) if not entry.name.startswith(".")]
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir():
            yield from within(Path(entry.path), (*above, real))
        elif entry.is_file() or entry.is_symlink():
            yield Path(entry.path)


def read_each(
    files: Sequence[Item], read: Callable[[Item], Read], *, skip_broken: bool
) -> tuple[dict[Item, Read], list[str]]:
    """What each file, or each part of one that has a name, holds, and notes on those that were left out.

    `read` raises `ValueError`, with the reason and the remedy, for what it cannot use. Raises `ValueError` that names
    the first broken files, unless they are to be skipped.
    """
    found: dict[Item, Read] = {}
    broken: dict[Item, str] = {}
    for file in files:
        try:
            if isinstance(file, Path):
                _check_there(file)
            found[file] = read(file)
        except (ValueError, OSError, EOFError) as error:
            broken[file] = " ".join(str(error).split()) or type(error).__name__
    if broken and (not skip_broken or not found):
        named = "; ".join(f"{printable(file)}: {reason}" for file, reason in list(broken.items())[:NAMED])
        raise ValueError(
            f"all must be readable, and {len(broken)} of {len(files)} are not: {named}{_more(broken, '; ')}: mend or "
            f"remove them, or leave them out with skip_broken: true"
        )
    return found, [f"left out {printable(file)}: {reason}" for file, reason in broken.items()]


def _check_there(file: Path) -> None:
    """Raise `ValueError` for a folder that cannot be opened, and for a link to nothing."""
    if file.is_dir():
        raise ValueError("this folder cannot be opened: give yourself the right to read it")
    if file.is_symlink() and not file.exists():
        raise ValueError(f"it is a link to {os.readlink(file)}, where nothing is: fetch or copy the file itself")


def printable(name: object) -> str:
    """The name of a file as text that any terminal and log takes: bytes of it that are no UTF-8 as their numbers."""
    return str(name).encode(errors="surrogateescape").decode(errors="backslashreplace")


def _more(found: Sized, mark: str = ", ") -> str:
    """What ends a list of the first `NAMED` of these."""
    return f"{mark}and {len(found) - NAMED} more" if len(found) > NAMED else ""


def distinct(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The places of the rows [N, ...] that equal no row before them."""
    seen: dict[bytes, int] = {}
    for place, row in enumerate(rows):
        seen.setdefault(_row_digest(row), place)
    return np.fromiter(seen.values(), dtype=np.int64)


def _row_digest(row: NDArray[Any]) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(row).tobytes()).digest()


def copies_note(before: int, after: int) -> list[str]:
    """A note on the copies that were removed, if there were any."""
    return [f"removed {before - after} rows that equal another one"] if after < before else []


def originals(
    rows: NDArray[Any], *, names: Sequence[str], parts: Sequence[str] | None, classes: Sequence[str] | None
) -> tuple[list[int], list[str]]:
    """The places of the rows [N, ...] that stay where equal ones count once, and notes on the others.

    names, parts, classes: of each row its name, and its split and its class if the user states them. Of equal rows the
    first stays, one to train on before one to validate and one to test with.
    """
    ranks = [0] * len(rows) if parts is None else [("train", *HELD).index(part) for part in parts]
    order = sorted(range(len(rows)), key=lambda place: ranks[place])
    kept = sorted(order[int(place)] for place in distinct(rows[order]))
    if len(kept) == len(rows):
        return kept, []
    original = {digest: place for place, digest in zip(kept, map(_row_digest, rows[kept]), strict=True)}
    pairs = [(place, original[_row_digest(rows[place])]) for place in sorted(set(range(len(rows))) - set(kept))]
    notes = copies_note(len(rows), len(kept))
    kinds = (
        ("copies", pairs),
        ("copies across splits", [(a, b) for a, b in pairs if parts is not None and parts[a] != parts[b]]),
        ("copies of another class", [(a, b) for a, b in pairs if classes is not None and classes[a] != classes[b]]),
    )
    for kind, found in kinds:
        listed = ", ".join(f"{printable(names[copy])} of {printable(names[own])}" for copy, own in found[:NAMED])
        notes += [f"{kind} that were removed: {listed}{_more(found)}"] * bool(found)
    if parts is not None and (gone := set(parts) - {parts[place] for place in kept}):
        notes.append(f"{', '.join(sorted(gone))} held nothing else, and is held out of train instead")
    return kept, notes


def scale_of(x_SF: NDArray[np.float64], features: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature; raises `ValueError` for one that is constant."""
    if constant := [place for place, own in enumerate(x_SF.T) if (own == own[0]).all()]:
        raise ValueError(
            f"each feature must vary among the rows to train on, and {features[constant[0]]!r} is "
            f"{x_SF[0, constant[0]]:g} in all of them: leave it out, or split with another seed"
        )
    # Sums without rounding error: a plain one rounds in another order on another machine.
    mean_F = np.array([math.fsum(own) for own in x_SF.T]) / len(x_SF)
    variance_F = np.array([math.fsum(own) for own in ((x_SF - mean_F) ** 2).T]) / len(x_SF)
    return mean_F, np.sqrt(variance_F)


def share_held_out(share: float | None, *, rows: int) -> float:
    """The share of so many rows for validation: the user's, or the default; raises `ValueError` for what is none."""
    if share is None:
        return float(np.clip(WANTED_ROWS / rows, *HELD_OUT))
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0.0 < share < 0.5:
        raise ValueError(f"held_out must lie above 0 and below 0.5, and it is {share!r}: correct it in the study")
    return float(share)


def held_out(
    groups: Sequence[str],
    labels: NDArray[np.int64] | None = None,
    *,
    share: float | None = None,
    seed: int = 0,
    names: Sequence[str] = (),
) -> dict[str, NDArray[np.int64]]:
    """The places of the rows of each split. Rows of one group come into one split; with labels, each class into all,
    as far as groups have one class each: where one has several, groups are held out whatever their classes.

    groups: what each row belongs to, such as its file. names: those of the classes, if they have any. share: of the
    rows for validation, and as much again for test.
    A group's place depends on its name and the seed, so a file that is added moves few others. Rows come in random
    order. Raises `ValueError` for too few rows, groups, or rows of a class.
    """
    if len(groups) < FEWEST_ROWS:
        raise ValueError(f"there must be at least {FEWEST_ROWS} rows, and there are {len(groups)}: give more data")
    share = share_held_out(share, rows=len(groups))
    no_class = [-1] * len(groups)
    owned = no_class if labels is None else labels.tolist()
    if len(set(zip(groups, owned, strict=True))) > len(set(groups)):
        owned = no_class
    by_class: dict[int, dict[str, list[int]]] = {own: {} for own in sorted(set(owned))}
    for place, (own, group) in enumerate(zip(owned, groups, strict=True)):
        by_class[own].setdefault(group, []).append(place)
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for own, rows in by_class.items():
        if len(rows) < len(parts):
            of_class = "" if own < 0 else f" of the class {names[own] if names else str(own)!r}"
            several = "" if len(rows) == sum(map(len, rows.values())) else "files, blocks or other groups with "
            raise ValueError(
                f"there must be at least {len(parts)} {several}rows{of_class}, one for each split, and there are "
                f"{len(rows)}: give more"
                + (", or do without classes (labels: none of folders, y: null of arrays)" if of_class else "")
            )
        ranked = sorted(rows, key=lambda group: _digest(f"{seed}:{group}"))
        sizes = {group: len(places) for group, places in rows.items()}
        # What is left for training is never less than the largest group.
        wanted = min(share * sum(sizes.values()), (sum(sizes.values()) - max(sizes.values())) / 2)
        # Each of the two takes at least one group, and leaves one.
        for name, left in (("test", 2), ("validation", 1)):
            for group in _taken([group for group in ranked if group in sizes], sizes, wanted=wanted, left=left):
                parts[name] += rows[group]
                del sizes[group]
        for group in ranked:
            parts["train"] += rows[group] if group in sizes else []
    random = np.random.RandomState(seed)
    return {name: random.permutation(np.asarray(places, dtype=np.int64)) for name, places in parts.items()}


def _taken(ranked: Sequence[str], sizes: Mapping[str, int], *, wanted: float, left: int) -> list[str]:
    """The groups, in this order, that together come near so many rows; those too large for it are passed over.

    At least one, the smallest if need be; `left` groups stay.
    """
    taken: list[str] = []
    rows = 0
    for group in ranked:
        if len(taken) < len(ranked) - left and rows + sizes[group] / 2 <= wanted:
            taken.append(group)
            rows += sizes[group]
    return taken or [min(ranked, key=lambda group: sizes[group])]


def _digest(name: str) -> bytes:
    """Of a name that may be no UTF-8, such as that of a file from another system."""
    return hashlib.sha256(name.encode(errors="surrogateescape")).digest()


def share_note(places: Mapping[str, Sized], share: float | None, *, splits: Sequence[str] = HELD) -> list[str]:
    """A note on those of these splits that miss their share of all rows by more than half of it."""
    rows = sum(map(len, places.values()))
    wanted = share_held_out(share, rows=rows) * rows
    missed = [f"{name} has {len(places[name])}" for name in splits if abs(len(places[name]) - wanted) > wanted / 2]
    if not missed:
        return []
    return [f"of {rows} rows, {' and '.join(missed)}, where held_out asks for {wanted:.0f}: what belongs together, "
            "such as a file or a group, is never parted"]  # fmt: skip


def folder_classes(files: Sequence[Path], labels: str = "auto") -> tuple[list[str] | None, list[str] | None, list[str]]:
    """What folders say of files, given by their paths below the user's folder: their splits, classes, and notes.

    Folders called train, validation and test, or alike, are splits. The folders in these, or in the user's own, are
    classes with `labels="folders"`; with "auto" if there are two and all files lie in one; with "none" never. Raises
    `ValueError` where there are no such folders, or for another word.
    """
    if labels not in ("auto", "folders", "none"):
        raise ValueError(f"labels are auto, folders or none, and they are {labels!r}: choose one of them")
    heads = [file.parts[:-1] for file in files]
    parts = [split_name(head[0]) if head else None for head in heads]
    stated, outside = {part for part in parts if part is not None}, parts.count(None)
    notes = []
    if stated:
        named = ", ".join(sorted({head[0] for head, part in zip(heads, parts, strict=True) if part is not None}))
        why = f"{outside} files lie elsewhere" if outside else "" if "train" in stated else "none is for training"
        notes.append(f"the folders {named} are {f'not taken as splits, since {why}' if why else 'taken as splits'}")
    splits = [part for part in parts if part is not None] if "train" in stated and not outside else None
    # Without training, test and validation are no classes either, unless the user says so.
    if splits or (stated and not outside and labels == "auto"):
        heads = [head[1:] for head in heads]
    classes = [printable(head[0]) for head in heads if head]
    whole = len(classes) == len(files) and len(set(classes)) > 1
    if labels == "folders" and not whole:
        raise ValueError(
            f"labels: folders needs every file in a sub-folder, its class, and two of these at least; {len(classes)} "
            f"of {len(files)} files lie in {len(set(classes))} sub-folders: sort them, or leave labels out"
        )
    if classes and not whole and labels == "auto":
        notes.append("no classes: not every file lies in one of two or more sub-folders")
    return splits, classes if whole and labels != "none" else None, notes


def split_name(word: str) -> str | None:
    """The split that goes by this word, whichever of its usual names it is, such as val or test_set; None for another
    word."""
    names = {
        "train": ("train", "training"),
        "validation": ("validation", "valid", "val", "dev"),
        "test": ("test", "testing"),
    }
    plain = re.sub(r"[\W_]*(set|data|images)$", "", word.lower())
    return next((name for name, words in names.items() if plain in words), None)


def divided(
    groups: Sequence[str],
    *,
    parts: Sequence[str] | None = None,
    classes: Sequence[str] | None = None,
    share: float | None = None,
    seed: int = 0,
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64] | None, list[str]]:
    """The places of the rows of each split, their labels [N], and a note on which number stands for which class.

    parts: the user's own split of each row; what these lack is held out of those to train on, and without them of all.
    classes: of each row, by name; numbered by size where they are numbers, else from A to Z. Raises `ValueError` for
    too few rows, or where a split lacks a class.
    """
    names: list[str] = []
    labels: NDArray[np.int64] | None = None
    if classes is not None:
        names = sorted(set(classes), key=lambda name: (0, int(name), name) if name.isdecimal() else (1, 0, name))
        numbers = {name: number for number, name in enumerate(names)}
        labels = np.array([numbers[name] for name in classes], dtype=np.int64)
    stated = np.asarray(["train"] * len(groups) if parts is None else parts)
    found = {name: np.flatnonzero(stated == name) for name in ("train", *HELD)}
    said: list[str] = []
    train = found["train"]
    if missing := [name for name, places in found.items() if not len(places)]:
        own_labels = None if labels is None else labels[train]
        held = held_out([groups[int(place)] for place in train], own_labels, share=share, seed=seed, names=names)
        said = share_note(held, share, splits=missing)
        for name in missing:
            found[name] = train[held.pop(name)]
        found["train"] = train[np.concatenate(list(held.values()))]
    elif len(train) < FEWEST_ROWS:
        raise ValueError(
            f"there must be at least {FEWEST_ROWS} rows to train on, and there are {len(train)}: give more"
        )
    for name, places in found.items():
        if labels is not None and (without := sorted(set(range(len(names))) - set(labels[places].tolist()))):
            raise ValueError(
                f"every split must have rows of each class, and {name} has none of {names[without[0]]!r}: add some, or "
                f"{'split with another seed' if name in missing else 'leave the splits to the loader'}"
            )
    random = np.random.RandomState(seed)
    shuffled = {name: random.permutation(places) for name, places in found.items()}
    listed = ", ".join(f"{number} is {name}" for number, name in enumerate(names) if name != str(number))
    return shuffled, labels, [*([f"classes: {listed}"] if listed else []), *said]


def as_splits(x: Any, labels: NDArray[np.int64] | None, places: Mapping[str, NDArray[np.int64]]) -> dict[str, Split]:
    """The splits of the rows [N, *shape] of an array or a tensor at these places."""
    rows = torch.as_tensor(x)
    return {
        name: Split(x=rows[torch.from_numpy(own)], labels=None if labels is None else torch.from_numpy(labels[own]))
        for name, own in places.items()
    }
