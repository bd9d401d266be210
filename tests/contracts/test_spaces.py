"""Every space against the laws of spaces, and what every block keeps: a new one is tested by being there."""

import inspect
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import search_spaces
from hpo import plugins
from hpo.laws import spaces
from hpo.laws._law import Law, laws_of
from hpo.laws.spaces import Named
from search_spaces import Choice, Entry, Float, Int, Space
from search_spaces.vae import SPACE

FILES = sorted(path.stem for path in (Path(search_spaces.__file__).parent / "blocks").glob("[!_]*.py"))
Block = Callable[..., dict[str, Entry]]


def blocks_in(file: str) -> list[Block]:
    """The blocks that a file of the folder defines; several of one file stand for each other."""
    module = import_module(f"search_spaces.blocks.{file}")
    return [
        found
        for name, found in vars(module).items()
        if inspect.isfunction(found) and found.__module__ == module.__name__ and not name.startswith("_")
    ]


def made(block: Block) -> dict[str, Entry]:
    """The parameters of the block with all its defaults; what must be given is a text, such as a path."""
    parameters = inspect.signature(block).parameters.values()
    entries = block(*("given" for parameter in parameters if parameter.default is inspect.Parameter.empty))
    assert isinstance(entries, dict)
    return entries


BLOCKS = [block for file in FILES for block in blocks_in(file)]
every_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.__name__)


def all_with(block: Block) -> Space:
    """The space of this block, and of one of each other file."""
    others = [blocks_in(file)[0] for file in FILES if block not in blocks_in(file)]
    return Space.of("all", *map(made, [block, *others]))


def test_the_walk_finds_what_there_is() -> None:
    assert {"vae", "gan"} <= set(plugins.names("spaces"))
    assert {"batch_size", "learning_rate", "optimizer", "regularization", "schedule"} <= set(FILES)
    assert all(map(blocks_in, FILES))


@pytest.mark.parametrize("name", plugins.names("spaces"))
@pytest.mark.parametrize("law", laws_of(spaces), ids=lambda law: law.__name__)
def test_a_space_keeps_the_law(law: Law, name: str) -> None:
    law(Named(name=name, space=plugins.load("spaces", name)))


@every_block
def test_a_block_is_made_anew_and_its_options_have_names(block: Block) -> None:
    assert made(block) == made(block)
    assert made(block) is not made(block)
    for parameter in inspect.signature(block).parameters.values():
        if parameter.default is inspect.Parameter.empty:
            assert parameter.annotation in (str, "str"), "what must be given is a text"
        else:
            assert parameter.kind is inspect.Parameter.KEYWORD_ONLY


@every_block
def test_a_block_goes_together_with_those_of_other_files(block: Block) -> None:
    composed = all_with(block)
    assert set(made(block)) < set(composed.names())
    composed.check(composed.default())


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({"optimizer": "sgd"}, {"momentum", "l2"}),
        ({"optimizer": "adam"}, {"beta1", "beta2", "l2"}),
        ({"optimizer": "adamw"}, {"beta1", "beta2", "weight_decay"}),
        ({"optimizer": "rmsprop"}, {"momentum", "alpha", "l2"}),
        ({"schedule": "constant"}, set()),
        ({"schedule": "exponential"}, {"schedule_floor"}),
        ({"schedule": "cosine"}, {"schedule_floor"}),
        ({"schedule": "linear"}, {"schedule_floor"}),
        ({"schedule": "step"}, {"step_factor", "step_every"}),
        ({"schedule": "plateau"}, {"plateau_factor", "plateau_patience"}),
    ],
)
def test_an_optimizer_or_schedule_brings_its_own_parameters_only(chosen: dict[str, str], names: set[str]) -> None:
    composed = all_with(BLOCKS[0])
    always = {name for name in composed.names() if not conditional(composed.parameters[name])}
    (choice,) = chosen
    governed = {name for name in composed.names() if choice in conditional(composed.parameters[name])}
    params = Space.from_mapping(chosen, name="all", base=composed).default()
    assert governed & set(params) == names
    assert always <= set(params)


def conditional(entry: Entry) -> set[str]:
    """The parents of an entry."""
    return set(entry.conditions) if isinstance(entry, Float | Int | Choice) else set()


def test_the_default_vae_is_the_plain_vae_under_adam() -> None:
    assert SPACE.default() == {
        "architecture": "mlp",
        "latent": 16,
        "width": 256,
        "depth": 2,
        "beta": 1.0,
        "kl_warmup": 0.0,
        "free_bits": 0.0,
        "lr": 1e-3,
        "schedule": "constant",
        "warmup": 0.0,
        "batch_size": 64,
        "optimizer": "adam",
        "beta1": 0.9,
        "beta2": 0.999,
        "l1": 0.0,
        "l2": 0.0,
        "dropout": 0.0,
    }


def test_the_public_list_is_exactly_what_is_importable() -> None:
    public = {
        name for name, value in vars(search_spaces).items() if not name.startswith("_") and not inspect.ismodule(value)
    }
    assert search_spaces.__all__ == sorted(public)
