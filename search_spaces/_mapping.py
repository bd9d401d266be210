"""Parameters to and from plain mappings, the form they have in a study file. YAML itself is read elsewhere.

Above `_conditions`, below `Space`.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from search_spaces._conditions import narrowed
from search_spaces._parameters import (
    Choice,
    Entry,
    Float,
    Int,
    Parameter,
    ParameterValue,
    SpaceError,
    When,
    as_parameter,
    checked_value,
    nearest,
    number_from_text,
)

_RANGE_KEYS = ("type", "low", "high", "default", "log", "step", "when")
_CHOICE_KEYS = ("choice", "default", "when")


def to_entries(mapping: Mapping[str, object], *, base: Mapping[str, Entry] | None) -> dict[str, Entry]:
    """The entries that a written space stands for: those of `base`, overridden by those of `mapping`."""
    if base is None and "base" in mapping:
        raise SpaceError(f"base must be handed in as a space, got only its name {mapping['base']!r}; load it first")
    written = {name: value for name, value in mapping.items() if name != "base"}
    entries = dict(base or {})
    for name, value in written.items():
        known = entries.get(name)
        if value is not None:
            try:
                entries[name] = _entry(value, known=known)
            except SpaceError as error:
                raise SpaceError(f"parameter {name!r}: {error}", parameter=name) from None
        elif known is None:
            raise SpaceError(
                f"parameter {name!r}: null removes a parameter of the base, and there is none of that name; "
                f"drop the line{nearest(name, entries)}",
                parameter=name,
            )
    removed = {name for name, value in written.items() if value is None}
    entries = {name: entry for name, entry in entries.items() if name not in removed}
    _check_removed(removed, entries)
    with_own_condition = {name for name, value in written.items() if isinstance(value, Mapping) and "when" in value}
    return narrowed(entries, inherited=set(base or {}) - with_own_condition, touched=set(written))


def to_mapping(entries: Mapping[str, Entry]) -> dict[str, object]:
    """Every entry in the written form. `to_entries` makes equal entries of it."""
    return {name: _written(entry) for name, entry in entries.items()}


def _written(entry: Entry) -> object:
    if not isinstance(entry, Float | Int | Choice):
        return entry
    when = {parent: values[0] if len(values) == 1 else list(values) for parent, values in entry.conditions.items()}
    written: dict[str, object] = {}
    if isinstance(entry, Choice):
        options = list(entry.options)
        if not when and entry.default == options[0]:
            return options
        written.update(choice=options, default=entry.default)
    else:
        written.update(type="int" if isinstance(entry, Int) else "float", low=entry.low, high=entry.high)
        written.update(default=entry.default)
        if entry.log:
            written.update(log=True)
        if entry.step is not None and not (isinstance(entry, Int) and entry.step == 1):
            written.update(step=entry.step)
    if when:
        written.update(when=when)
    return written


def _entry(written: object, *, known: Entry | None) -> Entry:
    """One written entry. What it leaves open is taken from the `known` entry of the base."""
    base = None if known is None else as_parameter(known)
    if isinstance(written, Mapping):
        if "choice" in written or (isinstance(base, Choice) and set(written) <= {"default", "when"}):
            return _choice(written, base=base)
        return _range(written, base=base)
    if isinstance(written, list | tuple):
        return _choice({"choice": written}, base=base)
    value = _like(checked_value(number_from_text(written)), base)
    return value if base is None or base.when is None else Choice((value,), default=value, when=base.when)


def _choice(written: Mapping[str, object], *, base: Parameter | None) -> Choice:
    _check_keys(written, _CHOICE_KEYS)
    options = tuple(base.options) if isinstance(base, Choice) else ()
    if "choice" in written:
        listed = written["choice"]
        if isinstance(listed, str) or not isinstance(listed, Sequence):
            raise SpaceError(f"choice must be a list of values, got {listed!r}; write [a, b, ...]")
        options = tuple(_like(checked_value(number_from_text(option)), base) for option in listed)
    default = options[0] if options else 0  # without options Choice refuses, whatever the default
    if "default" in written:
        default = _like(checked_value(number_from_text(written["default"])), base)
    elif base is not None and options and Choice(options, default=default).problem(base.default) is None:
        default = base.default
    return Choice(options, default=default, when=_when(written, base))


def _range(written: Mapping[str, object], *, base: Parameter | None) -> Float | Int:
    _check_keys(written, _RANGE_KEYS)
    fields = {key: number_from_text(value) for key, value in written.items() if key not in ("type", "when")}
    kind = _range_kind(written.get("type"), fields, base)
    if isinstance(base, kind):
        fields = {"low": base.low, "high": base.high, "log": base.log, "step": base.step} | fields
    if base is not None:
        fields.setdefault("default", base.default)
    for key in ("low", "high", "default"):
        if key not in fields:
            raise SpaceError(f"a range must have low, high and default, got no {key}; add {key}")
    when = _when(written, base)
    low, high, default, log, step = (fields.get(key) for key in ("low", "high", "default", "log", "step"))
    # The constructors check every one of these, with messages made for whoever wrote the file.
    make: type[Float] | type[Int] = kind
    log = False if log is None else log
    if make is Int:
        return Int(low, high, default=default, log=log, step=1 if step is None else step, when=when)  # type: ignore[arg-type]
    return Float(low, high, default=default, log=log, step=step, when=when)  # type: ignore[arg-type]


def _range_kind(written: object, fields: Mapping[str, object], base: Parameter | None) -> type[Float] | type[Int]:
    """Float or Int: as written, else as in the base, else whole when all its numbers are written whole."""
    if written is not None:
        if written not in ("int", "float"):
            raise SpaceError(f"type must be int or float, got {written!r}; write one of them")
        return Int if written == "int" else Float
    if isinstance(base, Float | Int):
        return type(base)
    numbers = [fields[key] for key in ("low", "high", "default", "step") if fields.get(key) is not None]
    return Int if all(isinstance(number, int) for number in numbers) else Float


def _when(written: Mapping[str, object], base: Parameter | None) -> When | None:
    """The condition as written, else as in the base. The parameter checks it, as it does in Python; hence the casts."""
    if "when" not in written:
        return None if base is None else base.when
    when = written["when"]
    if not isinstance(when, Mapping):
        return cast(When | None, when)
    conditions = {
        parent: tuple(map(number_from_text, values)) if isinstance(values, list | tuple) else number_from_text(values)
        for parent, values in when.items()
    }
    return cast(When, conditions)


def _like(value: ParameterValue, base: Parameter | None) -> ParameterValue:
    """The value in the type of the base's values: 1 becomes 1.0 for a range of numbers; text there is an error."""
    if base is None:
        return value
    values = base.options if isinstance(base, Choice) else (base.low, base.high)
    if all(isinstance(item, str) for item in values):
        expected, fits = "text", isinstance(value, str)
    elif all(isinstance(item, bool) for item in values):
        expected, fits = "true or false", isinstance(value, bool)
    elif any(isinstance(item, bool | str) for item in values):
        return value
    elif any(isinstance(item, float) for item in values):
        # Where whole numbers stand beside others, one stays whole: a float holds none beyond 2^53 exactly.
        if isinstance(value, int) and not isinstance(value, bool):
            return float(value) if all(isinstance(item, float) for item in values) else value
        expected, fits = "a number", isinstance(value, float)
    else:
        expected, fits = "a whole number", isinstance(value, int) and not isinstance(value, bool)
    if not fits:
        raise SpaceError(f"a value must be {expected} as in the base, got {value!r}; write {expected}")
    return value


def _check_keys(written: Mapping[str, object], known: tuple[str, ...]) -> None:
    for key in written:
        if key not in known:
            raise SpaceError(f"a key must be one of {', '.join(known)}, got {key!r}; correct it{nearest(key, known)}")


def _check_removed(removed: set[str], entries: Mapping[str, Entry]) -> None:
    for name, entry in entries.items():
        for parent in as_parameter(entry).conditions:
            if parent in removed:
                raise SpaceError(
                    f"parameter {parent!r} must stay while {name!r} depends on it, got null; "
                    f"fix it with a value, or remove {name!r} as well",
                    parameter=parent,
                )
