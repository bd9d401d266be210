"""The next trial: its number from the ledger, its parameters from the sampler, its seed from the study.

The slow part of a search's bookkeeping, so it runs without the ledger's lock. Plain Optuna, no ray.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from optuna.trial import Trial

from hpo.book import Book
from hpo.errors import SearchFailed
from hpo.messages import Params
from hpo.methods import quiet
from hpo.rows import SEED
from hpo.samplers import OptunaDraw, trial_seed
from hpo.tally import Account
from search_spaces import Space


class Asker:
    """Draws trials in the book. One call at a time; raises SearchFailed where the sampler fails.

    seed: of the study. sampler: its name, for that message. finite: whether it comes to an end.
    """

    def __init__(self, book: Book, *, space: Space, seed: int, sampler: str, finite: bool) -> None:
        self._book = book
        self._space = space
        self._seed = seed
        self._sampler = sampler
        self._finite = finite
        self._drawn: set[tuple[tuple[str, object], ...]] = set()

    def ask(self) -> Account | None:
        """Return a new trial, fully drawn; None where the sampler came to a configuration that was tried.

        Grid and brute force do not end, they begin again: at the first repeat the book is marked exhausted.
        """
        with self._sampler_at_work():
            return self._draw(self._book.sampling.ask())

    def finish(self, number: int) -> Account | None:
        """Return a trial whose draw a crash cut off, fully drawn; what stands keeps its value."""
        with self._sampler_at_work():
            return self._draw(self._book.cut_off(number))

    def remember(self, number: int, params: Params) -> None:
        """Take in a trial of an earlier run."""
        if self._finite and number > 0:  # the first is ours, not the sampler's: it does not know it as its own
            self._drawn.add(_key(params))

    def _draw(self, trial: Trial) -> Account | None:
        params = self._space.draw(OptunaDraw(trial))
        number = trial.number
        handle = self._book.handle(number)
        if self._finite and number > 0 and self._is_repeat(params):
            self.remember(number, params)
            self._book.hide(handle)
            return None
        self.remember(number, params)
        seed = trial_seed(self._seed, number)
        handle.set_user_attr(SEED, seed)  # the last word of an ask: what lacks it was cut off
        return Account(number=number, params=params, seed=seed, trial=handle)

    @contextmanager
    def _sampler_at_work(self) -> Iterator[None]:
        """Make SearchFailed of whatever a sampler raises, which is anybody's code; errors of the disk stay theirs."""
        try:
            with quiet():
                yield
        except OSError:
            raise
        except Exception as error:
            cause = f"{type(error).__name__}: {error}"
            raise SearchFailed(f"The sampler {self._sampler} failed: {cause}") from error

    def _is_repeat(self, params: Params) -> bool:
        if _key(params) in self._drawn:
            if not self._book.exhausted:
                self._book.exhaust()
            return True
        return _key(params) == _key(self._book.frozen(0).params)


def _key(params: Params) -> tuple[tuple[str, object], ...]:
    return tuple(sorted(params.items()))
