"""A search space: named parameters, their conditions, and what can be drawn from them.

The top file of search_spaces, below the spaces themselves. A sampler reaches it through `Suggest`; none is known here.
"""

import builtins
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from search_spaces._conditions import check_conditions, holds, in_order
from search_spaces._mapping import to_entries, to_mapping
from search_spaces._parameters import (
    Choice,
    Entry,
    Float,
    Int,
    Parameter,
    ParameterValue,
    SpaceError,
    as_parameter,
    checked_value,
    nearest,
)

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)?", re.ASCII)


class Suggest(Protocol):
    """What a sampler offers: a value for one parameter. Asked once for each parameter that is there, parents first."""

    def float(self, name: str, parameter: Float, /) -> builtins.float: ...
    def int(self, name: str, parameter: Int, /) -> builtins.int: ...
    def choice(self, name: str, parameter: Choice, /) -> ParameterValue: ...


class Uniform(Protocol):
    """A generator of uniform numbers in [0, 1): `random.Random`, or NumPy's `Generator`."""

    def random(self) -> float: ...


@dataclass(frozen=True)
class Space:
    """Parameters by name, each a range, a choice, or a plain value that is fixed. Checked as a whole when it is made.

    A name may carry one player in front: `discriminator.lr`.
    """

    name: str
    # Each parameter comes after those it depends on.
    parameters: Mapping[str, Entry] = field(hash=False)

    def __post_init__(self) -> None:
        if not self.parameters:
            raise SpaceError(f"a space must have a parameter, got none in {self.name!r}; add one")
        for name, entry in self.parameters.items():
            _check_entry(name, entry)
        object.__setattr__(self, "parameters", in_order(self.parameters))
        check_conditions(self.parameters)

    @classmethod
    def of(cls, name: str, *blocks: Mapping[str, Entry]) -> "Space":
        """The space of all blocks together. Raises SpaceError where two of them share a name."""
        parameters: dict[str, Entry] = {}
        for block in blocks:
            for key in block:
                if key in parameters:
                    raise SpaceError(
                        f"blocks must not share a name, got {key!r} twice in {name!r}; drop it from one of them",
                        parameter=key,
                    )
            parameters.update(block)
        return cls(name, parameters)

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, object], *, name: str, base: "Space | None" = None) -> "Space":
        """The space that a study file writes as a mapping, on top of `base` where the mapping names one.

        Raises SpaceError naming the parameter at fault. `to_mapping` of the result gives the same space without a base.
        """
        return cls(name, to_entries(mapping, base=None if base is None else base.parameters))

    def to_mapping(self) -> dict[str, object]:
        """The parameters in the form of a study file, complete: no base is needed to read them again."""
        return to_mapping(self.parameters)

    def names(self) -> tuple[str, ...]:
        """All names, conditional ones included, each after those it depends on."""
        return tuple(self.parameters)

    def draw(self, suggest: Suggest) -> dict[str, ParameterValue]:
        """One configuration, asked of a sampler. Fixed values are asked for too, so that its record is complete."""

        def ask(name: str, parameter: Parameter) -> ParameterValue:
            if isinstance(parameter, Float):
                return suggest.float(name, parameter)
            if isinstance(parameter, Int):
                return suggest.int(name, parameter)
            return suggest.choice(name, parameter)

        return self._walk(ask)

    def default(self) -> dict[str, ParameterValue]:
        """The configuration of all defaults. Conditional parameters are there only where their condition holds."""
        return self._walk(lambda _, parameter: parameter.default)

    def random(self, generator: Uniform) -> dict[str, ParameterValue]:
        """One configuration drawn uniformly (in the logarithm on log scales); one number for each parameter there."""
        return self._walk(lambda _, parameter: parameter.at(generator.random()))

    def check(self, params: Mapping[str, ParameterValue]) -> None:
        """Raise SpaceError naming the first parameter that is unknown, missing, out of range, or there for nothing."""
        for name in params:
            if name not in self.parameters:
                raise SpaceError(
                    f"parameter {name!r} must be one of space {self.name!r}, which has no such name; "
                    f"drop it or correct it{nearest(name, self.names())}",
                    parameter=name,
                )
        for name, entry in self.parameters.items():
            problem = _misplaced(name, as_parameter(entry), params)
            if problem is not None:
                raise SpaceError(f"parameter {name!r} {problem}", parameter=name)

    def _walk(self, pick: Callable[[str, Parameter], ParameterValue]) -> dict[str, ParameterValue]:
        """Parameter by parameter, parents first, those that are there under what was picked before."""
        picked: dict[str, ParameterValue] = {}
        for name, entry in self.parameters.items():
            parameter = as_parameter(entry)
            if holds(parameter, picked):
                picked[name] = pick(name, parameter)
        return picked


def _misplaced(name: str, parameter: Parameter, params: Mapping[str, ParameterValue]) -> str | None:
    """What is wrong with this parameter in `params`, or None."""
    if holds(parameter, params):
        if name not in params:
            return f"must be given, got none; add it, for example its default {parameter.default!r}"
        return parameter.problem(params[name])
    if name in params:
        needs = " and ".join(
            f"{parent!r} is {' or '.join(map(repr, values))}" for parent, values in parameter.conditions.items()
        )
        return f"must be absent unless {needs}, got {params[name]!r}; drop it"
    return None


def _check_entry(name: object, entry: object) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name == "base":
        raise SpaceError(
            "a name must be a word of letters, digits and underscores, with at most one player and a dot in front, "
            f"and not 'base', got {name!r}; rename it",
            parameter=str(name),
        )
    if not isinstance(entry, Float | Int | Choice):
        try:
            checked_value(entry)
        except SpaceError as error:
            raise SpaceError(f"parameter {name!r}: {error}", parameter=name) from None
