# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Where the time of a training step on a CPU goes, and how it would scale with the threads.

Shares: PyTorch's profiler times operators, and what is named here, of whole steps: of the published
configs and of a recurrent network. Time that no operator and no compiled kernel takes is Python's.

Threads: a step is computed on one thread, each kernel in the very pieces that ``run_rows`` makes
for 1 to 32 threads. Every piece is timed, and threads that are free take the next one. How far
PyTorch's own operators scale is taken from their times on one and on two threads (Amdahl 1967).
That is a bound: caches and memory are not part of it. Writes FILE (JSON).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import collections
import contextlib
import functools
import heapq
import importlib
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import torch
from tabulate import tabulate
from torch.profiler import ProfilerActivity, profile, record_function

from benchmarks import measure
from benchmarks.measure import machine
from benchmarks.train import CASES, LR, Row, published, random_data
from models.dynamics.backends import Differentiable, _Function
from models.dynamics.numba_support import compile_first, nothing, pieces
from parsers.program import Parser, program

PROGRAM = "benchmarks.shares"
BATCH = 128
ROUNDS = 5  # of steps that are timed, and of steps that are profiled
THREADS = (1, 2, 4, 8, 16, 32)
QUICK = {"batch_size": 8, "nb_steps": 20, "nb_hiddens": 32}

OTHER, PYTHON = "other operators", "Python"
PRODUCT, BY_INPUT, BY_WEIGHT = "product", "input gradient", "weight gradient"
NORM, READOUT, COUNTS = "normalisation", "readout", "rates and operations"
FORWARD, BACKWARD = "recurrence, forward", "recurrence, backward"
DATA, EVENTS, STATISTICS, DRAWS = "data", "lists of events", "batch statistics", "random draws"
LOSS, GRADIENT_NORM, OPTIMIZER = "loss", "gradient norm", "optimiser"
PARTS = (
    DATA, EVENTS, PRODUCT, STATISTICS, NORM, DRAWS, FORWARD, READOUT, COUNTS, LOSS, BACKWARD,
    BY_INPUT, BY_WEIGHT, GRADIENT_NORM, OPTIMIZER, OTHER, PYTHON,
)  # fmt: skip
# Functions, and the part of a step that operators and kernels within them are
FUNCTIONS = {
    "datasets.frames.FrameSet.counted": DATA,
    "datasets.audio_set.AudioSet.batch": DATA,
    "models.linear.Linear.multiply": PRODUCT,
    "models.events_cpu.find_events": EVENTS,
    "models.events_cpu.marked_events": EVENTS,
    "models.dynamics.cpu_recurrent.marked_events": EVENTS,
    "models.linear_cpu.by_weights": BY_WEIGHT,
    "models.dynamics.cpu_recurrent.parts_by_weights": BY_WEIGHT,
    "models.dynamics.cpu_around.statistics": STATISTICS,
    "models.dynamics.cpu_around.kept": DRAWS,
    "models.shell.normalize": NORM,
    "models.linear.normalize": NORM,
    "models.readouts.normalize": NORM,
    "models.readouts.ReadoutLayer.forward": READOUT,
    "models.snns.input_activity": COUNTS,
    "models.snns.spike_activity": COUNTS,
    "models.snns.events": COUNTS,
    "models.snns.recurrent_operations": COUNTS,
    "training.metrics.Meter.add": COUNTS,
    "training.steps.Steps.loss": LOSS,
    "training.steps.Watch.norm": GRADIENT_NORM,
    "training.steps.Watch.begin_step": GRADIENT_NORM,
}
KERNELS = {
    "input_gradient": BY_INPUT,
    "weight_gradient": BY_WEIGHT,
    "add_lines": NORM,
    "draw": DRAWS,
    "draw_numbers": DRAWS,
}
# Nodes of PyTorch's backward pass
NODES = {
    "NativeBatchNormBackward": NORM,
    "SoftmaxBackward": READOUT,
    "LogSoftmaxBackward": LOSS,
    "NllLossBackward": LOSS,
    "_CountedRatesBackward": COUNTS,
}
OPERATIONS = {
    ("cpu_recurrence", True): FORWARD,
    ("cpu_recurrence", False): BACKWARD,
    ("cpu_potentials", True): READOUT,
    ("cpu_potentials", False): READOUT,
    ("cpu_sum", True): READOUT,
    ("cpu_sum", False): READOUT,
}
PART, KERNEL, NODE = "part: ", "kernel: ", "autograd::engine::evaluate_function: "
CALLERS = (
    "models.linear_cpu", "models.events_cpu", "models.places", "models.dynamics.cpu",
    "models.dynamics.cpu_around", "models.dynamics.cpu_recurrent", "models.dynamics.mersenne",
)  # fmt: skip


