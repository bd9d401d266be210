"""What every model family keeps, found by walking the folder: a new one is tested by being there.

A family is tried on every data set that it does not refuse, and on every architecture that its space could be set to.
"""

import functools
import random
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor
from torch.func import functional_call, grad, stack_module_state, vmap

import trainables.data
import trainables.models
from search_spaces import Space
from trainables.data._data import Data
from trainables.models._family import Family, as_module
from trainables.training.params import Params

FAMILIES = sorted(path.stem for path in Path(trainables.models.__file__).parent.glob("[!_]*.py"))
DATA = sorted(path.stem for path in Path(trainables.data.__file__).parent.glob("[!_]*.py"))
# What a study may set in a family's space, tried beside the space as it stands.
CHANGES: dict[str, list[dict[str, object]]] = {"gan": [{"architecture": "conv", "width": 4}]}
ROWS = 5


@dataclass(frozen=True)
class Case:
    """A family on one data set, at a draw from its own space, at which hardly any parameter is off."""

    name: str
    data_name: str
    change: int | None = None

    def __str__(self) -> str:
        return "-".join([self.name, self.data_name, *(["changed"] if self.change is not None else [])])

    @property
    def family(self) -> type[Family]:
        found: type[Family] = import_module(f"trainables.models.{self.name}").Model
        return found

    @property
    def data(self) -> Data:
        return loaded(self.data_name)

    @property
    def params(self) -> Params:
        space = import_module(f"search_spaces.{self.name}").SPACE
        if self.change is not None:
            space = Space.from_mapping(CHANGES[self.name][self.change], name=self.name, base=space)
        return Params(space.random(random.Random(0)))

    @property
    def knobs(self) -> dict[str, float]:
        """Every technique on, whatever was drawn."""
        drawn = self.family.knobs(self.params)
        return {name: value or DRAWN_OFF.get(name, 0.0) for name, value in drawn.items()}

    def in_force(self, *, progress: float = 0.25) -> dict[str, float]:
        return self.family.in_force(self.knobs, progress=progress)

    def build(self, *, seed: int = 0) -> Family:
        model = self.family.build(self.params, data=self.data, generator=torch.Generator().manual_seed(seed))
        as_module(model).double()
        return model

    def rows(self, *, begin: int = 0) -> Tensor:
        return self.data.train.x[begin : begin + ROWS]


# Values in place of a zero that the draw may hold.
DRAWN_OFF = {"dropout": 0.2, "r1": 0.5, "beta": 0.5, "free_bits": 0.1, "kl_warmup": 0.3}


@functools.cache
def loaded(name: str) -> Data:
    data: Data = import_module(f"trainables.data.{name}").load()
    return data


def modelled(case: Case) -> bool:
    """Whether the family takes the data; one that refuses names the data."""
    try:
        case.build()
    except ValueError as error:
        if repr(case.data_name) not in str(error):
            raise
        return False
    return True


def possible() -> list[Case]:
    every = [
        Case(name, data, change)
        for name in FAMILIES
        for data in DATA
        for change in [None, *range(len(CHANGES.get(name, ())))]
    ]
    return [case for case in every if modelled(case)]


CASES = possible()


def draw(model: Family, player: str, in_force: Mapping[str, float], *, seed: int = 0) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(seed), rows=ROWS, knobs=in_force)
    return {name: tensor.double() for name, tensor in drawn.items()}


WEIGHTS = torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float64)

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_player = pytest.mark.parametrize(
    ("case", "player"),
    [(case, player) for case in CASES for player in case.family.players],
    ids=str,
)


def test_the_walk_finds_what_there_is() -> None:
    assert {"vae", "gan"} <= set(FAMILIES)
    assert {"vae-digits", "gan-digits", "gan-digits-changed", "gan-ring"} <= set(map(str, CASES))


def test_every_family_takes_some_data() -> None:
    assert {case.name for case in CASES} == set(FAMILIES)


@every_case
def test_building_reads_the_structural_parameters_and_nothing_else(case: Case) -> None:
    params = case.params
    case.family.build(params, data=case.data, generator=torch.Generator())
    # One that the draw does not hold hangs on another: a convolutional pair has no depth.
    assert set(params) - set(params.unread()) == set(case.family.structural) & set(params)


@every_case
def test_knobs_read_no_structural_parameter(case: Case) -> None:
    params = case.params
    assert case.family.knobs(params)
    assert set(case.family.structural) & set(params) <= set(params.unread())


@every_case
def test_shapes_depend_on_structural_parameters_alone(case: Case) -> None:
    shapes = [
        {key: value.shape for key, value in as_module(case.build(seed=seed)).state_dict().items()} for seed in (0, 1)
    ]
    assert shapes[0] == shapes[1]


@every_case
def test_the_players_own_all_parameters_and_share_none(case: Case) -> None:
    module = as_module(case.build())
    owned = [id(p) for player in case.build().players for p in module.get_submodule(player).parameters()]
    assert sorted(owned) == sorted(id(p) for p in module.parameters())
    assert len(owned) == len(set(owned))


