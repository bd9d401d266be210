"""Samplers that misbehave, to be named by dotted path."""

import time
from typing import Any

from optuna.samplers import RandomSampler


class SlowSampler(RandomSampler):
    """Takes a second for its first parameter."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        if param_name == "lr":
            time.sleep(1.0)
        return super().sample_independent(study, trial, param_name, param_distribution)


class BrokenSampler(RandomSampler):
    """Raises."""

    def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
        raise ZeroDivisionError("no luck")


class SeedlessSampler(RandomSampler):
    """Takes no seed."""

    def __init__(self) -> None:
        super().__init__(seed=0)
