"""The page in a real browser: a finished search, one that grows while it is looked at, and one that really trains.

Chromium is taken from the system: `apt-get install chromium`, or CHROMIUM=/path/to/it.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest
from app_homes import EVIL, TOKEN, finished
from looks import FAINT, REACHABLE
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from searched import Fate, open_ledger, study, train
from searches import SMALL, Search
from werkzeug.serving import make_server

from dashboards.app import make_app
from dashboards.guard import Guard
from hpo import vetoes
from hpo.home import Home

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or ""
pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no browser: apt-get install chromium, or set CHROMIUM to one")

PAGES = (
    *(f"/0/{page}" for page in ("overview", "trials", "trial/0", "trial/2", "samples", "samples?step=all", "winner")),
    "/compare",
)
WAIT_MS = 30_000
expect.set_options(timeout=WAIT_MS)


class Served:
    """The page of some homes, on a free port, until `close`."""

    def __init__(self, *homes: Home) -> None:
        self.server = make_server("127.0.0.1", 0, _later, threaded=True)
        self.address = f"http://127.0.0.1:{self.server.port}"
        access = Guard(host="127.0.0.1", port=self.server.port, token=TOKEN)
        self.server.app = make_app(homes, access=access).server
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


def _later(*_: object) -> list[bytes]:
    raise AssertionError("asked before there was an app")


class Seen:
    """A page of the browser, and what went wrong in it. requests: those that left the machine's own server."""

    def __init__(self, context: BrowserContext, address: str) -> None:
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_MS)
        self.address, self.wrong = address, list[str]()
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", lambda asked: self._asked(asked.url))
        self.page.on("response", lambda answer: self._answered(answer.status, answer.url))

    def open(self, path: str) -> Page:
        """Go to a page of the site and wait until it is drawn."""
        self.page.goto(self.address + path)
        self.page.wait_for_selector("#blocks .block")
        return self.page

    def _heard(self, message: object) -> None:
        kind, text = getattr(message, "type", ""), getattr(message, "text", "")
        if kind == "error" or (kind == "warning" and "GL Driver" not in text):  # what a machine without a GPU says
            self.wrong.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith((self.address, "data:", "blob:")):
            self.wrong.append(f"asked {url}")

    def _answered(self, status: int, url: str) -> None:
        if status >= 400:
            self.wrong.append(f"{status} {url}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return finished(tmp_path_factory.mktemp("page") / "home", trials=60)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return finished(tmp_path_factory.mktemp("page") / "other", trials=5)


@pytest.fixture(scope="module")
def served(home: Home, other: Home) -> Iterator[Served]:
    made = Served(home, other)
    yield made
    made.close()


@pytest.fixture
def seen(browser: Browser, served: Served) -> Iterator[Seen]:
    yield from _seen(browser, served.address)


def _seen(
    browser: Browser, address: str, *, width: int = 1280, scheme: Literal["light", "dark"] = "light"
) -> Iterator[Seen]:
    """Yield a fresh browser profile at the page; whatever went wrong in it fails the test."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    made = Seen(context, address)
    yield made
    context.close()
    assert made.wrong == []


def numbers(page: Page) -> list[int]:
    """The trials in the table, in the order that is seen."""
    return [int(text) for text in page.locator("#blocks tbody tr td:first-child").all_inner_texts()]


def test_every_page_opens_without_a_complaint(seen: Seen) -> None:
    for path in (*PAGES, "/1/overview", "/nowhere/at/all"):
        page = seen.open(path)
        expect(page.locator("h1")).not_to_be_empty()
        graphs = page.locator(".js-plotly-plot")
        if path.endswith("overview"):
            expect(graphs.first.locator(".main-svg").first).to_be_visible()
        page.wait_for_timeout(1500)  # a poll or two
        for picture in page.locator("#blocks img").all():
            assert picture.get_attribute("alt")
            assert picture.evaluate("picture => picture.complete && picture.naturalWidth > 0")
        assert seen.wrong == [], path


def test_a_table_is_sorted_filtered_and_turned(seen: Seen) -> None:
    page = seen.open("/0/trials")
    assert numbers(page) == list(range(50))
    page.get_by_role("link", name="next page").click()
    expect(page.get_by_text("60 trials, page 2 of 2")).to_be_visible()
    assert numbers(page) == list(range(50, 60))
    page.get_by_role("columnheader").get_by_role("link", name="value").click()
    expect(page.get_by_text("60 trials, page 1 of 2")).to_be_visible()
    assert numbers(page)[0] == 59
    page.get_by_label("Filter").fill("value>4.6 end=done")
    page.get_by_label("Filter").press("Enter")
    expect(page.get_by_text("2 trials, page 1 of 1")).to_be_visible()
    assert numbers(page) == [3, 0]
    page.get_by_label("Filter").fill("nothing<3")
    page.get_by_label("Filter").press("Enter")
    expect(page.get_by_role("alert").filter(has_text="there is no nothing")).to_be_visible()
    page.go_back()
    page.go_back()
    expect(page.get_by_text("60 trials, page 1 of 2")).to_be_visible()


def test_trials_are_taken_and_compared(seen: Seen) -> None:
    page = seen.open("/0/trials")
    page.get_by_role("button", name="compare trial 0", exact=True).click()
    expect(page.get_by_role("button", name="compare trial 0", exact=True)).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="compare trial 3", exact=True).click()
    page.get_by_role("link", name="Compare (2)").click()
    expect(page.get_by_role("button", name="drop toy (0), trial 3")).to_be_visible()
    page.get_by_label("Add trials by number").fill("1.4")
    page.get_by_label("Add trials by number").press("Enter")
    expect(page.get_by_role("button", name="drop toy (1), trial 4")).to_be_visible()
    row = page.get_by_role("row").filter(has=page.get_by_role("cell", name="lr differs"))
    assert "marked" in (row.get_attribute("class") or "")
    expect(page.locator(".sheet img")).to_have_count(3)
    page.get_by_role("button", name="drop toy (0), trial 0").click()
    expect(page.locator(".sheet img")).to_have_count(2)


def test_a_veto_needs_the_token_and_is_a_file_in_the_home(seen: Seen, home: Home) -> None:
    page = seen.open("/0/trial/5")
    expect(page.get_by_text("This page is read-only")).to_be_visible()
    assert page.get_by_role("button", name="Veto trial 5").count() == 0
    page = seen.open(f"/0/trial/5?token={TOKEN}")
    assert TOKEN not in page.url
    page.get_by_label("Reason").fill("looks like noise")
    page.get_by_role("button", name="Veto trial 5").click()
    expect(page.get_by_text("Vetoed: looks like noise")).to_be_visible()
    assert vetoes.vetoed(home) == {5: "looks like noise"}
    page.get_by_role("button", name="Lift the veto on trial 5").click()
    expect(page.get_by_role("button", name="Veto trial 5")).to_be_visible()
    assert vetoes.vetoed(home) == {}


def test_hostile_text_is_shown_as_text(seen: Seen) -> None:
    page = seen.open("/0/trial/2")
    page.locator("summary").click()
    assert EVIL in page.locator("details pre").inner_text()
    assert EVIL.split(" ")[0] in seen.open("/0/trial/0").locator("figure pre").first.inner_text()
    seen.open("/0/overview").wait_for_timeout(1000)
    assert page.title() != "hit"
    assert page.locator("img[src=x]").count() == 0


def test_the_keyboard_reaches_everything(seen: Seen) -> None:
    for path in PAGES:
        page = seen.open(path)
        page.wait_for_timeout(800)
        wanted = page.evaluate(REACHABLE)
        assert wanted > 5
        for _ in range(wanted + 5):
            page.keyboard.press("Tab")
            place = page.evaluate(
                """() => { const at = document.activeElement, style = getComputedStyle(at); at.dataset.reached = "yes";
                return [at.tagName, (at.innerText || at.id || "").trim(), style.outlineStyle]; }"""
            )
            assert place[0] in ("BODY", "AUDIO") or place[2] != "none", f"{path}: {place} has no visible focus"
        missed = page.evaluate(
            """() => [...document.querySelectorAll("[data-wanted]")].filter(at => !at.dataset.reached)
            .map(at => at.outerHTML.slice(0, 200))"""
        )
        assert missed == [], path


def test_a_link_is_followed_by_the_keyboard(seen: Seen) -> None:
    page = seen.open("/0/trials")
    page.locator("tbody a").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Trial 0 of toy")


def test_a_sound_is_played(seen: Seen) -> None:
    page = seen.open("/0/trial/3")
    sound = page.locator("#blocks audio")
    expect(sound).to_have_count(1)
    told = sound.evaluate(
        """async sound => { sound.muted = true; await sound.play();
        await new Promise(ended => { sound.onended = ended; }); return [sound.duration, sound.error]; }"""
    )
    assert told == [pytest.approx(0.1), None]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(
    browser: Browser, served: Served, scheme: Literal["light", "dark"]
) -> None:
    """WCAG 2.1, success criterion 1.4.3: 4.5 to 1, and 3 to 1 where text is large."""
    for watcher in _seen(browser, served.address, scheme=scheme):
        for path in PAGES:
            page = watcher.open(path)
            page.wait_for_timeout(800)
            assert page.evaluate(FAINT) == [], path


def test_a_phone_needs_no_scrolling_sideways(browser: Browser, served: Served) -> None:
    for phone in _seen(browser, served.address, width=390):
        for path in PAGES:
            page = phone.open(path)
            page.wait_for_timeout(800)
            assert page.evaluate("document.documentElement.scrollWidth") == 390, path


def test_a_page_left_open_grows_with_the_search(browser: Browser, tmp_path: Path) -> None:
    home, made = Home(tmp_path / "home"), study(trials=4)
    home.path.mkdir()
    made.save(home.study)
    ledger = open_ledger(home, made)

    def one(fate: Fate, seq: int) -> None:
        placement = ledger.place("g0", seq, seq)
        assert placement is not None
        train(ledger, placement, fate, epochs=9)

    one(Fate(values={3: 5.0, 9: 4.0}), 1)
    served = Served(home)
    try:
        for watcher in _seen(browser, served.address):
            page = watcher.open("/0/overview")
            expect(page.get_by_text("1 of 4", exact=True)).to_be_visible()
            page.locator("h1").evaluate("title => { title.dataset.kept = 'yes'; }")
            one(Fate(values={3: 4.0, 9: 3.5}), 2)
            expect(page.get_by_text("2 of 4", exact=True)).to_be_visible()
            expect(page.get_by_role("link", name="Trial 1", exact=True)).to_be_visible()  # the new best
            assert page.locator("h1").get_attribute("data-kept") == "yes"  # the page itself was not drawn again
            # What is typed while something comes in stays.
            page = watcher.open("/0/trials")
            page.wait_for_timeout(1500)
            page.get_by_label("Filter").press_sequentially("half a wor", delay=30)
            one(Fate(end="pruned", epochs=3, values={3: 9.0}), 3)
            expect(page.get_by_text("3 trials, page 1 of 1")).to_be_visible()
            expect(page.get_by_label("Filter")).to_have_value("half a wor")
            expect(page.get_by_label("Filter")).to_be_focused()
    finally:
        served.close()
        ledger.close()


def test_a_page_whose_server_has_ended_says_so(browser: Browser, other: Home) -> None:
    served = Served(other)
    context = browser.new_context()
    page = context.new_page()
    page.goto(served.address + "/0/overview")
    page.wait_for_selector("#blocks .block")
    served.close()
    expect(page.get_by_text("The server of this page has ended")).to_be_visible(timeout=WAIT_MS)
    context.close()


def test_a_search_that_runs_is_followed_and_a_veto_stops_its_trial(browser: Browser, tmp_path: Path) -> None:
    request = SMALL | {
        "space": {"base": "vae", "lr": 1e-3, "optimizer": "adam", "batch_size": 64},  # none dies, or ends too soon
        "budget": {"trials": 2, "epochs": 729},
        "resources": {"workers": 1},
        "pruner": "none",
    }
    search = Search(tmp_path, request)
    try:
        search.wait_for(search.starts, what="a trial")
        served = Served(search.home)
        try:
            for watcher in _seen(browser, served.address):
                _follow(watcher, search)
        finally:
            served.close()
        assert search.finish() == 0
    finally:
        if search.process.poll() is None:
            search.kill()


def _follow(watcher: Seen, search: Search) -> None:
    page = watcher.open(f"/0/overview?token={TOKEN}")
    expect(page.get_by_text("running", exact=True).first).to_be_visible()
    for number in range(2):
        search.wait_for(lambda of=number: [event for event in search.events() if event.trial == of], what="an epoch")
        page = watcher.open(f"/0/trial/{number}")
        page.get_by_role("button", name=f"Veto trial {number}").click()
        (ended,) = _until(lambda of=number: [event for event in search.events() if event.trial == of and event.end])
        assert (ended.end, "veto" in ended.cause) == ("pruned", True)
    page = watcher.open("/0/overview")
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    expect(page.get_by_text("finished", exact=True)).to_be_visible(timeout=WAIT_MS)


def _until(condition: Callable[[], list[object]], *, seconds: float = 60) -> list[object]:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found
