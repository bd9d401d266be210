"""What a model is told about data without the data: facts as JSON, and rows that stand in for those of training.

So a model can be built, and sampled from, where the data are not. Floor: torch and the record of data.
Axes: N rows, F features.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ._data import Data, Split, Units


def facts_of(data: Data) -> dict[str, Any]:
    """All but the rows, as JSON: `shape` and `dtype` of a row, `class_counts` of the training rows, None without
    labels."""
    units, labels = data.units, data.train.labels
    return {
        "name": data.name,
        "modality": data.modality,
        "shape": list(data.shape),
        "dtype": str(data.train.x.dtype).removeprefix("torch."),
        "levels": data.levels,
        "value_range": list(data.value_range),
        "class_counts": None if labels is None else torch.bincount(labels.cpu()).tolist(),
        "vocabulary": None if data.vocabulary is None else list(data.vocabulary),
        "sample_rate": data.sample_rate,
        "units": None if units is None else {
            "names": list(units.names), "mean": units.mean.tolist(), "deviation": units.deviation.tolist()
        },
        "license": data.license,
        "source": data.source,
        "sha256": data.sha256,
    }  # fmt: skip


def stand_in_rows(data: Data) -> Tensor:
    """[2, *shape], of the data's type and range: each number of the training rows at its mean, less and plus its
    standard deviation. Rows of these alone have the mean and the deviation of each number, where the range allows."""
    x = data.train.x.cpu().double()
    mean, deviation = x.mean(0), x.std(0, correction=0)
    two = torch.stack([mean - deviation, mean + deviation]).clamp(*data.value_range)
    return (two if data.levels is None else two.round()).to(data.train.x.dtype)


def stand_in(facts: Mapping[str, Any], rows: Tensor) -> Data:
    """Data of these facts whose rows are the two of `stand_in_rows` in turn, as many as there were labels; the
    validation and test rows are the two. Raises `ValueError` for facts of another form."""
    try:
        counts, units = facts["class_counts"], facts["units"]
        labels = None if counts is None else torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        train = Split(x=rows) if labels is None else Split(x=rows[torch.arange(len(labels)) % 2], labels=labels)
        two = Split(x=rows, labels=None if labels is None else labels[: len(rows)])
        low, high = facts["value_range"]
        return Data(
            name=facts["name"],
            modality=facts["modality"],
            train=train,
            validation=two,
            test=two,
            levels=facts["levels"],
            value_range=(low, high),
            license=facts["license"],
            source=facts["source"],
            sha256=facts["sha256"],
            sample_rate=facts["sample_rate"],
            vocabulary=None if facts["vocabulary"] is None else tuple(facts["vocabulary"]),
            units=None if units is None else Units(
                names=tuple(units["names"]), mean=_numbers(units["mean"]), deviation=_numbers(units["deviation"])
            ),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"facts about data are those that an export wrote, and these are not: {type(error).__name__}: {error}: "
            "export again"
        ) from None


def _numbers(written: list[float]) -> Tensor:
    return torch.tensor(written, dtype=torch.float64)
