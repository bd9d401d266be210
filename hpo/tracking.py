"""MLflow, kept up to date with the event log of a home, live or later.

A thread of the driver tails the log from a saved offset. Live writing, an outage, a resumed search and `hpo sync` are
all `Mirror.catch_up`: read what is new, write it, save the offset. A failure anywhere drops what was known of MLflow
and begins again at the saved offset; the timestamps are the events' own, so writing twice leaves one point. A trial
that begins and ends between two looks at the log costs three calls, four with a sample sheet.

MLflow is imported when the first record is there, not before: by then the search runs, and nobody waits for it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from hpo import parts
from hpo.errors import HpoError
from hpo.event_log import EventLog
from hpo.home import Home
from hpo.mirror import Ending, Position, fold, identity_of, milliseconds
from hpo.mlflow_client import SERVER_SETTINGS, Connect, GivenUp, Traffic, connect, uri_of
from hpo.mlflow_client import without_password as without_password
from hpo.mlflow_runs import STATUS_OF_ENDING, Runs
from hpo.mlflow_runs import attach as attach_to_study
from hpo.study import Study
from hpo.study_files import Figures as Figures
from hpo.study_files import StudyFiles
from hpo.surroundings import environment, only_writer, silence
from hpo.system_metrics import SystemMetrics

FLUSH_SECONDS = 1.0
CHUNK_BYTES = 4 * 1024 * 1024  # of the log at once: what a backlog takes in memory
LONGEST_PAUSE_SECONDS = 30.0  # between two tries while MLflow does not answer


class Tracker:
    """Mirrors a search to MLflow while it runs: `start`, then `end` once the log is complete.

    It never raises for MLflow's sake and never makes the search wait. error: the last failure, "" while all is well.
    figures: makes the pages that the study's run shows, now and then while the search runs, and at its end.
    """

    def __init__(self, study: Study, home: Home, *, figures: Figures | None = None, connect: Connect = connect) -> None:
        self._mirror = Mirror(study, home, live=True, figures=figures, connect=connect)
        self._thread = threading.Thread(target=self._run, name="hpo-tracking", daemon=True)
        self._wake = threading.Event()
        self._ending: Ending | None = None
        self.error = ""

    @property
    def calls(self) -> int:
        """How many calls MLflow has been sent, failed ones included."""
        return self._mirror.traffic.calls

    @property
    def refused(self) -> int:
        """How many writes MLflow refused for good, such as those to a run that somebody deleted."""
        return self._mirror.traffic.refused

    @property
    def started(self) -> bool:
        """Whether `start` was called; only then is there anything to `end`."""
        return self._thread.ident is not None

    def start(self) -> None:
        """Begin to tail the event log; returns at once."""
        self._thread.start()

    def end(self, ending: Ending, *, timeout: float) -> int:
        """Write the rest, close the runs, and return how many records MLflow lacks, after `timeout` seconds at most.

        Call it once, when nothing more is appended to the log. Trials without an end are closed as interrupted, and
        opened again when they go on. What is lacking, the ending included, is left for `sync`. MLflow's first failure
        from here on is the last: nobody waits for a server that is down.
        """
        self._ending = ending
        self._wake.set()
        self._thread.join(timeout)
        return self._mirror.give_up(ending)

    def _run(self) -> None:
        pause = FLUSH_SECONDS
        with self._mirror:
            while True:
                ending = self._ending  # taken first: what was appended before it was set is in the log by now
                try:
                    if ending is None:
                        self._mirror.catch_up()
                        self._mirror.keep_company()
                    else:
                        self._mirror.finish(ending)
                    self.error, pause = "", FLUSH_SECONDS
                except Exception as error:  # whatever happens here, the search goes on
                    self.error, pause = _first_line(error), min(2 * pause, LONGEST_PAUSE_SECONDS)
                if ending is not None:
                    return
                self._wake.wait(pause)


def sync(study: Study, home: Home, *, figures: Figures | None = None, connect: Connect = connect) -> int:
    """Bring MLflow up to date with the event log and return how many records were written; the files are made afresh.

    Raises HpoError where MLflow does not take them, RequestError while a search writes them itself.
    """
    with Mirror(study, home, live=False, figures=figures, connect=connect) as mirror:
        try:
            return mirror.finish()
        except HpoError:
            raise
        except Exception as error:
            raise HpoError(
                f"MLflow must take what is written to it; {mirror.shown_uri} did not: {_first_line(error)}. "
                f"See that it runs and that `tracking` in {home.study} names it, then: hpo sync {home.path}"
            ) from error


def attach(study: Study, home: Home, files: Mapping[str, Path], *, connect: Connect = connect) -> bool:
    """Log files to the study's run in MLflow under these names, such as `{"winner/card.md": path}`.

    Returns False, and raises nothing, where MLflow is not reached, has no such run or does not take them.
    """
    try:
        first, _ = EventLog(home).read(0, limit=1)
        if not first:
            return False
        with contextlib.ExitStack() as scope:
            _prepare(scope, uri_of(study, home))
            client = connect(uri_of(study, home))
            return attach_to_study(client, study=study, identity=identity_of(first[0]), files=files, traffic=Traffic())
    except Exception:  # whatever MLflow does: the files lie where they were made
        return False


class Mirror:
    """The event log of one home, followed into MLflow. A context for one thread; another may call `give_up` alone.

    live: a search is running, so runs are opened again when it goes on. clock: seconds since 1970.
    """

    def __init__(
        self,
        study: Study,
        home: Home,
        *,
        live: bool,
        figures: Figures | None = None,
        connect: Connect = connect,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._study, self._home, self._live, self._connect = study, home, live, connect
        self._objective = parts.objective_of(study)
        self._uri = uri_of(study, home)
        self.shown_uri = without_password(self._uri)
        self.traffic = Traffic()
        self._log = EventLog(home)
        self._position = Position.load(home.tracking_offset)
        if live:
            self._position.ending = None
        self._runs: Runs | None = None
        self._clock = clock
        self._files = StudyFiles(study, home, figures=figures, clock=clock)
        self._files_offset = 0  # how much of the log the files tell of
        self._system: SystemMetrics | None = None
        self._scope = contextlib.ExitStack()
        self._prepared = self._finished = False
        self._guard = threading.Lock()

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, *exception: object) -> None:
        self._scope.close()

    def catch_up(self, *, check: bool = False) -> int:
        """Write all that the log holds beyond the saved offset, and return how many records that was.

        check: see first that MLflow still has the runs of what was written, even if nothing is new.
        """
        written = 0
        try:
            if check and self._position.identity:
                self._align(self._reach())
            while True:
                records, offset = self._log.read(self._position.offset, limit=CHUNK_BYTES)
                if not records:
                    return written
                if not self._position.identity:
                    self._position.identity = identity_of(records[0])
                    self._position.began_ms = milliseconds(records[0].time)
                runs = self._reach()
                if not self._align(runs):
                    continue
                chunk = fold(
                    records,
                    position=self._position,
                    offset=offset,
                    objective=self._objective.name,
                    direction=self._objective.direction,
                )
                beside = self._system.waiting() if self._system else ()
                runs.write(chunk, home=self._home, live=self._live, beside=beside)
                self._save(chunk.position)
                if self._system and (chunk.summary or beside):
                    self._system.written()
                written += len(records)
        except Exception:
            self._runs = None
            raise

    def keep_company(self) -> None:
        """Write what the study's run has beside the log where it is due: what the machine does, and files."""
        if not self._position.identity:
            return
        try:
            self._watch_system()
            if self._files.due and self._position.offset > self._files_offset:
                self._write_files()
        except Exception:
            self._runs = None
            raise

    def finish(self, ending: Ending | None = None) -> int:
        """Catch up, then close the study's run and those of trials that stopped half-way; return what that wrote.

        ending: how the search ended; None takes what is known of it, or else interrupted.
        """
        written = self.catch_up(check=True)
        if self._position.identity:  # else no trial ever began, and there is no run
            try:
                runs = self._reach()
                kept = ending or self._position.ending or runs.ending
                known: Ending = next((word for word in STATUS_OF_ENDING if word == kept), "interrupted")
                for number, trial in self._position.trials.items():
                    runs.interrupt_trial(number, time_ms=milliseconds(trial.last_time))
                runs.end_study(known, time_ms=self._position.last_ms)
                self._position.ending = None
                self._save(self._position)
                self._finished = True
                self._write_files()  # last, as they take longest: what is told of the search is whole by now
            except Exception:
                self._runs = None
                raise
        self._finished = True
        return written

    def give_up(self, ending: Ending) -> int:
        """Let nothing more be written from here on, and return how many records MLflow lacks.

        Where it lacks no more than the ending that is 1; the ending is kept for `sync`.
        """
        with self._guard:
            self.traffic.given_up = True
        if self._finished:
            return 0
        with contextlib.suppress(HpoError, OSError):
            position = Position.load(self._home.tracking_offset)
            lacking = len(self._log.read(position.offset)[0])
            position.ending = ending
            position.save(self._home.tracking_offset)
            return max(1, lacking)
        return 1

    def _align(self, runs: Runs) -> bool:
        """Whether the offset belongs to the study's run that MLflow has; if not, the log is written from its start.

        It does not after a change of `tracking`, with a new database, or when the file of the offset was lost.
        """
        if self._position.parent == runs.study_run:
            return True
        self._position = self._position.anew(parent=runs.study_run)
        return False

    def _reach(self) -> Runs:
        """Return the runs; all are looked for, unless they are known already."""
        if self._runs is None:
            if not self._prepared:
                self._prepare()
            self._runs = Runs.find(
                self._connect(self._uri),
                study=self._study,
                home=self._home,
                position=self._position,
                traffic=self.traffic,
            )
        return self._runs

    def _prepare(self) -> None:
        """Take what is held until the mirror is left: the right to write, and what MLflow needs."""
        self._scope.enter_context(only_writer(self._home))
        _prepare(self._scope, self._uri)
        self._prepared = True

    def _watch_system(self) -> None:
        if self._system is None:
            self._system = SystemMetrics(clock=self._clock)
        self._system.sample(began_ms=self._position.began_ms)
        if self._system.full:
            self._reach().write_study(self._system.waiting(), tags={})
            self._system.written()

    def _write_files(self) -> None:
        """Make the files of the study's run and log them; an artifact store that refuses them changes nothing else."""
        began = self._clock()
        offset = self._position.offset
        if self._reach().attach(self._files.make()):
            self._files_offset = offset
        self._files.done(seconds=self._clock() - began)

    def _save(self, position: Position) -> None:
        with self._guard:
            if self.traffic.given_up:
                raise GivenUp
            position.save(self._home.tracking_offset)
            self._position = position


def _prepare(scope: contextlib.ExitStack, uri: str) -> None:
    """Enter what MLflow needs of the process while it is written to: settings for a server, and silence."""
    if not uri.startswith("sqlite"):
        scope.enter_context(environment(SERVER_SETTINGS))
    import mlflow  # noqa: F401  it sets up log handlers, which are then kept silent

    scope.enter_context(silence())


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
