"""The user's own files: which loader reads a path, what it understood, and a study that fits.

A loader's file says itself what its `path` may be: `READS_FILE`, the suffixes of one file, `READS_FOLDER`, those of the
files in a folder, or both. A loader without these is asked for by its name. Floor: study, parts and plug-ins.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hpo import parts, plugins
from hpo.errors import RequestError
from hpo.study import Study, apply_change

if TYPE_CHECKING:
    from trainables.data._data import Data

# What a new user's search has for a start; of a GAN little is known before its ninth epoch.
_BUDGET = {"trials": 32, "epochs": 27}
_PRUNER = {"name": "asha", "eta": 3, "grace": 9}
# What to try with data of each modality, as the ready studies do: the first model and objective that take the data.
_MODELS: dict[str, list[dict[str, Any]]] = {
    "images": [
        {"model": "gan", "space": {"base": "gan", "architecture": "conv", "latent": 64, "width": [16, 32]}},
        {"model": "gan", "space": "gan"},
    ],
    "series": [{"model": "rgan", "space": "rgan"}],
    "points": [{"model": "gan", "space": "gan"}],
    "audio": [{"model": "gan", "space": "gan_waves"}, {"model": "gan", "space": "gan"}],
    "text": [{"model": "attention_gan_text", "space": "attention_gan_text"}],
}
_OBJECTIVES = {
    "images": ["fd_self", "sliced_wasserstein"],
    "series": ["fd_rocket", "sliced_wasserstein"],
    "points": ["sliced_wasserstein"],
    "audio": ["fd_self", "stft_distance", "sliced_wasserstein"],
    "text": ["reverse_lm"],
}
# What is measured beside it, where it can be, and decides nothing: a copy of the training rows wins the objective.
_BESIDE = {
    "images": ["coverage", "authenticity"],
    "series": ["forest_test", "autocorrelation", "coverage", "authenticity"],
    "points": ["coverage", "authenticity"],
    "audio": ["coverage", "authenticity", "stft_distance", "clipping"],
    "text": ["copy_rate", "self_bleu"],
}
_AXES = {
    "images": "channels, height, width",
    "series": "steps, features",
    "points": "numbers",
    "audio": "channels, samples",
    "text": "tokens",
}
# What stands beside an image or a sound under its name to describe it.
_DESCRIBES = ".txt"
# Of a long list, such as the characters of a text, so much is shown.
_SHOWN = 100


def loader_of(path: Path) -> str:
    """The name of the loader that reads this file or folder: of a folder, most of its files.

    Raises RequestError with what there is, where none does.
    """
    if not path.exists():
        raise RequestError(f"data: a path leads to a file or a folder, and {path} does not exist in {Path.cwd()}. "
                           "Correct it.")  # fmt: skip
    readers = _readers("READS_FOLDER" if path.is_dir() else "READS_FILE")
    suffixes = suffixes_in(path)
    if path.is_dir():
        suffixes -= _descriptions(path, {suffix for known in readers.values() for suffix in known})
    read = {name: sum(suffixes[suffix] for suffix in known) for name, known in readers.items()}
    best = max(read, key=lambda name: read[name], default=None)
    if best is None or read[best] == 0:
        raise RequestError(f"data: {_unread(path, suffixes)}. {_supported()}")
    return best


def suffixes_in(path: Path) -> Counter[str]:
    """How many files of each suffix a folder holds, hidden ones left out; of a file its own."""
    if path.is_file():
        return Counter([path.suffix.lower()])
    return Counter(file.suffix.lower() for file in _files(path))


def _files(path: Path) -> list[Path]:
    """The files in a folder and below. Raises RequestError for one that cannot be opened."""
    from trainables.data._own import within

    found = list(within(path))
    if found == [path]:
        raise RequestError(
            f"data: a folder must be open to you, and {path} is not. Give yourself the right to read it."
        )
    return [file for file in found if not file.is_dir()]


def _descriptions(path: Path, read: Set[str]) -> Counter[str]:
    """The text files that are named as one of another kind that is read, such as the boxes or the caption of an image,
    and what lists their classes."""
    files = _files(path)
    named = {file.stem for file in files if file.suffix.lower() in read - {_DESCRIBES}}
    texts = [file for file in files if file.suffix.lower() == _DESCRIBES]
    if not any(file.stem in named for file in texts):
        return Counter()
    return Counter({_DESCRIBES: sum(file.stem in named or file.stem == "classes" for file in texts)})


def study_for(path: Path, *, changes: Sequence[str] = ()) -> tuple[Study, str]:
    """A study of the data at this path, every part of it tried, and the same as YAML for a file.

    changes: `a.b=value`, as of a study file; `data.name=...` takes another loader. Raises RequestError with the
    loader's own message where the data do not load.
    """
    data: dict[str, Any] = {"data": {"name": None, "path": str(path)}}
    for change in changes:
        apply_change(data, change)
    if not isinstance(data["data"], dict):
        raise RequestError(f"--set data.option=value changes an option of the loader; data={data['data']!r} came.")
    if data["data"]["name"] is None:
        data["data"]["name"] = loader_of(path)
    loaded: Data = parts.load_data(data["data"])
    models, beside = _MODELS[loaded.modality], _BESIDE[loaded.modality]
    measurable = {model["model"]: _measurable(loaded, model["model"], beside) for model in models}
    refusals: dict[str, None] = {}
    for model, objective in itertools.product(models, _OBJECTIVES[loaded.modality]):
        written = {
            "name": _name(path, model["model"]),
            **model,
            "data": dict(data["data"]),
            "objective": objective,
            "metrics": [name for name in measurable[model["model"]] if name != objective],
            "budget": dict(_BUDGET),
            "pruner": dict(_PRUNER),
        }
        try:
            for change in changes:
                apply_change(written, change)
            study = Study(**written)
            parts.check(study)
        except RequestError as error:
            refusals[str(error)] = None
        else:
            return study, _as_yaml(written, refusals)
    raise RequestError(f"The data load, and this study of them does not stand. {next(iter(refusals))}")


def understood(data: Data) -> Iterator[tuple[str, str]]:
    """What a loader made of the files, as pairs of what and how."""
    yield "loader", data.name
    yield "rows", ", ".join(f"{len(split)} {name}" for name, split in data.splits())
    shape = " x ".join(map(str, data.shape))
    yield "each row", f"{data.modality}, {shape} ({_AXES[data.modality]})"
    low, high = data.value_range
    yield "values", f"{data.levels} levels" if data.levels is not None else f"real, {low:.4g} to {high:.4g}"
    if data.sample_rate is not None:
        yield "sound", f"{data.sample_rate} samples a second, {data.shape[-1] / data.sample_rate:.3g} s a row"
    if data.vocabulary is not None:
        yield "vocabulary", f"{len(data.vocabulary)}: {_short(''.join(data.vocabulary))!r}"
    if data.units is not None:
        moments = zip(data.units.names, data.units.mean.tolist(), data.units.deviation.tolist(), strict=True)
        told = ", ".join(f"{name} (mean {mean:.4g}, deviation {deviation:.4g})" for name, mean, deviation in moments)
        yield "units", _short(told, 4 * _SHOWN)
    yield "classes", str(data.classes or "none: the rows have no labels")
    for note in data.notes:
        yield "note", note
    yield "content", f"sha256 {data.sha256}"
    yield "license", data.license


def _as_yaml(written: Mapping[str, Any], refusals: Iterable[str]) -> str:
    """A study as a person would write it, a line a key; what it would have had if the data took it comes first."""
    comments = "".join(f"# {refusal}\n" for refusal in refusals)
    return comments + yaml.safe_dump(
        dict(written), sort_keys=False, default_flow_style=None, width=1000, allow_unicode=True
    )


def _readers(role: str) -> dict[str, Sequence[str]]:
    """The loaders that read one file, or a folder of files, with the suffixes of those."""
    modules = {name: sys.modules[plugins.load("data", name).__module__] for name in plugins.names("data")}
    return {name: getattr(module, role) for name, module in modules.items() if hasattr(module, role)}


def _unread(path: Path, suffixes: Counter[str]) -> str:
    if path.is_file():
        return f"no loader reads files {path.suffix or 'without a suffix'}, and {path} is one"
    if not suffixes:
        return f"a folder must hold files, and {path} is empty"
    return f"no loader reads folders of {_counted(suffixes)} files, and {path} is one"


def _supported() -> str:
    files, folders = _readers("READS_FILE"), _readers("READS_FOLDER")
    one = "; ".join(f"{', '.join(known)} ({name})" for name, known in files.items())
    many = "; ".join(f"{', '.join(known)} ({name})" for name, known in folders.items())
    return f"Give a file {one}; or a folder of files {many}. Other loaders by name: --set data.name=NAME."


def _counted(suffixes: Counter[str]) -> str:
    return ", ".join(f"{count} {suffix or 'without a suffix'}" for suffix, count in suffixes.most_common(5))


def _measurable(data: Data, model: str, names: Sequence[str]) -> list[str]:
    """Those of the metrics that can measure such models of the data."""
    from trainables.metrics._metric import refusal

    family = plugins.load("models", model)
    return [name for name in names if refusal(plugins.load("metrics", name), family, data) is None]


def _name(path: Path, model: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", path.resolve().stem).strip("-._") or "own"
    return f"{stem[:40]}-{model.replace('_', '-')}"


def _short(text: str, length: int = _SHOWN) -> str:
    return text if len(text) <= length else f"{text[:length]}..."
