"""A trained model in one file: sampled without its data, trained again with torch alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from hpo import plugins
from search_spaces import Space
from trainables import exported
from trainables.data._data import Data
from trainables.data._facts import facts_of, stand_in, stand_in_rows
from trainables.exported import Exported, Recipe
from trainables.training.alone import Training

SMALL = {"latent": 3, "width": 8, "depth": 1, "batch_size": 64, "optimizer": "adam", "lr": 1e-3}


def default(name: str) -> dict[str, bool | int | float | str]:
    space: Space = plugins.load("spaces", name)
    return dict(space.default())


def saved(recipe: Recipe, path: Path, *, epochs: int = 0) -> tuple[Exported, Training]:
    """The recipe after some of its epochs, as it leaves."""
    training = Training(recipe.family(), recipe.load_data(), recipe.params, seed=recipe.seed, epochs=recipe.epochs)
    for _ in range(epochs):
        training.advance()
    return exported.save(path, training, recipe), training


@pytest.mark.parametrize(
    ("model", "space", "data"),
    [
        ("vae", "vae", "digits"),
        ("vae", "vae", "sines"),
        ("gan", "gan", {"name": "ring"}),
        ("rgan", "rgan", "prices"),
        ("attention_gan", "attention_gan", "digits"),
        ("attention_gan_text", "attention_gan_text", "english"),
    ],
)
def test_samples_are_the_same_without_the_data(model: str, space: str, data: object, tmp_path: Path) -> None:
    recipe = Recipe(model=model, data=data, params=default(space), seed=3, epochs=2)  # type: ignore[arg-type]
    _, training = saved(recipe, tmp_path / "weights.safetensors")
    found = exported.load(tmp_path)
    assert torch.equal(found.sample(5, seed=7), training.sample(5, seed=7))
    assert found.sample(5).dtype == training.data.train.x.dtype
    assert found.recipe == recipe
    assert (found.data.sha256, found.data.license) == (training.data.sha256, training.data.license)
    assert found.data.vocabulary == training.data.vocabulary


def test_what_was_computed_from_the_data_comes_along(tmp_path: Path) -> None:
    """Constants of the augmentation, the standard deviation of series: here with numbers that no stand-in gives."""
    recipe = Recipe(model="rgan", data="sines", params=default("rgan"), seed=0, epochs=1)
    _, training = saved(recipe, tmp_path / "weights.safetensors")
    found = dict(exported.load(tmp_path).model.named_buffers())  # type: ignore[attr-defined]
    for name, buffer in training.module.named_buffers():
        assert torch.equal(found[name], buffer), name


def test_classes_keep_their_shares_and_may_be_chosen(tmp_path: Path) -> None:
    params = {**SMALL, "architecture": "mlp", "conditional": True}
    found, training = saved(Recipe(model="gan", data="digits", params=params, seed=0, epochs=1), tmp_path / "w")
    assert found.model.class_counts == training.model.class_counts  # type: ignore[attr-defined]
    noise = training.model.draw_samples(torch.Generator().manual_seed(0), rows=6)
    told = []
    found.model.draw_samples = lambda generator, rows: noise  # type: ignore[method-assign]
    found.model.sample = lambda noise: told.append(noise["label"]) or torch.zeros(6, 1)  # type: ignore
    found.sample(6, label=4)
    assert told[0].tolist() == [4] * 6
    with pytest.raises(ValueError, match=r"a label lies in 0\.\.9, and it is 10"):
        found.sample(1, label=10)
    unconditional, _ = saved(Recipe(model="gan", data="digits", params={**params, "conditional": False}, seed=0,
                                    epochs=1), tmp_path / "v")  # fmt: skip
    with pytest.raises(ValueError, match="a label is for models that were told classes"):
        unconditional.sample(1, label=1)


def test_a_large_count_is_made_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = {**SMALL, "architecture": "mlp"}
    found, _ = saved(Recipe(model="gan", data="ring", params=params, seed=0, epochs=1), tmp_path / "w")
    monkeypatch.setattr(exported, "ROWS_AT_ONCE", 4)
    samples = found.sample(10)
    assert len(samples) == 10
    assert len(samples.unique(dim=0)) == 10
    with pytest.raises(ValueError, match="samples are counted from 1, and 0"):
        found.sample(0)


def test_a_model_that_keeps_plain_numbers_of_the_data_is_refused(tmp_path: Path) -> None:
    params = default("own_plugin.SPACE")
    saved(Recipe(model="own_plugin.Model", data="ring", params=params, seed=0, epochs=1), tmp_path / "fine")
    with pytest.raises(ValueError, match="must be a buffer"):
        saved(Recipe(model="plain_numbers.Model", data="ring", params=params, seed=0, epochs=1), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_stand_in_rows_have_the_moments_of_the_rows() -> None:
    data = Recipe(model="rgan", data="sines", params={}, seed=0, epochs=1).load_data()
    facts = json.loads(json.dumps(facts_of(data)))
    without = stand_in(facts, stand_in_rows(data))
    # What the range of a number cuts off is little here.
    torch.testing.assert_close(without.train.x.mean(0), data.train.x.mean(0), atol=0.05, rtol=0)
    torch.testing.assert_close(without.train.x.std(0, correction=0), data.train.x.std(0, correction=0), atol=0.05,
                               rtol=0)  # fmt: skip
    assert facts_of(without) == facts_of(data)


def test_facts_of_another_form_are_refused() -> None:
    with pytest.raises(ValueError, match="KeyError: 'class_counts'"):
        stand_in({"name": "x"}, torch.zeros(2, 1))


def test_units_and_labels_survive() -> None:
    data: Data = plugins.load("data", "digits")()
    without = stand_in(facts_of(data), stand_in_rows(data))
    assert without.classes == data.classes == 10
    assert torch.equal(
        torch.bincount(without.train.labels), torch.bincount(data.train.labels)  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_file_that_says_nothing_of_itself_is_refused(tmp_path: Path) -> None:
    params = {**SMALL, "architecture": "mlp"}
    _, training = saved(Recipe(model="gan", data="ring", params=params, seed=0, epochs=1), tmp_path / "w")
    training.save_weights(tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match="an exported model says in its file how it is built"):
        exported.load(tmp_path)


def test_an_export_loads_as_weights_of_a_training(tmp_path: Path) -> None:
    """Transfer and measuring take the file as it is, whatever lies in it beside the weights."""
    recipe = Recipe(model="rgan", data="sines", params=default("rgan"), seed=0, epochs=1)
    _, training = saved(recipe, tmp_path / "weights.safetensors")
    other = Training(recipe.family(), training.data, recipe.params, seed=9, epochs=1)
    assert not torch.equal(other.sample(2), training.sample(2))
    other.load_weights(tmp_path / "weights.safetensors")
    assert torch.equal(other.sample(2), training.sample(2))


ALONE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"ray", "optuna", "mlflow", "pydantic", "yaml", "hpo", "search_spaces", "dashboards"}:
            raise ImportError(f"{name} must not be imported")

sys.meta_path.insert(0, Blocked())
import torch
torch.set_num_threads(1)
import trainables.data.digits as digits
from trainables import exported
from trainables.training.checkpoint import read_tensors
from pathlib import Path

load, digits.load = digits.load, None
model = exported.load(sys.argv[1])
samples = model.sample(3, seed=5, label=None)
assert samples.shape == (3, 1, 8, 8) and samples.dtype == torch.uint8
model.sheet(f"{sys.argv[2]}/sheet.png")
model.write(f"{sys.argv[2]}/samples.npz", samples)
digits.load = load
steps = []
again = model.train(f"{sys.argv[2]}/again", on_epoch=lambda step, metrics: steps.append(step))
assert steps == [1, 2], steps
places = (sys.argv[1], f"{sys.argv[2]}/again")
before, after = (read_tensors(Path(place) / "weights.safetensors")[0] for place in places)
assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
assert not torch.equal(model.train(seed=1, epochs=1).sample(3, seed=5), samples)
print(samples.sum().item())
"""


