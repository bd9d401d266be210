"""The MLflow model of an export, as code: MLflow copies this file into the model and runs it where it is loaded.

It imports `trainables` alone, which lies beside it in the model, so it is served where none of the search is installed.
"""

from __future__ import annotations

from typing import Any

import mlflow
import mlflow.pyfunc

MOST = 10_000  # samples of one request


class Sampler(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Records of `count`, `seed` and `label`, all of them optional, to samples in the units of the data."""

    def load_context(self, context: Any) -> None:
        from trainables import exported

        self._exported = exported.load(context.artifacts["weights"])

    # Without hints, which MLflow would take for the form of a request.
    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]
        """For each record its `samples`: nested lists of numbers, or texts. The same seed gives the same samples."""
        found: list[dict[str, Any]] = []
        for record in _records(model_input):
            label = record.get("label")
            count = int(record.get("count", 1))
            if count > MOST:
                raise ValueError(f"one request is for at most {MOST} samples, and {count} are asked for: ask again")
            samples = self._exported.sample(
                count, seed=int(record.get("seed", 0)), label=None if label is None else int(label)
            )
            found.append({"samples": self._exported.plain(samples)})
        return found


def _records(model_input: Any) -> list[dict[str, Any]]:
    """The records of a table, or of a list; what is missing, None or no number in a cell, is left out."""
    rows = model_input.to_dict(orient="records") if hasattr(model_input, "to_dict") else list(model_input)
    # A cell that is not a number is not equal to itself.
    return [{name: value for name, value in row.items() if value is not None and value == value} for row in rows]


mlflow.models.set_model(Sampler())
