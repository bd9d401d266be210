"""How far the middle of a sound lies from zero: a constant that nobody hears and that takes room from what is heard."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ._sounds import OfSounds


class Metric(OfSounds):
    """The mean over 1000 sounds of the absolute mean of each, 1 at the end of the scale, smaller is better."""

    name: ClassVar[str] = "dc_offset"

    def of_each(self, x: Tensor) -> Tensor:
        """[N]: the absolute mean of each sound, over its channels."""
        return x.double().mean(2).abs().mean(1)
