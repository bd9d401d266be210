"""The Frechet and the kernel distance against torchmetrics, given our features."""

import pytest
import torch
from torch import Tensor, nn

# By their modules: without torch-fidelity the package does not list them.
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from trainables.data import digits
from trainables.data._data import Data
from trainables.metrics import kid
from trainables.metrics._features import Extractor, features_of
from trainables.metrics._frechet import distance
from trainables.metrics._mmd import squared_mmd


class Ours(nn.Module):
    """Our extractor as the feature network of torchmetrics: images [N, 1, 8, 8] of 17 levels to [N, 64]."""

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, x: Tensor) -> Tensor:
        return self.extractor(x)


@pytest.fixture(scope="module")
def data() -> Data:
    return digits.load()


@pytest.fixture(scope="module")
def ours(data: Data) -> Ours:
    extractor = features_of(data).extract
    assert isinstance(extractor, Extractor)
    return Ours(extractor)


def samples_of(data: Data) -> Tensor:
    noise = torch.randint(-3, 4, data.test.x.shape, generator=torch.Generator().manual_seed(0))
    return (data.test.x + noise).clamp(0, 16).to(torch.uint8)


def test_the_frechet_distance_is_that_of_torchmetrics(data: Data, ours: Ours) -> None:
    reference = FrechetInceptionDistance(feature=ours, input_img_size=(1, 8, 8))
    for rows, real in ((data.validation.x, True), (samples_of(data), False)):
        for part in rows.split(100):
            reference.update(part, real=real)
    found = distance(ours(data.validation.x), ours(samples_of(data)))
    assert found.value == pytest.approx(float(reference.compute()), rel=1e-6)


@pytest.mark.filterwarnings("ignore:Metric `Kernel Inception Distance` will save all:UserWarning")
def test_the_kernel_distance_is_that_of_torchmetrics(data: Data, ours: Ours) -> None:
    """It takes equally many of both; our features are divided by the root of their number, so gamma is 1."""
    rows, samples = data.validation.x, samples_of(data)[:300]
    reference = KernelInceptionDistance(feature=ours, subsets=1, subset_size=300, gamma=1.0)
    reference.update(rows, real=True)
    reference.update(samples, real=False)
    mean, _ = reference.compute()
    found = squared_mmd(ours(rows), ours(samples), kid.cubic)
    assert found.value == pytest.approx(float(mean), rel=1e-9)
