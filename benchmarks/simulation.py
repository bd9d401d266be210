"""A simulated search in stacks: real sampler, real rung rule, a learning curve that is a formula, a clock that counts.

No training runs here, and no second that comes out of it was measured: a second is what `Cost` says. It answers what
one cannot afford to train for: what a policy of filling groups does to occupancy, to the search and to what is tried.
Axes of the question: P parameters, B rows of a batch.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, PartialFixedSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hpo.methods import quiet
from hpo.pruning import RungPruner
from hpo.samplers import OptunaDraw, make_sampler, trial_seed
from hpo.study import Method, Scalar
from search_spaces import Choice, Float, Int, ParameterValue, Space, gan, vae

Policy = Literal["free", "bin", "fix"]
Params = Mapping[str, ParameterValue]
Structure = tuple[int, int, int, int]  # latent, width, depth, batch

STRUCTURAL = ("latent", "width", "depth")
EPOCHS, ETA, GRACE = 27, 3, 3  # those of the ready-made study digits-vae
TRAIN_ROWS = 1000  # rows of digits that are trained on
PIXELS, LEVELS = 64, 17  # of digits
BATCH_FACTOR = 4  # a stack holds batches up to the same power of it, and computes the largest for each member
UPDATE_ROWS = 26  # updating a parameter costs like so many more rows of a batch; fitted with CPU below


def _vae_with(**fixed: ParameterValue) -> Space:
    return Space.from_mapping(fixed, name="vae", base=vae.SPACE)


# By name; the number in a name is that of the stacks that its trials may need.
SPACES = {
    "vae": vae.SPACE,
    "gan": gan.SPACE,
    "vae-72": _vae_with(depth=2),
    "vae-18": _vae_with(depth=2, width=256),
    "vae-6": _vae_with(depth=2, width=256, batch_size=64),
    "vae-1": _vae_with(depth=2, width=256, latent=16, batch_size=64),
}


def num_stacks(space: Space) -> int:
    """How many stacks the trials of a space may need: structures times sizes of batch."""
    structures = math.prod(len(_values(space, name)) for name in STRUCTURAL)
    return structures * len({_largest_batch(batch) for batch in _values(space, "batch_size")})


def _values(space: Space, name: str) -> list[int]:
    """What a structural parameter may be, in order."""
    entry = space.parameters[name]
    if isinstance(entry, Choice):
        return sorted(map(int, entry.options))
    if isinstance(entry, Int):
        return list(range(entry.low, entry.high + 1))
    assert not isinstance(entry, Float)
    return [int(entry)]


def _largest_batch(batch: int) -> int:
    return int(BATCH_FACTOR ** math.ceil(math.log(batch, BATCH_FACTOR) - 1e-9))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a step of a stack takes: step + the members' sum of (member + flops / flops_a_second), in seconds."""

    step: float
    member: float
    flops_a_second: float

    def seconds(self, flops: Sequence[float]) -> float:
        """Of one step of a stack whose members compute so much each."""
        return self.step + len(flops) * self.member + sum(flops) / self.flops_a_second


# Alone on one core of a 2-core Xeon, torch 2.13, 12 pairs of structure and batch of the VAE: a step took about .85 ms
# and its flops at 110 GFLOP/s. That .15 ms of the .85 are each member's own (draws, update) is an assumption.
CPU = Cost(step=0.70e-3, member=0.15e-3, flops_a_second=110e9)
# Assumed, for a GPU on which launching the kernels of a small model takes longer than computing them.
GPU = Cost(step=1e-3, member=1e-5, flops_a_second=20e12)
COSTS = {"compute-bound": CPU, "launch-bound": GPU}


def flops(structure: Structure) -> float:
    """Of a training step: 2 a weight and row forward, 4 backward, and the update; the matrices of the VAE.

    A GAN's step is dearer in what it launches and in what it computes, by about the same factor: ratios stay.
    """
    latent, width, depth, batch = structure
    hidden = (depth - 1) * width * width
    weights = PIXELS * width + hidden + width * 2 * latent + latent * width + hidden + width * LEVELS * PIXELS
    return 6.0 * weights * (batch + UPDATE_ROWS)


def structure_of(params: Params) -> Structure:
    """The structure by itself, with the trial's own batch."""
    latent, width, depth, batch = (int(params[name]) for name in (*STRUCTURAL, "batch_size"))
    return latent, width, depth, batch


