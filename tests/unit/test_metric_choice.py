"""Which metrics a study is measured by: those that can measure its family on its data, and no others."""

import pytest
import yaml

from hpo import parts, plugins
from hpo.errors import RequestError
from hpo.study import Study


def study(name: str, **changed: object) -> Study:
    return Study(**{**yaml.safe_load(plugins.studies()[name].read_text()), **changed})


@pytest.mark.parametrize(
    ("name", "metrics"),
    [
        ("digits-vae", {"nll", "elbo", "active_units"}),
        ("digits-gan", {"fd_self", "coverage", "authenticity"}),
        ("ring-gan", {"reverse_kl", "modes", "high_quality"}),
    ],
)
def test_a_ready_made_study_fits_and_is_measured_by_what_can_measure_it(name: str, metrics: set[str]) -> None:
    assert set(parts.metric_names(study(name))) == metrics
    assert parts.check(study(name)).name == parts.metric_names(study(name))[0]


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("digits-gan", {"objective": "nll"}, "objective: the metric 'nll' needs a model with a likelihood"),
        ("digits-gan", {"objective": "modes"}, "objective: the metric 'modes' counts the modes of labeled points"),
        ("ring-gan", {"objective": "fd_self"}, "objective: the metric 'fd_self' needs images"),
        ("ring-gan", {"space": {"base": "gan", "architecture": "conv"}}, "'conv' needs square images"),
    ],
)
def test_an_objective_or_a_model_that_does_not_fit_is_refused_before_anything_is_made(
    name: str, changed: dict[str, object], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        parts.check(study(name, **changed))
