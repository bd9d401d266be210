"""Files of tensors: whole or not at all."""

import json
import resource
from pathlib import Path

import pytest
import torch

from trainables.training import checkpoint
from trainables.training.checkpoint import Json

TENSORS = {"a": torch.arange(6.0).view(2, 3), "state": torch.arange(5, dtype=torch.uint8), "step": torch.tensor(3.0)}
STATE: dict[str, Json] = {"step": 3, "best": 0.1 + 0.2, "none": None, "deep": {"x": 1e-300}}


def test_tensors_and_numbers_come_back_bit_for_bit(tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path / "new" / "folder", tensors=TENSORS, state=STATE)
    tensors, state = checkpoint.read_checkpoint(tmp_path / "new" / "folder")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], TENSORS[name]) for name in TENSORS)
    assert state == {"version": checkpoint.VERSION, **STATE}


def test_tensors_that_share_memory_are_written(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    checkpoint.write_tensors(tmp_path / "w", {"left": whole[:4], "across": whole.view(2, 3).T})
    tensors, _ = checkpoint.read_tensors(tmp_path / "w")
    assert torch.equal(tensors["across"], whole.view(2, 3).T)


def test_a_torn_file_is_refused_at_every_length(tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path, tensors=TENSORS, state=STATE)
    file = tmp_path / checkpoint.FILE
    content = file.read_bytes()
    for length in range(len(content)):
        file.write_bytes(content[:length])
        with pytest.raises(ValueError, match="must be a whole safetensors file"):
            checkpoint.read_checkpoint(tmp_path)


def test_a_write_that_fails_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    checkpoint.write_checkpoint(tmp_path, tensors=TENSORS, state=STATE)
    before = (tmp_path / checkpoint.FILE).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            checkpoint.write_checkpoint(tmp_path, tensors={"big": torch.zeros(10_000)}, state=STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoint.FILE]
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


def test_another_version_is_refused(tmp_path: Path) -> None:
    text = json.dumps({"version": checkpoint.VERSION + 1})
    checkpoint.write_tensors(tmp_path / checkpoint.FILE, TENSORS, metadata={"state": text})
    with pytest.raises(ValueError, match=r"must have version 1, and .* has 2"):
        checkpoint.read_checkpoint(tmp_path)


def test_a_folder_without_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a whole safetensors file"):
        checkpoint.read_checkpoint(tmp_path)


def test_the_header_holds_no_number_that_json_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.write_checkpoint(tmp_path, tensors={}, state={"x": float("inf")})


def test_a_state_of_the_wrong_form_is_refused() -> None:
    with pytest.raises(ValueError, match="'step' in a checkpoint must be a whole number"):
        checkpoint.whole({"step": "3"}, "step")
    with pytest.raises(ValueError, match=r"'plateaus\.vae' in a checkpoint must be a mapping"):
        checkpoint.numbers({"plateaus": {}}, "plateaus", "vae")
