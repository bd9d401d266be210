"""The two files of a home opened for writing, and Optuna's study on one of them.

Opening mends what a crash left: half a line, a lock of Optuna's own tools, a trial that was half hidden. What stands in
them is the ledger's business. Plain Optuna, no ray; the caller holds the home's lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optuna
from optuna.pruners import BasePruner, NopPruner
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from hpo.errors import RequestError
from hpo.event_log import EventLog
from hpo.home import Home, searched_name
from hpo.journal import Journal, LedgerStorage, cut_back
from hpo.line_file import OpenFile
from hpo.race import Bounded
from hpo.rows import FITS, HIDDEN, OVER, SEED, SLOTS, fits_of, slots_of
from hpo.study import Study
from search_spaces import Space

PICKLED = (
    "cmaes: Optuna keeps the state of this sampler as a pickle in the ledger, and none is read from a home, so this "
    "search cannot be resumed."
)

# User attributes of the study.
_RUN = "run"
_SECONDS = "seconds"
_EXHAUSTED = "exhausted"


class Book:
    """Journal, event log and Optuna study of one home, begun with the default configuration queued.

    sampling: the view that asks use. Everything else goes through a view whose sampler has no memory, so that an event
    never waits for the sampler. Raises RequestError for a home that this study may not go on with.
    """

    def __init__(
        self,
        study: Study,
        home: Home,
        *,
        space: Space,
        direction: str,
        sampler: BaseSampler,
        pruner: BasePruner | None,
        pickles: bool,
        run: str,
        open_file: OpenFile,
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # Optuna's own tools take this lock. Whoever held it while we hold the home is gone.
        home.ledger.with_name(home.ledger.name + ".lock").unlink(missing_ok=True)
        cut_back(home.ledger, last_words=(SEED, HIDDEN))
        self._file = open_file(home.ledger)
        self.log = EventLog(home, open_file=open_file)
        try:
            self._journal = Journal(home.ledger, file=self._file)
            self._storage = LedgerStorage(self._journal)
            self._refuse_foreign(study, home, direction=direction, pickles=pickles, run=run)
            if all(known.study_name != study.name for known in self._storage.get_all_studies()):
                optuna.create_study(
                    study_name=study.name, storage=self._storage, direction=StudyDirection[direction.upper()]
                )
            self.sampling, self._recording = (
                optuna.load_study(
                    study_name=study.name, storage=self._storage, sampler=seen, pruner=pruner or NopPruner()
                )
                for seen in (sampler, RandomSampler())
            )
            self._study_id = self._storage.get_study_id_from_name(study.name)
            self.same_run = bool(run) and self._recording.user_attrs.get(_RUN) == run
            if not self.same_run:
                self._recording.set_user_attr(_RUN, run)
            if not self.trials():
                self._recording.enqueue_trial(space.default())
            self.flush(sync=True)
        except BaseException:
            self.close()
            raise

    def _refuse_foreign(self, study: Study, home: Home, *, direction: str, pickles: bool, run: str) -> None:
        studies = self._storage.get_all_studies()
        for known in studies:
            was = known.direction.name.lower()
            if (searched_name(known.study_name), was) != (searched_name(study.name), direction):
                raise RequestError(
                    f"A home holds one study; {home.path} holds {known.study_name!r} ({was}), and {study.name!r} "
                    f"({direction}) came. Give another --home."
                )
            if pickles and not (run and known.user_attrs.get(_RUN) == run):
                raise RequestError(f"{PICKLED} Give another --home, or take another sampler.")

    def trials(self) -> list[FrozenTrial]:
        """Every trial as Optuna has it, to be read only."""
        return self._recording.get_trials(deepcopy=False)

    def handle(self, number: int) -> Trial:
        """The trial to report to."""
        return Trial(self._recording, self._id(number))

    def cut_off(self, number: int) -> Trial:
        """The trial whose parameters were not all drawn, to go on drawing."""
        return Trial(self.sampling, self._id(number))

    def frozen(self, number: int) -> FrozenTrial:
        return self._storage.get_trial(self._id(number))

    def tell(self, trial: Trial, *, state: TrialState, value: float | None = None) -> None:
        """End a trial that runs."""
        self._recording.tell(trial, value, state=state)

    def hide(self, trial: Trial) -> None:
        """End a trial that no one trained: it counts for nothing and is shown nowhere."""
        if HIDDEN not in trial.user_attrs:
            trial.set_user_attr(HIDDEN, True)
        self.tell(trial, state=TrialState.FAIL)

    @property
    def seconds(self) -> float:
        """How long the study was searched before, as last written."""
        return float(self._recording.user_attrs.get(_SECONDS, 0.0))

    @seconds.setter
    def seconds(self, value: float) -> None:
        self._recording.set_user_attr(_SECONDS, value)

    @property
    def exhausted(self) -> bool:
        """Whether the sampler has no more: for good, or for now where it says so itself."""
        sampler = self.sampling.sampler
        if isinstance(sampler, Bounded) and sampler.is_done(self._recording):
            return True
        return bool(self._recording.user_attrs.get(_EXHAUSTED, False))

    def exhaust(self) -> None:
        self._recording.set_user_attr(_EXHAUSTED, True)

    @property
    def fits(self) -> list[dict[str, Any]]:
        """What widths cost, structure by structure."""
        return fits_of(self._recording.user_attrs)

    def add_fit(self, fit: Mapping[str, Any]) -> None:
        self._recording.set_user_attr(FITS, [*self.fits, dict(fit)])

    @property
    def slots(self) -> dict[str, tuple[int, float]]:
        """Of each group with more than one slot how many it has, and when it was first heard of."""
        return slots_of(self._recording.user_attrs)

    def set_slots(self, group: str, slots: int, *, since: float) -> None:
        self._recording.set_user_attr(SLOTS + group, [slots, since])

    @property
    def over(self) -> bool:
        """Whether the budget was used when the ledger was closed last."""
        return bool(self._recording.user_attrs.get(OVER, False))

    @over.setter
    def over(self, value: bool) -> None:
        if value != self.over:
            self._recording.set_user_attr(OVER, value)

    def flush(self, *, sync: bool) -> None:
        """Write what Optuna was told; sync: make it survive a power cut."""
        self._journal.flush(sync=sync)

    def close(self) -> None:
        """Close both files. What was not flushed is gone."""
        self._file.close()
        self.log.close()

    def _id(self, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._study_id, number)


def keeps_pickles(sampler: type[BaseSampler]) -> bool:
    """Whether Optuna would unpickle what stands in the ledger."""
    return issubclass(sampler, CmaEsSampler)
