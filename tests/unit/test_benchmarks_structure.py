"""The simulation of policies for structural hyperparameters: what it counts, what it asks, and its arithmetic."""

import math
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks is no installed package

from benchmarks import simulation, structure
from benchmarks.simulation import EPOCHS, STRUCTURAL, Arm, Outcome, Policy, simulate, stack_of
from hpo.methods import quiet
from hpo.pruning import RungPruner
from hpo.samplers import OptunaDraw, make_sampler, trial_seed
from hpo.study import Method
from search_spaces import ParameterValue, vae

DEFAULT = vae.SPACE.default()


def arm(policy: Policy = "free", *, slots: int = 4, groups: int = 2, trials: int | None = None, ahead: int = 0) -> Arm:
    return Arm(policy=policy, slots=slots, cost="launch-bound", groups=groups, trials=trials, ahead=ahead)


def shape(params: dict[str, ParameterValue]) -> list[ParameterValue]:
    return [params[name] for name in STRUCTURAL]


def outcome(*widths: int, done: list[tuple[float, float, float]] | None = None) -> Outcome:
    params = [{**DEFAULT, "width": width} for width in widths]
    return Outcome(
        params=params,
        done=done or [],
        opened=[0],
        makespan=1.0,
        alone=1.0,
        slot_seconds=1.0,
        stack_steps=1,
        member_steps=1,
    )


@pytest.mark.parametrize("searched", [arm("free"), arm("free", ahead=3), arm("bin"), arm("fix"), arm("free", slots=1)])
def test_every_policy_trains_each_trial_of_the_budget_to_an_end_and_takes_no_more_slots_than_there_are(
    searched: Arm,
) -> None:
    found = simulate(searched, seed=1, budget=27)
    assert len(found.params) == 27
    assert 0 < len(found.done) < 27  # some lost at a rung
    assert max(end for end, _, _ in found.done) <= found.makespan < math.inf
    assert found.slot_seconds <= searched.groups * searched.slots * found.makespan * (1 + 1e-9)
    assert found.stack_steps <= found.member_steps <= searched.slots * found.stack_steps


def test_one_slot_in_one_group_asks_what_a_plain_loop_over_optuna_asks() -> None:
    budget, seed = 27, 3
    sampler = make_sampler(Method(name="tpe"), space=vae.SPACE, seed=seed)
    study = optuna.create_study(sampler=sampler, pruner=RungPruner(epochs=EPOCHS))
    study.enqueue_trial(vae.SPACE.default())
    asked = []
    for _ in range(budget):
        with quiet():
            trial = study.ask()
            params = vae.SPACE.draw(OptunaDraw(trial))
        asked.append(params)
        for epoch in (3, 9, 27):
            value = simulation.measured(params, epoch, seed=trial_seed(seed, trial.number))
            trial.report(value, epoch)
            if epoch == 27:
                study.tell(trial, value)
            elif trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
    for policy in ("free", "bin"):
        assert simulate(arm(policy, slots=1, groups=1), seed=seed, budget=budget).params == asked


def test_tpe_models_parameters_apart_where_the_arm_says_so() -> None:
    jointly, apart = (
        simulate(replace(arm(slots=1, groups=1), multivariate=together), seed=3, budget=20)
        for together in (True, False)
    )
    assert jointly.params[:10] == apart.params[:10]  # the default, and nine at random
    assert jointly.params != apart.params


def test_fix_keeps_the_structure_of_a_groups_first_trial_for_its_life_and_no_other_policy_does() -> None:
    life = 8
    found = simulate(arm("fix", groups=1, trials=life), seed=2, budget=32)
    assert found.opened == [0, 8, 16, 24]
    groups = [found.params[number : number + life] for number in found.opened]
    assert all(shape(params) == shape(group[0]) for group in groups for params in group)
    assert len({str(shape(group[0])) for group in groups}) > 1
    assert len({params["lr"] for params in found.params}) == 32
    free = simulate(arm("free", groups=1, trials=life), seed=2, budget=32)
    assert any(shape(params) != shape(free.params[0]) for params in free.params[:life])


def test_search_with_fewer_trials_is_told_by_the_asks_of_one_with_more() -> None:
    whole = simulate(arm(), seed=4, budget=30)
    replayed = simulate(arm(), seed=4, budget=20, recorded=whole.params[:20])
    assert replayed == simulate(arm(), seed=4, budget=20)
    assert replayed.makespan < whole.makespan


