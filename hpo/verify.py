"""Whether an export is what it says it is: its files against each other, its data, its numbers, and a new training.

Every check says which of weights, data, config and metrics it finds changed. The files hold each other's hashes
(`measured.py`), the weights are measured again, and only where all of that is right is the configuration trained anew.
Somebody who makes a whole export that fits itself is told by the training alone.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo import measured, parts
from hpo.configuration import CONFIG, Config, read_config, trainer_of
from hpo.errors import RequestError
from hpo.retrain import OnEpoch, to_its_end
from trainables import exported
from trainables.exported import Recipe
from trainables.training.alone import Training
from trainables.training.loop import Trainer
from trainables.training.transfer import WEIGHTS, from_scratch

# Weights measured again differ by the rounding of another machine.
MEASURED_AGAIN = 1e-4
# A training without an interval is compared under the same seed: a stack and another machine round otherwise, and a
# training carries that further.
TRAINED_AGAIN = 0.05
# One fair training in twenty falls outside its interval of 95 %, two of two in 400.
TRIES = 2


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One check: what it is of, `weights`, `data`, `config`, `metrics` or `training`; whether it is right; in words."""

    subject: str
    right: bool
    text: str


def verify(
    folder: str | Path,
    *,
    seed: int | None = None,
    same_seed: bool = False,
    on_finding: Callable[[Finding], None] | None = None,
    on_epoch: OnEpoch | None = None,
) -> list[Finding]:
    """Check an export and return what was found; it is fair where every finding is right.

    The training is made last, and only if all else is right: under a fresh seed, or the one given, against the interval
    of one more training, and once more where it falls outside; under the recorded seed, which an export without an
    interval has alone, against its value. Raises RequestError for what is no export.
    """
    place = Path(folder)
    config, metrics = read_config(place), _read_metrics(place)
    found: list[Finding] = []
    for finding in _of_files(place, config, metrics):
        found.append(finding)
        if on_finding is not None:
            on_finding(finding)
    if all(finding.right for finding in found):
        found.append(_trained(config, metrics, seed=seed, same_seed=same_seed, on_epoch=on_epoch))
        if on_finding is not None:
            on_finding(found[-1])
    return found


def _read_metrics(folder: Path) -> dict[str, Any]:
    file = folder / measured.METRICS
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(found, dict) or not isinstance(found.get("sha256"), dict):
            raise ValueError("it holds no hashes")
        return found
    except (OSError, ValueError) as error:
        raise RequestError(f"verify: an export holds the metrics that it was written with; {file} cannot be read as "
                           f"such: {error}. Export again.") from None  # fmt: skip


def _of_files(folder: Path, config: Config, metrics: Mapping[str, Any]) -> Iterator[Finding]:
    kept = metrics["sha256"]
    of_config = measured.file_hash(folder / CONFIG)
    if config.data is None:
        yield _finding("config", of_config == kept.get("config"), "is the file that was written", "was changed since")
        return
    weights = folder / WEIGHTS
    if not weights.is_file():
        yield Finding(subject="weights", right=False, text=f"{weights} is not there")
        return
    try:
        recipe, facts, notes = exported.read_recipe(weights)
    except ValueError as error:
        yield Finding(subject="weights", right=False, text=str(error))
        return
    written = of_config in (kept.get("config"), notes.get(measured.CONFIG_NOTE))
    differing = _differing(config.recipe(), recipe)
    yield Finding(
        subject="config",
        right=written and not differing,
        text=f"was changed since the weights were trained: {'; '.join(differing)}" if differing
        else "is the one that the weights were trained with" if written else "was changed since it was written",
    )  # fmt: skip
    sealed = measured.seal(metrics) == notes.get(measured.METRICS_NOTE)
    yield _finding("metrics", sealed, "are those that were written", "were changed since they were written")
    whole = measured.file_hash(weights) == kept.get("weights")
    yield _finding("weights", whole, "are the file that was written", "were changed since they were written")
    yield (of_data := _data(config, facts))
    if of_data.right and written and not differing:
        yield from _measured_again(folder, config, metrics)


def _finding(subject: str, right: bool, fair: str, unfair: str) -> Finding:
    return Finding(subject=subject, right=right, text=fair if right else unfair)


