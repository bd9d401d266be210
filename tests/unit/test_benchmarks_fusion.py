"""The benchmark of fusion compares equal trainings, counts what was trained, and says what it could not measure."""

import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

sys.path.append(str(Path(__file__).parents[2]))  # benchmarks is no installed package

from benchmarks import arms, dcgan, fusion, machine, processes, sharing, study
from benchmarks.arms import WORKLOADS, Arm
from benchmarks.fusion import AtWidth, Found
from trainables.training.alone import Training
from trainables.training.company import Company, StackFailed
from trainables.training.params import Params
from trainables.training.widths import Fit

TINY = dcgan.PARAMS | {"latent": 3, "width": 2, "batch_size": 2}


def copied(ours: nn.Module, plain: nn.Module) -> None:
    """Give the plain module our weights: both have the same parameters in the same order."""
    with torch.no_grad():
        for mine, theirs in zip(ours.parameters(), plain.parameters(), strict=True):
            theirs.copy_(mine)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)


def built(name: str, *, rows: int | None = None) -> tuple[Any, Any, torch.Tensor, Any]:
    """Our model and the peer's, in float64, then rows of data and our knobs."""
    workload = WORKLOADS[name]
    data = workload.data() if rows is None else workload.data(rows=rows)
    params = TINY if name == "dcgan" else workload.params
    peer: Any = workload.plain(params, data, False)
    read = Params(params)
    ours = workload.family.build(read, data=data, generator=torch.Generator().manual_seed(3)).double()
    return ours, peer.model.double(), data.train.x[:8], workload.family.knobs(read)


def test_the_peer_vae_has_our_loss() -> None:
    ours, plain, x, knobs = built("vae-small")
    copied(ours.vae["encoder"], plain.encoder)
    copied(ours.vae["decoder"], plain.decoder)
    z, weight_B = noise(len(x), ours.latent), torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    loss, _ = ours("vae", x, {"latent": z}, ours.in_force(knobs, progress=1.0), weight_B)
    torch.testing.assert_close(plain.loss(x.flatten(1).long(), z), loss, rtol=1e-10, atol=0.0)


@pytest.mark.parametrize("name", ["gan", "gan-conv"])
def test_the_peer_gan_has_our_losses(name: str) -> None:
    ours, plain, x, knobs = built(name)
    copied(ours.discriminator, plain.discriminator)
    copied(ours.generator, plain.generator)
    z, weight_B = noise(len(x), *ours.noise_shape), torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    rows = x.double() * (2.0 / 16.0) - 1.0
    theirs = {
        "discriminator": plain.discriminator_loss(rows if name == "gan-conv" else rows.flatten(1), z, r1=knobs["r1"]),
        "generator": plain.generator_loss(z),
    }
    assert knobs["r1"] == 1.0
    for player in ours.players:
        loss, _ = ours(player, x, {"latent": z}, knobs, weight_B)
        torch.testing.assert_close(theirs[player], loss, rtol=1e-10, atol=0.0)


def test_the_peer_dcgan_has_our_losses() -> None:
    ours, plain, x, knobs = built("dcgan", rows=8)
    copied(ours.discriminator, plain.discriminator)
    copied(ours.generator, plain.generator)
    z, weight_B = noise(len(x), ours.latent), torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    real = x.double() * (2.0 / 255.0) - 1.0
    theirs = {"discriminator": plain.discriminator_loss(real, z), "generator": plain.generator_loss(z)}
    for player in ours.players:
        loss, _ = ours(player, x, {"latent": z}, knobs, weight_B)
        torch.testing.assert_close(theirs[player], loss, rtol=1e-10, atol=0.0)


def test_batch_normalization_ignores_rows_without_weight() -> None:
    layer = dcgan.WeightedBatchNorm(3).to_empty(device="cpu").double()
    nn.init.normal_(layer.scale, 1.0)
    nn.init.normal_(layer.shift)
    x = noise(5, 3, 4, 4).requires_grad_()
    weight_B = torch.tensor([0.25, 0.25, 0.25, 0.25, 0.0], dtype=torch.float64)
    ours = layer(x, weight_B)[:4]
    stock = nn.functional.batch_norm(x[:4], None, None, layer.scale, layer.shift, training=True)
    torch.testing.assert_close(ours, stock, rtol=1e-10, atol=1e-12)
    inputs = (x, layer.scale, layer.shift)
    found, expected = (torch.autograd.grad((y**3).sum(), inputs) for y in (ours, stock))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_batch_normalization_has_the_gradient_of_unequal_weights() -> None:
    layer = dcgan.WeightedBatchNorm(2).to_empty(device="cpu").double()
    nn.init.normal_(layer.scale, 1.0)
    nn.init.normal_(layer.shift)
    weight_B = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    x = noise(3, 2, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x, weight_B), (x, layer.scale, layer.shift))


def test_dcgan_in_company_is_dcgan_alone() -> None:
    def training(seed: int) -> Training:
        return Training(dcgan.Model, data, TINY, seed=seed, epochs=5)

    data = dcgan.load(rows=6)
    alone, members = [training(seed) for seed in range(3)], [training(seed) for seed in range(3)]
    company = Company(lambda _: 3)
    for member in members:
        company.join(member)
    turns = company.advance()
    assert {turn.trainer for turn in turns} == set(members)
    for one, member in zip(alone, members, strict=True):
        before, after = one.advance().metrics, member.advance().metrics
        assert after == pytest.approx(before, rel=1e-4)
        assert before["generator.loss"] > 0.0
        for mine, theirs in zip(one.module.parameters(), member.module.parameters(), strict=True):
            torch.testing.assert_close(theirs, mine, rtol=1e-3, atol=1e-5)


