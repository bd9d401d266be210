"""Train on synthetic, test on real: the accuracy on rows of a classifier that was trained on labeled samples.

Esteban, Hyland and Raetsch 2017, arXiv 1706.02633, section 4.2; for images the classification accuracy score of
Ravuri and Vinyals 2019, arXiv 1905.10887. It sees wrong labels, lost classes and lost variety. `_classifiers.py` says
which classifier it is.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch

from ..data._data import Split
from ..models._family import Generative
from ._classifiers import Classifier, OfClasses
from ._metric import Measurement, mean_over_rows

SAMPLES = 2000


class Metric(OfClasses):
    """The accuracy on the rows of the split after training on 2000 samples, larger is better.

    The yardstick is the accuracy after training on as many real rows, which is not 1.
    """

    name: ClassVar[str] = "tstr"

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The share of rows that are classified right; NaN where a sample is not finite."""
        if split.labels is None:
            raise ValueError(self._no_labels("these rows"))
        samples = self._drawn(model, generator, rows=SAMPLES)
        if not bool(samples.x.isfinite().all()):
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(split))
        return mean_over_rows(Classifier(samples, spectra=self._spectra).right(split))
