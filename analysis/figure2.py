# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The command behind ``figure2_eigenvalues.py``: eigenvalues of trained neurons, two ways."""

import argparse
import math

import numpy as np

from analysis.command import add_models, add_output
from analysis.eigenvalue_figure import Spectrum, draw_spectra
from analysis.eigenvalues import (
    Timing,
    exact_eigenvalues,
    has_published_matrix,
    published_eigenvalues,
    timing,
)
from analysis.style import FORMATS, print_style, save
from analysis.trained import (
    AUTHORS,
    OURS,
    Trained,
    is_there,
    labels_apart,
    names_apart,
    open_all,
    open_model,
)
from models.snns import AdaptiveLayer, ResonateLayer
from parsers.options import ConfigError
from parsers.program import Parser, check_folder, numeric, program
from training.terminal.console import table

PROGRAM = "figure2_eigenvalues.py"
NEURONS_OF_THE_FIGURE = 4
PUBLISHED = "published matrices, parameters as learned"
EXACT = "as the neurons iterate, parameters clamped"
VIEWS = {
    "published": (has_published_matrix, published_eigenvalues, PUBLISHED),
    "exact": (lambda layer: True, exact_eigenvalues, EXACT),
}


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command; ConfigError for a mistake."""
    parser = Parser(
        PROGRAM,
        description="Draw the eigenvalues of trained neurons on the complex plane, by the matrices "
        "of Fabre et al. (2025, Figure 2) and as the neurons iterate, and print their time "
        "constants and frequencies.",
    )
    default = "the authors' SSC models if all four are there, else ours of the same neurons"
    add_models(parser, "folders of runs", default)
    layer = "hidden layer to draw, from 1 [default: 1]"
    parser.add_argument("--layer", type=numeric(int, 1), default=1, help=layer)
    add_output(parser, FORMATS)
    return parser.parse_args(argv)


def choose_models(names: list[str] | None) -> tuple[list[Trained], str]:
    """The networks to draw, and what the titles call them."""
    if names is not None:
        models = open_all(names)
        data = ", ".join(dict.fromkeys(m.data for m in models))
        return models, f"models trained on {data}"
    if all(map(is_there, AUTHORS)):
        return [open_model(name) for name in AUTHORS], "the authors' SSC models"
    ours = list(OURS)[:NEURONS_OF_THE_FIGURE]
    return [open_model(name) for name in ours], "our demo models"


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Draw both figures and print the table."""
    arguments = read_arguments(argv)
    check_folder("--output", arguments.output)
    models, whose = choose_models(arguments.models)
    networks = [model.network() for model in models]
    check_layer(models, networks, arguments.layer)
    print(f"Eigenvalues of {whose}: {', '.join(names_apart(models))}")
    print(f"\n{table(rows_of(models, networks), HEADERS)}\n")
    print(EXPLANATION)
    suffix = "" if arguments.layer == 1 else f"_layer{arguments.layer}"
    for view, name in (("published", "figure2"), ("exact", "figure2_exact")):
        spectra = spectra_of(models, networks, arguments.layer, view)
        if not spectra:
            print("None of these neurons has a published matrix: only the exact figure is drawn")
            continue
        title = f"Eigenvalues in hidden layer {arguments.layer} of {whose}, {VIEWS[view][2]}"
        path = arguments.output / f"{name}{suffix}.{arguments.format}"
        with print_style():
            print(f"Wrote {save(draw_spectra(spectra, title), path)}")


def check_layer(models: list[Trained], networks: list, layer: int) -> None:
    """ConfigError if a network has no hidden layer of that number, or no known eigenvalues."""
    for model, network in zip(models, networks, strict=True):
        layers = network.hidden_layers
        if layer > len(layers):
            raise ConfigError(f"--layer {layer}: {model.name} has {len(layers)} hidden layers")
        if not isinstance(layers[layer - 1], AdaptiveLayer | ResonateLayer):
            raise ConfigError(
                f"--models: {model.name} is of {model.model_type} neurons, whose recurrence is "
                "their own: their eigenvalues are not known"
            )


def spectra_of(models: list[Trained], networks: list, number: int, view: str) -> list[Spectrum]:
    """What the figure of one view shows: each network's layer, where the view knows the neuron."""
    known, eigenvalues, _ = VIEWS[view]
    spectra = []
    titles = labels_apart([model.title for model in models], models, " ")
    for title, model, network in zip(titles, models, networks, strict=True):
        layer = network.hidden_layers[number - 1]
        if known(layer):
            values = eigenvalues(layer)
            share = timing(values, model.step).oscillatory
            label = f"{title}, {1000 * model.step:.0f} ms steps ({share:.0%} oscillatory)"
            spectra.append(Spectrum(model.model_type, label, values))
    return spectra


HEADERS = ["model", "layer", "eigenvalues", "oscillatory", "time constant (ms)"]
HEADERS += ["frequency (Hz)", "radius", "not shown"]
EXPLANATION = (
    "Ranges: 5th to 95th percentile, median in parentheses. Radius: the largest modulus, stable "
    "below 1.\npublished: matrices of Fabre et al. (2025), parameters as learned. exact: what the "
    "neurons iterate,\nparameters clamped. Not shown: neurons for whose parameters the published "
    "formula has no value."
)


def rows_of(models: list[Trained], networks: list) -> list[tuple]:
    """The table: every layer of every network, by both views."""
    rows = []
    for name, model, network in zip(names_apart(models), models, networks, strict=True):
        for number, layer in enumerate(network.hidden_layers, start=1):
            for view, (known, eigenvalues, _) in VIEWS.items():
                if known(layer):
                    figures = timing(eigenvalues(layer), model.step)
                    rows.append((name, number, view, *row_of(figures)))
    return rows


def row_of(figures: Timing) -> tuple[str, ...]:
    """The figures of one layer in one view as text."""
    return (
        f"{figures.oscillatory:.1%}",
        spread(1000 * figures.time_constants),
        spread(figures.frequencies),
        f"{figures.spectral_radius:.4f}",
        str(figures.undefined or "-"),
    )


def spread(values: np.ndarray) -> str:
    """'low to high (median)' of the values that are finite, '-' without any."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "-"
    low, middle, high = np.quantile(values, (0.05, 0.5, 0.95))
    return f"{three(low)} to {three(high)} ({three(middle)})"


def three(value: float) -> str:
    """A number with three digits that count, never as a power of ten."""
    digits = max(0, 2 - math.floor(math.log10(value))) if value > 0 else 0
    return f"{value:.{digits}f}"