def _differing(config: Recipe, weights: Recipe) -> list[str]:
    """What the configuration says otherwise than the weights' own recipe, in words."""
    found = []
    for name, ours, theirs in (
        *((name, getattr(config, name), getattr(weights, name)) for name in vars(config) if name != "params"),
        *(
            (f"params.{name}", config.params.get(name), weights.params.get(name))
            for name in dict.fromkeys([*config.params, *weights.params])
        ),
    ):
        if ours != theirs:
            found.append(f"{name} is {ours!r} in {CONFIG} and {theirs!r} in {WEIGHTS}")
    return found


def _data(config: Config, facts: Mapping[str, Any]) -> Finding:
    """Whether the data are those that the weights were trained on; the configuration's own hash is a part of it."""
    asked = str(facts.get("sha256"))
    try:
        here = str(parts.data_hash(config.as_study()))
    except RequestError as error:
        return Finding(subject="data", right=False, text=f"cannot be loaded: {error}")
    text = (
        f"have the content that the model was trained on, {asked[:12]}"
        if here == asked
        else f"were changed: the model was trained on content with the hash {asked[:12]}, and it is {here[:12]} here"
    )
    return Finding(subject="data", right=here == asked, text=text)


def _measured_again(folder: Path, config: Config, metrics: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether the weights reach what the metrics say of them."""
    name = config.objective.name
    said = metrics.get("validation", {}).get(name, {}).get("value")
    try:
        trainer = _untrained(config)
        trainer.load_weights(folder / WEIGHTS)
    except (RequestError, ValueError) as error:
        yield Finding(subject="weights", right=False, text=f"do not fit the configuration: {error}")
        return
    value = trainer.measure([name])[name].value
    right = said is not None and math.isclose(value, said, rel_tol=MEASURED_AGAIN, abs_tol=1e-9)
    relation = "as" if right else "and not what"
    yield Finding(
        subject="weights",
        right=right,
        text=f"measure {name} {value:.6g} on validation rows, {relation} the metrics say"
        + ("" if right else f" ({'nothing' if said is None else f'{said:.6g}'}): weights or metrics were changed"),
    )


def _untrained(config: Config) -> Training:
    """A training that is given weights: what it began with may be gone."""
    trainer = trainer_of(config.model_copy(update={"params": from_scratch(config.params)}))
    assert isinstance(trainer, Training)
    return trainer


def _trained(
    config: Config, metrics: Mapping[str, Any], *, seed: int | None, same_seed: bool, on_epoch: OnEpoch | None
) -> Finding:
    """Train again, and compare with the interval of one more training, or with the value under the same seed."""
    span = None if same_seed else (metrics.get("selection") or metrics).get("one_run")
    name = config.objective.name
    if span is not None:
        return _inside(config, span, [seed] if seed is not None else _fresh_seeds(), on_epoch=on_epoch)
    value, cause = _value(config, config.seed, on_epoch)
    said = metrics.get("validation", {}).get(name, {}).get("value") or metrics.get("search", {}).get(name)
    alike = said is not None and math.isclose(value, said, rel_tol=TRAINED_AGAIN)
    told = "nothing" if said is None else f"{said:.6g}"
    return Finding(
        subject="training",
        right=alike,
        text=f"under the recorded seed {config.seed} {cause or f'reaches {name} {value:.6g}'}, and the export says "
        f"{told}: {'within' if alike else 'not within'} {TRAINED_AGAIN:.0%}",
    )


def _inside(config: Config, span: Mapping[str, float], seeds: Sequence[int], *, on_epoch: OnEpoch | None) -> Finding:
    """Train under one seed after another until a training falls into the interval."""
    told = []
    for own in seeds:
        value, cause = _value(config, own, on_epoch)
        inside = span["low"] <= value <= span["high"]
        place = f", {'inside' if inside else 'outside'}"
        told.append(f"under seed {own} " + (cause or f"reaches {config.objective.name} {value:.6g}{place}"))
        if inside:
            break
    text = f"{'; '.join(told)} the interval of one more training, {span['low']:.6g} to {span['high']:.6g}"
    return Finding(subject="training", right=inside, text=text)


def _fresh_seeds() -> list[int]:
    return [secrets.randbelow(2**31) for _ in range(TRIES)]


def _value(config: Config, seed: int, on_epoch: OnEpoch | None) -> tuple[float, str]:
    """The objective that a training under this seed comes to, or NaN and why it has none."""
    trainer: Trainer = trainer_of(config.model_copy(update={"seed": seed}))
    try:
        return to_its_end(trainer, measure=config.objective.name, on_epoch=on_epoch).get(
            config.objective.name, math.nan
        ), ""
    except RequestError as error:
        return math.nan, f"did not reach its end ({error})"
