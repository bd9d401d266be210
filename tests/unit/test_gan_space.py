"""The space of the GAN, and blocks that belong to one player."""

import random

import pytest

from search_spaces import Choice, Entry, Float, Space, SpaceError, for_player
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.gan import SPACE
from trainables.data import digits
from trainables.models._adversarial import LOSSES
from trainables.models.gan import Model
from trainables.training.alone import Training


def test_a_players_block_carries_its_name_in_names_and_conditions() -> None:
    own = for_player("discriminator", optimizer())
    assert set(own) == {f"discriminator.{name}" for name in optimizer()}
    for name, entry in optimizer().items():
        renamed = own[f"discriminator.{name}"]
        assert isinstance(entry, Float | Choice)
        assert isinstance(renamed, Float | Choice)
        assert renamed.conditions == {f"discriminator.{key}": values for key, values in entry.conditions.items()}
        assert renamed.default == entry.default


def test_a_condition_on_what_lies_outside_the_block_stays() -> None:
    block: dict[str, Entry] = {
        "momentum": Float(0.0, 0.9, default=0.5, when={"optimizer": "sgd", "kind": "classic"}),
        "kind": Choice(("classic", "nesterov"), default="classic"),
        "fixed": 3,
    }
    own = for_player("generator", block)
    momentum = own["generator.momentum"]
    assert isinstance(momentum, Float)
    assert momentum.conditions == {"optimizer": ("sgd",), "generator.kind": ("classic",)}
    assert own["generator.fixed"] == 3


def test_two_players_blocks_go_into_one_space() -> None:
    space = Space.of("two", for_player("discriminator", optimizer()), for_player("generator", optimizer()))
    params = space.default()
    assert {"discriminator.beta1", "generator.beta1"} <= set(params)
    generator = random.Random(0)
    drawn = [space.random(generator) for _ in range(50)]
    assert any(one["discriminator.optimizer"] != one["generator.optimizer"] for one in drawn)
    assert all(("generator.alpha" in one) == (one["generator.optimizer"] == "rmsprop") for one in drawn)


def test_a_block_of_one_player_may_stand_once_only() -> None:
    with pytest.raises(SpaceError, match=r"got 'generator\.lr' twice"):
        Space.of("twice", for_player("generator", learning_rate()), for_player("generator", learning_rate()))


def test_the_default_gan_is_small_with_r1_and_an_average() -> None:
    assert SPACE.default() == {
        "architecture": "mlp",
        "latent": 16,
        "width": 128,
        "depth": 2,
        "conditional": False,
        "loss": "non-saturating",
        "r1": 1.0,
        "spectral_norm": False,
        "critic_steps": 1,
        "ema": 0.995,
        "discriminator.lr": 1e-3,
        "generator.lr": 1e-3,
        "schedule": "constant",
        "warmup": 0.0,
        "batch_size": 64,
        "optimizer": "adam",
        "beta1": 0.0,
        "beta2": 0.999,
        "l1": 0.0,
        "l2": 0.0,
        "dropout": 0.0,
    }


def test_few_structures_are_drawn_so_that_trials_can_share_a_stack() -> None:
    generator = random.Random(0)
    drawn = [SPACE.random(generator) for _ in range(200)]
    assert len({tuple(params[name] for name in Model.structural) for params in drawn}) == 8


def test_a_study_may_set_the_architecture_to_conv_and_depth_goes() -> None:
    space = Space.from_mapping({"architecture": "conv", "width": [8, 16]}, name="gan", base=SPACE)
    generator = random.Random(0)
    for params in [space.default(), *(space.random(generator) for _ in range(10))]:
        assert "depth" not in params
        Training(Model, digits.load(), params, seed=0, epochs=3)


def test_each_loss_has_the_penalty_that_it_reads_and_no_other() -> None:
    generator = random.Random(0)
    drawn = [SPACE.random(generator) for _ in range(100)]
    assert {str(params["loss"]) for params in drawn} == set(LOSSES)
    for params in drawn:
        assert ("gp" in params) is (params["loss"] == "wgan-gp")
        assert ("r1" in params) is (params["loss"] != "wgan-gp")
    for params in drawn[:20]:
        Training(Model, digits.load(), params, seed=0, epochs=3)


def test_a_study_may_tell_the_networks_the_classes() -> None:
    space = Space.from_mapping({"conditional": True}, name="gan", base=SPACE)
    trained = Training(Model, digits.load(), space.default(), seed=0, epochs=3)
    assert trained.model.conditional