def stack_of(params: Params, *, policy: Policy, space: Space) -> Structure:
    """The structure of the stack that a trial may join, with the largest batch that it may hold.

    bin: of the values of latent and width in order, two neighbors share the larger. Depth is not padded: a further
    layer is no zeros.
    """
    latent, width, depth, batch = structure_of(params)
    if policy == "bin":
        latent, width = _bin(space, "latent", latent), _bin(space, "width", width)
    return latent, width, depth, _largest_batch(batch)


def _bin(space: Space, name: str, value: int) -> int:
    return min(option for option in _values(space, name)[::-1][::2] if option >= value)


# -- the objective ----------------------------------------------------------------------------------------------------

_OPTIMIZER = {"adam": 0.0, "adamw": 0.0, "rmsprop": 0.5, "sgd": 2.0}
_SCHEDULE = {"cosine": 0.0, "linear": 0.1, "exponential": 0.2, "plateau": 0.3, "step": 0.4, "constant": 1.5}
_PENALTY = {0.0: 0.2, 1e-5: 0.0, 1e-4: 0.2, 1e-3: 1.0, 1e-2: 3.0}
_CRITIC_STEPS = {1: 0.3, 2: 0.0, 5: 0.5}
SEED_NOISE, MEASURING_NOISE = 0.3, 0.2  # of a training's seed, the same at each of its steps; of one measurement


def true_value(params: Params, epoch: int) -> float:
    """The objective after so many epochs, without noise; lower is better: 90 at best, 96 for the VAE's defaults.

    Invented, in the image of a VAE's nats on digits, and for a GAN likewise: a floor with an optimum inside the ranges,
    and an exponential approach. The best learning rate depends on width and batch, the best dropout on width, so
    structure and the rest must fit together.
    """
    number = {name: float(value) for name, value in params.items() if not isinstance(value, str)}
    width, batch, dropout = number["width"], number["batch_size"], number["dropout"]
    best_lr = -2.5 + 0.5 * math.log10(256 / width) + 0.5 * math.log10(batch / 64) + (params["optimizer"] == "sgd")
    off = [math.log10(value) - best_lr for name, value in number.items() if name.endswith("lr")]
    floor = 90.0 + 8.0 * sum(each**2 for each in off) / len(off)
    floor += 0.7 * math.log2(number["latent"] / 32) ** 2
    floor += 1.2 * max(0.0, math.log2(256 / width)) + 0.4 * max(0.0, math.log2(width / 256)) * (1 - 2 * dropout)
    floor += 3 - number["depth"]
    floor += 6.0 * (dropout - 0.1 * math.log2(width / 64) / 3) ** 2
    floor += 5.0 * (number["warmup"] - 0.05) ** 2
    floor += _OPTIMIZER[str(params["optimizer"])] + _SCHEDULE[str(params["schedule"])]
    floor += _PENALTY[number["l1"]] + 0.5 * _PENALTY[number.get("l2", 1e-5)]
    floor += 0.3 * (math.log10(number.get("weight_decay", 1e-2)) + 2) ** 2
    if "beta" in number:
        floor += 3.0 * (math.log10(number["beta"]) + 0.3) ** 2 + 2.0 * (number["kl_warmup"] - 0.2) ** 2
        floor += 4.0 * number["free_bits"] ** 2
    if "r1" in number:
        floor += 0.4 * math.log10(max(number["r1"], 1e-4)) ** 2 + 20.0 * (1 - max(number["ema"], 0.9)) ** 2
        floor += _CRITIC_STEPS[int(number["critic_steps"])]
    rate = 0.25 * (64 / batch) ** 0.25 * 10 ** (0.3 * min(0.0, *off))
    return floor + 60.0 * math.exp(-rate * epoch)


def measured(params: Params, epoch: int, *, seed: int) -> float:
    """What a training under this seed reports: repeatable."""
    of_seed = np.random.default_rng([seed, 0]).normal(0.0, SEED_NOISE)
    return true_value(params, epoch) + of_seed + np.random.default_rng([seed, epoch]).normal(0.0, MEASURING_NOISE)


# -- asking and deciding ----------------------------------------------------------------------------------------------


class Recorded(BaseSampler):
    """Proposes what an earlier search was told, by trial number."""

    def __init__(self, params: Sequence[Params]) -> None:
        self._params = params

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._params[trial.number][param_name]


