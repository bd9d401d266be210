"""What there is to hold against the laws, found by walking the folders: a new plug-in is tested by being there."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence

import pytest

from hpo import plugins
from hpo.laws._subject import Subject, subjects
from hpo.laws.data import example_of
from hpo.parts import data_of, space_of
from hpo.study import Study
from search_spaces import Choice, Float, Int, ParameterValue, Space
from trainables.data._data import Data
from trainables.models._family import Family

# What a structural number is halved to where its space begins above: what is measured is not whether networks are good.
SMALL = 8


def family(name: str) -> type[Family]:
    found: type[Family] = plugins.load("models", name)
    return found


@functools.cache
def loaded(name: str) -> Data:
    data: Data = plugins.load("data", name)()
    return data


def shipped() -> list[str]:
    """The data sets that need no files of the user's; of a loader's example the models would learn nothing new."""
    return [name for name in plugins.names("data") if example_of(plugins.load("data", name)) is None]


def families() -> list[str]:
    """The families that have a space; a test asks that all have."""
    return [name for name in plugins.names("models") if name in plugins.names("spaces")]


@functools.cache
def every_subject() -> tuple[Subject, ...]:
    """Every family, in each of its architectures, on all data that it does not refuse.

    Then the ready studies that add a parameter to their family's space, such as an augmentation.
    """
    whole = [
        subject
        for name in families()
        for data in shipped()
        for subject in subjects(name, family(name), loaded(data), widened(name), size=_small)
    ]
    added = [
        subject
        for study in studies()
        if _adds(study)
        for subject in subjects(study.name, family(study.model), data_of(study), space_of(study), size=_small)
    ]
    return (*whole, *added)


@functools.cache
def few_subjects() -> tuple[Subject, ...]:
    """Of every family and architecture, the one with the smallest rows for each kind of data."""
    found: dict[object, Subject] = {}
    for subject in sorted(every_subject(), key=lambda subject: subject.data.train.x[0].numel()):
        found.setdefault((subject.name, subject.architecture, kind(subject.data)), subject)
    return tuple(found.values())


def kinds_of_data() -> list[str]:
    """Of each kind of data, those with the smallest rows."""
    found: dict[object, str] = {}
    for name in sorted(shipped(), key=lambda name: loaded(name).train.x[0].numel()):
        found.setdefault(kind(loaded(name)), name)
    return list(found.values())


def kind(data: Data) -> tuple[object, ...]:
    """Data of one kind ask the same of a family: images, series or points, with levels and labels or without."""
    return data.modality, len(data.shape), data.levels is None, data.train.labels is None


def by_time(few: Sequence[object], every: Sequence[object]) -> list[object]:
    """The parameters of a test: those of the fast suite, and the others marked slow."""
    return [pytest.param(item, marks=() if item in few else pytest.mark.slow, id=str(item)) for item in every]


@functools.cache
def studies() -> tuple[Study, ...]:
    """The ready studies."""
    return tuple(Study.load(str(path)) for path in plugins.studies().values())


def widened(name: str) -> Space:
    """The space of the family, with every architecture that a ready study takes, and a yes for every no.

    A study that adds a parameter is tried by itself, with the sizes that it has for its architecture.
    """
    own: Space = plugins.load("spaces", name)
    written = [space_of(study) for study in studies() if study.model == name and not _adds(study)]
    entries = dict(own.parameters)
    for parameter, entry in own.parameters.items():
        if isinstance(entry, Float | Int | Choice):
            continue
        others = [True, False] if isinstance(entry, bool) else []
        if parameter in family(name).structural:
            others += [other for space in written for other in _fixed(space, parameter) if isinstance(other, str)]
        if options := tuple(dict.fromkeys([entry, *others]))[1:]:
            entries[parameter] = Choice((entry, *options), default=entry)
    return Space(own.name, entries)


def _adds(study: Study) -> bool:
    """Whether a study has a parameter that the space of its family has not."""
    return not set(space_of(study).parameters) <= set(plugins.load("spaces", study.model).parameters)


def _fixed(space: Space, name: str) -> Iterable[ParameterValue]:
    entry = space.parameters.get(name)
    return () if entry is None or isinstance(entry, Float | Int | Choice) else (entry,)


def _small(value: int) -> int:
    while value > SMALL:
        value //= 2
    return value
