# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What fewer bits cost a trained network: ``python -m analysis.quantize EXP_FOLDER``.

Weights are rounded after training, and states held in fixed point; each of these networks is tested
as the run itself was. The table goes into the report of the run as well.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import copy
import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from analysis.deploy.agreement import run_of
from analysis.deploy.one_step import FRACTION_BITS, INT16, SPIKES, OneStep, check_steps, run_steps
from analysis.observe import Clips
from analysis.report import quantization
from analysis.style import print_style, save
from analysis.trained import OpenedRun, add_run, open_named
from models.linear import set_weight_bits
from models.snns import SNN
from parsers.load import resolve_pretrained
from parsers.program import Parser, check_file, numeric, program
from training.metrics import wilson
from training.record.files import write_json
from training.terminal.console import log, start_logging, table

PROGRAM = "analysis.quantize"
WEIGHT_BITS = (8, 4)
FLOAT_BYTES, DELAY_BYTES = 4, 2


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        description="Accuracy and size of a trained spiking network on its test split with weights "
        "of fewer bits and with states in fixed point. Nothing is trained.",
    )
    add_run(parser)
    bits = f"bits of the weights, beside 32 [default: {' '.join(map(str, WEIGHT_BITS))}]"
    kind = {"type": numeric(int, 2, 8), "metavar": "N", "nargs": "+", "default": list(WEIGHT_BITS)}
    parser.add_argument("--weight_bits", help=bits, **kind)
    fraction = "bits behind the point of states in 16-bit fixed point [default: %(default)s]"
    kind = {"type": numeric(int, 1, 15), "metavar": "N", "default": FRACTION_BITS}
    parser.add_argument("--fraction_bits", help=fraction, **kind)
    clips = "test clips, from the first [default: all]"
    parser.add_argument("--clips", type=numeric(int, 1), metavar="N", help=clips)
    output = f"file to write, and a picture beside it [default: EXP_FOLDER/{quantization.NAME}]"
    parser.add_argument("--output", type=Path, help=output)
    return parser.parse_args(argv)


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Measure, print one table, and write it to a file."""
    arguments = read_arguments(argv)
    start_logging()
    output = arguments.output or resolve_pretrained(arguments.folder) / quantization.NAME
    output = Path(os.path.expanduser(output)).absolute()
    check_file("--output", output)
    opened = open_named(arguments)
    check_steps(opened.model)
    chosen = [None, *dict.fromkeys(sorted(arguments.weight_bits, reverse=True))]
    variants = [
        Variant.of(opened.model, bits, fraction)
        for bits in chosen
        for fraction in (None, arguments.fraction_bits)
    ]
    measure(opened, variants, arguments.clips)
    rows = [variant.row() for variant in variants]
    log.info("\n%s\n", table(*quantization.cells(rows)))
    content = {
        "checkpoint": hashlib.sha256(opened.weights.read_bytes()).hexdigest(),
        "seed": opened.config.training.seed,
        "trained_with": opened.config.model.weight_bits,
        "rows": rows,
    }
    write_json(output, content)
    with print_style():
        save(quantization.picture(rows), output.with_suffix(".png"))
    log.info("These figures are in %s, and %s draws them", output, output.with_suffix(".png").name)


@dataclass
class Variant:
    """One step of a network with weights and states of some bits, and what has been counted."""

    bits: int | None
    network: OneStep
    clips: int = 0
    correct: int = 0
    same_class: int = 0
    held: int = 0  # states in fixed point
    cut_off: int = 0  # of which at an end of the range

    @classmethod
    def of(cls, model: SNN, bits: int | None, fraction_bits: int | None) -> "Variant":
        """A variant of ``model``, which stays as it is."""
        model = copy.deepcopy(model).cpu()
        set_weight_bits(model, bits)
        return cls(bits, OneStep(model, fraction_bits=fraction_bits).eval())

    @torch.no_grad()
    def add(self, x: Tensor, y: Tensor, chosen: Tensor) -> None:
        """Test a batch, of whose clips the network itself has ``chosen`` these classes [B]."""
        scores, _ = run_steps(self.step, self.network, x)
        found = scores.argmax(dim=1)
        self.clips += len(y)
        self.correct += int((found == y).sum())
        self.same_class += int((found == chosen).sum())

    def step(self, frame: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """A step, of whose states those at the ends of the range are counted."""
        scores, *states = self.network(frame, *states)
        for values in states:
            if values.dtype == torch.int16:
                self.held += values.numel()
                self.cut_off += int(((values == INT16.min) | (values == INT16.max)).sum())
        return scores, *states

    def row(self) -> dict:
        """What was found, for the file and the report."""
        accuracy = self.correct / self.clips
        return {
            "weight_bits": self.bits,
            "fraction_bits": self.network.fraction_bits,
            "accuracy": accuracy,
            "interval": wilson(accuracy, self.clips),
            "clips": self.clips,
            "same_class": self.same_class,
            "parameter_bytes": parameter_bytes(self.network),
            "state_bytes": state_bytes(self.network),
            "cut_off": self.cut_off / self.held if self.held else None,
        }


def parameter_bytes(network: OneStep) -> int:
    """Bytes of everything that a network holds of its training, as C code has it."""
    delays = sum(layer.line.index.numel() for layer in network.layers if layer.line is not None)
    numbers = [buffer for buffer in network.buffers() if buffer.dtype != torch.int64]
    return sum(buffer.nbytes for buffer in numbers) + DELAY_BYTES * delays


def state_bytes(network: OneStep) -> int:
    """Bytes of the states between two steps; a spike takes one."""
    total = 0
    for state in network.states:
        size = 1 if state.name.endswith(f"_{SPIKES}") else FLOAT_BYTES
        size = INT16.bits // 8 if state.is_number and network.fraction_bits is not None else size
        total += size * torch.Size(state.shape).numel()
    return total


def measure(opened: OpenedRun, variants: list[Variant], count: int | None) -> None:
    """Test all variants, and the network itself, from the initial states of the run's own test."""
    options, test = opened.config.training, opened.experiment.data.test.to("cpu")
    network = run_of(copy.deepcopy(opened.model).cpu())
    torch.manual_seed(options.seed)
    for x, y in Clips(test, options.batch_size, "testing", count or len(test)):
        before = torch.get_rng_state()
        with torch.no_grad():
            chosen = network(x)[0].argmax(dim=1)
        after = torch.get_rng_state()
        for variant in variants:
            torch.set_rng_state(before)
            variant.add(x, y, chosen)
        torch.set_rng_state(after)


if __name__ == "__main__":
    sys.exit(main())