@every_case
def test_initial_weights_come_from_the_generator_alone(case: Case) -> None:
    torch.manual_seed(0)
    first = as_module(case.build()).state_dict()
    torch.manual_seed(1)
    again, other = as_module(case.build()).state_dict(), as_module(case.build(seed=1)).state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


@every_player
def test_the_loss_is_a_function_of_its_arguments(case: Case, player: str) -> None:
    model, in_force = case.build(), case.in_force()
    noise = draw(model, player, in_force)
    losses = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        losses.append(model(player, case.rows(), noise, in_force, WEIGHTS)[0].detach())
    assert torch.equal(losses[0], losses[1])
    other = model(player, case.rows(), draw(model, player, in_force, seed=1), in_force, WEIGHTS)[0].detach()
    assert not torch.equal(losses[0], other), "the noise must act"


@every_player
def test_gradients_are_finite_and_reach_every_parameter_of_the_player(case: Case, player: str) -> None:
    model, in_force = case.build(), case.in_force()
    parameters = list(as_module(model).get_submodule(player).parameters())
    reached = [False] * len(parameters)
    # At small weights a hinge is as steep for reals as for fakes, so nothing moves the last bias: hence four scales.
    for _ in range(4):
        loss, logs = model(player, case.rows(), draw(model, player, in_force), in_force, WEIGHTS)
        gradients = torch.autograd.grad(loss, parameters)
        assert all(bool(gradient.isfinite().all()) for gradient in gradients)
        reached = [before or bool(gradient.any()) for before, gradient in zip(reached, gradients, strict=True)]
        with torch.no_grad():
            for parameter in as_module(model).parameters():
                parameter.mul_(1.5)
    assert all(reached)
    assert loss.shape == ()
    assert "loss" in logs
    assert all(log.shape == () and not log.requires_grad for log in logs.values())


@every_player
def test_a_row_of_weight_zero_does_not_count(case: Case, player: str) -> None:
    model, in_force = case.build(), case.in_force()
    noise, half = draw(model, player, in_force), torch.tensor([0.5, 0.5, 0.0, 0.0, 0.0], dtype=torch.float64)
    loss = model(player, case.rows(), noise, in_force, half)[0].detach()
    first = {key: value[:2] for key, value in noise.items()}
    alone = model(player, case.rows()[:2], first, in_force, half[:2])[0].detach()
    assert torch.allclose(loss, alone, rtol=1e-12)


@every_player
def test_two_members_in_a_stack_get_what_each_gets_alone(case: Case, player: str) -> None:
    members = [case.build(seed=seed) for seed in (0, 1)]
    scalars = [case.in_force(progress=progress) for progress in (0.1, 0.4)]
    xs = torch.stack([case.rows(), case.rows(begin=ROWS)])
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


@every_case
def test_weights_survive_a_file(case: Case) -> None:
    model, other = case.build(), case.build(seed=1)
    as_module(other).load_state_dict(load(save(as_module(model).state_dict())))
    noise = model.draw_samples(torch.Generator().manual_seed(0), rows=ROWS)
    noise = {key: value.double() for key, value in noise.items()}
    assert torch.equal(model.sample(noise), other.sample(noise))


@every_case
def test_samples_have_the_form_of_the_data(case: Case) -> None:
    model, data = case.build(), case.data
    noise = model.draw_samples(torch.Generator().manual_seed(0), rows=ROWS)
    samples = model.sample({key: value.double() for key, value in noise.items()})
    assert samples.shape == (ROWS, *data.shape)
    assert samples.dtype == data.train.x.dtype
    assert data.levels is None or int(samples.max()) < data.levels


@every_player
def test_a_member_that_leaves_a_technique_out_is_as_alone_beside_one_that_uses_it(case: Case, player: str) -> None:
    """Its knobs are zero tensors then, and the noise that it did not draw is zeros."""
    model, full = case.build(), case.in_force()
    off = {name: 0.0 if name in DRAWN_OFF else value for name, value in full.items()}
    own, others = draw(model, player, off), draw(model, player, full)
    alone = model(player, case.rows(), own, off, WEIGHTS)[0].detach()
    noise = {name: own.get(name, torch.zeros_like(other)) for name, other in others.items()}
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in off.items()}
    beside = model(player, case.rows(), noise, tensors, WEIGHTS)[0].detach()
    assert torch.allclose(beside, alone, rtol=1e-12)


@every_case
def test_what_it_says_of_itself_is_of_its_players(case: Case) -> None:
    assert set(case.family.averaged) <= set(case.family.players)
    assert isinstance(case.family.stacks, bool)
    assert not (case.family.stacks and list(as_module(case.build()).buffers())), "buffers cannot be stacked"


@every_case
def test_annealed_knobs_are_a_pure_function_of_progress(case: Case) -> None:
    model = case.build()
    constant = model.knobs(case.params)
    before = dict(constant)
    values = [model.in_force(constant, progress=progress) for progress in (0.0, 0.3, 1.0, 0.3)]
    assert constant == before
    assert values[1] == values[3]
    assert {player: model.paces(constant)[player] >= 1 for player in model.players} == dict.fromkeys(
        model.players, True
    )
