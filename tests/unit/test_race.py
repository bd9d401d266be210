"""The race over fresh seeds: its statistics against closed forms, and its order through the real ledger."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import ledgers
import numpy as np
import pytest
from scipy import stats

from hpo.errors import RequestError
from hpo.home import Home, searched_name
from hpo.messages import Event, Placement
from hpo.race import Race, Standing, chances, eliminated, key_of
from hpo.rows import read_trials
from hpo.study import RACE, Budget, Method, Study

DEFAULT = {"lr": 0.01, "depth": 2, "optimizer": "adam", "width": 64}
GOOD = {"lr": 0.001, "depth": 1, "optimizer": "sgd", "momentum": 0.5, "width": 64}
BAD = {"lr": 0.04, "depth": 3, "optimizer": "adam", "width": 64}


def test_a_clear_loser_is_out_and_equals_are_not() -> None:
    near, far = Standing(values=(1.1, 0.9)), Standing(values=(5.0, 5.1))
    assert eliminated([Standing(values=(1.0, 1.2)), near, far], sign=1.0) == {2}
    assert eliminated([Standing(values=(1.0, 1.2)), near, far], sign=-1.0) == {0, 1}
    assert eliminated([Standing(values=(1.0, 1.2)), near, far], sign=1.0, level=0.0) == set()


def test_nobody_is_out_before_two_runs() -> None:
    assert eliminated([Standing(values=(1.0, 1.01)), Standing(values=(9.0,))], sign=1.0) == set()


def test_who_dies_twice_more_often_is_out() -> None:
    standings = [Standing(values=(1.0, 1.1)), Standing(values=(0.5,), died=1), Standing(died=2)]
    assert eliminated(standings, sign=1.0) == {2}


def test_of_two_the_bound_is_that_of_the_t_test() -> None:
    # Two runs each, of variance 0.5 each: the pooled test has 2 degrees of freedom and a standard error of sqrt(0.5).
    bound = float(stats.t.ppf(0.95, 2)) * math.sqrt(0.5)
    first = Standing(values=(0.0, 1.0))
    for beyond, out in ((0.99, set()), (1.01, {1})):
        shift = bound * beyond
        assert eliminated([first, Standing(values=(shift, 1.0 + shift))], sign=1.0) == out


def test_the_best_of_equals_is_seldom_eliminated() -> None:
    generator = np.random.default_rng(0)
    lost = sum(
        0 in eliminated([Standing(values=tuple(generator.normal(size=3))) for _ in range(4)], sign=1.0)
        for _ in range(2000)
    )
    assert lost / 2000 < 0.05


def test_the_chance_of_two_is_that_of_students_t() -> None:
    ours, others = (1.0, 1.4, 0.9, 1.3), (1.5, 1.2, 1.7, 1.4)
    variance = (np.var(ours, ddof=1) + np.var(others, ddof=1)) / 2
    t = (np.mean(others) - np.mean(ours)) / math.sqrt(variance / 2)
    exact = float(stats.t.cdf(t, 6))
    found = chances([Standing(values=ours), Standing(values=others)], sign=1.0)
    assert found[0] == pytest.approx(exact, abs=0.005)
    assert sum(found) == pytest.approx(1.0)
    assert chances([Standing(values=ours), Standing(values=others)], sign=-1.0)[1] == pytest.approx(exact, abs=0.005)


def test_who_died_more_often_has_no_chance() -> None:
    standings = [Standing(values=(1.0, 1.1)), Standing(values=(0.1,), died=1), Standing(values=(1.0, 1.1))]
    found = chances(standings, sign=1.0)
    assert found[1] == 0.0
    assert found[0] == pytest.approx(0.5, abs=0.01)
    assert chances([Standing(values=(1.0,)), Standing(values=(2.0,))], sign=1.0) == [0.5, 0.5]


def test_deaths_come_before_constraints_and_these_before_means() -> None:
    ordered = [
        Standing(values=(3.0,)),
        Standing(values=(1.0,), broken=0.1),
        Standing(values=(0.5,), died=1),
        Standing(died=2),
    ]
    assert sorted([ordered[place] for place in (2, 0, 3, 1)], key=lambda one: one.rank(1.0)) == ordered


def test_one_run_that_went_wrong_does_not_decide() -> None:
    collapsed_once, middling = Standing(values=(1.0, 1.1, 1.0, 9.0)), Standing(values=(2.0, 2.1, 2.0, 2.1))
    assert collapsed_once.mean > middling.mean
    assert collapsed_once.rank(1.0) < middling.rank(1.0)


def test_true_is_not_one() -> None:
    assert key_of({"a": True}) != key_of({"a": 1})
    assert key_of({"a": 1.0, "b": 2}) == key_of({"b": 2, "a": 1.0})


def test_candidates_are_different_configurations() -> None:
    with pytest.raises(ValueError, match="must differ"):
        Race(candidates=[json.dumps(GOOD), json.dumps(GOOD)], seeds=2)


def race_study(*candidates: dict[str, Any], seeds: int = 4, level: float = 0.05) -> Study:
    written: list[Any] = [json.dumps(params) for params in candidates]
    return ledgers.toy_study(
        sampler=Method(name=RACE, options={"candidates": written, "seeds": seeds, "level": level}),
        pruner={"name": "none"},
        budget=Budget(trials=len(candidates) * seeds, epochs=1),
    ).model_copy(update={"name": "toy.finalists", "seed": 7})


class Runner:
    """One slot of a group that trains a race, whose objective is a function of the trial. Closed with the context."""

    def __init__(self, study: Study, home: Home) -> None:
        self.ledger = ledgers.opened(study, home)
        self.placed: list[Placement] = []

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *exception: object) -> None:
        self.ledger.close()

    def run(self, values: dict[str, list[float]], *, most: int = 100) -> list[str]:
        """Train until nothing is placed; return who ran, by the name of its values. None among them is a death."""
        names = {key_of(params): name for name, params in {"default": DEFAULT, "good": GOOD, "bad": BAD}.items()}
        ran = [names[key_of(placement.params)] for placement in self.placed]
        while len(self.placed) < most and (
            placement := self.ledger.place("group", len(self.placed), 0)
        ) is not None:  # fmt: skip
            self.placed.append(placement)
            name = names[key_of(placement.params)]
            value = values[name][ran.count(name)]
            ran.append(name)
            end = Event(
                trial=placement.trial, step=1, time=float(len(ran)), metrics={"loss": value},
                value=value if math.isfinite(value) else None, end="done" if math.isfinite(value) else "died",
                cause="" if math.isfinite(value) else "loss is nan",
            )  # fmt: skip
            self.ledger.record([end])
        return ran


def stage(tmp_path: Path) -> Home:
    """The home of a race, inside that of a search that is over."""
    home = Home(tmp_path / "home")
    home.path.mkdir()
    study = ledgers.toy_study(trials=3)
    ledger = ledgers.opened(study, home)
    study.save(home.study)
    ledgers.search(ledger)
    ledger.close()
    place = home.stage("finalists", 1)
    place.path.mkdir()
    return place


def test_all_run_in_turn_until_each_had_its_seeds(tmp_path: Path) -> None:
    with Runner(race_study(DEFAULT, GOOD, seeds=3), stage(tmp_path)) as runner:
        ran = runner.run({"default": [1.0, 1.2, 1.1], "good": [1.1, 1.0, 1.2]})
        assert runner.ledger.over()
    assert ran == ["default", "good"] * 3
    assert len({placement.seed for placement in runner.placed}) == 6


def test_a_loser_runs_no_more(tmp_path: Path) -> None:
    with Runner(race_study(DEFAULT, GOOD, BAD), stage(tmp_path)) as runner:
        ran = runner.run({"default": [1.0, 1.01] * 2, "good": [1.02, 1.0] * 2, "bad": [9.0, 9.01]})
        assert runner.ledger.over()
    assert Counter(ran) == {"default": 4, "good": 4, "bad": 2}


def test_a_rebuilt_ledger_goes_on_as_the_first_would(tmp_path: Path) -> None:
    values = {"default": [1.0, 1.01] * 2, "good": [1.02, 1.0] * 2, "bad": [9.0, 9.01] * 2}
    place = stage(tmp_path)
    study = race_study(DEFAULT, GOOD, BAD)
    with Runner(study, place) as first:
        first.run(values, most=5)
    with Runner(study, place) as second:
        second.placed = first.placed
        second.run(values)
        assert second.ledger.status().done == 10
    assert [placement.trial for placement in second.placed] == list(range(10))


def test_a_lost_run_is_made_up_for(tmp_path: Path) -> None:
    place = stage(tmp_path)
    with Runner(race_study(DEFAULT, GOOD, seeds=2), place) as runner:
        first = runner.ledger.place("group", 0, 0)
        assert first is not None
        runner.ledger.record([Event(trial=first.trial, step=0, time=0.0, end="lost", cause="a bug")])
        ran = runner.run({"default": [1.0, 1.1], "good": [1.0, 1.1]})
    assert Counter(ran) == {"default": 2, "good": 2}


def test_a_search_and_its_race_share_a_ledger_and_see_only_their_own(tmp_path: Path) -> None:
    place = stage(tmp_path)
    with Runner(race_study(DEFAULT, GOOD, seeds=2), place) as runner:
        runner.run({"default": [1.0, 1.1], "good": [1.0, 1.1]})
    home = Home(place.path.parent)
    assert place.ledger == home.ledger
    assert place.lock_file == home.lock_file
    assert len(read_trials(home, ledgers.toy_study())) == 3
    assert [row.end for row in read_trials(place, race_study(DEFAULT, GOOD, seeds=2))] == ["done"] * 4
    # The search may go on, and finds its own trials.
    more = ledgers.opened(ledgers.toy_study(trials=5), home)
    assert len(ledgers.search(more)) == 2
    more.close()


def test_a_ledger_of_another_search_is_refused(tmp_path: Path) -> None:
    place = stage(tmp_path)
    other = race_study(DEFAULT, GOOD).model_copy(update={"name": "others.finalists"})
    with pytest.raises(RequestError, match="holds 'toy'"):
        ledgers.opened(other, place)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("toy", "toy"), ("toy.finalists", "toy"), ("a.b.final-2", "a.b"), ("toy.finalist", "toy.finalist")],
)
def test_a_stage_knows_its_search(name: str, expected: str) -> None:
    assert searched_name(name) == expected


def test_a_folder_called_final_is_an_ordinary_home_elsewhere(tmp_path: Path) -> None:
    assert Home(tmp_path / "final").ledger == tmp_path / "final" / "ledger.journal"


def test_a_death_is_a_run(tmp_path: Path) -> None:
    with Runner(race_study(DEFAULT, GOOD), stage(tmp_path)) as runner:
        ran = runner.run({"default": [1.0, 1.1, 1.0, 1.1], "good": [math.nan, math.nan]})
    assert Counter(ran) == {"default": 4, "good": 2}


def test_all_weights_of_a_race_are_kept(tmp_path: Path) -> None:
    study, place = race_study(DEFAULT, GOOD, seeds=6), stage(tmp_path)
    (place.path / "weights").mkdir()
    for number in range(12):
        place.weights(number).write_bytes(b"")
    with Runner(study, place) as runner:
        runner.run(
            {"default": [1.0 + place / 100 for place in range(6)], "good": [1.0 + place / 100 for place in range(6)]}
        )
    assert len(runner.placed) == 12
    assert all(place.weights(number).is_file() for number in range(12))
