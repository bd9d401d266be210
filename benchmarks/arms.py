"""What the benchmark of fusion compares: some models, and how each arm trains them. Needs torch and `trainables` alone.

An arm is a description that any process can build. Built, it trains whole epochs and counts the steps of all its
members; for a GAN a step is one of both players. No metric is measured; what a training reads of itself, it reads.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Protocol

import torch

from benchmarks import dcgan
from benchmarks.peers import plain_torch as plain
from trainables.data import digits
from trainables.data._data import Data
from trainables.models import gan, vae
from trainables.training.alone import Training
from trainables.training.company import Company
from trainables.training.random import steps_until

EPOCHS = 1_000_000  # a budget that no measurement uses up

Params = Mapping[str, bool | int | float | str]
Kind = Literal["plain", "ours"]


class Peer(Protocol):
    """A training in plain torch."""

    def epoch(self) -> int:
        """Train one epoch; returns the steps made."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model with its hyperparameters and data, for us and for the peer.

    On a CPU, where a step can take seconds: cpu_widths are the only ones measured, cpu_rounds the most rounds, cpu_rows
    the rows of the data; None leaves things as they are.
    """

    title: str
    family: Any  # the class `Model` of a plug-in
    params: Params
    data: Callable[..., Data]
    plain: Callable[[Params, Data, bool], Peer]
    cpu_widths: tuple[int, ...] | None = None
    cpu_rounds: int | None = None
    cpu_rows: int | None = None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train: `plain` is the peer, `ours` our trainer; at width 1 by itself, above it as one stack."""

    workload: str
    kind: Kind
    width: int = 1
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    seed: int = 0


class Runner(Protocol):
    """An arm that was built."""

    def epoch(self) -> int:
        """Train at least one epoch of at least one member; returns the steps made, each member's counted."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How much was trained, and in which time; `memory`: the most bytes that were held on the device, 0 on a CPU."""

    steps: int
    seconds: float
    memory: int

    @property
    def steps_a_second(self) -> float:
        return self.steps / self.seconds


def build(arm: Arm) -> Runner:
    """The arm, ready to train."""
    torch.set_num_threads(arm.threads)
    # As in a search. Without it every arm that trains one model for thousands of steps falls to a third of its speed.
    torch.set_flush_denormal(True)
    torch.manual_seed(arm.seed)
    _allow_tf32(arm.precision == "tf32")
    workload, data = WORKLOADS[arm.workload], data_of(arm.workload, arm.device)
    if arm.kind == "plain":
        with torch.device(arm.device):
            return workload.plain(workload.params, data, arm.precision == "bf16")
    if arm.width == 1:
        return Alone(training(arm, arm.seed))
    return Fused([training(arm, arm.seed + member) for member in range(arm.width)])


def training(arm: Arm, seed: int) -> Training:
    """One training of ours under this arm."""
    workload = WORKLOADS[arm.workload]
    return Training(
        workload.family,
        data_of(arm.workload, arm.device),
        workload.params,
        seed=seed,
        epochs=EPOCHS,
        device=arm.device,
        precision=arm.precision,
    )


def timed(runner: Runner, *, seconds: float, device: str) -> Rate:
    """Train whole epochs for about so long."""
    cuda = device.startswith("cuda")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    began, steps = time.perf_counter(), 0
    while not steps or time.perf_counter() - began < seconds:
        steps += runner.epoch()
    if cuda:
        torch.cuda.synchronize()
    took = time.perf_counter() - began
    return Rate(steps=steps, seconds=took, memory=torch.cuda.max_memory_allocated() if cuda else 0)


class Alone:
    """One training of ours by itself."""

    def __init__(self, one: Training) -> None:
        self._one = one

    def epoch(self) -> int:
        return _close(self._one)


class Fused:
    """Equal trainings of ours as one stack."""

    def __init__(self, members: list[Training]) -> None:
        self._company = Company(lambda _: len(members))
        for member in members:
            self._company.join(member)

    def epoch(self) -> int:
        return sum(_close(turn.trainer) for turn in self._company.advance())


def _close(trainer: Any) -> int:
    """Train or close the next epoch of one of ours; returns its steps."""
    before, rows, size = trainer.step, len(trainer.data.train), trainer.batch_size
    progress = trainer.advance()
    if progress.cause is not None:
        raise RuntimeError(f"a training of a benchmark must live, and one died: {progress.cause}")
    return steps_until(trainer.step, rows=rows, batch_size=size) - steps_until(before, rows=rows, batch_size=size)


@cache
def data_of(name: str, device: str) -> Data:
    """The data of a workload, on the device once for all members."""
    workload = WORKLOADS[name]
    rows = workload.cpu_rows if device == "cpu" else None
    data = workload.data() if rows is None else workload.data(rows=rows)
    return data.to(device)


