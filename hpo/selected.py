"""What a selection found: the finalists over fresh seeds, the winner by the stated rule, and what tuning gained.

`selection.json` of a home holds one of these, `hpo.selection.select` makes it, and export, report and dashboards read
it. Plain values; imports errors and the home's paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from hpo.errors import RequestError
from hpo.home import Home
from hpo.messages import Params

FORMAT = "hpo-selection-1"
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One training at the full budget under a fresh seed.

    trial: its number in the study of its stage. value: the objective on validation rows, None where it died of `cause`.
    metrics: all that was measured at its end, yardsticks included. broken: by how much it breaks each constraint of the
    study, 0 or less where it keeps it. test: what its weights measure on the test rows, where they were touched.
    """

    trial: int
    seed: int
    value: float | None
    cause: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    broken: Mapping[str, float] = field(default_factory=dict)
    test: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finalist:
    """One configuration in the race.

    name: `trial N`, or `default`. trial: its number in the search, None for a default that was never tried. searched:
    its value there. mean, median, error: of the race's runs that lived, and the mean's standard error; None with fewer
    than one, or two. chance: the probability that its mean is the best of all. out_after: with how many runs it was
    eliminated, None if never.
    """

    name: str
    trial: int | None
    params: Params
    searched: float | None
    runs: tuple[Run, ...]
    mean: float | None
    median: float | None
    error: float | None
    chance: float
    out_after: int | None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its interval at 95 %."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Final:
    """A configuration trained again after the choice, under seeds that took no part in it.

    expected: of its mean on validation rows. one_run: where one more training falls. Both None with fewer than two runs
    that lived.
    """

    name: str
    params: Params
    runs: tuple[Run, ...]
    expected: Interval | None
    one_run: Interval | None


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A winner that was chosen, and what it is worth.

    stage: which selection of the home this is, from 1; each touches the test rows once. rule: how the winner is chosen,
    in words. shrinkage: how much worse the winner is on the average than its value in the search said, as a share of
    that value; None for one that was not tried. gain: by how much the winner is better than the default configuration
    on the test rows, in the objective's unit, positive is better; None where the default itself won or the test rows do
    not measure it, as `gain_note` then says.
    """

    objective: str
    direction: str
    stage: int
    finalists_asked: int
    seeds_asked: int
    epochs: int
    rule: str
    finalists: tuple[Finalist, ...]
    winner: Final
    default: Final
    shrinkage: float | None
    gain: Interval | None
    gain_note: str
    made: str
    format: str = FORMAT

    @property
    def chosen(self) -> Finalist:
        """The winner as it stood in the race."""
        return next(finalist for finalist in self.finalists if finalist.name == self.winner.name)

    def typical(self) -> Run:
        """The winner's run with the median value of those that lived, the lower of two: whose weights are exported."""
        alive = sorted((run for run in self.winner.runs if run.value is not None), key=lambda run: run.value or 0.0)
        if not alive:
            raise RequestError(
                f"An export needs a training that reached its end; all {len(self.winner.runs)} of the winner died: "
                f"{self.winner.runs[0].cause}. Select again with more --finalists."
            )
        return alive[(len(alive) - 1) // 2]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Selection:
        fields = dict(value)
        return cls(**fields | {
            "finalists": tuple(Finalist(**one | {"runs": _runs(one)}) for one in fields["finalists"]),
            "winner": _final(fields["winner"]),
            "default": _final(fields["default"]),
            "gain": _interval(fields["gain"]),
        })  # fmt: skip

    def save(self, home: Home) -> None:
        """Write it into the home in one step."""
        draft = home.selection.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(self.to_json(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        draft.replace(home.selection)

    @classmethod
    def load(cls, home: Home) -> Selection | None:
        """Return the latest selection of a home, None where there is none. Raises RequestError for a broken file."""
        try:
            value = json.loads(home.selection.read_text(encoding="utf-8"))
            if value.get("format") != FORMAT:
                raise ValueError(f"its format is {value.get('format')!r}")
            return cls.from_json(value)
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RequestError(
                f"A selection is a file that `hpo export` wrote; {home.selection} cannot be read: {error}. Move it "
                "away, and export again."
            ) from None


def _runs(value: Mapping[str, Any]) -> tuple[Run, ...]:
    return tuple(Run(**run) for run in value["runs"])


def _interval(value: Mapping[str, Any] | None) -> Interval | None:
    return None if value is None else Interval(**value)


def _final(value: Mapping[str, Any]) -> Final:
    expected, one_run = _interval(value["expected"]), _interval(value["one_run"])
    return Final(**{**value, "runs": _runs(value), "expected": expected, "one_run": one_run})
