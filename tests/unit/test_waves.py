"""The GAN of waves: its lengths, phase shuffle by hand, what it refuses. Its losses: `test_company_audio.py`."""

import functools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from search_spaces.gan_waves import SPACE
from trainables.data import digits, instruments, sines
from trainables.data._data import Data, Split
from trainables.models._layers import quadrupling, quartering
from trainables.models._spectrograms import Spectrogram
from trainables.models._waves import phase_shuffled
from trainables.models.gan import Model
from trainables.training.alone import Training
from trainables.training.params import ParameterValue, Params

ROWS = 4


@functools.cache
def sounds(samples: int = 256, channels: int = 1) -> Data:
    whole = instruments.load(rows=300, samples=512)
    x = whole.train.x.repeat(1, channels, -(-samples // 512))[..., :samples]
    return replace(whole, train=Split(x=x, labels=whole.train.labels))


def build(data: Data | None = None, **changed: ParameterValue) -> Model:
    params = Params({"architecture": "wave", "latent": 3, "width": 2, **changed})
    generator = torch.Generator().manual_seed(0)
    return Model.build(params, data=data or sounds(), generator=generator).double()


def knobs(**changed: float | str | bool) -> dict[str, float]:
    return Model.in_force(Model.knobs(Params(changed)), progress=0.5)


def numbers(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize(
    ("samples", "coarsest", "quarterings"),
    [(16, 1, 2), (256, 16, 2), (512, 8, 3), (1024, 16, 3), (2048, 8, 4), (4096, 16, 4), (16384, 16, 5), (4800, 75, 3)],
)
def test_waves_quarter_and_quadruple_to_the_length_of_the_sounds(samples: int, coarsest: int, quarterings: int) -> None:
    data = sounds(samples, channels=2)
    model = build(data)
    assert len(model.generator.blocks) == len(model.discriminator.blocks) == quarterings  # type: ignore[arg-type]
    assert model.generator.coarsest == (2 * 2 ** (quarterings - 1), coarsest)
    made = model.sample({"latent": numbers(2, 3)})
    assert (made.shape, made.dtype) == ((2, 2, samples), torch.float32)
    assert model._logits(data.train.x[:2].double(), None, None, knobs()).shape == (2,)


@pytest.mark.parametrize(
    ("data", "shown"),
    [(sounds(500), "audio of the shape .1, 500."), (digits.load(), "images of"), (sines.load(rows=64), "series of")],
)
def test_what_is_no_audio_of_such_a_length_is_refused(data: Data, shown: str) -> None:
    with pytest.raises(ValueError, match=f"multiple of 16 samples, and rows of '{data.name}' are {shown}"):
        build(data)


def test_layers_begin_as_torchs_own() -> None:
    """Their weights fill the same interval; that of torch's hangs on the number of inputs, as it counts them."""
    generator = torch.Generator().manual_seed(0)
    for made, stock in (
        (quartering(16, 32, generator=generator), nn.Conv1d(16, 32, 25, 4, 11)),
        (quadrupling(32, 16, generator=generator), nn.ConvTranspose1d(32, 16, 25, 4, 11, 1)),
    ):
        assert (made.weight.shape, made.stride, made.padding) == (stock.weight.shape, stock.stride, stock.padding)
        bound = float(stock.weight.detach().abs().max())
        assert float(made.weight.detach().abs().max()) == pytest.approx(bound, rel=1e-3)
        assert made.bias is not None
        assert 0.5 * bound < float(made.bias.detach().abs().max()) <= bound * 1.001


def test_a_row_is_moved_by_its_draw_and_mirrored_at_the_edge() -> None:
    """Five moves have equal shares of the uniform numbers."""
    line = torch.arange(6.0, dtype=torch.float64)
    x = torch.stack([line, 10 + line])[None].repeat(5, 1, 1)
    moved = phase_shuffled(x, torch.tensor([0.0, 0.39, 0.5, 0.6, 0.99], dtype=torch.float64), 2.0)
    assert moved[:, 0].tolist() == [
        [2, 3, 4, 5, 4, 3],
        [1, 2, 3, 4, 5, 4],
        [0, 1, 2, 3, 4, 5],
        [1, 0, 1, 2, 3, 4],
        [2, 1, 0, 1, 2, 3],
    ]
    assert torch.equal(moved[:, 1], moved[:, 0] + 10)


def test_no_shuffle_is_exactly_none_also_beside_members_that_have_one() -> None:
    x, uniforms = numbers(3, ROWS, 2, 16), numbers(3, ROWS)
    most = torch.tensor([0.0, 2.0, 4.0], dtype=torch.float64)
    together = torch.vmap(phase_shuffled)(x, uniforms, most)
    assert torch.equal(together[0], x[0])
    for member in range(3):
        assert torch.equal(together[member], phase_shuffled(x[member], uniforms[member], float(most[member])))
    # A member that leaves it out is handed zeros.
    assert torch.equal(phase_shuffled(x[0], torch.zeros(ROWS, dtype=torch.float64), torch.tensor(0.0)), x[0])


def test_moves_are_drawn_for_each_row_and_layer_of_reals_and_of_fakes() -> None:
    """Every number that is drawn moves the logit of its row, and of no other."""
    model, in_force = build(sounds(512)), knobs(phase_shuffle=4)
    drawn = model.draw("discriminator", torch.Generator().manual_seed(1), rows=ROWS, knobs=in_force)
    assert drawn["dropout_real"].shape == drawn["dropout_fake"].shape == (ROWS, 2 + 4 + 8 + 2)
    assert not torch.equal(drawn["dropout_real"], drawn["dropout_fake"])
    x, uniform = sounds(512).train.x[:ROWS].double(), torch.full((ROWS, 16), 0.5, dtype=torch.float64)
    still = model._logits(x, None, uniform, in_force)
    assert torch.equal(still, model._logits(x, None, None, in_force))
    for layer in range(2):
        moved = uniform.clone()
        moved[1, 14 + layer] = 0.95
        assert (model._logits(x, None, moved, in_force) != still).tolist() == [False, True, False, False]


def test_r1_is_that_of_the_moved_sounds() -> None:
    model, in_force = build(), knobs(phase_shuffle=3, dropout=0.2, r1=2.0)
    drawn = model.draw("discriminator", torch.Generator().manual_seed(1), rows=ROWS, knobs=in_force)
    drawn = {name: tensor.double() for name, tensor in drawn.items()}
    weight_B = torch.full((ROWS,), 1.0 / ROWS, dtype=torch.float64)
    x = sounds().train.x[:ROWS].double().requires_grad_()
    total, _ = model("discriminator", x.detach(), drawn, in_force, weight_B)
    real = model._logits(x, None, drawn["dropout_real"], in_force)
    fake = model._logits(model._fakes(drawn["latent"], None), None, drawn["dropout_fake"], in_force)
    (slope,) = torch.autograd.grad(real.sum(), x, create_graph=True)
    by_hand = (softplus(-real) + softplus(fake)).mean() + slope.square().sum((1, 2)).mean()
    assert torch.allclose(total, by_hand, rtol=1e-12)
    weights = list(model.discriminator.parameters())
    for found, expected in zip(torch.autograd.grad(total, weights), torch.autograd.grad(by_hand, weights), strict=True):
        assert torch.allclose(found, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("architecture", ["wave", "mlp"])
def test_samples_stay_between_minus_one_and_one(architecture: str) -> None:
    model = build(**({"architecture": "mlp", "depth": 1} if architecture == "mlp" else {}))
    with torch.no_grad():
        for parameter in model.generator.parameters():
            parameter.mul_(50.0)
    made = model.sample({"latent": 9.0 * numbers(ROWS, 3)})
    assert 0.99 < float(made.detach().abs().max()) <= 1.0


@pytest.mark.parametrize("architecture", ["wave", "spectrogram"])
def test_both_networks_are_told_the_class(architecture: str) -> None:
    model = build(sounds(1024), architecture=architecture, conditional=True)
    labels, latent = torch.arange(4), torch.zeros(4, 3, dtype=torch.float64)
    made = model._fakes(latent, labels)
    assert all(not torch.equal(made[0], made[kind]) for kind in range(1, 4))
    logits = model._logits(model._heard(made[:1].expand(4, -1, -1)), labels, None, knobs())
    assert len(logits.unique()) == 4


def test_a_tone_is_at_its_frequency_and_silence_at_the_bottom_of_a_spectrogram() -> None:
    """Each window of 512 samples has a line for every multiple of a 512th of the sample rate; 40 is one."""
    tone = (2.0 * torch.pi * 40 / 512 * torch.arange(2048)).cos()
    picture = Spectrogram()(torch.stack([tone, 0.0 * tone])[None])
    assert picture.shape == (1, 2, 16, 256)
    assert (picture[0, 0, 2:-2].argmax(-1) == 40).all()
    # The Hann window sums to 256, of which a cosine has one half at its frequency.
    assert torch.allclose(picture[0, 0, 2:-2, 40], 0.2 * torch.tensor(128.0**2).log(), rtol=1e-5)
    assert torch.allclose(picture[0, 1], torch.tensor(1e-3).log() * 0.2)


def test_half_precision_of_the_layers_leaves_a_spectrogram_as_it_is() -> None:
    model, x = build(sounds(1024), architecture="spectrogram"), sounds(1024).train.x[:ROWS].double()
    full = model.spectrogram(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(model.spectrogram(x), full)


def test_sounds_too_short_for_a_spectrogram_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1024 samples, and rows of 'instruments' have 512: set architecture"):
        build(sounds(512), architecture="spectrogram")


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"phase_shuffle": -1}, "phase_shuffle must be at least 0 samples, and it is -1"),
        ({"phase_shuffle": 1.5}, "'phase_shuffle' must be a whole number"),
    ],
)
def test_a_shuffle_out_of_range_is_refused(changed: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knobs(**changed)


def test_a_shuffle_farther_than_a_map_is_long_is_refused() -> None:
    # The maps of 512 samples are 128 and 32 long, and the last, which is not moved, is 8.
    build(sounds(512), phase_shuffle=32)
    with pytest.raises(ValueError, match="at most 32 places, the shortest map that is moved, and it is 33: lower it"):
        build(sounds(512), phase_shuffle=33)


def test_a_shuffle_without_waves_is_refused() -> None:
    with pytest.raises(ValueError, match="belongs to the architecture 'wave', and it is 'mlp': remove it"):
        build(architecture="mlp", depth=1, phase_shuffle=2)


def test_changes_of_rows_are_refused_in_words() -> None:
    params = {**SPACE.default(), "augment": 0.5, "jitter": 0.1}
    with pytest.raises(ValueError, match="augment, jitter does nothing to rows of 'instruments', which are audio"):
        Training(Model, sounds(), params, seed=0, epochs=3)


def test_the_default_of_the_space_trains() -> None:
    report = Training(Model, sounds(1024), {**SPACE.default(), "batch_size": 100}, seed=0, epochs=3).advance()
    assert report.cause is None
