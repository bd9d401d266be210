"""A family with two players trains by the same loop: each with its own optimizer, names and pace."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import pytest
import torch
from torch import Tensor, nn

from trainables.data import digits
from trainables.data._data import Data
from trainables.models._family import Knobs, Losses, Noise
from trainables.models._layers import MLP
from trainables.training.alone import Training
from trainables.training.params import ParameterValue, Params, UnreadParameters


class TinyGan(nn.Module):
    """The smallest GAN that uses all of the contract: non-saturating loss, `critic_steps`."""

    players: ClassVar[tuple[str, ...]] = ("discriminator", "generator")
    structural: ClassVar[tuple[str, ...]] = ("latent", "width")
    averaged: ClassVar[tuple[str, ...]] = ("generator",)
    stacks: ClassVar[bool] = True

    def __init__(self, *, latent: int, width: int, generator: torch.Generator) -> None:
        super().__init__()
        self.latent = latent
        self.discriminator = MLP((64, width, 1), generator=generator)
        self.generator = MLP((latent, width, 64), generator=generator)

    @classmethod
    def build(cls, params: Params, *, data: Data, generator: torch.Generator) -> Self:
        return cls(latent=params.integer("latent"), width=params.integer("width"), generator=generator)

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        return {"critic_steps": params.integer("critic_steps", 1)}

    @classmethod
    def in_force(cls, knobs: Mapping[str, float], *, progress: float) -> dict[str, float]:
        return dict(knobs)

    @classmethod
    def paces(cls, knobs: Mapping[str, float]) -> dict[str, int]:
        return {"discriminator": 1, "generator": int(knobs["critic_steps"])}

    def draw(
        self, player: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]
    ) -> dict[str, Tensor]:
        return {"latent": torch.randn(rows, self.latent, generator=generator)}

    def forward(self, player: str, x: Tensor, noise: Noise, knobs: Knobs, weight_B: Tensor) -> Losses:
        fake = self.generator(noise["latent"]).tanh()
        if player == "generator":
            loss = weight_B @ nn.functional.softplus(-self.discriminator(fake)[:, 0])
        else:
            real = self.discriminator(x.flatten(1) / 8 - 1)[:, 0]
            told = self.discriminator(fake.detach())[:, 0]
            loss = weight_B @ (nn.functional.softplus(-real) + nn.functional.softplus(told))
        return loss, {"loss": loss.detach()}

    def monitored(self, player: str, logs: Mapping[str, float], knobs: Mapping[str, float]) -> float:
        return logs["loss"]

    def collapsed(self, logs: Mapping[str, float], knobs: Mapping[str, float]) -> str | None:
        return None

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return self.draw("generator", generator, rows=rows, knobs={})

    def sample(self, noise: Noise) -> Tensor:
        levels = (8 * (self.generator(noise["latent"]).tanh() + 1)).round()
        return levels.to(torch.uint8).view(-1, 1, 8, 8)


PARAMS: dict[str, ParameterValue] = {
    "latent": 2,
    "width": 8,
    "batch_size": 100,
    "optimizer": "adam",
    "beta1": 0.0,
    "lr": 1e-3,
    "discriminator.lr": 4e-3,
}


def build(epochs: int = 4, **params: ParameterValue) -> Training:
    return Training(TinyGan, digits.load(), {**PARAMS, **params}, seed=0, epochs=epochs)


def weights(training: Training, player: str) -> list[Tensor]:
    network = training.model.get_submodule(player)  # type: ignore[attr-defined]
    return [parameter.detach().clone() for parameter in network.parameters()]


def test_each_player_reports_under_its_name_with_its_own_rate() -> None:
    metrics = build().advance().metrics
    own = {"loss", "grad_norm", "lr"}
    assert set(metrics) == {f"{player}.{name}" for player in TinyGan.players for name in own}
    assert (metrics["discriminator.lr"], metrics["generator.lr"]) == (4e-3, 1e-3)


def test_each_player_moves_by_its_own_optimizer_alone() -> None:
    training = build(**{"generator.optimizer": "sgd", "lr": 1e-30})
    before = [weights(training, player) for player in TinyGan.players]
    training.advance()
    after = [weights(training, player) for player in TinyGan.players]
    assert not any(torch.equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before[1], after[1], strict=True))


def test_the_loss_of_one_player_leaves_no_gradient_in_the_other() -> None:
    still: dict[str, ParameterValue] = {"generator.optimizer": "sgd", "lr": 1e-30}
    norms = [build(**still, critic_steps=pace).advance().metrics["discriminator.grad_norm"] for pace in (1, 1000)]
    assert norms[0] == norms[1]


def test_the_generator_moves_on_every_critic_steps_th_step() -> None:
    training, moves = build(critic_steps=5), []
    generator = training.players[1].optimizer
    generator._optimizer.register_step_post_hook(lambda *_: moves.append(1))
    training.advance()
    assert len(moves) == 2, "10 steps an epoch, at 0 and at 5"


def test_a_player_that_did_not_move_reports_its_rate_alone() -> None:
    training = build(critic_steps=1000)
    training.advance()
    metrics = training.advance().metrics
    assert {name for name in metrics if name.startswith("generator")} == {"generator.lr"}


def test_an_interrupted_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    params: dict[str, ParameterValue] = {
        "critic_steps": 3,
        "generator.schedule": "plateau",
        "generator.plateau_factor": 0.5,
        "generator.plateau_patience": 0.0,
    }
    whole, first, second = build(**params), build(**params), build(**params)
    for training in (whole, first):
        training.advance()
        training.advance()
    first.save(tmp_path)
    second.restore(tmp_path)
    assert [second.advance() for _ in range(2)] == [whole.advance() for _ in range(2)]
    for player in TinyGan.players:
        pairs = zip(weights(second, player), weights(whole, player), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_a_parameter_of_a_player_that_is_not_there_is_named() -> None:
    with pytest.raises(UnreadParameters, match=r"'critic\.lr'"):
        build(**{"critic.lr": 1e-3})
