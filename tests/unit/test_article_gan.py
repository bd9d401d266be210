"""The article's GAN, section 4.1: its faults, one test for each, named by what the article does."""

import math

import pytest
import torch
from torch import Tensor, nn

from trainables.data import digits, ring
from trainables.data._data import Data
from trainables.models._adversarial import LOSSES, discriminator_loss, generator_loss
from trainables.models.gan import Model
from trainables.training.alone import Training
from trainables.training.params import Params

SIZES = {
    "mlp": {"architecture": "mlp", "latent": 3, "width": 8, "depth": 2},
    "conv": {"architecture": "conv", "latent": 3, "width": 4},
}
RECIPE = {"optimizer": "adam", "lr": 1e-2, "batch_size": 100}
ROWS = 5
every_architecture = pytest.mark.parametrize("architecture", SIZES)
every_loss = pytest.mark.parametrize("kind", LOSSES)


def build(architecture: str = "mlp", *, data: Data | None = None) -> Model:
    generator = torch.Generator().manual_seed(0)
    return Model.build(Params(SIZES[architecture]), data=data or digits.load(), generator=generator).double()


def drawn(model: Model, knobs: dict[str, float]) -> dict[str, Tensor]:
    noise = model.draw("discriminator", torch.Generator().manual_seed(1), rows=ROWS, knobs=knobs)
    return {name: tensor.double() for name, tensor in noise.items()}


def evenly() -> Tensor:
    return torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float64)


@every_architecture
@every_loss
def test_the_generator_makes_samples_from_noise_where_the_article_hands_it_images(architecture: str, kind: str) -> None:
    """Fault: the generator is called with a batch of images, and no noise is drawn at all."""
    model, knobs = build(architecture), Model.knobs(Params({"loss": kind}))
    noise = drawn(model, knobs)
    x = digits.load().train.x
    first, second = (model("generator", rows, noise, knobs, evenly())[0] for rows in (x[:ROWS], x[ROWS : 2 * ROWS]))
    assert torch.equal(first, second)
    other = model("generator", x[:ROWS], {**noise, "latent": -noise["latent"]}, knobs, evenly())[0]
    assert not torch.equal(first, other)
    samples = model.sample({"latent": noise["latent"]})
    assert len(samples.flatten(1).unique(dim=0)) > 1


@every_architecture
@every_loss
def test_the_discriminator_learns_from_reals_where_the_article_never_shows_it_one(architecture: str, kind: str) -> None:
    """Fault: the discriminator sees what the generator made of the images, and no image."""
    model, knobs = build(architecture, data=None), Model.knobs(Params({"loss": kind}))
    x = digits.load().train.x[:ROWS].double().requires_grad_()
    loss, _ = model("discriminator", x, drawn(model, knobs), knobs, evenly())
    (gradient,) = torch.autograd.grad(loss, x)
    assert bool((gradient.flatten(1).abs().sum(1) > 0.0).all())


@every_loss
def test_the_players_are_adversaries_where_the_article_gives_both_one_loss(kind: str) -> None:
    """Fault: both networks minimize one cross-entropy over one set of labels, and so help each other."""
    knobs = Model.knobs(Params({"loss": kind}))
    fake = torch.tensor([-0.6, 0.1, 0.7], dtype=torch.float64, requires_grad=True)
    (of_discriminator,) = torch.autograd.grad(discriminator_loss(fake.detach(), fake, knobs).sum(), fake)
    (of_generator,) = torch.autograd.grad(generator_loss(fake, knobs).sum(), fake)
    # Least squares drive the discriminator's logit of a fake to 0 and the generator's to 1: between them they disagree.
    opposed = (of_discriminator * of_generator < 0.0) | ((kind == "least-squares") & ((fake < 0.0) | (fake > 1.0)))
    assert bool(opposed.all())


@every_architecture
def test_each_player_moves_its_own_weights_where_the_article_moves_all_by_one_loss(architecture: str) -> None:
    """Fault: one optimizer step on one loss, in which the generator's weights follow the discriminator's aim."""
    model, knobs = build(architecture), Model.knobs(Params({"r1": 1.0}))
    of_player = {name: list(model.get_submodule(name).parameters()) for name in Model.players}
    loss, _ = model("discriminator", digits.load().train.x[:ROWS], drawn(model, knobs), knobs, evenly())
    assert not any(torch.is_tensor(g) for g in torch.autograd.grad(loss, of_player["generator"], allow_unused=True))


def test_the_loss_takes_logits_where_the_article_puts_a_sigmoid_before_one() -> None:
    """Fault: a sigmoid ends the discriminator, and the loss takes what it gives for logits.

    Its outputs then lie in (0, 1), so the loss of a perfect discriminator cannot fall below that of a logit of 1.
    """
    knobs = Model.knobs(Params({}))
    real, fake = (torch.tensor([value], dtype=torch.float64) for value in (20.0, -20.0))
    certain = float(discriminator_loss(real, fake, knobs))
    assert certain == pytest.approx(2.0 * math.log1p(math.exp(-20.0)), rel=1e-9)
    assert float(discriminator_loss(real.sigmoid(), fake.sigmoid(), knobs)) > 1.0
    model = build()
    with torch.no_grad():
        last = [layer for layer in model.discriminator.modules() if isinstance(layer, nn.Linear)][-1]
        last.bias.fill_(-7.0)
    _, logs = model("discriminator", digits.load().train.x[:ROWS], drawn(model, knobs), knobs, evenly())
    assert float(logs["real"]) < -5.0


@every_architecture
def test_two_calls_share_their_weights_where_the_articles_layers_are_made_anew(architecture: str) -> None:
    """Fault: the networks are functions whose layers are new in every call, and have no weights to train."""
    trained = Training(Model, digits.load(), {**SIZES[architecture], **RECIPE}, seed=0, epochs=2)
    latent = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    before = trained.model.sample({"latent": latent})
    assert torch.equal(before, trained.model.sample({"latent": latent}))
    names = {name.partition(".")[0] for name, _ in trained.module.named_parameters()}
    assert names == set(Model.players)
    trained.advance()
    assert not torch.equal(before, trained.model.sample({"latent": latent}))


@every_architecture
def test_samples_keep_to_the_range_of_the_data_where_the_articles_have_none(architecture: str) -> None:
    """Fault: nothing bounds what the generator gives; digits are whole levels from 0 to 16."""
    model = build(architecture)
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(1e3)
        samples = model.sample({"latent": torch.randn(50, 3, generator=torch.Generator().manual_seed(3)).double()})
    assert samples.dtype == digits.load().train.x.dtype
    assert (int(samples.min()), int(samples.max())) == (0, 16)


def test_points_have_no_bound_since_their_data_have_none() -> None:
    """The other side of that fault: where rows are real numbers a bound would cut them off."""
    model = build(data=ring.load())
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(30.0)
        samples = model.sample({"latent": torch.randn(50, 3, generator=torch.Generator().manual_seed(3)).double()})
    assert float(samples.abs().max()) > 10.0
