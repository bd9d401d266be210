"""The machine and the versions a benchmark ran on, as one markdown line for RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path


def line() -> str:
    """Return processor, cores, memory, system, versions and date."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "optuna", "mlflow", "torch"))
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {_processor()}, {cores} cores, {memory:.0f} GiB; {platform.system()} {platform.release()}; "
        f"Python {platform.python_version()}, {versions}; {datetime.date.today().isoformat()}."
    )


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()
