"""What each technique of tuning did to the objective: against the default, with an interval, and in words.

The value of a parameter is told by levels: an option, or a fifth of a range. Of each level it is estimated what the
objective would be were all trials at it and otherwise as they are: the partial dependence of a random forest (Friedman
2001, Annals of Statistics 29, section 8.2; Hutter, Hoos and Leyton-Brown 2014, ICML, for hyperparameters), corrected by
what the trials at that level had beyond their prediction (the augmented estimator of Robins, Rotnitzky and Zhao 1994,
JASA 89, 846-866). A forest alone shrinks every effect; the correction takes that out, and the forest has to explain
only what other parameters do. Each trial is predicted by a forest that did not see it (Chernozhukov et al. 2018,
arXiv 1608.00060).

The interval is a bootstrap over trials, simultaneous over all levels of a technique (the largest deviation in each
resample; Westfall and Young 1993), because the level that is told of is the most striking one. Its coverage was
simulated for parameters drawn independently. An adaptive sampler does not draw so: see `CONFOUNDED`.

Imports scikit-learn (the forest) and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student
from sklearn.ensemble import RandomForestRegressor

from hpo.home import Home
from hpo.outcomes import MIN_LEVEL, Floats, outcomes
from hpo.reading import Axis, Reading, reading_of
from hpo.rows import TrialRow
from hpo.study import Objective
from search_spaces import Entry
from search_spaces.blocks.augmentation import image_augmentation, series_augmentation
from search_spaces.blocks.batch_size import batch_size
from search_spaces.blocks.learning_rate import learning_rate
from search_spaces.blocks.optimizer import optimizer
from search_spaces.blocks.regularization import regularization
from search_spaces.blocks.schedule import schedule
from search_spaces.blocks.transfer import transfer

MIN_TRIALS = 20  # with fewer, a fifth of a range holds a handful
PARTS = 5  # of a range; odd, so that a default in the middle lies inside one
RESAMPLES = 1000
CONFIDENCE = 0.95
OTHER = "other parameters"
CONFOUNDED = (
    "An adaptive sampler tries values together that have done well, so a level may owe some of its effect to what came "
    "with it: read this as what the trials show; what a technique does by itself is seen under `sampler: random`."
)

_TREES, _FOLDS, _SEED = 50, 5, 0

Ints = npt.NDArray[np.int64]


def _techniques() -> dict[str, frozenset[str]]:
    """Return the six techniques of the article, each with the parameters of its blocks: a block that grows is known."""
    blocks: dict[str, Sequence[Mapping[str, Entry]]] = {
        "optimizer": (optimizer(),),
        "learning rate": (learning_rate(), schedule()),
        "batch size": (batch_size(),),
        "regularization": (regularization(),),
        "transfer": (transfer("source"),),
        "augmentation": (image_augmentation(flips=True), series_augmentation()),
    }
    return {name: frozenset(key for block in of_it for key in block) for name, of_it in blocks.items()}


TECHNIQUES = _techniques()


@dataclass(frozen=True, kw_only=True)
class Level:
    """A level of a parameter. change: of the objective against the reference, with its interval; trials: at it."""

    text: str
    trials: int
    change: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """One parameter: its levels against a reference.

    reference: the level of the default configuration; where that is not told of, the mean of all levels, and `default`
    is false. expected: the objective at the reference. trials: those that have the parameter.
    """

    parameter: str
    reference: str
    default: bool
    expected: float
    levels: tuple[Level, ...]
    trials: int


@dataclass(frozen=True, kw_only=True)
class Effect:
    """One technique. best, worst: the marginal and its level that gain and lose most; None with too few trials.

    parameters: those that were searched. trials: what it rests on, `pruned` of them with an expected value. helps,
    harms: whether the interval of best, or of worst, leaves 0 out on that side. words: all that in a sentence.
    """

    technique: str
    parameters: tuple[str, ...]
    trials: int
    pruned: int
    marginals: tuple[Marginal, ...] = ()
    best: tuple[Marginal, Level] | None = None
    worst: tuple[Marginal, Level] | None = None
    helps: bool = False
    harms: bool = False
    words: str


def technique_of(parameter: str) -> str:
    """Return the technique that a parameter belongs to, whatever player it is of; `OTHER` for the model's own."""
    name = parameter.rpartition(".")[2]
    return next((technique for technique, names in TECHNIQUES.items() if name in names), OTHER)


