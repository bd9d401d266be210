"""What people want from MLflow's own page, in a real browser: filter, compare, chart all trials, step through images.

The elements are found by what a person sees, or else by test ids that MLflow's page has for its own tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from played import SHEETS_AT, play, played_study
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright
from servers import NO_CHROMIUM, MLflowServer, chromium

from dashboards.pages import figure_pages
from hpo.home import Home
from hpo.mlflow_client import connect
from hpo.mlflow_files import SMALL_PIXELS
from hpo.study import Study
from hpo.tracking import sync

pytestmark = pytest.mark.browser

TRIALS = 5
PATIENCE_MS = 60_000  # the page loads 15 MB of script, on a machine that may be busy


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    if chromium() is None:
        pytest.skip(NO_CHROMIUM)
    with MLflowServer(tmp_path_factory.mktemp("server")) as server:
        yield server


@pytest.fixture(scope="module")
def home(server: MLflowServer, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A search that is over and told to the server."""
    study = played_study("played", trials=TRIALS, tracking=server.uri)
    home = play(study, tmp_path_factory.mktemp("played") / "home")
    sync(study, home, figures=figure_pages)
    return home


@pytest.fixture(scope="module")
def runs(home: Home) -> dict[str, Any]:
    client = connect(Study.load(home.study).tracking or "")
    experiment = client.get_experiment_by_name("played")
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


@pytest.fixture(scope="module")
def browser(server: MLflowServer) -> Iterator[Browser]:
    """After the server, which skips where there is no browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own: MLflow's remembers which rows were unfolded. Wide, so that nothing is cut off."""
    page = browser.new_page(viewport={"width": 1900, "height": 1100})
    page.set_default_timeout(PATIENCE_MS)
    expect.set_options(timeout=PATIENCE_MS)
    yield page
    page.context.close()


def open_runs(page: Page, server: MLflowServer, runs: dict[str, Any]) -> str:
    """Open the table of runs with the trials unfolded below their study, and return its address."""
    address = f"{server.uri}/#/experiments/{runs['home'].info.experiment_id}/runs"
    page.goto(address)
    row_of(page, "home").get_by_role("button").first.click()
    expect(row_of(page, "trial-000000")).to_be_visible()
    return address


def row_of(page: Page, name: str) -> Locator:
    return page.locator(".ag-row", has=page.get_by_role("link", name=name, exact=True))


def with_optimizer(runs: dict[str, Any], optimizer: str) -> list[str]:
    return sorted(name for name, run in runs.items() if run.data.params.get("optimizer") == optimizer)


def test_a_filter_typed_into_the_page_leaves_the_trials_that_it_names(
    page: Page, server: MLflowServer, runs: dict[str, Any]
) -> None:
    adam, others = with_optimizer(runs, "adam"), with_optimizer(runs, "sgd")
    assert adam
    assert others
    open_runs(page, server, runs)
    expect(row_of(page, others[0])).to_be_visible()
    box = page.get_by_test_id("search-box")
    box.fill("params.optimizer = 'adam'")
    box.press("Enter")
    expect(row_of(page, others[0])).to_have_count(0)
    for name in adam:
        expect(row_of(page, name)).to_be_visible()


def test_trials_are_compared_side_by_side(page: Page, server: MLflowServer, runs: dict[str, Any]) -> None:
    open_runs(page, server, runs)
    for name in ("trial-000000", "trial-000001"):
        row_of(page, name).locator(".ag-checkbox-input").click()
    page.get_by_test_id("runs-compare-button").click()
    expect(page).to_have_url(re.compile("compare-runs"))
    for name in ("trial-000000", "trial-000001"):
        expect(page.get_by_text(runs[name].data.params["lr"]).first).to_be_attached()


def test_one_metric_of_all_trials_is_one_chart(page: Page, server: MLflowServer, runs: dict[str, Any]) -> None:
    page.goto(f"{open_runs(page, server, runs)}?compareRunsMode=CHART")
    charts = page.get_by_test_id("experiment-view-compare-runs-card")
    chart = charts.filter(has=page.get_by_text("generator.loss", exact=True))
    page.get_by_placeholder("Search metric charts").fill("generator.loss")
    for number in range(TRIALS):
        expect(chart.get_by_text(f"trial-{number:06d} (generator.loss)")).to_be_attached()


def test_the_slider_steps_through_the_images_of_a_trial(page: Page, server: MLflowServer, runs: dict[str, Any]) -> None:
    run = runs["trial-000001"]
    page.goto(f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/model-metrics")
    page.get_by_placeholder("Search metric charts").fill("samples")
    card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="samples")
    slider = card.get_by_role("slider")
    for step in SHEETS_AT:
        slider.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuenow", str(step))
        image = card.locator(f"img[src*='step%2B{step}%2B']")
        expect(image).to_be_visible()
        assert image.evaluate("async image => (await image.decode(), image.naturalWidth)") == SMALL_PIXELS


def test_the_figures_of_the_study_open_in_its_artifacts(page: Page, server: MLflowServer, runs: dict[str, Any]) -> None:
    run = runs["home"]
    page.goto(f"{server.uri}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}"
              "/artifacts/figures/figures.html")  # fmt: skip
    frame = page.frame_locator("iframe").first
    for name in ("history", "learning-curves", "parallel-coordinates", "slices"):
        expect(frame.locator(f"#figure-{name} .main-svg").first).to_be_attached()
