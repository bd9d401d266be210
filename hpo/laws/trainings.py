"""The laws of model families in training: alone, in company, and from a checkpoint. See `models.py`."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import torch
from torch import Tensor

from hpo.laws._law import Broken, NotAsked, apart, globally_seeded, in_float64
from hpo.laws._subject import Config, Subject
from trainables.models._family import Adaptive, adapted
from trainables.training.alone import Training
from trainables.training.loop import Progress
from trainables.training.stack import Stack

# Configurations of the space that are only built.
BUILT = 8
# What is sampled between epochs, and changes nothing.
SAMPLES = 8
# Between alone and in company, in float64.
TOLERANCE = 1e-9


def builds(subject: Subject) -> None:
    """A training is built from the default and from random draws of its space, and reads every parameter of each."""
    draws = random.Random(0)
    for params in [subject.space.default(), *(subject.space.random(draws) for _ in range(BUILT))]:
        try:
            Training(subject.family, subject.data, params, seed=0, epochs=2)
        except ValueError as error:
            raise Broken(f"for {params} it says: {error}", remedy="correct the family or its space") from error


@in_float64()
def alone_equals_in_company(subject: Subject) -> None:
    """Trainings of random draws that share a stack get the weights and logs that each gets alone."""
    if not subject.family.stacks:
        raise NotAsked("the family says that it does not stack")
    places = range(len(subject.configurations))
    alone, company = ([subject.training(place, seed=place) for place in places] for _ in range(2))
    if any(member.structure is None for member in company):
        raise Broken(
            "a training of it cannot be in a stack",
            remedy="let its buffers have the weights' type, or set stacks = False",
        )
    stack = Stack(company[0], width=len(company))
    for member in company:
        stack.add(member)
    reports: dict[int, list[Progress]] = {place: [] for place in places}
    while len(stack):
        for member in stack.advance():
            place = next(place for place in places if company[place] is member)
            reports[place].append(member.advance())
            if _over(member, reports[place][-1]):
                stack.remove(member)
            else:
                member.sample(SAMPLES)
    for place, params in enumerate(subject.configurations):
        expected = _trained(alone[place])
        try:
            _same(reports[place], expected, company[place], alone[place], within=TOLERANCE, params=params)
        except Broken:
            reach = _reach_of_rounding(subject.training(place, seed=place), alone[place])
            if reach <= TOLERANCE:
                raise
            _same(reports[place], expected, company[place], alone[place], within=reach, params=params)


def training_is_deterministic(subject: Subject) -> None:
    """Two trainings of one configuration and one seed have the same logs and weights, bit for bit.

    Samples of one are looked at after each epoch.
    """
    for place, params in enumerate(subject.configurations):
        trainings: list[Training] = []
        reports: list[list[Progress]] = []
        for seed in (0, 1):
            with globally_seeded(seed):
                trainings.append(subject.training(place))
                reports.append(_trained(trainings[-1], looked_at=seed == 1))
        _same_reports(reports[1], reports[0], within=0.0, what="the second time", params=params)
        if reports[0][-1].cause is None:
            _same_weights(trainings[1], trainings[0], within=0.0, what="the second time", params=params)


def a_checkpoint_holds_all(subject: Subject) -> None:
    """A training that goes on from a checkpoint becomes, bit for bit, what it would have become."""
    for place, params in enumerate(subject.configurations):
        training, again = subject.training(place), subject.training(place)
        if training.advance().cause is not None:
            continue
        with tempfile.TemporaryDirectory() as folder:
            training.save(Path(folder))
            again.restore(Path(folder))
        expected = _trained(training)
        _same_reports(_trained(again), expected, within=0.0, what="from a checkpoint", params=params)
        if expected[-1].cause is None:
            _same_weights(again, training, within=0.0, what="from a checkpoint", params=params)


def knobs_that_follow_the_training_are_its_memory(subject: Subject) -> None:
    """`adapted` is a pure function of knobs and logs that keeps their names."""
    if not isinstance(subject.build(subject.configurations[0]), Adaptive):
        raise NotAsked("the family has no knobs that follow the training")
    for place in range(len(subject.configurations)):
        training = subject.training(place)
        knobs, logs = dict(training.knobs), training.advance().metrics
        before = dict(knobs)
        found = [adapted(training.model, knobs, logs, rows=len(subject.data.train)) for _ in range(2)]
        if knobs != before or found[0] != found[1]:
            raise Broken("it changes its argument or remembers", remedy="compute it from its arguments alone")
        if set(found[0]) != set(knobs):
            raise Broken(f"it returns {sorted(found[0])} for {sorted(knobs)}", remedy="return every knob, and no other")


def _trained(training: Training, *, looked_at: bool = False) -> list[Progress]:
    """Every report up to the end of the budget or of the training's life."""
    reports: list[Progress] = []
    while not reports or not _over(training, reports[-1]):
        reports.append(training.advance())
        if looked_at:
            training.drawn()
    return reports


def _over(training: Training, report: Progress) -> bool:
    return report.cause is not None or report.step == training.epochs


def _same(
    reports: list[Progress],
    expected: list[Progress],
    company: Training,
    alone: Training,
    *,
    within: float,
    params: Config,
) -> None:
    """What a training in company said and became is what it says and becomes alone."""
    _same_reports(reports, expected, within=within, what="in company", params=params)
    if expected[-1].cause is None:
        _same_weights(company, alone, within=within, what="in company", params=params)


def _same_weights(found: Training, expected: Training, *, within: float, what: str, params: Config) -> None:
    """All weights, buffers and averages."""
    ours, theirs = (_tensors(training) for training in (found, expected))
    name, worst = max(((name, apart(ours[name], theirs[name])) for name in theirs), key=lambda item: item[1])
    if worst > within:
        raise Broken(
            f"{what} {name!r} differs by {worst:.2g} of its largest entry after {expected.step} epochs, at {params}",
            remedy="keep all state in parameters and buffers, and mix no rows, members or calls",
        )


def _same_reports(found: list[Progress], expected: list[Progress], *, within: float, what: str, params: Config) -> None:
    """The logs of every epoch, and how the training ended."""
    for ours, theirs in zip(found, expected, strict=True):
        if (ours.cause is None) != (theirs.cause is None) or ours.metrics.keys() != theirs.metrics.keys():
            raise Broken(f"{what} an epoch ends as {ours}, and else as {theirs}, at {params}", remedy="see `Family`")
        for name, value in theirs.metrics.items():
            if not abs(ours.metrics[name] - value) <= within * max(1.0, abs(value)):
                raise Broken(
                    f"{what} the log {name!r} of epoch {ours.step} is {ours.metrics[name]}, and else {value}, "
                    f"at {params}",
                    remedy="keep all state in parameters and buffers, and mix no rows, members or calls",
                )


def _reach_of_rounding(nudged: Training, trained: Training) -> float:
    """How far a training comes out from the same one whose initial weights are all moved to the next float.

    A share of each tensor's largest entry, the largest over tensors: two players, and logarithms of what is nearly
    silent, carry the last bit of a number far, and company may carry it as far.
    """
    for player in nudged.players:
        values = player.flat.values
        values.copy_(torch.where(values == 0.0, values, torch.nextafter(values, torch.full_like(values, torch.inf))))
    _trained(nudged)
    ours, theirs = _tensors(nudged), _tensors(trained)
    return max(apart(ours[name], theirs[name]) for name in theirs)


def _tensors(training: Training) -> dict[str, Tensor]:
    found = dict(training.module.state_dict())
    return found | {f"average of {own.name}": own.average for own in training.players if own.average is not None}
