"""Optuna's samplers by name: all of them run, in silence, repeat themselves under one seed, and refuse bad options."""

import time
from pathlib import Path
from typing import Any

import optuna
import pytest
from ledger_samplers import SeedlessSampler
from ledgers import SPACE, opened, search, toy_study
from optuna.samplers import GPSampler, GridSampler, RandomSampler, TPESampler

from hpo.errors import RequestError
from hpo.home import Home
from hpo.rows import read_trials
from hpo.samplers import KNOWN, SeededSampler, ends_by_itself, make_sampler, sampler_class, trial_seed
from hpo.study import Method
from search_spaces import Choice, Float, Int, Space

FINITE = Space(
    "toy",
    {"lr": Float(0.01, 0.1, default=0.01, step=0.01), "depth": Int(1, 3, default=1), "optimizer": "adam"},
)
CASES = [
    ("bruteforce", {}, FINITE),
    ("cmaes", {}, SPACE),
    ("gp", {"n_startup_trials": 4}, SPACE),
    ("grid", {}, FINITE),
    ("nsgaii", {"population_size": 4}, SPACE),
    ("nsgaiii", {"population_size": 4}, SPACE),
    ("qmc", {}, SPACE),
    ("random", {}, SPACE),
    ("tpe", {"n_startup_trials": 4}, SPACE),
    ("tpe", {"n_startup_trials": 4, "group": True, "multivariate": True}, SPACE),
    ("optuna.samplers.TPESampler", {"n_startup_trials": 4}, SPACE),
]


def test_every_short_name_runs_below() -> None:
    assert {name for name, _, _ in CASES if "." not in name} == set(KNOWN)


@pytest.mark.parametrize(("name", "options", "space"), CASES)
def test_it_runs_repeats_itself_and_says_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, options: dict[str, Any], space: Space
) -> None:
    """Two studies of one seed, the second rebuilt in between; warnings are errors here, and nothing is logged."""
    optuna.logging.enable_propagation()
    study = toy_study(trials=9, sampler={"name": name} | options, seed=7)
    found = []
    for part, chunk in (("a", 9), ("b", 4)):
        home = Home(tmp_path / part)
        over = False
        while not over:
            # cmaes cannot be resumed but by its own driver
            ledger = opened(study, home, space=space, run="a" if name == "cmaes" else f"{time.monotonic()}")
            search(ledger, trials=chunk)
            over = ledger.over()
            ledger.close()
        rows = read_trials(home, study)
        for row in rows:
            space.check(row.params)
        found.append([row.params for row in rows])
    assert len(found[0]) == 9
    assert found[0] == found[1]
    assert len({str(params) for params in found[0]}) == 9
    optuna.logging.disable_propagation()
    assert not [record for record in caplog.records if record.name.startswith("optuna")]


def test_a_sampler_is_built_afresh_for_each_trial() -> None:
    for name in ("tpe", "optuna.samplers.GPSampler"):
        assert isinstance(make_sampler(Method(name=name), space=SPACE, seed=0), SeededSampler)
    seedless = make_sampler(Method(name="ledger_samplers.SeedlessSampler"), space=SPACE, seed=0)
    assert isinstance(seedless, SeedlessSampler)  # there is nothing to renew


def test_classes_and_ends() -> None:
    assert sampler_class(Method(name="tpe")) is TPESampler
    assert sampler_class(Method(name="optuna.samplers.GPSampler")) is GPSampler
    assert ends_by_itself(GridSampler)
    assert not ends_by_itself(RandomSampler)


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_seeds_of_trials_differ_and_stay(seed: int) -> None:
    seeds = {trial_seed(seed, number) for number in range(1000)}
    assert len(seeds) == 1000
    assert all(0 <= value < 2**63 for value in seeds)
    assert trial_seed(seed, 3) == trial_seed(seed, 3)
    assert trial_seed(seed, 3) not in {trial_seed(seed + 1, number) for number in range(1000)}


CONDITIONAL = Space("toy", {"a": Choice((1, 2), default=1), "b": Int(1, 2, default=1, when={"a": 1})})


@pytest.mark.parametrize(
    ("method", "space", "message"),
    [
        (Method(name="tpee"), SPACE, "did you mean 'tpe'"),
        (Method(name="tpe", options={"n_startup_trial": 3}), SPACE, "did you mean 'n_startup_trials'"),
        (
            Method(name="tpe", options={"seed": 3}),
            SPACE,
            "'seed' of tpe is set by hpo; it comes from the study's `seed`",
        ),
        (Method(name="grid", options={"search_space": 3}), FINITE, "it comes from the study's `space`"),
        (Method(name="qmc", options={"qmc_type": "lattice"}), SPACE, "qmc refuses its options"),
        (Method(name="grid"), SPACE, r"'lr' runs from 0.0001 to 0.1 without a step"),
        (Method(name="bruteforce"), SPACE, r"'lr' runs from 0.0001 to 0.1 without a step"),
        (Method(name="grid"), CONDITIONAL, "'b' has a condition. Take bruteforce"),
        (Method(name="no.such.Sampler"), SPACE, "'no.such.Sampler' does not: No module named 'no'"),
        (Method(name="optuna.pruners.MedianPruner"), SPACE, "must lead to an optuna.samplers.BaseSampler"),
        (Method(name="optuna.samplers"), SPACE, "must lead to a class; optuna.samplers is"),
    ],
)
def test_a_bad_sampler_is_refused(method: Method, space: Space, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_sampler(method, space=space, seed=0)


def test_brute_force_walks_a_conditional_space(tmp_path: Path) -> None:
    study = toy_study(trials=50, sampler="bruteforce", pruner="none")
    ledger = opened(study, Home(tmp_path), space=Space("toy", {"lr": 0.1, "depth": 1} | CONDITIONAL.parameters))
    found = [(placement.params["a"], placement.params.get("b")) for placement in search(ledger)]
    ledger.close()
    assert sorted(found, key=str) == [(1, 1), (1, 2), (2, None)]


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import hpo.samplers as module

    class Lacking(RandomSampler):
        def __init__(self) -> None:
            raise ImportError("no cmaes", name="cmaes")

    monkeypatch.setitem(module.KNOWN, "lacking", Lacking)
    with pytest.raises(RequestError, match="lacking needs a package that is not installed: cmaes"):
        make_sampler(Method(name="lacking"), space=SPACE, seed=0)
