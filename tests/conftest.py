"""What all tests share."""

import pytest
import torch


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """One thread, as every worker has it: tiny operations on several threads mostly wait for each other."""
    torch.set_num_threads(1)
