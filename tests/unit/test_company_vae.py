"""Alone equals in company for each architecture and likelihood of the VAE, in stacks whose members differ.

Float64, 24 steps of the longest member, 1e-10 relative on weights and logs. Alone is itself held against plain torch:
the perceptrons in `test_company_equal.py`, layers and likelihoods in `test_vae_architectures.py` and
`test_likelihoods.py`.
"""

import dataclasses

import pytest
import torch
from plain import Config
from together import AtOnce, apart, company_of, few_digits, few_points, go_on, logs_apart, weights

from trainables.data import digit_rows, sines
from trainables.data._data import Data, Split
from trainables.models.vae import Model
from trainables.training import company
from trainables.training.alone import Training

pytestmark = pytest.mark.usefixtures("float64")

TOLERANCE = 1e-10
ROWS, EPOCHS = 32, 6


def few(data: Data) -> Data:
    return dataclasses.replace(data, **{name: Split(x=split.x[:ROWS]) for name, split in data.splits()})


CASES: dict[str, tuple[Data, Config]] = {
    "mlp-bernoulli": (few_digits(), {"architecture": "mlp", "likelihood": "bernoulli", "depth": 2}),
    "mlp-gaussian": (few_points(), {"architecture": "mlp", "depth": 2}),
    "conv-logistic": (few_digits(), {"architecture": "conv", "likelihood": "logistic"}),
    "conv-categorical": (few_digits(), {"architecture": "conv"}),
    "gru-categorical": (few(digit_rows.load()), {"architecture": "gru"}),
    "gru-gaussian": (few(sines.load(rows=ROWS)), {"architecture": "gru"}),
}
BASE: Config = {"optimizer": "adam", "lr": 0.01, "batch_size": 8, "latent": 3, "width": 6, "beta": 0.01}
MEMBERS: list[Config] = [
    {},
    {"dropout": 0.3, "free_bits": 0.2, "batch_size": 16, "optimizer": "sgd", "lr": 0.001},
    {"kl_warmup": 0.9, "beta": 0.5, "optimizer": "rmsprop", "clip": 1.0, "schedule": "cosine", "schedule_floor": 0.0},
    {"free_bits": 0.5, "kl_warmup": 0.2, "optimizer": "adamw", "weight_decay": 0.1, "dropout": 0.1, "batch_size": 11},
]


def training(case: str, member: int) -> Training:
    data, config = CASES[case]
    params = {**BASE, **config, **MEMBERS[member]}
    return Training(Model, data, params, seed=member, epochs=EPOCHS)


@pytest.mark.parametrize("at_once", [False, True], ids=["rows", "at once"])
@pytest.mark.parametrize("case", CASES)
def test_members_equal_themselves_alone(case: str, at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if at_once:
        monkeypatch.setattr(company, "Stack", AtOnce)
    alone = [training(case, member) for member in range(len(MEMBERS))]
    before = [weights(trained) for trained in alone]
    logs = [[trained.advance().metrics for _ in range(EPOCHS)] for trained in alone]
    members = [training(case, member) for member in range(len(MEMBERS))]
    together = company_of(*members, width=len(members))
    assert [count for _, count in together.stacks()] == [len(members)]
    reports = go_on(together, members)
    for place, (trained, expected) in enumerate(zip(members, alone, strict=True)):
        assert reports[place][-1].cause is None
        assert apart(weights(trained), weights(expected)) < TOLERANCE
        assert logs_apart(reports[place], logs[place]) < TOLERANCE
        # It moved all that it has, a Gaussian's standard deviation included.
        moved = weights(trained)
        assert not any(torch.equal(moved[name], before[place][name]) for name in moved)
