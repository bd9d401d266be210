"""Augmentation: what it does to images and series by hand, that it is differentiable, stacks, and suits the data."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import vmap

from trainables.data import digits, ring, sines
from trainables.data._data import Data, Split
from trainables.training.augment import NET, STRENGTHS, Augmentation
from trainables.training.params import Params

# The places of the numbers that are drawn for a row.
GATE, TURN, FLIP, ZOOM, DOWN, RIGHT, BEND = range(7)
KEPT, BEGIN, SCALE, SPEED = range(1, 5)
IMAGES = {"rotate": 20.0, "flip": 0.5, "zoom": 0.3, "translate": 0.25, "warp": 0.1}
SERIES = {"jitter": 0.2, "scaling": 0.3, "time_warp": 0.8, "crop": 0.3}


def knobs(augment: float = 1.0, **given: float) -> dict[str, float]:
    return Augmentation.knobs(Params({"augment": augment, **given}))


def images(*shape: int) -> Data:
    """Images of grey levels of this shape [C, Y, X]."""
    return replace(digits.load(), train=Split(x=torch.zeros(4, *shape, dtype=torch.uint8)))


def pair() -> Data:
    """Series of two features, the second a hundred times the first."""
    x = sines.load(rows=50).train.x
    return replace(sines.load(), train=Split(x=torch.cat([x, 100.0 * x], 2)))


def still(rows: int, numbers: int = 7 + 2 * NET**2 - 1) -> Tensor:
    """Draws that change nothing: in the middle of every range."""
    uniform = torch.full((rows, numbers), 0.5, dtype=torch.float64)
    uniform[:, GATE] = 0.0
    return uniform


def with_draws(data: Data, rows: Tensor, strengths: dict[str, float], **set_to: float) -> Tensor:
    """The rows under draws that change nothing but for those that are given by name."""
    augmentation = Augmentation(data).double()
    drawn = augmentation.draw("real", torch.Generator(), rows=len(rows), knobs=knobs(**strengths))
    uniform = still(len(rows), drawn["augment_real"].shape[1])
    if "flip" in strengths or "rotate" in strengths:
        uniform[:, FLIP] = 0.99
    for name, value in set_to.items():
        uniform[:, globals()[name]] = value
    changed: Tensor = augmentation("real", rows.double(), {"augment_real": uniform}, knobs(**strengths))
    return changed


def grey(*shape: int) -> Tensor:
    """Images [5, C, Y, X] of grey levels in the discriminator's scale."""
    return torch.randint(0, 17, (5, *shape), generator=torch.Generator().manual_seed(0)).double() / 8.0 - 1.0


def sources(height: int, width: int) -> Tensor:
    """Images [1, 2, Y, X] whose channels are their own places, from the middle: what is changed shows where it was."""
    y = torch.arange(height, dtype=torch.float64) - (height - 1) / 2
    x = torch.arange(width, dtype=torch.float64) - (width - 1) / 2
    return torch.stack(torch.meshgrid(y, x, indexing="ij"))[None]


