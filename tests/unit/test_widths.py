"""The choice of a width: never slower than training alone, ended where nothing is gained or memory ends."""

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from together import training

from trainables.models import vae
from trainables.training import widths
from trainables.training.alone import Training
from trainables.training.widths import Fit, fit


def make(number: int) -> Training:
    return training("vae", {}, seed=number)


class Machine:
    """A clock that moves only when a step is made, by what a member-step of that width costs, or that has no memory.

    tried: the widths that were run, in the order of their first time.
    """

    def __init__(self, costs: Mapping[int, float | Exception]) -> None:
        self.costs, self.now = dict(costs), 0.0
        self.tried: list[int] = []

    def run(self, width: int, steps: int) -> None:
        if width not in self.tried:
            self.tried.append(width)
        cost = self.costs[width]
        if isinstance(cost, Exception):
            raise cost
        self.now += cost * width * steps


def machine(monkeypatch: pytest.MonkeyPatch, costs: Mapping[int, float | Exception]) -> Machine:
    """Let steps cost that much in place of making them."""
    found = Machine(costs)
    monkeypatch.setattr(widths.time, "perf_counter", lambda: found.now)
    monkeypatch.setattr(widths, "_alone", lambda training, steps: found.run(1, steps))
    monkeypatch.setattr(widths, "_stacked", lambda trainings: functools.partial(found.run, len(trainings)))
    return found


