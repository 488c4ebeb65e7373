# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Pictures of a report. Each is small enough to be read on a phone; the page sets them in a grid.

Every function returns a matplotlib Figure.
"""

from collections.abc import Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor

from analysis import style
from analysis.observe import LayerTrace

WIDTH = 5.6  # inches
CELL, MARGIN = 0.3, 1.9  # inches of a class in the confusion matrix, and beside all of them
MOST_COUNTED = 40  # classes; the numbers of more cannot be read
FONT = 11  # of every letter on the page of a report
BARS = 40
# Okabe & Ito (2008): colour-blind readers can distinguish them, too. The orange is darker than
# theirs, since a dark page inverts the pictures.
BLUE, ORANGE, GREEN, RED, PURPLE = "#0072B2", "#C27C00", "#009E73", "#D55E00", "#CC79A7"
GREY = "#8a8a8a"


def new_figure(
    height: float,
    rows: int = 1,
    ratios: Sequence[float] | None = None,
    width: float = WIDTH,
    **options,
):
    """A figure, and its axes below one another."""
    figure = style.new_figure(width, height)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    axes = figure.subplots(rows, 1, squeeze=False, height_ratios=ratios, **options)[:, 0]
    for axis in axes:
        axis.tick_params(labelsize=FONT)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def label_axis(axis: Axes, title: str = "", x: str = "", y: str = "") -> None:
    """Title and labels in the size of the report."""
    if title:
        axis.set_title(title, fontsize=FONT)
    axis.set_xlabel(x, fontsize=FONT)
    axis.set_ylabel(y, fontsize=FONT)


def curves(
    title: str, lines: dict[str, tuple[Sequence, Sequence]], *, mark=None, log: bool = False
) -> Figure:
    """Lines over epochs, by their names; ``mark`` is (name, epoch, value) of a single star."""
    figure, (axis,) = new_figure(3.6)
    for (name, (epochs, values)), colour in zip(
        lines.items(), (BLUE, ORANGE, GREEN, PURPLE, RED, GREY) * len(lines), strict=False
    ):
        axis.plot(epochs, values, color=colour, marker="o", markersize=3.5, label=name)
    if mark is not None:
        name, epoch, value = mark
        axis.plot(epoch, value, "*", color=RED, markersize=14, label=name)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    if log:
        axis.set_yscale("log")
    else:
        axis.yaxis.set_major_formatter("{x:,.10g}")
    axis.grid(alpha=0.3)
    if len(lines) > 1 or mark is not None:
        axis.legend(fontsize=FONT)
    label_axis(axis, title, "epoch")
    return figure


def early_decisions(
    seconds: Sequence[float], accuracy: Sequence[float], reached: dict[float, float]
) -> Figure:
    """Accuracy (0..1) against the time of decision in s; ``reached`` is when each share of the
    final one is there."""
    figure, (axis,) = new_figure(3.4)
    axis.plot(seconds, [100 * a for a in accuracy], color=BLUE)
    for (share, time), colour in zip(reached.items(), (GREY, ORANGE, GREEN), strict=False):
        label = f"{share:.0%} of the final: {time:.2f} s"
        axis.axvline(time, color=colour, linestyle="--", linewidth=1, label=label)
    axis.set_ylim(0, 100)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=FONT, loc="lower right")
    label_axis(axis, "", "decided after (s)", "test accuracy (%)")
    return figure


def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Clips [C, C] by true class (rows) and predicted class (columns)."""
    size = len(names)
    side = max(WIDTH - MARGIN, CELL * min(size, MOST_COUNTED))
    figure, (axis,) = new_figure(side + MARGIN * 0.7, width=side + MARGIN)
    totals = counts.sum(axis=1, keepdims=True)
    shares = counts / np.maximum(totals, 1)
    image = axis.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))
    font = min(FONT, 60 * side / size)  # points, of 72 to an inch
    if size <= MOST_COUNTED:
        middle = {"ha": "center", "va": "center", "fontsize": font}
        for row, column in zip(*counts.nonzero(), strict=True):
            colour = "white" if shares[row, column] > 0.4 else "black"
            axis.text(column, row, str(counts[row, column]), color=colour, **middle)
    axis.set_xticks(range(size), names, rotation=90, fontsize=font)
    axis.set_yticks(range(size), names, fontsize=font)
    axis.spines[:].set_visible(True)
    label_axis(axis, "", "taken for", "true class")
    bar = figure.colorbar(image, ax=axis, shrink=0.6, pad=0.02)
    bar.set_label("share of the true class", fontsize=FONT)
    bar.ax.tick_params(labelsize=FONT)
    return figure


