"""Rows of data from series: windows of consecutive steps, or each step by itself; split, and scaled by training.

Several series are split whole, each into the split that the user states if there is one; one alone is cut into blocks
of time that take turns, a window apart. So no two windows in different splits share a step, and the scale is that of
the training steps. Floor: numpy and torch. Axes: S steps of
a series, F features, N windows, T steps of a window.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from ._blocks import blocks
from ._data import Data, Units
from ._own import FEWEST_ROWS, LICENSE, as_splits, copies_note, distinct, divided, scale_of, share_held_out

MISSING = ("drop", "interpolate")
# The splits of one round of blocks.
ROUND = ("train", "validation", "test")
# Where the user names no number of rounds: at most so many, and so few that gaps take at most this share of the steps.
MOST_ROUNDS, GAP_SHARE = 5, 0.25

# Of each window of a series, its first step and its split.
Cut: TypeAlias = tuple[NDArray[np.int64], NDArray[np.str_]]


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
        if self.columns is not None and not self.columns:
            raise ValueError(f"columns must name one at least, and they are {self.columns!r}: name some, or leave "
                             "columns out for all")  # fmt: skip
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
    of its class, if it has one; split, the one that the user states, if any."""

    name: str
    x: NDArray[np.float64]
    places: NDArray[np.int64]
    labels: NDArray[np.str_] | None
    split: str | None = None


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
    if form.window is None and len(features) == 1:
        raise ValueError(f"rows that stand alone need two columns of numbers, and there is only {features[0]!r}: add "
                         "columns, or state a window of steps")  # fmt: skip
    notes = list(said)
    # Of equal rows the first one stays: one to train on before one that is held out.
    series = sorted(series, key=lambda part: ROUND.index(part.split or "train"))
    series = [replace(part, x=_filled(part.x, form)) for part in series]
    stated = {part.split for part in series} - {None}
    divisible = sum(_divisible(part) for part in series)
    in_blocks = stated < set(ROUND) and (form.blocks is not None or (form.window is not None and divisible == 1))
    cuts = []
    for part in series:
        stretches = [(part.split or "", slice(0, len(part.x)))]
        if in_blocks and _divisible(part):
            found = _stretches(len(part.x), form, least=FEWEST_ROWS // divisible)
            # What the user holds out is not held out again.
            stretches = [("train" if split in stated else split, own) for split, own in found]
        cuts.append(_starts(stretches, form))
    cuts = _complete(series, cuts, form, said=notes)
    places, labels_N, named = _divided(series, cuts, form, in_blocks=in_blocks)
    notes += [f"cut in time into blocks that are {form.steps} steps apart"] * in_blocks + named
    begins = np.cumsum([0, *(len(first) for first, _ in cuts)])
    training = [
        first[places["train"][(places["train"] >= begin) & (places["train"] < end)] - begin]
        for (first, _), (begin, end) in zip(cuts, pairwise(begins), strict=True)
    ]
    mean_F, deviation_F = _scale(series, training, features, form)
    x_NTF = np.concatenate([
        _windows(((part.x - mean_F) / deviation_F).astype(np.float32), first, form)
        for part, (first, _) in zip(series, cuts, strict=True)
    ])  # fmt: skip
    kept = distinct(x_NTF)
    notes += copies_note(len(x_NTF), len(kept))
    places = {split: own[np.isin(own, kept)] for split, own in places.items()}
    _check_splits(places, labels_N)
    return Data.of(
        as_splits(x_NTF if form.window is not None else x_NTF[:, 0], labels_N, places),
        name=name,
        modality="points" if form.window is None else "series",
        levels=None,
        value_range=(float(math.floor(x_NTF.min())), float(math.ceil(x_NTF.max()))),
        license=LICENSE,
        source=source,
        units=Units(names=tuple(features), mean=torch.from_numpy(mean_F), deviation=torch.from_numpy(deviation_F)),
        notes=notes,
    )


def _divisible(part: Series) -> bool:
    """Whether rows may be held out of a series: the user does not state that it is held out itself."""
    return part.split in (None, "train")


def _starts(stretches: Sequence[tuple[str, slice]], form: Form) -> Cut:
    """The first step of each window of these stretches of a series, and the split of its stretch."""
    firsts = [np.arange(own.start, own.stop - form.steps + 1, form.stride) for _, own in stretches]
    return np.concatenate(firsts), np.repeat([split for split, _ in stretches], [len(first) for first in firsts])


def _complete(series: Sequence[Series], cuts: Sequence[Cut], form: Form, *, said: list[str]) -> list[Cut]:
    """The windows that lack no number; raises `ValueError` where no series has a window."""
    found = []
    for part, (first, owner) in zip(series, cuts, strict=True):
        before_S = np.concatenate([[0], np.isnan(part.x).any(1).cumsum()])
        whole_N = before_S[first] == before_S[first + form.steps]
        found.append((first[whole_N], owner[whole_N]))
    counts = [len(first) for first, _ in cuts]
    if not any(counts):
        raise ValueError(f"a series must have the {form.steps} steps of a window, and the longest of {len(series)} has "
                         f"{max(len(part.x) for part in series)}: take a smaller window")  # fmt: skip
    if short := counts.count(0):
        said.append(f"left out {short} of {len(series)} series, which are shorter than a window")
    if lacking := sum(counts) - sum(len(first) for first, _ in found):
        said.append(f"left out {lacking} of {sum(counts)} rows of data, which lack a number")
    return found


def _divided(
    series: Sequence[Series], cuts: Sequence[Cut], form: Form, *, in_blocks: bool
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64] | None, list[str]]:
    """The places of the windows of each split, the labels of all, and a note on what the labels stand for."""
    owners = np.concatenate([owner for _, owner in cuts])
    if in_blocks:
        _check_splits({split: np.flatnonzero(owners == split) for split in ROUND}, None)
    # Rows of one table that stand by themselves belong to nothing but themselves.
    alone = form.window is None and form.group is None and sum(map(_divisible, series)) == 1
    windows = [(part, begin) for part, (first, _) in zip(series, cuts, strict=True) for begin in first]
    return divided(
        [str(begin) if alone else part.name for part, begin in windows],
        parts=owners.tolist() if in_blocks or series[0].split else None,
        classes=[str(part.labels[begin]) for part, begin in windows if part.labels is not None] or None,
        share=form.held_out,
        seed=form.seed,
    )


