"""What all tests share."""

from collections.abc import Iterator

import pytest
import torch
from servers import HOW_TO_GET, NO_CHROMIUM, NO_POSTGRES


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


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say in one line which tests were left out for want of PostgreSQL or a browser, and how to get them."""
    left_out = {
        report.nodeid.partition("[")[0].partition("::")[0]
        for report in terminalreporter.stats.get("skipped", [])
        if isinstance(report.longrepr, tuple) and any(lack in report.longrepr[2] for lack in (NO_POSTGRES, NO_CHROMIUM))
    }
    if left_out:
        terminalreporter.write_line(f"left out: {', '.join(sorted(left_out))}; to run them too: {HOW_TO_GET}")
