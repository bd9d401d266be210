"""A study fused under Ray gives each trial the values that it has by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from crews import finish, serve
from searches import SMALL, Search, assert_exact

from hpo.home import Home
from hpo.rows import read_trials
from hpo.study import Study

STUDY: dict[str, Any] = SMALL | {
    "budget": {"trials": 16, "epochs": 3},
    # Two sizes of batch share a stack, two of the latent do not.
    "space": {"base": "vae", "latent": [4, 8], "width": 64, "depth": 1, "batch_size": [32, 64]},
    "sampler": "random",
    "pruner": "none",
    "resources": {"workers": 1},
}


@pytest.mark.slow  # tests/faults/test_kills_company.py runs a stack under Ray, tests/unit the same values in a crew
def test_a_fused_search_gives_every_trial_the_values_it_has_alone(tmp_path: Path) -> None:
    search = Search(tmp_path, STUDY | {"fuse": 8})
    assert search.finish() == 0, search.output
    found = assert_exact(search, trials=16, epochs=3)
    assert found["width"] == 8
    assert 0.0 < found["occupancy"] <= 1.0
    request = Study(**STUDY)
    alone = Home(tmp_path / "alone")
    server = serve(request, alone)
    finish(server)
    server.close()
    for row, trial in zip(read_trials(alone, request), found["trials"], strict=True):
        assert (row.params, row.seed, row.end) == (trial["params"], trial["seed"], trial["end"])
        # float32: sums are taken in another order, and training carries the difference on.
        assert trial["value"] == pytest.approx(row.value, rel=1e-3), row
