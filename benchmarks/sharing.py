"""Several processes that share a device, as fractions of a GPU in Ray come to; on CUDA also under its MPS daemon.

Each process builds an arm and trains it; all are released at once, and each has its own clock.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path

import torch

from benchmarks import arms
from benchmarks.arms import Arm, Rate, Runner

MPS_CONTROL = "nvidia-cuda-mps-control"


class DoesNotFit(Exception):
    """The device's memory was too small for an arm."""

    memory = True


@dataclass(frozen=True, kw_only=True)
class _Run:
    seconds: float


@dataclass(frozen=True, kw_only=True)
class _Failure:
    text: str
    memory: bool


class Processes:
    """Some processes, each of which trains one arm at a time. A context manager: at its end they are gone."""

    def __init__(self, count: int, *, environment: Mapping[str, str] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._members: list[tuple[SpawnProcess, Connection]] = []
        with _environment(environment or {}):
            for _ in range(count):
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                self._members.append((process, ours))

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def build(self, described: Sequence[Arm]) -> None:
        """Build one arm in each process, in place of what it had, and train each for an epoch."""
        self._ask(list(described))

    def timed(self, seconds: float, *, count: int) -> Rate:
        """Train the first `count` for about so long; steps a second are the sum of each process's own."""
        rates = [answer for answer in self._ask([_Run(seconds=seconds)] * count) if answer is not None]
        steps, together = sum(rate.steps for rate in rates), sum(rate.steps_a_second for rate in rates)
        return Rate(steps=steps, seconds=steps / together, memory=sum(rate.memory for rate in rates))

    def close(self) -> None:
        """End the processes."""
        for process, connection in self._members:
            connection.close()  # the process reads the end of its orders
            process.join(10)
            if process.is_alive():
                process.kill()
                process.join()

    def _ask(self, orders: Sequence[Arm | _Run]) -> list[Rate | None]:
        asked = self._members[: len(orders)]
        for (_, connection), order in zip(asked, orders, strict=True):
            connection.send(order)
        answers: list[Rate | _Failure | None] = []
        for process, connection in asked:
            try:
                answers.append(connection.recv())
            except EOFError:
                process.join(10)
                answers.append(_Failure(text=f"it ended with exit code {process.exitcode}", memory=False))
        for answer in answers:
            if isinstance(answer, _Failure) and answer.memory:
                raise DoesNotFit
        good: list[Rate | None] = []
        for answer in answers:
            if isinstance(answer, _Failure):
                raise RuntimeError(f"a process that shares the device failed: {answer.text}")
            good.append(answer)
        return good


def warmed_up(arm: Arm) -> Runner:
    """The arm, built, with an epoch trained: whatever happens once has happened. Raises `DoesNotFit`."""
    try:
        runner = arms.build(arm)
        runner.epoch()
    except (RuntimeError, MemoryError) as error:
        if is_memory(error):
            raise DoesNotFit from error
        raise
    return runner


def let_go(device: str) -> None:
    """Give back the memory of arms that nobody refers to any more."""
    gc.collect()
    if device.startswith("cuda"):
        torch.cuda.empty_cache()


def is_memory(error: BaseException | None) -> bool:
    """Whether this error, or one of its causes, says that memory was too small."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError | MemoryError) or getattr(error, "memory", False) is True:
            return True
        error = error.__cause__
    return False


@contextmanager
def mps() -> Iterator[Mapping[str, str] | None]:
    """A daemon of CUDA's Multi-Process Service, as the environment its clients need; None where there is none.

    It has folders of its own, so that only those clients find it, and it ends here. Not run on a GPU.
    """
    if shutil.which(MPS_CONTROL) is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="mps-", ignore_cleanup_errors=True) as folder:
        environment = {"CUDA_MPS_PIPE_DIRECTORY": f"{folder}/pipe", "CUDA_MPS_LOG_DIRECTORY": f"{folder}/log"}
        for path in environment.values():
            Path(path).mkdir()
        if subprocess.run([MPS_CONTROL, "-d"], env=os.environ | environment, check=False, timeout=60).returncode:
            yield None
            return
        try:
            yield environment
        finally:
            _order(environment, "quit")


def has_clients(environment: Mapping[str, str]) -> bool:
    """Whether the daemon serves anyone. A client that does not find it shares the device without it, and in silence."""
    servers = _order(environment, "get_server_list").split()
    return any(_order(environment, f"get_client_list {server}").strip() for server in servers)


def _order(environment: Mapping[str, str], text: str) -> str:
    done = subprocess.run(
        [MPS_CONTROL], input=text + "\n", env=os.environ | environment, capture_output=True, text=True, check=False,
        timeout=60,
    )  # fmt: skip
    return done.stdout


def _work(orders: Connection) -> None:
    """Carry out orders until there are no more; the main function of a process."""
    runner: Runner | None = None
    device = "cpu"
    while True:
        try:
            order = orders.recv()
        except (EOFError, KeyboardInterrupt):
            return
        try:
            if isinstance(order, Arm):
                runner, device = None, order.device
                let_go(device)  # before the new one needs room
                runner = warmed_up(order)
                answer: Rate | _Failure | None = None
            else:
                assert runner is not None
                answer = arms.timed(runner, seconds=order.seconds, device=device)
        except KeyboardInterrupt:
            return
        except DoesNotFit:
            answer = _Failure(text="", memory=True)
        except Exception as error:
            answer = _Failure(text=traceback.format_exc(limit=-4), memory=is_memory(error))
        orders.send(answer)


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set these variables for processes that start meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
