"""Constraints of a study: how they are written, what the sampler learns of them, and who may be the best."""

from __future__ import annotations

import io
import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from crews import finish, serve
from ledgers import opened, toy_study
from rich.console import Console

from hpo import analysis, parts
from hpo.analysis import summary
from hpo.errors import RequestError
from hpo.export import export
from hpo.home import Home
from hpo.messages import Event, Params
from hpo.progress import summary_table
from hpo.rows import read_trials
from hpo.study import Constraint, Study
from search_spaces import Float, Space
from trainables.training import alone
from trainables.training.loop import CONSTRAINTS

SPACE = Space("line", {"x": Float(0.0, 1.0, default=0.1)})
KEY = "room at_least 0.5"


def constraint(**fields: Any) -> Constraint:
    return Constraint(metric="coverage", **fields)


@pytest.mark.parametrize(
    ("bound", "value", "floor", "missed"),
    [
        (constraint(at_least=0.5), 0.4, None, 0.2),
        (constraint(at_least=0.5), 0.5, None, 0.0),
        (constraint(at_most=-2.0), -1.0, None, 0.5),
        (constraint(at_most=0.0), 0.25, None, 0.25),
        (constraint(at_least="0.8 floor"), 0.36, 0.9, 0.5),
        (constraint(at_most="2 floor"), 0.01, 0.01, -0.5),
    ],
)
def test_a_constraint_is_missed_by_a_share_of_its_bound(
    bound: Constraint, value: float, floor: float | None, missed: float
) -> None:
    assert bound.missed(value, floor=floor) == pytest.approx(missed)


