"""Train on synthetic, test on real: the accuracy on rows of a classifier that was trained on labeled samples.

Esteban, Hyland and Raetsch 2017, arXiv 1706.02633, section 4.2; for images the classification accuracy score of
Ravuri and Vinyals 2019, arXiv 1905.10887. It sees wrong labels, lost classes and lost variety. The classifier is
scikit-learn's extremely randomized trees (Geurts, Ernst and Wehenkel 2006, DOI 10.1007/s10994-006-6226-1) on all
numbers of a row: they need neither scaling nor a number of steps. Floor: scikit-learn, torch, data and models.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Conditional, Family, Generative
from ._metric import Direction, Measurement, mean_over_rows
from ._samples import draw

SAMPLES = 2000
TREES, SEED = 100, 0


class Metric:
    """The accuracy on the rows of the split after training on 2000 samples, larger is better.

    The yardstick is the accuracy after training on as many real rows, which is not 1.
    """

    name: ClassVar[str] = "tstr"
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = False

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Data without labels are refused, and families that are never told the classes."""
        if data.validation.labels is None:
            return _no_labels(f"rows of {data.name!r}")
        # Whether one model of such a family is told them is known when it is built.
        return None if "conditional" in model.structural else _not_conditional(model)

    def model_refusal(self, model: Generative) -> str | None:
        """A model of such a family that is not told the classes is refused."""
        return _not_conditional(type(model)) if isinstance(model, Conditional) and not model.conditional else None

    def measure(self, model: Generative, split: Split, generator: torch.Generator) -> Measurement:
        """The share of rows that are classified right; NaN where a sample is not finite."""
        if split.labels is None:
            raise ValueError(_no_labels("these rows"))
        samples = draw(model, generator, rows=SAMPLES)
        if samples.labels is None:
            raise ValueError(_not_conditional(type(model)))
        if not bool(samples.x.isfinite().all()):
            return Measurement(value=math.nan, standard_error=math.nan, sample_size=len(split))
        trees = ExtraTreesClassifier(TREES, random_state=SEED, n_jobs=1)
        trees.fit(_flat(samples.x), samples.labels.cpu().numpy())
        found = torch.from_numpy(trees.predict(_flat(split.x)))
        return mean_over_rows(found == split.labels.cpu())


def _flat(x: Tensor) -> NDArray[np.float32]:
    numbers: NDArray[np.float32] = x.flatten(1).float().cpu().numpy()
    return numbers


def _no_labels(what: str) -> str:
    return (
        f"the metric {Metric.name!r} needs labels, and {what} have none: choose another metric, or data such as digits"
    )


def _not_conditional(model: type) -> str:
    return (
        f"the metric {Metric.name!r} needs samples with labels, and {model.__module__} draws them without: choose a "
        "family that is told the classes and set its parameter `conditional` to true, or choose another metric"
    )