def effects(source: Home | Reading) -> list[Effect]:
    """Return the six techniques in the article's order, then the other parameters where any were searched."""
    reading = reading_of(source)
    rows, values, pruned = outcomes(reading)
    by_technique: dict[str, list[Axis]] = {name: [] for name in TECHNIQUES}
    coded = {axis.name: _codes(axis, rows) for axis in reading.axes}
    varied = [axis for axis in reading.axes if len(np.unique(coded[axis.name])) > 1]
    for axis in varied:
        by_technique.setdefault(technique_of(axis.name), []).append(axis)
    if len(rows) < MIN_TRIALS:
        return [_untold(name, axes, len(rows), pruned) for name, axes in by_technique.items()]
    default = next((row for row in reading.rows if row.number == 0), None)  # the first trial of every search
    start = {axis.name: -1 if default is None else int(_codes(axis, [default])[0]) for axis in varied}
    scores = {axis.name: _Scores(codes=coded[axis.name], values=values) for axis in varied}
    _predict(varied, coded, values, scores)
    weights = _resamples(len(rows))
    return [
        _effect(name, axes, scores, start, weights, objective=reading.objective, pruned=pruned)
        if axes else _untold(name, axes, len(rows), pruned)
        for name, axes in by_technique.items()
    ]  # fmt: skip


def _codes(axis: Axis, rows: Sequence[TrialRow]) -> Ints:
    """Return the level of each trial by its place, -1 where it lacks the parameter."""
    return np.array([_code(axis, row.params.get(axis.name)) for row in rows], dtype=np.int64)


def _code(axis: Axis, value: bool | int | float | str | None) -> int:
    if value is None:
        return -1
    if axis.options:  # True, 1 and 1.0 are equal, and options of their own
        return [(type(option), option) for option in axis.options].index((type(value), value))
    return int(np.clip(np.searchsorted(_edges(axis), float(value), side="right") - 1, 0, _count(axis) - 1))


def _count(axis: Axis) -> int:
    if axis.options:
        return len(axis.options)
    values = round(axis.high - axis.low) + 1
    return values if axis.whole and values <= PARTS else PARTS


def _edges(axis: Axis) -> Floats:
    """Return where each part of a range begins, and where the last ends; equal in the logarithm where drawn in it."""
    count = _count(axis)
    if axis.whole and count == round(axis.high - axis.low) + 1:
        return np.arange(axis.low, axis.high + 2.0)
    if axis.log:
        return np.geomspace(axis.low, axis.high, count + 1)
    return np.linspace(axis.low, axis.high, count + 1)


def _level_text(axis: Axis, code: int) -> str:
    if axis.options:
        option = axis.options[code]
        return f"{option:.3g}" if isinstance(option, float) else str(option)
    low, high = _edges(axis)[code : code + 2]
    if axis.whole:
        first, last = math.ceil(low), int(axis.high) if code == _count(axis) - 1 else math.ceil(high) - 1
        return str(first) if first >= last else f"{first} to {last}"
    return f"{low:.3g} to {high:.3g}"


class _Scores:
    """Of one parameter: what a forest says of each trial at each of its levels, and what the trials had beyond that."""

    def __init__(self, *, codes: Ints, values: Floats) -> None:
        self.codes = codes
        self.there = codes >= 0
        self.levels = [code for code in np.unique(codes[self.there]) if (codes == code).sum() >= MIN_LEVEL]
        self.values = values
        self.predicted = np.zeros((len(codes), len(self.levels)))
        self.residuals = np.zeros(len(codes))

    def means(self, weights: Floats) -> Floats:
        """Return the expected objective at each level (second axis) under each weighting of the trials (first axis)."""
        at = np.stack([self.codes == code for code in self.levels], axis=1).astype(float)
        of_those = weights * self.there
        plain = of_those @ self.predicted / of_those.sum(axis=1, keepdims=True)
        count = weights @ at
        with np.errstate(invalid="ignore", divide="ignore"):  # a resample may leave a level out
            means: Floats = plain + (weights @ (at * self.residuals[:, None])) / count
        return means


