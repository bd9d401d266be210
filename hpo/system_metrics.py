"""What the driver's machine does while a search runs, under the names by which MLflow's page finds system metrics.

MLflow's own collectors are asked, from the thread that writes; its monitor is not used, as that is one more thread, and
two calls a sample. Several machines: only that of the driver is seen. MLflow is imported inside functions.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hpo.mirror import Point, milliseconds

SAMPLE_SECONDS = 10.0
FULL_SAMPLES = 6  # so many are worth a call of their own; until then they wait for another write to the study's run
KEPT_SAMPLES = 360  # an hour of them outlives an outage; of a longer one the oldest are dropped


class SystemMetrics:
    """Samples of CPU, memory, disk, network and GPUs that are still to be written; a sample is due every ten seconds.

    GPUs are seen where NVIDIA's management library is installed (nvidia-ml-py). Not run on a GPU.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._clock = clock
        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with contextlib.suppress(Exception):  # no library, or no GPU
            self._monitors.append(GPUMonitor())
        for monitor in self._monitors:  # CPU is measured since the last look, so the first says nothing
            monitor.collect_metrics()
            monitor.clear_metrics()
        self._waiting: deque[tuple[Point, ...]] = deque(maxlen=KEPT_SAMPLES)
        self._due = clock() + SAMPLE_SECONDS

    def sample(self, *, began_ms: int) -> None:
        """Take a sample if one is due; its step is the seconds since the study began, so that a resume goes on."""
        now = self._clock()
        if now < self._due:
            return
        self._due = now + SAMPLE_SECONDS
        time_ms = milliseconds(now)
        step = (time_ms - began_ms) // 1000
        points = []
        for monitor in self._monitors:
            monitor.collect_metrics()
            values = monitor.aggregate_metrics()
            points += [Point(name=f"system/{name}", value=v, step=step, time_ms=time_ms) for name, v in values.items()]
            monitor.clear_metrics()
        self._waiting.append(tuple(points))

    @property
    def full(self) -> bool:
        """Whether so many samples wait that they are worth a call."""
        return len(self._waiting) >= FULL_SAMPLES

    def waiting(self) -> Sequence[Point]:
        """The points to write; they wait until `written` is called."""
        return [point for points in self._waiting for point in points]

    def written(self) -> None:
        """Forget what waited; called by the thread that took it, when MLflow has it."""
        self._waiting.clear()
