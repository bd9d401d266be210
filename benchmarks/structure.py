"""What structural hyperparameters cost a fused search: a simulation of the policies for filling groups.

    python -m benchmarks.structure --seeds 20 --jobs 2

Trials of one structure share a stack, and the structure is searched as well. `free` asks the sampler freely and keeps
several stacks in a group; `bin` pads latent and width up to the next bin; `fix` keeps the structural values of a
group's first trial for its life. Sampler, spaces, rung rule and seeds are the real ones; the learning curves are a
formula and the clock counts what `simulation.Cost` says, so no second here was measured. Prints markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.simulation import COSTS, SPACES, STRUCTURAL, Arm, Outcome, Policy, num_stacks, simulate

BUDGETS = (64, 128, 256)
SPLITS = 500  # random halves of the unfused searches, for the floor
GROUPS = 2
POLICIES: tuple[Policy, ...] = ("free", "bin", "fix")
FOREVER = 10**9  # trials of a group that is never renewed
SETTINGS = (("vae", "compute-bound"), ("vae", "launch-bound"), ("gan", "compute-bound"), ("gan", "launch-bound"))
UNFUSED = Arm(policy="free", slots=1, cost="compute-bound", groups=GROUPS)


@dataclass(frozen=True)
class Job:
    """One search to run, and all smaller budgets that it contains."""

    arm: Arm
    budget: int
    seed: int


Key = tuple[object, ...]  # values of parameters
Results = dict[tuple[Arm, int], dict[int, Outcome]]  # arm and budget -> seed -> what came of it


def alone_like(arm: Arm) -> Arm:
    """As many trials in flight, each in a worker of its own: what the width does to the search, whatever is stacked."""
    return replace(arm, policy="free", slots=1, groups=arm.groups * arm.slots, trials=None, ahead=0)


def unfused_like(arm: Arm) -> Arm:
    return replace(UNFUSED, cost=arm.cost, space=arm.space, multivariate=arm.multivariate)


def plan(seeds: int) -> list[Job]:
    """Every search of the page, what matters most first.

    Unfused with twice the seeds: two halves make the floor. The smaller spaces with a quarter of the seeds.
    """
    first, second, quarter = range(seeds), range(seeds, 2 * seeds), range(-(-seeds // 4))
    wanted: list[tuple[Arm, int, Iterable[int]]] = []
    for space, cost in SETTINGS:
        unfused = replace(UNFUSED, space=space, cost=cost)
        eight = replace(unfused, slots=8)
        wanted += [(unfused, 128, first), *((replace(eight, policy=policy), 128, first) for policy in POLICIES)]
        if cost == "compute-bound":  # where it is compared what is tried
            wanted.append((unfused, 128, second))
        if space == "vae":
            wanted += [(replace(unfused, policy=policy, slots=16), 128, first) for policy in POLICIES]
            wanted += [(replace(eight, ahead=8), 128, first), (replace(eight, policy="fix", trials=16), 128, first)]
    free = replace(UNFUSED, slots=8)
    wanted += [(alone_like(replace(free, slots=slots)), 128, second) for slots in (8, 16)]
    wanted += [(replace(UNFUSED, policy=policy, slots=4), 128, first) for policy in POLICIES]
    wanted += [
        (replace(UNFUSED, slots=slots, space=space, cost=cost), 128, quarter)
        for space in SPACES
        for cost in COSTS
        for slots in (1, 8)
    ]
    for cost in COSTS:
        apart = replace(UNFUSED, cost=cost, multivariate=False)
        wanted += [(replace(apart, slots=slots), 128, first) for slots in (1, 8, 16)]
        if cost == "compute-bound":
            wanted += [(apart, 128, second), (alone_like(replace(apart, slots=8)), 128, second)]
    wanted += [(replace(free, slots=32), 64, first)]
    largest = (UNFUSED, *(replace(free, policy=policy) for policy in POLICIES))
    wanted += [(arm, 256, [seed]) for seed in first for arm in largest]
    wanted += [(replace(free, trials=FOREVER), 128, first), (replace(UNFUSED, policy="fix"), 128, first)]
    return list(dict.fromkeys(Job(arm, budget, seed) for arm, budget, numbers in wanted for seed in numbers))


def run(job: Job) -> list[tuple[int, Outcome]]:
    """The outcome at the job's budget and at each smaller one, whose asks are the first of the same."""
    whole = simulate(job.arm, seed=job.seed, budget=job.budget)
    smaller = [budget for budget in BUDGETS if budget < job.budget]
    return [
        *((size, simulate(job.arm, seed=job.seed, budget=size, recorded=whole.params[:size])) for size in smaller),
        (job.budget, whole),
    ]


# -- figures ----------------------------------------------------------------------------------------------------------


def histogram(outcomes: Iterable[Outcome], names: Sequence[str]) -> Counter[Key]:
    """How often each combination of these parameters was tried."""
    return Counter(tuple(params[name] for name in names) for outcome in outcomes for params in outcome.params)


