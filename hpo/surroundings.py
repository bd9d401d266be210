"""What a thread that writes to MLflow needs of its process: one writer, settings, silence, and facts.

Whatever is changed for the process is changed inside a context and taken back. Imports errors and the home's paths; no
MLflow, so that the settings are in force before it is there.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import logging
import os
import platform
import subprocess
import threading
from collections.abc import Iterator, Mapping

from hpo.errors import RequestError
from hpo.home import Home


@contextlib.contextmanager
def only_writer(home: Home) -> Iterator[None]:
    """Hold the right to write this home's runs: two writers would make each run twice. A dead process holds nothing."""
    with home.tracking_lock.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RequestError(
                f"One process at a time writes a home's runs to MLflow; the search in {home.path} does so itself. "
                "Give `hpo sync` when it has ended."
            ) from None
        yield


@contextlib.contextmanager
def environment(settings: Mapping[str, str]) -> Iterator[None]:
    """Set what the user has not set, and take it back. MLflow's client can be told these things in no other way."""
    ours = {name: value for name, value in settings.items() if name not in os.environ}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            os.environ.pop(name, None)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Drop what this thread logs through MLflow and the libraries below it; other threads log as before."""
    thread = threading.get_ident()

    def from_elsewhere(record: logging.LogRecord) -> bool:
        return record.thread != thread

    owners = [logging.getLogger(name) for name in ("", "mlflow", "alembic", "sqlalchemy.engine")]
    handlers = {handler for owner in owners for handler in owner.handlers}
    if logging.lastResort is not None:
        handlers.add(logging.lastResort)
    for handler in handlers:
        handler.addFilter(from_elsewhere)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(from_elsewhere)


def versions() -> dict[str, str]:
    """Return the installed versions of what decides a result. Imports none of it."""
    found = {"python": platform.python_version()}
    for name in ("generative-hpo", "torch", "numpy", "scikit-learn", "ray", "optuna", "mlflow"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def git_commit() -> str:
    """Return the commit of the current folder, "" where it is no repository or git is not there."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False)
        return found.stdout.strip() if found.returncode == 0 else ""
    return ""