class Search:
    """TPE over a space, the default configuration first as in every study, and the rung rule.

    recorded: ask what is in this list instead. A search with fewer trials is the beginning of one with more until its
    last ask, so its asks need not be computed again.
    """

    def __init__(self, arm: Arm, *, seed: int, budget: int, recorded: Sequence[Params] | None) -> None:
        self._arm, self._space, self._seed, self._budget = arm, SPACES[arm.space], seed, budget
        self._recorded = recorded is not None
        self._sampler = Recorded(recorded) if recorded is not None else self._tpe()
        self._pruner = RungPruner(eta=ETA, grace=GRACE, epochs=EPOCHS)
        self._study = optuna.create_study(sampler=self._sampler, pruner=self._pruner, direction=StudyDirection.MINIMIZE)
        self._study.enqueue_trial(self._space.default())
        self.asked: list[Member] = []
        self._queue: list[Member] = []

    @property
    def left(self) -> int:
        """Trials that no slot has taken yet."""
        return self._budget - len(self.asked) + len(self._queue)

    def take(self, stacks: Collection[Structure], *, fixed: Params | None) -> Member:
        """The next trial for a group with these stacks: of those asked ahead the oldest that fits into one, or is.

        fixed: parameters that it must have.
        """
        while len(self._queue) <= self._arm.ahead and len(self.asked) < self._budget:
            self._queue.append(self._ask(fixed))
        fits = (member for member in self._queue if self.stack_of(member) in stacks)
        member = next(fits, self._queue[0])
        self._queue.remove(member)
        return member

    def stack_of(self, member: Member) -> Structure:
        return stack_of(member.params, policy=self._arm.policy, space=self._space)

    def _tpe(self) -> BaseSampler:
        options: dict[str, Scalar | list[Scalar]] = {} if self._arm.multivariate else {"multivariate": False}
        return make_sampler(Method(name="tpe", options=options), space=self._space, seed=self._seed)

    def _ask(self, fixed: Params | None) -> Member:
        with quiet():
            partly = fixed is not None and not self._recorded
            self._study.sampler = PartialFixedSampler(dict(fixed or {}), self._sampler) if partly else self._sampler
            trial = self._study.ask()
            params = self._space.draw(OptunaDraw(trial))
        member = Member(trial=trial, params=params, seed=trial_seed(self._seed, trial.number))
        self.asked.append(member)
        return member

    def end_epochs(self, members: Sequence[Member], *, now: float) -> None:
        """Report a batch, then decide, as the ledger does; sets `ended` of those that are over."""
        due = [member for member in members if member.epoch in self._pruner.rungs or member.epoch == EPOCHS]
        for member in due:
            member.value = measured(member.params, member.epoch, seed=member.seed)
            member.trial.report(member.value, member.epoch)
        for member in due:
            if member.epoch == EPOCHS:
                self._study.tell(member.trial, member.value)
            elif member.trial.should_prune():
                self._study.tell(member.trial, state=TrialState.PRUNED)
            else:
                continue
            member.ended = now


@dataclass(kw_only=True, eq=False)
class Member:
    """A trial in a slot. steps: left of its epoch. ended: when, infinite while it goes on."""

    trial: Trial
    params: Params
    seed: int
    epoch: int = 0
    value: float = math.nan
    ended: float = math.inf
    steps: int = 0

    def begin_epoch(self) -> None:
        self.steps = math.ceil(TRAIN_ROWS / int(self.params["batch_size"]))


# -- the clock --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to search.

    groups: workers, each a process with a device of its own. slots: of a group. trials: of its life. ahead: trials
    asked before a slot wants them, from which a group takes one that fits into a stack of its own.
    multivariate: whether TPE models all parameters jointly, which is its default, or each by itself.

    A group of one slot is the unfused search, whatever its policy (but for `fix`).
    """

    policy: Policy
    slots: int
    cost: str
    space: str = "vae"
    groups: int = 2
    trials: int | None = None
    ahead: int = 0
    multivariate: bool = True

    @property
    def life(self) -> int:
        """How many trials a group takes before it is renewed: by default the slots four times over."""
        return self.trials or 4 * self.slots


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a search; times in simulated seconds.

    params: as asked. done: (end, measured, true) of the trials that came to their full budget. opened: the trial that
    began each group, by number. alone: what the epochs trained would take one after another. slot_seconds: time that
    slots were taken. stack_steps, member_steps: the second is the first, each step counted for every member.
    """

    params: list[dict[str, ParameterValue]]
    done: list[tuple[float, float, float]]
    opened: list[int]
    makespan: float
    alone: float
    slot_seconds: float
    stack_steps: int
    member_steps: int

    def best(self, *, until: float = math.inf) -> float:
        """The true value of the trial that looks best by then; NaN before there is one."""
        found = [(seen, true) for end, seen, true in self.done if end <= until]
        return min(found)[1] if found else math.nan


