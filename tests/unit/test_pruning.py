"""The rung rule's laws, and Optuna's pruners by name."""

import itertools
import math
import random

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.pruners import HyperbandPruner, MedianPruner, PercentilePruner, SuccessiveHalvingPruner, ThresholdPruner
from optuna.trial import FrozenTrial, create_trial

from hpo.errors import RequestError
from hpo.pruning import RungPruner, decision_steps, make_pruner, rungs
from hpo.study import Method

VALUES = st.floats(allow_nan=True, allow_infinity=True, width=32)


def study_of(curves: list[list[float]], *, direction: str = "minimize") -> optuna.Study:
    """A study with one running trial a curve; a curve holds the values of the steps 1, 2, ..."""
    study = optuna.create_study(direction=direction)
    for curve in curves:
        study.add_trial(
            create_trial(
                state=optuna.trial.TrialState.RUNNING,
                intermediate_values=dict(enumerate(curve, start=1)),
            )
        )
    return study


def survivors(study: optuna.Study, pruner: RungPruner, *, order: list[int] | None = None) -> set[int]:
    trials: list[FrozenTrial] = study.get_trials()
    return {trials[index].number for index in order or range(len(trials)) if not pruner.prune(study, trials[index])}


@pytest.fixture(autouse=True)
def _silent() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


@pytest.mark.parametrize(
    ("eta", "grace", "epochs", "expected"),
    [(3, 1, 27, (1, 3, 9)), (3, 3, 28, (3, 9, 27)), (2, 5, 5, ()), (4, 9, 3, ()), (2, 1, 1, ())],
)
def test_rungs_lie_below_the_budget(eta: int, grace: int, epochs: int, expected: tuple[int, ...]) -> None:
    assert rungs(eta=eta, grace=grace, epochs=epochs) == expected
    assert decision_steps(Method(name="asha", options={"eta": eta, "grace": grace}), epochs=epochs) == expected


def test_the_best_third_goes_on() -> None:
    study = study_of([[float(value)] for value in (5, 1, 9, 2, 7, 8)])
    assert survivors(study, RungPruner(eta=3, grace=1, epochs=9)) == {1, 3}


def test_the_best_of_few_goes_on() -> None:
    assert survivors(study_of([[2.0], [1.0]]), RungPruner(eta=3, grace=1, epochs=9)) == {1}


def test_ties_go_to_the_lower_number() -> None:
    assert survivors(study_of([[1.0]] * 6), RungPruner(eta=3, grace=1, epochs=9)) == {0, 1}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_loses_and_beats_no_one(value: float) -> None:
    assert survivors(study_of([[value], [5.0]]), RungPruner(eta=2, grace=1, epochs=9)) == {1}
    assert survivors(study_of([[value]]), RungPruner(eta=2, grace=1, epochs=9)) == set()


def test_it_decides_at_the_highest_rung_reached_by_the_value_there() -> None:
    pruner = RungPruner(eta=2, grace=1, epochs=8)  # rungs 1, 2, 4
    study = study_of([[9.0, 1.0, 50.0], [1.0, 2.0, 0.0], [1.0, 3.0, 0.0]])
    assert survivors(study, pruner) == {0}


def test_a_rung_without_a_value_decides_nothing() -> None:
    study = study_of([[1.0, 1.0]])
    study.add_trial(create_trial(state=optuna.trial.TrialState.RUNNING, intermediate_values={2: 99.0}))
    assert survivors(study, RungPruner(eta=2, grace=1, epochs=2)) == {0, 1}


def test_every_order_of_eight_slots_gives_one_set_of_survivors() -> None:
    study = study_of([[value] for value in (0.7, 0.1, 0.5, 0.5, 0.9, 0.2, math.nan, 0.3)])
    pruner = RungPruner(eta=2, grace=1, epochs=9)
    orders = random.Random(0).sample(list(itertools.permutations(range(8))), 50)
    assert {frozenset(survivors(study, pruner, order=list(order))) for order in orders} == {frozenset({1, 2, 5, 7})}


