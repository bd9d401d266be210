"""The choice of a winner: intervals against SciPy, and whole selections whose trainings are a formula."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import searched
from scipy import stats

from hpo.errors import RequestError, SearchFailed
from hpo.home import Home
from hpo.intervals import difference, interval
from hpo.messages import Params
from hpo.selected import Selection
from hpo.selection import Interrupted, select
from hpo.standings import worth
from hpo.study import Study

EPOCHS = 2
VALUES = (1.2, 0.9, 1.4, 1.0)


def test_the_interval_is_students() -> None:
    found = interval(VALUES)
    low, high = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    assert found is not None
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(VALUES), low, high))


def test_an_interval_of_one_more_run_holds_one_more_run() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        values = generator.normal(size=5)
        found = interval(values[:4], one_more=True)
        assert found is not None
        held += found.low <= values[4] <= found.high
    assert held / 2000 == pytest.approx(0.95, abs=0.015)


def test_the_difference_is_welchs() -> None:
    ours, others = (1.0, 1.3, 0.9), (1.6, 1.2, 2.4, 1.9)
    found = difference(ours, others)
    low, high = stats.ttest_ind(others, ours, equal_var=False).confidence_interval(0.95)
    assert found is not None
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize("values", [(), (1.0,)])
def test_less_than_two_values_have_no_interval(values: tuple[float, ...]) -> None:
    assert interval(values) is None
    assert difference(values, VALUES) is None


def test_equal_values_differ_by_a_point() -> None:
    found = difference((1.0, 1.0), (3.0, 3.0))
    assert found is not None
    assert (found.mean, found.low, found.high) == (2.0, 2.0, 2.0)


Score = Callable[[int, Params], float]


def score(trial: int, params: Params) -> float:
    """Better for a small learning rate, with noise by the trial."""
    return 1.0 + float(params["lr"]) * 100 + 0.05 * math.sin(7.0 * trial)


def trains(value: Score) -> Callable[[Study, Home, Any], bool]:
    """Run a study whose objective is a formula; a value that is not finite is a death."""

    def train(study: Study, home: Home, told: Callable[[Mapping[str, Any]], None] | None) -> bool:
        def fate(trial: int, params: Params) -> searched.Fate:
            found = value(trial, params)
            if not math.isfinite(found):
                return searched.Fate(end="died", epochs=1, cause="score is nan")
            return searched.Fate(epochs=EPOCHS, values={EPOCHS: found})

        searched.search(home.path, study, fate)
        if told is not None:
            told({"over": True})
        return False

    return train


def home_of(tmp_path: Path, *, trials: int = 8, value: Score = score, **options: Any) -> Home:
    """A search that is over, with a training function of the user's: it has no test rows."""
    (tmp_path / "nowhere.py").write_text("def train(params, seed, budget):\n    yield {}\n")
    study = searched.study(trials=trials, epochs=EPOCHS, **options)
    home = Home(tmp_path / "home")
    trains(value)(study, home, None)
    return home


@pytest.fixture(autouse=True)
def _importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The study's training function, which is asked for its kind and never called."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "nowhere", raising=False)


