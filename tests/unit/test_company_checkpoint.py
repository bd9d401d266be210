"""A member goes on from its checkpoint in another slot, at another width, and alone, as if never interrupted."""

from pathlib import Path

import pytest
import torch
from plain import Config
from together import AtOnce, apart, company_of, go_on, logs_apart, training, weights

from trainables.training import company
from trainables.training.alone import Training
from trainables.training.checkpoint import read_checkpoint
from trainables.training.loop import Progress

pytestmark = pytest.mark.usefixtures("float64")

TOLERANCE = 1e-10
EPOCHS = 8
OPTIMIZERS: dict[str, Config] = {
    "sgd": {"optimizer": "sgd", "lr": 0.01},
    "momentum": {"optimizer": "sgd", "lr": 0.01, "momentum": 0.8},
    "adam": {"optimizer": "adam"},
    "adamw": {"optimizer": "adamw", "weight_decay": 0.1},
    "rmsprop": {"optimizer": "rmsprop", "lr": 0.01, "momentum": 0.5},
    "adamax": {"optimizer": "adamax"},
}
# Whatever has a state besides weights and optimizer: noise, order, plateau, averages, paces.
COMMON: Config = {"dropout": 0.3, "l1": 1e-3, "clip": 1.0, "batch_size": 7, "warmup": 0.1}
OWN: dict[str, Config] = {
    "vae": {"kl_warmup": 0.5, "schedule": "plateau", "plateau_factor": 0.5, "plateau_patience": 0.0},
    "mlp": {"ema": 0.9, "critic_steps": 3, "r1": 0.1, "schedule": "cosine", "schedule_floor": 0.0},
}


@pytest.fixture(params=["rows", "at once"], autouse=True)
def updates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stack moves its members row by row, or all at once as on a GPU."""
    if request.param == "at once":
        monkeypatch.setattr(company, "Stack", AtOnce)


def make(family: str, optimizer: str) -> Training:
    return training(family, {**COMMON, **OWN[family], **OPTIMIZERS[optimizer]}, seed=3, epochs=EPOCHS)


def others(family: str, count: int, *, seed: int) -> list[Training]:
    configs: list[Config] = [{}, {"optimizer": "sgd", "lr": 0.01}, {"dropout": 0.5, "batch_size": 11}, {"clip": 0.1}]
    return [training(family, configs[(seed + i) % 4], seed=seed + i, epochs=EPOCHS) for i in range(count)]


def on(trained: Training, *, until: int, before: list[Training], after: list[Training], at: Path) -> list[Progress]:
    """Train in a stack between these others up to the end of an epoch, and save where it still is in the stack."""
    stack_of = company_of(*before, trained, *after, width=len(before) + len(after) + 1)
    assert [count for _, count in stack_of.stacks()] == [len(before) + len(after) + 1]
    reports = []
    while trained.step < until:
        for turn in stack_of.advance():
            progress = turn.trainer.advance()
            if turn.trainer is trained:
                reports.append(progress)
            elif progress.step == turn.trainer.epochs:
                stack_of.leave(turn.trainer)
    assert stack_of.at_rest(trained)
    trained.save(at)
    return reports


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("family", OWN)
def test_a_checkpoint_goes_into_another_slot_another_width_and_alone_and_back(
    family: str, optimizer: str, tmp_path: Path
) -> None:
    whole = make(family, optimizer)
    expected = [whole.advance() for _ in range(EPOCHS)]

    first = make(family, optimizer)
    reports = on(first, until=2, before=others(family, 2, seed=10), after=others(family, 1, seed=20), at=tmp_path)
    # What the stack makes of it afterwards is not in the checkpoint.
    first.advance()

    second = make(family, optimizer)
    second.restore(tmp_path)
    half_way = others(family, 1, seed=30)
    half_way[0].advance()
    reports += on(second, until=4, before=[], after=[*half_way, *others(family, 4, seed=40)], at=tmp_path)

    third = make(family, optimizer)
    third.restore(tmp_path)
    reports += [third.advance(), third.advance()]
    third.save(tmp_path)

    # A stack takes in one that is restored while it runs.
    fourth = make(family, optimizer)
    fourth.restore(tmp_path)
    sibling = others(family, 2, seed=50)
    stack_of = company_of(*sibling)
    while not any(turn.trainer.advance() for turn in stack_of.advance()):
        pass
    stack_of.join(fourth)
    reports += go_on(stack_of, [fourth, *sibling])[0]

    assert [report.step for report in reports] == [*range(1, EPOCHS + 1)]
    assert apart(weights(fourth), weights(whole)) < TOLERANCE
    assert logs_apart(reports, [report.metrics for report in expected]) < TOLERANCE


@pytest.mark.parametrize("family", OWN)
def test_members_of_equal_batches_go_on_from_a_checkpoint_bit_for_bit(family: str, tmp_path: Path) -> None:
    def company() -> list[Training]:
        return [training(family, {"dropout": 0.1 * place}, seed=place, epochs=EPOCHS) for place in range(4)]

    through, cut, again = company(), company(), company()
    whole = go_on(company_of(*through), through)
    halves = go_on(company_of(*cut), cut, until=4)
    for place, (trained, fresh) in enumerate(zip(cut, again, strict=True)):
        trained.save(tmp_path / str(place))
        fresh.restore(tmp_path / str(place))
    rest = go_on(company_of(*again), again)
    for place in range(4):
        assert halves[place] + rest[place] == whole[place]
        found, expected = weights(again[place]), weights(through[place])
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_checkpoint_taken_in_company_is_that_taken_alone(tmp_path: Path) -> None:
    in_company, by_itself = make("mlp", "adam"), make("mlp", "adam")
    on(in_company, until=2, before=others("mlp", 1, seed=5), after=[], at=tmp_path / "company")
    for _ in range(2):
        by_itself.advance()
    by_itself.save(tmp_path / "alone")
    (found, state), (expected, expected_state) = (read_checkpoint(tmp_path / name) for name in ("company", "alone"))
    assert {name: tensor.shape for name, tensor in found.items()} == {n: t.shape for n, t in expected.items()}
    assert all(torch.allclose(found[name].double(), expected[name].double(), rtol=1e-10) for name in expected)
    assert state["identity"] == expected_state["identity"]
    assert state["step"] == expected_state["step"] == 2
