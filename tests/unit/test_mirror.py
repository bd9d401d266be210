"""The fold of the event log: what each run should hold, without MLflow."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

from hpo.messages import Event, Record, Start
from hpo.mirror import LOGGED_IMAGES, NAME_LENGTH, Chunk, OpenTrial, Position, fold, identity_of, safe_name


def start(trial: int, time: float, *, group: str = "g1") -> Start:
    return Start(trial=trial, time=time, params={"lr": 1e-3, "optimizer": "adam"}, seed=7, group=group)


def folded(*records: Record, position: Position | None = None, direction: str = "minimize") -> Chunk:
    return fold(records, position=position or Position(), offset=9, objective="nll", direction=direction)


def test_a_trial_gets_its_parameters_metrics_and_end() -> None:
    end = Event(trial=3, step=2, time=12.5, metrics={"nll": 1.5, "lr": 1e-3}, value=1.5, end="done")
    (batch,) = folded(start(3, 10.0), Event(trial=3, step=1, time=11.0, metrics={"lr": 2e-3}), end).batches
    assert (batch.trial, batch.started, batch.end, batch.start_time_ms, batch.end_time_ms) == (
        3,
        True,
        "done",
        10000,
        12500,
    )
    assert batch.params == {"lr": "0.001", "optimizer": "adam"}
    assert batch.tags == {"seed": "7", "group": "g1", "attempts": "1", "end": "done", "feasible": "true"}
    values = {key: (point.value, point.time_ms) for key, point in batch.points.items()}
    assert values == {
        ("lr", 1): (2e-3, 11000),
        ("lr", 2): (1e-3, 12500),
        ("nll", 2): (1.5, 12500),
        ("trial_seconds", 2): (2.5, 12500),
    }


def test_a_trial_says_where_it_trained_last() -> None:
    first = Start(trial=1, time=1.0, params={}, seed=0, group="g0", worker="a:7", device="cpu")
    second = Start(trial=1, time=2.0, params={}, seed=0, group="g1", worker="b:8", device="cuda:0")
    (batch,) = folded(first, second).batches
    assert {name: batch.tags[name] for name in ("group", "worker", "device")} == {
        "group": "g1",
        "worker": "b:8",
        "device": "cuda:0",
    }
    (unknown,) = folded(start(1, 1.0)).batches
    assert not {"worker", "device"} & set(unknown.tags)


def test_sheets_come_with_the_step_and_time_of_their_event() -> None:
    events = [Event(trial=1, step=step, time=10.0 + step, files=(f"a/{step}.png", "b.txt")) for step in (1, 3)]
    (batch,) = folded(*events).batches
    assert [(sheet.name, sheet.step, sheet.time_ms) for sheet in batch.sheets] == [
        ("a/1.png", 1, 11000),
        ("b.txt", 1, 11000),
        ("a/3.png", 3, 13000),
        ("b.txt", 3, 13000),
    ]
    assert batch.tags[LOGGED_IMAGES] == "True"
    (text,) = folded(Event(trial=1, step=1, time=1.0, files=("b.txt",))).batches
    assert LOGGED_IMAGES not in text.tags


def test_the_position_that_was_passed_in_stays() -> None:
    position = Position(trials={1: OpenTrial(attempts=1, last_time=1.0)})
    before = copy.deepcopy(position)
    chunk = folded(Event(trial=1, step=1, time=2.0, value=0.5, end="done"), position=position)
    assert position == before
    assert (chunk.position.offset, chunk.position.trials, chunk.position.counts["done"]) == (9, {}, 1)


def test_seconds_leave_out_the_gap_between_two_attempts() -> None:
    records: list[Record] = [start(1, 10.0), Event(trial=1, step=1, time=13.0)]
    records += [start(1, 100.0), Event(trial=1, step=2, time=104.0)]
    chunk = folded(*records, Event(trial=1, step=3, time=105.0, end="done", value=1.0))
    assert chunk.batches[0].points["trial_seconds", 3].value == pytest.approx(8.0)
    assert chunk.batches[0].tags["attempts"] == "2"


def test_a_start_told_again_is_one_attempt_with_its_worker() -> None:
    told = dataclasses.replace(start(1, 10.0), worker="host:1", device="cpu")
    position = folded(start(1, 10.0)).position
    for chunk in (folded(start(1, 10.0), told), folded(told, position=position)):
        (batch,) = chunk.batches
        assert (batch.tags["attempts"], batch.tags["worker"], batch.tags["device"]) == ("1", "host:1", "cpu")
    again = folded(dataclasses.replace(told, time=20.0), position=folded(told, position=position).position)
    assert again.batches[0].tags["attempts"] == "2"


def test_a_chunk_boundary_changes_nothing() -> None:
    records: list[Record] = [start(1, 10.0), Event(trial=1, step=1, time=13.0, metrics={"nll": 3.0})]
    records += [start(1, 100.0), Event(trial=1, step=2, time=104.0, end="done", value=2.0)]
    whole = folded(*records)
    for cut in range(1, len(records)):
        first = folded(*records[:cut])
        second = folded(*records[cut:], position=first.position)
        assert second.position == whole.position
        points = first.batches[0].points | second.batches[0].points
        assert points == whole.batches[0].points
        assert first.summary + second.summary == whole.summary


@pytest.mark.parametrize(("direction", "best"), [("minimize", 2), ("maximize", 0)])
def test_the_best_is_the_best_finished_trial(direction: str, best: int) -> None:
    values = [("done", 5.0), ("pruned", 0.0), ("done", 2.0), ("done", float("nan")), ("died", 9.0), ("lost", None)]
    records = [
        Event(trial=number, step=1, time=float(number), value=value, end=end)  # type: ignore[arg-type]
        for number, (end, value) in enumerate(values)
    ]
    chunk = folded(*records, direction=direction)
    assert chunk.position.best_trial == best
    assert chunk.position.counts == {"done": 3, "pruned": 1, "died": 1, "lost": 1}
    last = {point.name: point.value for point in chunk.summary if point.step == len(records)}
    assert last == {"done": 3, "pruned": 1, "died": 1, "lost": 1, "best_value": values[best][1]}


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("nll", "nll"),
        ("discriminator.lr", "discriminator.lr"),
        ("train/loss 2:a-b", "train/loss 2:a-b"),
        ("acc@5?", "acc_5_"),
        ("../etc", "_._etc"),
        ("/a", "_a"),
        ("a//b", "a__b"),
        ("a/./b", "a_._b"),
        (".", "_"),
        ("", "_"),
        ("x" * 300, "x" * NAME_LENGTH),
    ],
)
def test_names_become_what_mlflow_takes(name: str, safe: str) -> None:
    from mlflow.utils.validation import _validate_metric_name

    assert safe_name(name) == safe
    _validate_metric_name(safe_name(name))


def test_the_position_survives_its_file(tmp_path: Path) -> None:
    position = folded(start(1, 10.0), Event(trial=0, step=1, time=11.0, end="done", value=1.0)).position
    position.identity, position.parent, position.ending = "abc", "run", "stopped"
    position.save(tmp_path / "tracking.offset")
    assert Position.load(tmp_path / "tracking.offset") == position
    assert [path.name for path in tmp_path.iterdir()] == ["tracking.offset"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b'{"format": 0}', b'{"format": 1, "trials": {}, "new": 1}', b"\xff", b'{"format": 1}'],
)
def test_a_position_that_cannot_be_read_is_the_beginning(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tracking.offset").write_bytes(content)
    assert Position.load(tmp_path / "tracking.offset") == Position()


def test_two_homes_are_told_apart_by_their_first_record() -> None:
    assert identity_of(start(0, 1.0)) == identity_of(start(0, 1.0))
    assert identity_of(start(0, 1.0)) != identity_of(start(0, 1.001))
