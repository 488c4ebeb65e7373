# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Time of the recurrences, forward and backward, by neuron and back end.

    python -m benchmarks.dynamics [--quick] [--threads N] [--out FILE]

Measures every neuron of the project (with the coefficients that its layer starts from), RLIF with
learned recurrent delays, whose spread sigma is that of early and of late epochs, and RLIF and
RadLIF with currents at which as many neurons spike as in trained networks (3 %), under every back
end that can run here, on a GPU also as a CUDA graph, the non-spiking recurrences, Mamba's scan, and
how the time grows with T, H and B. Whatever is compared is timed alternately within one run, on a
CPU in turns of a third of a second; "alone" is one pass at a time, for which threads have to wake
up and the caches hold what another back end left there, unlike in training. The floor is what
memory traffic, and dense products with V, would take alone at the rates measured here; sparse
products can be faster. Writes FILE (JSON) and, beside it, a plot of the growth (PNG).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional

from benchmarks import measure
from benchmarks.measure import (
    TURN,
    graphed,
    in_turns,
    interleaved,
    kept_mib,
    machine,
    peak_mib,
    write,
)
from models import anns
from models.dynamics import readout, selective_scan
from models.mamba import Mamba
from models.snns import LAYERS, ReadoutLayer
from parsers.program import Parser, program

PROGRAM = "benchmarks.dynamics"
CLASSES = 35
SCALED_NEURON = "SiLIF"
BASELINES = ("RNN", "LiGRU", "GRU")
DELAYED = {f"RLIF, delays, sigma {sigma:g}": sigma for sigma in (10.0, 0.06)}
# Recurrent layers that spike as trained ones do: mean and deviation of their currents
TRAINED = {"RLIF, trained rates": (0.0, 3.5), "RadLIF, trained rates": (-1.0, 3.0)}
SCAN = (32, 300, 64, 64)  # B, T, H and N of Mamba's scan
RECURRENT_STEPS = 100  # at most, where every step is a matrix product of its own


def backends(device: str) -> list[str]:
    """``naive``, and the compiled back end of ``device`` if its library is installed."""
    library = {"cpu": "numba", "cuda": "triton"}[device]
    return ["naive", device] if importlib.util.find_spec(library) else ["naive"]


def forward_of(neuron: str, backend: str, I: Tensor) -> Callable[[], Tensor]:
    """Function that runs the recurrence of ``neuron`` on ``I`` and returns its output.

    The parameters are those that training starts from.
    """
    torch.manual_seed(0)
    kind = ReadoutLayer if neuron == "readout" else LAYERS[neuron.split(",")[0]]
    options = {}
    if neuron in DELAYED:
        features = {"recurrent_sigma": DELAYED[neuron]}
        options = {"recurrent_delay": "axonal", "extra_features": features}
    layer = kind(1, I.shape[2], **options).to(I.device)
    if neuron == "readout":
        state = torch.zeros_like(I[:, 0])
        return lambda: readout(I, layer.alpha, state=state, backend=backend)[0]
    layer.backend = backend
    state = layer.initial_state(I.detach())
    return lambda: layer.dynamics(I, state)[0]


def training_pass(forward: Callable[[], Tensor], I: Tensor) -> Callable[[], None]:
    """Forward and backward pass to the input and all parameters, as in training."""
    gradient = torch.randn_like(forward().detach())

    def run():
        I.grad = None
        forward().backward(gradient)

    return run


def random_input(B: int, T: int, H: int, device: str) -> Tensor:
    """Normal currents, as after batch normalisation, that need a gradient."""
    torch.manual_seed(1)
    return torch.randn(B, T, H, device=device).requires_grad_()


def compare(neuron: str, forwards: dict[str, Callable], I: Tensor, rounds: int) -> dict:
    """Timing and memory of all back ends, by name, on one neuron."""
    passes = {name: training_pass(forward, I) for name, forward in forwards.items()}
    if "cuda" in passes:
        passes |= as_graph(neuron, passes["cuda"])
    results = alone = interleaved(passes, rounds)
    if not I.is_cuda:
        counts = {name: max(1, round(TURN / found["ms"])) for name, found in alone.items()}
        turns = {name: partial(repeat, run) for name, run in passes.items()}
        results = in_turns(turns, counts, rounds)
        for name, found in results.items():
            found |= {"alone_ms": alone[name]["ms"], "alone_ratio": alone[name]["ratio"]}
    for name, forward in forwards.items():
        results[name] |= {"kept_mib": kept_mib(forward), "peak_mib": peak_mib(passes[name])}
    return {"neuron": neuron, "shape": list(I.shape), "backends": results}


def repeat(run: Callable[[], None], count: int) -> None:
    """Call ``run`` so often."""
    for _ in range(count):
        run()


def as_graph(neuron: str, run: Callable[[], None]) -> dict[str, Callable[[], None]]:
    """A pass as a CUDA graph; none, and a line printed, where it cannot be captured."""
    try:
        return {"cuda, graph": graphed(run)}
    except RuntimeError as error:
        print(f"{neuron}: no CUDA graph ({str(error).splitlines()[0]})")
        return {}


