"""What leaves a home: one configuration that can be trained again, with its weights, metrics, samples and card.

An export is a folder of plain files that can be believed and used without the home: `config.yaml`,
`weights.safetensors`, `metrics.json`, `samples.*`, `card.md`, pictures in `look/`, and an MLflow model in `model/`. No
pickle is written or read.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hpo import analysis, card, measured, mlflow_model, parts
from hpo.configuration import Config, trainer_of
from hpo.errors import RequestError
from hpo.folders import fresh
from hpo.home import Home
from hpo.selected import Selection
from hpo.study import Study
from hpo.surroundings import versions
from hpo.tracking import attach
from trainables import exported
from trainables.training.alone import Training
from trainables.training.look import look
from trainables.training.transfer import found_from_here, from_scratch

LOOK = "look"

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """What leaves: a training with its seed, where its weights lie, and what is known of it.

    how: `selection` for a winner over fresh seeds, `search` for the best trial of the search, `hand` for one that was
    named. trial: its number in the search, None for a default that was never tried.
    """

    how: str
    trial: int | None
    params: dict[str, bool | int | float | str]
    seed: int
    weights: Path
    metrics: dict[str, Any]


def export(
    home: Home | str | Path,
    folder: str | Path,
    *,
    trial: int | None = None,
    selection: Selection | None = None,
    say: Say | None = None,
) -> list[str]:
    """Write the winner of a selection, or else the best trial of a home or `trial`, into a folder; return its files.

    The winner leaves with the weights of its typical run; a trial as it was searched. Its MLflow model is registered in
    the study's tracking store, and what became of that is told to `say`. Raises RequestError where nothing can be
    exported, or the folder holds what no export made.
    """
    if trial is not None and selection is not None:
        raise RequestError(f"An export is of the winner of a selection, or of one trial; both came, and trial {trial}. "
                           "Leave one out.")  # fmt: skip
    place = (home if isinstance(home, Home) else Home(home)).require()
    study = Study.load(place.study)
    sha256 = parts.data_hash(study)
    place.check_data(sha256)
    chosen = _searched(place, study, trial) if selection is None else _selected(place, selection)
    config = Config(
        study=study.name,
        trial=chosen.trial,
        model=study.model,
        data=study.data,
        data_sha256=sha256,
        objective=parts.objective_of(study),
        epochs=study.budget.epochs if selection is None else selection.epochs,
        seed=chosen.seed,
        threads=study.resources.cpus_per_worker,
        precision=study.precision,
        params=found_from_here(chosen.params),
        versions=versions(),
    )
    target = Path(folder).resolve()
    with fresh(target) as draft:
        # The training has weights of its own by now: what it began with may be gone.
        trainer = trainer_of(config.model_copy(update={"params": from_scratch(config.params)}))
        if isinstance(trainer, Training):
            _check_weights(place, chosen)
            trainer.load_weights(chosen.weights)
        metrics = {"chosen": chosen.how, **chosen.metrics}
        metrics["produced_by"] = measured.produced_by(place, stages=0 if selection is None else selection.stage)
        found = measured.write(draft, config, trainer, metrics=metrics)
        if isinstance(trainer, Training):
            look(draft / LOOK, exported.load(draft).model, trainer.data.to("cpu"))
            mlflow_model.save(draft)
        files = sorted([card.FILE, *(file.name for file in draft.iterdir())])
        data = trainer.data if isinstance(trainer, Training) else None
        (draft / card.FILE).write_text(card.text(config, found, data=data, files=files), encoding="utf-8")
    if selection is not None:  # for the page and whoever looks into the home
        shutil.copyfile(target / card.FILE, place.card)
    if isinstance(trainer, Training):
        _tell_mlflow(target, study, place, config, found, say or (lambda line: None))
    return files


def _tell_mlflow(folder: Path, study: Study, home: Home, config: Config, found: dict[str, Any], say: Say) -> None:
    """Register the model and attach card and numbers to the study's run; whatever fails there, the export stands."""
    tags = {
        "study": study.name,
        "trial": config.trial,
        "chosen": found["chosen"],
        "objective": config.objective.name,
        "value": found["validation"].get(config.objective.name, {}).get("value"),
        "data_sha256": config.data_sha256,
    }
    say(mlflow_model.register(folder, study, home, config, tags=tags))
    attach(study, home, {f"winner/{name}": folder / name for name in (card.FILE, measured.METRICS)})


def _selected(home: Home, selection: Selection) -> Chosen:
    run = selection.typical()
    return Chosen(
        how="selection",
        trial=selection.chosen.trial,
        params=dict(selection.winner.params),
        seed=run.seed,
        weights=home.stage("final", selection.stage).weights(run.trial),
        metrics={
            "selection": measured.of_selection(selection),
            "test": {name: {"value": value} for name, value in run.test.items()},
            "search": dict(run.metrics),
            "constraints": {key: broken <= 0 for key, broken in run.broken.items()},
        },
    )


def _searched(home: Home, study: Study, trial: int | None) -> Chosen:
    reading = analysis.read(home)
    row = _row(reading, trial)
    return Chosen(
        how="search" if trial is None else "hand",
        trial=row.number,
        params=row.params,
        seed=row.seed,
        weights=home.weights(row.number),
        metrics={
            # The last value of every metric that the search saw of this trial.
            "search": {name: value for event in reading.events.get(row.number, ())
                       for name, value in event.metrics.items()},
            "constraints": {bound.key: row.constraints.get(bound.key, 0.0) <= 0 for bound in study.constraints},
        },
    )  # fmt: skip


def _row(reading: analysis.Reading, trial: int | None) -> analysis.TrialRow:
    if trial is None:
        best = analysis.best(reading)
        if best is None:
            raise RequestError("An export needs a trial that reached the end of its budget; there is none yet. "
                               "Let the search go on.")  # fmt: skip
        trial = best.trial
    done = {row.number: row for row in reading.rows if row.end == "done"}
    if trial not in done:
        raise RequestError(f"An export needs a trial that reached the end of its budget; {trial} is none of "
                           f"{', '.join(map(str, sorted(done))) or 'none'}. Give one of these as --trial.")  # fmt: skip
    return done[trial]


def _check_weights(home: Home, chosen: Chosen) -> None:
    if not chosen.weights.is_file():
        raise RequestError(
            f"Trial {chosen.trial} has no weights in {chosen.weights.parent}: only the best trials keep theirs. "
            f"Export another, or train it again: hpo show {home.path} --json has its parameters."
        )
