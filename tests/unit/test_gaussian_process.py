"""The Gaussian process: its rows have the covariance that is stated, and its density is that of a library."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from trainables.data import gaussian_process

SHA256 = "91c51415ae6324b3201e96bb057ba64fc7e5d9756b7b087d13008c7147931365"
KERNELS = ("rbf", "periodic")


def test_the_content_is_pinned() -> None:
    # Another hash is another data set: results would no longer compare with those of earlier versions.
    assert gaussian_process.load().sha256 == SHA256


def test_the_covariances_are_those_of_rgan_with_noise() -> None:
    rbf, periodic = (gaussian_process.covariance(kernel) for kernel in KERNELS)
    assert rbf[7, 7] == pytest.approx(0.201, abs=1e-12)
    assert rbf[4, 7] == pytest.approx(0.2 * math.exp(-0.9), abs=1e-12)
    # Their kernel of height 0.1, frequency 1.45 / 30 and gamma 7, times the 0.2 by which they scale all of them.
    assert periodic[0, 0] == pytest.approx(0.2 * 0.1 + 0.001, abs=1e-12)
    assert periodic[25, 20] == pytest.approx(
        0.02 * math.exp(-7.0 * math.sin(2.0 * math.pi * 5 * 1.45 / 30) ** 2), abs=1e-12
    )


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_rows_have_that_covariance(kernel: str) -> None:
    data = gaussian_process.load(kernel=kernel)
    for count, (_, split) in zip((10_000, 2000, 2000), data.splits(), strict=True):
        x = split.x[:, :, 0].double().numpy()
        assert x.shape == (count, 30)
        expected = gaussian_process.covariance(kernel)
        error = np.sqrt((np.outer(expected.diagonal(), expected.diagonal()) + expected**2) / count)
        # 465 entries that hang together; the largest of so many normal numbers is about 3.
        assert (np.abs(x.T @ x / count - expected) / error).max() < 4.5
        assert np.abs(x.mean(0) / np.sqrt(expected.diagonal() / count)).max() < 4.0


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_density_is_the_normal_one(kernel: str) -> None:
    x = gaussian_process.load(kernel=kernel).test.x[:50]
    normal = stats.multivariate_normal(np.zeros(30), gaussian_process.covariance(kernel))
    found = gaussian_process.log_density(x, kernel=kernel)
    assert found.dtype == torch.float64
    assert np.allclose(found.numpy(), normal.logpdf(x[:, :, 0].double().numpy()), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_density_tells_the_rows_from_slightly_noisy_ones(kernel: str) -> None:
    x = gaussian_process.load(kernel=kernel).test.x
    found = gaussian_process.log_density(x, kernel=kernel)
    a = gaussian_process.covariance(kernel)
    entropy = 0.5 * np.linalg.slogdet(2.0 * math.pi * math.e * a)[1]
    assert float(found.mean()) == pytest.approx(-entropy, abs=4 * float(found.std()) / math.sqrt(len(x)))
    noisy = x.double() + 0.02 * torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    loss = found - gaussian_process.log_density(noisy, kernel=kernel)
    # E (x + s e)^T A^-1 (x + s e) is larger by s^2 tr A^-1.
    expected = 0.5 * 0.02**2 * np.trace(np.linalg.inv(a))
    assert expected > 2.0
    assert float(loss.mean()) == pytest.approx(expected, abs=4 * float(loss.std()) / math.sqrt(len(x)))


def test_options_change_what_they_name() -> None:
    data, few = gaussian_process.load(), gaussian_process.load(rows=10)
    assert len(few.train) == 10
    assert torch.equal(few.validation.x, data.validation.x)
    periodic = gaussian_process.load(kernel="periodic")
    assert periodic.value_range[1] == pytest.approx(6.0 * math.sqrt(0.021))
    assert periodic.sha256 != data.sha256
    with pytest.raises(ValueError, match="rows of gaussian_process must be at least 1, and they are 0"):
        gaussian_process.load(rows=0)
    with pytest.raises(ValueError, match="the kernel is 'rbf' or 'periodic', and it is 'linear'"):
        gaussian_process.load(kernel="linear")