def ranged(function: Callable, part: str) -> Callable:
    """``function`` as a range of the profiler."""

    @functools.wraps(function)
    def run(*arguments, **options):
        with record_function(PART + part):
            return function(*arguments, **options)

    return run


def kernel_ranged(run_rows: Callable) -> Callable:
    """``run_rows`` with a range for each kernel."""

    @functools.wraps(run_rows)
    def run(compiled, *arguments, **options):
        with record_function(KERNEL + compiled.py_func.__name__):
            return run_rows(compiled, *arguments, **options)

    return run


def patched(changes: dict[str, Callable]) -> contextlib.ExitStack:
    """A context in which what has these names is replaced by what is made of it."""
    stack = contextlib.ExitStack()
    for name, change in changes.items():
        owner, attribute = name.rsplit(".", 1)
        try:
            owner = importlib.import_module(owner)
        except ImportError:
            module, kind = owner.rsplit(".", 1)
            owner = getattr(importlib.import_module(module), kind)
        stack.enter_context(mock.patch.object(owner, attribute, change(getattr(owner, attribute))))
    return stack


def with_names() -> contextlib.ExitStack:
    """A context in which the profiler knows the parts of a step."""
    changes = {name: functools.partial(ranged, part=part) for name, part in FUNCTIONS.items()}
    changes |= {f"{module}.run_rows": kernel_ranged for module in CALLERS}
    stack = patched(changes)
    forward, backward = Differentiable.forward, _Function.backward

    def run(of, *inputs):
        with record_function(PART + OPERATIONS[of.name, True]):
            return forward(of, *inputs)

    def run_back(ctx, *gradients):
        with record_function(PART + OPERATIONS[ctx.of.name, False]):
            return backward(ctx, *gradients)

    stack.enter_context(mock.patch.object(Differentiable, "forward", run))
    stack.enter_context(mock.patch.object(_Function, "backward", staticmethod(run_back)))
    return stack


def part_of(event, samples: int) -> str:
    """The part of a step that the time of ``event``, without that of events within it, belongs to.

    Products of the backward pass are told apart by their shape: that of the weights sums over all
    ``samples``, clips times steps.
    """
    around, at = [], event
    while at is not None:
        around.append(at.name)
        at = at.cpu_parent
    own = around[0]
    parts = [name.removeprefix(PART) for name in around if name.startswith(PART)]
    parts += [OPTIMIZER for name in around if name.startswith("Optimizer.")]  # PyTorch's own range
    nodes = [name.removeprefix(NODE) for name in around if name.startswith(NODE)]
    if own.startswith(KERNEL):
        return KERNELS.get(own.removeprefix(KERNEL)) or parts[0]
    if own == PART + DRAWS:
        return DRAWS
    if not own.startswith(("aten::", "autograd::")):
        return PYTHON
    if own == "aten::mm" and nodes and not parts:
        return BY_WEIGHT if event.input_shapes[0][1] == samples else BY_INPUT
    return next(iter(parts), None) or next(
        (part for name, part in NODES.items() for node in nodes if node.startswith(name)), OTHER
    )


