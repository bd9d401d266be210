"""What every metric keeps, found by walking the folder: a new one is tested by being there.

A metric is tried on every family and data set that it does not refuse.
"""

import functools
import math
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch

import trainables.metrics
from trainables.data._data import Data, Split
from trainables.metrics._metric import Metric, prepare, refusal
from trainables.models._family import Family, as_module
from trainables.training.params import Params

NAMES = sorted(path.stem for path in Path(trainables.metrics.__file__).parent.glob("[!_]*.py"))
# Small models: what is measured is not whether they are good.
SIZES: dict[str, dict[str, str | int]] = {
    "vae": {"latent": 2, "width": 8, "depth": 1},
    "gan": {"architecture": "mlp", "latent": 2, "width": 8, "depth": 1},
}
SUBJECTS = (("vae", "digits"), ("gan", "digits"), ("gan", "ring"))


def metric_class(name: str) -> type[Metric]:
    found: type[Metric] = import_module(f"trainables.metrics.{name}").Metric
    return found


def family(name: str) -> type[Family]:
    found: type[Family] = import_module(f"trainables.models.{name}").Model
    return found


@functools.cache
def loaded(name: str) -> Data:
    data: Data = import_module(f"trainables.data.{name}").load()
    return data


@dataclass(frozen=True)
class Case:
    """A metric, the family of a model, and the data that it models."""

    metric: str
    model: str
    data: str

    def __str__(self) -> str:
        return f"{self.metric}-{self.model}-{self.data}"

    @property
    def refusal(self) -> str | None:
        return refusal(metric_class(self.metric), family(self.model), loaded(self.data))


EVERY = [Case(name, *subject) for name in NAMES for subject in SUBJECTS]
every_case = pytest.mark.parametrize("case", [case for case in EVERY if case.refusal is None], ids=str)
every_refused = pytest.mark.parametrize("case", [case for case in EVERY if case.refusal is not None], ids=str)
every_name = pytest.mark.parametrize("name", NAMES)


def ready(case: Case) -> Metric:
    metric = metric_class(case.metric)()
    prepare(metric, loaded(case.data))
    return metric


@functools.cache
def model(case: Case) -> Family:
    generator = torch.Generator().manual_seed(0)
    built = family(case.model).build(Params(SIZES[case.model]), data=loaded(case.data), generator=generator)
    if case.data == "ring":
        # Spread as far as the ring.
        with torch.no_grad():
            for parameter in as_module(built).parameters():
                parameter.mul_(2.5)
    return built


@functools.cache
def rows(case: Case) -> Split:
    split = loaded(case.data).validation
    if case.data == "ring":
        # So wide modes that an untrained model hits some of them.
        return Split(x=split.x + 0.1 * torch.randn(split.x.shape, generator=generator()), labels=split.labels)
    return split


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_walk_finds_what_there_is() -> None:
    assert {"nll", "elbo", "fd_self", "modes", "reverse_kl", "high_quality"} <= set(NAMES)


@every_name
def test_it_is_named_for_its_file_and_states_its_direction_and_its_cost(name: str) -> None:
    metric = metric_class(name)()
    assert metric.name == name
    assert metric.direction in ("minimize", "maximize")
    assert isinstance(metric.each_epoch, bool)
    assert type(metric).__doc__
    assert import_module(type(metric).__module__).__doc__


@every_name
def test_it_can_measure_something(name: str) -> None:
    assert any(case.refusal is None for case in EVERY if case.metric == name)


@every_refused
def test_what_it_refuses_it_does_not_measure(case: Case) -> None:
    assert f"the metric {case.metric!r} " in str(case.refusal)
    assert ": choose another metric" in str(case.refusal)
    with pytest.raises(ValueError, match=f"the metric '{case.metric}'"):
        ready(case).measure(model(case), rows(case), generator())


@every_case
def test_the_same_noise_gives_the_same_value_and_other_noise_another(case: Case) -> None:
    metric = ready(case)
    torch.manual_seed(0)
    first = metric.measure(model(case), rows(case), generator())
    torch.manual_seed(1)
    assert ready(case).measure(model(case), rows(case), generator()) == first
    others = [metric.measure(model(case), rows(case), generator(seed)).value for seed in range(1, 6)]
    # The number of modes is a whole one, and five draws may hit as many.
    assert any(other != first.value for other in others) or float(first.value).is_integer()


@every_case
def test_the_standard_error_is_the_spread_over_draws_of_what_is_drawn(case: Case) -> None:
    metric, subject = ready(case), model(case)
    found = metric.measure(subject, rows(case), generator())
    assert math.isfinite(found.value)
    if case.metric in ("nll", "elbo"):  # means over rows, and the rows are the sample
        assert found.sample_size == len(rows(case))
        parts = [metric.measure(subject, Split(x=rows(case).x[part::10]), generator()).value for part in range(10)]
        spread = float(torch.tensor(parts, dtype=torch.float64).std()) / math.sqrt(10)
    else:
        parts = [metric.measure(subject, rows(case), generator(seed)).value for seed in range(12)]
        spread = float(torch.tensor(parts, dtype=torch.float64).std())
    assert found.standard_error == pytest.approx(spread, rel=0.75, abs=0.0 if case.metric != "modes" else 0.75)


@every_case
def test_it_changes_neither_model_nor_rows(case: Case) -> None:
    module, before = as_module(model(case)), rows(case).x.clone()
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    ready(case).measure(model(case), rows(case), generator())
    assert torch.equal(rows(case).x, before)
    assert all(torch.equal(module.state_dict()[name], tensor) for name, tensor in weights.items())
    assert all(parameter.grad is None for parameter in module.parameters())


@every_case
def test_it_leaves_the_global_generator_alone(case: Case) -> None:
    state = torch.get_rng_state()
    ready(case).measure(model(case), rows(case), generator())
    assert torch.equal(torch.get_rng_state(), state)


@every_case
def test_its_value_does_not_depend_on_the_order_of_rows_beyond_the_noise(case: Case) -> None:
    metric, split = ready(case), rows(case)
    found = metric.measure(model(case), split, generator())
    labels = None if split.labels is None else split.labels.flip(0)
    turned = metric.measure(model(case), Split(x=split.x.flip(0), labels=labels), generator())
    assert turned.value == pytest.approx(found.value, abs=found.standard_error)
