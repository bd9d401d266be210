"""A home with a selected winner, made in this process: real trainings of points, and the selection they came to."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import crews
import numpy as np

from hpo import analysis, parts
from hpo.configuration import Config, trainer_of
from hpo.home import Home
from hpo.intervals import interval
from hpo.retrain import to_its_end
from hpo.selected import Final, Finalist, Run, Selection
from hpo.selection import RULE
from hpo.study import Budget, Method, Resources, Study

EPOCHS, SEEDS = 3, (101, 102, 103, 104)


def write_points(folder: Path, *, seed: int) -> Path:
    """A file of points of the user's, without a license."""
    file = folder / "my *points*.npz"
    np.savez(file, x=np.random.RandomState(seed).randn(400, 2))
    return file


def searched(folder: Path, **changes: Any) -> Home:
    """A home with one study, its trials done."""
    base: dict[str, Any] = {
        "name": "points-vae",
        "model": "vae",
        "data": {"name": "array_file", "path": str(write_points(folder, seed=0)), "layout": "ND"},
        "space": {"base": "vae", "latent": 2, "width": 8, "depth": 1},
        "objective": "nll",
        "budget": Budget(trials=2, epochs=EPOCHS),
        "pruner": Method(name="none"),
        "resources": Resources(workers=1),
        "fuse": 1,
    }
    study, home = Study(**{**base, **changes}), Home(folder / "home")
    with contextlib.closing(crews.serve(study, home, data=parts.data_hash(study))) as server:
        crews.finish(server)
    return home


def selected(home: Home) -> Selection:
    """The best trial as the winner over four fresh seeds, whose weights lie where a selection leaves them."""
    study, best = Study.load(home.study), analysis.best(home)
    assert best is not None
    config = Config(
        study=study.name,
        model=study.model,
        data=study.data,
        objective=parts.objective_of(study),
        epochs=EPOCHS,
        seed=0,
        params=best.params,
    )
    runs = tuple(_run(config.model_copy(update={"seed": seed}), home, trial) for trial, seed in enumerate(SEEDS))
    values = [run.value for run in runs if run.value is not None]
    final = Final(
        name=f"trial {best.trial}",
        params=best.params,
        runs=runs,
        expected=interval(values),
        one_run=interval(values, one_more=True),
    )
    stood = Finalist(
        name=final.name,
        trial=best.trial,
        params=best.params,
        searched=best.value,
        runs=runs[:2],
        mean=None,
        median=None,
        error=None,
        chance=0.9,
        out_after=None,
    )
    return Selection(
        objective=config.objective.name,
        direction=config.objective.direction,
        stage=1,
        finalists_asked=1,
        seeds_asked=len(SEEDS),
        epochs=EPOCHS,
        rule=RULE,
        finalists=(stood,),
        winner=final,
        default=dataclasses.replace(final, name="default"),
        shrinkage=0.021,
        gain=interval([0.1, 0.2]),
        gain_note="",
        made="2026-11-30",
    )


def _run(config: Config, home: Home, trial: int) -> Run:
    trainer = trainer_of(config)
    metrics = to_its_end(trainer, measure=config.objective.name)
    weights = home.stage("final", 1).weights(trial)
    weights.parent.mkdir(parents=True, exist_ok=True)
    trainer.save_weights(weights)  # type: ignore[attr-defined]
    value = metrics[config.objective.name]
    return Run(trial=trial, seed=config.seed, value=value, metrics=metrics, test={"nll": value + 0.01})