def simulate(arm: Arm, *, seed: int, budget: int, recorded: Sequence[Params] | None = None) -> Outcome:
    """Run one search to the end of its last trial."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = Search(arm, seed=seed, budget=budget, recorded=recorded)
    groups = [_Group(arm, search) for _ in range(arm.groups)]
    turns = [(0.0, index) for index in range(arm.groups)]  # when the turn of a group is over, and whose it is
    while turns:
        now, index = heapq.heappop(turns)
        if (seconds := groups[index].turn(now)) > 0:
            heapq.heappush(turns, (now + seconds, index))
    members = search.asked
    return Outcome(
        params=[dict(member.params) for member in members],
        done=[
            (member.ended, member.value, true_value(member.params, EPOCHS))
            for member in members
            if member.epoch == EPOCHS
        ],
        opened=sorted(number for group in groups for number in group.opened),
        makespan=max(member.ended for member in members),
        alone=sum(group.alone for group in groups),
        slot_seconds=sum(group.slot_seconds for group in groups),
        stack_steps=sum(group.stack_steps for group in groups),
        member_steps=sum(group.member_steps for group in groups),
    )


@dataclass
class _Group:
    """A worker: its stacks take turns, each until a member of it has finished an epoch; freed slots are refilled."""

    arm: Arm
    search: Search
    stacks: dict[Structure, list[Member]] = field(default_factory=dict)  # the next in turn first
    ready: list[Member] = field(default_factory=list)
    fixed: Params | None = None
    taken: int = 0
    opened: list[int] = field(default_factory=list)
    alone: float = 0.0
    slot_seconds: float = 0.0
    stack_steps: int = 0
    member_steps: int = 0

    def turn(self, now: float) -> float:
        """End the turn before, fill the slots, and begin a turn; returns how long it takes, 0 where all is over."""
        self.search.end_epochs(self.ready, now=now)
        for member in self.ready:
            member.begin_epoch()
        self.stacks = {
            structure: going
            for structure, members in self.stacks.items()
            if (going := [member for member in members if math.isinf(member.ended)])
        }
        self._fill()
        if not self.stacks:
            self.ready = []
            return 0.0
        structure, members = next(iter(self.stacks.items()))
        self.stacks[structure] = self.stacks.pop(structure)  # to the end of the line
        return self._train(structure, members)

    def _fill(self) -> None:
        if not self.stacks and self.taken >= self.arm.life:
            self.taken, self.fixed = 0, None
        while self.search.left and self.taken < self.arm.life and self._num_taken() < self.arm.slots:
            member = self.search.take(self.stacks, fixed=self.fixed)
            if self.taken == 0:
                self.opened.append(member.trial.number)
                if self.arm.policy == "fix":
                    self.fixed = {name: member.params[name] for name in STRUCTURAL}
            self.taken += 1
            member.begin_epoch()
            self.stacks.setdefault(self.search.stack_of(member), []).append(member)

    def _num_taken(self) -> int:
        return sum(map(len, self.stacks.values()))

    def _train(self, structure: Structure, members: Sequence[Member]) -> float:
        cost = COSTS[self.arm.cost]
        own = [flops(structure_of(member.params)) for member in members]
        steps = min(member.steps for member in members)
        latent, width, depth, _ = structure
        batch = max(int(member.params["batch_size"]) for member in members)
        padded = [flops((latent, width, depth, batch))] * len(members)
        seconds = steps * cost.seconds(padded if len(members) > 1 else own)  # by itself a training is not padded
        self.alone += steps * sum(cost.seconds([one]) for one in own)
        self.slot_seconds += seconds * self._num_taken()
        self.stack_steps += steps
        self.member_steps += steps * len(members)
        for member in members:
            member.steps -= steps
        self.ready = [member for member in members if member.steps == 0]
        for member in self.ready:
            member.epoch += 1
        return seconds