def total_variation(one: Mapping[Key, int], other: Mapping[Key, int]) -> float:
    """Half the sum of the differences of shares: 0 for equal distributions, 1 for disjoint ones."""
    sizes = sum(one.values()), sum(other.values())
    return 0.5 * sum(abs(one.get(key, 0) / sizes[0] - other.get(key, 0) / sizes[1]) for key in {*one, *other})


def entropy(counts: Mapping[Key, int]) -> float:
    """Bits."""
    total = sum(counts.values())
    return -sum(count / total * math.log2(count / total) for count in counts.values())


def floor(outcomes: Sequence[Outcome], names: Sequence[str]) -> tuple[float, float]:
    """Mean and 95th percentile of the total variation between random halves of the same arm's searches."""
    generator = np.random.default_rng(0)
    each = [histogram([outcome], names) for outcome in outcomes]
    found = []
    for _ in range(SPLITS):
        order = generator.permutation(len(each))
        halves = [sum((each[i] for i in half), Counter[Key]()) for half in np.array_split(order, 2)]
        found.append(total_variation(halves[0], halves[1]))
    return float(np.mean(found)), float(np.quantile(found, 0.95))


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean and standard error of those that are known."""
    known = np.array([value for value in values if math.isfinite(value)])
    if len(known) == 0:
        return math.nan, math.nan
    return float(known.mean()), float(known.std(ddof=1) / math.sqrt(len(known))) if len(known) > 1 else math.nan


def is_narrower(one: Sequence[Outcome], other: Sequence[Outcome]) -> bool:
    """Whether a search of the first kind spreads over fewer structures, by two standard errors of the difference."""
    (mine, my_error), (its, its_error) = (
        mean_and_error(entropy(histogram([outcome], STRUCTURAL)) for outcome in outcomes) for outcomes in (one, other)
    )
    return its - mine > 2 * math.hypot(my_error, its_error)


# -- tables -----------------------------------------------------------------------------------------------------------


def label(arm: Arm) -> str:
    if arm.groups != GROUPS:
        return f"unfused, {arm.groups} workers"
    if arm == unfused_like(arm):
        return "unfused"
    extra = f", {arm.ahead} asked ahead" if arm.ahead else ""
    if arm.trials is not None:
        extra += ", groups never renewed" if arm.trials == FOREVER else f", groups of {arm.trials} trials"
    return f"{arm.policy}, W = {arm.slots}{extra}"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "| --- " * len(header) + "|"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def plus_minus(values: Iterable[float]) -> str:
    """Mean and standard error; how many are known, where not all are."""
    values = list(values)
    mean, error = mean_and_error(values)
    known = sum(map(math.isfinite, values))
    return f"{mean:.2f} ± {error:.2f}" + (f" ({known} of {len(values)})" if known < len(values) else "")


def speed_row(arm: Arm, budget: int, results: Results) -> list[str]:
    """Occupancy, stacking, and the search by simulated time."""
    mine, unfused = results[arm, budget], results.get((unfused_like(arm), budget), {})
    outcomes = list(mine.values())
    slots = arm.groups * arm.slots
    pairs = [(outcome, unfused[seed]) for seed, outcome in mine.items() if seed in unfused]
    return [
        label(arm),
        f"{np.mean([one.slot_seconds / (slots * one.makespan) for one in outcomes]):.2f}",
        f"{np.mean([one.member_steps / one.stack_steps for one in outcomes]):.1f}",
        f"{np.mean([one.alone / (arm.groups * one.makespan) for one in outcomes]):.2f}",
        f"{np.mean([other.makespan for _, other in pairs]) / np.mean([one.makespan for one, _ in pairs]):.2f}",
        plus_minus(one.best(until=other.makespan / 2) for one, other in pairs),
        plus_minus(one.best() for one in outcomes),
    ]


SPEED = (
    "arm",
    "slots taken",
    "members a step",
    "gain by stacking",
    "trials an hour, of unfused",
    "best after half of unfused's time",
    "best after all trials",
)


def spread_row(arm: Arm, budget: int, results: Results) -> list[str]:
    """What was tried, against unfused searches of other seeds."""
    unfused = results[unfused_like(arm), budget]
    outcomes = list(results[arm, budget].values())
    others = [unfused[seed] for seed in sorted(unfused)[len(unfused) // 2 :]]
    if arm == unfused_like(arm):
        outcomes = outcomes[: len(outcomes) // 2]
    distances = [
        total_variation(histogram(outcomes, names), histogram(others, names))
        for names in (STRUCTURAL, *((name,) for name in STRUCTURAL))
    ]
    alike = results.get((alone_like(arm), budget))
    return [
        label(arm),
        f"{np.mean([len(histogram([one], STRUCTURAL)) for one in outcomes]):.1f}",
        plus_minus(entropy(histogram([one], STRUCTURAL)) for one in outcomes),
        *(f"{distance:.2f}" for distance in distances),
        "" if alike is None or arm.slots == 1 or arm.groups != GROUPS
        else f"{total_variation(histogram(outcomes, STRUCTURAL), histogram(alike.values(), STRUCTURAL)):.2f}",
        "yes" if is_narrower(outcomes, list(unfused.values())) else "no",
    ]  # fmt: skip


SPREAD = (
    "arm",
    "structures a search",
    "entropy, bits",
    "TV joint",
    *(f"TV {name}" for name in STRUCTURAL),
    "TV joint to as many in flight, unfused",
    "narrower",
)


def budget_row(arm: Arm, results: Results) -> list[str]:
    cells = [
        plus_minus(one.best() for one in results[arm, budget].values()) if (arm, budget) in results else ""
        for budget in BUDGETS
    ]
    return [label(arm), *cells]


def arms_of(results: Results, unfused: Arm, budget: int) -> list[Arm]:
    """The arms that are compared with this one."""
    found = [arm for arm, size in results if size == budget and unfused_like(arm) == unfused]
    return sorted(found, key=lambda arm: (arm != unfused_like(arm), arm.groups, arm.slots, arm.policy != "free"))


def report(results: Results) -> Iterator[str]:
    """The page's tables, as markdown lines."""
    for budget, (space, cost), multivariate in itertools.product((128, 256), SETTINGS, (True, False)):
        unfused = replace(UNFUSED, space=space, cost=cost, multivariate=multivariate)
        arms = arms_of(results, unfused, budget)
        if not arms:
            continue
        yield f"### {space}, {cost}, {budget} trials{'' if multivariate else ', TPE with multivariate=False'}\n"
        yield from table(SPEED, [speed_row(arm, budget, results) for arm in arms if arm.groups == GROUPS])
        if cost == "compute-bound" and budget == 128:
            yield from table(SPREAD, [spread_row(arm, budget, results) for arm in arms])
            yield from floor_line(unfused, budget, results)
    yield "### Best value by budget: vae, compute-bound\n"
    arms = arms_of(results, UNFUSED, 64)
    yield from table(("arm", *(f"{size} trials" for size in BUDGETS)), [budget_row(arm, results) for arm in arms])
    yield "### Width and a budget of 64 trials: vae, compute-bound\n"
    shown = [arm for arm in arms if arm.policy == "free" and not arm.ahead and not arm.trials and arm.groups == GROUPS]
    yield from table(SPEED, [speed_row(arm, 64, results) for arm in shown])
    yield from table(SPREAD, [spread_row(arm, 64, results) for arm in shown])
    yield from floor_line(UNFUSED, 64, results)
    yield "### How many stacks a space may need: free, W = 8, 128 trials\n"
    yield from table(("space", "stacks", "cost", *SPEED[1:], "unfused: best after all trials"), by_space(results))


