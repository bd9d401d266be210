"""Every data set against the laws of data."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from hpo import plugins
from hpo.laws import data
from hpo.laws._law import Law, laws_of
from hpo.laws.data import Loaded, loaded_by
from trainables.data._data import content_hash


@functools.cache
def subject(name: str) -> Loaded:
    return loaded_by(name, plugins.load("data", name), Path(tempfile.mkdtemp(prefix="hpo-example-")))


@pytest.mark.parametrize("name", plugins.names("data"))
@pytest.mark.parametrize("law", laws_of(data), ids=lambda law: law.__name__)
def test_a_data_set_keeps_the_law(law: Law, name: str) -> None:
    law(subject(name))


def test_the_walk_finds_what_there_is() -> None:
    assert {"digits", "ring", "grid"} <= set(plugins.names("data"))


def test_the_hash_changes_with_the_content() -> None:
    changed = plugins.load("data", "digits")()
    changed.train.x[0] += 1
    assert content_hash(dict(changed.splits())) != changed.sha256
