"""A trained model in one file that says all that is needed to sample from it, and to train it again, with torch alone.

`weights.safetensors` of an export is such a file. Beside the weights it holds, as JSON in its metadata, the recipe of
the training and the facts about the data, and as tensors what the model computed from the data when it was built. So
sampling needs no data set, and neither sampling nor training needs YAML, Ray, Optuna or MLflow. No pickle is read or
written, but a recipe names Python modules, and they are imported: load files of people whose code you would run.
Floor: models, data and training.
"""

from __future__ import annotations

import contextlib
import copy
import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .data._data import Data, Split, content_hash
from .data._facts import facts_of, stand_in, stand_in_rows
from .models._family import Family, as_module, is_conditional
from .training.alone import SHEET_COLUMNS, SHEET_ROWS, Training
from .training.checkpoint import prefixed, read_tensors, under, write_tensors
from .training.params import ParameterValue, Params
from .training.players import products
from .training.random import stream
from .training.samples import in_units, write_samples
from .training.sheet import write_sheet
from .training.transfer import WEIGHTS, from_scratch

FORMAT, KEY = "trainables-exported-1", "exported"
# Rows that are made at once: what a sample of any size takes in memory.
ROWS_AT_ONCE = 1024
# Samples by which the file is tried before it is written.
TRIED = 4

OnEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What one training is made from: the same recipe, machine and versions give the same weights.

    model: the name of a file in `trainables.models`, or a dotted path. data: likewise in `trainables.data`, or a
    mapping of the `name` and the loader's options. threads: of the CPU, which decide the order of sums.
    """

    model: str
    data: str | Mapping[str, Any]
    params: Mapping[str, ParameterValue]
    seed: int
    epochs: int
    precision: str = "float32"
    threads: int = 1

    def family(self) -> type[Family]:
        """The class of the model; raises `ValueError` where there is no such."""
        found: type[Family] = _part(self.model, package="trainables.models", role="Model")
        return found

    def load_data(self) -> Data:
        """The data set by its loader; raises what the loader raises."""
        options = {"name": self.data} if isinstance(self.data, str) else dict(self.data)
        load = _part(str(options.pop("name")), package="trainables.data", role="load")
        data: Data = load(**options)
        return data


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A model as it left a training. data: facts, and two stand-in rows; see `data._facts`. notes: what its exporter
    added, such as the hashes of other files of the export."""

    recipe: Recipe
    data: Data
    model: Family
    notes: Mapping[str, str] = field(default_factory=dict)

    def sample(self, count: int, *, seed: int = 0, label: int | None = None) -> Tensor:
        """New rows [count, *shape] of the data's type; the same seed gives the same rows.

        label: the class of all of them, of a model that is told classes; without one, classes have the shares of the
        training rows. Raises `ValueError` for a count below 1, and for a class that there is not.
        """
        if count < 1:
            raise ValueError(f"samples are counted from 1, and {count} are asked for: ask for more")
        if label is not None:
            self._check_label(label)
        generator, found = stream(seed, "samples"), []
        with torch.inference_mode(), products(torch.device("cpu"), "float32"):
            for first in range(0, count, ROWS_AT_ONCE):
                rows = min(ROWS_AT_ONCE, count - first)
                noise = dict(self.model.draw_samples(generator, rows=rows))
                if label is not None:
                    noise["label"] = torch.full((rows,), label)
                found.append(self.model.sample(noise))
        return torch.cat(found)

    def plain(self, samples: Tensor) -> list[Any]:
        """Samples in the units of their source as nested lists of numbers, of text as strings."""
        if self.data.vocabulary is not None:
            return [self.data.text(row) for row in samples]
        rows: list[Any] = in_units(samples, data=self.data).tolist()
        return rows

    def sheet(self, path: str | Path) -> list[Path]:
        """Write 64 samples as a picture, of audio with its sounds and of text as text beside `path`; the files."""
        samples = self.sample(SHEET_COLUMNS * SHEET_ROWS)
        return write_sheet(Path(path), samples, data=self.data, columns=SHEET_COLUMNS)

    def write(self, path: str | Path, samples: Tensor) -> list[Path]:
        """Write samples in the form that the suffix of the path says; see `training.samples.write_samples`."""
        return write_samples(Path(path), samples, data=self.data)

    def train(
        self,
        folder: str | Path | None = None,
        *,
        epochs: int | None = None,
        seed: int | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> Exported:
        """Train the recipe again on its data, and return what came of it; see `train`."""
        own = self.recipe
        recipe = replace(own, epochs=own.epochs if epochs is None else epochs, seed=own.seed if seed is None else seed)
        return train(recipe, folder, sha256=self.data.sha256, on_epoch=on_epoch)

    def _check_label(self, label: int) -> None:
        if not is_conditional(self.model):
            raise ValueError(
                f"a label is for models that were told classes, and this one of {self.data.name!r} was not, so it "
                f"cannot make {label} alone: leave the label out"
            )
        if not 0 <= label < self.data.classes:
            raise ValueError(f"a label lies in 0..{self.data.classes - 1}, and it is {label}: correct it")


def load(source: str | Path) -> Exported:
    """The model of a folder with `weights.safetensors`, or of such a file; nothing else is read.

    Raises `ValueError` for a file that does not say what it is, whose numbers are not those that were written, or whose
    weights do not fit the model.
    """
    path = Path(source) / WEIGHTS if Path(source).is_dir() else Path(source)
    tensors, metadata = read_tensors(path)
    return _built(tensors, metadata, name=str(path))


def read_recipe(source: str | Path) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    """Recipe, facts and notes of a file, with nothing built; raises `ValueError` as `load` does."""
    path = Path(source) / WEIGHTS if Path(source).is_dir() else Path(source)
    return _described(*read_tensors(path), name=str(path))


def save(path: str | Path, training: Training, recipe: Recipe, *, notes: Mapping[str, str] | None = None) -> Exported:
    """Write the model of a training into one file, and return it as `load` would.

    Raises `ValueError` where the model is made from the data in a way that no file can hold, so that it would sample
    otherwise without them.
    """
    path = Path(path)
    training.save_weights(path)
    weights, _ = read_tensors(path)
    whole = _copied(training, weights)
    rows, facts = stand_in_rows(training.data), facts_of(training.data)
    without = as_module(_model(recipe, stand_in(facts, rows)))
    tensors = {**weights, "data/stand_in": rows, **prefixed("constants", _constants(as_module(whole), without))}
    described = {"format": FORMAT, "recipe": _plain(recipe), "facts": facts, "notes": dict(notes or {}),
                 "sha256": _content_hash(tensors)}  # fmt: skip
    metadata = {KEY: json.dumps(described)}
    exported = _built(tensors, metadata, name=str(path))
    beside = Exported(recipe=recipe, data=training.data, model=whole)
    if not torch.equal(exported.sample(TRIED), beside.sample(TRIED)):
        path.unlink()
        raise ValueError(
            f"a model that leaves makes the same samples without its data, and that of {recipe.model!r} makes others: "
            "what it takes from the data must be a buffer, register_buffer(..., persistent=False), and no plain number"
        )
    write_tensors(path, tensors, metadata=metadata)
    return exported


def train(
    recipe: Recipe | str | Path,
    folder: str | Path | None = None,
    *,
    sha256: str | None = None,
    on_epoch: OnEpoch | None = None,
) -> Exported:
    """Train a recipe, or that of an export, to the end of its budget; its data are loaded by their loader.

    folder: where `weights.safetensors` of the new training is written. sha256: that of the data, where they must be
    those of before; an export says its own. on_epoch: called with the number of epochs done and their metrics.
    The process keeps to the recipe's threads and flushes denormal numbers from here on, as the workers of a search do.
    Raises `ValueError` where the training dies, or the data are others.
    """
    if not isinstance(recipe, Recipe):
        recipe, facts, _ = read_recipe(recipe)
        sha256 = str(facts["sha256"])
    torch.set_num_threads(recipe.threads)
    torch.set_flush_denormal(True)
    data = recipe.load_data()
    if sha256 not in (None, data.sha256):
        raise ValueError(
            f"a model is trained again on the data that it was trained on, of the hash {str(sha256)[:12]}, and those "
            f"that {data.name!r} loads here have {data.sha256[:12]}: put them back as they were"
        )
    training = Training(
        recipe.family(),
        data,
        recipe.params,
        seed=recipe.seed,
        epochs=recipe.epochs,
        precision=recipe.precision,
        device="cuda" if torch.cuda.is_available() else "cpu",
    )
    while training.step < recipe.epochs:
        progress = training.advance()
        if progress.cause is not None:
            raise ValueError(
                f"this training must reach its end, and at epoch {progress.step} it died: {progress.cause}: take "
                "another seed"
            )
        if on_epoch is not None:
            on_epoch(progress.step, progress.metrics)
    with contextlib.ExitStack() as stack:
        target = Path(folder or stack.enter_context(tempfile.TemporaryDirectory()))
        target.mkdir(parents=True, exist_ok=True)
        return save(target / WEIGHTS, training, recipe)


def _built(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, name: str) -> Exported:
    recipe, facts, notes = _described(tensors, metadata, name=name)
    data = stand_in(facts, tensors["data/stand_in"])
    model = _model(recipe, data)
    module = as_module(model)
    try:
        module.load_state_dict({key: tensor for key, tensor in tensors.items() if "/" not in key})
        for place, constant in under("constants", tensors).items():
            owner, _, own = place.rpartition(".")
            setattr(module.get_submodule(owner), own, constant)
    except (RuntimeError, AttributeError) as error:
        raise ValueError(f"weights must fit the model, and those of {name} do not: {error}") from error
    module.eval()
    return Exported(recipe=recipe, data=data, model=model, notes=notes)


def _described(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str], *, name: str
) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    try:
        described = json.loads(metadata[KEY])
        if described["format"] != FORMAT:
            raise ValueError(f"its format is {described['format']!r}")
        if described["sha256"] != _content_hash(tensors):
            raise ValueError("its numbers were changed since it was written")
        known = {part.name for part in fields(Recipe)}
        written = {key: value for key, value in described["recipe"].items() if key in known}
        return Recipe(**written), dict(described["facts"]), dict(described["notes"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"an exported model says in its file how it is built, and what it holds, and {name} does not: "
            f"{type(error).__name__}: {error}: export it again"
        ) from None


def _model(recipe: Recipe, data: Data) -> Family:
    """A model of these shapes; its weights are to be given."""
    return recipe.family().build(Params(from_scratch(recipe.params)), data=data, generator=stream(recipe.seed, "init"))


def _constants(module: nn.Module, without: nn.Module) -> dict[str, Tensor]:
    """The buffers that are not saved with the weights and that come out otherwise without the data."""
    saved, others = module.state_dict(), dict(without.named_buffers())
    return {
        name: buffer.cpu()
        for name, buffer in module.named_buffers()
        if name not in saved and not torch.equal(buffer.cpu(), others[name].cpu())
    }


def _copied(training: Training, weights: Mapping[str, Tensor]) -> Family:
    """The training's model on the CPU as it is sampled from, with all that it knows of the data."""
    model = copy.deepcopy(training.model)
    as_module(model).cpu().load_state_dict(dict(weights))
    as_module(model).eval()
    return model


def _content_hash(tensors: Mapping[str, Tensor]) -> str:
    """The sha256 over names, types, shapes and bytes of all tensors."""
    return content_hash({name: Split(x=tensor) for name, tensor in sorted(tensors.items())})


def _plain(recipe: Recipe) -> dict[str, Any]:
    data = recipe.data if isinstance(recipe.data, str) else dict(recipe.data)
    return {**vars(recipe), "data": data, "params": dict(recipe.params)}


def _part(name: str, *, package: str, role: str) -> Any:
    """What a name stands for: the role of a file of ours, of a module by its dotted path, or an attribute of one."""
    path = name if "." in name else f"{package}.{name}"
    parent, _, attribute = path.rpartition(".")
    try:
        try:
            return getattr(importlib.import_module(path), role)
        except ModuleNotFoundError as error:
            if error.name != path:  # one that is there, and imports what is not
                raise
            return getattr(importlib.import_module(parent), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(
            f"a name is a file in {package} or a dotted import path, and {name!r} is neither here: {error}: start "
            "where it can be imported"
        ) from None
