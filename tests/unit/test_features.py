"""The features in which rows and samples are compared: of images without labels, of series and of points."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainables.data import digits, ring
from trainables.data._data import Data, Split, content_hash
from trainables.metrics import _features
from trainables.metrics._features import HEAVIEST, Extractor, Numbers, features_of, train_extractor
from trainables.metrics._frechet import distance


def unlabeled(data: Data) -> Data:
    parts = {name: Split(x=split.x) for name, split in data.splits()}
    return replace(data, sha256=content_hash(parts), **parts)


def series(x: Tensor) -> Data:
    parts = {name: Split(x=x) for name in ("train", "validation", "test")}
    return replace(ring.load(rows=8), modality="series", sha256=content_hash(parts), **parts)


@pytest.fixture(scope="module")
def data() -> Data:
    return unlabeled(digits.load())


@pytest.fixture(scope="module")
def extractor(data: Data) -> Extractor:
    found = features_of(data).extract
    assert isinstance(found, Extractor)
    return found


def test_without_labels_the_extractor_learns_to_tell_turned_images(data: Data, extractor: Extractor) -> None:
    shares = []
    for turn in range(4):
        images = (data.test.x.float() / 8 - 1).rot90(turn, (2, 3))
        told = extractor.classifier.classes(extractor.classifier(images).relu()).argmax(1)
        shares.append(float((told == turn).double().mean()))
    assert min(shares) > 0.8


def test_features_without_labels_rank_what_generators_get_wrong(data: Data, extractor: Extractor) -> None:
    x, generator = data.train.x, torch.Generator().manual_seed(0)
    labels = digits.load().train.labels
    assert labels is not None
    noisy = x + 4 * torch.randn(x.shape, generator=generator)
    independent = x.flatten(1).gather(0, torch.randint(len(x), (len(x), 64), generator=generator)).view_as(x)
    rows = extractor(data.validation.x)
    ranked = [distance(rows, extractor(samples)).value for samples in (x, x[labels != 8], noisy, independent)]
    assert ranked == sorted(ranked)
    assert ranked[0] < ranked[-1] / 10


def test_its_features_are_standardized_on_the_training_rows(data: Data) -> None:
    train = features_of(data).train
    assert torch.allclose(train.mean(0), torch.zeros(64, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(train.std(0), torch.full((64,), 1 / 8, dtype=torch.float64), rtol=1e-6)


def test_it_is_trained_once_and_labels_make_another_one(data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    features_of(data)
    trained: list[str] = []
    monkeypatch.setattr(_features, "train_extractor", lambda data: trained.append(data.sha256) or Numbers.of(data))
    monkeypatch.setattr(_features, "_FEATURES", dict(_features._FEATURES))
    features_of(unlabeled(digits.load()))
    assert not trained
    features_of(digits.load(split="ordered"))
    assert len(trained) == 1


def test_images_that_are_not_square_are_turned_by_halves(monkeypatch: pytest.MonkeyPatch, data: Data) -> None:
    monkeypatch.setattr(_features, "STEPS", 2)
    parts = {name: Split(x=split.x[:, :, :, :5]) for name, split in data.splits()}
    found = train_extractor(replace(data, **parts))
    assert found.classifier.classes.out_features == 2
    assert found(parts["test"].x).shape == (497, 64)


def test_numbers_of_series_are_standardized_by_feature_over_rows_and_steps() -> None:
    x = torch.randn(50, 7, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 3.0]) + 5.0
    found = features_of(series(x)).train.view(50, 7, 2)
    assert torch.allclose(found.mean((0, 1)), torch.zeros(2, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(found.flatten(0, 1).std(0), torch.ones(2, dtype=torch.float64), rtol=1e-9)
    # A step has no scale of its own.
    assert torch.allclose(found[:, 0, 1], (x[:, 0, 1].double() - x[:, :, 1].double().mean()) / x[..., 1].double().std())


def test_a_number_that_hardly_differs_is_not_blown_up() -> None:
    x = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
    x[:, 1] = 0.0
    numbers = Numbers.of(series(x[:, None]))
    deviation = float(x[:, 0].double().std())
    away = numbers(torch.tensor([[[0.0, 1.0]]]))[0, 1]
    assert float(away) == pytest.approx(HEAVIEST / (deviation / 2**0.5), rel=1e-6)
