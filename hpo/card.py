"""`card.md` of an export: what the model is, what it is worth and may be used for, and how it was chosen, in words.

Whatever a user named is text: it is escaped, so that a name writes no heading, link or table into the card.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hpo import parts
from hpo.configuration import Config
from trainables.data._data import Data

FILE = "card.md"
# What a loader of the user's own files says of their license.
NO_LICENSE = "not stated"
# A metric tells of copies where it is so many of its standard errors beyond the floor: both have an error.
ERRORS = 3.0
_SPECIAL = re.compile(r"([\\`*_{}\[\]()<>#|~!&$]|(?<=:)//)")


def text(config: Config, found: Mapping[str, Any], *, data: Data | None, files: Iterable[str]) -> str:
    """The card of a configuration with what its `metrics.json` says. data: None for a training function of the user's.

    files: the names of what lies beside it.
    """
    sections = [
        _head(config, data),
        _purpose(config, found, data),
        _data(data, found),
        _measured(config, found, data),
        _memorization(found) if data is not None else iter(()),
        _choice(config, found),
        _making(config, found),
        _use(config, data, sorted(files)),
    ]
    return "\n".join(line for section in sections for line in section).rstrip() + "\n"


def escape(said: object) -> str:
    """Text as one line of Markdown in which nothing is a sign."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(said).split()))


def _head(config: Config, data: Data | None) -> Iterator[str]:
    of = "" if data is None else f" of {escape(data.name)}"
    yield f"# {escape(config.study)}"
    yield ""
    yield f"A `{_code(config.model)}` model{of}, trained for {config.epochs} epochs under seed {config.seed}, with the"
    yield "hyperparameters that are in `config.yaml`."
    yield ""


def _purpose(config: Config, found: Mapping[str, Any], data: Data | None) -> Iterator[str]:
    yield "## What it is for, and what not"
    yield ""
    if data is None:
        yield "It is a configuration of a training function of the user's own, which says itself what it is for. It"
        yield "left without weights."
    else:
        yield f"It makes new rows like those of {escape(data.name)}: {data.modality} of the shape {list(data.shape)}."
        yield "It is for experiments with generative models, and a beginning for models of like data"
        yield "(`hpo train --from`)."
        yield ""
        yield "It knows nothing but these rows. It repeats their gaps and their prejudices; what it makes is no"
        yield "measurement, and no evidence of anything in the world. Rows that were private stay a risk: read below"
        yield "whether samples repeat training rows, and take a good result for the absence of a sign, not for a proof."
    broken = [key for key, kept in found.get("constraints", {}).items() if not kept]
    if broken:
        yield ""
        yield f"**It breaks constraints of its study: {', '.join(map(escape, broken))}.**"
    yield ""


