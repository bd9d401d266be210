"""What every metric keeps, found by walking the folder: a new one is tested by being there."""

import math
from importlib import import_module
from pathlib import Path

import pytest
import torch

import trainables.metrics
from trainables.data import digits
from trainables.data._data import Split
from trainables.metrics._metric import Metric
from trainables.models.vae import Model
from trainables.training.params import Params

NAMES = sorted(path.stem for path in Path(trainables.metrics.__file__).parent.glob("[!_]*.py"))


@pytest.fixture(params=NAMES)
def metric(request: pytest.FixtureRequest) -> Metric:
    built: Metric = import_module(f"trainables.metrics.{request.param}").Metric()
    assert built.name == request.param
    return built


@pytest.fixture(scope="module")
def model() -> Model:
    params = Params({"latent": 2, "width": 8, "depth": 1})
    return Model.build(params, data=digits.load(), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rows() -> Split:
    return digits.load().validation


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_walk_finds_what_there_is() -> None:
    assert {"nll", "elbo"} <= set(NAMES)


def test_it_states_its_direction_and_its_cost(metric: Metric) -> None:
    assert metric.direction in ("minimize", "maximize")
    assert isinstance(metric.each_epoch, bool)
    assert type(metric).__doc__
    assert import_module(type(metric).__module__).__doc__


def test_the_same_noise_gives_the_same_value_and_other_noise_another(metric: Metric, model: Model, rows: Split) -> None:
    torch.manual_seed(0)
    first = metric.measure(model, rows, generator())
    torch.manual_seed(1)
    assert metric.measure(model, rows, generator()) == first
    assert metric.measure(model, rows, generator(1)).value != first.value


def test_the_standard_error_is_over_rows(metric: Metric, model: Model, rows: Split) -> None:
    found = metric.measure(model, rows, generator())
    assert found.sample_size == len(rows)
    assert math.isfinite(found.value)
    parts = [metric.measure(model, Split(x=rows.x[part::10]), generator()).value for part in range(10)]
    spread = float(torch.tensor(parts, dtype=torch.float64).std()) / math.sqrt(10)
    assert found.standard_error == pytest.approx(spread, rel=0.75)


def test_it_changes_neither_model_nor_rows(metric: Metric, model: Model, rows: Split) -> None:
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    before = rows.x.clone()
    metric.measure(model, rows, generator())
    assert torch.equal(rows.x, before)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in weights.items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_its_value_does_not_depend_on_the_order_of_rows_beyond_the_noise(
    metric: Metric, model: Model, rows: Split
) -> None:
    found = metric.measure(model, rows, generator())
    turned = metric.measure(model, Split(x=rows.x.flip(0)), generator())
    assert turned.value == pytest.approx(found.value, abs=found.standard_error)
