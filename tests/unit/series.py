"""Series with known faults, on which the metrics of series are tried: the cases of a table that was measured before.

The table: windows of 24 days of six daily prices of one share, scaled to [0, 1], and the sines of RGAN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib import cbook
from torch import Tensor

from trainables.data._data import Data, Split
from trainables.metrics._metric import Measurement, Metric, prepare
from trainables.metrics._samples import Replay

STEPS = 24


@dataclass(frozen=True, kw_only=True)
class Cases:
    """Rows to hold samples against, and the samples of each case."""

    data: Data
    samples: dict[str, Tensor]

    def measured(self, metric: Metric, *names: str) -> dict[str, float]:
        """The values of these cases, or of all."""
        return {name: self.full(metric, self.samples[name]).value for name in names or self.samples}

    def full(self, metric: Metric, samples: Tensor, *, seed: int = 0) -> Measurement:
        """What the metric says of these samples, each drawn as often as the others."""
        prepare(metric, self.data)
        return metric.measure(Replay(Split(x=samples)), self.data.validation, torch.Generator().manual_seed(seed))


def data_of(name: str, train: Tensor, validation: Tensor, *, levels: int | None = None) -> Data:
    """Series in memory; the test rows are the validation rows."""
    held_out = Split(x=validation)
    return Data(
        name=name,
        modality="series",
        train=Split(x=train),
        validation=held_out,
        test=held_out,
        levels=levels,
        value_range=(float(train.min()), float(train.max())) if levels is None else (0.0, levels - 1.0),
        license="none",
        source="made by a test",
        sha256=f"{name} {hash(train.numpy().tobytes())} {levels}",
    )


def windows() -> Tensor:
    """[1024, 24, 6]: all windows of the daily prices and volume in matplotlib's sample data, scaled to [0, 1]."""
    table = cbook.get_sample_data("goog.npz")["price_data"]
    days = np.stack(
        [table[name].astype(np.float64) for name in ("open", "high", "low", "close", "adj_close", "volume")]
    )
    low, high = days.min(1, keepdims=True), days.max(1, keepdims=True)
    scaled = np.lib.stride_tricks.sliding_window_view((days - low) / (high - low), STEPS, axis=1)
    found: Tensor = torch.from_numpy(scaled.transpose(1, 2, 0).astype(np.float32))
    return found


def share(seed: int) -> Cases:
    """One random half of the windows for training, the other one to hold out."""
    generator = torch.Generator().manual_seed(seed)
    all_windows = windows()
    order = torch.randperm(len(all_windows), generator=generator)
    train, held_out = all_windows[order].chunk(2)
    # In time: the era is what they share beyond their number.
    era = all_windows[: int(0.7 * len(all_windows))]
    samples = {
        "other half": train,
        "noise .02": train + 0.02 * torch.randn(train.shape, generator=generator),
        "gaussian": gaussian_fit(train, rows=len(train), generator=generator),
        "shuffled": shuffled(train, generator=generator),
        "first 70 %": era[torch.randperm(len(era), generator=generator)[: len(train)]],
    }
    return Cases(data=data_of(f"share {seed}", train, held_out), samples=samples)


def waves(seed: int, *, rows: int = 1000) -> Cases:
    """The sines of RGAN, and such with a fault."""
    generator = torch.Generator().manual_seed(seed)
    draw: Callable[..., Tensor] = lambda highest=5.0: sines(rows, highest=highest, generator=generator)  # noqa: E731
    train, held_out, fresh = draw(), draw(), draw()
    samples = {
        "copy of train": train,
        "fresh": fresh,
        "noise .02": draw() + 0.02 * torch.randn(fresh.shape, generator=generator),
        "noise .05": draw() + 0.05 * torch.randn(fresh.shape, generator=generator),
        "up to 4.5": draw(4.5),
        "up to 3": draw(3.0),
        "gaussian": gaussian_fit(train, rows=rows, generator=generator),
    }
    return Cases(data=data_of(f"waves {seed}", train, held_out), samples=samples)


def sines(rows: int, *, highest: float = 5.0, generator: torch.Generator) -> Tensor:
    """[N, 30, 1]: frequencies from 1 to the highest, amplitudes from .1 to .9, any phase."""
    f, a, phase = torch.rand(3, rows, 1, dtype=torch.float64, generator=generator)
    step = torch.arange(1, 31)
    turns = (1 + (highest - 1) * f) * step / 30 + phase
    return ((0.1 + 0.8 * a) * (2 * torch.pi * turns).sin()).float()[:, :, None]


def gaussian_fit(x: Tensor, *, rows: int, generator: torch.Generator) -> Tensor:
    """Draws of the Gaussian with the mean and the covariance of these rows."""
    flat = x.double().flatten(1)
    root = torch.linalg.cholesky(torch.cov(flat.mT) + 1e-9 * torch.eye(flat.shape[1]))
    noise = torch.randn(rows, flat.shape[1], dtype=torch.float64, generator=generator)
    return (flat.mean(0) + noise @ root.mT).float().view(rows, *x.shape[1:])


def shuffled(x: Tensor, *, generator: torch.Generator) -> Tensor:
    """The same rows, each with its steps in random order."""
    order = torch.rand(x.shape[:2], generator=generator).argsort(1)
    return x.gather(1, order[:, :, None].expand_as(x))
