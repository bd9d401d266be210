"""A space as a whole: order, conditions, what is drawn from it and what it refuses."""

import builtins
import pickle
import random
from collections.abc import Mapping

import numpy as np
import pytest

from search_spaces import Choice, Entry, Float, Int, Parameter, ParameterValue, Space, SpaceError

NESTED: dict[str, Entry] = {
    "nesterov": Choice((True, False), default=True, when={"momentum_kind": "classic"}),
    "momentum_kind": Choice(("none", "classic"), default="classic", when={"optimizer": ("sgd", "rmsprop")}),
    "optimizer": Choice(("adam", "sgd", "rmsprop"), default="adam"),
    "lr": Float(1e-4, 1e-2, default=1e-3, log=True),
}


class Recorder:
    """A sampler that takes the default of everything but the given values, and keeps what it was asked."""

    def __init__(self, **values: ParameterValue) -> None:
        self.values = values
        self.asked: dict[str, Parameter] = {}

    def float(self, name: str, parameter: Float) -> builtins.float:
        assert isinstance(parameter, Float)
        return builtins.float(self._answer(name, parameter))

    def int(self, name: str, parameter: Int) -> builtins.int:
        assert isinstance(parameter, Int)
        return builtins.int(self._answer(name, parameter))

    def choice(self, name: str, parameter: Choice) -> ParameterValue:
        assert isinstance(parameter, Choice)
        return self._answer(name, parameter)

    def _answer(self, name: str, parameter: Parameter) -> ParameterValue:
        self.asked[name] = parameter
        return self.values.get(name, parameter.default)


def test_parameters_keep_their_order_where_conditions_allow() -> None:
    assert Space("s", NESTED).names() == ("optimizer", "momentum_kind", "nesterov", "lr")


@pytest.mark.parametrize(
    ("given_values", "names"),
    [
        ({}, {"optimizer", "lr"}),
        ({"optimizer": "sgd"}, {"optimizer", "lr", "momentum_kind", "nesterov"}),
        ({"optimizer": "rmsprop", "momentum_kind": "none"}, {"optimizer", "lr", "momentum_kind"}),
        ({"optimizer": "adam", "momentum_kind": "classic"}, {"optimizer", "lr"}),
    ],
)
def test_nested_conditions(given_values: Mapping[str, ParameterValue], names: set[str]) -> None:
    sampler = Recorder(**given_values)
    assert set(Space("s", NESTED).draw(sampler)) == names
    assert set(sampler.asked) == names


def test_all_parents_must_agree() -> None:
    both = Int(1, 2, default=1, when={"a": True, "b": (1, 2)})
    space = Space("s", {"a": Choice((True, False), default=True), "b": Choice((1, 2, 3), default=1), "both": both})
    assert "both" in space.draw(Recorder(a=True, b=2))
    assert "both" not in space.draw(Recorder(a=True, b=3))
    assert "both" not in space.draw(Recorder(a=False, b=2))


def test_a_condition_does_not_take_1_for_true() -> None:
    with pytest.raises(SpaceError, match="when must name values that 'a' can take, got 1; choose from True, False"):
        Space("s", {"a": Choice((True, False), default=True), "b": Int(1, 2, default=1, when={"a": 1})})


def test_a_fixed_value_can_be_a_parent_and_reaches_the_sampler_as_a_choice() -> None:
    space = Space("s", {"optimizer": "sgd", "momentum": Float(0.0, 0.9, default=0.5, when={"optimizer": "sgd"})})
    sampler = Recorder(momentum=0.25)
    assert space.draw(sampler) == {"optimizer": "sgd", "momentum": 0.25}
    assert sampler.asked["optimizer"] == Choice(("sgd",), default="sgd")


def test_equal_seeds_draw_equal_configurations() -> None:
    space = Space("s", NESTED)
    first, second, other = ([space.random(generator) for _ in range(20)] for generator in map(random.Random, (0, 0, 1)))
    assert first == second
    assert first != other


def test_a_numpy_generator_serves_as_well() -> None:
    space = Space("s", NESTED)
    drawn = [space.random(np.random.default_rng(seed)) for seed in range(20)]
    assert {type(params["lr"]) for params in drawn} == {float}
    assert len({params["lr"] for params in drawn}) == 20


