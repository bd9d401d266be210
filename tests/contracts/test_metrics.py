"""Every metric against the laws of metrics: on rows under noise, and of a model what needs one.

On the first data and model that it does not refuse; on all of them in the slow suite.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import pytest
from walk import every_subject, few_subjects, kinds_of_data, loaded

from hpo import plugins
from hpo.laws import metrics
from hpo.laws._law import Law, NotAsked, laws_of
from hpo.laws._measured import Measured, first_measured, on_model, on_rows

NAMES = plugins.names("metrics")
LAWS = [law for law in laws_of(metrics) if law is not metrics.it_refuses_in_words]
every_name = pytest.mark.parametrize("name", NAMES)
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)


@functools.cache
def of_rows(name: str) -> tuple[Measured, ...]:
    """The metric on rows under noise, for each kind of data."""
    return tuple(on_rows(name, plugins.load("metrics", name), map(loaded, kinds_of_data())))


@functools.cache
def of_models(name: str) -> tuple[Measured, ...]:
    """The metric on a model of each family and architecture, for each kind of data."""
    metric = plugins.load("metrics", name)
    return tuple(on_model(name, metric, subject, loaded(subject.data.name)) for subject in few_subjects())


@functools.cache
def first(candidates: Callable[[str], tuple[Measured, ...]], name: str) -> Measured | None:
    return first_measured(candidates(name))


def hold(law: Law, subject: Measured | None) -> None:
    if subject is None:
        pytest.skip("it measures none of these")
    try:
        law(subject)
    except NotAsked as reason:
        pytest.skip(str(reason))


@every_name
@every_law
def test_a_metric_keeps_the_law(law: Law, name: str) -> None:
    hold(law, first(of_rows, name) or first(of_models, name))


@every_name
@pytest.mark.parametrize("law", metrics.OF_MODELS, ids=lambda law: law.__name__)
def test_a_metric_of_a_model_keeps_the_law(law: Law, name: str) -> None:
    hold(law, first(of_models, name))


@pytest.mark.slow
@every_name
@every_law
def test_a_metric_keeps_the_law_wherever_it_measures(law: Law, name: str) -> None:
    for subject in (*of_rows(name), *of_models(name)):
        if subject.refusal is None:
            try:
                law(subject)
            except NotAsked:
                continue
            except AssertionError as error:
                raise AssertionError(f"{subject}: {error}") from error


@every_name
def test_a_metric_refuses_in_words(name: str) -> None:
    for subject in refused(name):
        metrics.it_refuses_in_words(subject)


@every_name
def test_a_metric_measures_something(name: str) -> None:
    assert first(of_rows, name) or first(of_models, name)


def refused(name: str) -> Iterator[Measured]:
    """What it says beforehand that it refuses."""
    return (subject for subject in of_models(name) if subject.refuses_beforehand is not None)


def test_the_walk_finds_what_there_is() -> None:
    assert {"nll", "elbo", "fd_self", "modes", "reverse_kl", "high_quality"} <= set(NAMES)
    assert {subject.data.name for subject in few_subjects()} <= {subject.data.name for subject in every_subject()}
