"""The generated mixtures: their content, and where `random_mixture` puts its modes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from trainables.data import grid, random_mixture, ring
from trainables.data._data import Data

# Another hash is another data set: results would no longer compare with those of earlier versions.
SHA256 = {
    "ring": "098206ba7bc2df5562b69664ac5af117b16e41d2a9449defb8a028d8c82dee28",
    "grid": "bf376af726e51d906837a2a05c8e1dff24f32dc9c3c2c929e738e1772fdc97df",
    "random_mixture": "fbd03a38473a48adcbcec81bd9e9e434351a412c1f35792b2d4076cf4d8ac0ea",
}


def means(data: Data) -> Tensor:
    assert data.train.labels is not None
    return torch.stack([data.train.x[data.train.labels == label].double().mean(0) for label in range(data.classes)])


@pytest.mark.parametrize("data", [ring.load(), grid.load(), random_mixture.load()], ids=lambda data: data.name)
def test_the_content_is_pinned(data: Data) -> None:
    assert data.sha256 == SHA256[data.name]


@pytest.mark.parametrize(("modes", "seed"), [(1, 0), (2, 1), (16, 0), (16, 1), (60, 2)])
def test_random_modes_are_round_and_ten_standard_deviations_apart(modes: int, seed: int) -> None:
    data = random_mixture.load(modes=modes, seed=seed)
    assert data.classes == modes
    places = means(data)
    for _, split in data.splits():
        assert split.labels is not None
        assert int(split.labels.bincount().max() - split.labels.bincount().min()) <= 1
        spread = (split.x.double() - places[split.labels]).std(0)
        assert np.allclose(spread, 0.05, rtol=0.05)
    if modes > 1:
        # A mean of n rows is off by 0.05 / sqrt(n).
        error = 0.05 / (10_000 / modes) ** 0.5
        assert float(torch.pdist(places).min()) > 0.5 - 6 * error


def test_the_seed_moves_the_modes_and_rows_change_the_training_rows_alone() -> None:
    data = random_mixture.load()
    other, few = random_mixture.load(seed=1), random_mixture.load(rows=16)
    assert float((means(other) - means(data)).norm(dim=1).min()) > 0.05
    assert (len(few.train), len(few.validation)) == (16, 2500)
    assert torch.equal(few.validation.x, data.validation.x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modes": 0}, "modes of random_mixture must be at least 1, and they are 0: raise them"),
        ({"seed": -1}, "the seed of random_mixture must not be negative, and it is -1"),
        ({"rows": 15}, "rows of random_mixture must be at least 16, one a mode, and they are 15"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        random_mixture.load(**options)