def drawn_for(data: Data, strengths: dict[str, float], *, rows: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = Augmentation(data).draw("real", generator, rows=rows, knobs=knobs(**strengths))
    return {name: tensor.double() for name, tensor in drawn.items()}


KINDS = {"square": (images(1, 8, 8), IMAGES), "odd": (images(3, 7, 10), IMAGES), "series": (pair(), SERIES)}
every_kind = pytest.mark.parametrize(("data", "strengths"), KINDS.values(), ids=KINDS)


def rows_of(data: Data, count: int) -> Tensor:
    """Numbers that no resampling leaves alone."""
    return torch.randn(count, *data.shape, generator=torch.Generator().manual_seed(1)).clamp(-1.0, 1.0)


@every_kind
def test_strengths_of_zero_leave_every_row_exactly_as_it_is(data: Data, strengths: dict[str, float]) -> None:
    """Also as tensors, as they are beside members that have strengths, in either precision."""
    augmentation, rows = Augmentation(data), rows_of(data, 6)
    off = {name: torch.tensor(0.0 if name in STRENGTHS else value) for name, value in knobs(**strengths).items()}
    noise = {name: tensor.float() for name, tensor in drawn_for(data, strengths, rows=6).items()}
    assert torch.equal(augmentation("real", rows, noise, off), rows)
    assert not torch.equal(augmentation("real", rows, noise, knobs(**strengths)), rows)


@every_kind
def test_a_probability_of_zero_beside_others_leaves_every_row_as_it_is(data: Data, strengths: dict[str, float]) -> None:
    """What a member does not draw itself arrives as zeros."""
    augmentation, rows = Augmentation(data), rows_of(data, 6)
    off = {name: torch.tensor(value) for name, value in knobs(**strengths).items()} | {"augment": torch.tensor(0.0)}
    noise = {name: torch.zeros_like(tensor).float() for name, tensor in drawn_for(data, strengths, rows=6).items()}
    assert torch.equal(augmentation("real", rows, noise, off), rows)


@every_kind
def test_rows_are_changed_with_the_probability_and_wholly_or_not_at_all(
    data: Data, strengths: dict[str, float]
) -> None:
    augmentation, rows = Augmentation(data).double(), rows_of(data, 2000).double()
    noise = drawn_for(data, strengths, rows=2000)
    changed = augmentation("real", rows, noise, knobs(0.3, **strengths))
    moved = (changed != rows).flatten(1).any(1)
    assert torch.equal(moved, noise["augment_real"][:, GATE] < 0.3)
    assert float(moved.double().mean()) == pytest.approx(0.3, abs=0.04)
    fully = augmentation("real", rows, noise, knobs(1.0, **strengths))
    assert torch.equal(changed[moved], fully[moved])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 7, 10)])
def test_a_flip_is_that_of_torch(shape: tuple[int, ...]) -> None:
    rows = grey(*shape)
    flipped = with_draws(images(*shape), rows, {"flip": 0.5}, FLIP=0.49)
    left = with_draws(images(*shape), rows, {"flip": 0.5}, FLIP=0.5)
    for found, expected in ((flipped, rows.flip(-1)), (left, rows)):
        assert torch.allclose(found, expected, rtol=0.0, atol=1e-14)
        # Resampling divides by the side, which rounds where that is no power of two.
        assert torch.equal(found, expected) or shape == (3, 7, 10)


@pytest.mark.parametrize("share", [0.125, 0.3])
def test_a_shift_is_of_whole_places_and_brings_in_the_background(share: float) -> None:
    rows, most = grey(1, 8, 8), round(8 * share)
    for number, down in enumerate(range(-most, most + 1)):
        for right in range(-most, most + 1):
            # Each shift has the same share of what may be drawn.
            low, high = number / (2 * most + 1) + 1e-9, (right + most + 1) / (2 * most + 1) - 1e-9
            found = with_draws(images(1, 8, 8), rows, {"translate": share}, DOWN=low, RIGHT=high)
            edge = torch.nn.functional.pad(rows, (most,) * 4, value=-1.0)
            top, left = most + down, most + right
            assert torch.equal(found, edge[..., top : top + 8, left : left + 8])


@pytest.mark.parametrize(("drawn", "quarters"), [(0.0, -1), (1.0, 1)])
def test_a_quarter_turn_is_that_of_torch(drawn: float, quarters: int) -> None:
    rows = grey(2, 9, 9)
    turned = with_draws(images(2, 9, 9), rows, {"rotate": 90.0}, TURN=drawn)
    assert torch.allclose(turned, torch.rot90(rows, quarters, (-2, -1)), rtol=0.0, atol=1e-13)


def test_a_turn_of_an_oblong_image_keeps_distances() -> None:
    found = with_draws(images(2, 9, 15), sources(9, 15) - 0.0, {"rotate": 30.0}, TURN=1.0)[0]
    here = sources(9, 15)[0]
    inside = found[:, 3:6, 4:11]
    assert torch.allclose(inside.norm(dim=0), here[:, 3:6, 4:11].norm(dim=0), rtol=1e-12)
    cosine = (inside * here[:, 3:6, 4:11]).sum(0) / here[:, 3:6, 4:11].square().sum(0).clamp(min=1e-12)
    moved = here[:, 3:6, 4:11].norm(dim=0) > 0
    assert torch.allclose(cosine[moved], torch.full_like(cosine[moved], math.cos(math.radians(30.0))))


