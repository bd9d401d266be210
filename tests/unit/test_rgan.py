"""The recurrent GAN: what it refuses, what its networks see, and its samples. Its losses: `test_company_rgan.py`."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from trainables.data import digit_rows, digits, instruments, ring, sines
from trainables.data._data import Data, Split
from trainables.models.rgan import Model
from trainables.training.params import ParameterValue, Params

ROWS = 6


def build(data: Data | None = None, **changed: ParameterValue) -> Model:
    params = Params({"latent": 2, "width": 4, "conditional": False, **changed})
    return Model.build(params, data=data or sines.load(rows=64), generator=torch.Generator().manual_seed(0)).double()


def knobs(**changed: float | str) -> dict[str, float]:
    return Model.in_force(Model.knobs(Params(changed)), progress=0.5)


def noise(model: Model, player: str, in_force: dict[str, float]) -> dict[str, Tensor]:
    drawn = model.draw(player, torch.Generator().manual_seed(1), rows=ROWS, knobs=in_force)
    return {name: tensor.double() if tensor.is_floating_point() else tensor for name, tensor in drawn.items()}


def test_noise_is_new_at_each_step_and_a_step_comes_from_the_noise_before_it() -> None:
    model = build()
    latent = noise(model, "generator", knobs())["latent"].requires_grad_()
    assert latent.shape == (ROWS, 30, 2)
    samples = model._fakes(latent, None)
    assert samples.shape == (ROWS, 30, 1)
    (gradient,) = torch.autograd.grad(samples[:, 10].sum(), latent)
    assert bool((gradient[:, :11] != 0.0).all())
    assert bool((gradient[:, 11:] == 0.0).all())


def test_there_is_a_logit_at_each_step_of_the_steps_so_far() -> None:
    model = build()
    x = sines.load(rows=64).train.x[:ROWS].double().requires_grad_()
    logits = model._logits(x, None, None, knobs())
    assert logits.shape == (ROWS, 30)
    (gradient,) = torch.autograd.grad(logits[:, 10].sum(), x)
    assert bool((gradient[:, :11] != 0.0).all())
    assert bool((gradient[:, 11:] == 0.0).all())


def test_both_networks_are_told_the_class_at_each_step() -> None:
    model = build(digit_rows.load(), conditional=True)
    assert model.generator.gru.weight_ih.shape == (12, 2 + 10)  # type: ignore[union-attr]
    assert model.discriminator.gru.weight_ih.shape == (12, 8 + 10)  # type: ignore[union-attr]
    latent = torch.zeros(10, 8, 2, dtype=torch.float64)
    samples = model._fakes(latent, torch.arange(10))
    apart = torch.cdist(samples.flatten(1), samples.flatten(1)) + torch.eye(10)
    assert bool((apart > 1e-3).all())
    logits = model._logits(samples[:1].expand(10, -1, -1), torch.arange(10), None, knobs())
    assert all(len(logits[:, step].unique()) == 10 for step in range(8))


def test_a_unit_is_dropped_from_a_whole_series() -> None:
    """What is dropped is not seen at any step: the weights that read the unit have no gradient."""
    model = build()
    x, uniform = sines.load(rows=64).train.x[:ROWS].double(), torch.full((ROWS, 4), 0.9, dtype=torch.float64)
    uniform[:, 1] = 0.1
    logits = model._logits(x, None, uniform, knobs(dropout=0.3))
    discriminator = model.discriminator
    readers = [discriminator.gru.weight_hh, discriminator.last.weight]  # type: ignore[union-attr]
    for gradient in torch.autograd.grad(logits.sum(), readers):  # type: ignore[arg-type]
        assert bool((gradient[:, 1] == 0.0).all())
        assert bool((gradient[:, [0, 2, 3]] != 0.0).any(0).all())


@pytest.mark.parametrize(("bias", "level"), [(-50.0, 0), (0.0, 8), (50.0, 16)])
def test_samples_are_whole_levels_from_end_to_end(bias: float, level: int) -> None:
    model = build(digit_rows.load())
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.zero_()
        model.generator.last.bias.fill_(bias)  # type: ignore[union-attr]
    samples = model.sample({"latent": torch.zeros(3, 8, 2, dtype=torch.float64)})
    assert (samples.dtype, samples.shape) == (torch.uint8, (3, 8, 8))
    assert samples.unique().tolist() == [level]


def test_real_numbers_are_modelled_in_their_own_scale() -> None:
    model = build()
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.zero_()
        model.generator.last.bias.fill_(-7.0)  # type: ignore[union-attr]
    samples = model.sample({"latent": torch.zeros(2, 30, 2, dtype=torch.float64)})
    assert (samples.dtype, samples.shape) == (torch.float32, (2, 30, 1))
    assert samples.unique().tolist() == [-7.0]


def test_data_that_are_no_series_are_refused() -> None:
    for data in (digits.load(), ring.load(), replace(digit_rows.load(), modality="images")):
        with pytest.raises(ValueError, match=rf"rows of the shape \[steps, features\], and those of '{data.name}' are"):
            build(data)


def stereo(samples: int = 12) -> Data:
    """Sounds whose numbers tell their places: sample s of channel c is (100 c + s) / 1000."""
    x = (torch.arange(2)[:, None] * 100 + torch.arange(samples)).expand(300, -1, -1) / 1000
    return replace(instruments.load(rows=4, samples=512), train=Split(x=x))


def test_audio_is_heard_and_made_in_frames() -> None:
    model = build(stereo(), frame=4)
    assert model.noise_shape == (3, 2)
    seen: list[Tensor] = []
    model.discriminator.forward = lambda x, *_: (seen.append(x), x[..., :1])[1]  # type: ignore[method-assign]
    x = stereo().train.x[:ROWS].double()
    assert model._logits(x, None, None, knobs()).shape == (ROWS, 3)
    # A step has the same stretch of either channel.
    assert (seen[0][0, 1] * 1000).round().tolist() == [4, 5, 6, 7, 104, 105, 106, 107]
    model.generator.forward = lambda z: seen[0].atanh()  # type: ignore[method-assign]
    assert torch.allclose(model.sample({"latent": torch.zeros(ROWS, 3, 2)}), stereo().train.x[:ROWS])


def test_audio_has_the_frame_that_is_said_for_it_and_series_have_none() -> None:
    assert build(stereo(128)).noise_shape == (2, 2)
    params = Params({"latent": 2, "width": 4, "frame": 4})
    Model.build(params, data=sines.load(rows=64), generator=torch.Generator())
    assert params.unread() == ("frame",)


@pytest.mark.parametrize(("frame", "fitting"), [(5, 4), (100, 12), (0, None)])
def test_a_frame_that_does_not_divide_is_refused_with_one_that_does(frame: int, fitting: int | None) -> None:
    message = f"are 12 in 'instruments', and it is {frame}: set frame to {fitting}, or take audio of another length"
    with pytest.raises(ValueError, match=message if fitting else "frame must be at least 1, and it is 0"):
        build(stereo(), frame=frame)


def test_classes_need_labels() -> None:
    with pytest.raises(ValueError, match="the rows of 'sines' have none: set conditional to false"):
        build(conditional=True)


@pytest.mark.parametrize("name", ["latent", "width"])
def test_a_size_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, and it is 0"):
        build(**{name: 0})


@pytest.mark.parametrize("loss", ["non-saturating", "wgan-gp"])
def test_half_precision_of_the_layers_leaves_the_losses_their_digits(loss: str) -> None:
    model, in_force = build(digit_rows.load(), conditional=True).float(), knobs(r1=1.0, dropout=0.2, loss=loss)
    weight_B, x = torch.full((ROWS,), 1.0 / ROWS), digit_rows.load().train.x[:ROWS]
    for player in Model.players:
        drawn = model.draw(player, torch.Generator().manual_seed(1), rows=ROWS, knobs=in_force)
        labels = torch.arange(ROWS)
        total, _ = model(player, x, drawn, in_force, weight_B, labels)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, _ = model(player, x, drawn, in_force, weight_B, labels)
        assert half.dtype == torch.float32
        # The layers keep 8 bits; a loss that was rounded to as many itself would have no others.
        assert float(half.detach()) == pytest.approx(float(total.detach()), rel=2e-2, abs=1e-2)
        assert half.detach() != half.detach().bfloat16()
