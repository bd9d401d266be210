"""What an export says of itself in `metrics.json`, and the hashes that tie its files together.

The file of the weights holds the hashes of the configuration and of these numbers; `metrics.json` holds that of the
weights. So one of the three that was changed does not fit the other two, and `hpo verify` can say which it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo import analysis, parts
from hpo.configuration import CONFIG, Config
from hpo.home import STAGES, Home
from hpo.selected import Final, Selection
from hpo.surroundings import versions
from trainables import exported
from trainables.training.alone import Training
from trainables.training.loop import Generator, Trainer
from trainables.training.transfer import WEIGHTS

METRICS, SAMPLES = "metrics.json", "samples.png"
# What the file of the weights says of the others.
CONFIG_NOTE, METRICS_NOTE = "config_sha256", "metrics_sha256"


def write(target: Path, config: Config, trainer: Trainer, *, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Write configuration, weights, samples and metrics into a folder, and return what `metrics.json` says.

    A training function of the user's own has neither weights nor samples.
    """
    (target / CONFIG).write_text(config.to_yaml(), encoding="utf-8")
    found: dict[str, Any] = {"format": "hpo-metrics-1", "objective": config.objective.model_dump(), **metrics}
    hashes = {"config": config.sha256}
    if isinstance(trainer, Training):
        found["validation"] = validation(trainer, config)
        notes = {CONFIG_NOTE: config.sha256, METRICS_NOTE: seal(found), "study": config.study}
        exported.save(target / WEIGHTS, trainer, config.recipe(), notes=notes)
        trainer.sheet(target / SAMPLES)
        hashes["weights"] = file_hash(target / WEIGHTS)
    found["sha256"] = hashes
    (target / METRICS).write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return found


def seal(found: Mapping[str, Any]) -> str:
    """The hash of what `metrics.json` says, but for its own hashes."""
    said = {name: value for name, value in found.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(said, sort_keys=True, allow_nan=False).encode()).hexdigest()


def file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def validation(trainer: Generator, config: Config) -> dict[str, dict[str, float | int | None]]:
    """Return every metric that takes this model and these data, with its yardsticks; null for what is not finite."""
    found: dict[str, dict[str, float | int | None]] = {}
    for metric in parts.every_metric(config.as_study()):
        try:
            measured = trainer.measure([metric.name])[metric.name]
        except ValueError:  # one that this very model has nothing for, such as classes
            continue
        beside = trainer.yardsticks([metric.name])
        own = dataclasses.asdict(measured) | {name.rpartition(".")[2]: value for name, value in beside.items()}
        found[metric.name] = {name: value if math.isfinite(value) else None for name, value in own.items()}
    return found


def of_selection(selection: Selection) -> dict[str, Any]:
    """What a selection found of its winner, and of the default beside it, as `metrics.json` has it."""
    chosen = selection.chosen
    return {
        "stage": selection.stage,
        "rule": selection.rule,
        "finalists": selection.finalists_asked,
        "winner": {"name": chosen.name, "trial": chosen.trial, "searched": chosen.searched, "chance": chosen.chance},
        "exported_seed": selection.typical().seed,
        **_of_final(selection.winner),
        "default": _of_final(selection.default),
        "shrinkage": selection.shrinkage,
        "gain_on_test": None if selection.gain is None else dataclasses.asdict(selection.gain),
        "gain_note": selection.gain_note,
    }


def produced_by(home: Home | None = None, *, stages: int = 0) -> dict[str, Any]:
    """Versions and machine of this process; of a home also the hours in which anything trained, selections included."""
    found: dict[str, Any] = {"versions": versions(), "machine": machine()}
    if home is not None:
        homes = [home, *(home.stage(name, number) for number in range(1, stages + 1) for name in STAGES)]
        summaries = [analysis.summary(place) for place in homes if place.exists()]
        found["training_hours"] = sum(summary.seconds for summary in summaries) / 3600.0
        found["trials"] = sum(sum(summary.counts.values()) for summary in summaries[:1])
    return found


def machine() -> str:
    """The system, the processor and the GPU of this machine, in words."""
    found = [f"{platform.system()} on {_processor()}, {os.cpu_count()} cores"]
    import torch

    if torch.cuda.is_available():
        found.append(torch.cuda.get_device_name())
    return ", ".join(found)


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _of_final(final: Final) -> dict[str, Any]:
    runs = [
        {"seed": run.seed, "value": run.value, "cause": run.cause, "test": dict(run.test)} for run in final.runs
    ]  # fmt: skip
    intervals = {"expected": final.expected, "one_run": final.one_run}
    return {
        "runs": runs,
        **{name: None if found is None else dataclasses.asdict(found) for name, found in intervals.items()},
    }
