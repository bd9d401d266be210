"""The kinds of parameter: a range of numbers, a range of whole numbers, a choice. Each checks itself when it is made.

Lowest file of search_spaces; like the whole package it uses the standard library only.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from decimal import Decimal
from difflib import get_close_matches
from typing import TypeAlias

ParameterValue: TypeAlias = bool | int | float | str
When: TypeAlias = Mapping[str, ParameterValue | tuple[ParameterValue, ...]]

# What a reader takes for a number though YAML 1.1 takes it for text: `1e-4` has no dot, and PyYAML hands on a string.
_NUMBER_AS_TEXT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")


class SpaceError(ValueError):
    """A space, or a set of values for one, breaks a rule. `parameter` is the name at fault, where one is."""

    def __init__(self, message: str, *, parameter: str | None = None) -> None:
        super().__init__(message)
        self.parameter = parameter


@dataclass(frozen=True)
class _Conditional:
    """What the three kinds share: the condition under which the parameter is there at all."""

    # Mappings have no hash; leaving this one out keeps equal parameters at equal hashes.
    when: When | None = field(default=None, kw_only=True, hash=False)

    @property
    def conditions(self) -> dict[str, tuple[ParameterValue, ...]]:
        """Parent -> the values under which this parameter is there; all parents must agree. Empty: always there."""
        return {name: value if isinstance(value, tuple) else (value,) for name, value in (self.when or {}).items()}


@dataclass(frozen=True)
class Float(_Conditional):
    """A number in [low, high], both included; uniform in its logarithm with `log`, on a grid from `low` with `step`."""

    low: float
    high: float
    _: KW_ONLY
    default: float
    log: bool = False
    step: float | None = None

    def __post_init__(self) -> None:
        step = None if self.step is None else _number("step", self.step)
        _replace(self, low=_number("low", self.low), high=_number("high", self.high), step=step)
        _replace(self, default=_number("default", self.default), when=_normalized(self.when))
        _check_range(self.low, self.high, log=self.log, step=step)
        if self.log and step is not None:
            raise SpaceError(f"log and step exclude each other, got log=True with step={step}; leave one of them out")
        _check_default(self.problem(self.default))

    def problem(self, value: object) -> str | None:
        """Why `value` is not one of this parameter's, or None. Whole numbers are numbers, true and false are not."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return f"must be a number from {self.low} to {self.high}, got {value!r}; choose one in that range"
        if self.step is None:
            return None
        nearest = self._on_grid(round((value - self.low) / self.step))
        if abs(value - nearest) > 1e-8 * self.step:  # Optuna's tolerance, so that whatever it proposes passes here
            return f"must be {self.low} plus whole steps of {self.step}, got {value!r}; the nearest is {nearest}"
        return None

    def at(self, share: float) -> float:
        """The value below which a share in [0, 1) of the range lies: a uniform share gives a random value."""
        if self.log:
            low, high = math.log(self.low), math.log(self.high)
            return min(max(math.exp(low + share * (high - low)), self.low), self.high)
        if self.step is None:
            return min(self.low + share * (self.high - self.low), self.high)
        count = round((self.high - self.low) / self.step) + 1
        return self._on_grid(min(int(share * count), count - 1))

    def _on_grid(self, index: int) -> float:
        # In decimals, because 0.1 + 2 * 0.1 is not 0.3 in binary, and a value is shown to people.
        return float(Decimal(str(self.low)) + index * Decimal(str(self.step)))


@dataclass(frozen=True)
class Int(_Conditional):
    """A whole number in [low, high], both included; by size with `log`, on a grid from `low` with `step`."""

    low: int
    high: int
    _: KW_ONLY
    default: int
    log: bool = False
    step: int = 1

    def __post_init__(self) -> None:
        for name, value in (("low", self.low), ("high", self.high), ("default", self.default), ("step", self.step)):
            if isinstance(value, bool) or not isinstance(value, int):
                raise SpaceError(f"{name} must be a whole number, got {value!r}; write a whole number or use Float")
        _replace(self, when=_normalized(self.when))
        _check_range(self.low, self.high, log=self.log, step=self.step)
        if self.log and self.step != 1:
            raise SpaceError(f"log and step exclude each other, got log=True with step={self.step}; leave one out")
        _check_default(self.problem(self.default))

    def problem(self, value: object) -> str | None:
        """Why `value` is not one of this parameter's, or None. 2.0 is not a whole number, nor is true."""
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            return f"must be a whole number from {self.low} to {self.high}, got {value!r}; choose one in that range"
        excess = (value - self.low) % self.step
        if excess:
            return (
                f"must be {self.low} plus whole steps of {self.step}, got {value!r}; the one below is {value - excess}"
            )
        return None

    def at(self, share: float) -> int:
        """The value below which a share in [0, 1) of the range lies: a uniform share gives a random value."""
        if self.log:
            # Half a unit on either side gives the two ends their full share, as in Optuna.
            low, high = math.log(self.low - 0.5), math.log(self.high + 0.5)
            return min(max(round(math.exp(low + share * (high - low))), self.low), self.high)
        count = (self.high - self.low) // self.step + 1
        return self.low + self.step * min(int(share * count), count - 1)


