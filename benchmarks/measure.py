# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the benchmarks share: arguments and results, fair timing, and the floor.

The floor is the time that no implementation can beat on a machine, memory traffic and matrix
products alone. Both rates are measured where the benchmark runs, on arrays that fit no cache.
"""

import argparse
import datetime
import importlib.metadata
import itertools
import json
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import torch

from models.linear import Linear
from parsers.program import check_file, numeric
from training.device.choice import VARIABLES, keep_freed_memory
from training.record.files import write_text

RESULTS = Path("benchmark_results")
LIBRARIES = ("torch", "numba", "triton", "numpy", "torchaudio", "kaldi-native-fbank", "wandb")
LIBRARIES += ("snntorch", "spikingjelly", "norse", "sinabs", "spyx", "jax", "flax", "optax")
FLOAT = 4  # bytes
COPIED = {"cuda": 1 << 30, "cpu": 1 << 27}  # bytes
MANY_OPERATIONS = 2e10  # of products that are timed together on a GPU
TURN = 333  # milliseconds that whatever is compared on a CPU goes on for, as training does
SETTLED = 0.3  # s of work after which a GPU that was idle runs at full clock rate
# Forward: the current is read, spikes are written. Backward: the gradient of the spikes and the
# current are read, the gradient of the current is written. All else can be computed again.
DYNAMICS_PASSES = 5


def add_common(parser: argparse.ArgumentParser, *, timed: bool = True) -> None:
    """The arguments of every benchmark, or of one that times nothing."""
    if timed:
        parser.add_argument("--quick", action="store_true", help="small and few rounds: a check")
        threads = "CPU threads; by default PyTorch's choice"
        parser.add_argument("--threads", type=numeric(int, 1, 1024), help=threads)
    parser.add_argument("--out", type=Path, help=f"JSON file to write; by default in {RESULTS}/")


def set_up(options: argparse.Namespace, name: str, device: str) -> Path:
    """Apply ``--threads``, and handle memory as training does; the file to write, checked."""
    if options.threads:
        torch.set_num_threads(options.threads)
    if device == "cpu":
        keep_freed_memory()
    return to_write(options.out, f"{name}_{device}_{torch.get_num_threads()}threads.json")


def to_write(out: Path | None, name: str) -> Path:
    """``out``, else ``name`` in ``RESULTS``; ConfigError if it cannot be written."""
    file = out or RESULTS / name
    check_file("--out", file)
    return file


def write(file: Path, result: dict) -> None:
    """Write what was measured so far, making the folder."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(result, indent=1) + "\n")


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
    """Time ``runs`` alternately, so that other load on the machine hits all of them alike.

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
    reference, results = next(iter(times.values())), {}
    for name, values in times.items():
        median, best = round(statistics.median(values), 3), round(min(values), 3)
        ratios = [r / x for r, x in zip(reference, values, strict=True)]
        ratio = round(statistics.median(ratios), 2)
        results[name] = {"ms": median, "best_ms": best, "ratio": ratio}
    return results


def in_turns(
    runs: dict[str, Callable[[int], object]], counts: dict[str, int], rounds: int, warm_up: int = 1
) -> dict:
    """As :func:`interleaved` of blocks of ``counts`` calls: times and ratio of one of them each."""
    blocks = {name: partial(run, counts[name]) for name, run in runs.items()}
    results, first = interleaved(blocks, rounds, warm_up), next(iter(counts.values()))
    for name, found in results.items():
        found |= {key: round(found[key] / counts[name], 3) for key in ("ms", "best_ms")}
        found["ratio"] = round(found["ratio"] * counts[name] / first, 2)
    return results


class Apart:
    """What ``build(*arguments)`` returns, made in a process of its own, with memory of its own.

    It has the methods of what was made, which take and return what can be pickled. As it is
    ``plain``, nothing has set up its process: threads spin as long as PyTorch lets them, and the C
    library keeps what it keeps by itself.
    """

    made: object  # in that process

    def __init__(self, build: Callable, *arguments, plain: bool):
        setting = (plain, torch.get_num_threads(), build, *arguments)
        spawn = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(1, spawn, Apart.make, setting)
        before = dict(os.environ)
        if plain:
            os.environ.pop("GOMP_SPINCOUNT", None)
        try:
            self.pool.submit(os.getpid).result()  # it has read its environment
        finally:
            os.environ.update(before)

    @staticmethod
    def make(plain: bool, threads: int, build: Callable, *arguments) -> None:
        """In that process: build."""
        if plain:
            os.environ.setdefault(VARIABLES[0], "")  # the C library has looked, training still will
        torch.set_num_threads(threads)
        Apart.made = build(*arguments)

    @staticmethod
    def call(method: str, *arguments) -> object:
        """In that process: call a method."""
        return getattr(Apart.made, method)(*arguments)

    def __getattr__(self, method: str) -> Callable:
        return lambda *arguments: self.pool.submit(Apart.call, method, *arguments).result()


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


def machine() -> dict:
    """Where, when and with which versions a result was measured."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
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


def fastest(run, rounds: int = 10) -> float:
    """Seconds of the best of several calls, after two and ``SETTLED`` that are not counted."""
    begin = time.perf_counter()
    for _ in range(2):
        run()
    while torch.cuda.is_available() and time.perf_counter() - begin < SETTLED:
        milliseconds(run)
    return min(milliseconds(run) for _ in range(rounds)) / 1e3


def copy_bandwidth(device: str) -> float:
    """Bytes read and written per second while a large array is copied."""
    source = torch.ones(COPIED[device] // FLOAT, device=device)
    target = torch.empty_like(source)
    return 2 * source.nbytes / fastest(lambda: target.copy_(source))


def product_rate(rows: int, size: int, hidden: int, device: str, precision: str = "fp32") -> float:
    """Operations per second of [rows, size] x [size, hidden], of many in a row."""
    linear = Linear(size, hidden, bias=False).to(device).requires_grad_(False)
    linear.precision = precision
    x = torch.rand(rows, size, device=device)
    operations = 2 * rows * size * hidden
    # A small product ends before the host has noticed, and is launched faster by a graph.
    times = max(1, int(MANY_OPERATIONS / operations)) if device == "cuda" else 1

    def multiply():
        for _ in range(times):
            linear(x)

    return times * operations / fastest(graphed(multiply) if times > 1 else multiply)


def dynamics_floor(B: int, T: int, H: int, bandwidth: float, product: float | None = None) -> float:
    """Seconds of forward and backward pass of a recurrence; ``product``: rate for V, if there is
    one, which takes part in three products per step."""
    seconds = DYNAMICS_PASSES * B * T * H * FLOAT / bandwidth
    return seconds if product is None else seconds + 3 * 2 * B * T * H * H / product


def step_floor(B: int, T: int, sizes: list[int], bandwidth: float, rate: float) -> float:
    """Seconds of a training step of a feed-forward network of ``sizes`` (features to classes).

    Per layer: W reads x and writes the current, the recurrence moves its ``DYNAMICS_PASSES``, dW
    reads x and the current's gradient, dx reads that once more and writes. The first layer has no
    dx. Batch normalisation and dropout can be part of the recurrence's passes, and add nothing.
    """
    bytes_moved = operations = 0
    for layer, (size, hidden) in enumerate(itertools.pairwise(sizes)):
        products = 2 if layer == 0 else 3
        bytes_moved += B * T * FLOAT * (products * (size + hidden) + DYNAMICS_PASSES * hidden)
        operations += products * 2 * B * T * size * hidden
    return bytes_moved / bandwidth + operations / rate
