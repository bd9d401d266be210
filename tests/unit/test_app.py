"""dashboards.app: what an address shows, and that only what changed is sent again."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from app_homes import HOST, app_of, draw, finished, texts
from searched import Fate, open_ledger, search, study, train

from dashboards.app import Site
from hpo.errors import RequestError
from hpo.home import Home


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return finished(tmp_path_factory.mktemp("app") / "home")


def shown(site: Site, path: str, search: str = "", *, picked: tuple[str, ...] = ()) -> str:
    page, _, _ = site.page(path, search, picked=picked, writes=False)
    return " ".join([page.title, *texts(list(page.blocks.values()))])


def test_overview_says_how_the_search_stands(home: Home) -> None:
    text = shown(Site([home]), "/")
    assert "8 of 8" in text
    assert "finished" in text
    assert "Trial 7" in text  # the best
    assert "1e-04 to 0.1" in text or "0.0001 to 0.1" in text  # the space
    assert "None" not in text


def test_a_search_that_used_its_epochs_is_finished(tmp_path: Path) -> None:
    made = study(trials=8)
    bounded = made.model_copy(update={"budget": made.budget.model_copy(update={"epochs_total": 20})})
    home = search(tmp_path / "home", bounded, lambda number, params: Fate(values={9: 1.0}))
    text = shown(Site([home]), "/0/overview")
    assert "3 of 8" in text
    assert "finished" in text
    assert "interrupted" not in text


def test_a_trial_has_its_parameters_its_cause_and_its_samples(home: Home) -> None:
    site = Site([home])
    assert "trial 3, epoch 3" in shown(site, "/0/trial/3")
    assert "Traceback (most recent call last):" in shown(site, "/0/trial/2")
    assert "lost at step 3" in shown(site, "/0/trial/1")
    assert "There is no trial 99" in shown(site, "/0/trial/99")


def test_the_gallery_is_sorted_by_the_metric(home: Home) -> None:
    site = Site([home])
    text = shown(site, "/0/samples")
    assert text.index("trial 7, epoch 9") < text.index("trial 6, epoch 9") < text.index("trial 0, epoch 9")
    assert "epoch 3:" not in text
    assert "trial 5, epoch 3:" in shown(site, "/0/samples", "?step=all")
    assert "first line" in shown(site, "/0/samples", "?step=9")


def test_compare_marks_what_differs(home: Home) -> None:
    text = shown(Site([home]), "/compare", picked=("0.0", "0.3", "0.99", "7.1", "junk"))
    assert "drop trial 0" in text
    assert "drop trial 3" in text
    assert "trial 99" not in text
    assert "lr  differs" in text
    assert "width  differs" not in text


def test_several_studies_are_told_apart(home: Home, tmp_path: Path) -> None:
    other = finished(tmp_path / "other", trials=5)
    site = Site([home, other])
    text = shown(site, "/compare", picked=("0.3", "1.3"))
    assert "toy (0), trial 3" in text
    assert "toy (1), trial 3" in text
    assert "5 of 5" in shown(site, "/1/overview")
    assert "There is no study 2" in shown(site, "/2/overview")


@pytest.mark.parametrize(
    "path", ["/nonsense/x", "/0/nowhere", "/0/trial/x", "/0/trial/12345678901", "/0/trials/3", "//"]
)
def test_no_address_fails(home: Home, path: str) -> None:
    assert shown(Site([home]), path)


@pytest.mark.parametrize(
    "search", ["?page=999", "?page=x", "?sort=nothing", "?q=lr%3C", "?q=((", "?end=what", "?sort=optimizer&desc=1"]
)
def test_no_query_fails(home: Home, search: str) -> None:
    for page in ("trials", "samples"):
        assert shown(Site([home]), f"/0/{page}", search)


def test_a_damaged_home_is_told_of(tmp_path: Path) -> None:
    broken = finished(tmp_path / "home")
    site = Site([broken])
    shown(site, "/")
    with (broken.events / "events.jsonl").open("ab") as file:
        file.write(b"no json\n")
    site.views[0]._next = 0.0
    assert "must be JSON" in shown(site, "/")


def test_what_is_no_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="A home is a folder"):
        Site([Home(tmp_path)])


def test_only_what_changed_is_sent(tmp_path: Path) -> None:
    home, made = Home(tmp_path / "home"), study(trials=3)
    home.path.mkdir()
    made.save(home.study)
    ledger = open_ledger(home, made)
    placement = ledger.place("g0", 1, 1)
    assert placement is not None
    train(ledger, placement, Fate(values={3: 4.0, 9: 3.0}), epochs=9)
    client = app_of(home).server.test_client()
    first = _told(client)
    seen = first["seen"]["data"]
    there = list(seen["blocks"])
    assert len(first["blocks"]["children"]) == len(there)
    # Text comes first, and the figures when the browser asks again.
    assert seen["version"] != client.get("/version/0", headers={"Host": HOST}).get_json()
    figures = draw(client, "/0/overview", seen=seen, there=there)
    sent = {json.loads(key)["block"] for key in figures if key.startswith("{")}
    assert {"history", "curves", "ends"} <= sent
    assert not {"state", "best", "space"} & sent
    seen = figures["seen"]["data"]
    assert seen["version"] == client.get("/version/0", headers={"Host": HOST}).get_json()
    # Nothing has changed: the browser is sent no block.
    again = draw(client, "/0/overview", seen=seen, there=there)
    assert set(again) == {"seen"}
    # A trial has ended: what shows trials is sent, what shows the best one or the study is not.
    placement = ledger.place("g0", 2, 2)
    assert placement is not None
    train(ledger, placement, Fate(end="pruned", epochs=3, values={3: 9.0}), epochs=9)
    grown = _until_grown(client, seen, there)
    sent = {key for key in grown if key.startswith("{")}
    assert '{"block":"history"}' in sent
    assert '{"block":"state"}' in sent
    assert not {'{"block":"notes"}', '{"block":"best"}', '{"block":"importances"}'} & sent
    assert "blocks" not in grown
    ledger.close()


def _told(client: object) -> dict[str, Any]:
    """Draw the page until it says what mattered, which a thread works out."""
    for _ in range(300):
        answer: dict[str, Any] = draw(client, "/0/overview")
        if "This is being worked out." not in texts(answer["blocks"]["children"]):
            return answer
        time.sleep(0.1)
    raise AssertionError("what mattered was never told")


def _until_grown(client: object, seen: object, there: list[str]) -> dict[str, object]:
    """Ask until reading is due again."""
    for _ in range(200):
        answer: dict[str, object] = draw(client, "/0/overview", seen=seen, there=there)
        if len(answer) > 1:
            return answer
    raise AssertionError("nothing new was ever shown")
