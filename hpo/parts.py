"""What the names in a study stand for: its space, its objective, and the trainer of one trial.

Both ends use it: the driver to check a request before anything is made, a worker to train. `trainer_of` and
`objective_of` import torch by way of the plug-ins; `space_of` does not.
"""

from __future__ import annotations

import functools
import gc
import inspect
import json
import random
import traceback
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from hpo import plugins
from hpo.errors import RequestError
from hpo.messages import Params
from hpo.study import Objective, Study
from search_spaces import Space, SpaceError

if TYPE_CHECKING:
    from trainables.metrics._metric import Metric
    from trainables.training.loop import Trainer

CHECKED_DRAWS = 16  # random configurations tried against the trainer before a search begins


def space_of(study: Study) -> Space:
    """Return the search space that the study names or writes out. Raises RequestError where it is not one."""
    try:
        if isinstance(study.space, str):
            found = plugins.load("spaces", study.space)
            if not isinstance(found, Space):
                raise RequestError(f"space: {study.space} must be a search_spaces.Space; it is {type(found).__name__}.")
            return found
        written = dict(study.space)
        base = written.pop("base", None)
        if base is not None and not isinstance(base, str):
            raise RequestError(f"space.base: the name of a space; {base!r} came.")
        known = None if base is None else space_of(study.model_copy(update={"space": base}))
        return Space.from_mapping(written, name=base or study.name, base=known)
    except SpaceError as error:
        raise RequestError(f"space: {error}") from None


def own_function(study: Study) -> Any | None:
    """Return the user's training function where `model` names one, None where it names a model family."""
    found = plugins.load("models", study.model)
    if inspect.isclass(found):
        return None
    try:
        inspect.signature(found).bind({}, 0, 1)
    except TypeError as error:
        raise RequestError(f"model: a training function is called as train(params, seed, budget); {study.model} cannot "
                           f"be: {error}. Give it these three arguments.") from None  # fmt: skip
    return found


def objective_of(study: Study) -> Objective:
    """Return the objective with its direction: as written, which imports nothing, or else the metric's own."""
    written = study.objective
    if isinstance(written, list):
        raise AssertionError("the study refuses several objectives")
    if isinstance(written, Objective):
        return written
    if own_function(study) is not None:
        raise RequestError(
            f"objective: a training function of your own yields its metrics, so {written!r} needs its "
            f"direction. Write `objective: {{metric: {written}, direction: minimize}}`."
        )
    return Objective(metric=written, direction=plugins.load("metrics", written).direction)


def _check_objective(objective: Objective) -> None:
    """Raise RequestError where a metric of a model family is called or directed otherwise than it says itself."""
    metric = plugins.load("metrics", objective.metric)
    _check_name("objective", metric, objective.metric)
    if metric.direction != objective.direction:
        raise RequestError(f"objective: {objective.metric} is a metric to {metric.direction}; {objective.direction!r} "
                           f"came. Write `objective: {objective.metric}`.")  # fmt: skip


def _check_name(key: str, metric: type[Metric], path: str) -> None:
    if metric.name != path.rpartition(".")[2]:
        raise RequestError(f"{key}: a metric has the name that it is imported by; {path} calls itself "
                           f"{metric.name!r}. Give both one name.")  # fmt: skip


def _check_others(study: Study) -> None:
    """Raise RequestError where what is measured beside the objective cannot be, or has no floor to take a share of."""
    paths: dict[str, str] = {str(objective_of(study).name): objective_of(study).metric}
    asked = [("constraints", bound.metric) for bound in study.constraints] + [("metrics", m) for m in study.metrics]
    for key, path in asked:
        metric = plugins.load("metrics", path)
        _check_name(key, metric, path)
        if paths.setdefault(metric.name, path) != path:
            raise RequestError(f"{key}: metrics of one study have different names; {path} and {paths[metric.name]} are "
                               f"both {metric.name!r}. Rename yours.")  # fmt: skip
        if (problem := _metric_refusal(study, metric)) is not None:
            raise RequestError(f"{key}: {problem}")
    for constraint in study.constraints:
        if constraint.of_floor:
            metric = plugins.load("metrics", constraint.metric)
            from trainables.metrics._metric import has_floor

            if not has_floor(metric):
                raise RequestError(
                    f"constraints: a share of the floor needs a metric of samples that has one, and "
                    f"{constraint.name!r} has none. Write a number as its bound."
                )


