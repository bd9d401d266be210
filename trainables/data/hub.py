"""Images or texts that Hugging Face's `datasets` reads, from the hub or from files here; an extra: `hpo[hub]`.

A path that is here is read here, and no network is asked: a folder or a file of parquet, csv, JSON, text, arrow or
images, or what `save_to_disk` wrote. Another one is a name on the hub, such as `ylecun/mnist`, and needs the hash of a
commit, so that every process of a search, and the next search, sees the same rows. Rows are streamed, no more of them
than asked for, and nothing stays in a cache. No code of a data set is run and no pickle read. Images become what
`image_folder` makes of them; of texts, windows are taken as `english` takes them of its paragraphs.
"""

from __future__ import annotations

import gc
import io
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import _images, _own, _text
from ._data import Data

READS_FOLDER = (".arrow",)
# The library's readers of a format that do nothing else, by what files may end with.
BUILDERS = {
    ".arrow": "arrow",
    ".csv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".parquet": "parquet",
    ".txt": "text",
}
KINDS = ("images", "text")
PROBE_SECONDS = 5.0
INSTALL = "pip install 'generative-hpo[hub]'"
OFFLINE = (
    "give the path of a file or folder that is here, such as one that save_to_disk wrote, or take another loader: "
    "image_folder, parquet_file, csv_file, text_file"
)


def load(
    *,
    path: str,
    split: str = "train",
    subset: str | None = None,
    column: str | None = None,
    label: str | None = None,
    kind: str | None = None,
    revision: str | None = None,
    rows: int = 10_000,
    size: int | None = None,
    mode: str | None = None,
    length: int = 64,
    held_out: float | None = None,
    seed: int = 0,
    skip_broken: bool = False,
) -> Data:
    """The first rows of a split as images [C, size, size] or text [length]; the same call returns the same bytes.

    path: a file or a folder, or a name on the hub. split: the one of theirs from which all of ours are taken. subset:
    the configuration, where a data set has several. column, kind: which column, images or text; without them the first
    that holds either. label: the column of classes, for images. revision: the hash of a commit on the hub. rows: at
    most so many. size, mode, skip_broken: as of `image_folder`. length: the characters of a row of text. held_out: the
    share for validation, and as much for test. Raises `ValueError` where the extra, the hub or the column is missing,
    and for rows that cannot be read.
    """
    _images.check_options(size=size, mode=mode)
    if not isinstance(rows, int) or rows < _own.FEWEST_ROWS:
        raise ValueError(f"rows is a whole number of at least {_own.FEWEST_ROWS}, and it is {rows!r}: correct it")
    if kind not in (None, *KINDS):
        raise ValueError(f"the kind is images or text, and it is {kind!r}: choose one, or leave it out")
    taken, names = _rows(path, split=split, subset=subset, revision=revision, rows=rows, label=label)
    source = path if revision is None else f"{path} at {revision}"
    try:
        column, kind = _column(taken, column, kind)
        notes = [f"the first {len(taken)} rows of the split {split}: column {column}, {kind}"]
        if kind == "text":
            texts = [row[column] for row in taken]
            if missing := [place for place, text in enumerate(texts) if not isinstance(text, str)]:
                raise ValueError(f"every row must have a text, and row {missing[0]} has none: leave it out of the file")
            return _text.as_data(
                texts, length=length, held_out=held_out, seed=seed, name="hub", source=source, notes=notes
            )
        sources = {f"row {number}": row[column] for number, row in enumerate(taken)}
        pictures, broken = _own.read_each(
            list(sources),
            lambda name: _images.read_picture(_content(sources[name], Path(path)), size=size),
            skip_broken=skip_broken,
        )
        classes = None if label is None else {f"row {n}": names(row[label]) for n, row in enumerate(taken)}
        return _images.as_data(
            pictures,
            classes=None if classes is None else [classes[name] for name in pictures],
            size=size,
            mode=mode,
            held_out=held_out,
            seed=seed,
            name="hub",
            source=source,
            notes=[*notes, *broken],
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _rows(
    path: str, *, split: str, subset: str | None, revision: str | None, rows: int, label: str | None
) -> tuple[list[dict[str, Any]], Callable[[Any], str]]:
    """The first rows of a split, images as they lie in their files, and what tells the name of a class."""
    try:
        import datasets
    except ImportError:
        raise ValueError(f"the package datasets must be installed for the data set hub, and it is not: {INSTALL}, or "
                         f"{OFFLINE}") from None  # fmt: skip
    if not Path(path).exists():
        revision = _commit(path, revision)
    with tempfile.TemporaryDirectory(prefix="hpo-hub-") as cache, warnings.catch_warnings():
        # The library leaves a file open whose rows were not read to the end.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            stream = _stream(path, split=split, subset=subset, revision=revision, cache=cache)
            # Features that are not known beforehand are none of images or classes.
            feature = stream.features[label] if stream.features and label in stream.features else None
            taken = [dict(row) for row in (stream.decode(False) if stream.features else stream).take(rows)]
        except Exception as error:  # a parser that stumbles over a file raises whatever it does
            said = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"{path}: rows must be readable by the package datasets, and it says: {said}: mend the "
                             "files, or name others") from None  # fmt: skip
        gc.collect()
    if not taken:
        raise ValueError(f"{path}: the split {split} must have rows, and it is empty: name another one")
    if label is not None and label not in taken[0]:
        raise ValueError(f"{path}: there is no column {label!r}, but {', '.join(taken[0])}: name one of these in label")
    if label is not None and None in (found := [row[label] for row in taken]):
        raise ValueError(f"{path}: every row must say its {label!r}, and row {found.index(None)} does not: fill it in")
    return taken, feature.int2str if isinstance(feature, datasets.ClassLabel) else str


