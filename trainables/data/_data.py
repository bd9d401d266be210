"""The record that every loader returns.

Floor: torch and numpy; knows no model and no training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Split:
    """Rows that serve one purpose: `x` is [N, *shape], `labels` is [N] or None."""

    x: Tensor
    labels: Tensor | None = None

    def __len__(self) -> int:
        return int(self.x.shape[0])

    def batch(self, rows: Tensor, *, labeled: bool) -> tuple[Tensor, Tensor | None]:
        """These rows, and their labels where they are asked for."""
        return self.x[rows], self.labels[rows] if labeled and self.labels is not None else None

    def to(self, device: torch.device | str) -> Split:
        """The same rows on another device."""
        labels = None if self.labels is None else self.labels.to(device)
        return Split(x=self.x.to(device), labels=labels)


@dataclass(frozen=True, kw_only=True)
class Units:
    """What turns rows back into what was measured: number * `deviation` + `mean`, each [F]; `names` are those of F."""

    names: tuple[str, ...]
    mean: Tensor
    deviation: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Rows [N, ..., F] in the units of their source, as float64 on the CPU."""
        return x.cpu().double() * self.deviation.double() + self.mean.double()


@dataclass(frozen=True, kw_only=True)
class Data:
    """A data set in memory, with its splits and where it comes from.

    With `levels` the rows are whole numbers 0..levels-1 (uint8 where they fit); without, they are float32 inside
    `value_range`. `sha256` is that of the content, splits included: two studies with equal hashes saw equal rows.

    modality: how a row is to be read, and so its shape: `images` [channels, height, width], `series` [steps, features],
    `points` [numbers], `audio` [channels, samples] at `sample_rate` a second, or `text` [tokens], whose levels are
    places in `vocabulary`. units: of series that were scaled. notes: what a loader has to say to whoever gave it files,
    such as what it left out.
    """

    name: str
    modality: str
    train: Split
    validation: Split
    test: Split
    levels: int | None
    value_range: tuple[float, float]
    license: str
    source: str
    sha256: str
    sample_rate: int | None = None
    vocabulary: tuple[str, ...] | None = None
    units: Units | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        splits: Mapping[str, Split],
        *,
        name: str,
        modality: str,
        levels: int | None,
        value_range: tuple[float, float],
        license: str,  # noqa: A002
        source: str,
        sample_rate: int | None = None,
        vocabulary: tuple[str, ...] | None = None,
        units: Units | None = None,
        notes: Sequence[str] = (),
    ) -> Data:
        """The data set of the splits `train`, `validation` and `test`, with the hash of their content."""
        return cls(
            name=name,
            modality=modality,
            train=splits["train"],
            validation=splits["validation"],
            test=splits["test"],
            levels=levels,
            value_range=value_range,
            license=license,
            source=source,
            sha256=content_hash(splits),
            sample_rate=sample_rate,
            vocabulary=vocabulary,
            units=units,
            notes=tuple(notes),
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return tuple(self.train.x.shape[1:])

    def text(self, row_T: Tensor) -> str:
        """The characters of one row of text; raises `ValueError` for other data."""
        if self.vocabulary is None:
            raise ValueError(
                f"rows of text have a vocabulary, and {self.name!r} holds {self.modality}: take other data"
            )
        return "".join(self.vocabulary[token] for token in row_T.tolist())

    @property
    def classes(self) -> int:
        """How many classes the labels 0, 1, ... of the training rows name; 0 without labels."""
        return 0 if self.train.labels is None else int(self.train.labels.max()) + 1

    def splits(self) -> Iterator[tuple[str, Split]]:
        """The three splits by name, in a fixed order."""
        yield "train", self.train
        yield "validation", self.validation
        yield "test", self.test

    def split(self, name: str) -> Split:
        """The split of that name; raises `ValueError` for another one."""
        for known, split in self.splits():
            if known == name:
                return split
        raise ValueError(f"a split is one of train, validation, test, and {name!r} is none of them")

    def to(self, device: torch.device | str) -> Data:
        """The same data on another device; they are moved once and stay there."""
        train, validation, test = (split.to(device) for _, split in self.splits())
        return replace(self, train=train, validation=validation, test=test)


def content_hash(splits: Mapping[str, Split]) -> str:
    """The sha256 over names, shapes, types and bytes of all splits."""
    digest = hashlib.sha256()
    for name, split in splits.items():
        for tensor in (split.x, split.labels):
            if tensor is not None:
                digest.update(f"{name}:{tensor.dtype}:{tuple(tensor.shape)};".encode())
                digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