def _check_measurable(trainer: Trainer) -> None:
    """Raise ValueError where a metric of the training cannot measure this very model, such as one without classes."""
    from trainables.metrics._metric import model_refusal
    from trainables.training.alone import Training

    if not isinstance(trainer, Training):
        return
    for metric in trainer.metrics:
        if (problem := model_refusal(metric, trainer.model)) is not None:
            raise ValueError(problem)


def trainer_of(
    study: Study, params: Params, *, seed: int, device: str = "cpu", metrics: Sequence[Metric] | None = None
) -> Trainer:
    """Return the trainer of one trial, with nothing trained yet. metrics: others than those that the search measures.

    Raises ValueError from `trainables` where parameters are missing, unread or out of their range.
    """
    function = own_function(study)
    if function is not None:
        from trainables.training.own import OwnTraining

        return OwnTraining(function, params, seed=seed, epochs=study.budget.epochs)
    from trainables.training.alone import Training

    return Training(
        plugins.load("models", study.model),
        data_of(study),
        params,
        seed=seed,
        epochs=study.budget.epochs,
        metrics=_metrics(study) if metrics is None else metrics,
        device=device,
        precision=study.precision,
    )


def data_of(study: Study) -> Any:
    """Return the study's data set; read once a process."""
    if study.data is None:
        raise RequestError("data: a model family needs a data set, and none was given. Add `data: digits`.")
    return load_data(study.data)


def data_hash(study: Study) -> str | None:
    """Return the hash of the content of the study's data; None where a training function reads its own."""
    if own_function(study) is not None:
        return None
    sha256: str = data_of(study).sha256
    return sha256


def load_data(written: str | Mapping[str, Any]) -> Any:
    """Return the data set of that name, or of the name and the options in a mapping; read once a process."""
    if isinstance(written, str):
        return _load_data(written, "{}")
    options = dict(written)
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise RequestError(f"data: a mapping needs a `name` and the options of that data set; {written!r} came.")
    for key, value in options.items():
        items = value if isinstance(value, list) else [value]
        if not all(item is None or isinstance(item, str | bool | int | float) for item in items):
            raise RequestError(f"data: {key} of {name} must be a text, a number, true, false, null or a list of them; "
                               f"{value!r} came. Write a text in quotes.")  # fmt: skip
    return _load_data(name, json.dumps(options, sort_keys=True))


@functools.cache
def _load_data(name: str, written: str) -> Any:
    load, options = plugins.load("data", name), json.loads(written)
    known = inspect.signature(load).parameters
    if unknown := [key for key in options if key not in known]:
        raise RequestError(f"data: {name} takes {', '.join(known) or 'no options'}; {', '.join(unknown)} came.")
    asked = [key for key, option in known.items() if option.default is inspect.Parameter.empty]
    if missing := [key for key in asked if key not in options]:
        raise RequestError(f"data: {name} needs {' and '.join(missing)}, and the study has none. "
                           f"Write `data: {{name: {name}, {missing[0]}: ...}}`.")  # fmt: skip
    _check_options(name, load, options)
    try:
        return load(**options)
    except ValueError as error:
        raise RequestError(f"data: {error}.") from None
    except MemoryError:
        raise RequestError(f"data: what {name} reads must fit in memory; it does not. Give fewer or smaller "
                           "files.") from None  # fmt: skip
    except OSError as error:
        raise RequestError(f"data: what {name} reads must be readable; it is not: {error}. Check path and "
                           "permissions.") from None  # fmt: skip
    except Exception as error:  # whatever a user's loader, or a library on a broken file, does
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise RequestError(f"data: {name} must load; it does not: {type(error).__name__}: {error} ({place.filename}, "
                           f"line {place.lineno}). Check the files that it reads, or mend it.") from error  # fmt: skip


