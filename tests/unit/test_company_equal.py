"""Alone equals in company: members of a stack against the reference in plain torch, which trains one model at a time.

Float64, 50 steps at least, 1e-10 relative on weights, averages and logs: for each technique, and for every two of them,
in stacks whose members differ in them. Measured are at most some 1e-13.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations

import pytest
import torch
from plain import Config, Plain
from techniques import TECHNIQUES, Technique
from together import EPOCHS, apart, company_of, differs, go_on, logs_apart, reference, training, weights

TOLERANCE = 1e-10
# What a technique must change for a test to show anything; it changes far more.
ACTED = 1e-5


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def check(family: str, members: Mapping[str, tuple[Config, int]]) -> dict[str, Plain]:
    """Train members, each a config and a seed, in one stack, and hold each against its reference."""
    trainings = [training(family, config, seed=seed) for config, seed in members.values()]
    company = company_of(*trainings, width=len(trainings))
    assert [count for _, count in company.stacks()] == [len(trainings)]
    found = {}
    for name, reports, trained in zip(members, go_on(company, trainings), trainings, strict=True):
        config, seed = members[name]
        plain = found[name] = reference(family, config, seed=seed).until(EPOCHS)
        assert plain.players[0].moves >= 50, name
        assert reports[-1].cause is None, (name, reports[-1].cause)
        assert apart(weights(trained), plain.weights[-1]) < TOLERANCE, name
        assert logs_apart(reports, plain.logs) < TOLERANCE, name
    return found


def cases() -> list[tuple[str, Technique]]:
    return [(family, technique) for family, techniques in TECHNIQUES.items() for technique in techniques]


def pairs() -> list[tuple[str, Technique, Technique]]:
    return [(family, *pair) for family in ("vae", "mlp") for pair in combinations(TECHNIQUES[family], 2)]


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
    both = {f"{a}+{b}": (a, b) for a in first.values for b in second.values}
    members: dict[str, tuple[Config, int]] = {
        **{name: ({**first.values[a], **second.values[b]}, 0) for name, (a, b) in both.items()},
        **{name: (config, 1) for name, config in first.values.items()},
        **{name: (config, 2) for name, config in second.values.items()},
        "none": ({}, 3),
    }
    found = check(family, members)
    for name, (a, b) in both.items():
        assert first.acted(found[name]), (first.name, name)
        assert second.acted(found[name]), (second.name, name)
        without: Sequence[Config] = (first.values[a], second.values[b])
        assert all(differs(found[name], reference(family, config, seed=0), by=ACTED) for config in without), name
