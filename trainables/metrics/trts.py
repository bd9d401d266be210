"""Train on real, test on synthetic: the accuracy on labeled samples of a classifier that was trained on real rows.

Esteban, Hyland and Raetsch 2017, arXiv 1706.02633, section 4.2: whether samples are recognized as what they are meant
to be. It does not see lost variety, since one good sample of each class is enough: `tstr` does. `_classifiers.py` says
which classifier it is.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from ..data._data import Data, Split
from ..models._family import Generative
from ._classifiers import Classifier, OfClasses
from ._metric import Measurement, mean_over_rows

SAMPLES = 2000
# What this process has trained, by the content of the data.
_TRAINED: dict[str, Classifier] = {}


class Metric(OfClasses):
    """The accuracy on 2000 samples after training on the training rows, larger is better.

    The yardstick is the accuracy on real rows that it was not trained on.
    """

    name: ClassVar[str] = "trts"

    def __init__(self) -> None:
        self._classifier: Classifier | None = None

    def prepare(self, data: Data) -> None:
        """Train on the training rows, once a process; raises `ValueError` where they have no labels."""
        super().prepare(data)
        if data.train.labels is None:
            raise ValueError(self._no_labels(f"rows of {data.name!r}"))
        if data.sha256 not in _TRAINED:
            _TRAINED[data.sha256] = Classifier(data.train, spectra=self._spectra)
        self._classifier = _TRAINED[data.sha256]

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The share of samples that are classified as their labels say; NaN where one is not finite."""
        if self._classifier is None:
            raise ValueError(f"the metric {self.name!r} needs the data before it measures, and got none: call prepare")
        samples = self._drawn(model, generator, rows=SAMPLES)
        if not bool(samples.x.isfinite().all()):
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(samples))
        return mean_over_rows(self._classifier.right(samples))
