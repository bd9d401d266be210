"""Random changes of the rows that a discriminator sees, of reals and fakes alike, with a probability that may adapt.

Changing the reals alone would teach a generator to make changed rows; under the same changes of both it need not, and
what it learns passes through them: they are differentiable. Zhao et al. 2020, arXiv 2006.10738 (section 3). The
probability that follows the training is that of Karras et al. 2020, arXiv 2006.06676 (section 3).
Floor: torch, data and parameters. All randomness is handed in, strengths may be 0-dim tensors, and all of it can be
stacked. Axes: B rows, C channels, Y and X places in an image, T steps, I intervals between steps, F features, N points
of a net, U uniform numbers for a row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..data._data import Data
from ..models._family import Knobs, Noise
from ..models._layers import is_on
from .params import Params

# Points on a side of the net whose random moves bend an image, and of those along time. 3 for images of 512 places in
# Ronneberger et al. 2015 (arXiv 1505.04597, section 3.1); 4 for series in Um et al. 2017 (arXiv 1706.00527).
NET = 4
# Karras et al. 2020 (section 3): 0 to 1 within 500 thousand reals.
SPEED = 500.0
# Training rows, evenly spaced, that mean and spread of the features are taken from.
SPREAD_ROWS = 1000


class Images(nn.Module):
    """Turned, mirrored, zoomed, shifted and bent in one resampling; from beyond the edge comes the background.

    rotate: the largest angle, in degrees. flip: the probability of left for right. zoom: the largest change of the
    logarithm of the size. translate: the largest shift as a share of the side, taken to whole places. warp: the largest
    move of a point of the net, as a share of the side.
    """

    strengths: ClassVar[dict[str, float]] = {
        "rotate": 180.0,
        "flip": 1.0,
        "zoom": math.inf,
        "translate": 1.0,
        "warp": 1.0,
    }
    uniforms: ClassVar[int] = 5 + 2 * NET**2

    def __init__(self, data: Data) -> None:
        super().__init__()
        self.background = -1.0 if data.levels is not None else data.value_range[0]

    def forward(self, x_BCYX: Tensor, uniform_BU: Tensor, noise: Tensor | None, knobs: Knobs) -> Tensor:
        *_, height, width = x_BCYX.shape
        turn_B, flip_B, zoom_B, down_B, right_B = uniform_BU[:, :5, None, None].unbind(1)
        angle_B = (2.0 * turn_B - 1.0) * (knobs["rotate"] * (math.pi / 180.0))
        size_B = torch.exp((1.0 - 2.0 * zoom_B) * knobs["zoom"])
        mirror_B = 1.0 - 2.0 * (flip_B < knobs["flip"]).to(size_B.dtype)
        cos_B, sin_B = size_B * angle_B.cos(), size_B * angle_B.sin()
        y_Y1, x_X = _places(height, uniform_BU)[:, None], _places(width, uniform_BU)
        # Where in the image each place of the new one comes from, in places from the middle.
        y_BYX = sin_B * x_X + cos_B * y_Y1 + _shift(down_B, knobs["translate"], height)
        x_BYX = mirror_B * (cos_B * x_X - sin_B * y_Y1) + _shift(right_B, knobs["translate"], width)
        if is_on(knobs["warp"]):
            moves_B2NN = (2.0 * uniform_BU[:, 5:] - 1.0).view(-1, 2, NET, NET) * knobs["warp"]
            bent_B2YX = _smooth(height, uniform_BU) @ moves_B2NN @ _smooth(width, uniform_BU).mT
            y_BYX, x_BYX = y_BYX + height * bent_B2YX[:, 0], x_BYX + width * bent_B2YX[:, 1]
        grid_BYX2 = torch.stack([x_BYX * 2.0 / width, y_BYX * 2.0 / height], -1)
        # Beyond the edge it puts zeros.
        moved = functional.grid_sample(x_BCYX - self.background, grid_BYX2, align_corners=False)
        return moved + self.background


class Series(nn.Module):
    """Cropped, warped in time, scaled and under noise; values between steps are interpolated linearly.

    crop: the largest share that is cut away; what is left is stretched to the full length. time_warp: the largest
    change of the logarithm of the speed with which time passes; ends stay, and so does the order. scaling: the largest
    change of the logarithm of the distances from the mean of the training rows, the same for all features. jitter: the
    standard deviation of the noise, in that of each feature over the training rows.
    """

    strengths: ClassVar[dict[str, float]] = {
        "jitter": math.inf,
        "scaling": math.inf,
        "time_warp": math.inf,
        "crop": 1.0,
    }
    uniforms: ClassVar[int] = 3 + NET
    mean: Tensor
    spread: Tensor

    def __init__(self, data: Data) -> None:
        super().__init__()
        some = data.train.x[:: math.ceil(len(data.train) / SPREAD_ROWS)].cpu()
        x_NF = some.flatten(0, 1).to(torch.get_default_dtype())
        if data.levels is not None:
            x_NF = x_NF * (2.0 / (data.levels - 1)) - 1.0
        self.register_buffer("mean", x_NF.mean(0), persistent=False)
        self.register_buffer("spread", x_NF.std(0), persistent=False)

    def forward(self, x_BTF: Tensor, uniform_BU: Tensor, noise_BTF: Tensor | None, knobs: Knobs) -> Tensor:
        if is_on(knobs["time_warp"]) or is_on(knobs["crop"]):
            x_BTF = _at(x_BTF, self._times(x_BTF.shape[1], uniform_BU, knobs))
        if is_on(knobs["scaling"]):
            change_B = torch.expm1((2.0 * uniform_BU[:, 2] - 1.0) * knobs["scaling"])
            x_BTF = x_BTF + (x_BTF - self.mean) * change_B[:, None, None]
        if noise_BTF is not None:
            x_BTF = x_BTF + noise_BTF * (knobs["jitter"] * self.spread)
        return x_BTF

    def _times(self, steps: int, uniform_BU: Tensor, knobs: Knobs) -> Tensor:
        """[B, T]: when in the series each step of the new one was, 0..T-1 and rising."""
        kept_B1 = 1.0 - knobs["crop"] * uniform_BU[:, :1]
        begin_B1 = (steps - 1) * (1.0 - kept_B1) * uniform_BU[:, 1:2]
        moves_BN = (2.0 * uniform_BU[:, 3:] - 1.0) * knobs["time_warp"]
        # The exponential, so that no step goes back.
        passed_BI = (moves_BN @ _smooth(steps - 1, uniform_BU).mT).exp().cumsum(1)
        # Divided first: the quotient is 1 where nothing is warped, and then times are whole.
        warped_BI = passed_BI * ((steps - 1) / passed_BI[:, -1:])
        return begin_B1 + kept_B1 * functional.pad(warped_BI, (1, 0))


STRENGTHS = {**Images.strengths, **Series.strengths}
PROBABILITY = ("augment", "augment_target", "augment_speed")


class Augmentation(nn.Module):
    """What changes rows of these data, and draws for it.

    Each row is changed with the probability `augment`, by all that has a strength above 0; with none it stays exactly
    what it is. Rows are [B, *shape] in the discriminator's scale. Points have no changes.
    """

    def __init__(self, data: Data) -> None:
        super().__init__()
        self._shape = data.shape
        kind = _changes(data)
        self.changes = None if kind is None else kind(data)

    @staticmethod
    def check(params: Params, *, data: Data) -> None:
        """Raise `ValueError` for a parameter that does nothing to such data; none of them counts as read."""
        kind = _changes(data)
        own = () if kind is None else (*PROBABILITY, *kind.strengths)
        foreign = [name for name in (*PROBABILITY, *STRENGTHS) if name in params and name not in own]
        if foreign:
            raise ValueError(
                f"an augmentation must suit the data, and {', '.join(foreign)} does nothing to rows of {data.name!r}, "
                f"which are {data.modality} of the shape {list(data.shape)}: remove it from the space"
            )

    @classmethod
    def knobs(cls, params: Params) -> dict[str, float]:
        """The knobs, 0.0 for what is absent; strengths are read only where something can be augmented.

        Raises `ValueError` for values out of range.
        """
        knobs = {name: params.number(name, 0.0) for name in ("augment", "augment_target")}
        acts = any(knobs.values())
        knobs |= {name: params.number(name, 0.0) if acts else 0.0 for name in STRENGTHS}
        for name, value in knobs.items():
            highest = STRENGTHS.get(name, 1.0)
            if not (0.0 <= value <= highest and value < math.inf):
                raise ValueError(f"{name} must be from 0 to {highest:g}, and it is {value}: correct it in the space")
        knobs["augment_speed"] = params.number("augment_speed", SPEED) if knobs["augment_target"] else 0.0
        if knobs["augment_target"] and not 0.0 < knobs["augment_speed"] < math.inf:
            raise ValueError(
                "augment_speed must be above 0, thousands of rows in which the probability goes from 0 to 1, and it "
                f"is {knobs['augment_speed']}: correct it in the space"
            )
        return knobs

    def draw(self, of: str, generator: torch.Generator, *, rows: int, knobs: Mapping[str, float]) -> dict[str, Tensor]:
        """The noise for `rows` rows; `of` tells in its names which rows these are. Nothing where nothing is changed."""
        changes, device = self.changes, generator.device
        if changes is None or knobs["augment"] == 0.0 or not any(knobs[name] for name in changes.strengths):
            return {}
        noise = {f"augment_{of}": torch.rand(rows, 1 + changes.uniforms, generator=generator, device=device)}
        if isinstance(changes, Series) and knobs["jitter"] > 0.0:
            noise[f"jitter_{of}"] = torch.randn(rows, *self._shape, generator=generator, device=device)
        return noise

    def forward(self, of: str, rows: Tensor, noise: Noise, knobs: Knobs) -> Tensor:
        """The rows under what was drawn for them."""
        drawn_BU, changes = noise.get(f"augment_{of}"), self.changes
        if drawn_BU is None or changes is None:
            return rows
        # Not in half precision, in which places next to each other have one coordinate.
        with torch.autocast(rows.device.type, enabled=False):
            rows = rows.to(drawn_BU.dtype)
            changed = changes(rows, drawn_BU[:, 1:], noise.get(f"jitter_{of}"), knobs)
            # Selected, so that a row stays exactly as it is also where resampling it would round.
            strength = sum(knobs[name] for name in changes.strengths)
            chosen_B = drawn_BU[:, 0] < knobs["augment"] * (strength > 0.0)
            return torch.where(chosen_B.view(-1, *[1] * (rows.dim() - 1)), changed, rows)

    @staticmethod
    def adapted(knobs: Mapping[str, float], sign: float | None, *, rows: int) -> dict[str, float]:
        """The knobs after an epoch in which the discriminator saw so many reals; `sign` is the mean sign of its logits.

        A discriminator that knows the training rows by heart is sure of each: the probability rises while the mean sign
        is above `augment_target`, and falls below it. Karras et al. 2020, r_t of equation (1).
        """
        if knobs["augment_target"] == 0.0 or sign is None:
            return dict(knobs)
        step = rows / (1000.0 * knobs["augment_speed"])
        moved = knobs["augment"] + ((sign > knobs["augment_target"]) - (sign < knobs["augment_target"])) * step
        return {**knobs, "augment": min(max(moved, 0.0), 1.0)}


def _changes(data: Data) -> type[Images] | type[Series] | None:
    """What can change such rows; nothing can change points, or images without places."""
    if data.modality == "images" and len(data.shape) == 3:
        return Images
    return Series if data.modality == "series" and len(data.shape) == 2 and data.shape[0] > 1 else None


def _places(count: int, like: Tensor) -> Tensor:
    """So many places in a line, counted from the middle."""
    return torch.arange(count, dtype=like.dtype, device=like.device) - 0.5 * (count - 1)


def _smooth(count: int, like: Tensor) -> Tensor:
    """[count, N]: the matrix that puts so many numbers on a smooth (cubic) line between the N of a net."""
    unit = torch.eye(NET, dtype=like.dtype, device=like.device)
    return functional.interpolate(unit[None, None], (count, NET), mode="bicubic", align_corners=True)[0, 0]


def _shift(uniform: Tensor, share: float | Tensor, side: int) -> Tensor:
    """A whole number, each from -s to s as likely, where s is the nearest to this share of the side."""
    most = (share * side + 0.5) // 1
    return (uniform * (2.0 * most + 1.0)).floor() - most


def _at(x_BTF: Tensor, time_BT: Tensor) -> Tensor:
    """The series at other times, 0..T-1, between its steps on straight lines."""
    before_BT = time_BT.floor().clamp(0, x_BTF.shape[1] - 2)
    place_BTF = before_BT.long().unsqueeze(-1).expand_as(x_BTF)
    share_BT1 = (time_BT - before_BT).unsqueeze(-1)
    return torch.lerp(x_BTF.gather(1, place_BTF), x_BTF.gather(1, place_BTF + 1), share_BT1.expand_as(x_BTF))
