"""The folder of one study: where each file of it lies, who may write it, and what is refused.

Only the process that holds `lock` writes the ledger and the event log. Imports errors alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hpo.errors import RequestError

STAGES = ("finalists", "final")  # of a selection, each a study of its own in the ledger of the search
_STAGE = re.compile(rf"({'|'.join(STAGES)})(-[0-9]+)?")

FREE_BYTES = 64 * 1024 * 1024  # below this a home is refused: a full disk tears the last line of a ledger


class Home:
    """Paths of one study's folder. Making the object touches nothing on disk.

    A stage of a selection has a home inside the home of its search, and shares its ledger, lock and MLflow's files.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().resolve()
        self.study = self.path / "study.yaml"
        self.events = self.path / "events"
        self.checkpoints = self.path / "checkpoints"
        self.samples = self.path / "samples"
        self.vetoes = self.path / "vetoes"
        self.tracking_offset = self.path / "tracking.offset"
        inside = _STAGE.fullmatch(self.path.name) is not None and (self.path.parent / "study.yaml").is_file()
        shared = self.path.parent if inside else self.path
        self.ledger = shared / "ledger.journal"
        self.mlflow_db = shared / "mlflow.db"
        self.mlartifacts = shared / "mlartifacts"
        self.tracking_lock = shared / "tracking.lock"
        self.lock_file = shared / "lock"
        self.report = self.path / "report.html"
        self.data_hash = self.path / "data.sha256"
        self.selection = self.path / "selection.json"
        self.card = self.path / "card.md"

    def __repr__(self) -> str:
        return f"Home({str(self.path)!r})"

    def stage(self, name: str, number: int) -> Home:
        """The home of one of `STAGES` in the selection of that number, from 1."""
        return Home(self.path / stage_name(name, number))

    def checkpoint(self, trial: int) -> Path:
        """The folder of one trial's checkpoint while it runs."""
        return self.checkpoints / f"trial-{trial:06d}"

    def weights(self, trial: int) -> Path:
        """The inference weights of a trial that is done."""
        return self.path / "weights" / f"trial-{trial:06d}.safetensors"

    def sheet(self, trial: int, step: int) -> Path:
        """The sample sheet of one trial at one step; sound and text lie beside it under the same name."""
        return self.samples / f"trial-{trial:06d}" / f"step-{step:06d}.png"

    def exists(self) -> bool:
        """Whether a study was begun here."""
        return self.study.is_file()

    def require(self) -> Home:
        """Return this home; raise RequestError where no study was begun in it."""
        if not self.exists():
            raise RequestError(
                f"A home is a folder that `hpo search` made, with a study.yaml in it; {self.path} has none. "
                "Give the folder that was passed as --home."
            )
        return self

    def check_writable(self) -> None:
        """Raise RequestError unless a study can begin or go on here. Creates nothing."""
        if self.path.exists() and not self.path.is_dir():
            raise RequestError(f"A home is a folder; {self.path} is a file. Give another --home.")
        if self.path.is_dir() and not self.exists() and any(self.path.iterdir()):
            raise RequestError(
                f"A new home is an empty folder or one that does not exist yet; {self.path} holds other files and no "
                "study.yaml. Give another --home."
            )
        parent = self.path
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise RequestError(f"A home must be writable; {parent} is not. Give another --home.")
        free = shutil.disk_usage(parent).free
        if free < FREE_BYTES:
            raise RequestError(
                f"A home needs {FREE_BYTES >> 20} MiB of free disk; {parent} has {free >> 20} MiB. Free some, or give "
                "another --home."
            )

    def check_data(self, sha256: str | None) -> None:
        """Raise RequestError where the study's trials were trained on data of another content.

        sha256: that of the data as they are now; None for a training function of the user's, which reads its own.
        """
        try:
            before = self.data_hash.read_text(encoding="ascii").strip()
        except FileNotFoundError:  # a new home, or one of an earlier release
            return
        if before != sha256:
            raise RequestError(
                f"data: trials of one study are trained on the same data; those in {self.path} saw content with the "
                f"hash {before[:12]}, and it is {'none' if sha256 is None else sha256[:12]} now. Put the files back as "
                "they were, or give another --home."
            )

    def keep_data(self, sha256: str | None) -> None:
        """Remember which data the study's trials see, for whoever holds the home."""
        if sha256 is not None and not self.data_hash.exists():
            self.data_hash.write_text(f"{sha256}\n", encoding="ascii")

    def holder(self) -> str | None:
        """Return who holds the lock, in words, or None where it is free."""
        try:
            with self.lock_file.open("r") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    return _named(file.read())
        except FileNotFoundError:
            pass
        return None

    @contextmanager
    def locked(self, *, wait_seconds: float = 30.0) -> Iterator[None]:
        """Hold the home for this process; the kernel frees it when the process dies, however it dies.

        A dying holder is waited for; after `wait_seconds` RequestError names the one that lives on.
        """
        deadline = time.monotonic() + wait_seconds
        with self.lock_file.open("a+") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        file.seek(0)
                        raise RequestError(second_driver(self, _named(file.read()))) from None
                    time.sleep(0.1)
            file.truncate(0)
            json.dump({"pid": os.getpid(), "host": socket.gethostname(), "since": time.ctime()}, file)
            file.flush()
            yield


def stage_name(name: str, number: int) -> str:
    """What a stage of a selection is called, as a folder and behind the name of its study."""
    return name if number == 1 else f"{name}-{number}"


def searched_name(study: str) -> str:
    """The name of the search that a study belongs to: that of a stage without what it adds, any other as it is."""
    name, _, stage = study.rpartition(".")
    return name if name and _STAGE.fullmatch(stage) else study


def second_driver(home: Home, holder: str) -> str:
    """Return the message for a home that another driver is using."""
    return (
        f"One driver at a time may search in a home; {home.path} is held by {holder}. "
        "Wait for it to end, or give another --home."
    )


def _named(content: str) -> str:
    try:
        value = json.loads(content)
        return f"process {value['pid']} on {value['host']} since {value['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
