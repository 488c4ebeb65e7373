# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""From an experiment folder to its report."""

import argparse

from analysis.observe import Observer
from analysis.report import course, neurons
from analysis.report.energy import show_energy
from analysis.report.page import Page, check_free
from analysis.run import Run, open_named
from parsers.load import resolve_pretrained
from training.errors import ExperimentError
from training.terminal.console import log, percent


def write_report(arguments: argparse.Namespace) -> None:
    """Write the report that ``arguments`` ask for.

    Raises ConfigError, ExperimentError and DataError for what the user can mend.
    """
    folder = arguments.output
    if folder is None:
        folder = resolve_pretrained(arguments.folder) / "report"
    folder = folder.expanduser().absolute()
    check_free(folder)
    run = open_named(arguments)
    check_chosen(run, arguments.clips, arguments.neurons)
    page = make_page(run, arguments.clips, arguments.neurons)
    log.info("%d pictures and their numbers lie in %s", len(page.pictures), folder)
    log.info("open %s in a browser", page.write(folder))


def check_chosen(run: Run, clips: list[int], chosen: list[neurons.Neuron]) -> None:
    """ExperimentError for a clip or a neuron that is not there."""
    count = len(run.experiment.data.test)
    for clip in clips:
        if not 0 <= clip < count:
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


def make_page(run: Run, clips: list[int], chosen: list[neurons.Neuron]) -> Page:
    """All sections that the network of ``run`` has."""
    observer = Observer(run)
    seen = observer.observe()
    log.info("test accuracy %s", percent(seen.metrics.accuracy))
    options = run.config.training
    page = Page(f"{run.config.model.model_type} on {options.dataset_name}, seed {options.seed}")
    course.show_run(page, run, seen)
    course.show_curves(page, run)
    course.show_confusion(page, run, seen)
    if run.model.is_snn:
        clips = clips or neurons.default_clips(seen)
        neurons.show_clips(page, run, seen, observer, clips, chosen)
        neurons.show_rates(page, run, seen)
        neurons.show_parameters(page, run)
        neurons.show_clamped(page, run)
    show_energy(page, run, seen)
    return page
