# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Time of one step of a stream, of 10 ms of sound, of networks of 2 x 512 neurons.

    python -m benchmarks.streaming [--quick] [--threads N]

The ways to take it are timed in turn: ``SNN.step``, which prepares everything at each step; a
``Stream``, which did so once; the same with batch normalisation folded into the weights; and the
products of its matrices alone. By default one thread computes. Writes a JSON file.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import itertools
import sys
from collections.abc import Callable

import torch
from tabulate import tabulate
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import add_common, interleaved, machine, set_up, write
from models.snns import SNN
from models.streaming import Stream, fold_batchnorm
from parsers.program import Parser, program

PROGRAM = "benchmarks.streaming"
INPUTS, HIDDEN, QUICK_HIDDEN = 140, 512, 16
RATE = 0.3  # events of an input at a step
SEEN, STEPS, ROUNDS, QUICK_ROUNDS = (8, 100), 100, 2000, 20
CASES = {
    "SiLIF, 20 classes": ("SiLIF", 20, {}),
    "SiLIF, 35 classes": ("SiLIF", 35, {}),
    "C-SiLIF, 20 classes": ("CSiLIF", 20, {}),
    "LIF, 20 classes": ("LIF", 20, {}),
    "SiLIF with V, 20 classes": ("SiLIF", 20, {"recurrent": "dense"}),
}


def ways(net: SNN, steps: Tensor) -> dict[str, Callable[[], object]]:
    """By name, what takes the next of ``steps`` [T, 1, F], over and over."""
    inputs = {name: itertools.cycle(steps) for name in ("step", "stream", "folded")}
    stream, folded, state = Stream(net), Stream(fold_batchnorm(net)), net.initial_state(1)
    spikes = [(torch.rand(1, size) < 0.1).float() for size in net.hidden_sizes]

    def step():
        nonlocal state
        with torch.inference_mode():
            _, state = net.step(next(inputs["step"]), state)

    def products():
        with torch.inference_mode():
            for layer, x in zip(net.snn, [steps[0], *spikes], strict=True):
                functional.linear(x, layer.W.weight)

    return {
        "SNN.step": step,
        "Stream": lambda: stream.step(next(inputs["stream"])),
        "Stream, folded": lambda: folded.step(next(inputs["folded"])),
        "products alone": products,
    }


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Measure; see the module's docstring."""
    parser = Parser(PROGRAM, description=__doc__.split("\n", 1)[0])
    add_common(parser)
    parser.set_defaults(threads=1)
    options = parser.parse_args(argv)
    file = set_up(options, "streaming", "cpu")
    hidden = QUICK_HIDDEN if options.quick else HIDDEN
    result = {"benchmark": "streaming", "machine": machine(), "hidden": [hidden] * 2}
    result |= {"inputs": INPUTS, "cases": {}}
    for name, (neuron, classes, more) in CASES.items():
        torch.manual_seed(0)
        net = SNN((None, None, INPUTS), [hidden, hidden, classes], neuron, **more)
        net(torch.poisson(torch.full((*SEEN, INPUTS), RATE)))  # which batch normalisation sees
        steps = torch.poisson(torch.full((STEPS, 1, INPUTS), RATE))
        rounds = QUICK_ROUNDS if options.quick else ROUNDS
        result["cases"][name] = interleaved(ways(net.eval(), steps), rounds)
        write(file, result)
    rows = [
        [name, *(f"{found['ms']:.3f}" for found in case.values())]
        for name, case in result["cases"].items()
    ]
    print("\n" + tabulate(rows, ["a step (ms)", *next(iter(result["cases"].values()))]))
    print(f"\nwritten: {file}")


if __name__ == "__main__":
    sys.exit(main())
