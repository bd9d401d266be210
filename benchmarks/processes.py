"""Runs one arm of a benchmark in a process of its own, and leaves nothing of it behind. Linux only: it reads /proc.

Ray starts processes that outlive their driver by seconds, and by ever where the driver was killed. All of them inherit
a mark in their environment, by which they are found: those of others are never touched.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

_MARK = "BENCHMARK_RUN"
_LINGER_SECONDS = 15.0  # Ray's agents end by themselves within so long

# For every arm alike: no usage reports, no telemetry, Ray on the loopback interface.
_ENVIRONMENT = {
    "PYTHONPATH": str(ROOT),
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class RunFailed(Exception):
    """A command failed or took too long; the text holds the end of what it printed."""


@dataclass(frozen=True, kw_only=True)
class Clock:
    """When a process began, in seconds since 1970, and how long it lived."""

    began: float
    wall: float


@contextlib.contextmanager
def kept(folder: Path | None) -> Iterator[Path]:
    """Give this new folder, or one that is removed at the end; its name is short for the sake of Ray's sockets."""
    if folder is not None:
        folder.mkdir(parents=True)
        yield folder.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="hb-", ignore_cleanup_errors=True) as name:
        yield Path(name)


def run(command: Sequence[str], *, folder: Path, timeout: float) -> Clock:
    """Run the command in this folder to its end, with its output in `log.txt` there; raise RunFailed if it fails."""
    mark = uuid.uuid4().hex
    # A socket's path must stay short, so Ray's folder lies directly in the run's.
    own = {_MARK: mark, "RAY_TMPDIR": str(folder / "r"), "TMPDIR": str(folder)}
    environment = os.environ | _ENVIRONMENT | own
    log = folder / "log.txt"
    began = time.time()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        linger = 0.0
        try:
            code: int | None = process.wait(timeout)
            linger = _LINGER_SECONDS
        except subprocess.TimeoutExpired:
            code = None
        finally:
            wall = time.time() - began
            _clear(mark, linger=linger)
            process.wait()
    if code != 0:
        ended = f"took more than {timeout:.0f} s" if code is None else f"ended with exit code {code}"
        raise RunFailed(f"{' '.join(command)} {ended}. It printed, at the end:\n{_tail(log)}")
    return Clock(began=began, wall=wall)


def _clear(mark: str, *, linger: float) -> None:
    """Wait for the marked processes to go, then kill those that stay, and those they start meanwhile."""
    deadline = time.monotonic() + linger
    while marked := _marked(mark):
        if time.monotonic() > deadline:
            for pid in marked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(0.1)


def _marked(mark: str) -> list[int]:
    entry = f"{_MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and entry in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:  # gone meanwhile, or somebody else's
            continue
    return found


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-30:])