def _stretches(steps: int, form: Form, *, least: int) -> list[tuple[str, slice]]:
    """The blocks of a series of so many steps: rounds of one for each split, with a gap of a window between two.

    least: windows for training. Raises `ValueError` with the steps that it takes, where they are too few.
    """
    # What a block has beside one stride a window.
    more = form.steps - form.stride
    for rounds in range(MOST_ROUNDS, 0, -1) if form.blocks is None else [form.blocks]:
        count = len(ROUND) * rounds
        gaps = (count - 1) * form.steps
        windows = (steps - gaps - count * more) // form.stride
        held = _held(windows, form, rounds=rounds, least=max(least, rounds))
        if held and (gaps <= GAP_SHARE * steps or rounds == 1 or form.blocks is not None):
            break
    else:
        windows = 1
        while not _held(windows, form, rounds=rounds, least=max(least, rounds)):
            windows += 1
        raise ValueError(
            f"{count} blocks in time, {form.steps} steps apart, with windows of {form.steps} steps, need "
            f"at least {gaps + count * more + windows * form.stride} steps, and there are {steps}: take a "
            f"smaller window or stride{'' if rounds == 1 else ', or fewer blocks'}, or give more; for rows "
            "that stand alone, window: null"
        )
    training = np.array_split(np.arange(windows - 2 * rounds * held), rounds)
    lengths = [
        (split, more + form.stride * (len(training[turn]) if split == "train" else held))
        for turn in range(rounds)
        for split in ROUND
    ]
    return list(blocks(lengths, gap=form.steps))


def _held(windows: int, form: Form, *, rounds: int, least: int) -> int:
    """How many windows each block of validation and of test has: the share, and up to one more; 0 where they are too
    few for that and as many as `least` for training."""
    if windows < 2 * rounds + least:
        return 0
    share = share_held_out(form.held_out, rows=windows)
    room = windows - least
    return min(math.ceil(share * windows / rounds), room // (2 * rounds)) if 2 * share * windows <= room else 0


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
    mean_F, deviation_F = scale_of(train_SF, features)
    return (mean_F, deviation_F) if form.scale else (np.zeros_like(mean_F), np.ones_like(mean_F))


def _check_splits(places: Mapping[str, NDArray[np.int64]], labels_N: NDArray[np.int64] | None) -> None:
    """Raise `ValueError` for a split without a row, or without one of some class."""
    classes = 0 if labels_N is None else int(labels_N.max()) + 1
    for split, own in places.items():
        if len(own) == 0 or (labels_N is not None and len(set(labels_N[own].tolist())) < classes):
            raise ValueError(
                f"every split must have rows{' of each class' if classes else ''}, and {split} lacks some once those "
                "are left out that lack a number or equal another one: give more data, or another seed"
            )
