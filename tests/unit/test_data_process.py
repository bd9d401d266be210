"""The same call returns the same bytes in another process too, with another hash seed and another number of threads."""

import json
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import trainables.data

FOLDER = Path(trainables.data.__file__).parent
NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))
PROGRAM = """
import importlib, json, sys, torch
torch.set_num_threads(2)
options = json.loads(sys.argv[1])
loads = {name: importlib.import_module(f"trainables.data.{name}").load for name in options}
print(json.dumps({name: load(**options[name]).sha256 for name, load in loads.items()}))
"""


def example(name: str, folder: Path) -> dict[str, object]:
    """The options to load the data set: none, or those of the files that a loader writes as its example."""
    write = getattr(import_module(f"trainables.data.{name}"), "example", None)
    if write is None:
        return {}
    folder.mkdir()
    options: dict[str, object] = write(folder)
    return options


def test_a_fresh_process_loads_the_same_bytes(tmp_path: Path) -> None:
    # In the other order, so that nothing hangs on what was loaded before.
    options = {name: example(name, tmp_path / name) for name in NAMES[::-1]}
    surroundings = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(FOLDER.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps(options)],
        env=surroundings,
        capture_output=True,
        text=True,
        check=True,
    )
    here = {name: import_module(f"trainables.data.{name}").load(**own).sha256 for name, own in options.items()}
    assert json.loads(done.stdout) == here
