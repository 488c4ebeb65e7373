# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Time and memory of a layer with learned delays, against the same layer without.

    python -m benchmarks.delays [--quick] [--threads N] [--out FILE]

Every kind, at the widest and the narrowest sigma, and recurrent delays against recurrent weights
without, under every back end that can run here: training steps, evaluation, what autograd keeps and
the largest memory in use, in a process of its own.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import ctypes
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from tabulate import tabulate
from torch import Tensor

from benchmarks import measure
from benchmarks.dynamics import backends
from benchmarks.measure import interleaved, kept_mib, machine, peak_mib, write
from models.delays import NARROWEST, add_delay
from models.snns import SiLIFLayer
from parsers.model_config import DELAYS
from parsers.program import Parser, program

PROGRAM = "benchmarks.delays"
TAPS = 31
WIDTHS = 10.0, 0.0  # sigma of recurrent delays: in the first epoch, and in the end
FIRING, PDROP = 0.05, 0.5  # share of the inputs that are spikes, and of these that are dropped
NAIVE_ROUNDS = 3


class Case(NamedTuple):
    """A layer: kind of delay, "dense" (recurrent weights) or "recurrent"; sigma and back end."""

    kind: str
    sigma: float | None
    backend: str

    def layer(self, size: int, device: str) -> SiLIFLayer:
        """It, in training mode."""
        torch.manual_seed(0)
        options = {"dropout": PDROP, "backend": self.backend}
        if self.kind in ("dense", "recurrent"):
            options["recurrent"] = "dense"
        if self.kind == "recurrent":
            options["recurrent_delay"] = "axonal"
        layer = SiLIFLayer(size, size, **options)
        if self.kind in DELAYS[1:]:
            add_delay(layer, self.kind, TAPS)
        delay = layer.delay or layer.recurrent_delay
        if delay is not None:
            delay.sigma.fill_(self.sigma)
        return layer.to(device)

    @property
    def name(self) -> str:
        """For people."""
        sigma = "" if self.sigma is None else f", sigma {self.sigma:g}"
        return f"{self.kind}{sigma}, {self.backend}"


def spikes(shape: tuple, device: str) -> Tensor:
    """Spikes [B, T, F] after dropout."""
    generator = torch.Generator().manual_seed(1)
    fired = torch.rand(shape, generator=generator) < FIRING * (1 - PDROP)
    return (fired / (1 - PDROP)).to(device)


def training_step(layer: SiLIFLayer, x: Tensor) -> Callable[[], None]:
    """Forward and backward pass to the input and all parameters."""
    x = x.clone().requires_grad_()
    gradient = torch.ones(*x.shape[:2], layer.hidden_size, device=x.device)

    def run():
        x.grad = None
        layer(x).output.backward(gradient)

    return run


def evaluation(layer: SiLIFLayer, x: Tensor) -> Callable[[], None]:
    """A forward pass with delays of whole steps."""

    @torch.no_grad()
    def run():
        layer.eval()(x)
        layer.train()

    return run


def resident(name: str) -> float:
    """MiB of this process that Linux keeps under ``name``: VmRSS, or the largest yet, VmHWM."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def measure_peak(case: Case, shape: tuple, threads: int, answer) -> None:
    """Send what the first training step of a process takes at most, beyond the layer, in MiB."""
    torch.set_num_threads(threads)
    layer = case.layer(shape[2], "cpu")
    training_step(layer, spikes((2, *shape[1:]), "cpu"))()  # compiles
    run = training_step(layer, spikes(shape, "cpu"))
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps what was freed
        libc.malloc_trim(0)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # forgets the largest yet
    run()
    answer.send(resident("VmHWM") - before)


def peak_on_cpu(case: Case, shape: tuple) -> float | None:
    """Largest memory of a training step in MiB; None where the system does not tell."""
    if sys.platform != "linux":
        return None
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    arguments = case, shape, torch.get_num_threads(), sender
    process = context.Process(target=measure_peak, args=arguments)
    process.start()
    sender.close()
    try:
        return round(receiver.recv(), 1)
    finally:
        process.join()


def compare(cases: list[Case], shape: tuple, device: str, rounds: int) -> list[dict]:
    """Every case, the first of which is the layer without delays."""
    layers = {case: case.layer(shape[2], device) for case in cases}
    x = spikes(shape, device)
    steps = {case: training_step(layer, x) for case, layer in layers.items()}
    tests = {case: evaluation(layer, x) for case, layer in layers.items()}
    step, test = interleaved(steps, rounds), interleaved(tests, rounds)
    results = []
    for case, layer in layers.items():
        peak = peak_mib(steps[case]) if device == "cuda" else peak_on_cpu(case, shape)
        given = x.clone().requires_grad_()
        found = {
            **case._asdict(),
            "step_ms": step[case]["ms"],
            "step_x_undelayed": round(1 / step[case]["ratio"], 2),
            "test_ms": test[case]["ms"],
            "test_x_undelayed": round(1 / test[case]["ratio"], 2),
            "kept_mib": kept_mib(lambda layer=layer, given=given: layer(given)),
            "peak_mib": peak,
        }
        results.append(found)
    return results


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure and write; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    measure.add_common(parser)
    options = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    file = measure.set_up(options, "delays", device)
    shape, rounds = ((4, 20, 32), 3) if options.quick else ((32, 100, 512), 15)
    result = {"benchmark": "delays", "machine": machine(), "shape": shape, "taps": TAPS}
    result |= {"firing": FIRING, "dropout": PDROP}
    for backend in reversed(backends(device)):
        widths = float(TAPS // 2), NARROWEST
        delayed = [Case(kind, sigma, backend) for kind in DELAYS[1:] for sigma in widths]
        returning = [Case("recurrent", sigma, backend) for sigma in WIDTHS]
        few = NAIVE_ROUNDS if backend == "naive" else rounds
        result[backend] = [
            *compare([Case("none", None, backend), *delayed], shape, device, few),
            *compare([Case("dense", None, backend), *returning], shape, device, few),
        ]
        columns = [name for name in result[backend][0] if name not in Case._fields]
        rows = [
            [Case(*list(row.values())[:3]).name, *map(row.get, columns)] for row in result[backend]
        ]
        print(tabulate(rows, ["layer", *columns]), flush=True)
        write(file, result)  # kept if a later part fails
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
