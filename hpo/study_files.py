"""The files of a study's run: what was asked for, what came out, and figures; made afresh while the search goes on.

Figures come in as a value, a function from a reading of the home to pages, since what draws stands above this. A page
that cannot be made leaves `error.txt` in its place, and nothing else.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import yaml

from hpo import parts
from hpo.home import Home
from hpo.mlflow_client import without_password
from hpo.study import Study

if TYPE_CHECKING:
    from hpo.analysis import Reading

REFRESH_SECONDS = 30.0  # the least time between two
COST_FACTOR = 20  # files that take long to make and send are made less often: at most a twentieth of the time
AGE_SHARE = 0.1  # and they grow old more slowly as the search goes on, so a long search sends them tens of times

Figures = Callable[["Reading"], Mapping[str, str]]  # an artifact's name, such as `figures/history.html` -> its HTML


class StudyFiles:
    """Says when the files are due again, and makes them. figures: None leaves them out."""

    def __init__(
        self, study: Study, home: Home, *, figures: Figures | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._study, self._home, self._figures, self._clock = study, home, figures, clock
        self._began = clock()
        self._due = self._began + REFRESH_SECONDS

    @property
    def due(self) -> bool:
        return self._clock() >= self._due

    def done(self, *, seconds: float) -> None:
        """Plan the next time. seconds: what making and sending them took, in vain or not."""
        now = self._clock()
        self._due = now + max(REFRESH_SECONDS, COST_FACTOR * seconds, AGE_SHARE * (now - self._began))

    def make(self) -> dict[str, str]:
        """Return name -> text of each file. Raises nothing: what cannot be made is told in `error.txt`."""
        files: dict[str, str] = {}
        errors = []
        for part in (self._requested, self._space, self._found):
            try:
                files.update(part())
            except Exception:  # a home of another release, a space that cannot be imported here, a fault in a figure
                errors.append(traceback.format_exc())
        return files | ({"error.txt": "\n".join(errors)} if errors else {})

    def _requested(self) -> Iterator[tuple[str, str]]:
        yield "study.yaml", without_password(self._home.study.read_text(encoding="utf-8"))

    def _space(self) -> Iterator[tuple[str, str]]:
        written = parts.space_of(self._study).to_mapping()
        yield "space.yaml", yaml.safe_dump(written, sort_keys=False, allow_unicode=True)

    def _found(self) -> Iterator[tuple[str, str]]:
        from hpo import analysis

        reading = analysis.read(self._home)
        yield "summary.json", json.dumps(analysis.summary(reading).to_json(), indent=2, allow_nan=False)
        if self._figures is not None:
            yield from self._figures(reading).items()
