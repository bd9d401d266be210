"""`hpo search` as a user runs it: a process of its own, watched from outside through its home and its children."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import yaml

from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Start

HPO = [str(Path(sys.executable).with_name("hpo"))]
SMALL: dict[str, Any] = {
    "name": "small",
    "model": "vae",
    "data": "digits",
    "space": "vae",
    "objective": "nll",
    "budget": {"trials": 8, "epochs": 9},
    "resources": {"workers": 2},
}


def hpo(*arguments: str | Path, folder: Path, seconds: float = 240) -> subprocess.CompletedProcess[str]:
    """Run one `hpo` command to its end."""
    return subprocess.run(
        [*HPO, *map(str, arguments)], cwd=folder, env=environment(), capture_output=True, text=True, timeout=seconds
    )


def environment() -> dict[str, str]:
    """The tests' environment: a log rather than a terminal, and no usage report."""
    return os.environ | {"RAY_USAGE_STATS_ENABLED": "0", "COLUMNS": "200"}


class Search:
    """A running `hpo search` of one study file in one home, begun again by `start` after it was killed."""

    def __init__(self, folder: Path, study: dict[str, Any], *options: str) -> None:
        self.folder = folder
        self.home = Home(folder / "home")
        self.file = folder / "study.yaml"
        self.file.write_text(yaml.safe_dump(study), encoding="utf-8")
        self._command = [*HPO, "search", "study.yaml", "--home", "home", *options]
        self._seen: dict[int, psutil.Process] = {}
        self.start()

    def start(self) -> None:
        """Run the command, once more."""
        self._out = (self.folder / "output.txt").open("wb")
        self.process = psutil.Popen(
            self._command,
            cwd=self.folder,
            env=environment(),
            stdout=self._out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        return (self.folder / "output.txt").read_text(encoding="utf-8")

    def events(self) -> list[Event]:
        return [record for record in EventLog(self.home).read()[0] if isinstance(record, Event)]

    def starts(self) -> list[Start]:
        """The start of each placement, as it was told last."""
        starts = (record for record in EventLog(self.home).read()[0] if isinstance(record, Start))
        return list({(start.trial, start.time): start for start in starts}.values())

    def wait_for(self, condition: Callable[[], Any], *, what: str, seconds: float = 120) -> Any:
        """Return the first true value of the condition; fail where the search ends or time runs out before."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._look()
            if value := condition():
                return value
            assert self.process.poll() is None, f"the search ended before {what}:\n{self.output}"
            time.sleep(0.05)
        raise AssertionError(f"no {what} within {seconds} s:\n{self.output}")

    def worker(self, title: str) -> psutil.Process | None:
        """Return a Ray process of the search by its title: `ray::_Inner`, `ray::StudyServer`."""
        for process in self._look():
            try:
                if process.cmdline() and process.cmdline()[0].startswith(title):
                    return process
            except psutil.Error:
                continue
        return None

    def finish(self, *, seconds: float = 240) -> int:
        """Wait for the end; return the exit code, with every process of the search gone."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"still running after {seconds} s:\n{self.output}"
            self._look()
            time.sleep(0.1)
        self._out.close()
        self.assert_nothing_left()
        return int(self.process.returncode)

    def signal(self, number: signal.Signals) -> None:
        """Signal the whole process group, Ray included, as a terminal, `timeout` and batch systems do."""
        self._look()
        os.killpg(self.process.pid, number)

    def kill(self) -> None:
        """kill -9 of the driver alone, as the kernel's memory killer does it."""
        self._look()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._out.close()

    def assert_nothing_left(self, *, seconds: float = 90) -> None:
        """Every process that the search ever started is gone, or goes by itself.

        After a kill -9 of the driver two of Ray's agents try for a minute to tell the dead cluster of it, and then end.
        """
        _, alive = psutil.wait_procs([p for p in self._seen.values() if p.is_running()], timeout=seconds)
        left = [p for p in alive if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
        assert not left, left

    def _look(self) -> list[psutil.Process]:
        try:
            children = self.process.children(recursive=True)
        except psutil.Error:
            children = []
        self._seen.update({child.pid: child for child in children})
        return children


def shown(home: Home, folder: Path) -> dict[str, Any]:
    """What `hpo show --json` says of a home."""
    result = hpo("show", home.path, "--json", folder=folder)
    assert result.returncode == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def assert_exact(search: Search, *, trials: int, epochs: int) -> dict[str, Any]:
    """The totals of a finished study: the budget used exactly, nothing running, nothing trained twice to its end."""
    found = shown(search.home, search.folder)
    counts = found["counts"]
    assert counts["done"] + counts["pruned"] + counts["died"] == trials, counts
    assert counts["running"] == counts["waiting"] == counts["lost"] == 0, counts
    ended = Counter(event.trial for event in search.events() if event.end is not None)
    assert set(ended.values()) == {1}
    assert sorted(ended) == [trial["number"] for trial in found["trials"]] == list(range(trials))
    steps = Counter((event.trial, event.step) for event in search.events() if event.end != "pruned")
    assert set(steps.values()) == {1}, "an epoch is in the log twice"
    for trial in found["trials"]:
        assert trial["end"] != "done" or trial["steps"] == epochs
    return found