def _data(data: Data | None, found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Data"
    yield ""
    if data is None:
        yield "Read by the training function itself; nothing is known of them here, nor of their license."
        yield ""
        return
    sizes = ", ".join(f"{len(split)} {name}" for name, split in data.splits())
    yield f"- Source: {escape(data.source)}"
    yield f"- License: {license_in_words(data.license)}"
    yield f"- Rows: {sizes}"
    yield f"- Hash of the content: `{data.sha256}`"
    for note in data.notes:
        yield f"- Note: {escape(note)}"
    yield ""


def license_in_words(license: str) -> str:  # noqa: A002
    """The license of data as the card has it; that there is none is said plainly."""
    if license.strip() and not license.startswith(NO_LICENSE):
        return escape(license)
    return ("**No license is stated for these data: find out whether they may be used, and what may be done with a "
            "model of them, before either leaves your hands.**")  # fmt: skip


def _measured(config: Config, found: Mapping[str, Any], data: Data | None) -> Iterator[str]:
    yield "## What it is worth"
    yield ""
    objective, selection = config.objective, found.get("selection")
    yield f"Its objective is `{_code(objective.name)}`, to {objective.direction}."
    if selection is not None:
        yield from _intervals(selection)
    else:
        yield "It is known from one training alone, so no interval can be given: see how it was chosen."
    yield ""
    if data is None:
        for name, value in found.get("search", {}).items():
            yield f"- {escape(name)}: {_number(value)}"
        yield ""
        return
    yield "On validation rows, of the weights that are here. The floor is what real rows reach that no model saw; a"
    yield "copy of the training rows would reach what is in the last column."
    yield ""
    directions = {metric.name: metric.direction for metric in parts.every_metric(config.as_study())}
    test = found.get("test", {})
    yield f"| metric | better | validation | standard error |{' test |' if test else ''} floor | copy of train |"
    yield f"|---|---|---|---|{'---|' if test else ''}---|---|"
    for name, own in found["validation"].items():
        cells = [escape(name), "more" if directions.get(name) == "maximize" else "less"]
        cells += [_number(own["value"]), _number(own["standard_error"])]
        cells += [_number(test.get(name, {}).get("value"))] if test else []
        cells += [_number(own.get("floor")), _number(own.get("copy_of_train"))]
        yield f"| {' | '.join(cells)} |"
    yield ""


def _intervals(selection: Mapping[str, Any]) -> Iterator[str]:
    values = [run["value"] for run in selection["runs"] if run["value"] is not None]
    died = len(selection["runs"]) - len(values)
    told = f"Over {len(values)} fresh seeds that took no part in the choice"
    if died:
        told += f" ({died} more died)"
    if (expected := selection["expected"]) is not None:
        told += f" its mean on validation rows is **{_number(expected['mean'])}** ({_span(expected)}, 95 %)"
    else:
        told += f" it reached {', '.join(map(_number, values)) or 'no end'}"
    yield told + "."
    if (one := selection["one_run"]) is not None:
        yield f"One more training falls within {_span(one)} with 95 %: that is what `hpo verify` asks of it."
    yield f"Seeds and values: {', '.join(_run(run) for run in selection['runs'])}."
    yield f"The weights are those of the typical run, seed {selection['exported_seed']}."


def _memorization(found: Mapping[str, Any]) -> Iterator[str]:
    yield "## Does it repeat its training rows?"
    yield ""
    signs, told = [], []
    for name, word in (("authenticity", "less"), ("nearest_train", "more"), ("copy_rate", "more")):
        own = found["validation"].get(name)
        if own is None or own["value"] is None:
            continue
        beyond = _beyond(own, less=word == "less")
        signs += [beyond] if beyond is not None else []
        told.append(f"- {escape(name)} {_number(own['value'])}, floor {_number(own.get('floor'))}, copy of train "
                    f"{_number(own.get('copy_of_train'))}: {_MEANING[name]}")  # fmt: skip
    if not told:
        yield "No metric of memorization takes this model and these data, so nothing is known of it here."
    elif any(signs):
        yield "**There are signs of it**: samples are nearer to training rows than real rows are that no model saw."
        yield "Treat samples as you would treat the training rows themselves."
    elif signs:
        yield "**No sign of it**: samples are no nearer to training rows than real rows are that no model saw. That is"
        yield "no proof: single rows may be repeated all the same."
    else:
        yield "It cannot be told: there is no floor to read these beside."
    yield ""
    yield from [*told, ""] if told else []


_MEANING = {
    "authenticity": "the share of samples that are farther from their nearest training row than that row is from its "
    "own nearest other; 0 for copies, and less than the floor is a sign of them",
    "nearest_train": "how often a sample is nearer to training rows than to as many rows that no model saw; one half "
    "for samples that know none, and more than the floor is a sign of copies",
    "copy_rate": "the share of 20-character pieces that training rows have too; people repeat themselves, so more than "
    "the floor is a sign of copies",
}


def _beyond(own: Mapping[str, Any], *, less: bool) -> bool | None:
    """Whether a value is worse than its floor by more than errors explain; None without a floor."""
    floor = own.get("floor")
    if floor is None:
        return None
    worse = (floor - own["value"]) if less else (own["value"] - floor)
    return bool(worse > ERRORS * (own["standard_error"] or 0.0))


def _choice(config: Config, found: Mapping[str, Any]) -> Iterator[str]:
    yield "## How it was chosen"
    yield ""
    how, selection = found["chosen"], found.get("selection")
    if how == "hand":
        yield f"By hand: trial {config.trial} was named. It was trained once, under one seed, so its value may be luck."
    elif how == "search":
        yield f"Trial {config.trial} has the best value of the search. The best of many noisy runs is partly the"
        yield "luckiest of them: trained again, it is probably worse."
    elif selection is not None:
        yield " ".join(selection["rule"].split())
        yield ""
        yield from _selected(selection)
    yield ""


def _selected(selection: Mapping[str, Any]) -> Iterator[str]:
    winner = selection["winner"]
    yield f"- Winner: {escape(winner['name'])}, with a probability of {winner['chance']:.0%} the best of the finalists"
    if selection["shrinkage"] is not None:
        yield (f"- Shrinkage: on the average it is {abs(selection['shrinkage']):.1%} "
               f"{'worse' if selection['shrinkage'] >= 0 else 'better'} than its value in the search said, "
               f"{_number(winner['searched'])}")  # fmt: skip
    gain = selection["gain_on_test"]
    if gain is not None:
        yield (f"- Gain over the default configuration on test rows: **{_number(gain['mean'])}** ({_span(gain)}, 95 %; "
               "positive is better)")  # fmt: skip
    if selection["gain_note"]:
        yield f"- {escape(selection['gain_note'])}"
    times = selection["stage"]
    told = "once" if times == 1 else f"{times} times, and each makes them a little less of a test"
    yield f"- The test rows were touched by selections of this study alone, after the choice: {told}"


def _making(config: Config, found: Mapping[str, Any]) -> Iterator[str]:
    made = found["produced_by"]
    yield "## How it was made"
    yield ""
    yield f"- Machine of the export: {escape(made['machine'])}"
    if "training_hours" in made:
        yield f"- Hours of training, search and selection together: {made['training_hours']:.2g}"
        yield f"- Trials of the search: {made['trials']}"
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    yield f"- Versions: {escape(versions)}"
    yield f"- Precision {config.precision}, {config.threads} thread{'' if config.threads == 1 else 's'}"
    yield ""


def _use(config: Config, data: Data | None, files: list[str]) -> Iterator[str]:
    yield "## How it is used"
    yield ""
    yield "In the folder that this card lies in:"
    yield ""
    yield "```"
    if data is None:
        yield "hpo train . --out ../again          # train it again"
    else:
        suffix = {"audio": "wav", "text": "txt"}.get(data.modality, "png")
        yield f"hpo sample . -n 64 --out new.{suffix}     # new samples"
        yield "hpo verify .                        # is it what it says it is?"
        yield "hpo train . --out ../again          # train it again"
        if "model" in files:
            yield "mlflow models serve -m model --env-manager local --host 127.0.0.1 --port 5001"
        yield "python -c 'from trainables import exported; print(exported.load(\".\").sample(4).shape)'"
    yield "```"
    yield ""
    yield f"Files: {', '.join(f'`{name}`' for name in files)}."


def _run(run: Mapping[str, Any]) -> str:
    return f"{run['seed']}: {_number(run['value']) if run['value'] is not None else 'died'}"


def _span(interval: Mapping[str, float]) -> str:
    return f"{_number(interval['low'])} to {_number(interval['high'])}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _code(name: str) -> str:
    return name.replace("`", "'")
