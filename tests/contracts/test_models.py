"""Every family against the laws of models: in each of its architectures, on every kind of data that it takes."""

from __future__ import annotations

import pytest
from walk import by_time, every_subject, families, few_subjects, shipped

from hpo import plugins
from hpo.laws import models, trainings
from hpo.laws._law import Law, NotAsked, laws_of
from hpo.laws._subject import Subject

EVERY = by_time(few_subjects(), every_subject())


@pytest.mark.parametrize("subject", EVERY)
@pytest.mark.parametrize("law", [*laws_of(models), *laws_of(trainings)], ids=lambda law: law.__name__)
def test_a_family_keeps_the_law(law: Law, subject: Subject) -> None:
    try:
        law(subject)
    except NotAsked as reason:
        pytest.skip(str(reason))


def test_every_family_has_a_space_and_takes_some_data() -> None:
    assert {"vae", "gan"} <= set(families())
    assert families() == plugins.names("models")
    assert {subject.family.__module__.rpartition(".")[2] for subject in every_subject()} == set(families())


def test_all_data_are_taken_by_some_family() -> None:
    assert {subject.data.name for subject in every_subject()} == set(shipped())


def test_the_walk_takes_one_subject_of_each_kind() -> None:
    assert set(few_subjects()) <= set(every_subject())
    assert {subject.architecture for subject in few_subjects()} == {subject.architecture for subject in every_subject()}
