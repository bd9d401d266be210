"""Sample sheets of a search: at which steps, how they reach a home on another disk, and that they change nothing."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import pytest
from crews import finish, serve
from PIL import Image

from hpo.event_log import EventLog
from hpo.group import Crew
from hpo.home import Home
from hpo.ledger import CHECKPOINT
from hpo.messages import Event, Placement
from hpo.rows import read_trials
from hpo.server import StudyServer
from hpo.sheets import MOST, keep, named, sheet_steps
from hpo.study import Study
from hpo.widths import Widths

PNG, WAV, TXT = (f"samples/trial-000003/step-000009.{suffix}" for suffix in ("png", "wav", "txt"))


def vae(**changes: Any) -> Study:
    values: dict[str, Any] = {
        "name": "small",
        "model": "vae",
        "data": "digits",
        "space": {"base": "vae", "latent": 2, "width": 64, "depth": 1, "batch_size": 256},
        "objective": "elbo",
        "budget": {"trials": 6, "epochs": 9},
        "sampler": "random",
        "pruner": {"name": "asha", "eta": 3, "grace": 1},
    }
    return Study(**values | changes)


def events(home: Home) -> list[Event]:
    return [record for record in EventLog(home).read()[0] if isinstance(record, Event)]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


# -- when --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("decisions", "epochs", "expected"),
    [
        ((), 9, set()),
        ((3, 9, 27), 81, {3, 9, 27}),
        ((1, 2, 3, 4, 5), 6, {1, 2, 3, 4, 5}),
        (range(1, 27), 27, {1, 2, 4, 7, 14}),
        (range(1, 81), 81, {1, 2, 6, 14, 34}),
        ((2, 4, 8, 16, 32, 64, 128), 200, {2, 4, 16, 32, 64}),
        (range(1, 10**6), 10**6, {1, 16, 251, 3981, 63096}),
    ],
)
def test_sheets_are_few_and_spaced_by_equal_factors(
    decisions: tuple[int, ...] | range, epochs: int, expected: set[int]
) -> None:
    found = sheet_steps(decisions, epochs=epochs)
    assert found == expected
    assert len(found) < MOST


def test_a_trial_leaves_a_sheet_at_each_rung_and_at_its_end(home: Home) -> None:
    server = serve(vae(), home)
    finish(server)
    server.close()
    left = {(event.trial, event.step): event.files for event in events(home) if event.files}
    expected = {
        (row.number, step)
        for row in read_trials(home, vae())
        for step in (1, 3, 9)
        if step <= row.step
    }  # fmt: skip
    assert {row.end for row in read_trials(home, vae())} == {"done", "pruned"}
    assert set(left) == expected
    for (trial, step), files in left.items():
        assert files == (f"samples/trial-{trial:06d}/step-{step:06d}.png",)
        with Image.open(home.path / files[0]) as image:
            assert image.size == (8 * 34, 8 * 34)
    found = {file.relative_to(home.path).as_posix() for file in home.samples.rglob("*") if file.is_file()}
    assert found == {name for files in left.values() for name in files}
    first, last = (home.sheet(0, step).read_bytes() for step in (1, 9))
    assert first != last, "the same latents, later"


def test_a_pruner_that_decides_at_every_epoch_asks_for_few_sheets(home: Home) -> None:
    request = vae(budget={"trials": 1, "epochs": 27}, pruner="median")
    server = serve(request, home)
    finish(server)
    server.close()
    assert [event.step for event in events(home) if event.files] == [1, 2, 4, 7, 14, 27]


@pytest.mark.parametrize("fuse", [1, 4])
def test_sheets_change_nothing_in_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fuse: int) -> None:
    """At four rungs, or never but at the end: the same values at every step, bit for bit."""
    found = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr("hpo.group.sheet_steps", lambda decisions, epochs: frozenset())
        home = Home(tmp_path / name)
        server = serve(vae(fuse=fuse), home)
        finish(server)
        server.close()
        found.append((read_trials(home, vae(fuse=fuse)), sum(len(event.files) for event in events(home))))
    (rows, sheets), (bare, few) = found
    assert rows == bare
    assert sheets > few > 0


# -- how they travel ---------------------------------------------------------------------------------------------------


def away(server: StudyServer, group: str, *, home: Home) -> Crew | None:
    """A crew on a machine that does not reach the home's disk: what has its name there is another folder."""
    reply = server.open_group(group)
    if not reply["place"]:
        return None
    for place in reply["place"]:
        if place["checkpoint"] is not None:
            place["checkpoint"] = str(home.checkpoint(place["trial"]))
    study = Study(**server.brief()["study"])
    return Crew(
        study,
        home,
        measure_at=frozenset(server.brief()["measure_at"]),
        placements=[Placement.from_json(value) for value in reply["place"]],
        sync=functools.partial(server.sync, group),
        widths=Widths(study, device="cpu", most=1, fits=[], fitted=server.fitted),
        device="cpu",
    )


