"""The share of a sound's samples that lie at the end of the scale, where a louder sound would be cut off."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._sounds import OfSounds

FULL = 0.999


class Metric(OfSounds):
    """The share of magnitudes of .999 or more, over 1000 sounds, smaller is better."""

    name: ClassVar[str] = "clipping"

    def of_each(self, x: Tensor) -> Tensor:
        """[N]: the share of each sound."""
        return (x.abs() >= FULL).double().mean((1, 2))
