"""The laws of data sets; `_data.py` says what each part of the record is."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from hpo.laws._law import Broken, globally_seeded
from trainables.data._data import Data, content_hash

# The dimensions of a row of each modality.
MODALITIES = {"images": 3, "series": 2, "points": 1, "audio": 2, "text": 1}
# A Frechet distance on fewer rows drifts with their number.
FEWEST_TO_MEASURE = 300


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Loaded:
    """A data set: the function that loads it, and what it gave. options: of a loader of files, those of its example."""

    name: str
    load: Callable[..., Data]
    options: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name

    def again(self) -> Data:
        """What it gives now."""
        return self.load(**self.options)

    @functools.cached_property
    def data(self) -> Data:
        found = self.again()
        if not isinstance(found, Data):
            raise Broken(f"it returns {type(found).__name__}", remedy="return a Data")
        return found


def example_of(load: Callable[..., Data]) -> Callable[[Path], Mapping[str, object]] | None:
    """What the file of a loader offers as `example(folder)`: it writes small files, and returns the options for them.

    None where a data set comes with what it loads.
    """
    found = getattr(sys.modules[load.__module__], "example", None)
    return found if callable(found) else None


def loaded_by(name: str, load: Callable[..., Data], folder: Path) -> Loaded:
    """The data set, or that of the loader's example, whose files lie in this empty folder."""
    example = example_of(load)
    return Loaded(name=name, load=load, options={} if example is None else dict(example(folder)))


def the_same_call_returns_the_same_bytes(subject: Loaded) -> None:
    """The same call returns the same rows, in memory of their own, whatever the global generators."""
    first = subject.data
    with globally_seeded(1):
        again = subject.again()
    for (name, left), (_, right) in zip(first.splits(), again.splits(), strict=True):
        if content_hash({name: left}) != content_hash({name: right}):
            raise Broken(f"the {name} rows or labels are others", remedy="seed every draw in the file")
        if left.x.data_ptr() == right.x.data_ptr():
            raise Broken(f"two calls share the {name} rows", remedy="return a copy, which a caller may change")


def the_hash_is_that_of_the_content(subject: Loaded) -> None:
    """`sha256` is the hash of all splits, so that it tells one content from another."""
    found, said = content_hash(dict(subject.data.splits())), subject.data.sha256
    if found != said:
        raise Broken(f"it is {said[:8]}, and the content's {found[:8]}", remedy="take `content_hash` of the splits")


def rows_have_one_form(subject: Loaded) -> None:
    """All rows have one shape and type: levels from 0 as whole numbers, or real ones as float32."""
    data = subject.data
    for name, split in data.splits():
        if tuple(split.x.shape[1:]) != data.shape or split.x.dtype != data.train.x.dtype:
            raise Broken(f"{name} rows are {list(split.x.shape)} of {split.x.dtype}", remedy="give all splits one form")
    real = data.train.x.is_floating_point()
    if real != (data.levels is None) or (real and data.train.x.dtype != torch.float32):
        raise Broken(
            f"they are {data.train.x.dtype} with levels={data.levels}",
            remedy="use uint8 with levels, or float32 without",
        )
    if data.modality not in MODALITIES:
        raise Broken(f"the modality is {data.modality!r}", remedy=f"make it one of {', '.join(MODALITIES)}")
    if len(data.shape) != MODALITIES[data.modality]:
        raise Broken(
            f"rows of {data.modality} have the shape {list(data.shape)}",
            remedy="give images [channels, height, width], series [steps, features], points [numbers], audio "
            "[channels, samples], text [tokens]",
        )
    if (data.modality == "audio") != (data.sample_rate is not None):
        raise Broken(f"the sample rate of {data.modality} is {data.sample_rate}", remedy="state it for audio alone")
    if data.modality == "text" and (data.vocabulary is None or len(data.vocabulary) != data.levels):
        raise Broken(f"text of {data.levels} levels has no vocabulary of as many", remedy="name each token")


def rows_lie_in_their_range(subject: Loaded) -> None:
    """All rows are finite and lie in `value_range`, which with levels is 0 to levels - 1."""
    data = subject.data
    low, high = data.value_range
    for name, split in data.splits():
        if not bool(split.x.isfinite().all()):
            raise Broken(f"some {name} rows are not finite", remedy="leave such rows out")
        least, most = float(split.x.min()), float(split.x.max())
        if not low <= least <= most <= high:
            raise Broken(
                f"{name} rows reach from {least} to {most}, and the range from {low} to {high}",
                remedy="state the range of all splits, or scale them by that of training",
            )
    if data.levels is not None and (low, high) != (0.0, data.levels - 1.0):
        raise Broken(f"the range of {data.levels} levels is {low} to {high}", remedy="count levels from 0")


def labels_number_the_classes(subject: Loaded) -> None:
    """Labels are int64, one a row, in every split or in none; each split has all classes 0, 1, ... of training."""
    data = subject.data
    for name, split in data.splits():
        if (split.labels is None) != (data.train.labels is None):
            raise Broken(f"{name} differs from train", remedy="label all splits or none")
        if (labels := split.labels) is None:
            continue
        if labels.shape != (len(split),) or labels.dtype != torch.int64:
            raise Broken(f"{name} labels are {list(labels.shape)} of {labels.dtype}", remedy="give int64 [N]")
        if (classes := sorted(set(labels.tolist()))) != list(range(data.classes)):
            raise Broken(f"{name} has the classes {classes}", remedy=f"split so that each has 0..{data.classes - 1}")


def no_row_is_in_two_splits(subject: Loaded) -> None:
    """No row of one split is a row of another."""
    rows = {name: {row.numpy().tobytes() for row in split.x} for name, split in subject.data.splits()}
    if both := sum(map(len, rows.values())) - len(set.union(*rows.values())):
        raise Broken(f"{both} are", remedy="split first, and leave out what comes twice")


def validation_is_large_enough_to_rank_by(subject: Loaded) -> None:
    """Validation has 300 rows at least: a distance between distributions drifts on fewer. An example may be smaller."""
    if not subject.options and (rows := len(subject.data.validation)) < FEWEST_TO_MEASURE:
        raise Broken(f"it has {rows}", remedy="hold out more")


def it_says_whose_it_is(subject: Loaded) -> None:
    """A data set has the name of its file, a license and a source, and its file says what it is."""
    data = subject.data
    if data.name != subject.name:
        raise Broken(f"its name is {data.name!r}, and that of the file {subject.name!r}", remedy="give both one name")
    for name in ("license", "source"):
        if not getattr(data, name):
            raise Broken(f"the {name} is empty", remedy="state it")
    if not sys.modules[subject.load.__module__].__doc__:
        raise Broken("the file has no docstring", remedy="say there what the rows are, and where they come from")


def its_options_have_names(subject: Loaded) -> None:
    """`load` takes options by name, with defaults but for those that the file's `example` gives."""
    for name, parameter in inspect.signature(subject.load).parameters.items():
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise Broken(f"{name!r} is not an option by name", remedy="write it after `*`")
        if parameter.default is inspect.Parameter.empty and name not in subject.options:
            raise Broken(
                f"{name!r} has no default",
                remedy="give it one, or offer `example(folder)`, which writes files and returns options to read them",
            )
