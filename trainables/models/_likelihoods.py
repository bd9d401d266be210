"""What the numbers of a decoder mean: distributions of a row given its latents, from which it is scored and sampled.

Each is proper for its data: over all levels it sums to 1, over real numbers it integrates to 1; so values of different
ones compare on the same data. The numbers of a row are independent given the latents. Floor: torch and data.
Axes: B rows, P parameters of one number's distribution, D all numbers of a row.
"""

from __future__ import annotations

import math
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, softplus

from ..data._data import Data

# Up to so many levels the default has a parameter for each.
FEW_LEVELS = 32
# Of the logistic's scale, for data in [-1, 1]. The lower one is that of the paper's code, an eighth of a bin of 256
# levels. At the upper one all bins inside are alike.
LOG_SCALE_BOUND = 7.0
# Of the Gaussian's, in standard deviations of the data. Without it the density of a constant number has no bound.
LOWEST_LOG_SIGMA = -6.0


class RowDistribution(Protocol):
    """The distribution of a row; an `nn.Module`, since it may have parameters of its own."""

    per_number: int
    """P: how many of the decoder's numbers one number of a row needs."""

    def scaled(self, x: Tensor) -> Tensor:
        """Rows [B, *shape], in the weights' type, on the scale that an encoder likes."""

    def log_prob(self, x: Tensor, parameters_BPD: Tensor) -> Tensor:
        """[B]: the logarithm of the probability, or density in the data's own units, of rows [B, *shape]."""

    def draw(self, generator: torch.Generator, *, rows: int) -> Tensor:
        """[N, D]: the noise for `rows` samples."""

    def sample(self, parameters_BPD: Tensor, noise_BD: Tensor) -> Tensor:
        """Rows [B, *shape] of the data's type and range."""


class _OfLevels(nn.Module):
    """What distributions over levels 0..levels-1 share."""

    name: ClassVar[str]
    per_number: int

    def __init__(self, data: Data) -> None:
        super().__init__()
        if data.levels is None:
            raise ValueError(
                f"the likelihood {self.name!r} is for data with levels, and {data.name!r} has real values: quantize it "
                "to levels first, or set likelihood to gaussian"
            )
        self.shape, self.levels, self.dtype_of_data = data.shape, data.levels, data.train.x.dtype

    def scaled(self, x: Tensor) -> Tensor:
        # -1..1 whatever the number of levels; on digits about as good as the bare levels, and better than 0..1.
        return x * (2.0 / (self.levels - 1)) - 1.0

    def draw(self, generator: torch.Generator, *, rows: int) -> Tensor:
        return torch.rand(rows, math.prod(self.shape), generator=generator, device=generator.device)

    def rows(self, levels_BD: Tensor) -> Tensor:
        """Levels as rows of the data's shape and type."""
        return levels_BD.to(self.dtype_of_data).view(-1, *self.shape)


class Categorical(_OfLevels):
    """A logit for each level, without any order among them."""

    name: ClassVar[str] = "categorical"

    def __init__(self, data: Data) -> None:
        super().__init__(data)
        self.per_number = self.levels

    # [B, P, D] and not [B, D, P]: the softmax then runs over whole vectors of numbers, 1.6 times as fast.
    def log_prob(self, x: Tensor, parameters_BPD: Tensor) -> Tensor:
        chosen_B1D = x.flatten(1).to(torch.int64)[:, None]
        return parameters_BPD.log_softmax(1).gather(1, chosen_B1D).sum((1, 2))

    def sample(self, parameters_BPD: Tensor, noise_BD: Tensor) -> Tensor:
        # Inverse transform: the level is the number of steps of the distribution function that lie below the uniform.
        cumulated_BPD = parameters_BPD.softmax(1).cumsum(1)
        return self.rows((cumulated_BPD[:, :-1] < noise_BD[:, None]).sum(1))


class Bernoulli(_OfLevels):
    """The level as the number of successes in levels - 1 Bernoulli trials of one probability; with 2 levels, one trial.

    Apart from the logarithm of the binomial coefficient it is the cross-entropy of the grey value in [0, 1], times
    levels - 1. That cross-entropy by itself is no likelihood of grey values: Loaiza-Ganem and Cunningham 2019, arXiv
    1907.06845.
    """

    name: ClassVar[str] = "bernoulli"
    per_number = 1

    def log_prob(self, x: Tensor, parameters_BPD: Tensor) -> Tensor:
        logits_BD = parameters_BPD[:, 0]
        return self._log_mass(x.flatten(1).to(logits_BD.dtype), logits_BD).sum(1)

    def sample(self, parameters_BPD: Tensor, noise_BD: Tensor) -> Tensor:
        logits_BD = parameters_BPD[:, 0]
        cumulated_BD, levels_BD = torch.zeros_like(logits_BD), torch.zeros_like(logits_BD)
        # Inverse transform, level by level: all at once would be a tensor as large as that of the categorical.
        for level in range(self.levels - 1):
            cumulated_BD += self._log_mass(torch.full_like(logits_BD, level), logits_BD).exp()
            levels_BD += cumulated_BD < noise_BD
        return self.rows(levels_BD)

    def _log_mass(self, levels_BD: Tensor, logits_BD: Tensor) -> Tensor:
        trials = self.levels - 1
        coefficient_BD = math.lgamma(trials + 1) - (levels_BD + 1).lgamma() - (trials - levels_BD + 1).lgamma()
        return coefficient_BD + levels_BD * logits_BD - trials * softplus(logits_BD)


