# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Time of a LIF layer and of training steps of a LIF network, beside other libraries, on a CPU.

    python -m benchmarks.peers [--quick] [--threads N] [--published FILE] [--out FILE]

A layer: forward pass and backward pass to its currents. A training step: forward and backward pass
and Adam, of 140 inputs, two hidden layers of 512 neurons, and 35 leaky integrators, without biases,
normalisation and dropout, from the same weights on the same batch of sparse spikes; then how both
grow with B, T and H. `benchmarks.libraries` says what is the same in all libraries, what is not,
and which settings each is measured with; one that is not installed is left out. All of them take
turns in one run, after a first call that compiles, whose time is given apart. With ``--threads``
the process runs on as many processors, as JAX takes a thread for each. FILE of ``--published`` is
the one of the authors' code that defines ``SNN``. Writes FILE of ``--out`` (JSON) and, beside it, a
plot of the growth (PNG).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks import measure
from benchmarks.libraries import WAYS, Batch, Library
from benchmarks.measure import interleaved, machine, write
from benchmarks.published import published
from datasets.files import progress
from parsers.program import Parser, program

PROGRAM = "benchmarks.peers"
INPUTS, CLASSES = 140, 35  # of SSC
DENSITY = 0.15  # of its frames at 100 steps, as measured on the demo
GAINS = 6.0, 20.0, 1.0  # deviations of what comes into a neuron: a few percent of them spike
CURRENT = 3.5  # deviation of a layer's currents, for the same rate
INSTALL = "pip install -r benchmarks/requirements.txt"


def load() -> dict[str, Library]:
    """All that can run here, by name; what cannot is named on the terminal."""
    found = {}
    for name, way in WAYS.items():
        if not way.installed:
            print(f"{name}: left out, as {way.package} is not installed ({INSTALL})")
            continue
        try:
            found[name] = way.load()
        except (ImportError, RuntimeError) as error:
            print(f"{name}: left out ({reason(error)})")
    return found


