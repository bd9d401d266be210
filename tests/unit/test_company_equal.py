"""Alone equals in company: members of a stack against the reference in plain torch, which trains one model at a time.

Float64, 50 steps at least, 1e-10 relative on weights, averages and logs: for each technique, and for every two of them,
in stacks whose members differ in them. Measured are at most some 1e-13.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations, product

import pytest
from plain import Config, Plain
from techniques import OF_TRAINER, TECHNIQUES, Technique, excluded
from together import EPOCHS, AtOnce, apart, company_of, differs, go_on, logs_apart, reference, training, weights

from trainables.training import company

pytestmark = pytest.mark.usefixtures("float64")

TOLERANCE = 1e-10
# What a technique must change for a test to show anything; it changes far more.
ACTED = 1e-5


def check(family: str, members: Mapping[str, tuple[Config, int]]) -> dict[str, Plain]:
    """Train members, each a config and a seed, in one stack, and hold each against its reference."""
    trainings = [training(family, config, seed=seed) for config, seed in members.values()]
    together = company_of(*trainings, width=len(trainings))
    assert [count for _, count in together.stacks()] == [len(trainings)]
    found = {}
    for name, reports, trained in zip(members, go_on(together, trainings), trainings, strict=True):
        config, seed = members[name]
        plain = found[name] = reference(family, config, seed=seed).until(EPOCHS)
        assert plain.players[0].moves >= 50, name
        assert reports[-1].cause is None, (name, reports[-1].cause)
        assert apart(weights(trained), plain.weights[-1]) < TOLERANCE, name
        assert logs_apart(reports, plain.logs) < TOLERANCE, name
    return found


def cases(*families: str) -> list[tuple[str, Technique]]:
    return [(family, technique) for family in families or TECHNIQUES for technique in TECHNIQUES[family]]


def pairs() -> list[tuple[str, Technique, Technique]]:
    """Every two; two that meet in the trainer alone are shown on the VAE."""
    return [
        (family, *pair)
        for family in ("vae", "mlp")
        for pair in combinations(TECHNIQUES[family], 2)
        if family == "vae" or not {technique.name for technique in pair} <= OF_TRAINER
    ]


def values_of(first: Technique, second: Technique) -> dict[tuple[str, str], Config]:
    """Each value of the one with each of the other."""
    both = {(a, b): {**first.values[a], **second.values[b]} for a, b in product(first.values, second.values)}
    return {names: config for names, config in both.items() if not excluded(config)}


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rows of a stack move in one update, as on a GPU."""
    monkeypatch.setattr(company, "Stack", AtOnce)


@pytest.mark.parametrize(("family", "technique"), cases(), ids=str)
def test_members_that_differ_in_a_technique_equal_themselves_alone(family: str, technique: Technique) -> None:
    values: dict[str, Config] = {"none": {}, **technique.values}
    found = check(family, {name: (config, seed) for seed, (name, config) in enumerate(values.items())})
    for seed, name in enumerate(values):
        if name != "none":
            assert technique.acted(found[name]), name
            assert differs(found[name], reference(family, {}, seed=seed), by=ACTED), name


@pytest.mark.parametrize(("family", "first", "second"), pairs(), ids=str)
def test_members_that_differ_in_two_techniques_equal_themselves_alone(
    family: str, first: Technique, second: Technique
) -> None:
    both = values_of(first, second)
    members: dict[str, tuple[Config, int]] = {
        **{f"{a}+{b}": (config, 0) for (a, b), config in both.items()},
        **{name: (config, 1) for name, config in first.values.items()},
        **{name: (config, 2) for name, config in second.values.items()},
        "none": ({}, 3),
    }
    found = check(family, members)
    for a, b in both:
        name = f"{a}+{b}"
        assert first.acted(found[name]), (first.name, name)
        assert second.acted(found[name]), (second.name, name)
        without: Sequence[Config] = (first.values[a], second.values[b])
        assert all(differs(found[name], reference(family, config, seed=0), by=ACTED) for config in without), name


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize("family", ["vae", "mlp"])
def test_moved_at_once_members_of_every_two_techniques_equal_themselves_alone(family: str) -> None:
    members: dict[str, tuple[Config, int]] = {"none": ({}, 3)}
    for _, first, second in (case for case in pairs() if case[0] == family):
        for (a, b), config in values_of(first, second).items():
            members |= {f"{a}+{b}": (config, 0), a: (first.values[a], 1), b: (second.values[b], 2)}
    check(family, members)


@pytest.mark.usefixtures("at_once")
@pytest.mark.parametrize(("family", "technique"), cases("conv"), ids=str)
def test_moved_at_once_members_that_differ_in_a_technique_equal_themselves_alone(
    family: str, technique: Technique
) -> None:
    values: dict[str, Config] = {"none": {}, **technique.values}
    check(family, {name: (config, seed) for seed, (name, config) in enumerate(values.items())})


def test_on_real_numbers_members_equal_themselves_alone() -> None:
    # While all logits of a hinge, or of a critic at all times, weigh alike, the gradient of a bias is 0 but for its
    # rounding, which Adam makes a step of; so these two have another optimizer here.
    check_mixed(
        "ring",
        ("hinge", "r1", "batch_size", "momentum"),
        ("sgd", "ema", "dropout", "wgan-gp", "batch_size"),
        ("r1", "critic_steps", "plateau", "clip", "spectral_norm"),
        ("least-squares", "spectral_norm", "dropout"),
    )


@pytest.mark.parametrize("family", ["conditional mlp", "conditional conv"])
def test_told_the_classes_members_equal_themselves_alone(family: str) -> None:
    check_mixed(
        family,
        ("r1", "dropout", "ema"),
        ("hinge", "r1", "batch_size", "momentum"),
        ("sgd", "critic_steps", "dropout", "wgan-gp", "spectral_norm"),
        ("least-squares", "spectral_norm", "two_rates"),
    )


def check_mixed(family: str, *mixed: Sequence[str]) -> None:
    """Members that have these values of techniques each, beside one that has none."""
    config = {name: value for technique in TECHNIQUES["mlp"] for name, value in technique.values.items()}
    members = {"+".join(names): {k: v for name in names for k, v in config[name].items()} for names in mixed}
    check(family, {name: (found, seed) for seed, (name, found) in enumerate({"none": {}, **members}.items())})
