"""The GAN that is told classes, and its gradient penalty: what each network sees, and where the slope is taken."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainables.data import digits, ring
from trainables.data._data import Data, Split
from trainables.models._adversarial import one_hot
from trainables.models._family import Conditional
from trainables.models.gan import Model
from trainables.training.alone import Training
from trainables.training.params import Params

ROWS = 6
SIZES = {
    "mlp": {"architecture": "mlp", "latent": 3, "width": 8, "depth": 2},
    "conv": {"architecture": "conv", "latent": 3, "width": 4},
}
every_architecture = pytest.mark.parametrize("architecture", SIZES)


def build(architecture: str = "mlp", *, data: Data | None = None, conditional: bool = True) -> Model:
    params = Params({**SIZES[architecture], "conditional": conditional})
    return Model.build(params, data=data or digits.load(), generator=torch.Generator().manual_seed(0)).double()


def knobs(**params: float | str) -> dict[str, float]:
    return Model.knobs(Params(params))


def noise(model: Model, player: str, in_force: dict[str, float], *, rows: int = ROWS) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(1), rows=rows, knobs=in_force)
    return {name: tensor if name == "label" else tensor.double() for name, tensor in drawn.items()}


def evenly(rows: int = ROWS) -> Tensor:
    return torch.full((rows,), 1.0 / rows, dtype=torch.float64)


@every_architecture
def test_reals_come_with_their_classes_and_fakes_with_drawn_ones(architecture: str) -> None:
    model, in_force = build(architecture), knobs()
    assert isinstance(model, Conditional)
    assert model.conditional
    x, labels = digits.load().train.x[:ROWS], digits.load().train.labels
    assert labels is not None
    drawn, own = noise(model, "discriminator", in_force), labels[:ROWS]
    others = {**drawn, "label": (drawn["label"] + 1) % 10}

    def logs(of_rows: Tensor, drawn: dict[str, Tensor]) -> tuple[float, float]:
        found = model("discriminator", x, drawn, in_force, evenly(), of_rows)[1]
        return float(found["real"]), float(found["fake"])

    real, fake = logs(own, drawn)
    other_real, same_fake = logs((own + 1) % 10, drawn)
    same_real, other_fake = logs(own, others)
    assert (real, fake) == pytest.approx((same_real, same_fake), rel=1e-12)
    assert real != pytest.approx(other_real, rel=1e-6)
    assert fake != pytest.approx(other_fake, rel=1e-6)
    of_generator = [float(model("generator", x, each, in_force, evenly(), own)[0].detach()) for each in (drawn, others)]
    assert of_generator[0] != pytest.approx(of_generator[1], rel=1e-6)


@every_architecture
def test_a_class_that_is_asked_for_changes_samples_and_the_noise_alone_does_not_name_it(architecture: str) -> None:
    model = build(architecture)
    noise = model.draw_samples(torch.Generator().manual_seed(0), rows=4)
    assert set(noise) == {"latent", "label"}
    assert noise["label"].dtype == torch.int64
    latent = noise["latent"][:1].double().expand(10, -1)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(5.0)
    samples = model.sample({"latent": latent, "label": torch.arange(10)})
    assert len(samples.flatten(1).unique(dim=0)) == 10


def test_classes_are_drawn_in_the_shares_of_the_training_rows() -> None:
    whole = digits.load()
    labels = torch.tensor([0] * 60 + [1] * 30 + [3] * 10)
    data = replace(whole, train=Split(x=whole.train.x[:100], labels=labels))
    model = build(data=data)
    assert model.classes == 4
    drawn = model.draw_samples(torch.Generator().manual_seed(0), rows=20_000)["label"]
    shares = torch.bincount(drawn, minlength=4) / 20_000
    # Four standard errors of a share of .6 over 20,000 draws are .014.
    assert shares.tolist() == pytest.approx([0.6, 0.3, 0.0, 0.1], abs=0.014)


@every_architecture
def test_without_classes_nothing_of_them_is_drawn_and_the_networks_are_smaller(architecture: str) -> None:
    with_classes, without = build(architecture), build(architecture, conditional=False)
    assert set(without.draw_samples(torch.Generator().manual_seed(0), rows=2)) == {"latent"}
    sizes = [sum(p.numel() for p in model.parameters()) for model in (with_classes, without)]
    assert sizes[0] > sizes[1]


def test_rows_without_labels_are_refused() -> None:
    whole = digits.load()
    data = replace(whole, train=Split(x=whole.train.x))
    with pytest.raises(ValueError, match="a conditional model needs labels, and the rows of 'digits' have none"):
        build(data=data)
    build(data=data, conditional=False)


def test_one_hot_is_torchs_own() -> None:
    labels = torch.tensor([3, 0, 2, 3])
    expected = torch.nn.functional.one_hot(labels, 4).double()
    assert torch.equal(one_hot(labels, 4, dtype=torch.float64), expected)


def test_told_the_classes_of_a_mixture_a_gan_hits_the_mode_that_is_asked_for() -> None:
    data = ring.load(rows=1000)
    params = {
        **SIZES["mlp"],
        "latent": 4,
        "width": 64,
        "conditional": True,
        "optimizer": "adam",
        "lr": 1e-3,
        "beta1": 0.5,
        "batch_size": 100,
        "r1": 0.1,
        "ema": 0.99,
    }
    trained = Training(Model, data, params, seed=0, epochs=15)
    for _ in range(15):
        assert trained.advance().cause is None
    assert data.train.labels is not None
    means = torch.stack([data.train.x[data.train.labels == label].mean(0) for label in range(8)])
    label = torch.arange(8).repeat_interleave(50)
    latent = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad(), trained._averaged():
        samples = trained.model.sample({"latent": latent, "label": label})
    nearest = torch.cdist(samples, means).argmin(1)
    # By chance an eighth would lie nearest to the mode of their class.
    assert float((nearest == label).double().mean()) > 0.8


@every_architecture
def test_the_penalty_is_that_of_the_slope_between_fakes_and_reals(architecture: str) -> None:
    """By hand, with one backward pass a row: lambda (|slope| - 1)^2 at eps x + (1 - eps) G(z), eps drawn."""
    model, in_force = build(architecture, conditional=False), knobs(loss="wgan-gp", gp=3.0)
    x, drawn = digits.load().train.x[:ROWS], noise(model, "discriminator", in_force)
    _, logs = model("discriminator", x, drawn, in_force, evenly())
    fakes = model._fakes(drawn["latent"], None).detach()
    total = 0.0
    for row in range(ROWS):
        share = drawn["epsilon"][row]
        point = (share * (x[row].double() / 8.0 - 1.0) + (1.0 - share) * fakes[row])[None].requires_grad_()
        (slope,) = torch.autograd.grad(model._logits(point, None, None, in_force).sum(), point)
        total += 3.0 * (float(slope.norm()) - 1.0) ** 2 / ROWS
    assert float(logs["penalty"]) == pytest.approx(total, rel=1e-10)


def test_a_slope_of_zero_has_a_penalty_and_no_nan() -> None:
    model, in_force = build(conditional=False), knobs(loss="wgan-gp")
    with torch.no_grad():
        model.discriminator.layers[0].weight.zero_()  # type: ignore[union-attr, index]
    x, drawn = digits.load().train.x[:ROWS], noise(model, "discriminator", in_force)
    total, logs = model("discriminator", x, drawn, in_force, evenly())
    assert float(logs["penalty"]) == pytest.approx(10.0)
    gradients = torch.autograd.grad(total, list(model.discriminator.parameters()))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize(("loss", "read"), [("wgan-gp", "gp"), ("hinge", "r1")])
def test_a_penalty_that_the_loss_has_no_place_for_is_not_read(loss: str, read: str) -> None:
    params = Params({"loss": loss, "gp": 2.0, "r1": 3.0})
    found = Model.knobs(params)
    assert params.unread() == tuple({"gp", "r1"} - {read})
    assert (found["gp"] > 0.0, found["r1"] > 0.0) == (read == "gp", read == "r1")


def test_epsilon_is_drawn_by_the_discriminator_with_that_loss_alone() -> None:
    model = build(conditional=False)
    for player, loss, there in (
        ("discriminator", "wgan-gp", True),
        ("generator", "wgan-gp", False),
        ("discriminator", "hinge", False),
    ):
        assert ("epsilon" in noise(model, player, knobs(loss=loss))) is there