@given(values=st.lists(VALUES, min_size=1, max_size=30), eta=st.integers(2, 5))
@settings(max_examples=60, deadline=None)
def test_laws(values: list[float], eta: int) -> None:
    study = study_of([[value] for value in values])
    pruner = RungPruner(eta=eta, grace=1, epochs=9)
    kept = survivors(study, pruner)
    assert survivors(study, pruner) == kept  # repeatable: nothing is remembered
    assert len(kept) <= max(1, len(values) // eta)
    finite = [number for number, value in enumerate(values) if math.isfinite(value)]
    assert len(kept) == min(len(finite), max(1, len(values) // eta))  # nor fewer than its share
    worst_kept = max((values[number] for number in kept), default=-math.inf)
    assert all(values[number] >= worst_kept for number in set(finite) - kept)
    mirrored = study_of([[-value] for value in values], direction="maximize")
    assert survivors(mirrored, pruner) == kept


@given(curve=st.lists(VALUES, min_size=1, max_size=4), others=st.lists(VALUES, max_size=8))
@settings(max_examples=40, deadline=None)
def test_nothing_is_pruned_before_the_first_rung(curve: list[float], others: list[float]) -> None:
    study = study_of([curve, *([value] * 9 for value in others)])
    assert not RungPruner(eta=2, grace=5, epochs=9).prune(study, study.get_trials()[0])


def test_the_rule_leaves_no_mark() -> None:
    study = study_of([[1.0], [2.0]])
    before = [trial.system_attrs for trial in study.get_trials()]
    survivors(study, RungPruner(eta=2, grace=1, epochs=9))
    assert [trial.system_attrs for trial in study.get_trials()] == before


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("median", {"n_startup_trials": 2}, MedianPruner),
        ("percentile", {"percentile": 30.0}, PercentilePruner),
        ("hyperband", {"reduction_factor": 2}, HyperbandPruner),
        ("successive_halving", {}, SuccessiveHalvingPruner),
        ("threshold", {"upper": 9.0}, ThresholdPruner),
        ("optuna.pruners.MedianPruner", {}, MedianPruner),
        ("asha", {"eta": 4}, RungPruner),
    ],
)
def test_pruners_by_name(name: str, options: dict[str, float], expected: type) -> None:
    method = Method(name=name, options=options)
    assert isinstance(make_pruner(method, epochs=9), expected)
    steps = decision_steps(method, epochs=9)
    assert steps == ((3,) if name == "asha" else tuple(range(1, 9)))


def test_none_prunes_nothing() -> None:
    assert make_pruner(Method(name="none"), epochs=9) is None
    assert decision_steps(Method(name="none"), epochs=9) == ()


def test_limits_are_the_budget_not_an_estimate() -> None:
    """Optuna's "auto" lets every trial through until one is complete."""
    pruner = make_pruner(Method(name="successive_halving", options={"reduction_factor": 2}), epochs=9)
    assert pruner is not None
    study = study_of([[1.0], [1.0], [5.0]])
    assert [pruner.prune(study, trial) for trial in study.get_trials()] == [False, False, True]


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Method(name="asah"), "did you mean 'asha'"),
        (Method(name="asha", options={"etta": 3}), "no option 'etta': did you mean 'eta'"),
        (Method(name="asha", options={"epochs": 3}), "'epochs' of asha is set by hpo; it is budget.epochs"),
        (Method(name="asha", options={"eta": 1}), "eta must be a whole number of at least 2; 1 came"),
        (Method(name="asha", options={"eta": 2.5}), "eta must be a whole number of at least 2; 2.5 came"),
        (Method(name="asha", options={"grace": 0}), "grace must be a whole number of at least 1; 0 came"),
        (Method(name="none", options={"eta": 3}), "none takes no options; 'eta' came"),
        (Method(name="hyperband", options={"max_resource": 3}), "'max_resource' of hyperband is set by hpo"),
        (Method(name="threshold"), "threshold refuses its options"),
        (Method(name="optuna.pruners.Nothing"), "'optuna.pruners.Nothing' does not"),
        (Method(name="optuna.samplers.TPESampler"), "must lead to an optuna.pruners.BasePruner"),
    ],
)
def test_a_bad_pruner_is_refused(method: Method, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        make_pruner(method, epochs=9)
