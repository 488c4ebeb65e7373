# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Eigenvalues of several networks on the complex plane, the whole beside a zoom."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from matplotlib.ticker import FixedLocator

from analysis.style import FAINT, INK, looks, new_figure

BINS = 40
TURNS = 16
SMALLEST_SHARE = 0.2  # %, where the histograms begin
MARGIN = 0.06
CLOUD = {"alpha": 0.6, "linewidths": 0, "zorder": 2, "rasterized": True}
HALF, LINE = 56, 0.15  # of the legend: characters in half the width, inches of a line


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues [H, n] per time step of the neurons of one layer, and how to call them."""

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
        draw_plane(axes)
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


def draw_plane(axes: Axes) -> None:
    """Unit circle and real axis."""
    axes.add_patch(Circle((0, 0), 1, fill=False, color=INK, linewidth=0.8, zorder=1))
    axes.axhline(0, color=FAINT, linewidth=0.5, zorder=0)


def scatter(axes: Axes, spectra: Sequence[Spectrum], size: float) -> None:
    """One cloud of points for each network; markers differ as colours do.

    The clouds are drawn in turns, so that none covers the others.
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
