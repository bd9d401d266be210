"""The machine and the versions a benchmark ran on, as one markdown line for RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import shutil
import subprocess
from pathlib import Path

PACKAGES = ("ray", "optuna", "mlflow", "torch")


def line() -> str:
    """Return processor, cores, memory, GPUs, system, the versions of what is installed, and date."""
    versions = "".join(f", {name} {version}" for name in PACKAGES if (version := _version(name)))
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"Machine: {_processor()}, {cores} cores, {memory:.0f} GiB, {_gpus()}; {platform.system()} "
        f"{platform.release()}; Python {platform.python_version()}{versions}; {datetime.date.today().isoformat()}."
    )


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:  # a machine that only trains has no ray
        return None


def _gpus() -> str:
    """Name, memory and driver of each GPU, as its own tool says: torch need not be imported for this."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return "no GPU"
    query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    found = subprocess.run(query, capture_output=True, text=True, check=False, timeout=60)
    return "; ".join(found.stdout.strip().splitlines()) if found.returncode == 0 and found.stdout.strip() else "no GPU"


def _processor() -> str:
    for text in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if text.startswith("model name"):
            return text.partition(":")[2].strip()
    return platform.machine()
