"""The ways to move a stack's parameters that the benchmark compares make the same updates."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks is no installed package

from benchmarks import updates
from benchmarks.updates import CHOICES
from trainables.training.flat import Layout

LAYOUT = Layout.of([torch.zeros(5, 7), torch.zeros(3), torch.zeros(4, 4)])


@pytest.mark.parametrize("choice", CHOICES)
def test_all_arms_make_the_same_updates(choice: str) -> None:
    ready = updates.updates(LAYOUT, CHOICES[choice] * 2)
    start = ready["flat"].values().clone()
    for update in ready.values():
        update.steps(40)
    reached = {label: update.values() for label, update in ready.items()}
    assert float((reached["flat"] - start).abs().max()) > 0.01
    for values_KP in reached.values():
        torch.testing.assert_close(values_KP, reached["flat"], rtol=1e-4, atol=1e-6)


def test_the_benchmark_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--models", "gan", "--widths", "2", "--seconds", "0", "--rounds", "2"]
    updates.main([*arguments, "--json", str(tmp_path / "found.json")])
    shown = capsys.readouterr().out
    assert f"P = {updates.layout_of('gan').size} in 6 tensors" in shown
    assert shown.count("\n| mixed | 2 |") == 1
    assert (tmp_path / "found.json").exists()
