"""dashboards.report: the page is parsed, not searched, and must stand alone whatever a home holds."""

from __future__ import annotations

import base64
import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import optuna
import pytest
from PIL import Image
from searched import Fate, search, study

from dashboards import report, sections
from hpo import analysis
from hpo.analysis import Reading
from hpo.errors import RequestError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.messages import Event, Params
from hpo.reading import Span
from hpo.rows import TrialRow
from hpo.selected import Final, Finalist, Interval, Run, Selection
from hpo.study import Budget, Constraint, Objective, Study
from search_spaces import Choice, Float, Space

NOW = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
VOID = {"meta", "img", "br", "link", "base", "input"}
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'"


class Page(HTMLParser):
    """Elements in order as (tag, attributes), the text of each script, and the visible text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.scripts: list[str] = []
        self.styles: list[str] = []
        self.headings: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"left open: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self._open[-1:] == ["style"]:
            self.styles.append(data)
        else:
            self.text += data
            if self._open[-1:] == ["h2"]:
                self.headings.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]


def sheet(home: Home, trial: int, step: int, *, size: int = 16) -> str:
    path = home.sheet(trial, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (size, size), color=trial % 256).save(path)
    return str(path.relative_to(home.path))


def fate(number: int, params: Params) -> Fate:
    ends = {
        1: Fate(end="pruned", epochs=3, values={3: 7.0}),
        2: Fate(end="died", epochs=2, cause="loss is nan"),
        3: Fate(end="lost", epochs=1, cause="Traceback\n  in train\nValueError: a bug"),
    }
    return ends.get(
        number, Fate(values={3: 20.0, 9: 5.0 + number}, files=(f"samples/trial-{number:06d}/step-000009.png",))
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    found = search(tmp_path / "home", study(trials=16), fate)
    for number in (0, 4, 5):
        sheet(found, number, 9)
    return found


def page_of(home: Home) -> Page:
    return Page(report.page(home, analysis.read(home), now=NOW))


def test_the_page_has_every_part(home: Home) -> None:
    page = page_of(home)
    assert page.headings == [
        "The winner", "The techniques, in words", "Effect of each technique on score", "Value of each trial: score",
        "Learning curves: score", "Learning curves: loss", "Learning rate in force",
        "Importance of each parameter for score", "Parameters of the done trials: score",
        "Value against each parameter: score", "Slots taken, and epochs a minute", "How trials ended",
        "Samples of the best", "How trials ended, one by one", "Data, license and versions",
    ]  # fmt: skip
    for text in ("toy", "Trial 0 reached score = 5", "16 of 16", "loss is nan", "ValueError: a bug", "optimizer"):
        assert text in page.text
    assert "finished" in page.text


def test_what_the_winner_is_read_beside_is_in_the_page(home: Home) -> None:
    measured = {"score": 5.0, "score.mle_80": 6.5, "score.copy_of_train": 4.5, "<b>bits": 2.0, "<b>bits.five_gram": 3.0}
    log = EventLog(home)
    log.append([Event(trial=0, step=9, time=1e9, metrics=measured, value=5.0, end="done")])
    log.close()
    page = page_of(home)
    assert page.headings[:2] == ["The winner", "Beside the winner"]
    text = page.text[page.text.index("Beside the winner") : page.text.index("The techniques, in words")]
    for row in ("score<b>bits", "trial 052", "a copy of the training rows4.5", "a 5-gram model3",
                "likelihood alone at temperature 0.86.5"):  # fmt: skip
        assert row in text
    assert not page.all("b")


def test_each_figure_is_drawn_once_by_one_copy_of_plotly(home: Home) -> None:
    page = page_of(home)
    figures = [attributes["id"] for attributes in page.all("div") if attributes.get("class") == "plotly-graph-div"]
    assert figures == [
        "figure-history", "figure-curves-0", "figure-curves-1", "figure-importances", "figure-parallel",
        "figure-slices", "figure-load", "figure-ends",
    ]  # fmt: skip
    assert sum(len(script) > 1_000_000 for script in page.scripts) == 1
    for name in figures:
        assert sum(f'Plotly.newPlot(                        "{name}"' in script for script in page.scripts) == 1


def test_an_objective_of_every_epoch_needs_no_second_metric(tmp_path: Path) -> None:
    def each_epoch(number: int, params: Params) -> Fate:
        return Fate(values={step: float(step) for step in range(1, 10)})

    found = page_of(search(tmp_path / "home", study(trials=2), each_epoch)).headings
    assert [text for text in found if text.startswith("Learning curves")] == ["Learning curves: score"]


def test_nothing_is_loaded_from_anywhere(home: Home) -> None:
    page = page_of(home)
    assert not page.all("link")
    assert not page.all("iframe")
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            if name in ("src", "href", "srcset", "action", "data", "poster", "background", "formaction"):
                assert value.startswith("data:image/png;base64,"), (tag, name, value[:80])
    assert not any("url(" in style or "@import" in style for style in page.styles)
    policy = next(item["content"] for item in page.all("meta") if item.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    assert "http" not in policy
    assert "viewport" in [item.get("name") for item in page.all("meta")]


def test_no_figure_offers_to_send_itself_to_a_server(home: Home) -> None:
    drawn = [script for script in page_of(home).scripts[1:] if "Plotly.newPlot" in script]
    assert len(drawn) == 8
    for script in drawn:
        assert '"showSendToCloud": false' in script
        assert "http" not in script


def test_sample_sheets_are_inside_the_page_best_first(home: Home) -> None:
    images = page_of(home).all("img")
    assert [image["alt"] for image in images] == [
        "Samples, trial 0, samples", "Samples, trial 0: 5", "Samples, trial 4: 9", "Samples, trial 5: 10",
    ]  # fmt: skip
    data = base64.b64decode(images[0]["src"].removeprefix("data:image/png;base64,"))
    assert data == home.sheet(0, 9).read_bytes()


def test_a_sheet_of_text_is_shown_as_it_is_and_runs_nothing(tmp_path: Path) -> None:
    def textual(number: int, params: Params) -> Fate:
        return Fate(values={3: 20.0, 9: 5.0 + number}, files=(f"samples/trial-{number:06d}/step-000009.txt",))

    found = search(tmp_path / "home", study(trials=2), textual)
    for number, text in ((0, f"'a line'\n{EVIL!r}\n\ufffd"), (1, "x" * (sections.TEXT_BYTES + 5))):
        path = found.sheet(number, 9).with_suffix(".txt")
        path.parent.mkdir(parents=True)
        path.write_text(text, encoding="utf-8")
    page = page_of(found)
    assert [item["class"] for item in page.all("figure") if item.get("class") == "text"] == ["text"] * 3
    assert "'a line'" in page.text
    assert repr(EVIL) in page.text
    assert not any("alert(" in script for script in page.scripts)
    assert not page.all("img")
    assert f"{'x' * sections.TEXT_BYTES}..." in page.text
    assert "x" * (sections.TEXT_BYTES + 1) not in page.text


@pytest.mark.parametrize("file", ["../secret.png", "samples/../../secret.png", "samples/link.png", "study.yaml"])
def test_no_file_outside_the_samples_gets_into_the_page(tmp_path: Path, file: str) -> None:
    secret = tmp_path / "secret.png"
    Image.new("L", (4, 4)).save(secret)
    home = search(tmp_path / "home", study(trials=1), lambda number, params: Fate(values={9: 1.0}, files=(file,)))
    home.samples.mkdir()
    (home.samples / "link.png").symlink_to(secret)
    assert not page_of(home).all("img")


def test_a_sheet_too_large_for_the_page_is_named_instead(home: Home) -> None:
    home.sheet(0, 9).write_bytes(b"x" * 600_000)
    page = page_of(home)
    assert "too large for this page; it is samples/trial-000000/step-000009.png" in page.text
    assert len(page.all("img")) == 2


def test_text_of_a_home_is_never_markup(tmp_path: Path) -> None:
    space = Space(
        "evil", {"lr": Float(1e-4, 1e-1, default=1e-2, log=True), "kind": Choice((EVIL, "mild"), default=EVIL)}
    )
    plain = study(trials=16)
    evil = plain.model_copy(update={"objective": Objective(metric=f"<i>m</i>{EVIL}", direction="minimize")})

    def cause(number: int, params: Params) -> Fate:
        return replace(fate(number, params), cause=f"{EVIL}\n{EVIL}" if number in (2, 3) else "")

    calm = page_of(search(tmp_path / "calm", plain, fate))
    page = page_of(search(tmp_path / "evil", evil, cause, space=space))
    assert len(page.scripts) == len(calm.scripts)
    assert not any("alert(1)</script>" in script or script.strip() == "alert(1)" for script in page.scripts)
    assert not page.all("img")
    assert not page.all("b")
    assert not page.all("i")
    assert page.text.count(EVIL) >= 3  # shown as what it is: the value, the causes, the metric
    for script in page.scripts[1:]:  # in the figures too: JSON may hold no tag, nor Plotly's own kind of markup
        assert "<img" not in script.replace("\\u003c", "<").replace("&lt;", "")


def test_five_hundred_trials_stay_below_eight_megabytes(tmp_path: Path) -> None:
    home = Home(tmp_path)
    text = report.page(home, synthetic(home, 500), now=NOW)
    assert len(text.encode()) < 8_000_000
    for heading in ("Learning rate in force", "fid against nll", "Importance of each", "Slots taken", "Effect of each"):
        assert f">{heading}" in text
    assert len(Page(text).all("img")) == sections.SHEETS + 1


def synthetic(home: Home, count: int) -> Reading:
    """Every trial done with five metrics at each of 27 epochs, two rates among them, in two groups; sheets as large as
    the page takes."""
    axes = [analysis.Axis(name=f"p{k}", low=0.0, high=1.0) for k in range(14)]
    made = Study(
        name="large", model="nowhere.train", space={"p0": 1.0}, objective=Objective(metric="nll", direction="minimize"),
        budget=Budget(trials=count, epochs=27), constraints=[Constraint(metric="fid", at_most=3.0)],
    )  # fmt: skip
    rows, events, spans, done = [], {}, {}, []
    for number in range(count):
        params: Params = {axis.name: (number * 37 % 101) / 101 for axis in axes}
        rows.append(TrialRow(number=number, end="done", params=params, seed=number, value=1.0 + number, placements=1))
        name = f"samples/trial-{number:06d}/step-000027.png"
        events[number] = tuple(
            Event(
                trial=number, step=step, time=float(step), value=number + 1 / step,
                metrics={"generator.lr": 1e-3 / step, "discriminator.lr": 1e-3, "fid": number / step, "loss": 1.0},
                files=(name,) if step == 27 else (), end="done" if step == 27 else None,
            )
            for step in range(1, 28)
        )  # fmt: skip
        spans[number] = (Span(trial=number, group=f"g{number % 2}", start=0.0, end=27.0 + number),)
        kinds = {axis.name: optuna.distributions.FloatDistribution(0.0, 1.0) for axis in axes}
        done.append(optuna.trial.create_trial(params=params, distributions=kinds, value=1.0 + number))
        if number < sections.SHEETS:
            home.sheet(number, 27).parent.mkdir(parents=True)
            home.sheet(number, 27).write_bytes(b"x" * (sections.IMAGE_BYTES // (sections.SHEETS + 1)))
    return Reading(
        study=made, objective=Objective(metric="nll", direction="minimize"), axes=tuple(axes), rows=tuple(rows),
        events=events, spans=spans, done=tuple(done),
    )  # fmt: skip


def test_a_search_under_way_can_be_reported(tmp_path: Path) -> None:
    def running(number: int, params: Params) -> Fate:
        return Fate(end=None, epochs=2, values={2: 1.0})

    home = search(tmp_path / "home", study(trials=2), running)
    with home.locked():
        page = page_of(home)
    assert "under way or interrupted" in page.text
    assert "No trial is done yet" in page.text
    assert "not ended yet" in page.text


def test_a_home_without_a_trial_can_be_reported(tmp_path: Path) -> None:
    home = Home(tmp_path)
    study().save(home.study)
    page = page_of(home)
    assert "0 of 8" in page.text
    assert not [item for item in page.all("div") if item.get("class") == "plotly-graph-div"]


def test_a_pruner_by_dotted_path_is_not_imported(tmp_path: Path, home: Home) -> None:
    text = home.study.read_text(encoding="utf-8").replace("pruner: none", "pruner: nowhere.to.be.Found")
    assert "nowhere.to.be" in text
    home.study.write_text(text, encoding="utf-8")
    assert "Learning curves: score" in page_of(home).headings


def test_write_puts_the_page_into_the_home_or_where_it_is_asked(home: Home, tmp_path: Path) -> None:
    assert report.write(home) == home.report
    assert home.report.read_text(encoding="utf-8").startswith("<!doctype html>")
    elsewhere = tmp_path / "new" / "page.html"
    assert report.write(home, elsewhere) == elsewhere
    assert [path.name for path in elsewhere.parent.iterdir()] == ["page.html"]
    assert elsewhere.stat().st_mode & 0o777 == 0o644


def test_a_report_that_fails_leaves_the_old_one(home: Home) -> None:
    home.report.write_text("old", encoding="utf-8")
    (home.events / "events.jsonl").write_text("not JSON\n", encoding="utf-8")
    with pytest.raises(RequestError, match="must be JSON"):
        report.write(home)
    assert home.report.read_text(encoding="utf-8") == "old"
    assert not list(home.path.glob(".report-*"))


def test_a_folder_that_is_no_home_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="has none"):
        report.write(Home(tmp_path / "nowhere"), tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_causes_are_counted_with_the_trials_they_ended(home: Home) -> None:
    text = re.sub(r"\s+", " ", page_of(home).text)
    ends = text[text.index("How trials ended, one by one") :]
    assert "done-140, 4, 5, 6, 7, ..." in ends  # end, cause, count, numbers
    assert "diedloss is nan12" in ends
    assert "lostValueError: a bugTraceback in train ValueError: a bug13" in ends


def chosen(*, gain: Interval | None = None, note: str = "the test rows do not measure it") -> Selection:
    """Two finalists and a default that was never tried; trial 4 won."""

    def run(seed: int, value: float | None) -> Run:
        return Run(trial=seed, seed=seed, value=value, cause="" if value else "loss is nan")

    def finalist(name: str, values: list[float | None], *, searched: float | None, out: int | None) -> Finalist:
        alive = [value for value in values if value is not None]
        return Finalist(
            name=name, trial=None, params={"lr": 0.01}, searched=searched,
            runs=tuple(run(seed, value) for seed, value in enumerate(values)),
            mean=sum(alive) / len(alive), median=min(alive), error=0.5 if len(alive) > 1 else None, chance=0.75,
            out_after=out,
        )  # fmt: skip

    def final(name: str, mean: float) -> Final:
        expected = Interval(mean=mean, low=mean - 1, high=mean + 1)
        return Final(
            name=name, params={"lr": 0.01, "kind": EVIL}, runs=(run(9, mean),), expected=expected, one_run=None
        )

    return Selection(
        objective="score", direction="minimize", stage=1, finalists_asked=2, seeds_asked=3, epochs=9, rule=f"{EVIL}.",
        finalists=(
            finalist("trial 4", [6.0, 7.0, None], searched=5.5, out=None),
            finalist("trial 0", [9.0, 8.0], searched=5.0, out=2),
            finalist("default", [10.0], searched=None, out=None),
        ),
        winner=final("trial 4", 6.5), default=final("default", 10.25), shrinkage=0.182, gain=gain, gain_note=note,
        made="2026-01-02",
    )  # fmt: skip


def test_a_selection_comes_first_with_its_finalists(home: Home) -> None:
    chosen(gain=Interval(mean=3.75, low=2.5, high=5.0), note="").save(home)
    page = page_of(home)
    assert page.headings[:3] == [
        "The winner over fresh seeds: trial 4", "Finalists over fresh seeds: score", "The best trial of the search",
    ]  # fmt: skip
    for text in ("6.5 (95 %: 5.5 to 7.5)", "value in the search5.5", "18.2%", "3.75 (95 %: 2.5 to 5)", "75%", EVIL):
        assert text in page.text
    assert len(page.scripts) == len(page_of(home).scripts)
    assert not any(script.strip() == "alert(1)" for script in page.scripts)


def test_a_gain_that_was_not_measured_is_said_why(home: Home) -> None:
    chosen().save(home)
    assert "the test rows do not measure it" in page_of(home).text


def test_data_of_ours_are_named_with_their_license_and_no_other_loader_is_run(tmp_path: Path) -> None:
    def page_with(data: str) -> str:
        home = search(tmp_path / data, study(trials=1), lambda number, params: Fate(values={9: 1.0}))
        home.study.write_text(f"{home.study.read_text(encoding='utf-8')}\ndata: {data}\n", encoding="utf-8")
        return page_of(home).text

    assert "licenseCC BY 4.0" in page_with("digits")
    assert "not known: the data are not ours" in page_with("nowhere.to.be.found")


def test_the_page_is_made_to_be_printed(home: Home) -> None:
    style = "".join(page_of(home).styles)
    printed = style[style.index("@media print") :]
    assert "break-inside: avoid" in printed
    assert "color-scheme: light" in style


def test_the_techniques_are_told_in_words_and_drawn(tmp_path: Path) -> None:
    def by_lr(number: int, params: Params) -> Fate:
        return Fate(values={9: 10 * abs(math.log10(float(params["lr"])) + 2.5)})

    page = page_of(search(tmp_path / "home", study(trials=60), by_lr))
    assert "Learning rate: with lr" in page.text or "Learning rate: no level is surely better" in page.text
    assert "Transfer: not searched." in page.text
    assert "what a technique does by itself is seen under `sampler: random`" in page.text
    assert "figure-effects" in [item.get("id") for item in page.all("div")]