def raster(
    title: str,
    x: np.ndarray,
    layers: Sequence[np.ndarray],
    scores: np.ndarray,
    classes: dict[str, int],
    step_ms: float,
) -> Figure:
    """A clip on its way through a network: input, spikes of every layer, and the classes' scores.

    ``x`` [T, F]; ``layers`` the spikes [T, units] of every hidden layer; ``scores`` [T, C] the
    softmax of the readout at each step, or its spikes; ``classes`` those that are named, first the
    true one.
    """
    count = len(layers)
    figure, axes = new_figure(
        2.2 + 1.9 * count + 1.8, count + 2, [1.2, *[1.4] * count, 1.2], sharex=True
    )
    end = step_ms * len(x)
    look = {"aspect": "auto", "origin": "lower", "cmap": "Greys", "interpolation": "nearest"}
    axes[0].imshow(x.T, extent=(0, end, -0.5, x.shape[1] - 0.5), **look)
    label_axis(axes[0], title, y="input\nchannel")
    for i, (axis, spikes) in enumerate(zip(axes[1:], layers, strict=False), start=1):
        steps, units = spikes.nonzero()
        axis.scatter(step_ms * (steps + 0.5), units, s=3, marker="|", color=BLUE, linewidths=1)
        axis.set_ylim(-0.5, spikes.shape[1] - 0.5)
        label_axis(axis, y=f"layer {i}\nneuron")
    last, times = axes[-1], step_ms * (np.arange(len(scores)) + 0.5)
    last.plot(times, scores, color=GREY, linewidth=0.6, alpha=0.5)
    for (name, label), colour in zip(classes.items(), (GREEN, RED), strict=False):
        last.plot(times, scores[:, label], color=colour, label=name)
    last.set_ylim(0, 1.5 * float(scores.max()) or 1)
    last.legend(fontsize=FONT, loc="upper left", ncols=2)
    last.set_xlim(0, end)
    label_axis(last, x="time (ms)", y="class\nscore")
    return figure


def traces(neurons: dict[str, LayerTrace], step_ms: float) -> Figure:
    """Membrane potentials of neurons, by their titles, against the threshold.

    A trace is of one neuron, [T]; states beside its potential have an axis of their own.
    """
    figure, axes = new_figure(0.6 + 2.3 * len(neurons), len(neurons), sharex=True)
    for axis, (title, trace) in zip(axes, neurons.items(), strict=True):
        others = dict(trace.states)
        u, name = others.pop(trace.potential), trace.potential
        times = step_ms * (np.arange(len(u)) + 1)
        label = f"Re {name}" if u.is_complex() else name
        axis.plot(times, trace.drive, color=BLUE, label=label, linewidth=1.3)
        if u.is_complex():
            axis.plot(times, u.imag, color=GREY, label=f"Im {name}", linewidth=0.8)
        if trace.threshold is not None:
            label = f"θ = {trace.threshold:g}"
            axis.axhline(trace.threshold, color=RED, linestyle="--", linewidth=1, label=label)
        fired = trace.spikes.numpy() > 0
        crossed = times[fired], trace.drive.numpy()[fired]
        axis.plot(*crossed, "v", color="black", markersize=5, label="spike")
        label_axis(axis, title, "time (ms)" if axis is axes[-1] else "", "potential")
        if others:
            draw_beside(axis, times, others)
        narrow = {"ncols": 4, "columnspacing": 0.9, "handlelength": 1.3}
        axis.legend(fontsize=FONT, loc="upper left", framealpha=1, **narrow)
        leave_room(axis)
    return figure


def leave_room(axis: Axes) -> None:
    """Make the axis taller, for a legend above what is drawn."""
    low, high = axis.get_ylim()
    axis.set_ylim(low, high + 0.35 * (high - low))


