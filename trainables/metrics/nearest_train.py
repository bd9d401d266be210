"""The share of samples that are nearer to the training rows than to as many rows that no model saw.

One half for samples that know nothing of the training rows but their distribution, more for copies; what distances to
training and held-out rows can tell is discussed by Meehan et al. 2020, arXiv 2004.05675. From the larger of the two
sets every choice of as many rows as the other has counts alike, so the share is a mean of probabilities and depends on
no choice. A copy of T training rows has about (1 + N/T) / 2 against N < T held-out rows. Axes: M samples, N rows.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from ._comparison import Comparison
from ._metric import Direction, Measurement, mean_over_rows
from ._neighbors import inside, nearest


class Metric(Comparison):
    """The share of 1000 samples, smaller is better down to one half."""

    name: ClassVar[str] = "nearest_train"
    direction: ClassVar[Direction] = "minimize"
    samples: ClassVar[int | None] = 1000

    def compare(self, rows_NF: Tensor, samples_MF: Tensor, train_TF: Tensor) -> Measurement:
        """The share, with the error of a mean over samples."""
        rows, train = len(rows_NF), len(train_TF)
        if train >= rows:
            return mean_over_rows(1.0 - _none_nearer(samples_MF, train_TF, rows_NF))
        return mean_over_rows(_none_nearer(samples_MF, rows_NF, train_TF))


def _none_nearer(samples_MF: Tensor, many_NF: Tensor, few_NF: Tensor) -> Tensor:
    """[M]: how probably no row of `many`, chosen to as many as `few` has, is nearer to a sample than those of `few`."""
    distance_M1, _ = nearest(samples_MF, few_NF)
    _, nearer_M = inside(many_NF, samples_MF, distance_M1[:, 0])
    count, chosen = torch.tensor(len(many_NF), dtype=torch.float64), len(few_NF)
    farther_M = count - nearer_M
    # C(farther, chosen) of C(count, chosen) choices have none that is nearer.
    log_share_M = (
        torch.lgamma(farther_M + 1)
        - torch.lgamma((farther_M - chosen).clamp(min=0.0) + 1)
        - torch.lgamma(count + 1)
        + torch.lgamma(count - chosen + 1)
    )
    return torch.where(farther_M >= chosen, log_share_M.exp(), 0.0)
