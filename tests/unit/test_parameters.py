"""The three kinds of parameter: what they accept, what they refuse and in which words, what they draw."""

import math
import pickle
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Choice, Float, Int, Parameter, SpaceError

SHARES = st.floats(0.0, 1.0, exclude_max=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 2.0, "high": 1.0, "default": 1.0}, r"low must be below high, got low=2\.0, high=1\.0; swap them"),
        ({"low": 1.0, "high": 1.0, "default": 1.0}, "low must be below high.*write the plain value"),
        ({"low": 0.0, "high": 1.0, "default": 0.5, "log": True}, r"low must be above 0 on a log scale, got low=0\.0"),
        ({"low": 0.0, "high": 1.0, "default": 2.0}, r"default must be a number from 0\.0 to 1\.0, got 2\.0"),
        ({"low": 0.0, "high": 1.0, "default": 0.3, "step": 0.25}, r"default must be 0\.0 plus whole steps of 0\.25"),
        (
            {"low": 0.0, "high": 1.0, "default": 0.0, "step": 0.3},
            r"high must be low plus whole steps.*write high=0\.9$",
        ),
        ({"low": 0.0, "high": 1.0, "default": 0.0, "step": 3.0}, r"high must be low plus whole steps.*at most 1\.0$"),
        ({"low": 0.0, "high": 1.0, "default": 0.0, "step": 0.0}, r"step must be above 0, got step=0\.0"),
        ({"low": 1.0, "high": 2.0, "default": 1.0, "step": 0.5, "log": True}, "log and step exclude each other"),
        ({"low": math.nan, "high": 1.0, "default": 1.0}, "low must be a finite number, got nan"),
        ({"low": 0.0, "high": math.inf, "default": 1.0}, "high must be a finite number, got inf"),
        ({"low": 0.0, "high": 10**400, "default": 1.0}, "high must be a finite number"),
        ({"low": 0.0, "high": 1.0, "default": True}, "default must be a finite number, got True"),
        ({"low": "0", "high": 1.0, "default": 1.0}, "low must be a finite number, got '0'"),
        ({"low": 0.0, "high": 1.0, "default": 0.5, "log": "yes"}, "log must be true or false, got 'yes'"),
        ({"low": 0.0, "high": 1.0, "default": 0.5, "when": "adam"}, "when must map a parameter to a value"),
        ({"low": 0.0, "high": 1.0, "default": 0.5, "when": {"a": []}}, "when must name at least one value of 'a'"),
    ],
)
def test_float_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Float(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"low": 3, "high": 1, "default": 1}, "low must be below high, got low=3, high=1; swap them"),
        ({"low": 1, "high": 1, "default": 1}, "low must be below high.*write the plain value"),
        ({"low": 0, "high": 4, "default": 1, "log": True}, "low must be above 0 on a log scale, got low=0"),
        ({"low": 1, "high": 4, "default": 5}, "default must be a whole number from 1 to 4, got 5"),
        ({"low": 1, "high": 10, "default": 1, "step": 4}, "high must be low plus whole steps.*write high=9$"),
        ({"low": 1, "high": 9, "default": 4, "step": 4}, "default must be 1 plus whole steps of 4, got 4.*below is 1"),
        ({"low": 1, "high": 9, "default": 1, "step": 0}, "step must be above 0, got step=0"),
        ({"low": 1, "high": 9, "default": 1, "step": 4, "log": True}, "log and step exclude each other"),
        ({"low": 1.0, "high": 9, "default": 1}, r"low must be a whole number, got 1\.0; write a whole number or use"),
        ({"low": 0, "high": 9, "default": True}, "default must be a whole number, got True"),
    ],
)
def test_int_refuses(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Int(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "default", "message"),
    [
        ((), "a", "options must be a list with at least one value"),
        ("adam", "a", "options must be a list with at least one value, got 'adam'"),
        (("adam", "sgd"), "adan", r"default must be one of 'adam', 'sgd', got 'adan'.*did you mean 'adam'"),
        ((1, True), 1, "options must differ from one another, got True twice"),
        ((1, 2, 1.0), 1, r"options must differ from one another, got 1\.0 twice"),
        ((1.0, math.nan), 1.0, "a value must be finite, got nan"),
        (("a\x85", "a"), "a", "a text must be printable, got 'a.x85'"),
        (("1e-3", "a"), "a", "a number must not be written as text, got '1e-3'"),
        (((1, 2), (3, 4)), (1, 2), "a value must be a number, a text, true or false"),
        ((1, 2), 1.0, r"default must be one of 1, 2, got 1\.0"),
        ((0, 1), True, "default must be one of 0, 1, got True"),
    ],
)
def test_choice_refuses(options: tuple[object, ...], default: object, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Choice(options, default=default)  # type: ignore[arg-type]


@settings(deadline=None)  # a busy machine is no fault of the parameter
@given(SHARES)
@pytest.mark.parametrize(
    "parameter",
    [
        Float(-1.0, 3.0, default=0.0),
        Float(1e-5, 1e-1, default=1e-3, log=True),
        Float(0.0, 0.5, default=0.1, step=0.1),
        Int(-2, 5, default=0),
        Int(1, 1000, default=1, log=True),
        Int(16, 256, default=32, step=16),
        Choice(("a", 1, 2.5, False), default="a"),
    ],
    ids=str,
)
def test_a_share_of_the_range_is_a_value_of_it(parameter: Parameter, share: float) -> None:
    assert parameter.problem(parameter.at(share)) is None


@pytest.mark.parametrize(
    ("parameter", "half"),
    [
        (Float(0.0, 4.0, default=0.0), 2.0),
        (Float(1e-4, 1e-2, default=1e-3, log=True), 1e-3),
        (Float(0.0, 0.6, default=0.0, step=0.1), 0.3),
        (Int(1, 9, default=1), 5),
        (Int(1, 100, default=1, log=True), round(math.sqrt(0.5 * 100.5))),
        (Int(0, 40, default=0, step=10), 20),
        (Choice(("a", "b", "c"), default="a"), "b"),
    ],
    ids=str,
)
def test_half_of_the_range_lies_below_its_middle(parameter: Parameter, half: float) -> None:
    assert parameter.at(0.5) == pytest.approx(half)


@pytest.mark.parametrize(
    "parameter", [Float(0.0, 0.5, default=0.1, step=0.1), Int(1, 3, default=1), Int(1, 9, default=3, log=True)]
)
def test_both_ends_are_drawn(parameter: Float | Int) -> None:
    drawn = {parameter.at(step / 1000) for step in range(1000)}
    assert {parameter.low, parameter.high} <= drawn


def test_on_a_log_scale_every_whole_number_has_the_share_of_its_neighborhood() -> None:
    drawn = [Int(1, 3, default=1, log=True).at(step / 1000) for step in range(1000)]
    ends = (0.5, 1.5, 2.5, 3.5)
    expected = [math.log(above / below) / math.log(ends[-1] / ends[0]) for below, above in pairwise(ends)]
    assert [drawn.count(value) / 1000 for value in (1, 2, 3)] == pytest.approx(expected, abs=2e-3)


def test_every_option_is_drawn_equally_often() -> None:
    parameter = Choice(("a", "b", "c", "d"), default="a")
    drawn = [parameter.at(step / 1000) for step in range(1000)]
    assert [drawn.count(option) for option in parameter.options] == [250] * 4


def test_a_grid_shows_the_numbers_a_person_would_write() -> None:
    parameter = Float(0.0, 0.5, default=0.0, step=0.1)
    assert sorted({repr(parameter.at(step / 60)) for step in range(60)}) == ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5"]


def test_a_grid_takes_what_binary_arithmetic_makes_of_its_values() -> None:
    assert Float(0.0, 0.5, default=0.0, step=0.1).problem(0.1 + 0.2) is None


@pytest.mark.parametrize(
    ("parameter", "value", "message"),
    [
        (Float(0.0, 1.0, default=0.0), True, "must be a number from"),
        (Float(0.0, 1.0, default=0.0), math.nan, "must be a number from"),
        (Float(0.0, 1.0, default=0.0), "0.5", "must be a number from"),
        (Float(0.0, 1.0, default=0.0, step=0.25), 0.3, "the nearest is 0.25"),
        (Int(0, 4, default=0), 2.0, "must be a whole number from"),
        (Int(0, 4, default=0), True, "must be a whole number from"),
        (Int(0, 4, default=0, step=2), 3, "the one below is 2"),
        (Choice((0, 1), default=0), False, "must be one of 0, 1, got False"),
        (Choice((False, True), default=False), 0, "must be one of False, True, got 0"),
        (Choice((16, 32), default=16), 16.0, "must be one of 16, 32, got 16.0"),
    ],
)
def test_a_foreign_value_is_described(parameter: Parameter, value: object, message: str) -> None:
    problem = parameter.problem(value)
    assert problem is not None
    assert message in problem


def test_whole_numbers_pass_for_numbers() -> None:
    assert Float(0.0, 1.0, default=0).problem(1) is None
    assert Choice((0.0, 0.5), default=0.0).problem(0) is None


def test_bounds_of_a_float_are_floats() -> None:
    parameter = Float(0, 1, default=0, step=1)
    assert [type(value) for value in (parameter.low, parameter.high, parameter.default, parameter.step)] == [float] * 4


def test_the_default_of_a_choice_is_the_option_itself() -> None:
    assert repr(Choice((0.5, 0.0), default=0).default) == "0.0"


def test_one_value_in_a_condition_is_the_same_as_a_list_of_one() -> None:
    alone, listed = (Int(1, 2, default=1, when={"a": values}) for values in ("x", ["x"]))  # type: ignore[dict-item]
    assert alone == listed
    assert hash(alone) == hash(listed)
    assert alone.conditions == {"a": ("x",)}


def test_parameters_travel_between_processes() -> None:
    parameter = Float(0.0, 1.0, default=0.5, when={"a": ("x", "y")})
    assert pickle.loads(pickle.dumps(parameter)) == parameter