def draw_beside(axis: Axes, times: np.ndarray, states: dict[str, Tensor]) -> None:
    """Further states of a neuron on a second axis, and their names for the legend of the first."""
    beside = axis.twinx()
    for (name, values), dashes in zip(states.items(), cycle(("-", "--", ":", "-."))):
        beside.plot(times, values, dashes, color=ORANGE, linewidth=1.1)
        axis.plot([], [], dashes, color=ORANGE, label=name)
    leave_room(beside)
    # An axis is drawn whole before the next: the one with the legend has to be the last.
    axis.set_zorder(beside.get_zorder() + 1)
    axis.patch.set_visible(False)
    beside.tick_params(labelsize=FONT, colors="#8a5f00")
    beside.spines["top"].set_visible(False)
    label = "adaptation w" if list(states) == ["w"] else ", ".join(states)
    beside.set_ylabel(label, fontsize=FONT, color="#8a5f00")


def rate_histogram(rates: np.ndarray, title: str, dead: int, saturated: int) -> Figure:
    """Neurons by firing rate [units], in spikes per time step."""
    figure, (axis,) = new_figure(3.4)
    percent = 100 * rates
    top = max(float(percent.max()), 1e-3)
    bars(axis, percent, np.linspace(0, top, BARS + 1), color=BLUE, fill=True)
    axis.axvline(percent.mean(), color=RED, linestyle="--", label=f"mean {percent.mean():.2f} %")
    axis.plot([], [], " ", label=f"dead {dead}, saturated {saturated}")
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    axis.legend(fontsize=FONT, loc="upper right")
    label_axis(axis, title, "firing rate (% of time steps)", "neurons")
    return figure


def bars(axis: Axes, values: np.ndarray, edges: np.ndarray, **look) -> None:
    """A histogram as one outline; one patch a bar, as ``Axes.hist`` makes, takes far longer."""
    axis.stairs(np.histogram(values, edges)[0], edges, **look)


def before_and_after(
    before: np.ndarray,
    after: np.ndarray,
    title: str,
    unit: str,
    of: str = "neurons",
    edges: np.ndarray | None = None,
) -> Figure:
    """Two distributions [H] over common bars; logarithmic where the values span a decade.

    Unless ``edges`` of the bars are given. ``of`` are those whose values these are.
    """
    figure, (axis,) = new_figure(3.2)
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    logarithmic = False
    if edges is None:
        edges, logarithmic = common_edges(np.concatenate([before, after]))
    bars(axis, before, edges, color=GREY, alpha=0.6, fill=True, label="before training")
    bars(axis, after, edges, color=BLUE, linewidth=1.8, label="after")
    if logarithmic:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter("{x:,.10g}")
        axis.xaxis.set_minor_formatter(NullFormatter())
    axis.yaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(fontsize=FONT, loc="outside upper right", ncols=2)
    label_axis(axis, title, unit, of)
    return figure


def common_edges(values: np.ndarray) -> tuple[np.ndarray, bool]:
    """Edges of the bars that hold all ``values``, and whether they grow by a factor."""
    if not len(values):
        return np.linspace(0, 1, BARS + 1), False
    low, high = float(values.min()), float(values.max())
    if low > 0 and high / low > 10:
        return np.geomspace(low * 0.999, high * 1.001, BARS + 1), True
    margin = 0.02 * (high - low) or max(0.02 * abs(high), 0.01)
    return np.linspace(low - margin, high + margin, BARS + 1), False


def energy_bars(layers: Sequence[str], parts: dict[str, Sequence[float]]) -> Figure:
    """Energy in nJ of every layer, each bar made of ``parts``."""
    figure, (axis,) = new_figure(1.3 + 0.5 * len(layers))
    left = np.zeros(len(layers))
    for (name, values), colour in zip(parts.items(), (BLUE, ORANGE, GREY), strict=False):
        axis.barh(layers, values, left=left, color=colour, label=name)
        left += np.asarray(values)
    axis.invert_yaxis()
    figure.legend(fontsize=FONT, loc="outside upper right", ncols=len(parts))
    label_axis(axis, "", "energy per clip (nJ)")
    return figure
