"""Checkpoints and weights as safetensors files, written whole or not at all.

Floor: torch and safetensors. A checkpoint is ONE file, tensors with the JSON state in the header, because one rename
replaces one file atomically and a folder of several not. No pickle is read or written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

VERSION = 1
FILE = "checkpoint.safetensors"

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


def write_checkpoint(folder: Path, *, tensors: Mapping[str, Tensor], state: Mapping[str, Json]) -> None:
    """Write a checkpoint into the folder, in place of an older one; after a crash there is one of the two, whole."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"version": VERSION, **state}, allow_nan=False)
    write_tensors(folder / FILE, tensors, metadata={"state": text})


def read_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Json]]:
    """The tensors, on the CPU, and the state; raises `ValueError` where the folder holds no checkpoint of ours."""
    tensors, metadata = read_tensors(folder / FILE)
    state = json.loads(metadata.get("state", "{}"))
    if state.get("version") != VERSION:
        raise ValueError(
            f"a checkpoint must have version {VERSION}, and {folder / FILE} has {state.get('version')}: "
            "remove it and the trial starts again"
        )
    return tensors, state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> None:
    """Write tensors under these names: to a file beside, onto the disk, then by rename to its place."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # The process id keeps a writer that was given up, but still runs, from writing into the same file.
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(to_bytes(plain, metadata=dict(metadata or {})))
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    # The rename itself is on the disk only once the folder is.
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a file; raises `ValueError` for what is no whole safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, FileNotFoundError) as error:
        raise ValueError(f"a file of weights must be a whole safetensors file, and {path} is not: {error}") from error


def prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under `prefix/name`."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `prefixed` put under this prefix, by the names it had."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def check_identity(state: Mapping[str, Json], identity: Mapping[str, Json], *, folder: Path) -> None:
    """Raise `ValueError` unless this state was written by the same trial."""
    if state.get("identity") != dict(identity):
        raise ValueError(
            f"a checkpoint must be of the same training as the one it is restored into, {dict(identity)}, and {folder} "
            f"is of {state.get('identity')}: remove it and the trial starts again"
        )


def whole(state: Mapping[str, Json], name: str) -> int:
    """The whole number of that name in a state; raises `ValueError` where it is none."""
    value = state.get(name)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name!r} in a checkpoint must be a whole number, and it is {value!r}: remove the checkpoint")
    return value


def numbers(state: Mapping[str, Json], *path: str) -> dict[str, float | None]:
    """The mapping of numbers that lies at this path of a state; raises `ValueError` where there is none."""
    value: Json = dict(state)
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, dict):
        raise ValueError(
            f"{'.'.join(path)!r} in a checkpoint must be a mapping, and it is {value!r}: remove the checkpoint"
        )
    return {name: number for name, number in value.items() if number is None or isinstance(number, int | float)}
