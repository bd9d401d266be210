"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread, as every worker has it: tiny operations on several threads mostly wait for each other."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def denormals_kept() -> Iterator[None]:
    """A worker and a benchmark flush denormal numbers for their whole process, which here is that of all tests."""
    yield
    torch.set_flush_denormal(False)


@pytest.fixture
def float64() -> Iterator[None]:
    """Parameters, knobs and noise in double precision: for figures that are to be equal but for rounding."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)