def _check_options(name: str, load: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Raise RequestError for an option of another type than the loader says; one that says none takes any."""
    try:
        hints = typing.get_type_hints(load)
        expected = {key: TypeAdapter(hints[key]) for key in options if key in hints}
    except (NameError, TypeError, PydanticSchemaGenerationError):  # a user's loader may name types of its own
        return
    for key, adapter in expected.items():
        try:
            adapter.validate_python(options[key], strict=True)
        except ValidationError as error:
            told = " or ".join(dict.fromkeys(found["msg"].removeprefix("Input should be ") for found in error.errors()))
            raise RequestError(f"data: {key} of {name} must be {told}; {options[key]!r} came. Correct it.") from None


def metric_names(study: Study) -> list[str]:
    """Return the names of the objective, the constraints' metrics, and those of ours that each epoch can afford."""
    return [metric.name for metric in _metrics(study)]


def every_metric(study: Study) -> list[Metric]:
    """Return the objective, the constraints' metrics, and all of ours that take the study's model and data."""
    return _metrics(study, others=_metrics_of_ours())


def _metrics(study: Study, *, others: Iterable[type[Metric]] | None = None) -> list[Metric]:
    """Return what the study asks for, and of the others those that can; by default what each epoch can afford."""
    if others is None:
        others = (metric for metric in _metrics_of_ours() if metric.each_epoch)
    asked = dict.fromkeys(
        [objective_of(study).metric, *(constraint.metric for constraint in study.constraints), *study.metrics]
    )
    wanted = [plugins.load("metrics", name)() for name in asked]
    names = {metric.name for metric in wanted}
    return [*wanted, *(m() for m in others if m.name not in names and _metric_refusal(study, m) is None)]


@functools.cache
def _metrics_of_ours() -> tuple[type[Metric], ...]:
    """Every metric in our folder, found once a process: a worker asks for them at each trial."""
    return tuple(plugins.load("metrics", name) for name in plugins.names("metrics"))


def _metric_refusal(study: Study, metric: Metric | type[Metric]) -> str | None:
    """Why the metric cannot measure the study's model on its data; None if it can."""
    from trainables.metrics._metric import refusal

    return refusal(metric, plugins.load("models", study.model), data_of(study))


def check(study: Study) -> Objective:
    """Return the objective of a study whose every part was tried; raise RequestError before anything is made.

    The default and `CHECKED_DRAWS` random configurations are given to the trainer, which must read every parameter
    of each and miss none.
    """
    objective = objective_of(study)
    space = space_of(study)
    if own_function(study) is not None:
        if study.data is not None:
            raise RequestError(f"data: a training function of your own reads its own data; {study.data!r} came. "
                               "Leave `data` out.")  # fmt: skip
        for constraint in study.constraints:
            if constraint.of_floor:
                raise RequestError(f"constraints: a training function of your own has no floor to take a share of; "
                                   f"{constraint.key!r} came. Write a number as its bound.")  # fmt: skip
        if study.metrics:
            raise RequestError(f"metrics: a training function of your own yields what it measures; {study.metrics!r} "
                               "came. Leave `metrics` out.")  # fmt: skip
        if study.precision != "float32":
            raise RequestError(f"precision: a training function of your own decides in what it computes; "
                               f"{study.precision!r} came. Leave `precision` out.")  # fmt: skip
        return objective
    _check_objective(objective)
    data_of(study)
    if (problem := _metric_refusal(study, plugins.load("metrics", objective.metric))) is not None:
        raise RequestError(f"objective: {problem}")
    _check_others(study)
    generator = random.Random(study.seed)
    for params in [space.default(), *(space.random(generator) for _ in range(CHECKED_DRAWS))]:
        try:
            _check_measurable(trainer_of(study, params, seed=0))
        except ValueError as error:
            raise RequestError(f"space {space.name!r} does not fit model {study.model!r}: {error}") from None
    return objective


def out_of_memory(error: BaseException) -> bool:
    """Whether a training does not fit in the device's memory, or in the machine's."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError)


def free_memory() -> None:
    """Give back what trainings held that are gone, so that others find room on the device."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def use_device(*, threads: int, gpu: float = 1.0) -> str:
    """Keep this process to so many threads, and return where tensors live: a GPU where one may be used and is there.

    gpu: the share of one that this process may have, and of its memory, so that processes which share it each learn
    that theirs is full before all of it is. Not run on a GPU.

    The number of threads is part of what makes a run repeat itself: sums are taken in another order on more of them.
    Denormal numbers are flushed: under strong L1 weights pass through them, at twice the time a step.
    """
    import torch

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    if gpu == 0 or not torch.cuda.is_available():
        return "cpu"
    if gpu < 1:
        torch.cuda.set_per_process_memory_fraction(gpu)
    return "cuda"
