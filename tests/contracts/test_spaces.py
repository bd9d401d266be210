"""What every space and every block keeps, found by walking the folder: a new one is tested by being there."""

import inspect
import random
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import search_spaces
from search_spaces import Choice, Entry, Float, Int, Space
from search_spaces.vae import SPACE
from trainables.data import digits
from trainables.training.alone import Training

FOLDER = Path(search_spaces.__file__).parent
SPACES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
BLOCKS = sorted(path.stem for path in (FOLDER / "blocks").glob("[!_]*.py"))
DRAWS = 200


@pytest.fixture(params=SPACES)
def space(request: pytest.FixtureRequest) -> Space:
    found = import_module(f"search_spaces.{request.param}").SPACE
    assert isinstance(found, Space)
    return found


def block(name: str) -> dict[str, Entry]:
    """The parameters of the block in the file `name`, with all its defaults."""
    entries = getattr(import_module(f"search_spaces.blocks.{name}"), name)()
    assert isinstance(entries, dict)
    return entries


def test_the_walk_finds_what_there_is() -> None:
    assert "vae" in SPACES
    assert {"batch_size", "learning_rate", "optimizer", "regularization", "schedule"} <= set(BLOCKS)


def test_a_space_has_the_name_of_its_file(space: Space) -> None:
    assert space.name in SPACES
    assert import_module(f"search_spaces.{space.name}").SPACE is space


def test_the_default_passes_its_own_check(space: Space) -> None:
    space.check(space.default())


def test_random_draws_pass_the_check(space: Space) -> None:
    generator = random.Random(0)
    for _ in range(DRAWS):
        space.check(space.random(generator))


def test_every_parameter_and_every_option_is_drawn_some_time(space: Space) -> None:
    """A parameter whose condition never holds, or an option that never comes, is a mistake in the space."""
    generator = random.Random(0)
    drawn = [space.random(generator) for _ in range(DRAWS)]
    for name, entry in space.parameters.items():
        values = {params[name] for params in drawn if name in params}
        assert values >= (set(entry.options) if isinstance(entry, Choice) else set()), name
        assert len(values) > 1 or not isinstance(entry, Float | Int), name


def test_the_family_reads_every_parameter_of_its_space(space: Space) -> None:
    """A space is named for its family. Building a training raises when it leaves a parameter unread."""
    model = import_module(f"trainables.models.{space.name}").Model
    data = digits.load()
    generator = random.Random(0)
    for params in [space.default(), *(space.random(generator) for _ in range(20))]:
        Training(model, data, params, seed=0, epochs=10)


def test_yaml_gives_the_same_space_back(space: Space) -> None:
    text = yaml.safe_dump(space.to_mapping(), sort_keys=False)
    assert repr(Space.from_mapping(yaml.safe_load(text), name=space.name)) == repr(space)


def test_no_default_is_at_a_bound_unless_the_bound_is_zero(space: Space) -> None:
    """A default on the edge says that the range is wrong; zero, where it means "off", is the exception."""
    for name, entry in space.parameters.items():
        if isinstance(entry, Float | Int):
            assert entry.low < entry.default < entry.high or entry.default == 0, name


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_needs_no_argument_and_is_made_anew(name: str) -> None:
    assert block(name) == block(name)
    assert block(name) is not block(name)
    parameters = inspect.signature(getattr(import_module(f"search_spaces.blocks.{name}"), name)).parameters
    assert {parameter.kind for parameter in parameters.values()} <= {inspect.Parameter.KEYWORD_ONLY}


def test_all_blocks_go_together() -> None:
    composed = Space.of("all", *map(block, BLOCKS))
    assert set(composed.names()) == {key for name in BLOCKS for key in block(name)}
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
    composed = Space.of("all", *map(block, BLOCKS))
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