class Times(NamedTuple):
    """Milliseconds of a step: medians over rounds."""

    step: float  # without the profiler
    kernels: dict[str, float]  # by part
    rest: dict[str, float]  # by part: PyTorch's operators, and Python

    @property
    def parts(self) -> dict[str, float]:
        """By part."""
        return {part: self.kernels[part] + self.rest[part] for part in PARTS}


def profiled(row: Row, samples: int, rounds: int) -> Times:
    """Times of steps of ``row``, without and with the profiler in turn."""
    whole, kernels, rest = [], [], []
    for _ in range(rounds):
        whole.append(measure.milliseconds(lambda: row.train(1)))
        activities = [ProfilerActivity.CPU]
        with with_names(), profile(activities=activities, record_shapes=True) as profiler:
            row.train(1)
        for times in (kernels, rest):
            times.append(collections.Counter())
        for event in profiler.events():
            times = kernels if event.name.startswith(KERNEL) else rest
            times[-1][part_of(event, samples)] += event.self_cpu_time_total / 1e3
    medians = (
        {part: statistics.median(times[part] for times in found) for part in PARTS}
        for found in (kernels, rest)
    )
    return Times(statistics.median(whole), *medians)


class Call(NamedTuple):
    """Times of a call of a kernel on one thread, in ms."""

    kernel: str
    rows: int
    threads: int  # for which it was split
    pieces: list[float]
    empty: float  # of a call for no rows, which several threads make once for all pieces


def in_pieces(threads: int, calls: list[Call], compiled, rows, steps, *arguments, scratch=nothing):
    """``run_rows`` on this thread, but split as for ``threads``; the times go to ``calls``."""
    arguments = *arguments, *(x[0] for x in scratch(1))
    compile_first(compiled, arguments)
    threads, bounds = pieces(rows, steps, threads)
    marks = []
    for first, end in itertools.pairwise([0, 0, *bounds]):  # of two empty calls the second counts
        compiled(first, end, *arguments)
        marks.append(time.perf_counter())
    empty, *times = (1e3 * (end - begin) for begin, end in itertools.pairwise(marks))
    calls.append(Call(compiled.py_func.__name__, rows, threads, times, empty))


def calls_of(row: Row, batch: tuple, threads: int) -> dict[str, list[Call]]:
    """The calls of kernels in a step on ``batch``, split for ``threads``, by kernel."""
    calls, found = [], collections.defaultdict(list)
    split = functools.partial(in_pieces, threads, calls)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("torch.get_num_threads", return_value=threads))
        for module in CALLERS:
            stack.enter_context(mock.patch(f"{module}.run_rows", split))
        row.steps.train(*batch, row.meter)
    for call in calls:
        found[call.kernel].append(call)
    return found


def makespan(call: Call) -> float:
    """When the last of the threads is done, each taking the next piece when it is free."""
    free = [call.empty] * call.threads
    for piece in call.pieces:
        heapq.heappush(free, heapq.heappop(free) + max(0.0, piece - call.empty))
    return max(free)


def parallel_share(one: float, two: float) -> float:
    """Share of what takes that long on one and on two threads that is spread over them."""
    return min(1.0, max(0.0, 2 * (1 - two / one))) if one > 0 else 0.0


def scaling(row: Row, one: Times, two: Times, rounds: int) -> dict:
    """Predicted times of a step by the number of threads, and of what they are made."""
    parallel = {part: parallel_share(one.rest[part], two.rest[part]) for part in PARTS}
    parallel |= dict.fromkeys((DRAWS, PYTHON), 0.0)
    kernels, steps = collections.defaultdict(dict), {}
    batch = next(row.batches)  # one for all: not in each may events be so few that they are listed
    for threads in THREADS:
        steps[threads] = sum(
            ms * (1 - parallel[part] + parallel[part] / threads) for part, ms in one.rest.items()
        )
        found = [calls_of(row, batch, threads) for _ in range(rounds)]
        for name, calls in found[0].items():
            ms = statistics.median(sum(makespan(call) for call in by[name]) for by in found)
            largest = [max(c.pieces) / statistics.mean(c.pieces) for by in found for c in by[name]]
            kernels[name][str(threads)] = {
                "ms": ms,
                "pieces": max(len(call.pieces) for call in calls),
                "largest_by_mean": statistics.median(largest),
            }
            steps[threads] += ms
    return {
        "kernels": dict(kernels),
        "rest": {
            part: {"ms": ms, "parallel": parallel[part]} for part, ms in one.rest.items() if ms > 0
        },
        "serial_ms": sum(ms * (1 - parallel[part]) for part, ms in one.rest.items()),
        "step_ms": {str(threads): ms for threads, ms in steps.items()},
        "speed_up": {str(threads): steps[1] / ms for threads, ms in steps.items()},
    }


