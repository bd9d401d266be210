"""The folder that an export or a training writes: made whole or not at all, and only over one of ours."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo.configuration import CONFIG
from hpo.errors import RequestError
from hpo.study import read_yaml


def check_target(folder: Path) -> None:
    """Raise RequestError for a folder that holds what no export made."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not is_ours(folder))):
        raise RequestError(f"An export goes to a new folder, or over an earlier export; {folder} is neither. "
                           "Give another folder.")  # fmt: skip


@contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` that takes its place at the end: all of an export, or none of it."""
    check_target(folder)
    target = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        target.mkdir(parents=True)
    except OSError as error:
        raise RequestError(f"An export needs a folder that can be written; {folder}: {error.strerror}. "
                           "Give another folder.") from None  # fmt: skip
    try:
        yield target
        if folder.exists():
            shutil.rmtree(folder)
        target.rename(folder)
    finally:
        shutil.rmtree(target, ignore_errors=True)


def is_ours(folder: Path) -> bool:
    """Whether an export or a training wrote this folder."""
    try:
        return read_yaml(folder / CONFIG).get("format") == "hpo-config-1"
    except RequestError:
        return False
