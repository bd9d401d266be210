"""How MLflow is reached: its client, what is told to it and to a server, and the count of the calls that it is sent.

MLflow is imported inside functions, as it takes more than a second.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hpo.errors import HpoError
from hpo.home import Home
from hpo.study import Study

# A server is tried once: we look for the run that a lost answer may have left, while MLflow's own retries would make it
# twice, and go on for minutes. And no link is printed for each run that ends.
SERVER_SETTINGS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

Connect = Callable[[str], Any]


def connect(uri: str) -> Any:
    """Return MLflow's client for this URI."""
    from mlflow import MlflowClient

    return MlflowClient(uri)


def uri_of(study: Study, home: Home) -> str:
    """Return where the study is tracked: as it says, or else in its home."""
    return study.tracking or f"sqlite:///{home.mlflow_db}"


def without_password(text: str) -> str:
    """A URI, or a text with some in it, as it may be shown: names and passwords in front of a host are left out."""
    return re.sub(r"//[^/@\s]*@", "//", text)


class GivenUp(HpoError):
    """The search is over and MLflow was too slow for it: nothing more is written."""


@dataclass
class Traffic:
    """Calls made, failed ones included; writes that MLflow refused for good; whether calls are still allowed."""

    calls: int = 0
    refused: int = 0
    given_up: bool = False


class Counted:
    """A client that counts its calls, and makes none once the mirror was given up."""

    def __init__(self, client: Any, traffic: Traffic) -> None:
        self._client, self._traffic = client, traffic

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            if self._traffic.given_up:
                raise GivenUp
            self._traffic.calls += 1
            return method(*args, **options)

        return call