def rounded(x):
    """``x`` with all its numbers to three decimals."""
    if isinstance(x, dict):
        return {key: rounded(value) for key, value in x.items()}
    return round(x, 3) if isinstance(x, float) else x


def measured(name: str, most: int, quick: bool) -> dict:
    """Shares and scaling of a case."""
    case, device, rounds = CASES[name], torch.device("cpu"), 1 if quick else ROUNDS
    changes = {"lr": LR, "batch_size": BATCH} | case.other | (QUICK if quick else {})
    config = published(case, 1, changes)
    data = random_data(case, config, device)
    row = Row("ours", case, config, data, device)
    B, T = config.training.batch_size, next(row.tests)[0].shape[1]
    times = {}
    for threads in sorted({1, 2, most}):
        torch.set_num_threads(threads)
        row.train(2)  # the first compile kernels and fill caches
        times[threads] = profiled(row, B * T, rounds)
    torch.set_num_threads(1)
    return {
        "case": name,
        "config": case.config,
        "batch_size": B,
        "steps": T,
        "sizes": [data.nb_features, *row.experiment.model.layer_sizes],
        "firing_rate": row.firing_rate(),
        "threads": {
            str(n): {"step_ms": found.step, "parts": found.parts} for n, found in times.items()
        },
        "scaling": scaling(row, times[1], times[2], rounds),
    }


def print_case(result: dict) -> None:
    """Two tables of one case."""
    sizes = "-".join(map(str, result["sizes"]))
    print(
        f"\n{result['case']}: {sizes}, batch {result['batch_size']}, {result['steps']} steps, "
        f"firing rate {result['firing_rate']:.1%}"
    )
    threads, rows = result["threads"], []
    for part in PARTS:
        times = [(t["parts"][part], sum(t["parts"].values())) for t in threads.values()]
        rows.append([part, *(x for ms, all in times for x in (f"{ms:.2f}", f"{ms / all:.1%}"))])
    rows.append(["step", *(x for t in threads.values() for x in (f"{t['step_ms']:.2f}", ""))])
    titles = [x for n in threads for x in (f"ms, {n} thread{'s' * (n != '1')}", "share")]
    print(tabulate(rows, ["part", *titles], disable_numparse=True))
    found = result["scaling"]
    rows = []
    for name, by in found["kernels"].items():
        one = by["1"]["ms"]
        rows.append([name, one, *(f"{one / own['ms']:.1f}" for own in by.values())])
    rows.sort(key=lambda row: -row[1])
    gains = (f"{gain:.1f}" for gain in found["speed_up"].values())
    rows.append(["whole step", found["step_ms"]["1"], *gains])
    print(tabulate(rows, ["times faster on threads", "ms", *THREADS], floatfmt=".2f"), flush=True)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    named = [name for name, case in CASES.items() if "axonal" not in case.config]
    # By default without delays, whose operators have no part of their own.
    parser.add_argument("--cases", nargs="+", choices=CASES, default=named, metavar="NAME")
    measure.add_common(parser)
    options = parser.parse_args(argv)
    file = measure.set_up(options, "shares", "cpu")
    result = {"benchmark": "shares", "machine": machine(), "cases": []}
    most = torch.get_num_threads()
    for name in options.cases:
        result["cases"].append(rounded(measured(name, most, options.quick)))
        print_case(result["cases"][-1])
        measure.write(file, result)
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
