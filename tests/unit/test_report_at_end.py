"""The report at the end of a search: written into the home, and never the reason why a search fails."""

from __future__ import annotations

from pathlib import Path

import pytest
from searched import Fate, search, study

import hpo
from hpo.launch import Result


@pytest.fixture
def ended(tmp_path: Path) -> Result:
    """A search of one trial that MLflow knows nothing of."""
    made = study(trials=1)
    home = search(tmp_path / "home", made, lambda number, params: Fate(values={9: 1.0}))
    return Result(study=made, home=home.path, status={}, interrupted=False, unsynced=1)


def test_the_report_is_written_into_the_home(ended: Result) -> None:
    result = hpo._reported(ended)
    assert result.report == ended.home / "report.html"
    assert "Trial 0 reached score" in (ended.home / "report.html").read_text(encoding="utf-8")
    assert result.no_report == ""


def test_a_report_that_cannot_be_written_is_told_and_nothing_else_happens(ended: Result) -> None:
    (ended.home / "report.html").mkdir()  # a file cannot take its place
    result = hpo._reported(ended)
    assert result.report is None
    assert "report.html" in result.no_report
    assert result.best is not None


def test_a_run_that_mlflow_does_not_have_costs_the_attachment_alone(ended: Result) -> None:
    known = Result(study=ended.study, home=ended.home, status={}, interrupted=False, unsynced=0)
    assert hpo._reported(known).report == ended.home / "report.html"