@dataclass(frozen=True)
class Choice(_Conditional):
    """One of `options`, which have no order. The only kind other parameters can depend on."""

    options: tuple[ParameterValue, ...]
    _: KW_ONLY
    default: ParameterValue

    def __post_init__(self) -> None:
        if isinstance(self.options, str) or not isinstance(self.options, tuple | list) or not self.options:
            raise SpaceError(f"options must be a list with at least one value, got {self.options!r}; write [a, b, ...]")
        options = tuple(checked_value(option) for option in self.options)
        for position, option in enumerate(options):
            # True == 1 == 1.0: a record could not tell them apart, so no two of them stand in one choice.
            if option in options[:position]:
                raise SpaceError(f"options must differ from one another, got {option!r} twice; leave one of them out")
        _replace(self, options=options, when=_normalized(self.when))
        _check_default(self.problem(self.default))
        # The option itself and not its equal: a default of 0 for the option 0.0 is recorded as 0.0.
        _replace(self, default=next(option for option in options if same(option, self.default)))

    def problem(self, value: object) -> str | None:
        """Why `value` is not one of the options, or None. 1 passes for the option 1.0, but 1.0 not for 1."""
        for option in self.options:
            if same(value, option) and not (isinstance(value, float) and isinstance(option, int)):
                return None
        listed = ", ".join(repr(option) for option in self.options)
        return f"must be one of {listed}, got {value!r}; choose one of them{nearest(value, self.options)}"

    def at(self, share: float) -> ParameterValue:
        """The option at a share in [0, 1) of the list: a uniform share gives a random one."""
        return self.options[min(int(share * len(self.options)), len(self.options) - 1)]


Parameter: TypeAlias = Float | Int | Choice
Entry: TypeAlias = Parameter | ParameterValue


def as_parameter(entry: Entry) -> Parameter:
    """The entry itself, or a fixed value as a choice with a single option."""
    return entry if isinstance(entry, Float | Int | Choice) else Choice((entry,), default=entry)


def checked_value(value: object) -> ParameterValue:
    """The value, when it is one that a parameter can take: true, false, a finite number, or printable text."""
    if isinstance(value, bool | int | float):
        if not _is_finite(value):
            raise SpaceError(f"a value must be finite, got {value!r}; write a finite number")
        return value
    if not isinstance(value, str):
        raise SpaceError(f"a value must be a number, a text, true or false, got {value!r}; write one of these")
    if not value.isprintable():  # what YAML, a terminal or a table would change
        raise SpaceError(f"a text must be printable, got {value!r}; leave line breaks and control characters out")
    if _NUMBER_AS_TEXT.fullmatch(value):
        raise SpaceError(f"a number must not be written as text, got {value!r}; write it without quotes")
    return value


def number_from_text(value: object) -> object:
    """The number that a text such as `1e-4` stands for; anything else unchanged."""
    if isinstance(value, str) and _NUMBER_AS_TEXT.fullmatch(value):
        return float(value) if any(mark in value for mark in ".eE") else int(value)
    return value


def same(first: object, second: object) -> bool:
    """Whether two values are equal as parameters: 1 is 1.0, but true is not 1."""
    return isinstance(first, bool) == isinstance(second, bool) and first == second


def nearest(word: object, known: object) -> str:
    """` (did you mean 'x'?)` when one of the known words is spelled like it, or nothing."""
    words = [item for item in known if isinstance(item, str)] if isinstance(known, tuple | list | Mapping) else []
    found = get_close_matches(word, words, n=1) if isinstance(word, str) else []
    return f" (did you mean {found[0]!r}?)" if found else ""


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond the range of floats
        return False


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
        raise SpaceError(f"{name} must be a finite number, got {value!r}; write a finite number")
    return float(value)


def _check_range(low: float, high: float, *, log: object, step: float | None) -> None:
    if not isinstance(log, bool):
        raise SpaceError(f"log must be true or false, got {log!r}; write true or false")
    if low > high:
        raise SpaceError(f"low must be below high, got low={low}, high={high}; swap them")
    if low == high:
        raise SpaceError(f"low must be below high, got low={low}, high={high}; write the plain value to fix it")
    if log and low <= 0:
        raise SpaceError(f"low must be above 0 on a log scale, got low={low}; raise it or leave log out")
    if step is None:
        return
    if step <= 0:
        raise SpaceError(f"step must be above 0, got step={step}; write a positive step or leave it out")
    # Optuna would lower `high` by itself. A bound that is never reached is a mistake we would rather show.
    excess = (Decimal(str(high)) - Decimal(str(low))) % Decimal(str(step))
    if excess:
        last = type(high)(Decimal(str(high)) - excess)
        remedy = f"write high={last}" if last > low else f"write a step of at most {high - low}"
        raise SpaceError(f"high must be low plus whole steps, got low={low}, high={high}, step={step}; {remedy}")


def _check_default(problem: str | None) -> None:
    if problem is not None:
        raise SpaceError(f"default {problem}")


def _normalized(when: object) -> dict[str, tuple[ParameterValue, ...]] | None:
    """`when` with every condition as a tuple of values, so that equal conditions compare equal."""
    if when is None:
        return None
    if not isinstance(when, Mapping):
        raise SpaceError(f"when must map a parameter to a value or several, got {when!r}; write {{parameter: value}}")
    conditions: dict[str, tuple[ParameterValue, ...]] = {}
    for parent, values in when.items():
        listed = tuple(values) if isinstance(values, tuple | list) else (values,)
        if not listed:
            raise SpaceError(f"when must name at least one value of {parent!r}, got none; add one or leave it out")
        conditions[parent] = tuple(checked_value(value) for value in listed)
    return conditions or None


def _replace(parameter: Parameter, **fields: object) -> None:
    """Set fields of a frozen parameter while it is being made."""
    for name, value in fields.items():
        object.__setattr__(parameter, name, value)
