"""What becomes of a member does not depend on its company: siblings leave, die, are replaced, and stand elsewhere."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from plain import Config
from together import AtOnce, apart, company_of, logs_apart, training, weights

from trainables.data._data import Split
from trainables.metrics._metric import Direction, Measurement
from trainables.models._family import Family
from trainables.training import company
from trainables.training.alone import Training
from trainables.training.loop import Progress, Trainer

pytestmark = pytest.mark.usefixtures("float64")

TOLERANCE = 1e-10
EPOCHS = 8
# Members that differ in whatever may differ; the batch sizes share a stack.
MEMBERS: dict[str, list[Config]] = {
    "vae": [
        {},
        {"optimizer": "rmsprop", "momentum": 0.5, "lr": 0.01, "dropout": 0.3, "batch_size": 7},
        {"optimizer": "sgd", "lr": 0.01, "clip": 1.0, "schedule": "cosine", "schedule_floor": 0.0},
        {"optimizer": "adamw", "weight_decay": 0.1, "kl_warmup": 0.5, "l1": 0.01, "batch_size": 11},
        {"optimizer": "adamax", "dropout": 0.1, "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 0.0},
    ],
    "mlp": [
        {"ema": 0.9},
        {"loss": "hinge", "critic_steps": 2, "dropout": 0.3, "batch_size": 7},
        {"optimizer": "sgd", "lr": 0.01, "r1": 0.3, "schedule": "linear", "schedule_floor": 0.1},
        {"optimizer": "rmsprop", "lr": 0.01, "ema": 0.7, "r1": 0.1, "dropout": 0.2, "batch_size": 11},
        {"optimizer": "adamw", "weight_decay": 0.1, "critic_steps": 3, "generator.lr": 0.002, "clip": 0.5},
    ],
}


class Mean:
    """The mean of some samples: a metric for any family."""

    name: ClassVar[str] = "mean"
    direction: ClassVar[Direction] = "minimize"
    each_epoch: ClassVar[bool] = True

    def measure(self, model: Family, split: Split, generator: torch.Generator) -> Measurement:
        samples = model.sample(model.draw_samples(generator, rows=64)).double()
        return Measurement(value=float(samples.mean()), standard_error=0.0, sample_size=64)


@pytest.fixture(params=["rows", "at once"], autouse=True)
def updates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack moves its members row by row, or all at once as on a GPU."""
    if request.param == "at once":
        monkeypatch.setattr(company, "Stack", AtOnce)


def member(family: str, place: int, *, seed: int | None = None, **more: object) -> Training:
    config = {**MEMBERS[family][place], **more}
    return training(family, config, seed=place if seed is None else seed, epochs=EPOCHS, metrics=[Mean()])


def alone(trained: Training) -> list[Progress]:
    return [trained.advance() for _ in range(trained.step, EPOCHS)]


class Watched:
    """A company, and what each of its members reported."""

    def __init__(self, *trainers: Trainer, width: int = 6) -> None:
        self.company: company.Company = company_of(*trainers, width=width)
        self.reports: dict[int, list[Progress]] = {}

    def turn(self) -> list[Trainer]:
        """The next members at the end of an epoch; who reached the end of its budget has left."""
        turns = self.company.advance()
        for turn in turns:
            progress = turn.trainer.advance()
            self.reports.setdefault(id(turn.trainer), []).append(progress)
            if progress.step == turn.trainer.epochs:
                self.company.leave(turn.trainer)
        return [turn.trainer for turn in turns]

    def until(self, trainer: Trainer, epoch: int) -> None:
        while trainer.step < epoch:
            self.turn()

    def check(self, trained: Training, same: Training) -> None:
        """Go on to the end of `trained`, and hold it against `same`, which stands where it stood when it joined."""
        self.until(trained, EPOCHS)
        reports, expected = self.reports[id(trained)], alone(same)
        assert [report.step for report in reports] == [report.step for report in expected]
        assert apart(weights(trained), weights(same)) < TOLERANCE
        assert logs_apart(reports, [report.metrics for report in expected]) < TOLERANCE


