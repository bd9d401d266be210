"""What the ledger keeps for groups of more than one slot: widths, slots, and who must be alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from ledgers import opened, report, toy_study, train

from hpo.home import Home
from hpo.messages import Placement
from hpo.rows import read_ledger, read_trials


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def fit(structure: str = "vae width=64", *, width: int = 8, device: str = "cpu") -> dict[str, Any]:
    seconds = {"1": 2e-3, "8": 1e-3}
    return {"structure": structure, "device": device, "seconds": seconds, "memory": {}, "width": width, "spent": 1.5}


def test_the_first_fit_of_a_structure_on_a_device_counts_and_outlives_a_restart(home: Home) -> None:
    ledger = opened(toy_study(), home)
    assert ledger.fits() == []
    assert ledger.record_fit(fit()) == fit()
    assert ledger.record_fit(fit(width=4)) == fit(), "the first that came counts"
    others = [fit("vae width=256", width=1), fit(device="NVIDIA H200", width=64)]
    assert [ledger.record_fit(other) for other in others] == others
    ledger.close()
    restarted = opened(toy_study(), home)
    assert restarted.fits() == [fit(), *others]
    assert restarted.record_fit(fit(width=2)) == fit()
    restarted.close()
    assert read_ledger(home, toy_study()).fits == [fit(), *others]


def test_a_groups_slots_are_kept_where_there_is_more_than_one(home: Home) -> None:
    ledger = opened(toy_study(), home)
    before = time.time()
    for group, slots in (("a", 1), ("b", 8), ("b", 8), ("c", 4)):
        ledger.record_slots(group, slots)
    ledger.close()
    found = read_ledger(home, toy_study()).slots
    assert {group: slots for group, (slots, _) in found.items()} == {"b": 8, "c": 4}
    assert before <= found["b"][1] <= found["c"][1] <= time.time()
    size = home.ledger.stat().st_size
    restarted = opened(toy_study(), home)
    restarted.record_slots("b", 8)
    restarted.close()
    assert '"slots:b"' not in home.ledger.read_bytes()[size:].decode(), "said once"


def placed(ledger: Any, group: str, *slots: int, seq: int = 1) -> list[int]:
    found = [ledger.place(group, seq, slot) for slot in slots]
    return [placement.trial for placement in found if placement is not None]


def test_on_its_last_try_a_trial_has_its_group_to_itself(home: Home) -> None:
    ledger = opened(toy_study(trials=8, resources={"retries": 2}), home)
    assert placed(ledger, "g0", 0, 1, 2) == [0, 1, 2]
    ledger.release("g0", failed=True, cause="killed")
    assert placed(ledger, "g1", 0, 1, 2) == [0, 1, 2], "one kill says little: they go on together"
    ledger.release("g1", failed=True, cause="killed")
    assert placed(ledger, "g2", 0, 1, 2) == [0]
    assert placed(ledger, "g3", 0, 1, 2) == [1]
    assert placed(ledger, "g2", 1, 2) == [], "nobody joins it"
    ledger.release("g2", failed=True, cause="killed")
    ledger.release("g3", failed=False, cause="")
    assert [row.end for row in read_trials(home, toy_study())[:3]] == ["lost", "waiting", "waiting"]
    ledger.close()


def test_a_trial_on_its_last_try_does_not_keep_others_from_a_busy_group(home: Home) -> None:
    ledger = opened(toy_study(trials=8, resources={"retries": 1}, pruner="none"), home)
    assert placed(ledger, "g0", 0) == [0]
    assert placed(ledger, "g1", 0) == [1]
    ledger.release("g0", failed=True, cause="killed")
    assert placed(ledger, "g1", 1, 2) == [2, 3], "others fill the group that is busy"
    assert placed(ledger, "g2", 0, 1) == [0]
    ledger.close()


def test_without_a_queue_nothing_is_asked_for_a_group_that_takes_none(home: Home) -> None:
    ledger = opened(toy_study(trials=8, resources={"retries": 1}), home)
    placed(ledger, "g0", 0)
    ledger.release("g0", failed=True, cause="killed")
    assert placed(ledger, "g1", 0, 1, 2) == [0]
    assert ledger.status().queued == 0
    ledger.close()


@pytest.mark.parametrize(("ahead", "length"), [(0, 0), (2, 5)])
def test_the_queue_grows_with_the_slots_unless_there_is_none(home: Home, ahead: int, length: int) -> None:
    ledger = opened(toy_study(trials=20), home, ahead=ahead)
    ledger.look_ahead(5)
    ledger.look_ahead(3)
    while ledger.ask_ahead():
        pass
    assert ledger.status().queued == length
    ledger.close()


def test_trials_of_one_batch_are_decided_together(home: Home) -> None:
    """At a rung all values of a batch count, whatever the order of slots."""
    ends = []
    for order in (1, -1):
        place = Home(home.path / str(order))
        place.path.mkdir(parents=True)
        ledger = opened(toy_study(trials=8, sampler="random"), place)
        given = [ledger.place("g", 1, slot) for slot in range(8)]
        known = [placement for placement in given if isinstance(placement, Placement)]
        ledger.record([report(placement, 1, epochs=4) for placement in known[::order]])
        ends.append([row.end for row in read_trials(place, toy_study())])
        ledger.close()
    assert ends[0] == ends[1]
    assert "pruned" in ends[0]
    assert "running" in ends[0]


def test_a_whole_study_in_slots_has_exact_totals(home: Home) -> None:
    ledger = opened(toy_study(trials=20), home)
    slots: dict[int, Placement] = {}
    for seq in range(1, 100):
        for slot in set(range(8)) - set(slots):
            if (placement := ledger.place("g", seq, slot)) is not None:
                slots[slot] = placement
        if not slots:
            break
        slot = min(slots)
        train(ledger, slots.pop(slot))
    status = ledger.status()
    ledger.close()
    assert status.done + status.pruned + status.died == 20
    assert status.over
