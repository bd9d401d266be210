"""hpo.following: what is read piece by piece is what a fresh reading finds, and only what is new is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from searched import Fate, open_ledger, study, train

from hpo import analysis, vetoes
from hpo.errors import RequestError
from hpo.following import Follower
from hpo.home import Home


def test_a_home_that_grows_reads_as_a_fresh_reading_does(tmp_path: Path) -> None:
    home, made = Home(tmp_path / "home"), study(trials=4)
    home.path.mkdir()
    made.save(home.study)
    ledger = open_ledger(home, made)
    follower = Follower(home)
    versions = [follower.version()]
    fates = [
        Fate(values={9: 3.0}, files=("samples/trial-000000/step-000009.png",)),
        Fate(end="pruned", epochs=3, values={3: 7.0}, cause="lost at step 3"),
        Fate(end=None, epochs=2),
        Fate(values={9: 2.0}),
    ]
    for seq, fate in enumerate(fates, start=1):
        placement = ledger.place("g0", seq, seq)
        assert placement is not None
        follower.read()  # a reading in between, of a trial that has only begun
        train(ledger, placement, fate, epochs=9)
        versions.append(follower.version())
        # Trials of Optuna compare by their attributes; the followed ledger has the same ones.
        assert follower.read() == analysis.read(home)
    assert len(set(versions)) == len(versions)
    assert follower.version() == versions[-1]
    vetoes.veto(home, 3)
    best = analysis.best(follower.read())
    assert best is not None
    assert best.trial == 0
    ledger.close()


def test_only_what_is_new_is_read(tmp_path: Path) -> None:
    home, made = Home(tmp_path / "home"), study(trials=3)
    home.path.mkdir()
    made.save(home.study)
    ledger = open_ledger(home, made)
    follower = Follower(home)
    for seq in (1, 2):
        placement = ledger.place("g0", seq, seq)
        assert placement is not None
        train(ledger, placement, Fate(values={9: float(seq)}), epochs=9)
        if seq == 1:
            first = follower.read()
            # What was read is spoilt where it stands: whoever reads it again sees nothing but damage.
            for path in (home.events / "events.jsonl", home.ledger):
                size = path.stat().st_size
                with path.open("r+b") as file:
                    file.write(b"x" * (size - 1) + b"\n")
    second = follower.read()
    assert [row.value for row in second.rows] == [1.0, 2.0]
    assert second.rows[0] is first.rows[0]
    assert second.events[0] is first.events[0]
    ledger.close()


def test_what_is_no_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="A home is a folder"):
        Follower(Home(tmp_path))