def test_the_best_and_the_default_are_trained_again(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    seen: list[str] = []
    found, known = select(
        home, finalists=2, seeds=3, train=trains(score), on_status=lambda stage, status: seen.append(stage)
    )
    assert not known
    assert seen == ["finalists", "final"]
    assert found.finalists[0].name == "default"
    assert len(found.finalists) == 3
    assert all(len(one.runs) <= 3 for one in found.finalists)
    best = min(found.finalists, key=lambda one: float(one.params["lr"]))
    assert found.winner.name == best.name
    assert len(found.winner.runs) == len(found.default.runs) == 3
    raced = {run.seed for one in found.finalists for run in one.runs}
    assert raced.isdisjoint(run.seed for one in (found.winner, found.default) for run in one.runs)


def test_a_selection_is_kept_and_given_again(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    first, _ = select(home, finalists=2, seeds=2, train=trains(score))

    def never(study: Study, place: Home, told: Any) -> bool:
        raise AssertionError("nothing is to be trained")

    again, known = select(home, finalists=2, seeds=2, train=never)
    assert known
    assert again == first == Selection.from_json(json.loads(json.dumps(first.to_json())))


def test_another_question_is_another_selection(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    select(home, finalists=2, seeds=2, train=trains(score))
    second, known = select(home, finalists=2, seeds=3, train=trains(score))
    assert not known
    assert second.stage == 2
    assert (home.path / "final-2" / "study.yaml").is_file()
    assert any("touched 2 times" in line for line in worth(second))


def test_a_selection_goes_on_after_an_interruption(tmp_path: Path) -> None:
    home = home_of(tmp_path)

    def interrupted(study: Study, place: Home, told: Any) -> bool:
        trains(score)(study, place, told)
        return place.path.name == "final"

    with pytest.raises(Interrupted):
        select(home, finalists=2, seeds=2, train=interrupted)
    assert Selection.load(home) is None
    ran: list[str] = []

    def train(study: Study, place: Home, told: Any) -> bool:
        ran.append(place.path.name)
        return trains(score)(study, place, told)

    found, _ = select(home, finalists=2, seeds=2, train=train)
    assert found.stage == 1
    assert ran == ["finalists", "final"]
    assert all(len(one.runs) == 2 for one in found.finalists)


def test_a_search_that_went_on_is_asked_again(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    first, _ = select(home, finalists=2, seeds=2, train=trains(score))
    study = Study.load(home.study)
    trains(lambda trial, params: -1.0 - trial)(
        study.model_copy(update={"budget": study.budget.model_copy(update={"trials": 12})}), home, None
    )
    second, known = select(home, finalists=2, seeds=2, train=trains(score))
    assert not known
    assert {one.trial for one in second.finalists} > {10, 11}
    assert second.stage == first.stage + 1


def test_shrinkage_says_how_lucky_the_search_was(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    found, _ = select(home, finalists=2, seeds=2, train=trains(lambda trial, params: 2.0 * score(0, params)))
    assert found.chosen.searched is not None
    assert found.winner.expected is not None
    assert found.shrinkage == pytest.approx(found.winner.expected.mean / found.chosen.searched - 1)
    assert any("worse than" in line for line in worth(found))


def test_more_is_better_where_it_is(tmp_path: Path) -> None:
    home = home_of(tmp_path, direction="maximize")
    found, _ = select(home, finalists=3, seeds=2, train=trains(score))
    assert found.winner.name == max(found.finalists, key=lambda one: float(one.params["lr"])).name


def test_where_the_default_wins_tuning_gained_nothing(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    default = searched.SPACE.default()
    found, _ = select(
        home, finalists=2, seeds=2, train=trains(lambda trial, params: float(params != default) + 0.01 * trial)
    )
    assert found.winner.name == "default"
    assert found.winner == found.default
    assert found.gain is None
    assert "the default configuration won" in found.gain_note.lower()


def test_who_dies_does_not_win(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    default = searched.SPACE.default()
    found, _ = select(
        home,
        finalists=2,
        seeds=2,
        train=trains(lambda trial, params: score(trial, params) if params == default else math.nan),
    )
    assert found.winner.name == "default"
    dead = [one for one in found.finalists if one.name != "default"]
    assert all(run.cause == "score is nan" and run.value is None for one in dead for run in one.runs)
    assert all(one.chance == 0.0 for one in dead)


def test_where_all_die_there_is_no_winner(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    with pytest.raises(SearchFailed, match="score is nan"):
        select(home, finalists=2, seeds=2, train=trains(lambda trial, params: math.nan))


def test_a_typical_run_is_the_median_of_those_that_lived(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    found, _ = select(home, finalists=2, seeds=3, train=trains(score))
    values = sorted(run.value for run in found.winner.runs if run.value is not None)
    assert found.typical().value == values[1]


@pytest.mark.parametrize(("finalists", "seeds", "named"), [(1, 4, "--finalists"), (3, 1, "--seeds")])
def test_a_choice_needs_two_of_each(tmp_path: Path, finalists: int, seeds: int, named: str) -> None:
    with pytest.raises(RequestError, match=named):
        select(home_of(tmp_path), finalists=finalists, seeds=seeds)


def test_a_search_without_an_end_has_nothing_to_choose_from(tmp_path: Path) -> None:
    home = home_of(tmp_path, value=lambda trial, params: math.nan)
    with pytest.raises(RequestError, match="reached the end"):
        select(home, train=trains(score))


def test_a_broken_file_of_a_selection_is_refused(tmp_path: Path) -> None:
    home = home_of(tmp_path)
    home.selection.write_text("{}")
    with pytest.raises(RequestError, match="cannot be read"):
        select(home, train=trains(score))
