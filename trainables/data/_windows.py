"""Rows of data from series: windows of consecutive steps, or each step by itself; split, and scaled by training.

Several series are split whole; one alone is cut into blocks of time that take turns, a window apart. So no two windows
in different splits share a step, and the scale is that of the training steps. Floor: numpy and torch. Axes: S steps of
a series, F features, N windows, T steps of a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ._blocks import blocks
from ._data import Data, Units
from ._own import FEWEST_ROWS, HELD_OUT, LICENSE, WANTED_ROWS, as_splits, copies_note, distinct, divided

MISSING = ("drop", "interpolate")
# The splits of one round of blocks.
ROUND = ("train", "validation", "test")
# Where the user names no number of rounds: at most so many, and so few that gaps take at most this share of the steps.
MOST_ROUNDS, GAP_SHARE = 5, 0.25


@dataclass(frozen=True, kw_only=True)
class Form:
    """What the columns of a table are, and how rows of data are cut from it; `csv_file.load` has the meanings.

    Raises `ValueError` for what is not of its kind.
    """

    columns: str | Sequence[str] | None = None
    time: str | None = None
    window: int | None = 24
    stride: int = 1
    group: str | None = None
    label: str | None = None
    blocks: int | None = None
    held_out: float | None = None
    seed: int = 0
    scale: bool = True
    missing: str | None = None

    def __post_init__(self) -> None:
        for name, value, least in (("window", self.window, 2), ("stride", self.stride, 1), ("blocks", self.blocks, 1)):
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (value is None and name != "stride") and (not whole or value < least):  # type: ignore[operator]
                raise ValueError(f"{name} must be a whole number of at least {least}, and it is {value!r}: correct it")
        share = self.held_out
        if share is not None and not (isinstance(share, int | float) and 0.0 < share < 0.5):
            raise ValueError(f"held_out must lie above 0 and below 0.5, and it is {share!r}: correct it in the study")
        if self.missing is not None and self.missing not in MISSING:
            raise ValueError(f"missing must be one of {', '.join(MISSING)}, and it is {self.missing!r}: choose one")
        if self.missing == "interpolate" and self.window is None:
            raise ValueError("missing: interpolate needs windows of steps in time, and window is null: take drop")

    @property
    def steps(self) -> int:
        """Of a window; where each row stands by itself, one."""
        return 1 if self.window is None else self.window


@dataclass(frozen=True, kw_only=True)
class Series:
    """Rows of a table in the order of time: x [S, F]; places [S], where in the file each stands; labels [S], the name
    of its class, if it has one."""

    name: str
    x: NDArray[np.float64]
    places: NDArray[np.int64]
    labels: NDArray[np.str_] | None


def _filled(x_SF: NDArray[np.float64], form: Form) -> NDArray[np.float64]:
    """With numbers on a line between its neighbors where fewer are missing than a window has steps.

    A longer stretch stays: blocks are a window apart, so what fills a block never comes from another one.
    """
    if form.missing != "interpolate":
        return x_SF
    x_SF = x_SF.copy()
    for column_S in x_SF.T:
        known = np.flatnonzero(~np.isnan(column_S))
        for before, after in pairwise(known):
            if 1 < after - before <= form.steps:
                between = np.arange(before + 1, after)
                column_S[between] = np.interp(between, [before, after], column_S[[before, after]])
    return x_SF


def cut(
    series: Sequence[Series], features: Sequence[str], form: Form, *, name: str, source: str, said: Sequence[str]
) -> Data:
    """The data of these series. said: notes so far.

    Raises `ValueError` for too few steps or series, and for a feature that is constant in training.
    """
    notes = list(said)
    series = [replace(part, x=_filled(part.x, form)) for part in series]
    in_blocks = form.blocks is not None or (form.window is not None and len(series) == 1)
    cuts = [_starts(part, form, in_blocks=in_blocks, said=notes) for part in series]
    first_N = np.concatenate([first for first, _ in cuts])
    owner_N = np.concatenate([owner for _, owner in cuts])
    series_N = np.repeat(np.arange(len(series)), [len(first) for first, _ in cuts])
    pairs = [(series[int(part)], int(first)) for part, first in zip(series_N, first_N, strict=True)]
    # Rows of one table that stand by themselves belong to nothing but themselves.
    alone = form.window is None and form.group is None and len(series) == 1
    groups = [f"{part.name}:{part.places[first]}" if alone else part.name for part, first in pairs]
    classes = (
        None if form.label is None else [str(part.labels[first]) for part, first in pairs if part.labels is not None]
    )
    if in_blocks:
        _check_splits({split: owner_N == split for split in ROUND})
    places, labels_N, named = divided(
        groups,
        parts=owner_N.tolist() if in_blocks else None,
        classes=classes,
        share=form.held_out,
        seed=form.seed,
    )
    notes += named
    training = [first_N[places["train"]][series_N[places["train"]] == part] for part in range(len(series))]
    mean_F, deviation_F = _scale(series, training, features, form)
    scaled = [((part.x - mean_F) / deviation_F).astype(np.float32) for part in series]
    x_NTF = np.concatenate([
        _windows(x_SF, first, form) for x_SF, (first, _) in zip(scaled, cuts, strict=True)
    ])  # fmt: skip
    kept = distinct(x_NTF)
    notes += copies_note(len(x_NTF), len(kept))
    places = {split: own[np.isin(own, kept)] for split, own in places.items()}
    _check_splits(places)
    low, high = math.floor(x_NTF.min()), math.ceil(x_NTF.max())
    return Data.of(
        as_splits(x_NTF if form.window is not None else x_NTF[:, 0], labels_N, places),
        name=name,
        modality="points" if form.window is None else "series",
        levels=None,
        value_range=(float(low), float(high)),
        license=LICENSE,
        source=source,
        units=Units(names=tuple(features), mean=torch.from_numpy(mean_F), deviation=torch.from_numpy(deviation_F)),
        notes=notes,
    )


def _starts(
    part: Series, form: Form, *, in_blocks: bool, said: list[str]
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """The first step of each window of the series that lacks no number, and the split whose block it is in, if any."""
    stretches = _stretches(len(part.x), form, said=said) if in_blocks else [("", slice(0, len(part.x)))]
    firsts = [np.arange(own.start, own.stop - form.steps + 1, form.stride) for _, own in stretches]
    first_N = np.concatenate(firsts)
    owner_N = np.repeat([split for split, _ in stretches], [len(first) for first in firsts])
    of = f"{part.name}: " if part.name else ""
    if len(first_N) == 0:
        said.append(f"{of}left out, as its {len(part.x)} steps are fewer than the {form.steps} of a window")
        return first_N, owner_N
    missing_S = np.isnan(part.x).any(1)
    whole_N = ~np.lib.stride_tricks.sliding_window_view(missing_S, form.steps)[first_N].any(1)
    if not whole_N.all():
        said.append(f"{of}left out {(~whole_N).sum()} of {len(whole_N)} rows of data, which lack a number")
    return first_N[whole_N], owner_N[whole_N]


def _stretches(steps: int, form: Form, *, said: list[str]) -> list[tuple[str, slice]]:
    """The blocks of a series of so many steps: rounds of one for each split, with a gap of a window between two.

    Raises `ValueError` with the steps that it takes, where they are too few.
    """
    # What a block has beside one stride a window.
    more = form.steps - form.stride
    for rounds in range(MOST_ROUNDS, 0, -1) if form.blocks is None else [form.blocks]:
        count = len(ROUND) * rounds
        gaps = (count - 1) * form.steps
        windows = (steps - gaps - count * more) // form.stride
        held = _held(windows, rounds, form)
        fits = windows >= FEWEST_ROWS and windows - 2 * rounds * held >= rounds
        if fits and (gaps <= GAP_SHARE * steps or rounds == 1 or form.blocks is not None):
            break
    else:
        least = FEWEST_ROWS
        while least - 2 * rounds * _held(least, rounds, form) < rounds:
            least += 1
        raise ValueError(
            f"{count} blocks in time, {form.steps} steps apart, with windows of {form.steps} steps, need "
            f"at least {gaps + count * more + least * form.stride} steps, and there are {steps}: take a smaller window"
            f"{'' if rounds == 1 else ' or fewer blocks'}, or give more; for rows that stand alone, window: null"
        )
    training = np.array_split(np.arange(windows - 2 * rounds * held), rounds)
    lengths = [
        (split, more + form.stride * (len(training[turn]) if split == "train" else held))
        for turn in range(rounds)
        for split in ROUND
    ]
    said.append(f"cut in time into {count} blocks, {rounds} for each split, {form.steps} steps apart")
    return list(blocks(lengths, gap=form.steps))


def _held(windows: int, rounds: int, form: Form) -> int:
    """How many windows each block of validation and of test has."""
    share = form.held_out
    if share is None:
        share = float(np.clip(WANTED_ROWS / max(1, windows), *HELD_OUT))
    return math.ceil(share * windows / rounds)


def _windows(x_SF: NDArray[np.float32], first_N: NDArray[np.int64], form: Form) -> NDArray[np.float32]:
    """The windows [N, T, F] that begin at these steps."""
    if len(first_N) == 0:
        return np.empty((0, form.steps, x_SF.shape[1]), dtype=np.float32)
    return np.lib.stride_tricks.sliding_window_view(x_SF, form.steps, axis=0)[first_N].transpose(0, 2, 1)


def _scale(
    series: Sequence[Series], training: Sequence[NDArray[np.int64]], features: Sequence[str], form: Form
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of each feature over the steps of training; 0 and 1 where they stay as they are.

    training: the first steps of the windows of training, a series each.
    """
    found = []
    for part, first_N in zip(series, training, strict=True):
        # One more wherever a window begins, and one less behind its end.
        change_S = np.bincount(first_N, minlength=len(part.x) + 1)
        change_S -= np.bincount(first_N + form.steps, minlength=len(part.x) + 1)
        found.append(part.x[change_S.cumsum()[:-1] > 0])
    train_SF = np.concatenate(found)
    # Sums without rounding error: a plain one rounds in another order on another machine.
    mean_F = np.array([math.fsum(column) for column in train_SF.T]) / len(train_SF)
    variance_F = np.array([math.fsum(column) for column in ((train_SF - mean_F) ** 2).T]) / len(train_SF)
    if constant := [name for name, column in zip(features, train_SF.T, strict=True) if (column == column[0]).all()]:
        raise ValueError(
            f"columns must vary among the rows to train on, and {constant[0]!r} holds one number in all of them: leave "
            "it out by naming others in columns, or split with another seed"
        )
    return (mean_F, np.sqrt(variance_F)) if form.scale else (np.zeros_like(mean_F), np.ones_like(mean_F))


def _check_splits(found: Mapping[str, NDArray[Any]]) -> None:
    """Raise `ValueError` for a split without a row."""
    for split, rows in found.items():
        if not rows.any() if rows.dtype == bool else not len(rows):
            raise ValueError(
                f"every split must have rows, and {split} has none once those are left out that lack a number or equal "
                "another one: give more data, or another seed"
            )
