"""The winner of a search, chosen over fresh seeds, and what tuning gained: `select`.

The best trial of a search is the luckiest of many noisy runs. So the best few, and the default configuration, are
trained again at the full budget under seeds that the search did not see, in a race; whoever wins it, and the default,
are trained once more under other seeds, which had no part in the choice and so say what both are worth. Only then are
the test rows touched, by these two. Both stages are studies of their own in the ledger of the search, run as it is:
fused, resumable, tracked. docs/decisions/2026-11-30-selection.md has the figures behind it. Stands above launch.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpo import analysis, launch, parts
from hpo.errors import RequestError, SearchFailed
from hpo.export import Say
from hpo.export import export as write
from hpo.folders import check_target
from hpo.home import Home, stage_name
from hpo.intervals import difference, interval, standard_error
from hpo.messages import Params
from hpo.race import LEVEL, Standing, chances, eliminated, key_of, mean_broken
from hpo.reading import Reading, read
from hpo.selected import DEFAULT, Final, Finalist, Interval, Run, Selection
from hpo.study import RACE, Budget, Method, Study
from trainables.training.loop import generates
from trainables.training.transfer import from_scratch

FINALISTS, SEEDS = 3, 4
RULE = (
    "Of the finalists and the default configuration, each trained again at the full budget under fresh seeds, the one "
    "with the fewest trainings that died; of equals one that keeps the constraints on the average; of these the best "
    "median of the objective on validation rows."
)

OnStatus = Callable[[str, Mapping[str, Any]], None]
# (study, its home, what is told its status) -> whether it was interrupted
Train = Callable[[Study, Home, Callable[[Mapping[str, Any]], None] | None], bool]


class Interrupted(Exception):
    """A signal came while a stage ran; the same call goes on where it was."""


def select(
    home: Home,
    *,
    finalists: int = FINALISTS,
    seeds: int = SEEDS,
    address: str | None = None,
    on_status: OnStatus | None = None,
    train: Train | None = None,
) -> tuple[Selection, bool]:
    """Choose the winner among the best `finalists` trials over `seeds` fresh seeds each; whether it was known already.

    A selection that the home holds is given again while it answers the same question: as many finalists and seeds, and
    the same candidates; else the next one begins, which touches the test rows once more. address: a running Ray
    cluster. on_status: told which stage runs and its status. train: runs the study of a stage, on Ray by default.
    Raises RequestError where there is nothing to choose from, `Interrupted` after a signal.
    """
    for name, value in (("finalists", finalists), ("seeds", seeds)):
        if value < 2:
            raise RequestError(f"--{name}: a choice over noise needs at least 2; {value} came. Give more, or name one "
                               "trial: --trial N.")  # fmt: skip
    reading = read(home.require())
    study = reading.study
    home.check_data(parts.data_hash(study))
    candidates = _candidates(reading, finalists)
    before = Selection.load(home)
    if before is not None and _answers(before, candidates, reading, finalists=finalists, seeds=seeds):
        return before, True

    def stage_of(stage: str, who: Sequence[Finalist], level: float) -> Study:
        return _stage_of(study, stage_name(stage, number), [one.params for one in who], seeds=seeds, level=level)

    def trained(stage: str, who: Sequence[Finalist], level: float) -> Reading:
        place = home.stage(stage, number)
        told = None if on_status is None else lambda status: on_status(stage, status)
        if (train or _on_ray(address))(stage_of(stage, who, level), place, told):
            raise Interrupted
        return read(place)

    number = 1 if before is None else before.stage + 1
    while (begun := home.stage("finalists", number)).exists():  # one that was interrupted goes on if it is the same
        if Study.load(begun.study).sampler == stage_of("finalists", candidates, LEVEL).sampler:
            break
        number += 1
    sign = 1.0 if reading.objective.direction == "minimize" else -1.0
    with launch.one_ray(study, address=address) if train is None else contextlib.nullcontext():
        raced = _stood(candidates, trained("finalists", candidates, LEVEL), seeds=seeds)
        first = min(raced, key=lambda one: _standing(one.runs).rank(sign))
        default = next(one for one in raced if one.name == DEFAULT)
        finals = [default] if first is default else [default, first]
        ended = trained("final", finals, 0.0)
    place = home.stage("final", number)
    runs = {one.name: _tested(_runs(ended, one.params), study, one.params, place) for one in finals}
    winner, plain = (_final(one, runs[one.name]) for one in (first, default))
    gain, note = _gain(reading, winner, plain)
    selection = Selection(
        objective=reading.objective.name,
        direction=reading.objective.direction,
        stage=number,
        finalists_asked=finalists,
        seeds_asked=seeds,
        epochs=study.budget.epochs,
        rule=RULE,
        finalists=tuple(raced),
        winner=winner,
        default=plain,
        shrinkage=_shrinkage(first.searched, winner, sign),
        gain=gain,
        gain_note=note,
        made=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    selection.save(home)
    return selection, False


def _on_ray(address: str | None) -> Train:
    def train(study: Study, home: Home, told: Callable[[Mapping[str, Any]], None] | None) -> bool:
        return launch.search(study, home=home.path, address=address, on_status=told).interrupted

    return train


def export(
    home: Home | str | Path,
    folder: str | Path,
    *,
    trial: int | None = None,
    finalists: int = FINALISTS,
    seeds: int = SEEDS,
    address: str | None = None,
    on_status: OnStatus | None = None,
    on_selection: Callable[[Selection, bool], None] | None = None,
    say: Say | None = None,
) -> list[str]:
    """Choose the winner of a home over fresh seeds and write it into a folder; return the names of its files.

    See `select`, whose selection is given to `on_selection` with whether it was known already, and `hpo.export.export`.
    trial: this trial as it was searched, with no selection.
    """
    place = home if isinstance(home, Home) else Home(home)
    if trial is not None:
        return write(place, folder, trial=trial, say=say)
    check_target(Path(folder).resolve())
    found, known = select(place, finalists=finalists, seeds=seeds, address=address, on_status=on_status)
    if on_selection is not None:
        on_selection(found, known)
    return write(place, folder, selection=found, say=say)


def _candidates(reading: Reading, finalists: int) -> list[Finalist]:
    """The default configuration, then the best trials that differ from it and from each other."""
    rows = analysis.ranked(reading)
    if not rows:
        raise RequestError("A selection needs trials that reached the end of their budget; there is none yet. Let the "
                           "search go on.")  # fmt: skip
    default = parts.space_of(reading.study).default()
    found = {key_of(default): _finalist(DEFAULT, None, default, None)}
    for row in rows[: max(finalists, 1) * 4]:
        key = key_of(row.params)
        if key == key_of(default) and found[key].trial is None:
            found[key] = _finalist(DEFAULT, row.number, default, row.value)
        elif key not in found and len(found) <= finalists:
            found[key] = _finalist(f"trial {row.number}", row.number, row.params, row.value)
    return list(found.values())


def _finalist(name: str, trial: int | None, params: Params, searched: float | None) -> Finalist:
    return Finalist(
        name=name,
        trial=trial,
        params=params,
        searched=searched,
        runs=(),
        mean=None,
        median=None,
        error=None,
        chance=0.0,
        out_after=None,
    )


def _answers(
    before: Selection, candidates: Sequence[Finalist], reading: Reading, *, finalists: int, seeds: int
) -> bool:
    """Whether an earlier selection is one of these candidates, at this budget and as thorough."""
    return (
        (before.finalists_asked, before.seeds_asked, before.epochs) == (finalists, seeds, reading.study.budget.epochs)
        and {key_of(one.params) for one in before.finalists} == {key_of(one.params) for one in candidates}
    )  # fmt: skip


def _stage_of(study: Study, stage: str, candidates: Sequence[Params], *, seeds: int, level: float) -> Study:
    """The study of one stage: the search's own, but with a race as its sampler and seeds that no trial of it had."""
    written: list[Any] = [json.dumps(params) for params in candidates]
    sequence = np.random.SeedSequence([study.seed, *stage.encode()])
    return study.model_copy(
        update={
            "name": f"{study.name}.{stage}",
            "sampler": Method(name=RACE, options={"candidates": written, "seeds": seeds, "level": level}),
            "pruner": Method(name="none"),
            "budget": Budget(trials=len(candidates) * seeds, epochs=study.budget.epochs),
            "fuse": study.fuse if isinstance(study.fuse, int) and study.fuse > 1 else "auto",
            "seed": int(sequence.generate_state(1, np.uint32)[0]),
        }
    )


