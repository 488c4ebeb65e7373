# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole training steps as CUDA graphs: hundreds of launches become one.

A step is captured after a few real ones of the same shape, which also compile its kernels.
Capturing computes nothing: neither weights, nor sums, nor random numbers move, and the generator
hands a replayed step the numbers that a launched one would have drawn. The first replay is tried
against a launched step from the same state, and the graph is used only if both leave the same bits.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache

import torch
from torch import Tensor

from training.device.choice import generator_of
from training.errors import ExperimentError
from training.metrics import Meter
from training.steps import Step, Steps
from training.terminal.console import log

WARM_UP = 3  # launched steps of a shape before it is captured
LAUNCH_BOUND = 0.5  # share of a step's time on the device that the host may take to launch it


@cache
def stream_for(work: str, device: torch.device) -> torch.cuda.Stream:
    """The stream of a GPU for a kind of work, always the same.

    PyTorch hands out 32 of them in turn. If every run of a sweep took new ones, that on which steps
    are captured would become that on which batches are fetched; and what libraries and the
    allocator keep by stream would pile up.
    """
    return torch.cuda.Stream(device)


class Launcher:
    """Runs a step, as a CUDA graph where that is requested or pays.

    One shape is captured: the first that has been seen ``WARM_UP`` times and in most steps. Batches
    of another shape, such as the last one of an epoch, are launched one by one.

    Args:
        steps: their ``learn`` does not wait for the device, and what it changes keeps its memory.
        mode: "on", "off", or "auto": where launching takes the host more than ``LAUNCH_BOUND`` of
            the time the device needs, and the graph can be made.

    Raises:
        ExperimentError: at a step, "on" where the graph cannot be made.
    """

    def __init__(self, steps: Steps, mode: str):
        self.steps = steps
        self.device = steps.device
        self.rates = DeviceRates(steps.optimizer, self.device)
        self.mode = mode
        self.stream = stream_for("steps", self.device) if mode != "off" else None
        self.seen: Counter[tuple] = Counter()
        self.captured: Captured | None = None
        self.betas: list[tuple] = []

    def __call__(self, x: Tensor, y: Tensor, meter: Meter) -> None:
        """One step on a batch x [B, T, F], y [B]."""
        self.rates.refresh()
        betas = [group["betas"] for group in self.steps.optimizer.param_groups]
        if betas != self.betas:  # by a scheduler; a captured step would keep those before
            self.betas = betas
            self.release()
        if self.mode == "off":
            self.step(x, y, meter)
            return
        key = (tuple(x.shape), id(meter))
        with on_stream(self.stream):
            if self.captured is not None and self.captured.key == key:
                self.captured.replay(x, y)
            elif self.captured is None and self.is_time(key):
                self.capture(key, x, y, meter)
            else:
                self.launch(key, x, y, meter)

    def step(self, x: Tensor, y: Tensor, meter: Meter) -> None:
        """Queue a step on the device, with the learning rates that lie there."""
        with self.rates.in_force():
            self.steps.learn(x, y, meter)

    def is_time(self, key: tuple) -> bool:
        """Whether batches like ``key`` are to be captured now."""
        return self.seen[key] >= WARM_UP and 2 * self.seen[key] >= self.seen.total()

    def launch(self, key: tuple, x: Tensor, y: Tensor, meter: Meter) -> None:
        """Launch a step; the last one before a capture is timed, to see whether that would pay."""
        self.seen[key] += 1
        if self.mode != "auto" or self.captured is not None or not self.is_time(key):
            self.step(x, y, meter)
            return
        host, device = durations(lambda: self.step(x, y, meter), self.device)
        if host <= LAUNCH_BOUND * device:
            self.mode = "off"
            torch.cuda.empty_cache()  # of memory that only steps on this stream would use again
        log.info(
            "A training step takes the GPU %.2f ms and the host %.2f ms to launch: %s",
            1e3 * device,
            1e3 * host,
            "steps are launched one by one" if self.mode == "off" else "it becomes a CUDA graph",
        )

    def capture(self, key: tuple, x: Tensor, y: Tensor, meter: Meter) -> None:
        """A step that also makes the graph, and tries it; ExperimentError if "on" cannot be."""
        generator = generator_of(self.device)
        spare = generator.clone_state()
        before = self.snapshot(meter)
        captured = None
        try:
            captured = Captured(key, self.step, x, y, meter, self.stream)
            captured.replay(x, y)
            replayed = self.snapshot(meter)
            self.restore(before, meter)
            self.step(x, y, meter)
            if all(map(same_bits, self.snapshot(meter), replayed)):
                self.captured = captured
                return
            reason = "it computes other numbers than launched steps do"
        except Exception as error:  # a driver or a library refuses: steps are launched
            cause = error.__context__ or error  # the end of a capture that has failed raises, too
            reason = str(cause).strip().split("\n", 1)[0] or type(cause).__name__
        # Only here, where the error no longer holds on to the tensors of its step.
        if captured is None:
            generator.graphsafe_set_state(spare)  # the other one still waits for the capture's end
        captured = None
        torch.cuda.empty_cache()
        self.restore(before, meter)
        if self.mode == "on":
            raise ExperimentError(
                f"the training step cannot become a CUDA graph ({reason}): use --cuda_graph off"
            )
        self.mode = "off"
        log.warning(
            "No CUDA graph of the training step (%s): steps are launched instead. --cuda_graph off "
            "saves the memory that the attempt may have left in use",
            reason,
        )
        self.step(x, y, meter)

    def release(self) -> None:
        """Give the memory of the graph back; the next step is launched."""
        self.captured = None

    def changing(self, meter: Meter) -> list[Tensor]:
        """All tensors that a step changes."""
        return [*self.steps.learning(), meter.sums, meter.rates]

    def snapshot(self, meter: Meter) -> list[Tensor]:
        """A copy of what a step changes, and of the random state."""
        copies = [tensor.detach().clone() for tensor in self.changing(meter)]
        return [*copies, generator_of(self.device).get_state()]

    @torch.no_grad()
    def restore(self, snapshot: list[Tensor], meter: Meter) -> None:
        """Go back to a snapshot."""
        *copies, state = snapshot
        for tensor, copy in zip(self.changing(meter), copies, strict=True):
            tensor.copy_(copy)
        generator_of(self.device).set_state(state)


