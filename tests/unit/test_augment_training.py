"""Augmentation in training: on reals and fakes alike, through both losses, and alone as in company."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from plain import Config
from together import EPOCHS, apart, company_of, few_digits, go_on, logs_apart, weights
from torch import Tensor, nn
from torch.nn.functional import softplus

from trainables.data import digit_rows, ring
from trainables.data._data import Data, Split
from trainables.models import gan, rgan
from trainables.models._adversarial import Adversarial
from trainables.models._family import Adaptive
from trainables.training.alone import Training
from trainables.training.params import Params

TOLERANCE = 1e-10
FAMILIES: dict[str, tuple[type[Adversarial], Data, Config]] = {
    "mlp": (gan.Model, few_digits(), {"architecture": "mlp", "width": 8, "depth": 1, "latent": 3}),
    "conv": (gan.Model, few_digits(), {"architecture": "conv", "width": 3, "latent": 3}),
    "rgan": (
        rgan.Model,
        replace(digit_rows.load(), train=Split(x=digit_rows.load().train.x[:32])),
        {"width": 6, "latent": 2},
    ),
}
STRENGTHS: dict[str, Config] = {
    "mlp": {"rotate": 20.0, "flip": 0.5, "zoom": 0.2, "translate": 0.25, "warp": 0.1},
    "rgan": {"jitter": 0.1, "scaling": 0.2, "time_warp": 0.5, "crop": 0.3},
}
STRENGTHS["conv"] = STRENGTHS["mlp"]
# 32 rows an epoch: the probability moves by 0.08.
ADAPTIVE: Config = {"augment_target": 0.6, "augment_speed": 0.4}
every_family = pytest.mark.parametrize("family", FAMILIES)


def make(family: str, config: Config, *, seed: int, epochs: int = EPOCHS) -> Training:
    model, data, sizes = FAMILIES[family]
    common: Config = {"optimizer": "adam", "lr": 0.01, "beta1": 0.0, "batch_size": 16}
    return Training(model, data, {**sizes, **common, **config}, seed=seed, epochs=epochs)


def members(family: str) -> list[Config]:
    """Configurations that differ in all that augmentation has, the first without any."""
    every = STRENGTHS[family]
    first, *_, last = every.items()
    return [
        {"r1": 0.1},
        {"r1": 0.3, "augment": 0.6, **every},
        {"batch_size": 13, "augment": 1.0, **{name: 0.5 * float(value) for name, value in every.items()}},
        {"dropout": 0.2, "augment": 0.9, **dict([first])},
        {"augment": 0.9, **dict([last])},
        {"r1": 0.1, "augment": 0.5, **every, **ADAPTIVE},
        # It draws nothing in its first epoch.
        {"lr": 0.03, "augment": 0.0, **every, **ADAPTIVE, "augment_target": 0.01},
        {"loss": "least-squares", "critic_steps": 2, "augment": 0.3, **every, **ADAPTIVE},
        {"loss": "wgan-gp", "augment": 0.3, **every, **ADAPTIVE},
    ]


@every_family
@pytest.mark.usefixtures("float64")
def test_members_that_differ_in_augmentation_equal_themselves_alone(family: str) -> None:
    configs = members(family)
    trainings = [make(family, config, seed=seed) for seed, config in enumerate(configs)]
    together = company_of(*trainings, width=len(trainings))
    assert [count for _, count in together.stacks()] == [len(trainings)]
    for seed, (reports, trained) in enumerate(zip(go_on(together, trainings), trainings, strict=True)):
        alone = make(family, configs[seed], seed=seed)
        begun = dict(alone.knobs)
        logs = [alone.advance().metrics for _ in range(EPOCHS)]
        assert reports[-1].cause is None
        assert apart(weights(trained), weights(alone)) < TOLERANCE, configs[seed]
        assert logs_apart(reports, logs) < TOLERANCE, configs[seed]
        assert trained.knobs == alone.knobs
        assert (trained.knobs != begun) is ("augment_target" in configs[seed]), configs[seed]


@pytest.mark.parametrize("family", ["mlp", "rgan"])
@pytest.mark.usefixtures("float64")
def test_a_checkpoint_keeps_the_probability(family: str, tmp_path: Path) -> None:
    config: Config = {"r1": 0.1, "augment": 0.0, **STRENGTHS[family], **ADAPTIVE, "augment_target": 0.01}
    whole = make(family, config, seed=0, epochs=12)
    expected = [whole.advance().metrics for _ in range(12)]

    first, other = make(family, config, seed=0, epochs=12), make(family, {"r1": 0.1}, seed=1, epochs=12)
    together = company_of(first, other)
    reports = go_on(together, [first, other], until=5)[0]
    first.save(tmp_path)
    second = make(family, config, seed=0, epochs=12)
    assert second.knobs["augment"] == 0.0
    second.restore(tmp_path)
    assert second.knobs == first.knobs
    assert second.knobs["augment"] > 0.0
    reports += [second.advance() for _ in range(7)]
    assert apart(weights(second), weights(whole)) < TOLERANCE
    assert logs_apart(reports, expected) < TOLERANCE
    assert second.knobs == whole.knobs


def built(config: Config) -> gan.Model:
    generator = torch.Generator().manual_seed(0)
    params = Params({"architecture": "mlp", "width": 8, "depth": 1, "latent": 3, **config})
    return gan.Model.build(params, data=FAMILIES["mlp"][1], generator=generator).double()


def drawn_for(model: gan.Model, player: str, in_force: dict[str, float]) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(1), rows=6, knobs=in_force)
    return {name: tensor.double() for name, tensor in drawn.items()}


def test_the_losses_are_of_changed_reals_and_changed_fakes() -> None:
    """R1 by hand, at changed reals that are leaves."""
    own = gan.Model.knobs(Params({"r1": 3.0, "augment": 0.7, **STRENGTHS["mlp"]}))
    model, x = built({}), few_digits().train.x[:6]
    weight_B = torch.full((6,), 1 / 6, dtype=torch.float64)
    drawn = drawn_for(model, "discriminator", own)
    reals = model.augmentation("real", x.double() / 2.0 - 1.0, drawn, own).requires_grad_()
    fakes = model.augmentation("fake", model.generator(drawn["latent"]).tanh().view(-1, 1, 8, 8), drawn, own)
    real_B, fake_B = (model.discriminator(rows.flatten(1))[:, 0] for rows in (reals, fakes))
    (slope,) = torch.autograd.grad(real_B.sum(), reals, create_graph=True)
    expected = softplus(-real_B).mean() + softplus(fake_B).mean() + 1.5 * slope.square().flatten(1).sum(1).mean()
    total, logs = model("discriminator", x, drawn, own, weight_B)
    assert torch.allclose(total, expected, rtol=1e-12)
    assert torch.allclose(logs["sign"], real_B.detach().sign().mean())
    of_generator = {name: tensor for name, tensor in drawn.items() if not name.endswith("_real")}
    assert set(drawn_for(model, "generator", own)) == set(of_generator)
    total, _ = model("generator", x, of_generator, own, weight_B)
    assert torch.allclose(total, softplus(-fake_B).mean(), rtol=1e-12)


def test_the_generator_learns_through_the_changes() -> None:
    """Fault 3.6 of the article: where fakes are not changed, or not so that they can be differentiated, it cannot."""
    own = gan.Model.knobs(Params({"augment": 1.0, **STRENGTHS["mlp"]}))
    model, weight_B = built({}), torch.full((6,), 1 / 6, dtype=torch.float64)
    drawn, parameters = drawn_for(model, "generator", own), list(model.generator.parameters())
    x = few_digits().train.x[:6]
    found = torch.autograd.grad(model("generator", x, drawn, own, weight_B)[0], parameters)
    fakes = model.generator(drawn["latent"]).tanh().view(-1, 1, 8, 8)
    logits_B = model.discriminator(model.augmentation("fake", fakes, drawn, own).flatten(1))[:, 0]
    expected = torch.autograd.grad(softplus(-logits_B).mean(), parameters)
    for one, other in zip(found, expected, strict=True):
        assert bool(one.any())
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-15)


class Shift(nn.Module):
    """In place of an augmentation: these rows become larger by 1."""

    def __init__(self, *of: str) -> None:
        super().__init__()
        self.of = of

    def draw(self, *_: object, **__: object) -> dict[str, Tensor]:
        return {}

    def forward(self, of: str, rows: Tensor, *_: object) -> Tensor:
        return rows + 1.0 if of in self.of else rows


@pytest.mark.parametrize(("changed", "moved"), [(("real",), 1.0), (("real", "fake"), 0.0)])
def test_a_change_of_the_reals_alone_leaks_into_the_samples(changed: tuple[str, ...], moved: float) -> None:
    """Fault 3.6 of the article: the mean of the samples moves with reals that are changed alone, and not with both."""
    config: Config = {"architecture": "mlp", "latent": 2, "width": 16, "depth": 1, "optimizer": "adam", "lr": 0.01}
    x = 0.3 * torch.randn(400, 2, generator=torch.Generator().manual_seed(0))
    data = replace(ring.load(), train=Split(x=x))
    trained = Training(gan.Model, data, {**config, "beta1": 0.0, "batch_size": 50, "r1": 1.0}, seed=0, epochs=60)
    model = trained.model
    assert isinstance(model, gan.Model)
    model.augmentation = Shift(*changed)  # type: ignore[assignment]
    for _ in range(60):
        assert trained.advance().cause is None
    mean = trained.sample(1000).mean(0)
    assert torch.allclose(mean, x.mean(0) + moved, rtol=0.0, atol=0.3)


@pytest.mark.parametrize(
    ("loss", "sign"), [("non-saturating", 1.0), ("hinge", 1.0), ("least-squares", -1.0), ("wgan-gp", -1.0)]
)
def test_a_real_is_sure_above_what_stands_for_neither(loss: str, sign: float) -> None:
    """All logits of reals are 0.4 and those of fakes 0.6: below a half, and below the middle."""
    own = gan.Model.knobs(Params({"loss": loss}))
    model = built({})
    x = few_digits().train.x[:6]

    class Judge(nn.Module):
        def forward(self, rows: Tensor, *_: object) -> Tensor:
            grey = (rows == rows[0]).all(1, keepdim=True)
            return torch.where(grey, 0.4, 0.6) + 0.0 * rows.sum(1, keepdim=True)

    model.discriminator = Judge()
    same = x[:1].expand(6, -1, -1, -1)
    _, logs = model(
        "discriminator", same, drawn_for(model, "discriminator", own), own, torch.full((6,), 1 / 6).double()
    )
    assert float(logs["sign"]) == pytest.approx(sign)


def test_what_does_not_suit_the_data_is_refused_before_training() -> None:
    for name, config in (("mlp", {"jitter": 0.1}), ("rgan", {"rotate": 10.0})):
        with pytest.raises(ValueError, match=f"{next(iter(config))} does nothing to rows of"):
            make(name, {"augment": 0.5, **config}, seed=0)


def test_adversarial_families_are_adaptive() -> None:
    assert isinstance(built({}), Adaptive)
    own = gan.Model.knobs(Params({"augment": 0.5, **ADAPTIVE}))
    # A discriminator that made no step says nothing.
    assert gan.Model.adapted(own, {}, rows=32) == own
    assert gan.Model.adapted(own, {"discriminator.sign": 0.9}, rows=32)["augment"] == pytest.approx(0.58)