def _runs(reading: Reading, params: Params) -> tuple[Run, ...]:
    """The trainings of one configuration that ended, lost ones left out."""
    keys = [bound.key for bound in reading.study.constraints]
    return tuple(
        Run(
            trial=row.number,
            seed=row.seed,
            value=row.value if row.end == "done" else None,
            cause="" if row.end == "done" else row.cause,
            metrics={name: value for event in reading.events.get(row.number, ()) if event.end == "done"
                     for name, value in event.metrics.items()},
            broken={key: row.constraints[key] for key in keys if row.end == "done" and key in row.constraints},
        )
        for row in reading.rows
        if row.end in ("done", "died", "pruned") and key_of(row.params) == key_of(params)
    )  # fmt: skip


def _standing(runs: Sequence[Run]) -> Standing:
    values = tuple(run.value for run in runs if run.value is not None)
    alive = [run.broken for run in runs if run.value is not None]
    return Standing(values=values, died=len(runs) - len(values), broken=mean_broken(alive))


def _stood(candidates: Sequence[Finalist], reading: Reading, *, seeds: int) -> list[Finalist]:
    """The candidates with what the race showed of them."""
    runs = [_runs(reading, one.params) for one in candidates]
    standings = [_standing(own) for own in runs]
    if not any(one.values for one in standings):
        causes = {run.cause for own in runs for run in own}
        raise SearchFailed(
            f"A selection needs a training that reaches its end; all of {sum(map(len, runs))} died: "
            f"{'; '.join(sorted(causes)) or 'none began'}. Search on, or choose by hand: --trial N."
        )
    sign = 1.0 if reading.objective.direction == "minimize" else -1.0
    out = eliminated(standings, sign=sign)
    shares = chances(standings, sign=sign)
    return [
        replace(
            one,
            runs=own,
            mean=standing.mean if standing.values else None,
            median=statistics.median(standing.values) if standing.values else None,
            error=standard_error(standing.values),
            chance=share,
            out_after=len(own) if place in out and len(own) < seeds else None,
        )
        for place, (one, own, standing, share) in enumerate(zip(candidates, runs, standings, shares, strict=True))
    ]


