"""A veto on a trial that trains, from another process than the search's."""

from __future__ import annotations

from pathlib import Path

import pytest
from searches import SMALL, Search, assert_exact, shown

from hpo.messages import Event
from hpo.vetoes import veto

EPOCHS = 100  # a trial takes many messages


def ends(search: Search, trial: int) -> list[Event]:
    return [event for event in search.events() if event.trial == trial and event.end]


@pytest.mark.slow  # tests/browser/test_page.py vetoes trials that run, by the page
def test_a_veto_from_outside_stops_a_running_trial_and_the_search_goes_on(tmp_path: Path) -> None:
    study = SMALL | {
        "budget": {"trials": 2, "epochs": EPOCHS},
        "space": {"base": "vae", "lr": 1e-3, "optimizer": "adam", "width": 256, "depth": 2, "batch_size": 64},
        "pruner": "none",
    }
    search = Search(tmp_path, study)
    trial = search.wait_for(search.events, what="first epoch", seconds=300)[0].trial
    veto(search.home, trial, "its samples are blurred")
    (end,) = search.wait_for(lambda: ends(search, trial), what="end of the trial", seconds=30)
    assert (end.end, end.cause) == ("pruned", "veto: its samples are blurred")
    assert 0 < end.step < EPOCHS
    assert search.finish(seconds=600) == 0, search.output
    found = assert_exact(search, trials=2, epochs=EPOCHS)
    assert (found["counts"]["pruned"], found["counts"]["lost"]) == (1, 0)
    assert found["best"]["trial"] != trial
    last = max(event.step for event in search.events() if event.trial == trial)
    assert last == end.step, "nothing more was trained of it"
    veto(search.home, found["best"]["trial"], "a copy of the training rows")
    assert shown(search.home, tmp_path)["best"] is None, "both are vetoed"
