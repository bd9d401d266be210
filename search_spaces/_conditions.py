"""How parameters hang together: which are there under which values, in what order, and whether that can ever be.

Above `_parameters`, below `Space`.
"""

from collections.abc import Mapping
from dataclasses import replace

from search_spaces._parameters import (
    Choice,
    Entry,
    Parameter,
    ParameterValue,
    SpaceError,
    as_parameter,
    nearest,
    same,
)


def holds(parameter: Parameter, params: Mapping[str, ParameterValue]) -> bool:
    """Whether the parameter is there under `params`, which hold its parents where these are there themselves."""
    return all(
        parent in params and any(same(params[parent], value) for value in values)
        for parent, values in parameter.conditions.items()
    )


def in_order(entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """The entries, each after the parameters it depends on and otherwise as they came.

    Raises SpaceError where a parent does not exist or parameters depend on one another in a circle.
    """
    ordered: dict[str, Entry] = {}

    def place(name: str, children: tuple[str, ...]) -> None:
        if name in ordered:
            return
        if name in children:
            circle = " -> ".join((*children[children.index(name) :], name))
            raise SpaceError(f"conditions must not form a circle, got {circle}; drop one of them", parameter=name)
        for parent in as_parameter(entries[name]).conditions:
            if parent not in entries:
                raise SpaceError(
                    f"parameter {name!r}: when must name a parameter of the same space, got {parent!r}; "
                    f"add {parent!r} or drop the condition{nearest(parent, entries)}",
                    parameter=name,
                )
            place(parent, (*children, name))
        ordered[name] = entries[name]

    for name in entries:
        place(name, ())
    return ordered


def check_conditions(entries: Mapping[str, Entry]) -> None:
    """Raise SpaceError for a condition on a range, or on a value that the parent never takes."""
    for name, entry in entries.items():
        for parent, values in as_parameter(entry).conditions.items():
            options = _options(entries[parent])
            if options is None:
                raise SpaceError(
                    f"parameter {name!r}: when must name a choice or a fixed value, and {parent!r} is a range; "
                    f"make {parent!r} a choice",
                    parameter=name,
                )
            for value in values:
                if not any(same(value, option) for option in options):
                    raise SpaceError(
                        f"parameter {name!r}: when must name values that {parent!r} can take, got {value!r}; "
                        f"choose from {', '.join(map(repr, options))}{nearest(value, options)}",
                        parameter=name,
                    )


def narrowed(entries: Mapping[str, Entry], *, inherited: set[str], touched: set[str]) -> dict[str, Entry]:
    """The entries after an override took values from their parents.

    A condition that was `inherited` keeps the values its parent can still take. A parameter that has none left is
    dropped, since it could never be there; one that the override itself `touched` raises SpaceError instead.
    """
    kept: dict[str, Entry] = {}
    for name, entry in in_order(entries).items():
        parameter = as_parameter(entry)
        if name in inherited and parameter.conditions:
            possible = {
                parent: _still_possible(values, kept.get(parent)) for parent, values in parameter.conditions.items()
            }
            lost = [parent for parent, values in possible.items() if not values]
            if lost and name in touched:
                wanted = " or ".join(map(repr, parameter.conditions[lost[0]]))
                raise SpaceError(
                    f"parameter {name!r} is there only when {lost[0]!r} is {wanted}, which this space leaves out; "
                    f"drop {name!r}, or give {lost[0]!r} one of these values",
                    parameter=name,
                )
            if lost:
                continue
            entry = replace(parameter, when=possible)
        kept[name] = entry
    return kept


def _still_possible(values: tuple[ParameterValue, ...], parent: Entry | None) -> tuple[ParameterValue, ...]:
    if parent is None:  # the parent was dropped itself
        return ()
    options = _options(parent)
    if options is None:  # a range: `check_conditions` refuses it with the right words
        return values
    return tuple(value for value in values if any(same(value, option) for option in options))


def _options(entry: Entry) -> tuple[ParameterValue, ...] | None:
    """What the entry can be, or None for a range."""
    parameter = as_parameter(entry)
    return parameter.options if isinstance(parameter, Choice) else None
