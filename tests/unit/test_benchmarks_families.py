"""What the benchmark of families says of a row, what it puts beside a model, and that it goes on where it was."""

import json
import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks is no installed package

from benchmarks import families, processes
from benchmarks.families import HEADER, HEADER_METRICS, GaussianFit, Job, Outcome, Row
from hpo.samplers import trial_seed
from hpo.study import Study
from trainables.data import digits, ring
from trainables.data._data import Data


def row(default: Sequence[float], winner: Sequence[float], *, direction: str = "minimize") -> Row:
    arms = {"default": default, "winner": winner}
    return Row(
        study="some",
        objective="fd_self",
        direction=direction,
        split="test",
        epochs=3,
        trials=30,
        done=4,
        search_seconds=10.0,
        found=1.0,
        won={"lr": 0.1},
        default={"lr": 0.01},
        outcomes=[
            Outcome(arm=arm, metrics={"fd_self": value, "coverage": 0.5}, seconds=2.0, cause=None)
            for arm, values in arms.items()
            for value in values
        ],
        beside={"fd_self": {"floor": 0.25}},
    )


BETTER = row([3.0, 3.2, 2.8, 3.0], [1.0, 1.2, 0.8, 1.0])


def test_the_verdict_wants_a_difference_beyond_the_scatter_of_seeds() -> None:
    assert BETTER.verdict() == "winner better"
    assert row([1.0, 1.2, 0.8, 1.0], [3.0, 3.2, 2.8, 3.0]).verdict() == "**winner worse**"
    assert row([1.0, 5.0, 1.0, 5.0], [1.0, 4.0, 1.0, 5.0]).verdict() == "**winner not better**"
    assert row([0.4, 0.5], [0.9, 0.8], direction="maximize").verdict() == "winner better"
    assert row([0.4], [0.9]).verdict() == "**winner not better**", "one seed has no scatter to be beyond of"


def test_a_winner_that_dies_more_often_than_the_default_is_not_better() -> None:
    dying = [outcome for outcome in BETTER.outcomes if outcome.arm == "winner"][:3]
    dead = Outcome(arm="winner", cause="NaN")
    rest = [outcome for outcome in BETTER.outcomes if outcome.arm == "default"]
    found = replace(BETTER, outcomes=[*rest, *dying, dead])
    assert found.verdict() == "**winner not better**"
    assert found.cells()[HEADER.index("winner")].endswith("(1 died)")


def test_row_says_where_there_is_no_other_winner() -> None:
    assert replace(BETTER, won=None).verdict() == "no trial reached its end"
    assert replace(BETTER, won=BETTER.default).verdict() == "the default won"


def test_cells_hold_mean_and_standard_error_over_seeds_and_what_stands_beside() -> None:
    cells = dict(zip(HEADER, BETTER.cells(), strict=True))
    assert cells["default"] == f"3 ±{math.sqrt(0.08 / 3 / 4):.2g}"
    assert (cells["floor"], cells["copy"], cells["training s"]) == ("0.25", "-", "2.0 / 2.0")
    (line,) = BETTER.lines()
    assert dict(zip(HEADER_METRICS, line, strict=True))["metric"] == "coverage"


@pytest.mark.parametrize("data", [ring.load(rows=2000), digits.load()], ids=["numbers", "levels"])
def test_gaussian_has_the_moments_of_the_training_rows_and_the_range_of_the_data(data: Data) -> None:
    fit = GaussianFit(data)
    samples = fit.sample(fit.draw_samples(torch.Generator().manual_seed(0), rows=20_000))
    assert samples.dtype == data.train.x.dtype
    assert samples.shape[1:] == data.shape
    if data.levels is not None:
        assert (int(samples.min()), int(samples.max())) == (0, data.levels - 1)
        return
    rows = data.train.x.double()
    torch.testing.assert_close(samples.double().mean(0), rows.mean(0), rtol=0.0, atol=0.03)
    torch.testing.assert_close(torch.cov(samples.double().T), torch.cov(rows.T), rtol=0.0, atol=0.03)


def test_training_is_measured_on_the_test_rows_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "SHOWN", ())
    space = {"architecture": "mlp", "latent": 2, "width": 8, "depth": 1, "batch_size": 500, "optimizer": "adam"}
    params = {**space, "lr": 1e-3}
    study = Study(
        name="tiny", model="vae", data="digits", space=params, objective="elbo", budget={"trials": 1, "epochs": 1}
    )
    job = Job(arm="default", seed=3, params=params, file=tmp_path / "a.json", sheet=tmp_path / "a.png")
    outcome = families.train(study, "test", job)
    assert (tmp_path / "a.png").exists()
    trainer = families.parts.trainer_of(study, params, seed=3, metrics=families.metrics_of(study))
    trainer.advance()
    on_test = trainer.measure(["elbo"], split="test")["elbo"].value  # type: ignore[attr-defined]
    assert outcome.metrics["elbo"] == pytest.approx(on_test)
    assert outcome.cause is None
    job.file.write_text(json.dumps({"arm": "default", "metrics": {"elbo": 7.0}, "seconds": 1.0, "cause": None}))
    assert families.train(study, "test", job).metrics == {"elbo": 7.0}


def test_rows_to_judge_by_are_those_of_test_where_the_objective_takes_so_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(families, "SHOWN", ())
    ring_study, prices = (Study.load(name) for name in ("ring-gan", "prices-rgan"))
    assert families.split_of(ring_study) == "test"
    assert families.split_of(prices) == "validation"
    beside = families.beside(prices, "validation")["fd_rocket"]
    assert set(beside) == {"floor", "copy", "Gaussian"}


def test_seeds_are_none_of_the_search() -> None:
    searched = {trial_seed(0, number) for number in range(1000)}
    assert not searched & {trial_seed(1, number) for number in range(1000)}


def test_search_is_as_a_user_runs_it_with_a_shorter_grace_for_a_shorter_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    monkeypatch.setattr(processes, "run", lambda command, **_: ran.extend(command))
    options = Namespace(trials=9, epochs=27, minutes=30.0, set=["fuse=4"], workers=2, timeout=1.0)
    families.search("digits-gan", tmp_path / "home", options)
    assert ran[1:5] == ["search", "digits-gan", "--home", str(tmp_path / "home")]
    wanted = {"fuse=4", "budget.trials=9", "budget.epochs=27", "pruner.grace=3", "budget.hours=0.5"}
    assert wanted <= set(ran)
    ran.clear()
    families.search("digits-vae", tmp_path / "home", options)
    assert not any(part.startswith(("budget.epochs", "pruner")) for part in ran), "its own budget is no longer"


def test_study_that_is_there_is_shown_again_and_one_that_fails_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure(name: str, options: Namespace) -> Row:
        if name == "fails":
            raise processes.RunFailed("it took too long")
        return replace(BETTER, study=name)

    arguments = ["--out", str(tmp_path), "--studies", "one", "fails", "two"]
    monkeypatch.setattr(families, "measure", measure)
    with pytest.raises(SystemExit, match="fails: it took too long"):
        families.main(arguments)
    first = capsys.readouterr().out
    assert [line.split(" | ")[0] for line in first.splitlines() if "fd_self" in line] == ["| one", "| two"]
    monkeypatch.setattr(families, "measure", lambda *_: pytest.fail("it was there"))
    again = families.main([*arguments[:3], "one", "two"])
    assert [found.cells() for found in again] == [replace(BETTER, study=name).cells() for name in ("one", "two")]
