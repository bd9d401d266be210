"""Calls to the study server over Ray, which may be slow, restarting, or already gone.

A call is repeated with the same arguments until it is answered, so the server must take each one twice; see
`server.py`. The only place that names Ray's errors.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError

from hpo.errors import HpoError

CALL_SECONDS = 60.0  # one attempt; a restarted server needs some seconds to rebuild itself
GIVE_UP_SECONDS = 300.0


class ServerGone(HpoError):
    """The study server did not come back; the worker ends, and its trials wait in the ledger."""


class ServerHandle:
    """The study server of this name, in this Ray job."""

    def __init__(self, name: str) -> None:
        self._actor = ray.get_actor(name)

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Return what the server's method returns; raise ServerGone when it stays away."""
        deadline = time.monotonic() + GIVE_UP_SECONDS
        while True:
            try:
                return ray.get(getattr(self._actor, method).remote(*args, **options), timeout=CALL_SECONDS)
            except (GetTimeoutError, ActorUnavailableError, ActorDiedError) as error:
                dead = isinstance(error, ActorDiedError) and not isinstance(error, ActorUnavailableError)
                if dead or time.monotonic() > deadline:
                    raise ServerGone(f"The study server must answer; it did not: {error}. Run the same command again.") \
                        from None  # fmt: skip
                time.sleep(0.2)
