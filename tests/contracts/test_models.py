"""What every model family keeps, found by walking the folder: a new one is tested by being there."""

import random
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

import trainables.models
from trainables.data import digits
from trainables.models._family import Family, as_module
from trainables.training.params import Params

FAMILIES = sorted(path.stem for path in Path(trainables.models.__file__).parent.glob("[!_]*.py"))
ROWS = 5


def family(name: str) -> type[Family]:
    found: type[Family] = import_module(f"trainables.models.{name}").Model
    return found


def drawn_params(name: str) -> Params:
    """A draw from the family's own space, at which hardly any parameter is off."""
    return Params(import_module(f"search_spaces.{name}").SPACE.random(random.Random(0)))


def build(name: str, *, seed: int = 0) -> Family:
    generator = torch.Generator().manual_seed(seed)
    model = family(name).build(drawn_params(name), data=digits.load(), generator=generator)
    as_module(model).double()
    return model


def knobs(name: str, *, progress: float = 0.25) -> dict[str, float]:
    return family(name).in_force(family(name).knobs(drawn_params(name)), progress=progress)


def rows(*, begin: int = 0) -> Tensor:
    return digits.load().train.x[begin : begin + ROWS]


def draw(model: Family, player: str, in_force: Mapping[str, float], *, seed: int = 0) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(seed), rows=ROWS, knobs=in_force)
    return {name: tensor.double() for name, tensor in drawn.items()}


WEIGHTS = torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float64)

every_family = pytest.mark.parametrize("name", FAMILIES)
every_player = pytest.mark.parametrize(
    ("name", "player"),
    [(name, player) for name in FAMILIES for player in family(name).players],
)


def test_the_walk_finds_what_there_is() -> None:
    assert "vae" in FAMILIES


@every_family
def test_building_reads_the_structural_parameters_and_nothing_else(name: str) -> None:
    params = drawn_params(name)
    family(name).build(params, data=digits.load(), generator=torch.Generator())
    assert set(params) - set(params.unread()) == set(family(name).structural)


@every_family
def test_knobs_read_no_structural_parameter(name: str) -> None:
    params = drawn_params(name)
    assert family(name).knobs(params)
    assert set(family(name).structural) <= set(params.unread())


@every_family
def test_shapes_depend_on_structural_parameters_alone(name: str) -> None:
    shapes = [
        {key: value.shape for key, value in as_module(build(name, seed=seed)).state_dict().items()} for seed in (0, 1)
    ]
    assert shapes[0] == shapes[1]


@every_family
def test_the_players_own_all_parameters_and_share_none(name: str) -> None:
    module = as_module(build(name))
    owned = [id(p) for player in build(name).players for p in module.get_submodule(player).parameters()]
    assert sorted(owned) == sorted(id(p) for p in module.parameters())
    assert len(owned) == len(set(owned))


@every_family
def test_initial_weights_come_from_the_generator_alone(name: str) -> None:
    torch.manual_seed(0)
    first = as_module(build(name)).state_dict()
    torch.manual_seed(1)
    again, other = as_module(build(name)).state_dict(), as_module(build(name, seed=1)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


@every_player
def test_the_loss_is_a_function_of_its_arguments(name: str, player: str) -> None:
    model, in_force = build(name), knobs(name)
    noise = draw(model, player, in_force)
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(model(player, rows(), noise, in_force, WEIGHTS)[0].detach())
    assert torch.equal(losses[0], losses[1])
    other = model(player, rows(), draw(model, player, in_force, seed=1), in_force, WEIGHTS)[0].detach()
    assert not torch.equal(losses[0], other), "the noise must act"


@every_player
def test_gradients_are_finite_and_reach_every_parameter_of_the_player(name: str, player: str) -> None:
    model, in_force = build(name), knobs(name)
    loss, logs = model(player, rows(), draw(model, player, in_force), in_force, WEIGHTS)
    parameters = list(as_module(model).get_submodule(player).parameters())
    gradients = torch.autograd.grad(loss, parameters)
    assert all(bool(g.isfinite().all()) and bool(g.any()) for g in gradients)
    assert loss.shape == ()
    assert "loss" in logs
    assert all(log.shape == () and not log.requires_grad for log in logs.values())


@every_player
def test_a_row_of_weight_zero_does_not_count(name: str, player: str) -> None:
    model, in_force = build(name), knobs(name)
    noise, half = draw(model, player, in_force), torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
    loss = model(player, rows(), noise, in_force, half)[0].detach()
    first = {key: value[:2] for key, value in noise.items()}
    alone = model(player, rows()[:2], first, in_force, half[:2])[0].detach()
    assert torch.allclose(loss, alone, rtol=1e-12)


@every_player
def test_two_members_in_a_stack_get_what_each_gets_alone(name: str, player: str) -> None:
    members = [build(name, seed=seed) for seed in (0, 1)]
    scalars = [knobs(name, progress=progress) for progress in (0.1, 0.4)]
    xs = torch.stack([rows(), rows(begin=ROWS)])
    noises = [draw(member, player, scalars[0], seed=seed) for seed, member in enumerate(members)]

    def loss(weights: dict[str, Tensor], x: Tensor, noise: dict[str, Tensor], knob: dict[str, Tensor]) -> Tensor:
        total, _ = functional_call(as_module(members[0]), weights, (player, x, noise, knob, WEIGHTS))
        assert isinstance(total, Tensor)
        return total

    weights, buffers = stack_module_state([as_module(member) for member in members])
    noise = {key: torch.stack([drawn[key] for drawn in noises]) for key in noises[0]}
    knob = {key: torch.tensor([own[key] for own in scalars], dtype=torch.float64) for key in scalars[0]}
    stacked = vmap(loss)({**weights, **buffers}, xs, noise, knob)
    gradients = vmap(grad(loss))({**weights, **buffers}, xs, noise, knob)
    for place, member in enumerate(members):
        alone, _ = member(player, xs[place], noises[place], scalars[place], WEIGHTS)
        assert torch.allclose(stacked[place], alone, rtol=1e-12)
        own = dict(as_module(member).named_parameters())
        expected = torch.autograd.grad(alone, list(own.values()), allow_unused=True)
        for key, gradient in zip(own, expected, strict=True):
            if gradient is not None:
                assert torch.allclose(gradients[key][place], gradient, rtol=1e-9, atol=1e-12)


@every_family
def test_weights_survive_a_file(name: str) -> None:
    model, other = build(name), build(name, seed=1)
    as_module(other).load_state_dict(load(save(as_module(model).state_dict())))
    noise = model.draw_samples(torch.Generator().manual_seed(0), rows=ROWS)
    noise = {key: value.double() for key, value in noise.items()}
    assert torch.equal(model.sample(noise), other.sample(noise))


@every_family
def test_samples_have_the_form_of_the_data(name: str) -> None:
    model, data = build(name), digits.load()
    noise = model.draw_samples(torch.Generator().manual_seed(0), rows=ROWS)
    samples = model.sample({key: value.double() for key, value in noise.items()})
    assert samples.shape == (ROWS, *data.shape)
    assert samples.dtype == data.train.x.dtype
    assert data.levels is not None
    assert int(samples.max()) < data.levels


@every_family
def test_annealed_knobs_are_a_pure_function_of_progress(name: str) -> None:
    model = build(name)
    constant = model.knobs(drawn_params(name))
    before = dict(constant)
    values = [model.in_force(constant, progress=progress) for progress in (0.0, 0.3, 1.0, 0.3)]
    assert constant == before
    assert values[1] == values[3]
    assert {player: model.paces(constant)[player] >= 1 for player in model.players} == dict.fromkeys(
        model.players, True
    )