@pytest.mark.parametrize(
    ("params", "message", "name"),
    [
        (
            {"optimiser": "adam", "lr": 1e-3},
            r"'optimiser' must be one of space 's'.*did you mean 'optimizer'",
            "optimiser",
        ),
        ({"optimizer": "adam"}, r"'lr' must be given, got none; add it, for example its default 0\.001", "lr"),
        ({"optimizer": "adam", "lr": 1.0}, r"'lr' must be a number from 0\.0001 to 0\.01, got 1\.0", "lr"),
        (
            {"optimizer": "lion", "lr": 1e-3},
            "'optimizer' must be one of 'adam', 'sgd', 'rmsprop', got 'lion'",
            "optimizer",
        ),
        (
            {"optimizer": "adam", "lr": 1e-3, "momentum_kind": "none"},
            "'momentum_kind' must be absent unless 'optimizer' is 'sgd' or 'rmsprop', got 'none'; drop it",
            "momentum_kind",
        ),
    ],
)
def test_check_refuses(params: Mapping[str, ParameterValue], message: str, name: str) -> None:
    with pytest.raises(SpaceError, match=message) as caught:
        Space("s", NESTED).check(params)
    assert caught.value.parameter == name


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "a space must have a parameter, got none in 's'"),
        ({"base": 1}, "a name must be a word.*and not 'base', got 'base'"),
        ({"a.b.c": 1}, r"a name must be a word.*got 'a\.b\.c'"),
        ({"learning rate": 1}, "a name must be a word.*got 'learning rate'"),
        ({3: 1}, "a name must be a word.*got 3"),
        ({"a": [1, 2]}, r"parameter 'a': a value must be a number, a text, true or false, got \[1, 2\]"),
        ({"a": float("inf")}, "parameter 'a': a value must be finite, got inf"),
        ({"a": Int(1, 2, default=1, when={"b": 1})}, "'a': when must name a parameter of the same space, got 'b'"),
        (
            {"a": Int(1, 2, default=1, when={"optimiser": "x"}), "optimizer": "x"},
            "got 'optimiser'.*did you mean 'optimizer'",
        ),
        (
            {"a": Int(1, 2, default=1), "b": Int(1, 2, default=1, when={"a": 1})},
            "'b': when must name a choice or a fixed value, and 'a' is a range; make 'a' a choice",
        ),
        (
            {"a": Choice(("x", "y"), default="x"), "b": Int(1, 2, default=1, when={"a": ("x", "z")})},
            "'b': when must name values that 'a' can take, got 'z'; choose from 'x', 'y'",
        ),
        (
            {"a": Choice((1,), default=1, when={"b": 1}), "b": Choice((1,), default=1, when={"a": 1})},
            "conditions must not form a circle, got a -> b -> a",
        ),
        ({"a": Choice((1,), default=1, when={"a": 1})}, "conditions must not form a circle, got a -> a"),
    ],
)
def test_space_refuses(parameters: dict[str, Entry], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Space("s", parameters)


def test_names_may_carry_a_player() -> None:
    assert Space("s", {"discriminator.lr": 1e-3}).default() == {"discriminator.lr": 1e-3}


def test_blocks_are_put_together_in_order() -> None:
    assert Space.of("s", {"b": 1}, {"a": 2}).default() == {"b": 1, "a": 2}
    assert Space.of("s", {"b": 1}, {"a": 2}).names() == ("b", "a")


def test_blocks_must_not_share_a_name() -> None:
    with pytest.raises(SpaceError, match="blocks must not share a name, got 'a' twice in 's'"):
        Space.of("s", {"a": 1}, {"b": 1}, {"a": 2})


def test_a_space_is_not_changed_through_the_mapping_it_was_made_of() -> None:
    parameters: dict[str, Entry] = {"a": 1}
    space = Space("s", parameters)
    parameters["b"] = 2
    assert space.names() == ("a",)


def test_spaces_travel_between_processes() -> None:
    space = Space("s", NESTED)
    assert pickle.loads(pickle.dumps(space)) == space


def test_the_error_keeps_its_parameter_between_processes() -> None:
    error = pickle.loads(pickle.dumps(SpaceError("rule", parameter="lr")))
    assert (str(error), error.parameter) == ("rule", "lr")