@pytest.mark.parametrize(("drawn", "larger"), [(1.0, 2.0), (0.0, 0.5)])
def test_zoom_is_the_logarithm_of_the_size(drawn: float, larger: float) -> None:
    here = sources(16, 12)
    found = with_draws(images(2, 16, 12), here, {"zoom": math.log(2.0)}, ZOOM=drawn)
    assert torch.allclose(found[..., 5:11, 4:8], here[..., 5:11, 4:8] / larger, rtol=1e-12)


def test_a_bend_is_smooth_and_at_most_of_its_strength() -> None:
    height, width, strength = 32, 24, 0.05
    here, all_drawn = sources(height, width), torch.rand(2, NET, NET, generator=torch.Generator().manual_seed(0))
    augmentation = Augmentation(images(2, height, width)).double()
    uniform = still(1)
    uniform[:, FLIP], uniform[:, BEND:] = 0.99, all_drawn.flatten()
    moved = (augmentation("real", here, {"augment_real": uniform}, knobs(warp=strength)) - here)[..., 3:-3, 3:-3]
    assert float(moved[:, 0].abs().max()) < 1.3 * strength * height
    assert 0.3 * strength * height < float(moved[:, 0].abs().max())
    # A net of so few points turns over many places: from one to the next there is little difference.
    assert float(moved.diff(dim=2).abs().max()) < 0.3 * strength * height
    # Where the net moves as one, so does the image.
    uniform[:, BEND:] = 1.0
    moved = augmentation("real", here, {"augment_real": uniform}, knobs(warp=strength)) - here
    for channel, side in enumerate((height, width)):
        whole = moved[:, channel, 3:-3, 3:-3]
        assert torch.allclose(whole, torch.full_like(whole, strength * side), rtol=1e-9)


def test_real_numbers_have_their_own_background() -> None:
    data = replace(images(1, 8, 8), levels=None, value_range=(-3.0, 3.0))
    shifted = with_draws(data, torch.ones(1, 1, 8, 8), {"translate": 0.25}, DOWN=0.999)
    assert shifted[0, 0, :, 0].tolist() == [1.0] * 6 + [-3.0] * 2


def ramps(steps: int = 30) -> Tensor:
    """Series [4, T, 2] whose values are the time: what is changed shows when it was."""
    return torch.arange(steps, dtype=torch.float64)[None, :, None].expand(4, -1, 2)


def test_warped_time_keeps_its_order_and_its_ends() -> None:
    augmentation = Augmentation(pair()).double()
    noise = drawn_for(pair(), {"time_warp": 2.0}, rows=4)
    times = augmentation("real", ramps(), noise, knobs(time_warp=2.0))[..., 0]
    assert bool((times.diff(dim=1) > 0.0).all())
    assert torch.allclose(times[:, [0, -1]], torch.tensor([0.0, 29.0], dtype=torch.float64))
    assert float((times - ramps()[..., 0]).abs().amax(1).min()) > 0.5
    # Some stretch of time passes several times as fast as another.
    assert float((times.diff(dim=1).amax(1) / times.diff(dim=1).amin(1)).max()) > 3.0


def test_a_crop_is_a_window_stretched_to_the_whole() -> None:
    times = with_draws(pair(), ramps(), {"crop": 0.4}, KEPT=0.5, BEGIN=0.25)[0, :, 0]
    assert torch.allclose(times, 29.0 * (0.2 * 0.25 + 0.8 * torch.linspace(0, 1, 30, dtype=torch.float64)))


def test_between_steps_values_lie_on_straight_lines() -> None:
    x = torch.tensor([0.0, 4.0, 1.0, 7.0], dtype=torch.float64).view(1, 4, 1).expand(1, 4, 2)
    data = replace(pair(), train=Split(x=x.float()))
    found = with_draws(data, x, {"crop": 0.5}, KEPT=1.0, BEGIN=0.0)[0, :, 0]
    assert torch.allclose(found, torch.tensor([0.0, 2.0, 4.0, 2.5], dtype=torch.float64))