def reason(error: Exception) -> str:
    """The first line of what a library says."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def layer_passes(libraries: dict[str, Library], shape: tuple) -> dict[str, Callable]:
    """Forward and backward pass of a layer on currents of ``shape``, by library."""
    generator = torch.Generator().manual_seed(1)
    I, gradient = CURRENT * torch.randn(shape, generator=generator), torch.randn(shape)
    with_layer = {name: made for name, made in libraries.items() if made.layer is not None}
    return {name: made.layer(I, gradient) for name, made in with_layer.items()}


def problem(B: int, T: int, H: int) -> tuple[list[Tensor], Batch]:
    """Initial weights [out, in] of all layers, and a batch, the same for every library."""
    generator = torch.Generator().manual_seed(2)
    sizes = [INPUTS, H, H, CLASSES]
    weights = [
        gain / size**0.5 * torch.randn(units, size, generator=generator)
        for gain, size, units in zip(GAINS, sizes, sizes[1:], strict=False)
    ]
    x = torch.rand(B, T, INPUTS, generator=generator).lt(DENSITY).float()
    return weights, Batch(x, torch.randint(0, CLASSES, (B,), generator=generator))


def compared(runs: dict[str, Callable], rounds: int) -> dict:
    """Figures of ``interleaved`` and the seconds of the first call, by name.

    One that fails at its first call is left out, and named on the terminal.
    """
    first, works = {}, {}
    for name, run in runs.items():
        start = time.perf_counter()
        try:
            run()
        except (ImportError, RuntimeError) as error:
            print(f"{name}: left out ({reason(error)})")
            continue
        first[name], works[name] = round(time.perf_counter() - start, 2), run
    times = interleaved(works, rounds, warm_up=1)
    return {name: {**values, "first_s": first[name]} for name, values in times.items()}


def compare_layers(libraries: dict[str, Library], shape: tuple, rounds: int) -> dict:
    """Forward and backward pass of a layer of ``shape`` [B, T, H]."""
    passes = layer_passes(libraries, shape)
    rows = compared(passes, rounds)
    for name in rows:
        rows[name]["rate"] = round(float(passes[name]()[0].mean()), 4)
    return rows


def compare_steps(libraries: dict[str, Library], shape: tuple, rounds: int) -> dict:
    """Training steps of a network of two layers of ``shape`` [B, T, H]."""
    weights, batch = problem(*shape)
    nets = {name: made.network(weights, batch) for name, made in libraries.items()}
    rows = compared({name: net.step for name, net in nets.items()}, rounds)
    for name in rows:
        rows[name]["rates"] = [round(rate, 4) for rate in nets[name].rates()]
        rows[name]["loss"] = round(float(nets[name].step()), 4)
    return rows


PARTS = {
    "layer": ("LIF layer, forward + backward", compare_layers),
    "step": ("training step of two LIF layers", compare_steps),
}


def compare(libraries: dict[str, Library], shape: tuple, rounds: int) -> dict:
    """Both parts at ``shape``."""
    found = {part: how(libraries, shape, rounds) for part, (_, how) in PARTS.items()}
    return {"shape": list(shape), **found}


def scaling(libraries: dict[str, Library], base: dict, rounds: int, factors: tuple) -> list[dict]:
    """One comparison per axis and size; the other two sizes stay as in ``base``."""
    results = []
    with progress("sizes", 3 * len(factors), " sizes") as bar:
        for axis, name in enumerate("BTH"):
            for factor in factors:
                sizes = list(base["shape"])
                sizes[axis] = int(sizes[axis] * factor)
                here = base if factor == 1 else compare(libraries, tuple(sizes), rounds)
                results.append({"axis": name, **here})
                bar.update()
    return results


def plot(results: list[dict], file: Path) -> None:
    """Time against B, T and H, one row of panels for each part, one line per library."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = figure.subplots(2, 3, sharey="row")
    for row, (part, (title, _)) in zip(panels, PARTS.items(), strict=True):
        for panel, axis in zip(row, "BTH", strict=True):
            draw(panel, [r for r in results if r["axis"] == axis], part, axis)
        row[0].set_ylabel(f"{title} (ms)")
    figure.legend(*panels[1, 0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(file, dpi=150)


def draw(panel, results: list[dict], part: str, axis: str) -> None:
    """Time of ``part`` against the size of ``axis``."""
    sizes = [r["shape"]["BTH".index(axis)] for r in results]
    for name in results[0][part]:
        here = [
            (size, r[part][name]["ms"])
            for size, r in zip(sizes, results, strict=True)
            if name in r[part]
        ]
        own = "o-" if name.startswith("Sprache") else "s--" if name == "plain PyTorch" else "^:"
        panel.loglog(*zip(*here, strict=True), own, label=name, markersize=4)
    shape = zip("BTH", results[0]["shape"], strict=True)
    panel.set_xlabel(f"{axis}  ({', '.join(f'{n} = {s}' for n, s in shape if n != axis)})")
    panel.set_xticks(sizes, sizes)
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def print_rows(result: dict) -> None:
    """A table of each part."""
    for part, (title, _) in PARTS.items():
        rows = [
            [
                name,
                *(values[x] for x in ("ms", "best_ms", "ratio", "first_s")),
                values.get("rate", values.get("rates")),
            ]
            for name, values in result[part].items()
        ]
        shape = "x".join(map(str, result["shape"]))
        titles = [title, "ms", "best ms", f"x {rows[0][0]}", "first call s", "rate"]
        print(f"\nB x T x H = {shape}\n" + tabulate(rows, titles), flush=True)


def pin(threads: int | None) -> None:
    """Run on as many processors as there are threads: JAX takes a thread for each of them."""
    if threads and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    parser.add_argument("--published", type=Path, metavar="FILE", help="Python file with SNN")
    measure.add_common(parser)
    options = parser.parse_args(argv)
    file = measure.set_up(options, "peers", "cpu")
    theirs = {} if options.published is None else {"published code": published(options.published)}
    pin(options.threads)
    shape, rounds, few, factors = (64, 100, 512), 9, 3, (0.5, 1, 2)
    if options.quick:
        shape, rounds, few, factors = (4, 10, 32), 2, 1, (0.5, 1)
    libraries = load() | theirs
    result = {"benchmark": "peers", "machine": machine(), "inputs": INPUTS, "classes": CLASSES}
    result["modes"] = {name: WAYS[name].mode for name in libraries if name in WAYS}
    base = compare(libraries, shape, rounds)
    print_rows(base)
    write(file, result | base)  # kept if a later part fails
    result |= base | {"scaling": scaling(libraries, base, few, factors)}
    write(file, result)
    plot(result["scaling"], file.with_suffix(".png"))
    print(f"\nwritten: {file} and {file.with_suffix('.png').name}")


if __name__ == "__main__":
    sys.exit(main())