def _predict(varied: Sequence[Axis], coded: Mapping[str, Ints], values: Floats, scores: Mapping[str, _Scores]) -> None:
    """Fill in what forests that did not see a trial say of it, as it is and at each level of each parameter."""
    columns, matrix = _features(varied, coded)
    folds = np.random.default_rng(_SEED).permutation(len(values)) % _FOLDS
    for fold in range(_FOLDS):
        held = folds == fold
        forest = RandomForestRegressor(_TREES, min_samples_leaf=3, max_features=1 / 3, random_state=_SEED)
        forest.fit(matrix[~held], values[~held])
        asked = [matrix[held]]
        for axis in varied:
            for code in scores[axis.name].levels:
                changed = matrix[held].copy()
                changed[:, columns[axis.name]] = _encoded(axis, np.array([code]))
                asked.append(changed)
        said = forest.predict(np.concatenate(asked)).reshape(len(asked), held.sum())
        place = 1
        for axis in varied:
            score = scores[axis.name]
            score.residuals[held] = values[held] - said[0]
            for column in range(len(score.levels)):
                score.predicted[held, column] = said[place]
                place += 1


def _features(varied: Sequence[Axis], coded: Mapping[str, Ints]) -> tuple[dict[str, slice], Floats]:
    """Return the columns of each parameter, and all of them by trial.

    A parameter that a trial lacks is put at its commonest level: told apart, its absence would stand for the choice
    that it depends on, and take the effect of that choice to itself.
    """
    parts = []
    for axis in varied:
        codes = coded[axis.name]
        commonest = int(np.bincount(codes[codes >= 0]).argmax())
        parts.append(_encoded(axis, np.where(codes < 0, commonest, codes)))
    ends = np.cumsum([part.shape[1] for part in parts])
    columns = {
        axis.name: slice(int(end) - part.shape[1], int(end))
        for axis, part, end in zip(varied, parts, ends, strict=True)
    }
    return columns, np.concatenate(parts, axis=1)


def _encoded(axis: Axis, codes: Ints) -> Floats:
    """Return the columns of a parameter: the level of a range by its place, a choice as one column an option."""
    if not axis.options:
        return codes[:, None].astype(float)
    return np.asarray(codes[:, None] == np.arange(len(axis.options))[None], dtype=float)


def _resamples(count: int) -> Floats:
    """Return how often each trial is in each resample; the first is the trials as they are."""
    drawn = np.random.default_rng(_SEED).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return np.concatenate([np.ones((1, count)), drawn])


def _untold(technique: str, axes: Sequence[Axis], trials: int, pruned: int) -> Effect:
    name = technique.capitalize()
    if not axes:
        words = f"{name}: not searched." if trials else f"{name}: no trial yet."
    else:
        words = f"{name}: too few trials to tell ({trials}, and it takes {MIN_TRIALS})."
    return Effect(
        technique=technique, parameters=tuple(axis.name for axis in axes), trials=trials, pruned=pruned, words=words
    )


def _effect(
    technique: str, axes: Sequence[Axis], scores: Mapping[str, _Scores], start: Mapping[str, int], weights: Floats, *,
    objective: Objective, pruned: int,
) -> Effect:  # fmt: skip
    told = [axis for axis in axes if len(scores[axis.name].levels) > 1]
    trials = weights.shape[1]
    if not told:
        return _untold(technique, axes, trials, pruned)
    changes = [_changes(scores[axis.name], start[axis.name], weights) for axis in told]
    every = np.concatenate([change for change, _ in changes], axis=1)
    few = np.concatenate([fewest for _, fewest in changes])
    widths = _widths(every, few)
    marginals, place = [], 0
    for axis, (change, _) in zip(told, changes, strict=True):
        width = widths[place : place + change.shape[1]]
        marginals.append(_marginal(axis, scores[axis.name], start[axis.name], change[0], width))
        place += change.shape[1]
    sign = 1.0 if objective.direction == "minimize" else -1.0
    pairs = [(marginal, level) for marginal in marginals for level in marginal.levels if level.high > level.low]
    best = min(pairs, key=lambda pair: _standing(pair[1], sign))
    worst = min(pairs, key=lambda pair: _standing(pair[1], -sign))
    helps, harms = _standing(best[1], sign)[0] < 0, _standing(worst[1], -sign)[0] < 0
    return Effect(
        technique=technique, parameters=tuple(axis.name for axis in axes), trials=trials, pruned=pruned,
        marginals=tuple(marginals), best=best, worst=worst, helps=helps, harms=harms,
        words=_words(technique, best if helps else None, worst if harms else None, pairs, objective, trials),
    )  # fmt: skip


