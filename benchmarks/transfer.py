"""What weights of other digits are worth: the VAE on digits 5 to 9, from scratch and from the weights of 0 to 4.

    python -m benchmarks.transfer

Default configuration of the space, so many epochs, the same seeds in each arm; nll in nats on the 150 validation rows.
It prints markdown for RESULTS.md. Quality, not time: another load of the machine changes nothing.
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
from pathlib import Path

import torch

from benchmarks import machine, table
from search_spaces.vae import SPACE
from trainables.data import digits
from trainables.data._data import Data
from trainables.metrics import nll
from trainables.models import vae
from trainables.training.alone import Training
from trainables.training.params import ParameterValue

SOURCE_EPOCHS = 27
EPOCHS = (3, 9, 27)


def trained(data: Data, extra: dict[str, ParameterValue], *, seed: int, epochs: int) -> Training:
    """A training at the end of its budget."""
    made = Training(vae.Model, data, {**SPACE.default(), **extra}, seed=seed, epochs=epochs, metrics=[nll.Metric()])
    while made.step < epochs:
        made.advance()
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=4)
    seeds = parser.parse_args().seeds
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    low, high = digits.load(classes="0-4"), digits.load(classes="5-9")
    print(machine.line())
    print(f"\n{table.head(['start', *(f'{epochs} epochs' for epochs in EPOCHS)])}")
    with tempfile.TemporaryDirectory() as folder:
        trained(low, {}, seed=0, epochs=SOURCE_EPOCHS).save_weights(Path(folder) / "weights.safetensors")
        arms: dict[str, dict[str, ParameterValue]] = {
            "scratch": {},
            "transfer": {"transfer": folder},
            "transfer, first layer frozen": {"transfer": folder, "freeze": 1},
        }
        for name, extra in arms.items():
            cells = [name]
            for epochs in EPOCHS:
                found = [
                    trained(high, extra, seed=seed, epochs=epochs).measure(["nll"])["nll"].value
                    for seed in range(seeds)
                ]
                cells.append(f"{statistics.mean(found):.2f} ±{statistics.stdev(found) / math.sqrt(seeds):.2f}")
            print(table.line(cells), flush=True)


if __name__ == "__main__":
    main()
