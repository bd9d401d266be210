"""The laws of search spaces. What a family makes of its space is among the laws of models."""

from __future__ import annotations

import random
from dataclasses import dataclass

import yaml

from hpo.laws._law import Broken
from search_spaces import Choice, Float, Int, Space, SpaceError

DRAWS = 200


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Named:
    """A space, and the name of its file."""

    name: str
    space: Space

    def __str__(self) -> str:
        return self.name


def it_has_the_name_of_its_file(subject: Named) -> None:
    """A space has the name of its file."""
    if subject.space.name != subject.name:
        raise Broken(f"it is {subject.space.name!r} in {subject.name!r}", remedy="give both one name")


def what_it_draws_passes_its_check(subject: Named) -> None:
    """The default and random draws pass the space's own check."""
    draws = random.Random(0)
    for params in [subject.space.default(), *(subject.space.random(draws) for _ in range(DRAWS))]:
        try:
            subject.space.check(params)
        except SpaceError as error:
            raise Broken(f"{params} does not: {error}", remedy="correct the range or the condition") from error


def every_parameter_is_drawn_some_time(subject: Named) -> None:
    """Every parameter and every option is drawn some time: a condition that never holds is a mistake."""
    draws = random.Random(0)
    drawn = [subject.space.random(draws) for _ in range(DRAWS)]
    for name, entry in subject.space.parameters.items():
        values = {params[name] for params in drawn if name in params}
        if not values:
            raise Broken(f"{name!r} was not in {DRAWS} draws", remedy="correct its condition")
        if isinstance(entry, Choice) and (missed := set(entry.options) - values):
            raise Broken(f"{name!r} was never {missed}", remedy="offer fewer options, or correct a condition")
        if isinstance(entry, Float | Int) and len(values) == 1:
            raise Broken(f"{name!r} was always {values}", remedy="fix it, or widen its range")


def it_survives_a_study_file(subject: Named) -> None:
    """A space written as a study file writes it is the same when it is read."""
    text = yaml.safe_dump(subject.space.to_mapping(), sort_keys=False)
    again = Space.from_mapping(yaml.safe_load(text), name=subject.space.name)
    if repr(again) != repr(subject.space):
        raise Broken(f"it is read as {again}", remedy="report this: the fault is ours")


def no_default_is_at_a_bound(subject: Named) -> None:
    """No default of a range is at its bound, unless that is 0 and means off: the range would be wrong."""
    for name, entry in subject.space.parameters.items():
        if isinstance(entry, Float | Int) and not entry.low < entry.default < entry.high and entry.default != 0:
            raise Broken(
                f"{name!r} has the default {entry.default} in {entry.low} to {entry.high}", remedy="widen the range"
            )