def compare_backends(neuron: str, shape: tuple, device: str, rounds: int) -> dict:
    """Every back end that can run here on one neuron."""
    I = random_input(*shape, device)
    if neuron in TRAINED:
        mean, deviation = TRAINED[neuron]
        I = (mean + deviation * I).detach().requires_grad_()
    forwards = {name: forward_of(neuron, name, I) for name in backends(device)}
    result = compare(neuron, forwards, I, rounds)
    if neuron == "readout":
        return result
    with torch.no_grad():
        return result | {"rate": round(forwards["naive"]().mean().item(), 4)}


def time_baseline(name: str, shape: tuple, device: str, rounds: int) -> dict:
    """A non-spiking recurrence; a current for every gate."""
    torch.manual_seed(0)
    layer = anns.LAYERS[name](1, shape[2]).to(device)
    I = random_input(*shape, device)
    forward = {"naive": lambda: layer.recurrence(*[I] * len(layer.gates))}
    return compare(name, forward, I, rounds)


def compare_scan(shape: tuple, device: str, rounds: int) -> dict:
    """Every back end on the selective scan, of the steps and decays that Mamba starts from."""
    (B, T, H, N), I = shape, random_input(*shape[:3], device)
    block = Mamba(H, options={"state_size": N}).to(device)
    delta = functional.softplus(block.dt_proj.bias).detach().expand(B, T, H).clone()
    delta, weights = delta.requires_grad_(), torch.randn(2, B, T, N, device=device).requires_grad_()
    state = I.new_zeros(B, H, N)

    def scan(backend):
        A = -torch.exp(block.A_log)
        return selective_scan(I, delta, A, *weights, block.D, state=state, backend=backend)[0]

    forwards = {name: partial(scan, name) for name in backends(device)}
    return compare(f"Mamba, {N} states", forwards, I, rounds)


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
    figures = ("ms", "best_ms", "ratio", "alone_ratio", "x_floor", "kept_mib", "peak_mib")
    titles = ["ms", "best ms", "x naive", "alone", "x floor", "kept MiB", "peak MiB"]
    rows = [
        [
            r["neuron"],
            "x".join(map(str, r["shape"])),
            r.get("rate"),
            backend,
            *map(values.get, figures),
        ]
        for r in results
        for backend, values in r["backends"].items()
    ]
    print(tabulate(rows, ["neuron", "BxTxH", "rate", "back end", *titles]), flush=True)


def measure_neurons(result: dict, shape: tuple, device: str, rounds: int) -> None:
    """Into ``result``: all neurons and non-spiking recurrences, against this machine's floor."""
    B, T, H = shape
    copy, product = measure.copy_bandwidth(device), measure.product_rate(B, H, H, device)
    result["copy_gb_per_s"] = round(copy / 1e9, 1)
    result["product_gflops"] = round(product / 1e9, 1)
    fewer_steps = (B, min(T, RECURRENT_STEPS), H)
    neurons = [
        compare_backends(name, fewer_steps if layer.recurrent else shape, device, rounds)
        for name, layer in LAYERS.items()
    ]
    neurons += [compare_backends(x, fewer_steps, device, rounds) for x in (*DELAYED, *TRAINED)]
    neurons.append(compare_backends("readout", (B, T, CLASSES), device, rounds))
    for found in neurons:
        recurrent = getattr(LAYERS.get(found["neuron"].split(",")[0]), "recurrent", False)
        floor = measure.dynamics_floor(*found["shape"], copy, product if recurrent else None)
        found["floor_ms"] = round(1e3 * floor, 4)
        for values in found["backends"].values():
            values["x_floor"] = round(values["ms"] / (1e3 * floor), 2)
    fewer = max(3, rounds // 3)
    neurons += [time_baseline(name, fewer_steps, device, fewer) for name in BASELINES]
    neurons.append(compare_scan((*shape, H) if min(shape) < 64 else SCAN, device, fewer))
    result["neurons"] = neurons
    print_comparison(neurons)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    measure.add_common(parser)
    options = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    file = measure.set_up(options, "dynamics", device)
    shape = (256, 300, 512) if device == "cuda" else (64, 100, 512)
    rounds, factors = 15 if device == "cuda" else 7, (0.25, 0.5, 1, 2, 4)
    if options.quick:
        shape, rounds, factors = (8, 20, 64), 3, (0.5, 1)
    result = {"benchmark": "dynamics", "machine": machine()}
    measure_neurons(result, shape, device, rounds)
    write(file, result)  # kept if a later part fails
    result["scaling"] = scaling(shape, device, max(3, rounds // 2), factors)
    write(file, result)
    plot(result["scaling"], file.with_suffix(".png"))
    print(f"\nwritten: {file} and {file.with_suffix('.png').name}")


if __name__ == "__main__":
    sys.exit(main())
