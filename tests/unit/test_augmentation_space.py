"""The blocks of augmentation, and the space that has one."""

import random

import pytest

from search_spaces import Entry, Space
from search_spaces.blocks.augmentation import image_augmentation, series_augmentation
from search_spaces.gan import SPACE as GAN
from search_spaces.gan_augmented import SPACE
from search_spaces.rgan import SPACE as RGAN
from trainables.data import digits, sines
from trainables.models import gan, rgan
from trainables.training.alone import Training
from trainables.training.augment import PROBABILITY, Images, Series

BLOCKS = {
    "images": (image_augmentation(flips=True), Images.strengths),
    "series": (series_augmentation(), Series.strengths),
}
every_block = pytest.mark.parametrize(("block", "strengths"), BLOCKS.values(), ids=BLOCKS)


@every_block
def test_a_block_has_all_that_changes_such_rows(block: dict[str, Entry], strengths: dict[str, float]) -> None:
    assert set(block) == {*PROBABILITY, *strengths}


@every_block
def test_strengths_are_there_only_where_something_is_augmented(
    block: dict[str, Entry], strengths: dict[str, float]
) -> None:
    space, generator = Space.of("block", block), random.Random(0)
    for params in (space.random(generator) for _ in range(50)):
        on = params["augment"] != 0.0
        assert (set(strengths) <= set(params)) is on
        assert ("augment_target" in params) is on
        assert ("augment_speed" in params) is (params.get("augment_target", 0.0) != 0.0)


def test_flips_are_asked_for() -> None:
    assert set(image_augmentation(flips=True)) - set(image_augmentation()) == {"flip"}


def test_without_augmentation_it_is_the_space_of_the_gan() -> None:
    assert SPACE.default() == {**GAN.default(), "augment": 0.0}


@pytest.mark.parametrize("name", ["images", "series"])
def test_the_families_take_what_a_space_with_the_block_draws(name: str) -> None:
    space = SPACE if name == "images" else Space.of("both", RGAN.parameters, series_augmentation())
    model, data = (gan.Model, digits.load()) if name == "images" else (rgan.Model, sines.load(rows=100))
    generator, augmented = random.Random(0), 0
    for _ in range(10):
        trained = Training(model, data, space.random(generator), seed=0, epochs=10)
        augmented += trained.knobs["augment"] > 0.0
    assert augmented > 3
