"""Classifiers of labeled rows, for metrics that train on rows or samples and test on the others.

Extremely randomized trees (Geurts, Ernst and Wehenkel 2006, DOI 10.1007/s10994-006-6226-1) on all numbers of a row:
they need neither scaling nor a number of steps. Of a sound they would see single moments, which mean nothing where it
may begin anywhere, so of audio it is logistic regression on mean and deviation over time of its log-spectrum.
Floor: scikit-learn, torch, data and models. Axes: N rows.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ..data._data import Data, Split
from ..models._family import Conditional, Family, Generative
from . import _samples
from ._metric import Direction
from ._spectra import WINDOW, summary

TREES, SEED = 100, 0


class Classifier:
    """What was learned from labeled rows."""

    def __init__(self, split: Split, *, spectra: bool) -> None:
        """spectra: whether rows are told apart by their spectra. The rows are finite, and have labels."""
        assert split.labels is not None
        self._spectra = spectra
        # Of one class there is nothing to regress, and trees are content.
        regress = spectra and bool((split.labels != split.labels[0]).any())
        self._model: Any = (
            make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            if regress
            else ExtraTreesClassifier(TREES, random_state=SEED, n_jobs=1)
        )
        self._model.fit(self._numbers(split.x), split.labels.cpu().numpy())

    def right(self, split: Split) -> Tensor:
        """[N]: whether each row is given the class that its label says."""
        assert split.labels is not None
        return torch.from_numpy(self._model.predict(self._numbers(split.x))) == split.labels.cpu()

    def _numbers(self, x: Tensor) -> NDArray[np.float32]:
        if self._spectra:
            x = torch.cat([summary(part) for part in torch.split(x, _samples.CHUNK_ROWS)])
        numbers: NDArray[np.float32] = x.flatten(1).float().cpu().numpy()
        return numbers


class OfClasses:
    """A metric of labeled samples: what it refuses, and how it draws them."""

    name: ClassVar[str]
    direction: ClassVar[Direction] = "maximize"
    each_epoch: ClassVar[bool] = False
    _spectra = False

    @classmethod
    def refusal(cls, model: type[Family], data: Data) -> str | None:
        """Data without labels are refused, and families that are never told the classes."""
        if data.validation.labels is None:
            return cls._no_labels(f"rows of {data.name!r}")
        # Whether one model of such a family is told them is known when it is built.
        return None if "conditional" in model.structural else cls._not_conditional(model)

    def model_refusal(self, model: Generative) -> str | None:
        """A model of such a family that is not told the classes is refused."""
        return self._not_conditional(type(model)) if isinstance(model, Conditional) and not model.conditional else None

    def prepare(self, data: Data) -> None:
        """Whether rows are told apart by their spectra: those of audio that fills one."""
        self._spectra = data.modality == "audio" and data.shape[-1] >= WINDOW

    def _drawn(self, model: Generative, generator: torch.Generator, *, rows: int) -> Split:
        """Samples and their labels; raises `ValueError` where they have none."""
        samples = _samples.draw(model, generator, rows=rows)
        if samples.labels is None:
            raise ValueError(self._not_conditional(type(model)))
        return samples

    @classmethod
    def _no_labels(cls, what: str) -> str:
        return (
            f"the metric {cls.name!r} needs labels, and {what} have none: choose another metric, or data such as digits"
        )

    @classmethod
    def _not_conditional(cls, model: type) -> str:
        return (
            f"the metric {cls.name!r} needs samples with labels, and {model.__module__} draws them without: choose a "
            "family that is told the classes and set its parameter `conditional` to true, or choose another metric"
        )
