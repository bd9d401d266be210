"""The laws of metrics; `_metric.py` says what each part of the contract is for."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import torch
from torch import nn

from hpo.laws._law import Broken, NotAsked, globally_seeded
from hpo.laws._measured import Measured, NotANumber, Rough
from trainables.data._data import Split
from trainables.metrics._metric import Clocked, Measurement, measures_samples

# Draws of the noise whose spread the standard error is held against, and by how much of it they may differ: the spread
# of so few is itself uncertain by a quarter.
DRAWS, SLACK = 8, 0.75
# Parts of the rows, likewise.
PARTS = 10
# The module constant that holds the size of a pass over rows or samples, and another size, which divides nothing.
PASS, ROWS = "CHUNK_ROWS", 37
# Between two ways to measure one thing: float32 sums in another order, and, in standard errors, other noise.
ROUNDING, OTHER_NOISE = 1e-4, 3.0


def says_what_it_is(subject: Measured) -> None:
    """A metric is named for its file, and states its direction, its cost and what it is."""
    metric = subject.metric()
    if metric.name != subject.name:
        raise Broken(f"its name is {metric.name!r}, and that of the file {subject.name!r}", remedy="give both one name")
    if metric.direction not in ("minimize", "maximize"):
        raise Broken(f"its direction is {metric.direction!r}", remedy="make it 'minimize' or 'maximize'")
    if not isinstance(metric.each_epoch, bool):
        raise Broken(f"'each_epoch' is {metric.each_epoch!r}", remedy="make it True where it takes milliseconds")
    if not subject.metric.__doc__ or not sys.modules[subject.metric.__module__].__doc__:
        raise Broken("the class or its file has no docstring", remedy="say there what is measured, and its source")


def a_measurement_has_a_value_and_its_error(subject: Measured) -> None:
    """A measurement has a finite value, a standard error of at least 0 and a number of rows."""
    found = subject.found(0)
    if not (math.isfinite(found.value) and found.standard_error >= 0.0 and found.sample_size >= 1):
        raise Broken(f"it is {found}", remedy="return finite numbers for finite samples")


def the_noise_decides_the_value(subject: Measured) -> None:
    """The same noise gives the same value, whatever torch's global generator, and other noise another.

    A metric of the model itself may draw nothing, such as one of exact probabilities.
    """
    _not_of_the_clock(subject)
    with globally_seeded(1):
        again = subject.measure(seed=0)
    if again != subject.found(0):
        raise Broken(
            f"under one seed it is {again}, after {subject.found(0)}",
            remedy="draw from the generator that is handed in, and keep nothing of an earlier measurement",
        )
    if not measures_samples(subject.metric):
        return
    values = [subject.found(seed).value for seed in range(DRAWS)]
    # A count may come out equal, and so may a share, which is a count of the sample.
    counts = [value * subject.found(0).sample_size for value in values]
    if len(set(values)) == 1 and not _whole(counts) and subject.found(0).standard_error > 0.0:
        raise Broken(f"under {DRAWS} seeds it is {values[0]}", remedy="draw samples from the generator handed in")


def the_standard_error_is_true(subject: Measured) -> None:
    """The standard error is the spread of the value over what is drawn: the samples, or the rows."""
    _not_of_the_clock(subject)
    values = [subject.found(seed).value for seed in range(DRAWS)]
    error, over_draws = _error(subject), _spread(values)
    # A count of few has no finer steps.
    slack = 0.75 if _whole(values) else 1e-12
    if abs(error - over_draws) <= SLACK * over_draws + slack:
        return
    over_rows = _spread_over_rows(subject)
    if over_rows is None or not abs(error - over_rows) <= SLACK * over_rows + slack:
        raise Broken(
            f"it is {error:.3g}, and the value's spread is {over_draws:.3g} over samples and "
            f"{'unknown' if over_rows is None else format(over_rows, '.3g')} over rows",
            remedy="take the spread over what is drawn: by rows, or by a jackknife over parts of the samples",
        )


def _error(subject: Measured) -> float:
    """The standard error, as root mean square over draws: that of one draw may itself be uncertain."""
    return math.sqrt(sum(subject.found(seed).standard_error ** 2 for seed in range(DRAWS)) / DRAWS)


def _spread_over_rows(subject: Measured) -> float | None:
    """From its spread over parts of the rows; None where the metric does not measure on so few."""
    x, labels = subject.rows.x, subject.rows.labels
    parts = [Split(x=x[n::PARTS], labels=None if labels is None else labels[n::PARTS]) for n in range(PARTS)]
    try:
        return _spread([subject.measure(rows=part).value for part in parts]) / math.sqrt(PARTS)
    except ValueError:
        return None


def it_changes_neither_model_nor_rows(subject: Measured) -> None:
    """A metric changes neither the model, nor its mode, nor its gradients, nor the rows."""
    module = subject.model if isinstance(subject.model, nn.Module) else None
    weights = {} if module is None else {name: tensor.clone() for name, tensor in module.state_dict().items()}
    rows = {name: deepcopy(split) for name, split in subject.data.splits()}
    training = module is not None and module.training
    subject.measure()
    for name, split in subject.data.splits():
        if not torch.equal(split.x, rows[name].x):
            split.x.copy_(rows[name].x)
            raise Broken(f"the {name} rows are others", remedy="compute on a copy of them")
    if module is not None:
        if any(not torch.equal(module.state_dict()[name], tensor) for name, tensor in weights.items()):
            raise Broken("the model's tensors are others", remedy="measure under torch.inference_mode()")
        if any(parameter.grad is not None for parameter in module.parameters()) or module.training != training:
            raise Broken("the model has gradients, or is in another mode", remedy="leave both to the trainer")


def the_order_of_rows_does_not_matter(subject: Measured) -> None:
    """The value does not depend on the order of the rows, beyond the noise."""
    _not_of_the_clock(subject)
    rows = subject.rows
    turned = subject.measure(rows=Split(x=rows.x.flip(0), labels=None if rows.labels is None else rows.labels.flip(0)))
    _close(turned, subject, what="in another order")


def the_size_of_a_pass_does_not_matter(subject: Measured) -> None:
    """The value does not depend on how many rows or samples are computed at once, beyond the noise."""
    _not_of_the_clock(subject)
    with _passes_of(ROWS, subject):
        _close(subject.measure(), subject, what=f"in passes of {ROWS}")


def samples_that_are_not_finite_give_no_better_value(subject: Measured) -> None:
    """Samples that are not finite give NaN or a worse value, and no exception."""
    _not_of_the_clock(subject)
    model = subject.model
    if isinstance(model, nn.Module):
        if replace(subject, model=Rough(subject.data), family=None).refusal is None:
            raise NotAsked("it measures samples, and a model that gives whole numbers gives no NaN")
        model = deepcopy(model)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.fill_(torch.nan)
    else:
        model = NotANumber(subject.data)
    found, fine = subject.measure(model=model).value, subject.found(0).value
    if found > fine if subject.metric.direction == "maximize" else found < fine:
        raise Broken(f"it is {found}, and {fine} for finite ones", remedy="return NaN where a sample is not finite")


def it_refuses_in_words(subject: Measured) -> None:
    """What a metric refuses it does not measure, and says so by its name, with a remedy."""
    if subject.refusal is None:
        raise NotAsked(f"it measures {subject}")
    for text in (subject.refusal, _refused(subject)):
        if f"the metric {subject.name!r}" not in text or ": " not in text:
            raise Broken(f"it says {text!r}", remedy=f"say: the metric {subject.name!r}, rule, value: remedy")


def _refused(subject: Measured) -> str:
    try:
        found = subject.measure()
    except ValueError as error:
        return str(error)
    raise Broken(f"it says {subject.refusal!r}, and measures {found.value}", remedy="raise ValueError with that text")


def _not_of_the_clock(subject: Measured) -> None:
    metric = subject.metric()
    if isinstance(metric, Clocked) and metric.reads_clock:
        raise NotAsked("the metric reads a clock")


@contextmanager
def _passes_of(rows: int, subject: Measured) -> Iterator[None]:
    """Every size of a pass that our metrics and this one know is so many rows."""
    names = [name for name in sys.modules if name.startswith("trainables.metrics.")]
    modules = [sys.modules[name] for name in {*names, subject.metric.__module__}]
    before = [(module, getattr(module, PASS)) for module in modules if hasattr(module, PASS)]
    try:
        for module, _ in before:
            setattr(module, PASS, rows)
        yield
    finally:
        for module, value in before:
            setattr(module, PASS, value)


def _close(found: Measurement, subject: Measured, *, what: str) -> None:
    expected, error = subject.found(0).value, _error(subject)
    if not abs(found.value - expected) <= OTHER_NOISE * error + ROUNDING * abs(expected):
        raise Broken(
            f"{what} it is {found.value}, and else {expected} with an error of {error:.3g}",
            remedy="compute one number over all rows, not a mean over passes",
        )


def _spread(values: list[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).std())


def _whole(values: list[float]) -> bool:
    return all(math.isfinite(value) and abs(value - round(value)) < 1e-9 for value in values)


# What can only be found on a model; all else is on rows, where the metric takes any.
OF_MODELS = (it_changes_neither_model_nor_rows,)
