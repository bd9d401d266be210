"""Which modes of a mixture a model's samples hit: what `modes`, `reverse_kl` and `high_quality` share.

The set-up of PacGAN (Lin et al. 2018, arXiv 1712.04086; `MetricLogger` in fjxmlzn/PacGAN): 2500 samples, and one is of
high quality within three standard deviations of the nearest mode. Floor: torch, data and models.
Axes: N samples, M modes, D numbers of a row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Generative

SAMPLES = 2500
NEAR = 3.0


@dataclass(frozen=True, kw_only=True)
class Hits:
    """`good` [N] tells the samples of high quality, `counts` [M] how many of these each mode has."""

    good: Tensor
    counts: Tensor


def modes_refusal(data: Data, *, metric: str) -> str | None:
    """Why a metric of modes cannot measure on these data; None if it can."""
    if data.modality == "points" and data.validation.labels is not None:
        return None
    return (
        f"the metric {metric!r} counts the modes of labeled points, and {data.name!r} holds {data.modality} "
        f"{'with' if data.validation.labels is not None else 'without'} labels: choose another metric, or data such "
        "as ring or grid"
    )


def hits(model: Generative, split: Split, generator: torch.Generator, *, metric: str) -> Hits:
    """What 2500 samples hit; the modes are the means of the rows by label, their one sigma the rows' own spread.

    Raises `ValueError` for rows that are no labeled points.
    """
    if split.labels is None or split.x.dim() != 2 or not split.x.is_floating_point():
        raise ValueError(
            f"the metric {metric!r} needs points [N, D] of real numbers with the component of each as label, and rows "
            f"are {list(split.x.shape)} of {split.x.dtype}: choose another metric, or data such as ring or grid"
        )
    with torch.inference_mode():
        samples_ND = model.sample(model.draw_samples(generator, rows=SAMPLES)).double()
        means_MD, sigma = _components(split.x.double(), split.labels)
        # A sample that is not finite is near nothing.
        nearest = torch.cdist(samples_ND, means_MD, compute_mode="donot_use_mm_for_euclid_dist").min(1)
        good_N = nearest.values <= NEAR * sigma
        counts_M = torch.bincount(nearest.indices[good_N], minlength=len(means_MD))
        return Hits(good=good_N, counts=counts_M)


def _components(x_ND: Tensor, labels_N: Tensor) -> tuple[Tensor, Tensor]:
    """The means [M, D] by label, and the standard deviation of a coordinate about them."""
    one_hot_NM = torch.nn.functional.one_hot(labels_N).to(x_ND.dtype)
    present_NM = one_hot_NM[:, one_hot_NM.any(0)]
    means_MD = (present_NM.T @ x_ND) / present_NM.sum(0)[:, None]
    residuals_ND = x_ND - present_NM @ means_MD
    freedom = (len(x_ND) - len(means_MD)) * x_ND.shape[1]
    return means_MD, (residuals_ND.square().sum() / freedom).sqrt()
