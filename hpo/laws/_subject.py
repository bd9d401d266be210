"""What the laws of models are tried on: a family on data, at draws from a space, with small networks and few rows.

Floor: trainables, spaces and torch. Axes: B rows.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from search_spaces import Choice, Float, Int, ParameterValue, Space
from trainables.data._data import Data, Split, content_hash
from trainables.models._family import Family, as_module, is_conditional
from trainables.training.alone import Training
from trainables.training.params import Params

Config = Mapping[str, ParameterValue]

# Rows of a loss, and of the splits of a training.
ROWS, FEW_ROWS = 5, 16
# Tokens of a row of text, which are written one by one.
FEW_TOKENS = 12
# Batches of trainings that share a stack: a short epoch has some steps, and no two members equally many.
BATCHES = (5, 8, 6, 7)
EPOCHS = 2
# Draws among which configurations are chosen, and how many are at the least.
DRAWS, FEWEST = 200, 3
# The share of the budget at which losses are evaluated: amid what is annealed.
PROGRESS = 0.25


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Subject:
    """A family on data. space: as a study takes it, of one architecture. small: the same, with the smallest networks.

    data: as loaded, but for the number of rows, and of tokens.
    """

    name: str
    family: type[Family]
    data: Data
    space: Space
    small: Space

    def __str__(self) -> str:
        return " ".join((self.name, *self.architecture, "on", self.data.name))

    @property
    def architecture(self) -> tuple[str, ...]:
        """What of the structure has a name, and what is a yes."""
        found = {name: _options(self.small, name)[:1] for name in self.family.structural}
        return tuple(
            name if value is True else value
            for name, values in found.items()
            for value in values
            if value is True or isinstance(value, str)
        )

    @functools.cached_property
    def configurations(self) -> tuple[Config, ...]:
        """Draws that between them switch on, and off, whatever any of many draws does; one structure."""
        generator = random.Random(0)
        left = [self.small.random(generator) for _ in range(DRAWS)]
        marks = [self._marks(params) for params in left]
        chosen: list[Config] = []
        seen: set[tuple[str, ParameterValue]] = set()
        while len(chosen) < FEWEST or any(own - seen for own in marks):
            best = max(range(len(left)), key=lambda place: len(marks[place] - seen))
            seen |= marks.pop(best)
            chosen.append(left.pop(best))
        return tuple(chosen)

    @property
    def players(self) -> tuple[str, ...]:
        return self.family.players

    def build(self, params: Config, *, seed: int = 0) -> Family:
        """A model of this configuration, its weights drawn under this seed."""
        return self.family.build(Params(params), data=self.data, generator=torch.Generator().manual_seed(seed))

    def knobs(self, params: Config, *, progress: float = PROGRESS) -> dict[str, float]:
        """The knobs in force."""
        return self.family.in_force(self.family.knobs(Params(params)), progress=progress)

    def draw(self, model: Family, player: str, knobs: Mapping[str, float], *, seed: int = 0) -> dict[str, Tensor]:
        """The noise of one loss."""
        return model.draw(player, torch.Generator().manual_seed(seed), rows=ROWS, knobs=knobs)

    def loss(
        self,
        model: Family,
        player: str,
        noise: Mapping[str, Tensor],
        knobs: Mapping[str, float | Tensor],
        *,
        weights: Sequence[float] = (1.0 / ROWS,) * ROWS,
        x: Tensor | None = None,
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The loss of one player and its logs, on these rows or on as many of training as there are weights."""
        rows, labels = self.data.train.batch(torch.arange(len(weights)), labeled=is_conditional(model))
        told = () if labels is None else (labels,)
        return model(player, rows if x is None else x, noise, knobs, torch.tensor(weights), *told)

    def training(self, place: int, *, seed: int = 0, epochs: int = EPOCHS) -> Training:
        """A training of the configuration at this place, in batches that are small and differ from its neighbors'."""
        params = self.configurations[place]
        if "batch_size" in params:
            params = {**params, "batch_size": BATCHES[place % len(BATCHES)]}
        return Training(self.family, self.data, params, seed=seed, epochs=epochs)

    def cases(self) -> Iterator[tuple[Config, str]]:
        """Every configuration with every player."""
        return itertools.product(self.configurations, self.players)

    def _marks(self, params: Config) -> set[tuple[str, ParameterValue]]:
        """Which knobs are on and which off, and what was chosen by name."""
        read = Params(params)
        knobs = self.family.knobs(read)
        named = {(name, value) for name, value in params.items() if isinstance(value, str | bool)}
        return {(name, value) for name, value in named if name not in read.unread()} | {
            (name, value != 0.0) for name, value in knobs.items()
        }


