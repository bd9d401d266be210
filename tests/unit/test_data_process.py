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
loads = {name: importlib.import_module(f"trainables.data.{name}").load for name in sys.argv[1:]}
print(json.dumps({name: load().sha256 for name, load in loads.items()}))
"""


def test_a_fresh_process_loads_the_same_bytes() -> None:
    # In the other order, so that nothing hangs on what was loaded before.
    names = NAMES[::-1]
    surroundings = {**os.environ, "PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2", "PYTHONPATH": str(FOLDER.parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], env=surroundings, capture_output=True, text=True, check=True
    )
    here = {name: import_module(f"trainables.data.{name}").load().sha256 for name in names}
    assert json.loads(done.stdout) == here
