"""Starts a search and brings it back: the only way in, for the command line and for Python alike.

The request is checked before anything is made; then `driver.py` runs it on Ray while a thread of `tracking.py` mirrors
the event log to MLflow. Running the same call again resumes. Ray is imported only once its environment is set.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal

from hpo import parts
from hpo.errors import RequestError, SearchFailed
from hpo.event_log import EventLog
from hpo.home import Home, second_driver
from hpo.messages import COUNTED, Event
from hpo.mirror import Ending
from hpo.pruning import make_pruner
from hpo.samplers import make_sampler
from hpo.server import StudyServer, refuse
from hpo.study import Objective, Study
from hpo.tracking import Figures, Tracker

if TYPE_CHECKING:
    from hpo.analysis import BestTrial

HOLDER_SECONDS = 8.0  # a killed driver's server needs some seconds to die with it
TRACKING_SECONDS = 60.0  # for what the tracker has not written when the search ends
HURRIED_SECONDS = 2.0  # the same, after a second Ctrl-C

# Ray reads these when it is imported. Tune's own loggers, snapshots and signal handler would only be in the way. Its
# workers would run at niceness 15: docs/decisions/2026-11-30-priorities.md has what that costs beside other work.
_RAY_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new one prints a table of its own at any verbosity
    "RAY_ENABLE_AUTO_CONNECT": "0",  # what is left of Tune when Ray is gone must not start another
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
}
# A cluster of one machine listens on loopback only.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}


@dataclass(frozen=True)
class Result:
    """What a search left. status: the fields of `hpo.ledger.Status`. unsynced: records MLflow does not have yet.

    report: where the report lies that was written at the end; None where the search was interrupted, or where none
    could be written, as `no_report` says.
    """

    study: Study
    home: Path
    status: Mapping[str, Any]
    interrupted: bool
    unsynced: int
    report: Path | None = None
    no_report: str = ""

    @property
    def best(self) -> BestTrial | None:
        """The best done trial: its number, value, parameters and seed; None while none is done."""
        from hpo.analysis import best

        return best(Home(self.home))


def search(
    study: Study,
    *,
    home: str | Path,
    address: str | None = None,
    on_status: Callable[[Mapping[str, Any]], None] | None = None,
    figures: Figures | None = None,
) -> Result:
    """Run a study, or go on with the one in `home`, until its budget is used or it is interrupted.

    address: a running Ray cluster (`auto`, or host:port); None starts Ray on this machine. on_status: called about
    twice a second with the fields of `hpo.ledger.Status`. figures: makes the pages that MLflow shows of the search.

    Raises RequestError before anything is made where the request cannot be done, SearchFailed where the search
    stopped early; the home can then be resumed.
    """
    place = Home(home)
    place.check_writable()
    if place.exists():
        study.check_continues(place.study)
    _wait_for_holder(place)
    direction, sha256 = check(study).direction, parts.data_hash(study)
    place.check_data(sha256)
    ending: Ending = "stopped"
    patience = TRACKING_SECONDS
    tracker = Tracker(study, place, figures=figures)
    try:
        status, interrupted = _used_up(study, place, direction=direction, data=sha256), False
        if status is not None:
            tracker.start()
        else:
            outcome = _driver(address).run(
                study,
                place,
                direction=direction,
                data=sha256,
                address=address,
                on_status=on_status,
                on_open=tracker.start,
            )
            status, interrupted = outcome.status, outcome.interrupted
        if not status["stopped"]:
            ending = "interrupted" if interrupted else "finished"
    except KeyboardInterrupt:
        ending, patience = "interrupted", HURRIED_SECONDS
        raise
    finally:
        unsynced = tracker.end(ending, timeout=patience) if tracker.started else 0
    if ending == "stopped":
        raise SearchFailed(f"The search stopped. {status['stopped']}")
    return Result(study=study, home=place.path, status=status, interrupted=interrupted, unsynced=unsynced)


@contextmanager
def one_ray(study: Study, *, address: str | None = None) -> Iterator[None]:
    """Start or join Ray once for every `search` inside, which takes some seconds each time; `study` says how large."""
    with _driver(address).cluster_of(study, address) as cluster:
        try:
            yield
        except BaseException:
            cluster.answers = False  # perhaps a signal ended its processes
            raise


def check(study: Study) -> Objective:
    """Return the objective of a study whose every part was tried, sampler and pruner too; raise RequestError if not."""
    objective = parts.check(study)
    make_pruner(study.pruner, epochs=study.budget.epochs)
    make_sampler(study.sampler, space=parts.space_of(study), seed=study.seed)
    return objective


def _used_up(
    study: Study, home: Home, *, direction: Literal["minimize", "maximize"], data: str | None
) -> dict[str, Any] | None:
    """Return the last status of a search whose trials have all ended: Ray is not started for nothing. Else None."""
    ended = {record.trial for record in EventLog(home).read()[0] if isinstance(record, Event) and record.end in COUNTED}
    if len(ended) < study.budget.trials:
        return None
    values = study.model_dump(mode="json")
    server = StudyServer(values, str(home.path), direction=direction, data=data, workers=1, run=f"hpo-{uuid.uuid4()}")
    refuse(server.ready())
    over = server.over()
    status = server.close()
    return status if over else None


def _driver(address: str | None) -> ModuleType:
    """Import the driver, and Ray with it, under the environment that it needs."""
    for name, value in (_RAY_ENVIRONMENT | (_LOOPBACK if address is None else {})).items():
        os.environ.setdefault(name, value)
    from hpo import driver

    return driver


def _wait_for_holder(home: Home) -> None:
    """Let a dying driver go; raise RequestError naming one that lives on."""
    deadline = time.monotonic() + HOLDER_SECONDS
    while (holder := home.holder()) is not None:
        if time.monotonic() > deadline:
            raise RequestError(second_driver(home, holder))
        time.sleep(0.2)
