"""Steps on CUDA without the host: uploads that do not wait, and steps captured once and replayed. Floor: torch.

A small model's step is many kernels that take less time than their launches. Captured in a CUDA graph, the step is one
launch. What differs from step to step lies in tensors that stay where they are. Not run on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor

# Steps that are made as written before one is captured: libraries set themselves up in their first calls.
WARM_UP = 3
# Captured steps that are kept: what members use changes as they come and go, and each combination is its own step.
MOST_GRAPHS = 32


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, from pinned memory, so that the host need not wait for what is still to be computed."""
    if device.type != "cuda" or tensor.is_cuda:  # what is there already cannot be pinned
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


class Captured:
    """Runs a step, captured after some calls where the device is a GPU.

    A step must do the same with the same tensors, at the same addresses, each time it is called under the same key.
    What it allocates while it is captured must not outlive it, since all captured steps share that memory.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._calls: dict[Hashable, int] = {}
        self._graphs: dict[Hashable, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None
        self._aside: torch.cuda.Stream | None = None

    def run(self, key: Hashable, step: Callable[[], None]) -> None:
        """Make the step."""
        if self._device.type != "cuda":
            step()
            return
        graph = self._graphs.get(key)
        if graph is not None:
            graph.replay()
            return
        calls = self._calls[key] = self._calls.get(key, 0) + 1
        if calls <= WARM_UP:
            self._warm_up(step)
            return
        if len(self._graphs) == MOST_GRAPHS:
            self._graphs.clear()
            self._calls.clear()
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        # Capturing records and computes nothing, so the step itself is the first replay.
        with torch.cuda.graph(graph, pool=self._pool):
            step()
        self._graphs[key] = graph
        graph.replay()

    def _warm_up(self, step: Callable[[], None]) -> None:
        """Make the step on a stream of its own, as one that is to be captured must be warmed up."""
        if self._aside is None:
            self._aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        self._aside.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._aside):
            step()
        torch.cuda.current_stream(self._device).wait_stream(self._aside)
