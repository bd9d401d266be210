"""What a member has besides weights: buffers, classes of its rows, knobs that follow the training, frozen layers."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from together import AtOnce, company_of, go_on
from torch import Tensor, nn

from trainables.data import digits
from trainables.data._data import Data, Split, content_hash
from trainables.models._family import Losses, Noise
from trainables.training import company
from trainables.training.alone import Training
from trainables.training.checkpoint import read_checkpoint, write_checkpoint
from trainables.training.params import Params

pytestmark = pytest.mark.usefixtures("float64")

EPOCHS = 5


class Model(nn.Module):
    """Fits a number to each class by least squares, beside a buffer that follows its output.

    The pull towards the buffer is a knob that grows by every epoch's mean loss.
    """

    players = ("net", "idle")
    structural = ("frozen",)
    averaged = ()
    stacks = True
    conditional = True

    def __init__(self, data: Data, *, frozen: bool, generator: torch.Generator) -> None:
        super().__init__()
        self.shape = data.shape
        self.net = nn.Linear(data.classes, 1)
        self.idle = nn.Linear(1, 1)
        for parameter in self.parameters():
            with torch.no_grad():
                parameter.normal_(generator=generator)
        self.net.bias.requires_grad_(not frozen)
        self.net.register_buffer("seen", torch.zeros(2))

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> "Model":
        return cls(data, frozen=bool(params["frozen"]), generator=generator)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {"pull": params.number("pull", 0.0), "pace": params.number("pace", 1.0)}

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return dict(knobs)

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"net": int(knobs["pace"]), "idle": 1}

    @classmethod
    def adapted(cls, knobs: Mapping[str, float], logs: Mapping[str, float], *, rows: int) -> dict[str, float]:
        return {**knobs, "pull": knobs["pull"] + logs.get("net.loss", 0.0) / rows}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        return {"shift": torch.randn(rows, generator=generator)}

    def forward(
        self,
        player: str,
        x: Tensor,
        noise: Noise,
        knobs: Mapping[str, float | Tensor],
        weight_B: Tensor,
        labels_B: Tensor,
    ) -> Losses:
        if player == "idle":
            loss = self.idle(noise["shift"][:, None]).square()[:, 0] @ weight_B
            return loss, {"loss": loss.detach()}
        known_BC = nn.functional.one_hot(labels_B, self.net.in_features).to(weight_B.dtype)
        out_B = self.net(known_BC)[:, 0]
        target_B = x.flatten(1).to(weight_B.dtype).mean(1) + noise["shift"]
        loss = ((out_B - target_B).square() + knobs["pull"] * (out_B - self.net.seen[0]).square()) @ weight_B
        with torch.no_grad():
            self.net.seen.copy_(torch.stack([out_B @ weight_B, self.net.seen[1] + 1.0]))
        return loss, {"loss": loss.detach()}

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"label": torch.zeros(rows, dtype=torch.int64)}

    def sample(self, noise: Noise) -> Tensor:
        return torch.zeros(len(noise["label"]), *self.shape, dtype=torch.uint8)


@functools.cache
def labeled() -> Data:
    """Digits with their classes, in another number than a batch divides."""
    whole = digits.load()
    splits = {}
    for name, split in whole.splits():
        assert split.labels is not None
        splits[name] = Split(x=split.x[:45], labels=split.labels[:45])
    return dataclasses.replace(whole, sha256=content_hash(splits), **splits)


@pytest.fixture(params=["rows", "at once"], autouse=True)
def updates(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "at once":
        monkeypatch.setattr(company, "Stack", AtOnce)


def make(seed: int, **config: float | str | bool) -> Training:
    base = {"optimizer": "adam", "lr": 0.05, "batch_size": 16, "frozen": False, "pull": 0.1}
    return Training(Model, labeled(), {**base, **config}, seed=seed, epochs=EPOCHS)


VARIED = [{}, {"pull": 0.0, "batch_size": 5}, {"pace": 3.0}, {"l1": 1e-2, "weight_decay": 0.1, "optimizer": "adamw"}]


def state(training: Training) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in training.module.state_dict().items()}


def alone(seed: int, **config: float | str | bool) -> Training:
    trained = make(seed, **config)
    while trained.step < EPOCHS:
        trained.advance()
    return trained


@pytest.mark.parametrize("frozen", [False, True])
def test_members_end_with_the_state_that_each_has_alone(frozen: bool) -> None:
    members = [make(seed, frozen=frozen, **config) for seed, config in enumerate(VARIED)]
    go_on(company_of(*members), members)
    for seed, (member, config) in enumerate(zip(members, VARIED, strict=True)):
        expected = alone(seed, frozen=frozen, **config)
        for name, tensor in state(expected).items():
            torch.testing.assert_close(state(member)[name], tensor, rtol=1e-10, atol=1e-12)
        assert member.knobs == pytest.approx(expected.knobs, rel=1e-10)
        # One change for each move of its own, not for the moves of others.
        steps = math.ceil(45 * EPOCHS / member.batch_size)
        assert float(member.module.net.seen[1]) == len(range(0, steps, int(member.knobs["pace"])))


def test_knobs_that_follow_the_training_change_and_a_checkpoint_keeps_them(tmp_path: Path) -> None:
    trained = make(0)
    for _ in range(2):
        trained.advance()
    assert trained.knobs["pull"] > 0.1
    trained.save(tmp_path)
    other = make(0)
    other.restore(tmp_path)
    assert other.knobs == trained.knobs
    whole = alone(0)
    mates = [make(seed) for seed in (5, 6)]
    go_on(company_of(mates[0], other, mates[1]), [mates[0], other, mates[1]])
    for name, tensor in state(whole).items():
        torch.testing.assert_close(state(other)[name], tensor, rtol=1e-10, atol=1e-12)
    assert other.knobs == pytest.approx(whole.knobs, rel=1e-10)


def test_frozen_layers_stay_bit_for_bit_under_penalties_and_in_company() -> None:
    members = [make(seed, frozen=True, weight_decay=0.1, l1=0.1, optimizer="adamw") for seed in range(3)]
    before = [member.module.net.bias.clone() for member in members]
    moved = [member.module.net.weight.clone() for member in members]
    go_on(company_of(*members), members)
    for member, bias, weight in zip(members, before, moved, strict=True):
        assert torch.equal(member.module.net.bias, bias)
        assert not torch.equal(member.module.net.weight, weight)


def test_a_buffer_of_another_type_trains_alone() -> None:
    class Counting(Model):
        def __init__(self, data: Data, *, frozen: bool, generator: torch.Generator) -> None:
            super().__init__(data, frozen=frozen, generator=generator)
            self.net.register_buffer("count", torch.zeros(1, dtype=torch.int64))

    config = {"optimizer": "adam", "lr": 0.05, "batch_size": 16, "frozen": False}
    assert Training(Counting, labeled(), config, seed=0, epochs=1).structure is None
    assert make(0).structure is not None


def test_a_checkpoint_of_an_earlier_release_has_no_knobs_and_goes_on(tmp_path: Path) -> None:
    trained = make(0)
    trained.advance()
    trained.save(tmp_path)
    tensors, state = read_checkpoint(tmp_path)
    older = {name: value for name, value in state.items() if name not in ("version", "knobs", "moved")}
    write_checkpoint(tmp_path, tensors=tensors, state=older)
    again = make(0)
    again.restore(tmp_path)
    assert (again.step, again.knobs) == (1, make(0).knobs)