def test_dcgan_samples_whole_levels() -> None:
    rows = Training(dcgan.Model, dcgan.load(rows=2), TINY, seed=0, epochs=1).sample(3)
    assert rows.dtype == torch.uint8
    assert rows.shape == (3, 3, 64, 64)


def test_dcgan_refuses_other_images() -> None:
    with pytest.raises(ValueError, match="64 x 64 pixels"):
        dcgan.Model.build(Params(TINY), data=WORKLOADS["vae"].data(), generator=torch.Generator())


@pytest.mark.parametrize(("kind", "width", "steps"), [("plain", 1, 15), ("ours", 1, 16), ("ours", 3, 48)])
def test_every_members_steps_are_counted(kind: Any, width: int, steps: int) -> None:
    # 1000 rows in batches of 64: the peer leaves the rest out, ours takes it along into the next epoch.
    runner = arms.build(Arm(workload="vae-small", kind=kind, width=width))
    assert arms.timed(runner, seconds=0.0, device="cpu").steps == steps


def test_processes_train_what_they_are_given_and_tell_what_fails() -> None:
    arm = Arm(workload="vae-small", kind="plain")
    with sharing.Processes(2) as pool:
        pool.build([arm, replace(arm, kind="ours", width=2)])
        assert pool.timed(0.0, count=2).steps == 15 + 32
        assert pool.timed(0.0, count=1).steps == 15
        with pytest.raises(RuntimeError, match="no-such-model"):
            pool.build([arm, replace(arm, workload="no-such-model")])


def test_memory_that_is_too_small_is_told_from_other_errors() -> None:
    assert sharing.is_memory(torch.OutOfMemoryError())
    assert sharing.is_memory(StackFailed([], torch.OutOfMemoryError(), rows=1))
    assert not sharing.is_memory(StackFailed([], ValueError(), rows=1))
    assert not sharing.is_memory(RuntimeError("shape"))


def found(*widths: AtWidth, chosen: int) -> Found:
    fit = Fit(structure="", device="cpu", seconds={1: 2.0, 8: 1.0}, memory={}, width=chosen, spent=1.5)
    return Found(workload="gan", widths=list(widths), fit=fit)


def test_ratios_are_those_of_one_round() -> None:
    # The second round ran on a machine half as fast: rates fall by half, ratios stay.
    at = AtWidth(width=8, rates={"plain": [100.0, 50.0], "alone": [110.0, 55.0], "fused": [300.0, 150.0]})
    assert at.ratios("fused", "plain") == [3.0, 3.0]
    alone = AtWidth(
        width=1,
        rates={"plain": [100.0], "alone": [120.0], "plain x 4": [150.0]},
        missing={"plain x 4 MPS": fusion.NO_MPS},
    )
    result = found(alone, at, chosen=1)
    text = fusion.table(result, Namespace(device="cuda", processes=[4]))
    assert "| fused / plain | - | 3.00 (3.00 to 3.00) |" in text
    assert "| plain x 4 MPS | not measured: no MPS here | - |" in text
    assert "| plain | 100 | 75.00 ±33 % |" in text
    assert "| fused / plain x 4 | - | 2.00 (2.00 to 2.00) |" in text, "by way of plain, at the first width"
    words = fusion.verdict(result)
    assert words.startswith("Fastest: K = 8, 3.00 times plain and 2.73 times alone.")
    assert "`fit` took K = 1, 1.20 times plain, after 1.5 s at widths 1, 8" in words


class Outgrowing:
    """A runner that finds no more memory after some epochs."""

    def __init__(self, epochs: int) -> None:
        self._left = epochs

    def epoch(self) -> int:
        self._left -= 1
        if self._left < 0:
            raise torch.OutOfMemoryError
        return 1


@pytest.mark.parametrize("epochs", [0, 1], ids=["when built", "when timed"])
def test_an_arm_that_outgrows_memory_is_left_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    def build(arm: Arm) -> arms.Runner:
        return Outgrowing(epochs) if arm.width > 1 else arms.Alone(arms.training(arm, 0))

    monkeypatch.setattr(arms, "build", build)
    wanted = {"widths": [1, 2], "seconds": 0.0, "rounds": 2, "fit_seconds": 0.0, "processes": []}
    options = Namespace(device="cpu", precision="float32", threads=1, **wanted)
    at = fusion.measure("vae-small", options, None).widths[-1]
    assert at.width == 2
    assert at.missing == {"fused": fusion.DOES_NOT_FIT}
    assert {arm: len(rates) for arm, rates in at.rates.items()} == {"plain": 2, "alone": 2}


def test_fusion_needs_no_search() -> None:
    code = (
        "import sys\n"
        "for name in ('ray', 'optuna', 'mlflow', 'pydantic', 'yaml', 'hpo', 'search_spaces'):\n"
        "    sys.modules[name] = None\n"
        "import benchmarks.fusion\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=processes.ROOT, check=True, timeout=120)


def test_machine_is_told_without_a_package_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("no-such-package", "torch"))
    line = machine.line()
    assert "no-such-package" not in line
    assert ", torch 2." in line


def test_arms_of_a_search_differ_in_how_slots_are_filled() -> None:
    options = Namespace(study="digits-vae", trials=9, epochs=4, workers=2, seed=1, width=8, set=["pruner=none"])
    refill, no_refill, one = (study.command(arm, Path("home"), options) for arm in ("refill", "no-refill", "width-1"))
    assert set(no_refill) - set(refill) == {"resources.trials_per_group=8"}
    assert set(one) - set(refill) == {"fuse=1"}
    assert {"fuse=8", "budget.trials=9", "pruner=none"} <= set(refill)
