# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Time of the recurrences, forward and backward, by neuron and back end.

    python -m benchmarks.dynamics [--quick] [--threads N] [--out FILE]

Measures every neuron of the project (with the coefficients that its layer starts from) under every
back end that can run here, on a GPU also as a CUDA graph, the non-spiking recurrences, how the time
grows with T, H and B, and the LIF layers of other libraries where they are installed
(``benchmarks/requirements.txt``). All that is compared is timed in turn within one run. The floor
is what memory traffic, and matrix products with V, would take alone at the rates measured here.
Writes FILE (JSON) and, beside it, a plot of the growth (PNG).
"""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from tabulate import tabulate

from benchmarks import floor, peers
from benchmarks.command import add_common, set_up, write
from benchmarks.timing import graphed, interleaved, kept_mib, machine, peak_mib
from models import anns
from models.dynamics import readout
from models.snns import LAYERS, ReadoutLayer
from parsers.program import Parser, program

PROGRAM = "benchmarks.dynamics"
LIBRARIES = ("torch", "numba", "triton", "numpy", *peers.LAYERS)
CLASSES = 35
SCALED_NEURON = "SiLIF"
BASELINES = ("RNN", "LiGRU", "GRU")
RECURRENT_STEPS = 100  # at most, where every step is a matrix product of its own


def backends(device: str) -> list[str]:
    """``naive``, and the compiled back end of ``device`` if its library is installed."""
    library = {"cpu": "numba", "cuda": "triton"}[device]
    return ["naive", device] if importlib.util.find_spec(library) else ["naive"]


def layer_of(neuron: str, size: int, device: str):
    """A layer whose parameters are those that training starts from."""
    torch.manual_seed(0)
    layer = ReadoutLayer(1, size) if neuron == "readout" else LAYERS[neuron](1, size)
    return layer.to(device)


def forward_of(neuron: str, backend: str, I: torch.Tensor) -> Callable[[], torch.Tensor]:
    """Function that runs the recurrence of ``neuron`` on ``I`` and returns its output."""
    layer = layer_of(neuron, I.shape[2], I.device.type)
    if neuron == "readout":
        state = torch.zeros_like(I[:, 0])
        return lambda: readout(I, layer.alpha, state=state, backend=backend)[0]
    layer.backend = backend
    state = layer.initial_state(I.detach())
    return lambda: layer.dynamics(I, state)[0]


def training_pass(forward: Callable[[], torch.Tensor], I: torch.Tensor) -> Callable[[], None]:
    """Forward and backward pass to the input and all parameters, as in training."""
    gradient = torch.randn_like(forward().detach())

    def run():
        I.grad = None
        forward().backward(gradient)

    return run


def random_input(B: int, T: int, H: int, device: str) -> torch.Tensor:
    """Normal currents, as behind a batch normalisation, that need a gradient."""
    torch.manual_seed(1)
    return torch.randn(B, T, H, device=device).requires_grad_()


def compare_backends(neuron: str, shape: tuple, device: str, rounds: int) -> dict:
    """Timing and memory of all back ends on one neuron."""
    I = random_input(*shape, device)
    forwards = {name: forward_of(neuron, name, I) for name in backends(device)}
    passes = {name: training_pass(forward, I) for name, forward in forwards.items()}
    if device == "cuda" and device in passes:
        passes |= as_graph(neuron, passes[device])
    results = interleaved(passes, rounds)
    for name, forward in forwards.items():
        results[name]["kept_mib"] = kept_mib(forward)
        results[name]["peak_mib"] = peak_mib(passes[name])
    return {"neuron": neuron, "shape": list(shape), "backends": results}


def as_graph(neuron: str, run: Callable[[], None]) -> dict[str, Callable[[], None]]:
    """A pass as a CUDA graph; nothing, with a line, where it cannot become one."""
    try:
        return {"cuda, graph": graphed(run)}
    except RuntimeError as error:
        print(f"{neuron}: no CUDA graph ({str(error).splitlines()[0]})")
        return {}


def time_baseline(name: str, shape: tuple, device: str, rounds: int) -> dict:
    """Timing and memory of a non-spiking recurrence; a current for every gate."""
    torch.manual_seed(0)
    layer = anns.LAYERS[name](1, shape[2]).to(device)
    I = random_input(*shape, device)

    def forward() -> torch.Tensor:
        return layer.recurrence(*[I] * len(layer.gates))

    run = training_pass(forward, I)
    results = interleaved({"naive": run}, rounds)
    results["naive"] |= {"kept_mib": kept_mib(forward), "peak_mib": peak_mib(run)}
    return {"neuron": name, "shape": list(shape), "backends": results}


def add_floor(result: dict, rates: dict) -> None:
    """How many times the floor each back end takes."""
    shape, neuron = result["shape"], result["neuron"]
    recurrent = neuron in LAYERS and LAYERS[neuron].recurrent
    product = rates["product"] if recurrent else None
    least = 1e3 * floor.dynamics_floor(*shape, rates["copy"], product)
    result["floor_ms"] = round(least, 4)
    for values in result["backends"].values():
        values["x_floor"] = round(values["ms"] / least, 2)


def compare_peers(shape: tuple, device: str, rounds: int) -> dict:
    """Timing of our LIF under all back ends and of the LIF layers of other libraries."""
    I = random_input(*shape, device)
    ours = reversed(backends(device))
    forwards = {f"Sprache LIF, {name}": forward_of("LIF", name, I) for name in ours}
    forwards |= peers.installed(I)
    passes = {name: training_pass(forward, I) for name, forward in forwards.items()}
    return {"shape": list(shape), "layers": interleaved(passes, rounds)}


def scaling(shape: tuple, device: str, rounds: int, factors: tuple) -> list[dict]:
    """One comparison of back ends per axis and size; the other two sizes stay."""
    results = []
    for axis, name in enumerate("BTH"):
        for factor in factors:
            sizes = list(shape)
            sizes[axis] = max(1, int(sizes[axis] * factor))
            result = compare_backends(SCALED_NEURON, tuple(sizes), device, rounds)
            results.append({"axis": name, **result})
    return results


def plot(results: list[dict], file: Path) -> None:
    """Time against B, T and H, one panel each, one line per back end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    panels = figure.subplots(1, 3, sharey=True)
    for panel, axis in zip(panels, "BTH", strict=True):
        mine = [r for r in results if r["axis"] == axis]
        sizes = [r["shape"]["BTH".index(axis)] for r in mine]
        for backend in mine[0]["backends"]:
            panel.loglog(sizes, [r["backends"][backend]["ms"] for r in mine], "o-", label=backend)
        others = ", ".join(
            f"{name} = {size}"
            for name, size in zip("BTH", mine[0]["shape"], strict=True)
            if name != axis
        )
        panel.set_xlabel(f"{axis}  ({others})")
        panel.set_xticks(sizes, sizes)
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f"{SCALED_NEURON}, forward + backward (ms)")
    panels[0].legend(loc="upper left")
    figure.savefig(file, dpi=150)