class DiscretizedLogistic(_OfLevels):
    """The mass of a logistic distribution over each level's bin, the lowest and highest with the tails.

    Salimans et al. 2017, arXiv 1701.05517, eq. (2), with one component and levels in [-1, 1]. With the bin from b to a
    in units of the scale, sigmoid(a) - sigmoid(b) = sigmoid(a) sigmoid(-b) (1 - exp(b - a)); so nothing cancels, and
    the approximations of the paper's code are not needed.
    """

    name: ClassVar[str] = "logistic"
    per_number = 2

    def log_prob(self, x: Tensor, parameters_BPD: Tensor) -> Tensor:
        mean_BD, log_scale_BD = self._mean_and_log_scale(parameters_BPD)
        x_BD, inverse_BD, half_bin = x.flatten(1), (-log_scale_BD).exp(), 1.0 / (self.levels - 1)
        centered_BD = self.scaled(x_BD.to(mean_BD.dtype)) - mean_BD
        below_upper_BD = logsigmoid((centered_BD + half_bin) * inverse_BD)
        above_lower_BD = logsigmoid((half_bin - centered_BD) * inverse_BD)
        of_width_BD = (-torch.expm1(-2.0 * half_bin * inverse_BD)).log()
        lowest_BD, highest_BD = x_BD == 0, x_BD == self.levels - 1
        inside_BD = below_upper_BD + above_lower_BD + of_width_BD
        return torch.where(lowest_BD, below_upper_BD, torch.where(highest_BD, above_lower_BD, inside_BD)).sum(1)

    def sample(self, parameters_BPD: Tensor, noise_BD: Tensor) -> Tensor:
        mean_BD, log_scale_BD = self._mean_and_log_scale(parameters_BPD)
        # A uniform of 0 is a logit of minus infinity, which is the lowest level.
        values_BD = mean_BD + log_scale_BD.exp() * noise_BD.logit()
        return self.rows(((values_BD + 1.0) * (0.5 * (self.levels - 1))).round().clamp(0, self.levels - 1))

    def _mean_and_log_scale(self, parameters_BPD: Tensor) -> tuple[Tensor, Tensor]:
        mean_BD, log_scale_BD = parameters_BPD.unbind(1)
        return mean_BD, log_scale_BD.clamp(-LOG_SCALE_BOUND, LOG_SCALE_BOUND)


class Gaussian(nn.Module):
    """A normal distribution around the decoder's mean, its standard deviation one learned number for each feature.

    Rybkin et al. 2021, arXiv 2006.13202: a fixed one would set the weight of the KL by the units of the data. Features
    are the channels of an image and the last axis of any other row. Encoder and decoder see rows standardized by mean
    and standard deviation of the training rows, and the density is that of the rows as they are; so it may exceed 1.
    """

    name: ClassVar[str] = "gaussian"
    per_number = 1
    location: Tensor
    scale: Tensor

    def __init__(self, data: Data) -> None:
        super().__init__()
        if data.levels is not None:
            raise ValueError(
                f"the likelihood 'gaussian' is a density over real numbers, and {data.name!r} has {data.levels} "
                "levels, whose density has no bound: set likelihood to categorical, bernoulli or logistic"
            )
        self.shape = data.shape
        axis = 1 if data.modality == "images" else data.train.x.dim() - 1
        rest = [other for other in range(data.train.x.dim()) if other != axis]
        rows = data.train.x.double()
        # [1, 1, F] for series, [C, 1, 1] for images: as they combine with a row.
        location = rows.mean(rest, keepdim=True)[0]
        scale = (rows - location).square().mean(rest, keepdim=True)[0].sqrt()
        self.register_buffer("location", location.to("cpu", torch.get_default_dtype()))
        self.register_buffer("scale", torch.where(scale > 0.0, scale, 1.0).to("cpu", torch.get_default_dtype()))
        self.log_sigma = nn.Parameter(torch.zeros(location.shape))

    def scaled(self, x: Tensor) -> Tensor:
        return (x - self.location) / self.scale

    def log_prob(self, x: Tensor, parameters_BPD: Tensor) -> Tensor:
        mean_BD, log_sigma_D = parameters_BPD[:, 0], self._log_sigma().flatten()
        off_BD = (self.scaled(x.to(mean_BD.dtype)).flatten(1) - mean_BD) / log_sigma_D.exp()
        log_unit_D = log_sigma_D + self.scale.log().expand(self.shape).flatten() + 0.5 * math.log(2.0 * math.pi)
        return -(0.5 * off_BD.square() + log_unit_D).sum(1)

    def draw(self, generator: torch.Generator, *, rows: int) -> Tensor:
        return torch.randn(rows, math.prod(self.shape), generator=generator, device=generator.device)

    def sample(self, parameters_BPD: Tensor, noise_BD: Tensor) -> Tensor:
        rows = (parameters_BPD[:, 0] + self._log_sigma().flatten().exp() * noise_BD).view(-1, *self.shape)
        return (rows * self.scale + self.location).to(torch.float32)

    def _log_sigma(self) -> Tensor:
        """For each number of a row; bounded below softly, so that the gradient never ends."""
        bounded = LOWEST_LOG_SIGMA + softplus(self.log_sigma - LOWEST_LOG_SIGMA)
        return bounded.expand(self.shape)


LIKELIHOODS: dict[str, type[_OfLevels] | type[Gaussian]] = {
    likelihood.name: likelihood for likelihood in (Categorical, Bernoulli, DiscretizedLogistic, Gaussian)
}


def default_for(data: Data) -> str:
    """The likelihood that fits the data where none is asked for."""
    if data.levels is None:
        return Gaussian.name
    return Categorical.name if data.levels <= FEW_LEVELS else DiscretizedLogistic.name