def subjects(
    name: str, family: type[Family], data: Data, space: Space, *, size: Callable[[int], int] = lambda value: value
) -> list[Subject]:
    """One subject for each architecture of the space in which the family does not refuse the data.

    An architecture is a choice, by name or yes and no, of each structural parameter. size: what is taken for the
    smallest value of a structural number.
    """
    rows = few(data, tokens=FEW_TOKENS)
    every = [
        Subject(name=name, family=family, data=rows, space=variant, small=small)
        for variant in architectures(space, family.structural)
        if (small := smallest(variant, family.structural, size=size))
    ]
    return [subject for subject in every if refusal(subject) is None]


def refusal(subject: Subject) -> str | None:
    """In the family's words, which name the data: why it cannot model them; None if it can, or fails otherwise."""
    try:
        subject.build(subject.small.default())
    except ValueError as error:
        return str(error) if repr(subject.data.name) in str(error) else None
    except Exception:  # a fault, and so the business of a law
        return None
    return None


def architectures(space: Space, structural: Sequence[str]) -> list[Space]:
    """The space once for each combination of what its structural choices offer by name, or as yes and no."""
    found = [space]
    for name in structural:
        found = [chosen for variant in found for chosen in _each(variant, name)]
    return found


def smallest(space: Space, structural: Sequence[str], *, size: Callable[[int], int]) -> Space:
    """The space with each structural number fixed to the smallest that it may be, as `size` has it."""
    least: dict[str, ParameterValue] = {}
    for name in structural:
        entry = space.parameters.get(name)
        if isinstance(entry, Float):
            least[name] = entry.low
        elif isinstance(entry, Int):
            least[name] = size(entry.low)
        elif isinstance(entry, Choice) and all(type(option) in (int, float) for option in entry.options):
            value = min(entry.options)
            least[name] = size(value) if isinstance(value, int) else value
        elif isinstance(entry, int) and not isinstance(entry, bool):
            least[name] = size(entry)
    return _fixed(space, least)


def few(data: Data, *, rows: int = FEW_ROWS, tokens: int | None = None) -> Data:
    """The data with at most so many rows of each split, taken at even distances; of text their first `tokens`."""
    kept = slice(tokens if data.modality == "text" else None)

    def some(split: Split) -> Split:
        places = torch.linspace(0, len(split) - 1, min(rows, len(split))).long()
        return Split(x=split.x[places, kept], labels=None if split.labels is None else split.labels[places])

    train, validation, test = (some(split) for _, split in data.splits())
    splits = {"train": train, "validation": validation, "test": test}
    return dataclasses.replace(data, sha256=content_hash(splits), train=train, validation=validation, test=test)


def state(model: Family) -> dict[str, Tensor]:
    """A copy of all weights and buffers by name."""
    return {name: tensor.detach().clone() for name, tensor in as_module(model).state_dict().items()}


def _fixed(space: Space, values: Mapping[str, ParameterValue]) -> Space:
    """The space with these values in place of ranges and choices; what can never be there under them is left out."""
    return Space.from_mapping(values, name=space.name, base=space)


def _each(space: Space, name: str) -> list[Space]:
    """The space with each option of a choice by name, or of yes and no; as it is where that parameter is none."""
    entry = space.parameters.get(name)
    if isinstance(entry, Choice) and all(isinstance(option, str | bool) for option in entry.options):
        return [_fixed(space, {name: option}) for option in entry.options]
    return [space]


def _options(space: Space, name: str) -> tuple[ParameterValue, ...]:
    entry = space.parameters.get(name)
    if isinstance(entry, Choice):
        return entry.options
    return () if entry is None or isinstance(entry, Float | Int) else (entry,)