def _standing(level: Level, sign: float) -> tuple[float, float]:
    """Return what to choose a level by that moves the objective down (`sign` 1) or up (-1) most: what it does at the
    least, where that is more than nothing, and then its estimate."""
    return min(0.0, max(sign * level.low, sign * level.high)), sign * level.change


def _changes(score: _Scores, start: int, weights: Floats) -> tuple[Floats, Ints]:
    """Return each level's change against the reference by resample, and the fewest trials that each rests on."""
    means = score.means(weights)
    counts = np.array([(score.codes == code).sum() for code in score.levels])
    if start in score.levels:
        place = score.levels.index(start)
        return means - means[:, [place]], np.minimum(counts, counts[place])
    return means - means.mean(axis=1, keepdims=True), counts


def _widths(changes: Floats, few: Ints) -> Floats:
    """Return half the width of each interval: over all levels at once it is missed by one study in twenty.

    changes: (1 + resamples, levels), the first row the estimate. Student's factor stands for the trials at a level,
    which may be few; the resamples do not know that.
    """
    deviations = changes[1:] - changes[0]
    errors = np.nanstd(deviations, axis=0)
    scaled = np.divide(np.abs(deviations), errors, out=np.zeros_like(deviations), where=errors > 0)
    critical = float(np.nanquantile(np.nanmax(scaled, axis=1), CONFIDENCE))
    tail = (1 + CONFIDENCE) / 2
    factor = student.ppf(tail, few - 1) / student.ppf(tail, 1e6) * np.sqrt(few / (few - 1))
    widths: Floats = critical * errors * factor
    return widths


def _marginal(axis: Axis, score: _Scores, start: int, change: Floats, widths: Floats) -> Marginal:
    default = start in score.levels
    means = score.means(np.ones((1, len(score.codes))))[0]
    return Marginal(
        parameter=axis.name,
        reference=_level_text(axis, start) if default else "",
        default=default,
        expected=float(means[score.levels.index(start)] if default else means.mean()),
        levels=tuple(
            Level(
                text=_level_text(axis, int(code)), trials=int((score.codes == code).sum()), change=float(moved),
                low=float(moved - width), high=float(moved + width),
            )
            for code, moved, width in zip(score.levels, change, widths, strict=True)
        ),
        trials=int(score.there.sum()),
    )  # fmt: skip


def _words(
    technique: str, best: tuple[Marginal, Level] | None, worst: tuple[Marginal, Level] | None,
    pairs: Sequence[tuple[Marginal, Level]], objective: Objective, trials: int,
) -> str:  # fmt: skip
    """Return the sentence. best, worst: None where they cannot be told from noise."""
    name, metric = technique.capitalize(), objective.metric
    said = [f"{_where(*pair)} {metric} is {_moved(*pair)}" for pair in (best, worst) if pair is not None]
    if not said:
        marginal, level = max(pairs, key=lambda pair: abs(pair[1].change))
        return (
            f"{name}: no effect can be told apart from noise. The largest is that {_where(marginal, level)} {metric} "
            f"is {_moved(marginal, level)}; {trials} trials."
        )
    prefix = "" if best is not None else "no level is surely better than the default; "
    return f"{name}: {prefix}{'; '.join(said)}; {trials} trials."


def _where(marginal: Marginal, level: Level) -> str:
    return f"with {marginal.parameter} {level.text}"


def _moved(marginal: Marginal, level: Level) -> str:
    """Say by how much the objective is lower or higher, with the interval in the same direction."""
    down = level.change < 0
    low, high = (-level.high, -level.low) if down else (level.low, level.high)
    share = f" or {100 * abs(level.change / marginal.expected):.2g} %" if marginal.expected else ""
    beside = f"with the default, {marginal.reference}" if marginal.default else "on average over its levels"
    return (
        f"{abs(level.change):.3g}{share} {'lower' if down else 'higher'} (95 %: {low:.3g} to {high:.3g}) than {beside}"
    )