def test_what_is_broken_is_told_with_value_bound_and_where_the_bound_comes_from() -> None:
    assert constraint(at_least="0.8 floor").told(0.36, floor=0.9) == "coverage 0.36 is below 0.72 (0.8 floor)"
    assert constraint(at_most=0.65).told(0.9, floor=None) == "coverage 0.9 is above 0.65"


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"metric": "coverage"}, "either at_least or at_most"),
        ({"metric": "coverage", "at_least": 0.1, "at_most": 0.9}, "either at_least or at_most"),
        ({"metric": "coverage", "at_least": "0.8 ceiling"}, "a share of the floor such as `0.8 floor`"),
        ({"metric": "coverage", "at_lest": 0.8}, "did you mean 'at_least'"),
        ({"at_least": 0.8}, "metric: this key is required"),
        ({"metric": "coverage", "at_least": float("nan")}, "nan came"),
    ],
)
def test_a_constraint_that_cannot_be_meant_is_refused(written: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        toy_study(constraints=[written])


@pytest.mark.parametrize(
    ("model", "data", "written", "message"),
    [
        ("gan", "digits", {"metric": "nll", "at_most": 1.0}, "needs a model with a likelihood"),
        ("gan", "ring", {"metric": "fd_self", "at_most": 1.0}, "needs"),
        ("vae", "digits", {"metric": "nll", "at_most": "2 floor"}, "needs a metric of samples that has one, and 'nll'"),
        ("vae", "digits", {"metric": "coverag", "at_most": 1.0}, "coverage"),
    ],
)
def test_a_metric_that_cannot_be_measured_is_refused_before_anything_is_made(
    model: str, data: str, written: dict[str, Any], message: str
) -> None:
    objective = {"vae": "nll", "gan": "fd_self" if data == "digits" else "modes"}[model]
    request = Study(
        name="s",
        model=model,
        data=data,
        space=model,
        objective=objective,
        budget={"trials": 1, "epochs": 1},
        constraints=[written],
    )
    with pytest.raises(RequestError, match=message):
        parts.check(request)


def test_a_share_of_the_floor_is_refused_where_the_metric_has_none() -> None:
    request = Study(
        name="s",
        model="attention_gan_text",
        data="english",
        space="attention_gan_text",
        objective="reverse_lm",
        budget={"trials": 1, "epochs": 1},
        constraints=[{"metric": "reverse_lm", "at_most": "1.1 floor"}],
    )
    with pytest.raises(RequestError, match="'reverse_lm' has none"):
        parts.check(request)


def test_a_function_of_ones_own_has_no_floor() -> None:
    request = toy_study(constraints=[{"metric": "loss", "at_most": "2 floor"}]).model_copy(
        update={"model": "own_trainings.curve", "space": SPACE.to_mapping()}
    )
    with pytest.raises(RequestError, match="has no floor"):
        parts.check(request)


def done(number: int, params: Params) -> Event:
    """Less is better, but only the upper half of the line has room."""
    x = float(params["x"])
    own = {KEY: 0.5 - x}
    return Event(
        trial=number, step=4, time=float(number), metrics={"loss": x}, value=x, end="done", constraints=own, cause="c"
    )


def searched(home: Home, *, sampler: str, trials: int, bounded: bool = True) -> list[float]:
    """The x of each trial of a whole search."""
    home.path.mkdir(parents=True, exist_ok=True)
    constraints = [{"metric": "room", "at_least": 0.5}] if bounded else []
    request = toy_study(trials=trials, sampler=sampler, pruner="none", constraints=constraints)
    request.save(home.study)
    ledger = opened(request, home, space=SPACE)
    found: list[float] = []
    while (placement := ledger.place("g", len(found), 0)) is not None:
        found.append(float(placement.params["x"]))
        ledger.record([done(placement.trial, placement.params)])
    ledger.close()
    return found


@pytest.mark.parametrize("sampler", ["tpe", "nsgaii", "gp"])
def test_a_sampler_learns_to_keep_a_constraint(sampler: str, tmp_path: Path) -> None:
    """The objective pulls to 0; without the constraint the sampler goes there, with it to the border at a half.

    To which side of the border is another matter: Gaussian processes come to it from below.
    """
    trials = {"tpe": 40, "nsgaii": 150, "gp": 12}[sampler]
    last = slice(-trials // 4, None)
    # Next to no mutation: on a line there is one parameter, and a mutation draws it anew.
    options: Any = {"name": "nsgaii", "population_size": 15, "mutation_prob": 0.05} if sampler == "nsgaii" else sampler
    bounded = searched(Home(tmp_path / "bounded"), sampler=options, trials=trials)[last]
    free = searched(Home(tmp_path / "free"), sampler=options, trials=trials, bounded=False)[last]
    assert statistics.median(bounded) > 0.4
    assert statistics.median(free) < 0.2


def test_a_sampler_that_learns_from_no_constraint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="cmaes learns from no constraint"):
        searched(Home(tmp_path / "home"), sampler="cmaes", trials=4)
    assert not Home(tmp_path / "home").ledger.exists()


def test_every_end_sets_the_same_constraints_in_one_order(tmp_path: Path) -> None:
    home = Home(tmp_path)
    request = toy_study(trials=4, pruner="none", constraints=[{"metric": "room", "at_least": 0.5}])
    request.save(home.study)
    ledger = opened(request, home, space=SPACE)
    for number in range(3):
        placement = ledger.place("g", number, 0)
        assert placement is not None
        event = done(number, placement.params)
        if number == 1:
            event = Event(trial=1, step=2, time=1.0, end="died", cause="nan")
        if number == 2:
            event = Event(trial=2, step=2, time=2.0, end="lost", cause="bug")
        ledger.record([event])
    ledger.close()
    found = read_trials(home, request)
    assert {tuple(row.constraints) for row in found} == {(*CONSTRAINTS, KEY)}
    assert [row.feasible for row in found] == [False, False, True]
    assert found[0].constraints[KEY] == pytest.approx(0.4)
    assert found[1].constraints[KEY] < 0


def test_the_best_keeps_all_constraints_while_there_is_one_and_a_reopened_ledger_agrees(tmp_path: Path) -> None:
    home = Home(tmp_path)
    xs = searched(home, sampler="random", trials=12)
    allowed = min(x for x in xs if x >= 0.5)
    request = Study.load(home.study)
    ledger = opened(request, home, space=SPACE)
    status = ledger.status()
    ledger.close()
    best = analysis.best(home)
    assert best is not None
    assert (best.value, best.feasible) == (allowed, True)
    assert status.best_trial == best.trial
    found = summary(home)
    assert [trial.feasible for trial in found.trials] == [x >= 0.5 for x in xs]
    assert json.loads(json.dumps(found.to_json()))["best"]["feasible"] is True
    # What breaks a constraint stands behind, with its cause; where there is little room, words give way to numbers.
    for width in (300, 40):
        shown = _printed(found, width=width)
        assert shown.index(f"{allowed:.5g}") < shown.index(f"{min(xs):.5g}")
        assert shown.count("done") == 12 + 1


def test_while_all_break_a_constraint_the_best_of_them_is_shown_and_said_to(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (x,) = searched(home, sampler="random", trials=1)
    found = summary(home)
    assert found.best is not None
    assert (found.best.value, found.best.feasible) == (x, False)
    assert "which breaks a constraint, as all do" in _printed(found)


def _printed(found: analysis.Summary, *, width: int = 300) -> str:
    out = io.StringIO()
    Console(width=width, file=out).print(summary_table(found))
    return out.getvalue()


def test_a_finished_trial_is_judged_by_metrics_of_its_samples_beside_real_rows(tmp_path: Path) -> None:
    request = Study(
        name="judged",
        model="vae",
        data="digits",
        space={"base": "vae", "latent": 2, "width": 64, "depth": 1},
        objective="nll",
        budget={"trials": 2, "epochs": 1},
        constraints=[{"metric": "sliced_wasserstein", "at_most": "3 floor"}, {"metric": "nll", "at_most": 1e6}],
    )
    home = Home(tmp_path / "home")
    server = serve(request, home)
    finish(server)
    server.close()
    found = summary(home)
    assert found.counts["done"] == 2
    assert not any(trial.feasible for trial in found.trials)
    assert all(trial.cause.startswith("sliced_wasserstein ") for trial in found.trials)
    yardsticks = found.yardsticks["sliced_wasserstein"]
    floor = yardsticks["floor"]
    assert 0.0 < floor < 0.05
    assert 0.0 < yardsticks["copy_of_train"] < 0.05
    assert "nll" not in found.yardsticks, "rows have no likelihood"
    assert re.search(rf"^real rows +{re.escape(f'{floor:.4g}')} *$", _printed(found), re.MULTILINE)

    export(home, tmp_path / "best")
    written = json.loads((tmp_path / "best" / "metrics.json").read_text(encoding="utf-8"))
    assert written["constraints"] == {"sliced_wasserstein at_most 3 floor": False, "nll at_most 1000000.0": True}
    assert {"nll", "elbo", "fd_self", "coverage", "authenticity", "kid"} <= written["validation"].keys()
    assert written["validation"]["fd_self"]["floor"] < written["validation"]["fd_self"]["value"]
    assert written["validation"]["sliced_wasserstein"]["floor"] == yardsticks["floor"]
    assert written["validation"]["authenticity"]["copy_of_train"] == 0.0


def test_a_resumed_study_keeps_its_constraints(tmp_path: Path) -> None:
    home = Home(tmp_path)
    searched(home, sampler="random", trials=1)
    changed = toy_study(trials=1, pruner="none")
    with pytest.raises(RequestError, match="constraints differ"):
        changed.check_continues(home.study)


def own(home: Home, function: str, **constraint: Any) -> analysis.Summary:
    """A search over a function of the user's own with one constraint."""
    request = Study(
        name="own",
        model=f"own_trainings.{function}",
        space=SPACE.to_mapping(),
        objective={"metric": "loss", "direction": "minimize"},
        budget={"trials": 2, "epochs": 9},
        pruner="none",
        constraints=[constraint],
    )
    server = serve(request, home)
    finish(server)
    server.close()
    return summary(home)


def test_a_function_that_ends_early_is_judged_by_what_it_yielded_last(tmp_path: Path) -> None:
    found = own(Home(tmp_path), "returns_early", metric="loss", at_most=-1.0)
    assert found.counts["done"] == 2
    assert not any(trial.feasible for trial in found.trials)


def test_a_function_that_does_not_yield_what_bounds_it_is_lost_at_its_first_yield(tmp_path: Path) -> None:
    found = own(Home(tmp_path), "curve", metric="room", at_least=0.5)
    assert found.counts["lost"] == 10
    assert found.trials[0].steps <= 1
    assert "Correct `constraints` in the study" in found.trials[0].cause


@pytest.mark.parametrize(("known", "told"), [(True, "is "), (False, "cannot be told")])
def test_a_share_of_a_floor_that_is_not_above_zero_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, known: bool, told: str
) -> None:
    """An unbiased distance of real rows lies about 0: twice that would be no bound."""
    if not known:
        monkeypatch.setattr(alone, "yardsticks", lambda *given: {})
    request = Study(
        name="floor",
        model="vae",
        data="digits",
        space={"base": "vae", "latent": 2, "width": 64, "depth": 1},
        objective="nll",
        budget={"trials": 1, "epochs": 1},
        constraints=[{"metric": "kid", "at_most": "2 floor"}],
    )
    server = serve(request, Home(tmp_path / "home"))
    finish(server)
    server.close()
    first = summary(Home(tmp_path / "home")).trials[0]
    assert (first.end, first.steps) == ("lost", 0)
    assert f"a share of a floor needs one above 0, and kid of real rows {told}" in first.cause


def test_a_metric_that_cannot_measure_some_models_of_a_space_is_refused_with_the_space() -> None:
    request = Study(
        name="classes",
        model="gan",
        data="digits",
        space="gan",
        objective="fd_self",
        budget={"trials": 1, "epochs": 1},
        constraints=[{"metric": "tstr", "at_least": 0.5}],
    )
    with pytest.raises(RequestError, match="conditional"):
        parts.check(request)
    parts.check(request.model_copy(update={"space": {"base": "gan", "conditional": True}}))