def test_sheets_reach_the_home_from_a_machine_without_its_disk(tmp_path: Path, home: Home) -> None:
    there = Home(tmp_path / "there")
    server = serve(vae(), home)
    sent: list[tuple[set[str], set[str]]] = []
    take = server.sync

    def sync(group: str, seq: int, told: list[dict[str, Any]], *rest: Any) -> dict[str, Any]:
        sent.append(({name for event in told for name in event["files"]}, set(rest[-1])))
        return take(group, seq, told, *rest)

    server.sync = sync  # type: ignore[assignment,method-assign]
    finish(server, make=functools.partial(away, home=there))
    assert all(names == files for names, files in sent), "each sheet in the message of its event, and in no other"
    assert server.close()["stopped"] == ""
    files = [name for event in events(home) for name in event.files]
    assert len(files) > 6
    assert all((home.path / name).stat().st_size > 100 for name in files)
    assert not there.samples.exists()
    assert there.weights(0).is_file()
    assert not home.weights(0).exists()


def test_a_checkpoint_that_a_machine_does_not_reach_is_done_without(tmp_path: Path, home: Home) -> None:
    request = vae(pruner="none", budget={"trials": 1, "epochs": 9})
    server = serve(request, home)
    server.open_group("g")
    told: list[dict[str, Any]] = [
        {"trial": 0, "step": step, "time": float(step), "value": None, "metrics": {}} for step in (1, 2, 3)
    ]
    server.sync("g", 1, told, {0: 0}, 1)
    server.close_group("g", failed=False)
    home.checkpoint(0).mkdir(parents=True)
    (home.checkpoint(0) / CHECKPOINT).touch()
    finish(server, name="h", make=functools.partial(away, home=Home(tmp_path / "there")))
    status = server.close()
    assert (status["done"], status["lost"], status["epochs"], status["repeated"]) == (1, 0, 9, 3)


def test_the_server_puts_a_sheet_there_before_the_event_that_names_it(home: Home) -> None:
    server = serve(vae(), home)
    server.open_group("g")
    name = home.sheet(0, 1).relative_to(home.path).as_posix()
    event = {"trial": 0, "step": 1, "time": 1.0, "value": 1.0, "metrics": {}, "files": [name]}
    home.samples.write_bytes(b"a file where the folder should be")
    reply = server.sync("g", 1, [event], {0: 0}, 1, "", {name: b"sheet"})
    assert reply["drain"]
    assert events(home) == []
    assert "The home must be writable" in server.status()["stopped"]
    server.close()
    home.samples.unlink()
    later = serve(vae(), home, run="later")
    later.open_group("h")
    reply = later.sync("h", 1, [event], {0: 0}, 1, "", {name: b"sheet"})
    assert later.sync("h", 1, [event], {0: 0}, 1, "", {name: b"sheet"}) == reply
    later.close()
    assert home.sheet(0, 1).read_bytes() == b"sheet"
    assert [event.files for event in events(home)] == [(name,)]


def test_files_are_kept_whole_and_again(home: Home) -> None:
    drawn = {".png": b"picture", ".wav": b"sound", ".txt": b"text"}
    sheet = named(home, 3, 9, drawn=drawn)
    assert sheet == {PNG: b"picture", WAV: b"sound", TXT: b"text"}
    keep(home, sheet)
    keep(home, sheet)
    keep(home, {PNG: b"another"})
    assert {file.name: file.read_bytes() for file in home.sheet(3, 9).parent.iterdir()} == {
        "step-000009.png": b"another", "step-000009.wav": b"sound", "step-000009.txt": b"text",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "../evil.png", "/tmp/evil.png", "study.yaml", "samples/../study.yaml", "samples/trial-000003/step-000009.html",
        "samples/trial-000003/../../events/events.jsonl", PNG + "\n", "samples/trial-3/step-9.png", "",
    ],
)  # fmt: skip
def test_only_sheets_are_taken(home: Home, name: str) -> None:
    home.path.mkdir()
    with pytest.raises(ValueError, match="a name of its own in the home"):
        keep(home, {name: b"evil"})
    assert list(home.path.iterdir()) == []


def test_a_sheet_of_large_rows_shows_fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    from hpo.parts import space_of, trainer_of
    from trainables.training import alone

    training = trainer_of(vae(), space_of(vae()).default(), seed=0)
    assert isinstance(training, alone.Training)
    monkeypatch.setattr(alone, "SHEET_NUMBERS", 64 * 10)  # digits have 64 numbers
    with Image.open(io.BytesIO(training.drawn()[".png"])) as image:
        assert image.size == (8 * 34, 2 * 34)
    monkeypatch.setattr(alone, "SHEET_NUMBERS", 1)
    with Image.open(io.BytesIO(training.drawn()[".png"])) as image:
        assert image.size == (8 * 34, 34)