def test_trials_asked_ahead_are_taken_where_they_fit() -> None:
    def members_a_step(ahead: int) -> float:
        found = [simulate(arm(slots=8, ahead=ahead), seed=seed, budget=48) for seed in range(3)]
        return sum(one.member_steps for one in found) / sum(one.stack_steps for one in found)

    assert members_a_step(24) > members_a_step(0)


def test_bins_pad_to_the_larger_neighbor_and_batches_to_a_power_of_four() -> None:
    params = {**DEFAULT, "latent": 8, "width": 64, "depth": 3, "batch_size": 32}
    assert stack_of(params, policy="free", space=vae.SPACE) == (8, 64, 3, 64)
    assert stack_of(params, policy="bin", space=vae.SPACE) == (16, 128, 3, 64)
    largest = {**params, "latent": 64, "width": 512, "batch_size": 256}
    assert stack_of(largest, policy="bin", space=vae.SPACE) == (64, 512, 3, 256)


def test_stacks_of_a_space_are_its_structures_times_three_sizes_of_batch() -> None:
    counts = {name: simulation.num_stacks(space) for name, space in simulation.SPACES.items()}
    assert counts == {"vae": 216, "gan": 24, "vae-72": 72, "vae-18": 18, "vae-6": 6, "vae-1": 1}


def test_step_costs_once_a_stack_and_once_a_member() -> None:
    cost = simulation.Cost(step=1.0, member=0.1, flops_a_second=10.0)
    assert cost.seconds([5.0, 5.0]) == pytest.approx(1.0 + 0.2 + 1.0)


def test_measurements_repeat_and_scatter_about_the_true_value() -> None:
    values = [simulation.measured(DEFAULT, 27, seed=seed) for seed in range(300)]
    assert values[0] == simulation.measured(DEFAULT, 27, seed=0)
    assert sum(values) / 300 == pytest.approx(simulation.true_value(DEFAULT, 27), abs=0.1)


def test_total_variation_and_entropy() -> None:
    one, other = (structure.histogram([outcome(*widths)], ["width"]) for widths in ((64, 64, 128, 128), (64, 512)))
    assert structure.total_variation(one, one) == 0.0
    assert structure.total_variation(one, other) == pytest.approx(0.5)
    assert structure.entropy(one) == pytest.approx(1.0)


def test_narrower_is_a_search_over_fewer_structures_beyond_the_scatter_of_seeds() -> None:
    wide = [outcome(64, 128, 256, 512), outcome(64, 128, 256, 256)]
    narrow = [outcome(64, 64, 64, 64), outcome(64, 64, 64, 128)]
    assert structure.is_narrower(narrow, wide)
    assert not structure.is_narrower(wide, narrow)
    assert not structure.is_narrower(wide, wide)


def test_floor_is_nothing_for_equal_searches_and_something_for_unequal_ones() -> None:
    assert structure.floor([outcome(64, 128)] * 4, ["width"]) == (0.0, 0.0)
    mean, high = structure.floor([outcome(64)] * 2 + [outcome(128)] * 2, ["width"])
    assert 0.0 < mean < high == 1.0


def test_best_is_the_true_value_of_what_looked_best_by_then() -> None:
    found = outcome(64, done=[(10.0, 95.0, 94.0), (20.0, 92.0, 93.5)])
    assert found.best() == 93.5
    assert found.best(until=15.0) == 94.0
    assert math.isnan(found.best(until=5.0))


def test_report_tells_every_search_of_a_plan_that_was_run_and_reads_it_again(tmp_path: Path) -> None:
    few = {
        structure.Job(job.arm, 4, job.seed)
        for job in structure.plan(2)
        if job.budget == 128 and job.arm.space == "vae" and job.arm.slots <= 8
    }
    jobs = sorted(few, key=str)
    keep = tmp_path / "outcomes.jsonl"
    results = structure.collect(jobs, processes=1, keep=keep)
    assert structure.collect(jobs, processes=1, keep=keep) == results
    assert len(keep.read_text().splitlines()) == len(jobs)
    labels = {structure.label(job.arm) for job in jobs}
    rows = {(key[0], 128): outcomes for key, outcomes in results.items()} | results
    text = "\n".join(structure.report(rows | {(key[0], 64): outcomes for key, outcomes in results.items()}))
    assert all(f"| {label} |" in text for label in labels)
