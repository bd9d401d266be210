"""Pictures to understand a model by: they show what they say, and only where it makes sense."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from hpo import plugins
from search_spaces import Space
from trainables.data._data import Data
from trainables.models._attention import MultiheadAttention, SelfAttention
from trainables.models._family import Family
from trainables.models._language import Transformer
from trainables.training import look as looks
from trainables.training.attended import attention_maps
from trainables.training.look import look
from trainables.training.neighbors import _longest, neighbors
from trainables.training.params import Params


class Ramp(nn.Module):
    """Images whose brightness is latent 1, the others nothing."""

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"latent": torch.randn(rows, 3, generator=generator)}

    def sample(self, noise: dict[str, Tensor]) -> Tensor:
        bright = (8.0 + 3.0 * noise["latent"][:, 1]).round().clamp(0, 16).to(torch.uint8)
        return bright[:, None, None, None].expand(-1, 1, 8, 8)


class Copier(nn.Module):
    """Rows of the training data."""

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.rows = data.train.x

    def draw_samples(self, generator: torch.Generator, *, rows: int) -> dict[str, Tensor]:
        return {"row": torch.arange(rows)}

    def sample(self, noise: dict[str, Tensor]) -> Tensor:
        return self.rows[noise["row"]]


@pytest.fixture(scope="module")
def digits() -> Data:
    found: Data = plugins.load("data", "digits")()
    return found


def built(name: str, space: str, data: Data) -> Family:
    described: Space = plugins.load("spaces", space)
    family: type[Family] = plugins.load("models", name)
    model = family.build(Params(described.default()), data=data, generator=torch.Generator().manual_seed(0))
    model.eval()  # type: ignore[attr-defined]
    return model


def test_the_first_row_of_traversals_is_the_latent_that_acts(digits: Data, tmp_path: Path) -> None:
    assert looks.traversals(tmp_path / "t.png", Ramp(), digits) == [tmp_path / "t.png"]  # type: ignore[arg-type]
    with Image.open(tmp_path / "t.png") as picture:
        grey, side = torch.from_numpy(np.array(picture)).int(), picture.width // 9
    middles = grey[side // 2 :: side, side // 2 :: side]
    assert middles.shape == (3, 9), "as many rows as latents, a column for each step"
    assert (middles[0].diff() >= 0).all()
    assert middles[0, 0] < 20 < 200 < middles[0, -1]
    assert (middles[1:] == middles[1:, :1]).all(), "the other latents change nothing"


def test_an_interpolation_is_as_far_from_the_origin_as_its_ends() -> None:
    begin, end = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(1))
    path = looks._circle(begin, end * begin.norm() / end.norm(), torch.linspace(0, 1, 9))
    assert path.shape == (9, 4, 3)
    torch.testing.assert_close(path.flatten(1).norm(dim=1), begin.norm().expand(9), atol=1e-5, rtol=0)
    torch.testing.assert_close(path[0], begin)
    # In equal angles: neighbors are equally far apart.
    steps = path.diff(dim=0).flatten(1).norm(dim=1)
    torch.testing.assert_close(steps, steps[:1].expand(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(looks._circle(begin, begin, torch.tensor([0.0, 0.5])), begin.expand(2, 4, 3))


def test_a_copy_lies_at_distance_0(digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[list[str]] = []
    monkeypatch.setattr("trainables.training.neighbors._caption", lambda path, captions: told.append(captions))
    neighbors(tmp_path / "n.png", Copier(digits), digits)  # type: ignore[arg-type]
    assert all(caption.startswith("nearest training row at 0\n") for caption in told[0])
    with Image.open(tmp_path / "n.png") as picture:
        side = picture.width // 4
        for row in range(8):
            box = (0, row * side, side, (row + 1) * side)
            assert picture.crop(box).tobytes() == picture.crop((side, box[1], 2 * side, box[3])).tobytes()


def test_distances_are_written_beside_the_pictures(digits: Data, tmp_path: Path) -> None:
    model = built("vae", "vae", digits)
    neighbors(tmp_path / "n.png", model, digits)
    with Image.open(tmp_path / "n.png") as picture:
        assert picture.width > 4 * 32 + 100
        beside = picture.crop((4 * 34 + 4, 0, picture.width, picture.height)).convert("L")
        assert np.asarray(beside).max() > 200


def test_the_longest_shared_piece_of_text() -> None:
    train = "the cat sat\0on the mat\0a longer row"
    assert _longest("my cat sat on", train) == " cat sat"
    assert _longest("t\0on", "t\0on") == "t\0on"
    assert _longest("xyz", "abc") == ""


def test_a_copy_of_text_shares_all_of_it(tmp_path: Path) -> None:
    english: Data = plugins.load("data", "english")()
    (file,) = neighbors(tmp_path / "n.png", Copier(english), english)  # type: ignore[arg-type]
    assert file.name == "n.txt"
    said = file.read_text(encoding="utf-8")
    row = english.text(english.train.x[0])
    assert f"sample    {row!r}\ntraining  {row!r}\nshared    64 characters: {row!r}" in said


def test_attention_weights_are_those_that_attention_uses() -> None:
    """By their definition: with them, values are averaged to what the layer finds."""
    generator = torch.Generator().manual_seed(0)
    layer = MultiheadAttention(8, 2, generator=generator)
    x = torch.randn(3, 5, 8, generator=generator)
    weights = layer.weights(x)
    assert weights.shape == (3, 2, 5, 5)
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 2, 5))
    assert (weights.triu(1) == 0).all(), "nobody sees what comes later"
    _, _, value = layer.project(x)
    found = layer.out_proj((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(found, layer(x, causal=True))

    image = SelfAttention(8, generator=generator)
    image.gamma.data.fill_(1.0)
    x = torch.randn(2, 8, 3, 3, generator=generator)
    weights = image.weights(x)
    found = image.back(weights @ image.h(x.flatten(2).mT))
    torch.testing.assert_close(x + found.mT.reshape(x.shape), image(x))


def test_a_transformer_gives_the_weights_of_each_layer() -> None:
    generator = torch.Generator().manual_seed(0)
    model = Transformer(5, 7, width=8, depth=3, heads=2, generator=generator)
    rows = nn.functional.one_hot(torch.randint(5, (2, 7), generator=generator), 5).float()
    found = model.attention(rows)
    assert [weights.shape for weights in found] == [(2, 2, 7, 7)] * 3
    # The last token of a row is not seen by any place.
    changed = rows.clone()
    changed[:, -1] = changed[:, -1].roll(1, -1)
    assert all(torch.equal(one, other) for one, other in zip(found, model.attention(changed), strict=True))


@pytest.mark.parametrize(
    ("model", "data", "files"),
    [
        ("vae", "digits", {"traversals.png", "interpolations.png", "neighbors.png"}),
        ("attention_gan", "digits", {"traversals.png", "interpolations.png", "neighbors.png", "attention.png"}),
        ("rgan", "sines", {"traversals.png", "interpolations.png", "neighbors.png"}),
        ("attention_gan_text", "english", {"neighbors.txt", "attention.txt", "attention.png"}),
        ("gan", "ring", set()),
    ],
)
def test_a_model_has_the_pictures_that_make_sense(model: str, data: str, files: set[str], tmp_path: Path) -> None:
    rows: Data = plugins.load("data", data)()
    written = look(tmp_path / "look", built(model, model, rows), rows)
    assert {file.name for file in written} == files == {file.name for file in (tmp_path / "look").iterdir()}


def test_an_attention_map_is_beside_its_sample(digits: Data, tmp_path: Path) -> None:
    model = built("attention_gan", "attention_gan", digits)
    assert attention_maps(tmp_path / "a.png", model, digits) == [tmp_path / "a.png"]
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width * 8 == picture.height * 6
    assert attention_maps(tmp_path / "b.png", built("gan", "gan", digits), digits) == []
