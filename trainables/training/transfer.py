"""Transfer: a training that begins with the weights of an earlier one, some of its layers frozen.

The optimizer begins anew, the learning rate may be smaller, and an average of the weights begins as the weights that
were loaded, without the ramp that lets initial weights be forgotten. Frozen first layers of a discriminator: Mo et al.
2020, arXiv 2002.10964. Floor: torch and safetensors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from .checkpoint import read_tensors
from .params import ParameterValue, Params

WEIGHTS = "weights.safetensors"
# The value of `transfer` that means from scratch, so that a search can compare.
SCRATCH = "none"
# The parameters, of which a player may have `freeze` and `fine_tune` for itself.
NAMES = ("transfer", "freeze", "fine_tune")


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What was taken over: the sha256 of the file, and the tensors of the model that the file did not have so."""

    sha256: str
    fresh: tuple[str, ...]


def begin(module: nn.Module, players: tuple[str, ...], params: Params) -> Transfer | None:
    """Take over the weights that the parameter `transfer` names, and freeze layers; None where there is no such thing.

    `transfer` is a folder with `weights.safetensors`, as an export has it. A tensor is taken over where name and shape
    are the same; the others keep their initial values. Of each player the first `freeze` layers, in the order in which
    the module has them, are no longer trained; `player.freeze` goes before `freeze`. Raises `ValueError` where nothing
    fits, or there is no such file.
    """
    source = params.text("transfer", SCRATCH)
    if source == SCRATCH:
        return None
    path = Path(source) / WEIGHTS
    tensors, _ = read_tensors(path)
    own = module.state_dict()
    fitting = {name: tensor for name, tensor in tensors.items() if name in own and own[name].shape == tensor.shape}
    if not fitting:
        raise ValueError(
            f"transfer must name weights of a like model, and of the {len(tensors)} tensors in {path} none has name "
            f"and shape of one of the {len(own)} in this model: give the export of such a model, or {SCRATCH!r}"
        )
    module.load_state_dict(fitting, strict=False)
    for player in players:
        _freeze(module.get_submodule(player), params.for_player(player).integer("freeze", 0), player=player)
    return Transfer(
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(), fresh=tuple(sorted(own.keys() - fitting.keys()))
    )


def from_scratch(params: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    """The parameters without a transfer: those of a model of the same shapes that is given its weights otherwise."""
    return {name: value for name, value in params.items() if name.rpartition(".")[2] not in NAMES}


def found_from_here(params: Mapping[str, ParameterValue]) -> dict[str, ParameterValue]:
    """The parameters with the whole path of the source, where it is found from the current folder."""
    source = params.get("transfer", SCRATCH)
    if isinstance(source, str) and (Path(source) / WEIGHTS).is_file():
        return {**params, "transfer": str(Path(source).resolve())}
    return dict(params)


def fine_tune(params: Params) -> float:
    """The factor on the learning rate of a player that began with weights of another training.

    Raises `ValueError` outside 0..1.
    """
    factor = params.number("fine_tune", 1.0)
    if not 0.0 < factor <= 1.0:
        raise ValueError(f"fine_tune must lie above 0 and at or below 1, and it is {factor}: correct it in the space")
    return factor


def _freeze(network: nn.Module, count: int, *, player: str) -> None:
    layers = [layer for layer in network.modules() if any(True for _ in layer.parameters(recurse=False))]
    if not 0 <= count < len(layers):
        raise ValueError(
            f"freeze must leave a layer of each player to train, and {count} are asked for of the {len(layers)} of "
            f"{player}: correct it in the space"
        )
    for layer in layers[:count]:
        for parameter in layer.parameters(recurse=False):
            parameter.requires_grad_(False)