def test_it_samples_and_trains_with_torch_alone(tmp_path: Path) -> None:
    """In a process that can import nothing of the search, the weights come out bit for bit; samples need no data."""
    recipe = Recipe(model="vae", data="digits", params={**SMALL, "architecture": "mlp"}, seed=4, epochs=2)
    torch.set_flush_denormal(True)
    exported.train(recipe, tmp_path / "best")
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE, str(tmp_path / "best"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": str(Path(exported.__file__).parents[1])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stderr
    samples = exported.load(tmp_path / "best").sample(3, seed=5)
    assert int(ended.stdout) == int(samples.sum())
    assert (tmp_path / "sheet.png").is_file()
    with np.load(tmp_path / "samples.npz", allow_pickle=False) as written:
        assert np.array_equal(written["samples"], samples.numpy())


def test_data_that_changed_are_refused(tmp_path: Path) -> None:
    params = {**SMALL, "architecture": "mlp"}
    recipe = Recipe(model="gan", data={"name": "ring"}, params=params, seed=0, epochs=1)
    with pytest.raises(ValueError, match="of the hash abcdefabcdef"):
        exported.train(recipe, tmp_path, sha256="abcdefabcdefabcdef")


def test_a_name_that_leads_nowhere_is_said() -> None:
    with pytest.raises(ValueError, match=r"a name is a file in trainables.models or a dotted import path, and 'vea'"):
        Recipe(model="vea", data="ring", params={}, seed=0, epochs=1).family()
    with pytest.raises(ValueError, match="nowhere"):
        Recipe(model="nowhere.Model", data="ring", params={}, seed=0, epochs=1).family()
