"""A user's own training behind the common surface."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from trainables.training.loop import Trainer
from trainables.training.own import OwnTraining
from trainables.training.params import Params, UnreadParameters


def falling(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
    """A loss that falls, and depends on parameters and seed alone."""
    loss = float(seed)
    for _ in range(budget):
        loss += params.number("rate")
        yield {"loss": loss}


def short(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
    yield from ({"loss": float(step)} for step in range(2))


def dying(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
    yield {"loss": 1.0}
    yield {"loss": math.nan, "other": 2.0}


def endless(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
    while True:
        yield {"loss": 0}


def build(rate: float = -0.5, epochs: int = 5) -> OwnTraining:
    return OwnTraining(falling, {"rate": rate}, seed=7, epochs=epochs)


def test_it_yields_once_an_epoch_and_gets_parameters_seed_and_budget() -> None:
    training: Trainer = build()
    seen = [training.advance() for _ in range(5)]
    assert [progress.metrics["loss"] for progress in seen] == [6.5, 6.0, 5.5, 5.0, 4.5]
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5]
    assert all(progress.cause is None and not progress.ended for progress in seen)
    with pytest.raises(ValueError, match="over after 5 epochs"):
        training.advance()


def test_a_function_that_would_go_on_is_stopped_at_the_budget() -> None:
    training = OwnTraining(endless, {}, seed=0, epochs=2)
    assert [training.advance().metrics["loss"] for _ in range(2)] == [0.0, 0.0]
    with pytest.raises(ValueError, match="over after 2 epochs"):
        training.advance()


def test_returning_early_ends_it() -> None:
    training = OwnTraining(short, {}, seed=0, epochs=5)
    training.advance()
    last = training.advance()
    progress = training.advance()
    # What it yielded last is what it ends with.
    assert (progress.step, progress.ended, dict(progress.metrics), progress.cause) == (2, True, last.metrics, None)


def test_a_metric_that_is_not_finite_is_death() -> None:
    training = OwnTraining(dying, {}, seed=0, epochs=4)
    training.advance()
    progress = training.advance()
    assert (progress.step, progress.cause, dict(progress.metrics)) == (2, "loss is nan", {"other": 2.0})
    assert progress.constraints["diverged"] == 0.75


def test_an_unread_parameter_is_named_after_the_first_yield() -> None:
    training = OwnTraining(falling, {"rate": -0.5, "momentum": 0.9}, seed=0, epochs=5)
    with pytest.raises(UnreadParameters, match="'momentum'"):
        training.advance()


def test_what_the_function_raises_goes_through() -> None:
    def broken(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
        yield {"loss": 1.0}
        raise RuntimeError("mine")

    training = OwnTraining(broken, {}, seed=0, epochs=5)
    training.advance()
    with pytest.raises(RuntimeError, match="mine"):
        training.advance()


@pytest.mark.parametrize("bad", [1.0, {"loss": "low"}, {"loss": [1.0]}, {1: 2.0}])
def test_a_yield_of_the_wrong_form_is_refused(bad: object) -> None:
    def wrong(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
        yield bad  # type: ignore[misc]

    with pytest.raises(TypeError, match="must yield a"):
        OwnTraining(wrong, {}, seed=0, epochs=5).advance()


def test_a_function_that_never_yields_is_refused() -> None:
    def silent(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
        yield from ()

    with pytest.raises(ValueError, match="must yield metrics at least once"):
        OwnTraining(silent, {}, seed=0, epochs=5).advance()


def test_it_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    whole, first = build(), build()
    for _ in range(3):
        whole.advance()
        first.advance()
    first.save(tmp_path)
    second = build()
    second.restore(tmp_path)
    assert second.step == 3
    assert [second.advance() for _ in range(2)] == [whole.advance() for _ in range(2)]


def test_a_checkpoint_of_another_trial_is_refused(tmp_path: Path) -> None:
    training = build()
    training.advance()
    training.save(tmp_path)
    with pytest.raises(ValueError, match="must be of the same training"):
        build(rate=-0.25).restore(tmp_path)


def test_a_function_that_ends_earlier_the_second_time_is_refused(tmp_path: Path) -> None:
    calls = []

    def fickle(params: Params, seed: int, budget: int) -> Iterator[Mapping[str, float]]:
        calls.append(1)
        yield from [{"loss": 1.0}] * (3 if len(calls) == 1 else 1)

    training = OwnTraining(fickle, {}, seed=0, epochs=5)
    for _ in range(3):
        training.advance()
    training.save(tmp_path)
    with pytest.raises(ValueError, match="ended after 1 of 3 yields"):
        OwnTraining(fickle, {}, seed=0, epochs=5).restore(tmp_path)


def test_a_budget_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        build(epochs=0)
