"""The folder of a study: what may become one, and who may write it."""

from __future__ import annotations

import multiprocessing
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from hpo.errors import RequestError
from hpo.home import Home


def test_a_new_or_an_empty_folder_can_become_a_home(tmp_path: Path) -> None:
    Home(tmp_path / "a" / "b").check_writable()
    Home(tmp_path).check_writable()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(RequestError, match=r"holds other files and no study\.yaml"):
        Home(tmp_path).check_writable()


def test_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is a file"):
        Home(tmp_path / "file").check_writable()
    with pytest.raises(RequestError, match="must be writable"):
        Home(tmp_path / "file" / "below").check_writable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(RequestError, match="must be writable"):
        Home(tmp_path / "home").check_writable()


def test_what_is_no_home_cannot_be_read_as_one(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="a folder that `hpo search` made"):
        Home(tmp_path).require()


def _hold(path: Path, told: Connection, wait: Connection) -> None:
    with Home(path).locked():
        told.send(os.getpid())
        wait.recv()


def test_a_second_holder_is_refused_and_the_first_is_named(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told, tell = context.Pipe(duplex=False)
    release, wait = context.Pipe(duplex=True)
    process = context.Process(target=_hold, args=(tmp_path, tell, wait))
    process.start()
    try:
        pid = told.recv()
        home = Home(tmp_path)
        assert f"process {pid} on" in (home.holder() or "")
        with pytest.raises(RequestError, match=f"held by process {pid} on"), home.locked(wait_seconds=0.2):
            pass
        process.kill()  # the kernel frees the lock of a dead holder
        process.join()
        with home.locked(wait_seconds=5):
            assert home.holder() is not None
    finally:
        process.kill()
        process.join()
        for end in (told, tell, release, wait):
            end.close()
    assert home.holder() is None
