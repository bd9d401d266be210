"""The attention GAN for text: its probabilities, its gradient through chosen tokens, its two stages, its company."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Mapping

import pytest
import torch
from together import AtOnce, apart, company_of, go_on, logs_apart, weights
from torch import Tensor

from trainables.data._data import Data, Split
from trainables.models.attention_gan_text import TEMPERATURES, Model
from trainables.training import company
from trainables.training.alone import Training
from trainables.training.params import ParameterValue, Params

pytestmark = pytest.mark.usefixtures("float64")

ROWS, TOKENS, VOCABULARY = 32, 6, "abcd"
NETWORKS: Mapping[str, ParameterValue] = {"width": 4, "depth": 1, "heads": 2}


def text(*, tokens: int = TOKENS, vocabulary: str = VOCABULARY, rows: int = ROWS) -> Data:
    """Rows in which a letter is followed by the next one, more often than not."""

    def split(seed: int) -> Split:
        generator = torch.Generator().manual_seed(seed)
        letters = [torch.randint(len(vocabulary), (rows,), generator=generator)]
        while len(letters) < tokens:
            goes_on = torch.rand(rows, generator=generator) < 0.8
            letters.append(torch.where(goes_on, (letters[-1] + 1) % len(vocabulary), letters[-1]))
        return Split(x=torch.stack(letters, 1).to(torch.uint8))

    return Data.of(
        {name: split(seed) for seed, name in enumerate(("train", "validation", "test"))},
        name="letters",
        modality="text",
        levels=len(vocabulary),
        value_range=(0.0, len(vocabulary) - 1.0),
        license="made here",
        source="made here",
        vocabulary=tuple(vocabulary),
    )


@functools.cache
def letters() -> Data:
    return text()


def build(data: Data | None = None, **changed: ParameterValue) -> Model:
    params = Params({**NETWORKS, **changed})
    return Model.build(params, data=data or letters(), generator=torch.Generator().manual_seed(0))


def knobs(*, progress: float = 1.0, **changed: ParameterValue) -> dict[str, float]:
    return Model.in_force(Model.knobs(Params({"anneal": "none", "temperature": 0.5, **changed})), progress=progress)


def noise(model: Model, player: str, in_force: Mapping[str, float], *, rows: int = ROWS) -> dict[str, Tensor]:
    return model.draw(player, torch.Generator().manual_seed(1), rows=rows, knobs=in_force)


def loss(model: Model, player: str, in_force: Mapping[str, float]) -> Tensor:
    drawn, weight_B = noise(model, player, in_force), torch.full((ROWS,), 1.0 / ROWS)
    value, logs = model(player, letters().train.x, drawn, in_force, weight_B)
    assert logs["loss"] == value
    return value


def test_the_probabilities_of_all_rows_add_up_to_one() -> None:
    model = build(text(tokens=4, vocabulary="abc"))
    every = torch.tensor(list(itertools.product(range(3), repeat=4)), dtype=torch.uint8)
    log_p = model.log_probability(every)
    assert float(log_p.exp().sum().detach()) == pytest.approx(1.0, rel=1e-12)
    assert float(log_p.detach().std()) > 0.01


def test_samples_are_as_frequent_as_they_are_probable() -> None:
    data = text(tokens=3, vocabulary="ab")
    model = build(data)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(2.0)
    every = torch.tensor(list(itertools.product(range(2), repeat=3)), dtype=torch.uint8)
    drawn = model.draw_samples(torch.Generator().manual_seed(2), rows=20_000)
    in_force = knobs()
    fakes = model._learning(noise(model, "generator", in_force, rows=20_000), in_force).argmax(-1)
    for rows in (model.sample(drawn), fakes):
        shares = torch.stack([(rows == row).all(1).double().mean() for row in every])
        # Four standard errors of a share.
        torch.testing.assert_close(shares, model.log_probability(every).exp(), rtol=0.0, atol=4 * 0.5 / 20_000**0.5)
    assert model.sample(drawn).dtype == torch.uint8


def test_a_sample_is_one_hot_and_its_gradient_that_of_the_gumbel_softmax() -> None:
    model, in_force = build(), knobs(temperature=0.7)
    drawn = noise(model, "generator", in_force)
    found = model._learning(drawn, in_force)
    tokens = found.detach().argmax(-1)
    assert found.unique().tolist() == [0.0, 1.0]
    assert bool((found.sum(-1) == 1.0).all())
    # Jang et al. 2017, eq. (2), with the tokens that were chosen as the ones before.
    known = torch.nn.functional.one_hot(tokens, len(VOCABULARY)).double()
    noisy = model.generator(known) + drawn["latent"]
    assert torch.equal(noisy.argmax(-1), tokens)
    soft = torch.softmax(noisy / 0.7, -1)
    push, parameters = (
        torch.randn(soft.shape, generator=torch.Generator().manual_seed(3)),
        list(model.generator.parameters()),
    )
    of_found = torch.autograd.grad((found * push).sum(), parameters)
    of_soft = torch.autograd.grad((soft * push).sum(), parameters)
    for one, other in zip(of_found, of_soft, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_the_gradient_teaches_a_generator_what_a_discriminator_likes() -> None:
    """The logit of a row is how many of its tokens are the first: so all become that."""
    model, in_force = build(), knobs(temperature=0.5)
    model._logits = lambda rows, *_: rows[..., 0].sum(1)  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(model.generator.parameters(), lr=0.05)
    drawn = model.draw_samples(torch.Generator().manual_seed(2), rows=500)
    before = (model.sample(drawn) == 0).double().mean()
    for _ in range(30):
        optimizer.zero_grad()
        loss(model, "generator", {**in_force, "hinge": 1.0}).backward()
        optimizer.step()
    assert before < 0.5
    assert (model.sample(drawn) == 0).double().mean() > 0.9


@pytest.mark.parametrize(
    ("anneal", "values"),
    [
        ("none", (0.04, 0.04, 0.04, 0.04)),
        # 0.04 is 1/25: halfway the inverse is 13, or the fifth root of it is taken.
        ("linear", (1.0, 1.0, 1.0 / 13.0, 0.04)),
        ("exponential", (1.0, 1.0, 0.2, 0.04)),
    ],
)
def test_the_temperature_falls_over_what_likelihood_leaves_of_the_budget(
    anneal: str, values: tuple[float, ...]
) -> None:
    given: dict[str, ParameterValue] = {"anneal": anneal, "temperature": 0.04, "mle_share": 0.5}
    for progress, value in zip((0.2, 0.5, 0.75, 1.0), values, strict=True):
        assert knobs(progress=progress, **given)["temperature"] == pytest.approx(value, rel=1e-12)
    assert math.isfinite(knobs(progress=1.0, **{**given, "mle_share": 1.0})["temperature"])


def test_the_control_learns_by_the_mean_surprise_of_a_token() -> None:
    model = build()
    expected = -model.control(torch.nn.functional.one_hot(letters().train.x.long(), 4).double()).log_softmax(-1)
    surprise = expected.gather(-1, letters().train.x.long()[..., None]).mean()
    assert float(loss(model, "control", knobs()).detach()) == pytest.approx(float(surprise.detach()), rel=1e-12)


def test_r1_is_the_square_of_the_logits_slope_by_the_one_hot_vectors_of_real_rows() -> None:
    model = build()
    real = torch.nn.functional.one_hot(letters().train.x.long(), 4).double().requires_grad_()
    logits = model.discriminator(real, None, 0.0, 0.0)
    (slope,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
    penalty = 0.5 * 3.0 * slope.square().sum((1, 2)).mean()
    found = loss(model, "discriminator", knobs(r1=3.0)) - loss(model, "discriminator", knobs())
    assert float(penalty.detach()) > 1e-4
    assert float(found.detach()) == pytest.approx(float(penalty.detach()), rel=1e-9)
    weight = model.discriminator.embedding.weight
    expected, own = (torch.autograd.grad(value, weight)[0] for value in (penalty, found))
    torch.testing.assert_close(own, expected, rtol=1e-9, atol=1e-12)


BASE: Mapping[str, ParameterValue] = {
    **NETWORKS,
    "optimizer": "adam",
    "control.lr": 0.02,
    "discriminator.lr": 0.02,
    "generator.lr": 0.01,
    "batch_size": 8,
    "temperature": 0.3,
    "mle_share": 0.5,
}
EPOCHS = 4


def training(seed: int = 0, **changed: ParameterValue) -> Training:
    return Training(Model, letters(), {**BASE, **changed}, seed=seed, epochs=EPOCHS)


def of(player: str, trained: Training) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in trained.module.get_submodule(player).named_parameters()}


def test_until_its_share_of_the_budget_is_over_the_generator_is_the_control() -> None:
    trained, judge = training(), of("discriminator", training())
    noise = trained.model.draw_samples(torch.Generator().manual_seed(0), rows=20)
    for epoch in range(1, EPOCHS + 1):
        metrics = trained.advance().metrics
        begun = epoch > 2
        assert (apart(of("generator", trained), of("control", trained)) == 0.0) != begun
        assert (apart(of("discriminator", trained), judge) == 0.0) != begun
        assert ("generator.loss" in metrics, "control.loss" in metrics) == (begun, True)
        control = trained.model.controls()["mle_100"].sample(noise)  # type: ignore[attr-defined]
        assert torch.equal(trained.model.sample(noise), control) != begun


def test_the_control_is_the_same_whenever_the_generator_begins_or_never() -> None:
    trainings = [training(mle_share=share, critic_steps=steps) for share, steps in ((0.0, 1), (0.5, 3), (1.0, 1))]
    for trained in trainings:
        while trained.step < EPOCHS:
            trained.advance()
    first, second, third = (of("control", trained) for trained in trainings)
    assert apart(first, second) == apart(first, third) == 0.0
    assert apart(of("generator", trainings[2]), third) == 0.0


def test_controls_are_colder_the_lower_their_temperature() -> None:
    trained = training(mle_share=1.0)
    for _ in range(2):
        trained.advance()
    model = trained.model
    assert isinstance(model, Model)
    noise = model.draw_samples(torch.Generator().manual_seed(0), rows=500)
    found = [model.log_probability(control.sample(noise)).mean().item() for control in model.controls().values()]
    assert list(model.controls()) == [f"mle_{hundredths}" for hundredths in TEMPERATURES]
    assert found == sorted(found, reverse=True)
    assert found[0] > found[-1] + 0.1


MEMBERS: Mapping[str, Mapping[str, ParameterValue]] = {
    "base": {},
    "at once": {"mle_share": 0.0, "anneal": "linear"},
    "never": {"mle_share": 1.0},
    "r1": {"mle_share": 0.3, "r1": 1.0, "anneal": "none"},
    "norm": {"spectral_norm": True, "loss": "hinge", "dropout": 0.3, "batch_size": 7},
    "control": {"control.dropout": 0.2, "control.lr": 0.01},
    "critic": {"loss": "wgan-gp", "gp": 2.0, "critic_steps": 2, "ema": 0.9, "clip": 0.1},
}


@pytest.mark.parametrize("updates", ["rows", "at once"])
def test_members_equal_themselves_alone_wherever_each_begins(updates: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if updates == "at once":
        monkeypatch.setattr(company, "Stack", AtOnce)
    members = [training(seed, **changed) for seed, changed in enumerate(MEMBERS.values())]
    together = company_of(*members, width=len(members))
    assert [count for _, count in together.stacks()] == [len(members)]
    everyone = zip(MEMBERS.items(), go_on(together, members), members, strict=True)
    for seed, ((name, changed), reports, member) in enumerate(everyone):
        alone = training(seed, **changed)
        expected = [alone.advance() for _ in range(EPOCHS)]
        assert [report.cause for report in (*reports, *expected)] == [None] * 2 * EPOCHS, name
        assert apart(weights(member), weights(alone)) < 1e-10, name
        assert logs_apart(reports, [report.metrics for report in expected]) < 1e-10, name


def test_likelihood_finds_the_surprise_that_the_language_has() -> None:
    """The first letter is any of four, each other one of two with 0.8 and 0.2: the least mean surprise is known."""
    torch.set_default_dtype(torch.float32)
    data = text(rows=512)
    given = {**BASE, "width": 8, "mle_share": 1.0, "batch_size": 32, "control.lr": 0.01}
    trained = Training(Model, data, given, seed=0, epochs=12)
    while trained.step < 12:
        trained.advance()
    entropy = -(0.8 * math.log(0.8) + 0.2 * math.log(0.2))
    least = (math.log(4.0) + (TOKENS - 1) * entropy) / TOKENS
    assert isinstance(trained.model, Model)
    found = -float(trained.model.log_probability(data.validation.x).detach().mean()) / TOKENS
    assert found == pytest.approx(least, rel=0.05)


def test_data_that_are_no_text_are_refused() -> None:
    data = dataclasses.replace(letters(), modality="points")
    with pytest.raises(ValueError, match=r"needs rows of tokens, and those of 'letters' are points of the shape \[6\]"):
        build(data)


def test_rows_that_need_too_much_noise_are_refused() -> None:
    data = dataclasses.replace(letters(), levels=20_000)
    with pytest.raises(ValueError, match="at most 65536, and rows of 'letters' have 6 tokens of a vocabulary of 20000"):
        build(data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"width": 0}, "width must be at least 1, and it is 0"),
        ({"depth": 0}, "depth must be at least 1, and it is 0"),
        ({"heads": 3}, "heads must divide the width 4"),
        ({"augment": 0.5}, "augment does nothing to rows of 'letters', which are text"),
    ],
)
def test_networks_that_cannot_be_are_refused(changed: dict[str, ParameterValue], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"anneal": "cosine"}, "anneal must be one of none, linear, exponential, and it is 'cosine'"),
        ({"temperature": 0.0}, "temperature must be above 0, and it is 0.0"),
        ({"control.dropout": 1.0}, "control.dropout must be at least 0 and below 1, and it is 1.0"),
        ({"mle_share": 1.5}, "mle_share must be from 0 to 1, and it is 1.5"),
    ],
)
def test_knobs_out_of_range_are_refused(changed: dict[str, ParameterValue], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knobs(**changed)


def test_half_precision_of_the_layers_leaves_the_losses_their_digits() -> None:
    model, in_force = build().float(), knobs(**{"r1": 1.0, "dropout": 0.2, "control.dropout": 0.2})
    x, weight_B = letters().train.x, torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float32)
    for player in Model.players:
        drawn = {name: value.float() for name, value in noise(model, player, in_force).items()}
        total, _ = model(player, x, drawn, in_force, weight_B)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, _ = model(player, x, drawn, in_force, weight_B)
        assert half.dtype == torch.float32
        assert float(half.detach()) == pytest.approx(float(total.detach()), rel=2e-2, abs=1e-2)
        assert half.detach() != half.detach().bfloat16()