def _final(one: Finalist, runs: tuple[Run, ...]) -> Final:
    values = [run.value for run in runs if run.value is not None]
    return Final(
        name=one.name,
        params=one.params,
        runs=runs,
        expected=interval(values),
        one_run=interval(values, one_more=True),
    )


def _tested(runs: tuple[Run, ...], study: Study, params: Params, place: Home) -> tuple[Run, ...]:
    """The runs with what their weights measure on the test rows, of every metric that takes them."""
    if parts.own_function(study) is not None:
        return runs
    device = parts.use_device(threads=study.resources.cpus_per_worker)
    metrics = parts.every_metric(study)
    tested = []
    for run in runs:
        if run.value is None or not place.weights(run.trial).is_file():
            tested.append(run)
            continue
        trainer = parts.trainer_of(study, from_scratch(params), seed=run.seed, device=device, metrics=metrics)
        assert generates(trainer)
        trainer.load_weights(place.weights(run.trial))
        found: dict[str, float] = {}
        for metric in metrics:
            try:
                value = trainer.measure([metric.name], split="test")[metric.name].value
            except ValueError:  # too few rows, or nothing in this very model that it measures
                continue
            if math.isfinite(value):
                found[metric.name] = value
        tested.append(replace(run, test=found))
    return tuple(tested)


def _gain(reading: Reading, winner: Final, default: Final) -> tuple[Interval | None, str]:
    if winner.name == default.name:
        return None, "The default configuration won: tuning gained nothing."
    name = reading.objective.name
    ours, others = ([run.test[name] for run in one.runs if name in run.test] for one in (winner, default))
    if reading.objective.direction == "maximize":
        ours, others = [-value for value in ours], [-value for value in others]
    found = difference(ours, others)
    if found is not None:
        return found, ""
    if parts.own_function(reading.study) is not None:
        return None, "A training function of your own has no test rows of ours."
    if not any(run.test for run in (*winner.runs, *default.runs)):
        return None, "Fewer than two trainings of each reached their end, so the test rows say nothing."
    return None, f"The test rows are too few to measure {name}."


def _shrinkage(searched: float | None, winner: Final, sign: float) -> float | None:
    """How much worse the winner is on the average than its value in the search, as a share of that."""
    if searched is None or winner.expected is None or searched == 0.0:
        return None
    return sign * (winner.expected.mean - searched) / abs(searched)
