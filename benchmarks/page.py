"""The page of `hpo ui` in Chromium: how soon it is seen and follows, what its server takes; Optuna's beside it.

    python -m benchmarks.page                          100, 1,000 and 10,000 simulated trials
    python -m benchmarks.page --trials 100 --repeats 1

Each size is one home of `benchmarks.homes`. Of our page: *open*, until the server answers (it reads the home first);
*first paint*, from going to the overview of an open server with an empty cache until its state can be read; *drawn*,
until every figure is there too; *turn*, from a click on Trials until the table is there; *update*, from the end of a
trial in the ledger until the open overview counts it, the second between two questions of the browser included;
*memory*, the server's proportional memory (PSS). optuna-dashboard runs as a process of its own on the same ledger,
through its own storage; its study page is drawn once its four figures are there. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from benchmarks import machine, processes, table
from benchmarks.homes import Simulated

HEADER = ["trials", "page", "open s", "first paint s", "drawn s", "turn s", "update s", "memory MiB"]
WAIT_MS = 180_000
_OPTUNA = """
import sys
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna_dashboard import run_server
run_server(JournalStorage(JournalFileBackend(sys.argv[1])), host="127.0.0.1", port=int(sys.argv[2]))
"""


def ours(browser: Browser, search: Simulated, *, repeats: int) -> list[str]:
    """Return the cells of our page over this home."""
    port = _free_port()
    command = [str(Path(sys.executable).with_name("hpo")), "ui", str(search.home.path), "--port", str(port)]
    began = time.perf_counter()
    with _server(command, port) as pid:
        opened = time.perf_counter() - began
        _settled(port)
        paints, drawn, turns, updates = [], [], [], []
        for _ in range(repeats):
            with _page(browser) as page:
                began = time.perf_counter()
                page.goto(f"http://127.0.0.1:{port}/0/overview")
                page.wait_for_selector("#blocks .tiles dd")
                paints.append(time.perf_counter() - began)
                page.wait_for_function(_ALL_DRAWN)
                drawn.append(time.perf_counter() - began)
                updates.append(_update(page, search))
                began = time.perf_counter()
                page.get_by_role("link", name="Trials", exact=True).click()
                page.wait_for_selector("#blocks tbody tr")
                turns.append(time.perf_counter() - began)
        return _cells("hpo ui", opened, [paints, drawn, turns, updates], pid)


_ALL_DRAWN = """() => {
  const graphs = [...document.querySelectorAll("#blocks .dash-graph")];
  return graphs.length > 3 && graphs.every(graph => graph.querySelector(".main-svg"));
}"""

_OPTUNAS_DRAWN = """() => {
  const graphs = [...document.querySelectorAll(".js-plotly-plot")];
  return graphs.length > 3 && graphs.every(graph => graph.querySelector(".main-svg"));
}"""


def _update(page: Page, search: Simulated) -> float:
    """Return the seconds from the end of one more trial until the open page counts it."""
    before = page.locator(".tiles dd").nth(1).inner_text()
    assert search.trial(), "the budget of the simulated search is used"
    began = time.perf_counter()
    page.wait_for_function("was => document.querySelectorAll('.tiles dd')[1].innerText !== was", arg=before)
    return time.perf_counter() - began


def optunas(browser: Browser, search: Simulated, *, repeats: int) -> list[str]:
    """Return the cells of optuna-dashboard on a copy of the same ledger, as it takes a lock beside it."""
    port = _free_port()
    ledger = search.home.path / "copy.journal"
    shutil.copyfile(search.home.ledger, ledger)
    began = time.perf_counter()
    with _server([sys.executable, "-c", _OPTUNA, str(ledger), str(port)], port) as pid:
        opened = time.perf_counter() - began
        _ask(f"http://127.0.0.1:{port}/api/studies")
        drawn = []
        for _ in range(repeats):
            with _page(browser) as page:
                began = time.perf_counter()
                page.goto(f"http://127.0.0.1:{port}/dashboard/studies/0")
                page.wait_for_function(_OPTUNAS_DRAWN)
                drawn.append(time.perf_counter() - began)
        return _cells("optuna-dashboard", opened, [[], drawn, [], []], pid)


def _cells(name: str, opened: float, timed: Sequence[list[float]], pid: int) -> list[str]:
    memory = _memory(pid) / 2**20
    return [name, f"{opened:.1f}", *(table.shown(statistics.median(seconds) if seconds else None, ".2f")
                                     for seconds in timed), f"{memory:.0f}"]  # fmt: skip


@contextlib.contextmanager
def _server(command: Sequence[str], port: int) -> Iterator[int]:
    """Start a server, wait until it answers, give its process id, and end it."""
    environment = os.environ | {"PYTHONPATH": str(processes.ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    try:
        deadline = time.monotonic() + WAIT_MS / 1000
        while True:
            with contextlib.suppress(OSError):
                _ask(f"http://127.0.0.1:{port}/")
                break
            if process.poll() is not None or time.monotonic() > deadline:
                raise processes.RunFailed(f"{command[0]} did not begin to answer")
            time.sleep(0.05)
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _settled(port: int) -> None:
    """Wait until the server has said what mattered: it is told in the version, and takes a core while it works."""
    deadline = time.monotonic() + WAIT_MS / 1000
    while re.search(r"--1-(held|free)", _ask(f"http://127.0.0.1:{port}/version/0")):
        if time.monotonic() > deadline:
            raise processes.RunFailed("the page never said what mattered")
        time.sleep(0.2)
    time.sleep(2.0)


@contextlib.contextmanager
def _page(browser: Browser) -> Iterator[Page]:
    """A page of a fresh profile, with nothing in its cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    yield context.new_page()
    context.close()


def _ask(address: str) -> str:
    with urllib.request.urlopen(address, timeout=WAIT_MS / 1000) as answer:
        content: bytes = answer.read()
    return content.decode("utf-8", errors="replace")


def _memory(pid: int) -> int:
    """Return the proportional memory of a process in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise processes.RunFailed(f"process {pid} is gone")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        number: int = found.getsockname()[1]
    return number


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is asked for and print it."""
    parser = argparse.ArgumentParser(description="Time the page of hpo ui in Chromium.")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--chromium", default=shutil.which("chromium") or "chromium")
    parser.add_argument("--keep", type=Path, help="a new folder that keeps the homes")
    options = parser.parse_args(arguments)
    print(machine.line())
    print(f"\n{table.head(HEADER)}", flush=True)
    with processes.kept(options.keep) as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.chromium, args=["--no-sandbox"])
        chromium = browser.version
        for trials in options.trials:
            search = Simulated(folder / f"home-{trials}", trials=trials + options.repeats + 1)
            search.run(trials)
            for arm in (ours, optunas):
                print(table.line([f"{trials:,}", *arm(browser, search, repeats=options.repeats)]), flush=True)
            search.close()
        browser.close()
        print(f"\nChromium {chromium}, without a GPU; medians of {options.repeats}.")


if __name__ == "__main__":
    main()