def floor_line(unfused: Arm, budget: int, results: Results) -> Iterator[str]:
    searches = list(results[unfused, budget].values())
    bounds = [floor(searches, names) for names in (STRUCTURAL, *((name,) for name in STRUCTURAL))]
    told = ", ".join(f"{mean:.2f} ({high:.2f})" for mean, high in bounds)
    yield f"Floor, unfused against unfused, mean (95th percentile): {told}.\n"


def by_space(results: Results) -> Iterator[list[str]]:
    for count, space in sorted(((num_stacks(space), name) for name, space in SPACES.items()), reverse=True):
        for cost in COSTS:
            arm = replace(UNFUSED, slots=8, space=space, cost=cost)
            if (arm, 128) in results:
                unfused = plus_minus(one.best() for one in results[unfused_like(arm), 128].values())
                cells = speed_row(arm, 128, results)
                yield [space, str(count), cost, *cells[1:], unfused]


def collect(jobs: Iterable[Job], *, processes: int, keep: Path | None) -> Results:
    """Run what is not in the file yet, and add it there, one line a search."""
    results: Results = {}
    known = set()
    for line in keep.read_text(encoding="utf-8").splitlines() if keep is not None and keep.exists() else ():
        row = json.loads(line)
        job = Job(Arm(**row["arm"]), row["budget"], row["seed"])
        known.add(job)
        _take(results, job, [(size, _outcome(fields)) for size, fields in row["outcomes"]])
    left = [job for job in jobs if job not in known]
    with ProcessPoolExecutor(processes) as pool:
        for job, outcomes in zip(left, pool.map(run, left), strict=True):
            _take(results, job, outcomes)
            if keep is not None:
                row = asdict(job) | {"outcomes": [(size, asdict(outcome)) for size, outcome in outcomes]}
                with keep.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    return results


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Outcome(**fields | {"done": [tuple(each) for each in fields["done"]]})


def _take(results: Results, job: Job, outcomes: Iterable[tuple[int, Outcome]]) -> None:
    for size, outcome in outcomes:
        results.setdefault((job.arm, size), {})[job.seed] = outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="searches of each arm")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="a file of outcomes: what is in it is not run again")
    args = parser.parse_args()
    results = collect(plan(args.seeds), processes=args.jobs, keep=args.keep)
    print("\n".join(report(results)))


if __name__ == "__main__":
    main()
