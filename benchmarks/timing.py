# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fair timing on machines that may have other work, and what a result says about its machine."""

import datetime
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def milliseconds(run: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    synchronize()
    start = time.perf_counter()
    run()
    synchronize()
    return (time.perf_counter() - start) * 1e3


def interleaved(runs: dict[str, Callable[[], object]], rounds: int, warm_up: int = 2) -> dict:
    """Time ``runs`` in turn, so that whatever else the machine does hits all of them alike.

    Returns:
        By name, the ``ms`` (median), ``best_ms`` and ``ratio``: how many times longer the first of
        ``runs`` takes, as the median over the rounds of the ratio within a round.
    """
    for run in runs.values():
        for _ in range(warm_up):
            run()
    times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(milliseconds(run))
    reference = next(iter(times.values()))
    return {
        name: {
            "ms": round(statistics.median(values), 3),
            "best_ms": round(min(values), 3),
            "ratio": round(
                statistics.median(r / x for r, x in zip(reference, values, strict=True)), 2
            ),
        }
        for name, values in times.items()
    }


def graphed(run: Callable[[], object]) -> Callable[[], object]:
    """``run`` as a CUDA graph, which launches its kernels at once."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        run()
    return graph.replay


def kept_mib(forward: Callable[[], object]) -> float:
    """MiB that the forward pass keeps alive for the backward pass, inputs included."""
    sizes = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        storage = x.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        held.append(x)  # else an address could be used twice
        return x

    held = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        forward()
    return round(sum(sizes.values()) / 2**20, 2)


def peak_mib(run: Callable[[], object]) -> float | None:
    """Largest GPU memory in use during ``run``; None without a GPU."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.reset_peak_memory_stats()
    run()
    synchronize()
    return round(torch.cuda.max_memory_allocated() / 2**20, 1)


def cpu_name() -> str:
    """Model of the processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


def machine(libraries: tuple[str, ...]) -> dict:
    """Where, when and with which versions a result was measured."""
    versions = {"python": platform.python_version()}
    for name in libraries:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "cpu": cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gomp_spincount": os.environ.get("GOMP_SPINCOUNT"),
        "load_1min": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": platform.platform(),
        "versions": versions,
    }