def print_comparison(results: list[dict]) -> None:
    """A table of neurons and back ends."""
    figures = {
        "ms": "ms",
        "best_ms": "best ms",
        "ratio": "x naive",
        "x_floor": "x floor",
        "kept_mib": "kept MiB",
        "peak_mib": "peak MiB",
    }
    rows = [
        [r["neuron"], "x".join(map(str, r["shape"])), backend, *map(values.get, figures)]
        for r in results
        for backend, values in r["backends"].items()
    ]
    print(tabulate(rows, ["neuron", "BxTxH", "back end", *figures.values()]), flush=True)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's text."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    add_common(parser)
    options = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    file = set_up(options, "dynamics", device)
    shape = (256, 300, 512) if device == "cuda" else (64, 100, 512)
    rounds, factors = 15, (0.25, 0.5, 1, 2, 4)
    if options.quick:
        shape, rounds, factors = (8, 20, 64), 3, (0.5, 1)
    result = {"benchmark": "dynamics", "machine": machine(LIBRARIES)}
    for section in (measure_neurons, measure_peers, measure_scaling):
        section(result, shape, device, rounds, factors)
        # What is there stays there if a later section fails.
        write(file, result)
    plot(result["scaling"], file.with_suffix(".png"))
    print(f"\nwritten: {file} and {file.with_suffix('.png').name}")


def measure_neurons(result: dict, shape: tuple, device: str, rounds: int, _factors: tuple) -> None:
    """All neurons and the non-spiking recurrences, against the floor of this machine."""
    B, T, H = shape
    rates = {"copy": floor.copy_bandwidth(device), "product": floor.product_rate(B, H, H, device)}
    result["copy_gb_per_s"] = round(rates["copy"] / 1e9, 1)
    result["product_gflops"] = round(rates["product"] / 1e9, 1)
    fewer_steps = (B, min(T, RECURRENT_STEPS), H)
    neurons = [
        compare_backends(name, fewer_steps if layer.recurrent else shape, device, rounds)
        for name, layer in LAYERS.items()
    ]
    neurons.append(compare_backends("readout", (B, T, CLASSES), device, rounds))
    for comparison in neurons:
        add_floor(comparison, rates)
    fewer = max(3, rounds // 3)
    neurons += [time_baseline(name, fewer_steps, device, fewer) for name in BASELINES]
    result["neurons"] = neurons
    print_comparison(neurons)


def measure_peers(result: dict, shape: tuple, device: str, rounds: int, _factors: tuple) -> None:
    """The LIF layers of other libraries."""
    result["peers"] = compare_peers(shape, device, rounds)
    print()
    rows = [[name, *values.values()] for name, values in result["peers"]["layers"].items()]
    print(tabulate(rows, ["LIF layer", "ms", "best ms", "speed, first = 1"]), flush=True)


def measure_scaling(result: dict, shape: tuple, device: str, rounds: int, factors: tuple) -> None:
    """Growth with B, T and H."""
    result["scaling"] = scaling(shape, device, max(3, rounds // 2), factors)


if __name__ == "__main__":
    sys.exit(main())
