"""Every key of the study file changes what happens, and one that does not yet is refused by name.

The schema is walked: a key that is added without a probe here fails the first test.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from hpo import parts, study
from hpo.driver import shares
from hpo.group import Crew
from hpo.home import Home
from hpo.ledger import Ledger
from hpo.messages import Event, Placement
from hpo.pruning import decision_steps
from hpo.rows import read_trials
from hpo.study import Study
from hpo.tracking import Tracker
from hpo.widths import Widths

BASE: dict[str, Any] = {
    "name": "keys",
    "model": "own_trainings.curve",
    "space": {"x": {"low": 0.0, "high": 1.0, "default": 0.5}},
    "objective": {"metric": "loss", "direction": "minimize"},
    "budget": {"trials": 4, "epochs": 9},
}
FAMILY = BASE | {"model": "vae", "data": "digits", "space": "vae", "objective": "nll"}

Probe = Callable[[Study, Path], object]


def open_ledger(request: Study, path: Path) -> Ledger:
    home = Home(path)
    home.path.mkdir()
    return Ledger(request, home, space=parts.space_of(request), direction="minimize", ahead=0)


def event(trial: int, step: int, value: float, **fields: Any) -> Event:
    return Event(trial=trial, step=step, time=float(step), metrics={"loss": value}, value=value, **fields)


def asked(request: Study, path: Path) -> list[Any]:
    """Parameters and seeds of three trials."""
    ledger = open_ledger(request, path)
    found = []
    for number in range(3):
        placement = ledger.place("g", number, 0)
        assert placement is not None
        ledger.record([event(number, 9, 0.5, end="done")])
        found.append((placement.params, placement.seed))
    ledger.close()
    return found


def left(request: Study, path: Path) -> int:
    """What is left of the budget after one trial of nine epochs and a fiftieth of a second."""
    ledger = open_ledger(request, path)
    if ledger.place("g", 0, 0) is not None:
        ledger.record([event(0, 9, 0.5, end="done")])
    time.sleep(0.02)
    remaining = ledger.left()
    ledger.close()
    return remaining


def end_after_a_failed_group(request: Study, path: Path) -> str:
    ledger = open_ledger(request, path)
    ledger.place("g", 0, 0)
    ledger.release("g", failed=True, cause="killed")
    ledger.close()
    return read_trials(Home(path), request)[0].end


def feasible(request: Study, path: Path) -> list[bool]:
    """Whether a trial with a loss of a half counts as one that may win, by what its worker reports."""
    reported: list[dict[str, Any]] = []

    def sync(
        seq: int,
        events: list[dict[str, Any]],
        slots: dict[int, int | None],
        take: int,
        fault: str,
        sheets: dict[str, bytes],
    ) -> dict[str, Any]:
        reported.extend(events)
        return {"free": [], "place": [], "over": True, "drain": False, "fits": 0}

    place = Placement(trial=0, slot=0, params={"x": 0.5}, seed=1)
    crew = Crew(
        request, Home(path), measure_at=frozenset(), placements=[place], sync=sync, widths=widths(request), device="cpu"
    )
    while not crew.over:
        crew.work(seconds=0.01)
    ends = [Event.from_json(found) for found in reported if found["end"]]
    return [all(value <= 0 for value in end.constraints.values()) for end in ends]


def optuna_name(request: Study, path: Path) -> list[str]:
    import optuna

    open_ledger(request, path).close()
    backend = optuna.storages.journal.JournalFileBackend(str(Home(path).ledger))
    return optuna.get_all_study_names(optuna.storages.JournalStorage(backend))


def widths(request: Study) -> Widths:
    return Widths(request, device="cpu", most=1, fits=[], fitted=lambda fit: [])


def crew_messages(request: Study, path: Path) -> tuple[set[int], bool]:
    """How many more trials a crew asks for after its first, and whether it wrote a checkpoint on the way."""
    takes: list[int] = []

    def sync(
        seq: int,
        events: list[dict[str, Any]],
        slots: dict[int, int | None],
        take: int,
        fault: str,
        sheets: dict[str, bytes],
    ) -> dict[str, Any]:
        takes.append(take)
        return {"free": [], "place": [], "over": False, "drain": False, "fits": 0}

    place = Placement(trial=0, slot=0, params={"x": 0.5}, seed=1)
    crew = Crew(
        request, Home(path), measure_at=frozenset(), placements=[place], sync=sync, widths=widths(request), device="cpu"
    )
    crew.work(seconds=0.01)
    return set(takes), Home(path).checkpoint(0).is_dir()


def mlflow_uri(request: Study, path: Path) -> list[str]:
    """The addresses at which the tracker looks for MLflow when there is something to write."""
    home = Home(path)
    ledger = open_ledger(request, path)
    ledger.place("g", 0, 0)
    ledger.close()
    uris: list[str] = []

    def refuse(uri: str) -> Any:
        uris.append(uri.replace(str(path), "HOME"))
        raise ConnectionError(uri)

    tracker = Tracker(request, home, connect=refuse)
    tracker.start()
    tracker.end("finished", timeout=30)
    return sorted(set(uris))


CLUSTER = {"CPU": 8.0, "GPU": 2.0}

PROBES: dict[str, tuple[dict[str, Any], dict[str, Any], Probe]] = {
    "name": (BASE, {"name": "other"}, optuna_name),
    "model": (BASE, {"model": "own_trainings.diverges"}, lambda s, _: parts.own_function(s).__name__),
    "data": (FAMILY, {"data": {"name": "digits", "split": "ordered"}}, lambda s, _: parts.data_of(s).sha256),
    "space": (FAMILY, {"space": {"base": "vae", "lr": 0.001}}, lambda s, _: parts.space_of(s).to_mapping()),
    "objective": (FAMILY, {"objective": "elbo"}, lambda s, _: parts.objective_of(s)),
    "constraints": (BASE, {"constraints": [{"metric": "loss", "at_most": 0.3}]}, feasible),
    "metrics": (FAMILY, {"metrics": ["fd_self"]}, lambda s, _: parts.metric_names(s)),
    "budget.trials": (BASE, {"budget": {"trials": 5, "epochs": 9}}, left),
    "budget.epochs": (FAMILY, {"budget": {"trials": 4, "epochs": 8}}, lambda s, _: _trainer(s).epochs),
    "budget.hours": (BASE, {"budget": {"trials": 4, "epochs": 9, "hours": 1e-6}}, left),
    "budget.epochs_total": (BASE, {"budget": {"trials": 4, "epochs": 9, "epochs_total": 9}}, left),
    "sampler": (BASE, {"sampler": "qmc"}, asked),
    "pruner": (BASE, {"pruner": {"name": "asha", "grace": 1}}, lambda s, _: decision_steps(s.pruner, epochs=9)),
    "fuse": (FAMILY, {"fuse": 4}, lambda s, _: widths(s).slots),
    "precision": (FAMILY, {"precision": "bf16"}, lambda s, _: _trainer(s).precision),
    "resources.workers": (BASE, {"resources": {"workers": 1}}, lambda s, _: shares(s, CLUSTER).workers),
    "resources.cpus_per_worker": (BASE, {"resources": {"cpus_per_worker": 4}}, lambda s, _: shares(s, CLUSTER)),
    "resources.gpus_per_worker": (BASE, {"resources": {"gpus_per_worker": 0.5}}, lambda s, _: shares(s, CLUSTER)),
    "resources.trials_per_group": (BASE, {"resources": {"trials_per_group": 1}}, crew_messages),
    "resources.retries": (BASE, {"resources": {"retries": 0}}, end_after_a_failed_group),
    "resources.checkpoint_seconds": (
        BASE | {"model": "own_trainings.slow_curve"}, {"resources": {"checkpoint_seconds": 0.1}}, crew_messages,
    ),
    "tracking": (BASE, {"tracking": "http://127.0.0.1:9"}, mlflow_uri),
    "seed": (BASE, {"seed": 1}, asked),
}  # fmt: skip


def _trainer(request: Study) -> Any:
    return parts.trainer_of(request, parts.space_of(request).default(), seed=0)


def keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and inner is not study.Method:
            found += keys(inner, f"{prefix}{name}.")
        else:
            found.append(prefix + name)
    return found


def test_every_key_is_probed_or_refused() -> None:
    assert sorted({*PROBES, *study.UNBUILT}) == sorted(keys(Study)), "a key needs a probe here"


@pytest.mark.parametrize("key", sorted(PROBES))
def test_a_key_changes_what_happens(key: str, tmp_path: Path) -> None:
    base, change, probe = PROBES[key]
    before = probe(Study(**base), tmp_path / "before")
    assert probe(Study(**base), tmp_path / "again") == before, "the probe must repeat itself"
    assert probe(Study(**base | change), tmp_path / "after") != before
