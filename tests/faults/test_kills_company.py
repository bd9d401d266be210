"""Real kills under Ray while eight trials share a stack, each at an epoch of its own; then the same exact totals."""

from __future__ import annotations

import itertools
import signal
from collections import Counter
from collections.abc import Set
from pathlib import Path
from typing import Any

import pytest
from searches import SMALL, Search, assert_exact, shown

TRIALS, EPOCHS, GRACE, SLOTS, CHECKPOINT_SECONDS = 20, 36, 12, 8, 1.0
STUDY: dict[str, Any] = SMALL | {
    "budget": {"trials": TRIALS, "epochs": EPOCHS},
    # One structure; epochs of two lengths, so that members stand amidst theirs when others end.
    "space": {"base": "vae", "latent": 8, "width": 64, "depth": 1, "batch_size": [32, 64]},
    "objective": "elbo",
    "sampler": "random",
    "pruner": {"name": "asha", "grace": GRACE, "eta": 3},
    "fuse": SLOTS,
    "resources": {"workers": 1, "checkpoint_seconds": CHECKPOINT_SECONDS, "retries": 2},
}


def running(search: Search) -> dict[int, int]:
    """The last recorded step of each trial that has one and has not ended."""
    steps: dict[int, int] = {}
    for event in search.events():
        steps[event.trial] = event.step
    ended = {event.trial for event in search.events() if event.end}
    return {trial: step for trial, step in steps.items() if trial not in ended}


def groups(search: Search) -> set[str]:
    return {start.group for start in search.starts()}


def wait_until_mixed(search: Search, *, after: int = 0, besides: Set[str] = frozenset()) -> None:
    """Wait until more events have come, and every slot of one group holds a trial that has begun, at steps far apart.

    besides: groups that are gone; what they still say does not count.
    """

    def mixed() -> bool:
        steps = running(search)
        last = {start.trial: start.group for start in search.starts()}
        here = [step for trial, step in steps.items() if last[trial] not in besides]
        return len(search.events()) > after and len(here) == SLOTS and max(here) - min(here) >= 5

    search.wait_for(mixed, what="members at different epochs")


def test_a_stack_survives_the_server_its_worker_the_driver_and_sigterm(tmp_path: Path) -> None:
    search = Search(tmp_path, STUDY)
    wait_until_mixed(search)
    search.wait_for(lambda: search.worker("ray::StudyServer"), what="server").kill()
    wait_until_mixed(search, after=len(search.events()) + SLOTS)
    assert len(search.starts()) == len({start.trial for start in search.starts()}), "the group went on"

    gone = groups(search)
    search.wait_for(lambda: search.worker("ray::ResourceTrainable.train"), what="worker").kill()
    wait_until_mixed(search, after=len(search.events()) + SLOTS, besides=gone)
    gone = groups(search)
    search.kill()
    search.start()
    wait_until_mixed(search, after=len(search.events()) + SLOTS, besides=gone)
    search.signal(signal.SIGTERM)
    assert search.finish(seconds=90) == 130, search.output
    search.start()
    assert search.finish() == 0, search.output

    found = assert_exact(search, trials=TRIALS, epochs=EPOCHS)
    assert {trial["steps"] for trial in found["trials"]} == {GRACE, EPOCHS}
    assert max(Counter(start.trial for start in search.starts()).values()) <= 4, "placed again by three of the four"
    assert_little_repeated(search, found, kills=3 * SLOTS)


@pytest.mark.slow
def test_ctrl_c_leaves_a_stack_at_the_end_of_each_members_epoch(tmp_path: Path) -> None:
    search = Search(tmp_path, STUDY | {"resources": {"workers": 1, "checkpoint_seconds": 3600.0}})
    wait_until_mixed(search)
    search.process.send_signal(signal.SIGINT)  # to the driver alone
    assert search.finish(seconds=90) == 130, search.output
    counts = shown(search.home, tmp_path)["counts"]
    assert (counts["running"], counts["waiting"]) == (0, len(running(search))), "who did not end waits"
    assert counts["waiting"] > 1
    search.start()
    assert search.finish() == 0, search.output
    found = assert_exact(search, trials=TRIALS, epochs=EPOCHS)
    assert found["epochs_repeated"] == 0, "nothing was saved before, and nothing is trained again"


def assert_little_repeated(search: Search, found: dict[str, Any], *, kills: int) -> None:
    """At most one checkpoint interval a running trial was trained again: the epochs that fit into it, and one."""
    times: dict[int, list[float]] = {}
    for event in search.events():
        times.setdefault(event.trial, []).append(event.time)
    steps = [later - earlier for trial in times.values() for earlier, later in itertools.pairwise(trial)]
    fastest = sorted(steps)[len(steps) // 20]
    bound = kills * (CHECKPOINT_SECONDS / max(fastest, 1e-3) + 1)
    assert found["epochs_repeated"] <= bound, (found["epochs_repeated"], bound)
