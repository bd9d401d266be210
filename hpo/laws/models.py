"""The laws of model families; `_family.py` says what each part of the contract is for.

All is computed in float64 where two results should be equal, so a model brings its rows to the type of its weights.
Axes: B rows.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from safetensors.torch import load as read_tensors
from safetensors.torch import save as tensors_in_bytes
from torch import Tensor

from hpo.laws._law import Broken, NotAsked, apart, generator, globally_seeded, in_float64
from hpo.laws._subject import ROWS, Config, Subject, state
from trainables.models._family import Family, as_module, is_conditional
from trainables.training.params import Params

# Between two ways to compute one thing in float64; much below what a fault makes.
TOLERANCE = 1e-9
# Scales of the weights, at one of which a gradient must reach each: at small weights a hinge is as steep for real rows
# as for fakes, so that nothing moves the last bias.
SCALES, GROWTH = 4, 1.5


def says_what_it_is(subject: Subject) -> None:
    """The class names its players, which of them are averaged and its structural parameters, and whether it stacks."""
    family = subject.family
    for name in ("players", "structural", "averaged"):
        value = getattr(family, name, None)
        if not (isinstance(value, tuple) and all(isinstance(item, str) for item in value)):
            raise Broken(f"{name!r} is {value!r}", remedy="make it a tuple of names, as a class attribute")
    if not isinstance(getattr(family, "stacks", None), bool):
        raise Broken(f"'stacks' is {getattr(family, 'stacks', None)!r}", remedy="make it True or False")
    if not family.players or not set(family.averaged) <= set(family.players):
        raise Broken(
            f"the players are {family.players} and the averaged ones {family.averaged}",
            remedy="name a player at least, and average players only",
        )


def building_reads_the_structural_parameters_alone(subject: Subject) -> None:
    """`build` reads exactly the structural parameters that a configuration has."""
    for params in subject.configurations:
        read = Params(params)
        subject.family.build(read, data=subject.data, generator=generator())
        _same_names(set(params) - set(read.unread()), set(subject.family.structural) & set(params), what="read")


def knobs_read_no_structural_parameter(subject: Subject) -> None:
    """`knobs` reads no structural parameter and returns numbers, by the same names for every configuration."""
    names = subject.family.knobs(Params(subject.configurations[0])).keys()
    for params in subject.configurations:
        read = Params(params)
        knobs = subject.family.knobs(read)
        if both := (set(params) - set(read.unread())) & set(subject.family.structural):
            raise Broken(f"it reads {sorted(both)}", remedy="read in `build` what decides shapes, and nowhere else")
        _same_names(set(knobs), set(names), what="returned")
        for name, value in knobs.items():
            if not isinstance(value, int | float):
                raise Broken(f"{name!r} is {value!r}", remedy="return a number; one for each of several names")


def structural_parameters_alone_decide_shapes(subject: Subject) -> None:
    """Models of equal structural parameters have tensors of equal shapes."""
    shapes: dict[object, object] = {}
    for seed, params in enumerate(subject.configurations):
        structure = tuple((name, params.get(name)) for name in subject.family.structural)
        own = {name: (tensor.shape, tensor.dtype) for name, tensor in state(subject.build(params, seed=seed)).items()}
        if shapes.setdefault(structure, own) != own:
            raise Broken(f"they differ at {dict(structure)}", remedy="declare what decides a shape in `structural`")


def players_own_all_parameters(subject: Subject) -> None:
    """Every parameter belongs to exactly one player, the child module of that name."""
    model = subject.build(subject.configurations[0])
    owned = [id(own) for player in subject.players for own in as_module(model).get_submodule(player).parameters()]
    every = [id(own) for own in as_module(model).parameters()]
    if sorted(owned) != sorted(every):
        raise Broken(
            f"the players own {len(owned)} parameters, {len(set(owned))} different ones, of the model's {len(every)}",
            remedy="give each player a child module of its name, and share no layer between two",
        )


def initial_weights_come_from_the_generator(subject: Subject) -> None:
    """Initial weights come from the generator alone: one seed gives them again, another seed gives others."""
    params = subject.configurations[0]
    found = []
    for seed in (0, 1):
        with globally_seeded(seed):
            found.append(state(subject.build(params)))
    other = dict(as_module(subject.build(params, seed=1)).named_parameters())
    for name, tensor in found[0].items():
        if not torch.equal(tensor, found[1][name]):
            raise Broken(f"{name!r} differs under one seed", remedy="draw it from the generator that is handed in")
        # What is filled with one value, such as a bias of zeros, is not drawn, nor what a buffer knows of the data.
        if name in other and torch.equal(tensor, other[name]) and bool((tensor != tensor.flatten()[:1]).any()):
            raise Broken(f"{name!r} is equal under two seeds", remedy="draw it from the generator that is handed in")


@in_float64()
def the_loss_depends_on_its_arguments_alone(subject: Subject) -> None:
    """A loss is a function of its arguments: all its randomness is drawn by `draw`, and acts; it remembers nothing."""
    for params, player in subject.cases():
        knobs, model = subject.knobs(params), subject.build(params)
        before = state(model)
        with globally_seeded(0):
            noise, other = (subject.draw(model, player, knobs, seed=seed) for seed in (0, 1))
            first = subject.loss(model, player, noise, knobs)[0].detach()
        as_module(model).load_state_dict(before)
        subject.loss(model, player, other, knobs)
        as_module(model).load_state_dict(before)
        with globally_seeded(1):
            again = subject.loss(model, player, noise, knobs)[0].detach()
        if not torch.equal(first, again):
            raise Broken(
                f"{player}'s is {float(first)}, and {float(again)} when it is asked for again, at {params}",
                remedy="draw all randomness in `draw`, and keep nothing between two calls but buffers",
            )
        as_module(model).load_state_dict(before)
        if noise and torch.equal(first, subject.loss(model, player, other, knobs)[0].detach()):
            raise Broken(f"{player}'s is the same under other noise, at {params}", remedy="draw what the loss uses")


@in_float64()
def a_loss_is_a_number_with_logs(subject: Subject) -> None:
    """A loss is 0-dim and finite; its logs are too, without gradient, and hold `loss`."""
    for params, player in subject.cases():
        model, knobs = subject.build(params), subject.knobs(params)
        loss, logs = subject.loss(model, player, subject.draw(model, player, knobs), knobs)
        if "loss" not in logs:
            raise Broken(f"{player} logs {sorted(logs)}", remedy="log the loss itself as `loss`")
        numbers = {f"{player}'s loss": loss, **{f"the log {name!r}": log for name, log in logs.items()}}
        for name, value in numbers.items():
            if value.shape != () or not bool(value.isfinite()):
                raise Broken(f"{name} is {value}, at {params}", remedy="return one finite number")
        if any(log.requires_grad for log in logs.values()):
            raise Broken(f"a log of {player} has a gradient", remedy="detach it")


@in_float64()
def gradients_reach_every_parameter(subject: Subject) -> None:
    """Gradients are finite in every player, and reach every parameter of it under some configuration."""
    for player in subject.players:
        reached: dict[str, bool] = {}
        for params in subject.configurations:
            for name, acted in _reached(subject, params, player).items():
                reached[name] = reached.get(name, False) or acted
        if missed := sorted(name for name, acted in reached.items() if not acted):
            raise Broken(f"none reaches {missed} of {player}", remedy="let the loss depend on it, or leave it out")


def _reached(subject: Subject, params: Config, player: str) -> dict[str, bool]:
    model, knobs = subject.build(params), subject.knobs(params)
    noise = subject.draw(model, player, knobs)
    own = {name: p for name, p in as_module(model).get_submodule(player).named_parameters() if p.requires_grad}
    reached = dict.fromkeys(own, False)
    for _ in range(SCALES):
        loss, _ = subject.loss(model, player, noise, knobs)
        gradients = torch.autograd.grad(loss, list(own.values()), materialize_grads=True)
        for name, gradient in zip(own, gradients, strict=True):
            if not bool(gradient.isfinite().all()):
                raise Broken(
                    f"that of {name!r} of {player} is not finite at {params}",
                    remedy="bound what overflows, and keep roots and logarithms away from 0",
                )
            reached[name] = reached[name] or bool(gradient.any())
        with torch.no_grad():
            for parameter in as_module(model).parameters():
                # A gate that begins at 0, as that of SAGAN's attention, lets no gradient through until it has moved.
                parameter.copy_(torch.where(parameter == 0.0, 1.0, GROWTH * parameter))
    return reached


@in_float64()
def a_loss_changes_nothing_of_others(subject: Subject) -> None:
    """A loss changes neither rows nor noise nor weights, and no buffer but those of its own player."""
    for params, player in subject.cases():
        model, knobs = subject.build(params), subject.knobs(params)
        noise = subject.draw(model, player, knobs)
        rows = subject.data.train.x[:ROWS].clone()
        drawn = {name: tensor.clone() for name, tensor in noise.items()}
        own = {name for name, _ in as_module(model).named_buffers() if name.startswith(f"{player}.")}
        before, remembered = state(model), dict(knobs)
        subject.loss(model, player, noise, knobs, x=rows)
        changed = [name for name, tensor in state(model).items() if not torch.equal(tensor, before[name])]
        if not torch.equal(rows, subject.data.train.x[:ROWS]):
            raise Broken(f"{player}'s changes the rows", remedy="compute on a copy of them, without an operation_()")
        if any(not torch.equal(tensor, drawn[name]) for name, tensor in noise.items()) or remembered != knobs:
            raise Broken(f"{player}'s changes its noise or its knobs", remedy="compute on a copy of them")
        if set(changed) - own:
            raise Broken(f"{player}'s changes {sorted(set(changed) - own)}", remedy="leave that to the other's loss")


@in_float64()
def rows_of_weight_zero_do_not_count(subject: Subject) -> None:
    """Rows of weight 0 are padding: the loss is that of the others alone, so nothing mixes rows but their weights."""
    real = ROWS // 2
    half = (1.0 / real,) * real
    for params, player in subject.cases():
        knobs = subject.knobs(params)
        model, twin = subject.build(params), subject.build(params)
        noise = subject.draw(model, player, knobs)
        padded, logs = subject.loss(model, player, noise, knobs, weights=half + (0.0,) * (ROWS - real))
        own = {name: tensor[:real] for name, tensor in noise.items()}
        alone, logs_alone = subject.loss(twin, player, own, knobs, weights=half)
        if apart(padded.detach(), alone.detach()) > TOLERANCE:
            raise Broken(
                f"{player}'s loss is {float(padded)} with padding and {float(alone)} without, at {params}",
                remedy="sum over rows by their weights, and normalize nothing over the batch",
            )
        for name, log in logs.items():
            if apart(log, logs_alone[name]) > TOLERANCE:
                raise Broken(
                    f"{player}'s log {name!r} is {float(log)} with padding and {float(logs_alone[name])} without",
                    remedy="weigh its rows as those of the loss",
                )


@in_float64()
def a_technique_left_out_is_absent(subject: Subject) -> None:
    """A member that leaves a technique out is as alone beside one that uses it: noise of zeros, tensor knobs."""
    in_force = [subject.knobs(params) for params in subject.configurations]
    some_use = [name for name in in_force[0] if any(knobs[name] != 0.0 for knobs in in_force)]
    for player in subject.players:
        model = subject.build(subject.configurations[0])
        drawn: dict[str, Tensor] = {}
        for knobs in in_force:
            drawn |= subject.draw(model, player, knobs)
        for params, knobs in zip(subject.configurations, in_force, strict=True):
            alone, beside = subject.build(params), subject.build(params)
            own = subject.draw(alone, player, knobs)
            expected = subject.loss(alone, player, own, knobs)[0].detach()
            noise = {name: own.get(name, torch.zeros_like(other)) for name, other in drawn.items()}
            tensors: Mapping[str, float | Tensor] = {
                name: torch.tensor(float(value)) if name in some_use else 0.0 for name, value in knobs.items()
            }
            found = subject.loss(beside, player, noise, tensors)[0].detach()
            if apart(found, expected) > TOLERANCE:
                raise Broken(
                    f"{player}'s loss is {float(expected)} alone and {float(found)} beside others, at {params}",
                    remedy="let a technique act as if absent under the value 0, by `torch.where` or as a factor",
                )
            _same_state(state(beside), state(alone), what=f"after a loss of {player} beside others, at {params},")


def weights_survive_a_file(subject: Subject) -> None:
    """The weights of one model in another one, by way of a file, give its samples."""
    for params in subject.configurations[:1]:
        model, other = subject.build(params), subject.build(params, seed=1)
        as_module(other).load_state_dict(read_tensors(tensors_in_bytes(as_module(model).state_dict())))
        noise = model.draw_samples(generator(), rows=ROWS)
        if not torch.equal(_sampled(model, noise), _sampled(other, noise)):
            raise Broken(
                "they differ", remedy="let samples depend on parameters and buffers, and on what `build` takes, alone"
            )


def samples_have_the_form_of_the_data(subject: Subject) -> None:
    """Samples have the shape, type and levels of the data; where those are real numbers, they are finite."""
    data = subject.data
    for params in subject.configurations:
        model = subject.build(params)
        with globally_seeded(0):
            noise = model.draw_samples(generator(), rows=ROWS)
            samples = _sampled(model, noise)
        if (tuple(samples.shape), samples.dtype) != ((ROWS, *data.shape), data.train.x.dtype):
            raise Broken(
                f"they are {list(samples.shape)} of {samples.dtype}, and rows {[ROWS, *data.shape]} of "
                f"{data.train.x.dtype}",
                remedy="bring them to the data's form in `sample`",
            )
        if not bool(samples.double().isfinite().all()):
            raise Broken("some are not finite", remedy="bound what a new model gives")
        low, high = float(samples.double().min()), float(samples.double().max())
        if data.levels is not None and not 0 <= low <= high < data.levels:
            raise Broken(f"they reach from {low} to {high}", remedy=f"keep them in 0..{data.levels - 1}")
        if not torch.equal(_sampled(model, noise), samples):
            raise Broken("equal noise gives others", remedy="draw all noise of samples in `draw_samples`")


def annealing_is_a_pure_function_of_progress(subject: Subject) -> None:
    """`in_force` is a pure function of knobs and progress; it keeps their names, and every pace is at least 1."""
    for params in subject.configurations:
        knobs = subject.family.knobs(Params(params))
        before = dict(knobs)
        found = [subject.family.in_force(knobs, progress=progress) for progress in (0.0, 0.3, 1.0, 0.3)]
        if knobs != before or found[1] != found[3]:
            raise Broken(
                "it changes its argument, or gives another answer when it is asked again",
                remedy="compute it from the knobs and the progress alone",
            )
        _same_names(set(found[0]), set(found[2]), what="in force")
        if missing := set(knobs) - set(found[0]):
            raise Broken(f"it drops {sorted(missing)}", remedy="return every knob")
        paces = subject.family.paces(knobs)
        if set(paces) != set(subject.players) or not all(
            isinstance(pace, int) and pace >= 1 for pace in paces.values()
        ):
            raise Broken(f"the paces are {paces}", remedy="give each player a whole number of at least 1")


@in_float64()
def classes_are_told_and_act(subject: Subject) -> None:
    """A conditional model is told the classes of its rows, and those to sample as `label`; other classes, others."""
    model = subject.build(subject.configurations[0])
    if not is_conditional(model):
        raise NotAsked("the model is not told the classes")
    noise = model.draw_samples(generator(), rows=ROWS)
    classes = subject.data.classes
    label = noise.get("label")
    if (
        label is None
        or label.dtype != torch.int64
        or label.shape != (ROWS,)
        or not 0 <= int(label.min()) <= int(label.max()) < classes
    ):
        raise Broken(f"the noise of samples has the label {label}", remedy=f"draw int64 [N] of 0..{classes - 1} there")
    as_module(model).eval()
    with torch.no_grad():
        for parameter in as_module(model).parameters():
            parameter.mul_(GROWTH**SCALES)  # so that a difference is not lost in whole levels
    if torch.equal(_sampled(model, noise), _sampled(model, {**noise, "label": (label + 1) % classes})):
        raise Broken("samples of other classes are the same", remedy="let `sample` use the label that it is given")


def _sampled(model: Family, noise: Mapping[str, Tensor]) -> Tensor:
    as_module(model).eval()
    with torch.inference_mode():
        return model.sample(noise)


def _same_names(found: set[str], expected: set[str], *, what: str) -> None:
    if found != expected:
        raise Broken(
            f"{sorted(found)} are {what}, and should be {sorted(expected)}",
            remedy="declare what decides a shape in `structural`, and read each parameter in one place",
        )


def _same_state(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, what: str) -> None:
    for name, tensor in expected.items():
        if apart(found[name], tensor) > TOLERANCE:
            raise Broken(
                f"{what} {name!r} is another", remedy="leave a buffer as it was where the technique is left out"
            )
