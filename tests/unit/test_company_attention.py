"""Attention GANs: alone equals in company, against plain torch that trains one model at a time.

Float64, 50 steps, 1e-10 relative on weights, averages and logs, as in `test_company_equal.py`.
"""

from collections.abc import Callable

import pytest
from plain import Config, Plain
from plain_attention import PlainAttention
from together import EPOCHS, AtOnce, apart, company_of, differs, few_digits, go_on, logs_apart, weights

from trainables.models.attention_gan import Model
from trainables.training import company
from trainables.training.alone import Training

pytestmark = pytest.mark.usefixtures("float64")

TOLERANCE = 1e-10
# What a technique must change for a test to show anything; it changes far more.
ACTED = 1e-5
BASE: Config = {"optimizer": "adam", "lr": 0.01, "batch_size": 16, "latent": 3, "width": 4}
TECHNIQUES: dict[str, Config] = {
    "r1": {"r1": 0.3},
    "spectral_norm": {"spectral_norm": True},
    "dropout": {"dropout": 0.3},
    "hinge": {"loss": "hinge"},
    "wgan-gp": {"loss": "wgan-gp", "gp": 0.5},
    "least-squares": {"loss": "least-squares"},
    "batch_size": {"batch_size": 13},
    "critic_steps": {"critic_steps": 3},
    "ema": {"ema": 0.9},
    "two_rates": {"generator.lr": 0.002},
}
ACTS: dict[str, Callable[[Plain], bool]] = {
    "r1": lambda plain: plain.acts["penalized"] > 0,
    "spectral_norm": lambda plain: plain.acts["discriminator turned"] > 0,
    "dropout": lambda plain: plain.acts["dropped"] > 0,
    "critic_steps": lambda plain: plain.players[1].moves < plain.players[0].moves,
}


def mixed(*names: str) -> Config:
    return {key: value for name in names for key, value in TECHNIQUES[name].items()}


def check(base: Config, members: dict[str, Config]) -> dict[str, Plain]:
    """Train members in one stack, and hold each against its reference and against one without its technique."""
    configs = {name: {**BASE, **base, **config} for name, config in members.items()}
    data = few_digits()
    trainings = [
        Training(Model, data, config, seed=seed, epochs=EPOCHS) for seed, config in enumerate(configs.values())
    ]
    together = company_of(*trainings, width=len(trainings))
    assert [count for _, count in together.stacks()] == [len(trainings)]
    found: dict[str, Plain] = {}
    everyone = zip(configs.items(), go_on(together, trainings), trainings, strict=True)
    for seed, ((name, config), reports, trained) in enumerate(everyone):
        plain = found[name] = PlainAttention(Model, data, config, seed=seed, epochs=EPOCHS).until(EPOCHS)
        assert plain.players[0].moves >= 50, name
        assert reports[-1].cause is None, (name, reports[-1].cause)
        assert apart(weights(trained), plain.weights[-1]) < TOLERANCE, name
        assert logs_apart(reports, plain.logs) < TOLERANCE, name
        assert all(float(plain.weights[-1][f"{player}.attention.gamma"].abs()) > 1e-3 for player in Model.players)
        if members[name]:
            without = PlainAttention(Model, data, {**BASE, **base}, seed=seed, epochs=EPOCHS)
            assert differs(plain, without, by=ACTED), name
    return found


@pytest.mark.slow
def test_members_that_differ_in_a_technique_equal_themselves_alone() -> None:
    found = check({}, {"none": {}, **TECHNIQUES})
    assert all(acted(found[name]) for name, acted in ACTS.items())


def test_under_a_spectral_norm_of_both_networks_and_told_classes_members_equal_themselves_alone() -> None:
    names = ("spectral_norm", "hinge", "r1", "dropout", "critic_steps")
    members = {"none": {}, "+".join(names): mixed(*names)}
    found = check({"generator.spectral_norm": True, "conditional": True}, members)
    for name, plain in found.items():
        assert plain.acts["generator turned"] == 7 * plain.players[1].moves, name
        assert all(acted(plain) for technique, acted in ACTS.items() if technique in name.split("+")), name


@pytest.mark.slow
def test_moved_at_once_as_on_a_gpu_members_equal_themselves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "Stack", AtOnce)
    several = [("r1", "spectral_norm"), ("hinge", "ema"), ("wgan-gp", "dropout", "ema")]
    members = {"+".join(names): mixed(*names) for names in several}
    check({"generator.spectral_norm": True}, {"none": {}, **members})
