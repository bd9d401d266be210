"""Calls to the study server over Ray, which may be slow, restarting, or already gone.

A call is repeated with the same arguments until it is answered, so the server must take each one twice; see
`server.py`. The only place that names Ray's errors.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import ActorDiedError, ActorUnavailableError, GetTimeoutError, RayTaskError

from hpo.errors import HpoError

CALL_SECONDS = 60.0  # one attempt; a restarted server needs some seconds to rebuild itself
GIVE_UP_SECONDS = 300.0
HURRY_SECONDS = 5.0


class ServerGone(HpoError):
    """The study server did not come back; the worker ends, and its trials wait in the ledger."""


class ServerHandle:
    """A study server, called as if it always answered."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    @classmethod
    def named(cls, name: str) -> ServerHandle:
        """Return the server of this name in this Ray job."""
        return cls(ray.get_actor(name))

    def call(self, method: str, *args: Any, **options: Any) -> Any:
        """Return what the server's method returns; raise ServerGone when it stays away."""
        return self._call(method, args, options, patience=GIVE_UP_SECONDS)

    def hurry(self, method: str) -> Any:
        """Do the same for a driver on its way out: it waits some seconds, no more."""
        return self._call(method, (), {}, patience=HURRY_SECONDS)

    def _call(self, method: str, args: tuple[Any, ...], options: dict[str, Any], *, patience: float) -> Any:
        deadline = time.monotonic() + patience
        while True:
            try:
                answer = getattr(self._actor, method).remote(*args, **options)
                return ray.get(answer, timeout=min(CALL_SECONDS, patience))
            except (GetTimeoutError, ActorUnavailableError) as error:
                if time.monotonic() > deadline:
                    raise ServerGone(_gone(error)) from None
                time.sleep(0.2)
            except ActorDiedError as error:
                raise ServerGone(_gone(error)) from None
            except RayTaskError as error:  # what the server raised; ours is said in its own words
                if isinstance(error.cause, HpoError):
                    raise type(error.cause)(str(error.cause)) from None
                raise

    def end(self) -> None:
        """End the server's process for good."""
        ray.kill(self._actor, no_restart=True)


def _gone(error: Exception) -> str:
    return f"The study server must answer; it did not: {error}. The same command resumes the study."