@pytest.mark.parametrize("leaver", range(5))
@pytest.mark.parametrize("family", MEMBERS)
def test_who_is_left_goes_on_as_alone(family: str, leaver: int) -> None:
    members = [member(family, place) for place in range(5)]
    watched = Watched(*members)
    watched.until(members[leaver], 3)
    # In the middle of an epoch of the others.
    assert any(not watched.company.at_rest(other) for other in members)
    watched.company.leave(members[leaver])
    left = [place for place in range(5) if place != leaver]
    watched.until(members[left[-1]], 5)
    watched.company.leave(members[left[0]])
    for place in left[1:]:
        watched.check(members[place], member(family, place))


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize("family", MEMBERS)
def test_a_member_that_dies_of_nan_takes_nobody_along(family: str, stays: bool) -> None:
    members = [member(family, place) for place in range(4)]
    dying = training(
        family, {"optimizer": "sgd", "momentum": 0.9, "lr": 1e200}, seed=9, epochs=EPOCHS, metrics=[Mean()]
    )
    watched = Watched(members[0], dying, *members[1:])
    while not watched.reports.get(id(dying)):
        watched.turn()
    (death,) = watched.reports[id(dying)]
    assert death.cause is not None
    assert death.constraints["diverged"] > 0
    assert not all(bool(player.flat.values.isfinite().all()) for player in dying.players)
    if not stays:
        watched.company.leave(dying)
    for place in range(4):
        watched.check(members[place], member(family, place))


@pytest.mark.parametrize("family", MEMBERS)
def test_a_new_member_in_a_freed_slot_is_as_alone_and_so_are_the_others(family: str) -> None:
    members = [member(family, place) for place in range(4)]
    dying = training(family, {"optimizer": "sgd", "lr": 1e200, "dropout": 0.4}, seed=9, epochs=EPOCHS, metrics=[Mean()])
    watched = Watched(*members, dying, width=5)
    while not watched.reports.get(id(dying)):
        watched.turn()
    watched.company.leave(dying)
    # One that begins takes the place of the dead, one that has come half-way that of a pruned one.
    begins = member(family, 4, seed=11)
    watched.company.join(begins)
    watched.until(members[1], 2)
    watched.company.leave(members[1])
    half_way, same_half_way = member(family, 2, seed=12), member(family, 2, seed=12)
    for trained in (half_way, same_half_way):
        for _ in range(3):
            trained.advance()
    watched.company.join(half_way)
    assert [count for _, count in watched.company.stacks()] == [5]
    for place in (0, 2, 3):
        watched.check(members[place], member(family, place))
    watched.check(half_way, same_half_way)
    watched.check(begins, member(family, 4, seed=11))


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_a_slot_keeps_nothing_of_the_noise_of_the_member_before(dropout: float) -> None:
    # Whoever draws uniforms is followed by one who does not, and the other way round.
    before, sibling = member("vae", 1, seed=20, dropout=0.5 - dropout), member("vae", 1, seed=21)
    watched = Watched(before, sibling)
    watched.until(before, 2)
    watched.company.leave(before)
    after = member("vae", 0, seed=22, dropout=dropout)
    watched.company.join(after)
    watched.check(after, member("vae", 0, seed=22, dropout=dropout))
    watched.check(sibling, member("vae", 1, seed=21))


def test_samples_and_measurements_are_those_of_the_average_in_company_too() -> None:
    members = [member("mlp", place) for place in (0, 3)]
    watched = Watched(*members)
    watched.until(members[0], 3)
    same = member("mlp", 0)
    for _ in range(3):
        same.advance()
    assert torch.equal(members[0].sample(9), same.sample(9))
    player = members[0].players[1]
    assert player.average is not None
    assert not torch.equal(player.average, player.flat.values)
    # Sampling put the weights back, into the row of the stack.
    watched.check(members[1], member("mlp", 3))
