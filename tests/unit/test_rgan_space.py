"""The space of the recurrent GAN."""

import random

from search_spaces.rgan import SPACE
from trainables.data import digit_rows
from trainables.models.rgan import Model
from trainables.training.alone import Training


def test_the_default_has_a_discriminator_that_learns_faster_and_more_often() -> None:
    default = SPACE.default()
    assert default["discriminator.lr"] > default["generator.lr"]  # type: ignore[operator]
    assert default["critic_steps"] > 1  # type: ignore[operator]


def test_few_structures_are_drawn_so_that_trials_can_share_a_stack() -> None:
    generator = random.Random(0)
    drawn = [SPACE.random(generator) for _ in range(200)]
    assert len({tuple(params.get(name) for name in Model.structural) for params in drawn}) == 6


def test_the_papers_pair_of_optimizers_is_in_the_space() -> None:
    pair = {"discriminator.optimizer": "sgd", "discriminator.momentum": 0.0, "discriminator.lr": 0.1}
    params = {**SPACE.default(), **pair, "critic_steps": 5, "generator.lr": 1e-3, "generator.beta1": 0.9}
    for name in ("discriminator.beta1", "discriminator.beta2"):
        del params[name]
    SPACE.check(params)
    trained = Training(Model, digit_rows.load(), params, seed=0, epochs=1)
    assert [player.optimizer.name for player in trained.players] == ["sgd", "adam"]
