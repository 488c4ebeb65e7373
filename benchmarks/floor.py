# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The time that no implementation can beat on a machine: memory traffic and matrix products.

Both rates are measured where the benchmark runs, on arrays that fit no cache.
"""

import itertools
import time

import torch

from benchmarks.timing import graphed, milliseconds
from models.linear import Linear

FLOAT = 4  # bytes
COPIED = {"cuda": 1 << 30, "cpu": 1 << 27}  # bytes
MANY_OPERATIONS = 2e10  # of products that are timed together on a GPU
SETTLED = 0.3  # s of work after which a GPU that was idle runs at full clock rate
# Forward: the current is read, spikes are written. Backward: the gradient of the spikes and the
# current are read, the gradient of the current is written. All else can be computed again.
DYNAMICS_PASSES = 5


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
