# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The command behind ``figure2_eigenvalues.py``: eigenvalues of trained neurons, two ways.

Each figure shows the complex plane as a whole beside a zoom.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import FixedLocator

from analysis.eigenvalues import (
    exact_eigenvalues,
    has_published_matrix,
    published_eigenvalues,
    spread,
    timing,
)
from analysis.style import FAINT, INK, looks, new_figure, parse_with_output, write_figure
from analysis.trained import (
    AUTHORS,
    OURS,
    Trained,
    add_models,
    is_there,
    labels_apart,
    names_apart,
    open_all,
    open_model,
)
from models.neurons import BRFLayer, ResettingLayer
from models.snns import AdaptiveLayer, ResonateLayer
from parsers.options import ConfigError
from parsers.program import Parser, numeric, program
from training.terminal.console import table

PROGRAM = "figure2_eigenvalues.py"
PUBLISHED = "published matrices, parameters as learned"
EXACT = "as the neurons iterate, parameters clamped"
VIEWS = {
    "published": (has_published_matrix, published_eigenvalues, PUBLISHED),
    "exact": (lambda layer: True, exact_eigenvalues, EXACT),
}

BINS = 40
TURNS = 16
SMALLEST_SHARE = 0.2  # %, where the histograms begin
MARGIN = 0.06
CLOUD = {"alpha": 0.6, "linewidths": 0, "zorder": 2, "rasterized": True}
HALF, LINE = 56, 0.15  # of the legend: characters in half the width, inches of a line


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues [H, n] per time step of the neurons of one layer, and their label."""

    model_type: str
    label: str
    values: np.ndarray

    @property
    def points(self) -> np.ndarray:
        """All eigenvalues [m] that are finite."""
        return self.values[np.isfinite(self.values)]


def draw_spectra(spectra: Sequence[Spectrum], title: str) -> Figure:
    """The unit circle with all eigenvalues, and the part where they crowd, with histograms."""
    columns = 2 if max(len(spectrum.label) for spectrum in spectra) <= HALF else 1
    rows = -(-len(spectra) // columns)
    figure = new_figure(7.2, 4.3 + LINE * max(0, rows - 2))
    figure.suptitle(title, fontsize=9)
    grid = figure.add_gridspec(2, 3, width_ratios=(1.16, 1.16, 0.3), height_ratios=(0.4, 1.16))
    whole = figure.add_subplot(grid[:, 0])
    zoom = figure.add_subplot(grid[1, 1])
    above = figure.add_subplot(grid[0, 1], sharex=zoom)
    beside = figure.add_subplot(grid[1, 2], sharey=zoom)
    window = crowded(spectra)
    for axes in (whole, zoom):
        axes.add_patch(Circle((0, 0), 1, fill=False, color=INK, linewidth=0.8, zorder=1))
        axes.axhline(0, color=FAINT, linewidth=0.5, zorder=0)
        scatter(axes, spectra, size=6 if axes is whole else 8)
    show_whole(whole, spectra, window)
    zoom.set(xlim=window[:2], ylim=window[2:], xlabel="real part")
    zoom.set_ylabel("imaginary part", labelpad=1)
    for side in ("top", "right"):
        zoom.spines[side].set_visible(True)
    draw_histograms(above, beside, spectra, window)
    handles, labels = whole.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, markerscale=2)
    return figure


def crowded(spectra: Sequence[Spectrum]) -> tuple[float, float, float, float]:
    """The window (left, right, bottom, top) that holds most eigenvalues of every network."""
    left = min(np.quantile(s.points.real, 0.25) for s in spectra)
    right = max(1.0, *(np.quantile(s.points.real, 0.99) for s in spectra))
    height = max(np.quantile(np.abs(s.points.imag), 0.75) for s in spectra)
    left, height = min(left, 0.95), max(height, 0.05)
    margin = MARGIN * (right - left)
    return left - margin, right + margin, -1.1 * height, 1.1 * height


def scatter(axes: Axes, spectra: Sequence[Spectrum], size: float) -> None:
    """One cloud of points for each network; markers differ as colours do.

    The clouds are drawn in alternating slices, so that none covers the others.
    """
    styles = looks([spectrum.model_type for spectrum in spectra])
    for turn in range(TURNS):
        for spectrum, (colour, marker) in zip(spectra, styles, strict=True):
            points = spectrum.points[turn::TURNS]
            look = {"color": colour, "marker": marker, "label": None if turn else spectrum.label}
            axes.scatter(points.real, points.imag, s=size, **look, **CLOUD)


def show_whole(axes: Axes, spectra: Sequence[Spectrum], window: tuple) -> None:
    """Bounds that hold the circle and every eigenvalue, and a frame around the zoom."""
    points = np.concatenate([s.points for s in spectra])
    axes.axvline(0, color=FAINT, linewidth=0.5, zorder=0)
    axes.set(
        xlim=(min(-1.08, points.real.min() - 0.05), max(1.08, points.real.max() + 0.05)),
        ylim=(min(-1.08, points.imag.min() - 0.05), max(1.08, points.imag.max() + 0.05)),
        xlabel="real part",
        aspect="equal",
    )
    axes.set_ylabel("imaginary part", labelpad=1)
    left, right, bottom, top = window
    frame = Rectangle((left, bottom), right - left, top - bottom, fill=False, color=INK)
    frame.set(linewidth=0.8, linestyle=(0, (3, 2)), zorder=3)
    axes.add_patch(frame)


def draw_histograms(above: Axes, beside: Axes, spectra: Sequence[Spectrum], window: tuple) -> None:
    """Share of each network's eigenvalues in bins of the zoom's two axes."""
    across = np.linspace(*window[:2], BINS + 1)
    along = np.linspace(*window[2:], BINS + 1)
    styles = looks([spectrum.model_type for spectrum in spectra])
    for spectrum, (colour, _) in zip(spectra, styles, strict=True):
        points = spectrum.points
        look = {"weights": np.full(len(points), 100 / len(points)), "color": colour}
        look |= {"histtype": "step", "linewidth": 1.1}
        above.hist(points.real, bins=across, **look)
        beside.hist(points.imag, bins=along, orientation="horizontal", **look)
    above.set(ylim=(SMALLEST_SHARE, 100), yscale="log", ylabel="share (%)")
    beside.set(xlim=(SMALLEST_SHARE, 100), xscale="log", xlabel="share (%)")
    for axis in (above.yaxis, beside.xaxis):
        axis.set_major_locator(FixedLocator([1, 10, 100]))
        axis.set_major_formatter("{x:g}")
    above.tick_params(labelbottom=False)
    beside.tick_params(labelleft=False)


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
    return parse_with_output(parser, argv)


def choose_models(names: list[str] | None) -> tuple[list[Trained], str]:
    """The networks to draw, and what the titles call them."""
    if names is not None:
        models = open_all(names)
        data = ", ".join(dict.fromkeys(m.data for m in models))
        return models, f"models trained on {data}"
    if all(map(is_there, AUTHORS)):
        return [open_model(name) for name in AUTHORS], "the authors' SSC models"
    ours = list(OURS)[:4]
    return [open_model(name) for name in ours], "our demo models"


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Draw both figures and print the table."""
    arguments = read_arguments(argv)
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
        write_figure(arguments, f"{name}{suffix}", draw_spectra, spectra, title)


def check_layer(models: list[Trained], networks: list, layer: int) -> None:
    """ConfigError if a network has no hidden layer of that number, or no known eigenvalues."""
    for model, network in zip(models, networks, strict=True):
        layers = network.hidden_layers
        if layer > len(layers):
            raise ConfigError(f"--layer {layer}: {model.name} has {len(layers)} hidden layers")
        if not isinstance(
            layers[layer - 1], AdaptiveLayer | ResonateLayer | ResettingLayer | BRFLayer
        ):
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
    "Medians, with the 5th to 95th percentile in parentheses. Radius: the largest modulus, stable "
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
                if not known(layer):
                    continue
                found = timing(eigenvalues(layer), model.step)
                spreads = spread(1000 * found.time_constants), spread(found.frequencies)
                radius, hidden = f"{found.spectral_radius:.4f}", str(found.undefined or "-")
                shown = f"{found.oscillatory:.1%}", *spreads, radius, hidden
                rows.append((name, number, view, *shown))
    return rows