@pytest.mark.parametrize(
    ("costs", "width", "tried"),
    [
        # A stack is slower, or within what a measurement may be off by.
        ({1: 1.0, 4: 1.2, 8: 0.1}, 1, [1, 4]),
        ({1: 1.0, 4: 0.98, 8: 0.1}, 1, [1, 4]),
        # Growing as long as it gains.
        ({1: 1.0, 4: 0.5, 8: 0.3, 16: 0.2}, 16, [1, 4, 8, 16]),
        # The wider one gains nothing: the smaller, and no wider one is tried.
        ({1: 1.0, 4: 0.5, 8: 0.49, 16: 0.1}, 4, [1, 4, 8]),
        ({1: 1.0, 4: 0.5, 8: 0.7, 16: 0.1}, 4, [1, 4, 8]),
        # Memory ends.
        ({1: 1.0, 4: 0.5, 8: torch.OutOfMemoryError()}, 4, [1, 4, 8]),
        ({1: 1.0, 4: torch.OutOfMemoryError()}, 1, [1, 4]),
        ({1: torch.OutOfMemoryError()}, 1, [1]),
    ],
)
def test_the_width_is_the_smallest_that_is_about_as_fast_as_the_fastest(
    costs: dict[int, float | Exception], width: int, tried: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine(monkeypatch, costs)
    found = fit(make, limit=16, seconds=1e6)
    assert found.width == width
    assert here.tried == tried
    assert found.seconds == pytest.approx({w: costs[w] for w in tried if isinstance(costs[w], float)})


@given(st.dictionaries(st.sampled_from([4, 8, 16, 32]), st.floats(1e-6, 1.0)), st.floats(1e-6, 1.0))
def test_no_width_is_taken_that_is_not_measured_to_be_faster_than_alone(stacks: dict[int, float], alone: float) -> None:
    seconds = {1: alone, **stacks}
    width = widths._best(seconds)
    assert width == 1 or seconds[width] < alone


@pytest.mark.parametrize(("limit", "tried"), [(1, []), (2, [1, 2]), (3, [1, 3]), (4, [1, 4]), (20, [1, 4, 8, 16])])
def test_no_width_above_the_limit_is_tried(limit: int, tried: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine(monkeypatch, {width: 1.0 / width for width in tried})
    assert fit(make, limit=limit, seconds=1e6).width == max(tried, default=1)
    assert here.tried == tried


def test_a_limit_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, and it is 0"):
        fit(make, limit=0, seconds=1.0)


def test_a_family_that_does_not_stack_trains_alone_unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vae.Model, "stacks", False)
    found = fit(make, limit=16, seconds=1.0)
    assert (found.width, found.seconds, found.structure) == (1, {}, "")


def test_no_wider_one_is_begun_when_the_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    # Single steps that are long beside the time that there is.
    here = machine(monkeypatch, {1: 0.16, 4: 0.15, 8: 0.14, 16: 0.13, 32: 0.01})
    found = fit(make, limit=32, seconds=1.0)
    assert here.tried == [1, 4, 8, 16]
    assert found.width == 16
    assert found.spent == here.now


def test_a_stack_that_was_faster_by_chance_is_found_out_beside_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine(monkeypatch, {1: 1.0, 4: 0.5, 8: 0.6})
    # What slowed training alone at first is over by the time that the widths are compared.
    run = here.run

    def recovering(width: int, steps: int) -> None:
        run(width, steps)
        if width == 8:
            here.costs[1] = 0.3

    here.run = recovering  # type: ignore[method-assign]
    assert fit(make, limit=16, seconds=1e6).width == 1


def test_it_measures_real_trainings_side_by_side_and_says_where() -> None:
    made: list[int] = []

    def spied(number: int) -> Training:
        made.append(number)
        return make(number)

    found = fit(spied, limit=4, seconds=0.05)
    assert made[:4] == [0, 1, 2, 3]
    assert found.structure == make(0).structure
    assert found.device == "cpu"
    assert found.memory == {}
    assert set(found.seconds) == {1, 4}
    assert min(found.seconds.values()) > 0.0
    assert found.width in (1, 4)


def test_a_fit_goes_through_json() -> None:
    written = Fit(structure="s", device="d", seconds={1: 0.5, 4: 0.1}, memory={4: 9}, width=4, spent=1.5)
    values: dict[str, Any] = json.loads(json.dumps(written.to_json()))
    assert set(values) == {field.name for field in dataclasses.fields(Fit)}
    assert values["seconds"] == {"1": 0.5, "4": 0.1}
    assert Fit.from_json(values) == written


def test_alone_is_the_mean_of_the_kinds_that_share_a_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine(monkeypatch, {4: 1.5})
    cost = {64: 2.0, 32: 1.0}

    def alone(trainings: list[Training], steps: int) -> None:
        here.now += sum(cost[each.batch_size] for each in trainings) * steps

    monkeypatch.setattr(widths, "_alone", alone)
    found = fit(
        lambda number: training("vae", {"batch_size": (64, 32)[number % 2]}, seed=number), limit=4, seconds=1e6, kinds=2
    )
    assert found.seconds == pytest.approx({1: 1.5, 4: 1.5})
    assert found.width == 1, "as fast as the mean of both is no gain, though the larger batch would gain alone"


def test_the_fewest_members_are_those_with_which_a_stack_was_faster() -> None:
    def fewest(**seconds: float) -> int:
        costs = {int(width.removeprefix("w")): cost for width, cost in seconds.items()}
        return Fit(structure="", device=device, seconds=costs, memory={}, width=16, spent=0.0).fewest

    device = "cpu"
    assert fewest(w1=1.0, w4=1.1, w8=0.98, w16=0.5) == 16
    assert fewest(w1=1.0, w4=0.9, w16=0.5) == 4
    device = "a GPU, which computes all 16 rows whoever sits in them"
    assert fewest(w1=0.97, w4=0.5, w16=0.5) == 9


def test_a_width_for_which_memory_ends_in_the_comparison_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, {1: 1.0, 4: 0.9, 8: 0.5})
    side_by_side = widths._Watch.side_by_side
    full = [True]

    def compare(self: Any, one: Any, other: Any) -> tuple[float, float]:
        if full:
            full.clear()
            raise torch.OutOfMemoryError
        return side_by_side(self, one, other)

    monkeypatch.setattr(widths._Watch, "side_by_side", compare)
    assert fit(make, limit=8, seconds=1e6).width == 4


def test_no_width_is_taken_that_was_not_compared_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    here = machine(monkeypatch, {1: 10.0, 4: 8.0, 8: 6.0})
    run = here.run

    def settling(width: int, steps: int) -> None:
        run(width, steps)
        if width == 8:  # from here on the machine is quiet, and all of them cost the same
            here.costs.update({1: 5.0, 4: 5.0, 8: 5.0})

    here.run = settling  # type: ignore[method-assign]
    assert fit(make, limit=8, seconds=1e6).width == 1
