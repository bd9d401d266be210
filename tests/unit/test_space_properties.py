"""Laws that every space keeps, tried on made-up ones with conditions of any depth."""

import random
from decimal import Decimal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces import Choice, Entry, Float, Int, ParameterValue, Space, SpaceError

# A busy machine is no fault of the space.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
NUMBERS = st.floats(-1e6, 1e6)
TEXTS = st.text(max_size=8).filter(lambda text: text.isprintable() and not any(mark.isdigit() for mark in text))
VALUES: st.SearchStrategy[ParameterValue] = st.one_of(st.booleans(), st.integers(), NUMBERS, TEXTS)
OPTIONS = st.lists(VALUES, min_size=1, max_size=4, unique=True).map(tuple)
When = dict[str, tuple[ParameterValue, ...]] | None


@st.composite
def floats(draw: st.DrawFn, when: When) -> Float:
    log = draw(st.booleans())
    positive = st.floats(1e-12, 1e6)
    low, high = sorted(draw(st.lists(positive if log else NUMBERS, min_size=2, max_size=2, unique=True)))
    return Float(low, high, default=draw(st.floats(low, high)), log=log, when=when)


@st.composite
def grids(draw: st.DrawFn, when: When) -> Float:
    low, step = (Decimal(draw(st.integers(first, 999))) / 100 for first in (-999, 1))
    last = draw(st.integers(1, 200))
    default = low + step * draw(st.integers(0, last))
    return Float(float(low), float(low + step * last), default=float(default), step=float(step), when=when)


@st.composite
def ints(draw: st.DrawFn, when: When) -> Int:
    log = draw(st.booleans())
    low = draw(st.integers(1 if log else -100, 100))
    step = 1 if log else draw(st.integers(1, 20))
    last = draw(st.integers(1, 50))
    default = low + step * draw(st.integers(0, last))
    return Int(low, low + step * last, default=default, log=log, step=step, when=when)


@st.composite
def choices(draw: st.DrawFn, when: When) -> Choice:
    options = draw(OPTIONS)
    return Choice(options, default=draw(st.sampled_from(options)), when=when)


@st.composite
def spaces(draw: st.DrawFn) -> Space:
    """A space whose parameters depend on up to two of those before them, in any order of declaration."""
    entries: dict[str, Entry] = {}
    for index in range(draw(st.integers(1, 7))):
        parents = {name: entry for name, entry in entries.items() if not isinstance(entry, Float | Int)}
        when: dict[str, tuple[ParameterValue, ...]] = {}
        for name in draw(st.lists(st.sampled_from(sorted(parents)), max_size=2, unique=True)) if parents else ():
            parent = parents[name]
            options = parent.options if isinstance(parent, Choice) else (parent,)
            when[name] = tuple(draw(st.lists(st.sampled_from(options), min_size=1, unique=True)))
        kinds: list[st.SearchStrategy[Entry]] = [floats(when), grids(when), ints(when), choices(when), choices(when)]
        entries[f"p{index}"] = draw(st.one_of(kinds if when else [*kinds, VALUES]))
    return Space("made_up", {name: entries[name] for name in draw(st.permutations(sorted(entries)))})


def conditions(entry: Entry) -> dict[str, tuple[ParameterValue, ...]]:
    return entry.conditions if isinstance(entry, Float | Int | Choice) else {}


@PATIENT
@given(spaces(), st.integers(0, 2**32))
def test_whatever_is_drawn_passes_the_check(space: Space, seed: int) -> None:
    space.check(space.random(random.Random(seed)))


@PATIENT
@given(spaces())
def test_yaml_gives_the_same_space_back(space: Space) -> None:
    text = yaml.safe_dump(space.to_mapping(), sort_keys=False, allow_unicode=True)
    back = Space.from_mapping(yaml.safe_load(text), name=space.name)
    assert repr(back) == repr(space)  # types and order included, which == does not see


@PATIENT
@given(spaces())
def test_an_empty_override_changes_nothing(space: Space) -> None:
    assert repr(Space.from_mapping({}, name=space.name, base=space)) == repr(space)


@PATIENT
@given(spaces())
def test_a_space_written_out_overrides_itself(space: Space) -> None:
    written = {name: value for name, value in space.to_mapping().items() if not isinstance(value, list)}
    assert Space.from_mapping(written, name=space.name, base=space) == space


@PATIENT
@given(spaces())
def test_the_default_passes_the_check(space: Space) -> None:
    space.check(space.default())


@PATIENT
@given(spaces(), st.integers(0, 2**32))
def test_a_parameter_is_there_exactly_when_its_condition_holds(space: Space, seed: int) -> None:
    params = space.random(random.Random(seed))
    for name, entry in space.parameters.items():
        # Said once more in other words than in the source: types count, so that True is not 1.
        expected = all(
            any(repr(params.get(parent)) == repr(value) for value in values)
            for parent, values in conditions(entry).items()
        )
        assert (name in params) == expected


@PATIENT
@given(spaces(), st.integers(0, 2**32))
def test_a_missing_or_surplus_parameter_is_named(space: Space, seed: int) -> None:
    params = space.random(random.Random(seed))
    for name, entry in space.parameters.items():
        if name in params:
            changed = {key: value for key, value in params.items() if key != name}
        else:
            changed = params | {name: entry.default if isinstance(entry, Float | Int | Choice) else entry}
        with pytest.raises(SpaceError, match=f"parameter '{name}' must be") as caught:
            space.check(changed)
        assert caught.value.parameter == name


@PATIENT
@given(spaces())
def test_parents_come_before_their_children(space: Space) -> None:
    names = space.names()
    for name, entry in space.parameters.items():
        for parent in conditions(entry):
            assert names.index(parent) < names.index(name)