def same_bits(some: Tensor, other: Tensor) -> bool:
    """Whether two tensors hold the same bytes; what is not a number equals itself."""
    return torch.equal(*(x.contiguous().reshape(-1).view(torch.uint8) for x in (some, other)))


class Captured:
    """A step on batches of one shape as a CUDA graph."""

    def __init__(
        self, key: tuple, step: Step, x: Tensor, y: Tensor, meter: Meter, stream: torch.cuda.Stream
    ):
        self.key = key
        self.x, self.y = x.clone(), y.clone()
        self.graph = torch.cuda.CUDAGraph()
        # thread_local: a thread that fetches batches must not break the capture.
        with torch.cuda.graph(self.graph, stream=stream, capture_error_mode="thread_local"):
            step(self.x, self.y, meter)

    def replay(self, x: Tensor, y: Tensor) -> None:
        """The captured step on another batch."""
        self.x.copy_(x)
        self.y.copy_(y)
        self.graph.replay()


@contextlib.contextmanager
def on_stream(stream: torch.cuda.Stream) -> Iterator[None]:
    """Work on ``stream`` in the order of the current one: after what is queued, before what comes.

    Steps are captured on a stream of their own, and those before are run on it too, so that what
    libraries set up by stream (workspaces) is there.
    """
    current = torch.cuda.current_stream(stream.device)
    stream.wait_stream(current)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:  # also what comes after a step that failed: it uses the same memory
        current.wait_stream(stream)


def durations(run: Callable[[], None], device: torch.device) -> tuple[float, float]:
    """Seconds that the host takes to launch ``run``, and the device to finish it."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    begin = time.perf_counter()
    start.record()
    run()
    end.record()
    host = time.perf_counter() - begin
    torch.cuda.synchronize(device)
    return host, start.elapsed_time(end) / 1e3


class DeviceRates:
    """The learning rates of an optimiser as tensors on a GPU, for as long as a step takes.

    A captured step reads them there, so that a scheduler's change reaches it. Between steps the
    optimiser holds plain numbers, as its checkpoints do.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, device: torch.device):
        self.optimizer = optimizer
        self.device = device
        self.values: list[float] = []
        self.tensors: list[Tensor] = []

    def refresh(self) -> None:
        """Write rates that have changed to the device, behind all that is queued there."""
        values = [group["lr"] for group in self.optimizer.param_groups]
        if not self.tensors:
            self.tensors = [torch.empty((), device=self.device) for _ in values]
        elif values == self.values:
            return
        for tensor, value in zip(self.tensors, values, strict=True):
            tensor.fill_(value)
        self.values = values

    @contextlib.contextmanager
    def in_force(self) -> Iterator[None]:
        """Let the optimiser read the tensors, and allow a capture that is under way."""
        groups = self.optimizer.param_groups
        before = [(group["lr"], group["capturable"]) for group in groups]
        capturing = torch.cuda.is_current_stream_capturing()
        for group, tensor in zip(groups, self.tensors, strict=True):
            group["lr"], group["capturable"] = tensor, capturing
        try:
            yield
        finally:
            for group, (lr, capturable) in zip(groups, before, strict=True):
                group["lr"], group["capturable"] = lr, capturable