def _allow_tf32(allowed: bool) -> None:
    """Set torch's own switches, by which the peer computes; our trainer sets them by itself."""
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn.conv):  # type: ignore[attr-defined]
        backend.fp32_precision = "tf32" if allowed else "ieee"


def _plain_vae(params: Params, data: Data, bf16: bool) -> Peer:
    sizes: Any = {name: params[name] for name in ("latent", "width", "depth")}
    model = plain.VAE(pixels=data.train.x[0].numel(), levels=data.levels or 0, **sizes)
    return plain.VAETraining(model, data.train.x, batch_size=_size(params), lr=float(params["lr"]), bf16=bf16)


def _plain_gan(params: Params, data: Data, bf16: bool) -> Peer:
    sizes: Any = {name: params[name] for name in ("latent", "width")}
    if params["architecture"] == "mlp":
        depth: Any = params["depth"]
        model = plain.GAN.perceptrons(pixels=data.train.x[0].numel(), depth=depth, **sizes)
        rows = data.train.x.flatten(1)
    else:
        model, rows = plain.GAN.convolutions(**sizes), data.train.x
    return plain.GANTraining(
        model,
        rows,
        levels=data.levels or 0,
        batch_size=_size(params),
        discriminator_lr=float(params["discriminator.lr"]),
        generator_lr=float(params["generator.lr"]),
        betas=(float(params["beta1"]), float(params["beta2"])),
        r1=float(params["r1"]),
        ema=float(params["ema"]),
        bf16=bf16,
    )


def _plain_dcgan(params: Params, data: Data, bf16: bool) -> Peer:
    sizes: Any = {name: params[name] for name in ("latent", "width")}
    betas = (float(params["beta1"]), float(params["beta2"]))
    return plain.DCGANTraining(
        plain.DCGAN(**sizes), data.train.x, batch_size=_size(params), lr=float(params["lr"]), betas=betas, bf16=bf16
    )


def _size(params: Params) -> int:
    return int(params["batch_size"])


# The VAE and the GANs have the values at which their search spaces begin, written out: `search_spaces` is not imported.
_VAE: Params = {"latent": 16, "width": 256, "depth": 2, "batch_size": 64, "lr": 1e-3, "optimizer": "adam"}
_GAN: Params = {
    "architecture": "mlp",
    "latent": 16,
    "width": 128,
    "depth": 2,
    "batch_size": 64,
    "loss": "non-saturating",
    "r1": 1.0,
    "ema": 0.995,
    "discriminator.lr": 1e-3,
    "generator.lr": 5e-4,
    "optimizer": "adam",
    "beta1": 0.0,
    "beta2": 0.999,
}
_CONV: Params = {name: value for name, value in _GAN.items() if name != "depth"} | {"architecture": "conv", "width": 32}

WORKLOADS: Mapping[str, Workload] = {
    "vae": Workload(
        title="MLP VAE, digits, default of the space (latent 16, width 256, depth 2, batch 64)",
        family=vae.Model,
        params=_VAE,
        data=digits.load,
        plain=_plain_vae,
    ),
    "vae-small": Workload(
        title="small MLP VAE, digits (latent 8, width 64, depth 1, batch 64)",
        family=vae.Model,
        params={**_VAE, "latent": 8, "width": 64, "depth": 1},
        data=digits.load,
        plain=_plain_vae,
    ),
    "gan": Workload(
        title="MLP GAN, digits (latent 16, width 128, depth 2, batch 64, R1, average of the generator)",
        family=gan.Model,
        params=_GAN,
        data=digits.load,
        plain=_plain_gan,
    ),
    "gan-small": Workload(
        title="small MLP GAN, the same at width 64",
        family=gan.Model,
        params={**_GAN, "width": 64},
        data=digits.load,
        plain=_plain_gan,
    ),
    "gan-conv": Workload(
        title="convolutional GAN, digits (latent 16, width 32, batch 64, R1, average of the generator)",
        family=gan.Model,
        params=_CONV,
        data=digits.load,
        plain=_plain_gan,
        cpu_widths=(1, 2, 4, 8, 16, 32, 64),
    ),
    "dcgan": Workload(
        title="DCGAN as HFTA has it (64 x 64 x 3 random pixels, batch 128, nz 100, ngf = ndf = 64)",
        family=dcgan.Model,
        params=dcgan.PARAMS,
        data=dcgan.load,
        plain=_plain_dcgan,
        cpu_widths=(1, 2, 4),
        cpu_rounds=2,
        cpu_rows=128,  # an epoch is one step
    ),
}