def test_scaling_is_about_the_mean_of_the_training_rows() -> None:
    data = replace(pair(), train=Split(x=pair().train.x + torch.tensor([5.0, -3.0])))
    mean = data.train.x.double().mean((0, 1))
    rows = data.train.x[:4].double()
    found = with_draws(data, rows, {"scaling": math.log(3.0)}, SCALE=1.0)
    # Mean and spread are kept in the type of the weights, at first float32.
    assert torch.allclose(found - mean, 3.0 * (rows - mean), rtol=1e-5, atol=1e-4)


def test_jitter_is_a_share_of_the_spread_of_each_feature() -> None:
    data, rows = pair(), pair().train.x[:40].double()
    noise = drawn_for(data, {"jitter": 0.3}, rows=40)
    added = Augmentation(data).double()("real", rows, noise, knobs(jitter=0.3)) - rows
    expected = 0.3 * data.train.x.double().std((0, 1))
    assert torch.allclose(added.std((0, 1)), expected, rtol=0.08)
    assert float(added.std((0, 1)).log().diff().exp()) == pytest.approx(100.0, rel=0.1)


def test_series_of_levels_have_the_mean_and_spread_of_the_discriminators_scale() -> None:
    x = torch.randint(0, 17, (50, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    of_levels = Augmentation(replace(pair(), levels=17, train=Split(x=x)))
    of_reals = Augmentation(replace(pair(), train=Split(x=x.float() / 8.0 - 1.0)))
    for name, buffer in of_reals.named_buffers():
        assert torch.allclose(of_levels.get_buffer(name), buffer, atol=1e-6)


@every_kind
def test_first_and_second_derivatives_are_those_of_finite_differences(data: Data, strengths: dict[str, float]) -> None:
    augmentation, noise = Augmentation(data).double(), drawn_for(data, strengths, rows=2)
    rows = rows_of(data, 2).double().requires_grad_()

    def changed(x: Tensor) -> Tensor:
        # To the fourth, so that the second derivative is not zero.
        found: Tensor = augmentation("real", x, noise, knobs(**strengths)) ** 4
        return found

    assert torch.autograd.gradcheck(changed, (rows,), fast_mode=True)
    assert torch.autograd.gradgradcheck(changed, (rows,), fast_mode=True)


@every_kind
def test_members_of_a_stack_get_what_each_gets_alone(data: Data, strengths: dict[str, float]) -> None:
    augmentation = Augmentation(data).double()
    own = [knobs(**strengths), knobs(0.5, **{name: 0.3 * value for name, value in strengths.items()}), knobs(0.0)]
    own += [knobs(0.8, **{name: value}) for name, value in strengths.items()]
    noises = [drawn_for(data, strengths, rows=8, seed=seed) for seed in range(len(own))]
    rows = torch.stack([rows_of(data, 8).double() * (seed + 1) for seed in range(len(own))])
    noise = {name: torch.stack([each[name] for each in noises]) for name in noises[0]}
    tensors = {name: torch.tensor([each[name] for each in own], dtype=torch.float64) for name in own[0]}

    def one(rows: Tensor, noise: dict[str, Tensor], knobs: dict[str, Tensor]) -> Tensor:
        found: Tensor = augmentation("real", rows, noise, knobs)
        return found

    together = vmap(one)(rows, noise, tensors)
    for place, alone in enumerate(own):
        # Alone it draws no jitter where it has none.
        drawn = {name: each for name, each in noises[place].items() if name != "jitter_real" or alone["jitter"]}
        assert torch.allclose(together[place], augmentation("real", rows[place], drawn, alone), rtol=1e-12, atol=1e-13)


@every_kind
def test_under_autocast_it_keeps_its_digits(data: Data, strengths: dict[str, float]) -> None:
    augmentation, rows = Augmentation(data), rows_of(data, 6)
    noise = {name: tensor.float() for name, tensor in drawn_for(data, strengths, rows=6).items()}
    expected = augmentation("real", rows, noise, knobs(**strengths))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augmentation("real", rows, noise, knobs(**strengths)), expected)


@every_kind
def test_draws_are_those_of_the_generator_under_their_own_names(data: Data, strengths: dict[str, float]) -> None:
    augmentation = Augmentation(data)
    torch.manual_seed(0)
    first = augmentation.draw("fake", torch.Generator().manual_seed(3), rows=4, knobs=knobs(**strengths))
    torch.manual_seed(1)
    again = augmentation.draw("fake", torch.Generator().manual_seed(3), rows=4, knobs=knobs(**strengths))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert set(first) == {"augment_fake", "jitter_fake"} if "jitter" in strengths else {"augment_fake"}
    rows = rows_of(data, 4)
    assert augmentation("real", rows, first, knobs(**strengths)) is rows


@every_kind
def test_nothing_is_drawn_where_nothing_is_changed(data: Data, strengths: dict[str, float]) -> None:
    augmentation = Augmentation(data)
    for off in (knobs(0.0), knobs(1.0), knobs(0.0, augment_target=0.6, **strengths)):
        generator = torch.Generator().manual_seed(0)
        assert augmentation.draw("real", generator, rows=4, knobs=off) == {}
        assert torch.equal(generator.get_state(), torch.Generator().manual_seed(0).get_state())


def test_the_probability_follows_the_sign_toward_its_target() -> None:
    own = knobs(0.5, augment_target=0.6, augment_speed=2.0)
    assert Augmentation.adapted(own, 0.7, rows=300) == {**own, "augment": pytest.approx(0.65)}
    assert Augmentation.adapted(own, 0.5, rows=300) == {**own, "augment": pytest.approx(0.35)}
    assert Augmentation.adapted(own, 0.6, rows=300) == own
    assert Augmentation.adapted(own, 1.0, rows=3000)["augment"] == 1.0
    assert Augmentation.adapted(own, -1.0, rows=3000)["augment"] == 0.0


def test_a_probability_stays_without_a_target_or_without_a_step() -> None:
    assert Augmentation.adapted(knobs(0.5), 1.0, rows=300) == knobs(0.5)
    own = knobs(0.5, augment_target=0.6)
    assert Augmentation.adapted(own, None, rows=300) == own


def test_the_speed_is_that_of_the_paper_where_none_is_given() -> None:
    own = knobs(0.0, augment_target=0.6)
    for _ in range(1000):
        own = Augmentation.adapted(own, 1.0, rows=250)
    assert own["augment"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"augment": 1.5}, "augment must be from 0 to 1, and it is 1.5"),
        ({"augment": -0.1}, "augment must be from 0 to 1"),
        ({"augment_target": 2.0}, "augment_target must be from 0 to 1"),
        ({"augment_target": 0.6, "augment_speed": 0.0}, "augment_speed must be above 0"),
        ({"rotate": 181.0}, "rotate must be from 0 to 180"),
        ({"flip": float("nan")}, "flip must be from 0 to 1"),
        ({"zoom": math.inf}, "zoom must be from 0 to inf, and it is inf"),
        ({"crop": -1.0}, "crop must be from 0 to 1"),
    ],
)
def test_a_value_out_of_range_is_refused(given: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        knobs(**{"augment": 0.5, **given})


@pytest.mark.parametrize(
    ("data", "name"), [(images(1, 8, 8), "jitter"), (pair(), "flip"), (ring.load(), "augment"), (ring.load(), "zoom")]
)
def test_what_does_nothing_to_the_data_is_refused(data: Data, name: str) -> None:
    params = Params({name: 0.5})
    with pytest.raises(ValueError, match=f"{name} does nothing to rows of '{data.name}', which are {data.modality}"):
        Augmentation.check(params, data=data)
    assert params.unread() == (name,)


@every_kind
def test_what_suits_the_data_is_taken(data: Data, strengths: dict[str, float]) -> None:
    Augmentation.check(Params({"augment": 0.5, "augment_target": 0.6, "augment_speed": 2, **strengths}), data=data)
    Augmentation.check(Params({"lr": 0.1}), data=ring.load())


def test_a_strength_without_a_probability_counts_as_read_by_nothing() -> None:
    params = Params({"augment": 0.0, "rotate": 10.0})
    assert set(Augmentation.knobs(params).values()) == {0.0}
    assert params.unread() == ("rotate",)
    speed = Params({"augment": 0.5, "augment_speed": 10.0})
    Augmentation.knobs(speed)
    assert speed.unread() == ("augment_speed",)