def _stream(path: str, *, split: str, subset: str | None, revision: str | None, cache: str) -> Any:
    """The rows of a split, one after another."""
    import datasets

    place = Path(path)
    if (place / "dataset_dict.json").is_file() or (place / "state.json").is_file():
        found = datasets.load_from_disk(path)
        if isinstance(found, datasets.DatasetDict):
            if split not in found:
                raise ValueError(f"there is no split {split}, but {', '.join(found)}")
            found = found[split]
        return found.to_iterable_dataset()
    if place.is_file():
        if place.suffix not in BUILDERS:
            raise ValueError(f"a file ends with {', '.join(BUILDERS)}")
        builder = datasets.load_dataset_builder(
            BUILDERS[place.suffix], name=subset, data_files={"train": [path]}, cache_dir=cache
        )
    else:
        builder = datasets.load_dataset_builder(path, name=subset, revision=revision, cache_dir=cache)
    reader = type(builder).__module__.rpartition(".")[2]
    if reader not in {*BUILDERS.values(), "imagefolder"}:
        raise ValueError(f"its files are read by {reader!r}, which is not one of those that only parse a format")
    return builder.as_streaming_dataset(split=split)


def _commit(path: str, revision: str | None) -> str:
    """The commit of the data set of that name on the hub; raises `ValueError` where it is not stated or not there."""
    import datasets
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        raise ValueError(f"the path must lead to a file or a folder, or be a name on the hub, and {path} does not "
                         f"exist in {Path.cwd()}: correct it")  # fmt: skip
    try:
        if datasets.config.HF_HUB_OFFLINE:
            raise ConnectionError("HF_HUB_OFFLINE or HF_DATASETS_OFFLINE forbids it")
        hub = huggingface_hub.HfApi(endpoint=datasets.config.HF_ENDPOINT)
        commit = hub.dataset_info(path, revision=revision, timeout=PROBE_SECONDS).sha
    except HfHubHTTPError as error:
        said = " ".join(str(error).split())
        raise ValueError(f"a data set must be on the hub, and open to you, and {path} is not ({said}): correct its "
                         f"name or its revision, or {OFFLINE}") from None  # fmt: skip
    except Exception as error:  # whatever the library's transport raises where there is no network
        raise ValueError(f"{path} does not exist in {Path.cwd()}, so it must be a data set on the hub, which cannot be "
                         f"reached ({error}): {OFFLINE}") from None  # fmt: skip
    if revision is None or revision != commit:
        raise ValueError(f"data of the hub need the hash of a commit, and revision is {revision!r}: write `revision: "
                         f"{commit}`, which is what it is now")  # fmt: skip
    return revision


def _column(taken: list[dict[str, Any]], column: str | None, kind: str | None) -> tuple[str, str]:
    """The column to take, and what it holds."""
    kinds = {
        name: "text" if isinstance(value, str) else "images" if isinstance(value, bytes | dict) else ""
        for name, value in taken[0].items()
    }
    wanted = KINDS if kind is None else (kind,)
    if column is None:
        column = next((name for name, own in kinds.items() if own in wanted), None)
    if column not in kinds:
        named = "" if column is None else f"{column!r} "
        raise ValueError(f"there must be a column {named}of {' or '.join(wanted)}, and there are "
                         f"{', '.join(taken[0])}: name one of these in column")  # fmt: skip
    if kinds[column] not in wanted:
        raise ValueError(f"the column {column!r} must hold {' or '.join(wanted)}, and it holds "
                         f"{type(taken[0][column]).__name__}: name another one")  # fmt: skip
    return column, kinds[column]


def _content(value: Any, place: Path) -> Path | bytes:
    """The content of an image, or its file, which lies in the folder or beside the file that the user named."""
    named = None
    if isinstance(value, dict):
        value, named = value.get("bytes"), value.get("path")
    if isinstance(value, bytes) and value:
        return value
    if not isinstance(named, str) or not place.exists():
        raise ValueError("it holds no image: leave the row out of the file")
    return _images.file_within(place if place.is_dir() else place.parent, named)


def example(folder: Path) -> dict[str, object]:
    """Write 32 images of two classes into a table of parquet, and return the options to load them."""
    import numpy as np
    import pandas as pd
    from PIL import Image

    random = np.random.RandomState(0)
    table = []
    for number in range(32):
        kind = ("dark", "bright")[number % 2]
        content = io.BytesIO()
        pixels = random.randint(0, 128, (8, 8)) + (127 if kind == "bright" else 0)
        Image.fromarray(pixels.astype(np.uint8)).save(content, format="PNG")
        table.append({"image": {"bytes": content.getvalue(), "path": f"{number}.png"}, "kind": kind})
    pd.DataFrame(table).to_parquet(folder / "images.parquet")
    return {"path": str(folder / "images.parquet"), "label": "kind"}
