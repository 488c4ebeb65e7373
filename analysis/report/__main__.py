# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Look inside a trained network: ``python -m analysis.report EXP_FOLDER``.

Writes one HTML page that needs no other file, the pictures on it as PNG files, and the numbers
behind them as report.json.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from analysis.observe import Observer
from analysis.report import course, neurons, notice, quantization
from analysis.report.page import Page, check_free
from analysis.trained import OpenedRun, add_run, beside, open_named
from parsers.program import Parser, numeric, program
from training.errors import ExperimentError
from training.terminal.console import log, percent, start_logging

PROGRAM = "analysis.report"


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        description="Learning curves, confusion matrix, spikes, membrane traces, firing rates, "
        "learned time constants, operations and energy of a trained network, as one HTML page "
        "with pictures.",
    )
    parser.add_argument("--output", type=Path, help="folder to write [default: EXP_FOLDER/report]")
    many = {"nargs": "+", "default": []}
    clips = "test clips to show, from 0"
    parser.add_argument("--clips", type=numeric(int, 0), metavar="N", help=clips, **many)
    neurons = "neurons to trace in the first of the clips, such as 1:0 1:17 2:5; layers are "
    neurons += "counted from 1, neurons from 0"
    parser.add_argument("--neurons", type=neuron, metavar="LAYER:N", help=neurons, **many)
    add_run(parser)
    return parser.parse_args(argv)


def neuron(text: str) -> tuple[int, int]:
    """'2:17' -> (2, 17)."""
    if not re.fullmatch(r"[0-9]{1,9}:[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not LAYER:N, such as 2:17")
    layer, number = text.split(":")
    return int(layer), int(number)


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Write the report."""
    arguments = read_arguments(argv)
    start_logging()
    folder = arguments.output
    if folder is None:
        folder = beside(arguments.folder, "report")
    folder = Path(os.path.expanduser(folder)).absolute()
    check_free(folder)
    run = open_named(arguments)
    check_chosen(run, arguments.clips, arguments.neurons)
    page = make_page(run, arguments.clips, arguments.neurons)
    log.info("%d pictures and their numbers are in %s", len(page.pictures), folder)
    log.info("open %s in a browser", page.write(folder))


def check_chosen(run: OpenedRun, clips: list[int], chosen: list[neurons.Neuron]) -> None:
    """ExperimentError for a clip or a neuron that does not exist."""
    count = len(run.experiment.data.test)
    for clip in clips:
        if clip >= count:
            raise ExperimentError(f"--clips {clip}: the test split has clips 0 to {count - 1}")
    if (clips or chosen) and not run.model.is_snn:
        name = run.config.model.model_type
        raise ExperimentError(f"--clips and --neurons show spikes, and {name} does not spike")
    sizes = [layer.output_size for layer in run.model.hidden_layers] if chosen else []
    for layer, neuron in chosen:
        if not 1 <= layer <= len(sizes):
            raise ExperimentError(
                f"--neurons {layer}:{neuron}: the network has hidden layers 1 to {len(sizes)}"
            )
        if neuron >= sizes[layer - 1]:
            raise ExperimentError(
                f"--neurons {layer}:{neuron}: layer {layer} has neurons 0 to {sizes[layer - 1] - 1}"
            )


def make_page(run: OpenedRun, clips: list[int], chosen: list[neurons.Neuron]) -> Page:
    """All sections that the network of ``run`` has."""
    observer = Observer(run)
    seen = observer.observe()
    log.info("test accuracy %s", percent(seen.metrics.accuracy))
    options = run.config.training
    page = Page(f"{run.config.model.model_type} on {options.dataset_name}, seed {options.seed}")
    page.lead = notice.sentence(run, seen)
    course.show_run(page, run, seen)
    course.show_curves(page, run)
    course.show_confusion(page, run, seen)
    course.show_early_decisions(page, run, seen)
    course.show_speakers(page, run, seen)
    if run.model.is_snn:
        clips = clips or neurons.default_clips(seen)
        neurons.show_clips(page, run, seen, observer, clips, chosen)
        neurons.show_rates(page, run, seen)
        neurons.show_parameters(page, run)
        neurons.show_delays(page, run)
        neurons.show_clamped(page, run)
    course.show_energy(page, run, seen)
    quantization.show(page, run)
    return page


if __name__ == "__main__":
    sys.exit(main())
