"""Recurrent GANs: alone equals in company, against networks of `nn.GRU` that are trained one at a time.

Float64, 50 steps, 1e-10 relative on weights, averages and logs, as in `test_company_equal.py`.
"""

import dataclasses
import functools
from collections.abc import Callable

import pytest
from plain import Config, Plain
from plain_rgan import PlainRecurrent
from together import AtOnce, apart, company_of, differs, go_on, logs_apart, weights

from trainables.data import digit_rows, sines
from trainables.data._data import Data, Split, content_hash
from trainables.models.rgan import Model
from trainables.training import company
from trainables.training.alone import Training

pytestmark = pytest.mark.usefixtures("float64")

# 50 steps on 32 rows in batches of 16.
ROWS, EPOCHS, TOLERANCE = 32, 25, 1e-10
# What a technique must change for a test to show anything; it changes far more.
ACTED = 1e-5
BASE: Config = {"optimizer": "adam", "lr": 0.02, "beta1": 0.5, "batch_size": 16, "latent": 2, "width": 6}


def few(data: Data, *, steps: slice) -> Data:
    def some(split: Split) -> Split:
        labels = None if split.labels is None else split.labels[:ROWS]
        return Split(x=split.x[:ROWS, steps].clone(), labels=labels)

    splits = {name: some(split) for name, split in data.splits()}
    return dataclasses.replace(data, sha256=content_hash(splits), **splits)


@functools.cache
def few_sines() -> Data:
    """Real numbers: [4, 1]. Steps and rows of a batch are powers of two: where a gradient is 0 because reals and fakes
    cancel, as that of the last bias under the hinge, it then is so to the last bit, which Adam would blow up."""
    return few(sines.load(rows=ROWS), steps=slice(2, None, 8))


@functools.cache
def few_digit_rows() -> Data:
    """17 levels and ten classes: [4, 8]."""
    return few(digit_rows.load(), steps=slice(2, 6))


def check(data: Data, base: Config, members: dict[str, Config]) -> dict[str, Plain]:
    """Train members in one stack, and hold each against its reference and against one without its technique."""
    configs = {name: {**BASE, **base, **config} for name, config in members.items()}
    trainings = [
        Training(Model, data, config, seed=seed, epochs=EPOCHS) for seed, config in enumerate(configs.values())
    ]
    together = company_of(*trainings, width=len(trainings))
    assert [count for _, count in together.stacks()] == [len(trainings)]
    found: dict[str, Plain] = {}
    everyone = zip(configs.items(), go_on(together, trainings), trainings, strict=True)
    for seed, ((name, config), reports, trained) in enumerate(everyone):
        plain = found[name] = PlainRecurrent(Model, data, config, seed=seed, epochs=EPOCHS).until(EPOCHS)
        assert plain.players[0].moves >= 50, name
        assert reports[-1].cause is None, (name, reports[-1].cause)
        assert apart(weights(trained), plain.weights[-1]) < TOLERANCE, name
        assert logs_apart(reports, plain.logs) < TOLERANCE, name
        if members[name]:
            without = PlainRecurrent(Model, data, {**BASE, **base}, seed=seed, epochs=EPOCHS)
            assert differs(plain, without, by=ACTED), name
    return found


ACTS: dict[str, Callable[[Plain], bool]] = {
    "r1": lambda plain: plain.acts["penalized"] > 0,
    "dropout": lambda plain: plain.acts["dropped"] > 0,
    "hinge": lambda plain: plain.acts["hinge"] > 0,
    "wgan-gp": lambda plain: plain.acts["wgan-gp"] > 0 and plain.acts["penalized"] > 0,
    "least-squares": lambda plain: plain.acts["least-squares"] > 0,
    "batch_size": lambda plain: len(plain.data.train) % plain.batch_size > 0,
    "critic_steps": lambda plain: plain.players[1].moves < plain.players[0].moves,
}
TECHNIQUES: dict[str, Config] = {
    "r1": {"r1": 0.5},
    "dropout": {"dropout": 0.3},
    "hinge": {"loss": "hinge"},
    "wgan-gp": {"loss": "wgan-gp", "gp": 5.0},
    "least-squares": {"loss": "least-squares"},
    "batch_size": {"batch_size": 13},
    "critic_steps": {"critic_steps": 3},
    # The paper's pair of optimizers.
    "sgd": {"discriminator.optimizer": "sgd", "discriminator.lr": 0.1, "discriminator.momentum": 0.0},
    "ema": {"ema": 0.9},
    "clip": {"clip": 0.2},
}


def mixed(*names: str) -> Config:
    return {key: value for name in names for key, value in TECHNIQUES[name].items()}


def test_members_that_differ_in_a_technique_equal_themselves_alone() -> None:
    found = check(few_sines(), {}, {"none": {}, **TECHNIQUES})
    assert all(acted(found[name]) for name, acted in ACTS.items())


def test_members_with_several_techniques_and_classes_equal_themselves_alone() -> None:
    several = [("r1", "dropout", "batch_size"), ("hinge", "r1", "sgd", "ema"), ("wgan-gp", "dropout", "critic_steps")]
    members = {"+".join(names): mixed(*names) for names in several}
    found = check(few_digit_rows(), {"conditional": True}, {"none": {}, **members})
    for name, plain in found.items():
        assert all(acted(plain) for technique, acted in ACTS.items() if technique in name.split("+")), name


def test_moved_at_once_as_on_a_gpu_members_equal_themselves_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company, "Stack", AtOnce)
    members = {"r1+sgd": mixed("r1", "sgd"), "dropout+clip+ema": mixed("dropout", "clip", "ema")}
    check(few_sines(), {}, {"none": {}, **members})
