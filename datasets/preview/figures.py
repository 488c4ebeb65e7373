# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Pictures of clips and of whole data sets, for `datasets.preview`.

Clips are NumPy arrays: spikes [T, C] counts, waveforms [S] in -1..1, features [T, F] logarithms of
energies. Every function returns a matplotlib Figure.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from datasets.features import SHIFT_MS

COLUMNS = 4
BARS = 40
CELL = 3.1  # inches
FONT = 10  # of titles, as Matplotlib has it for all else
COLOURS = {"training": "tab:blue", "validation": "tab:orange", "test": "tab:green"}


class Sound(NamedTuple):
    """A clip of an audio set."""

    waveform: np.ndarray
    features: np.ndarray


def spike_sheet(clips: Sequence[np.ndarray], titles: Sequence[str], step: float) -> Figure:
    """Each clip as an image over its population activity; ``step`` is the bin width in s."""
    highest = max(clip.max() for clip in clips)
    busiest = max(clip.sum(1).max() for clip in clips)

    def draw(axes: Sequence[Axes], clip: np.ndarray):
        image = _spike_image(axes[0], clip, step, highest)
        times = step * np.arange(len(clip))
        axes[1].fill_between(times, clip.sum(1), step="mid", color="tab:blue", linewidth=0)
        axes[1].set(xlim=(0, step * (len(clip) - 1)), ylim=(0, 1.05 * busiest))
        return image

    return _sheet(clips, titles, draw, ("channel", "events / bin"), (3, 1), "events in a bin")


def sound_sheet(clips: Sequence[Sound], titles: Sequence[str], rate: int) -> Figure:
    """Each clip as a waveform, at ``rate`` Hz, over its features."""
    span = max(len(clip.waveform) for clip in clips) / rate
    limits = _feature_limits(clips)

    def draw(axes: Sequence[Axes], clip: Sound):
        _waveform(axes[0], clip.waveform, rate, span, np.abs(clip.waveform).max())
        return _feature_image(axes[1], clip.features, span, limits)

    return _sheet(clips, titles, draw, ("amplitude", "mel band"), (1, 2), "ln energy")


def spike_pairs(
    before: Sequence[np.ndarray],
    after: Sequence[np.ndarray],
    titles: Sequence[str],
    step: float,
    title: str,
    *,
    mark: bool = False,
) -> Figure:
    """Each clip over what an augmentation makes of it; ``mark`` shows when they differ."""
    highest = max(clip.max() for clip in (*before, *after))
    draws = {"channel": lambda axis, clip: _spike_image(axis, clip, step, highest)}
    figure, axes = _pairs(before, after, titles, title, draws, CELL * 0.9)
    for column, (one, other) in enumerate(zip(before, after, strict=True)):
        changed = (one != other).any(1).nonzero()[0]
        if mark and len(changed):
            for edge in (changed[0] - 1, changed[-1]):
                axes[1, column].axvline(edge * step, color="tab:red", linestyle=":", linewidth=1.5)
    ticks = MaxNLocator(6, integer=True)
    image = axes[-1, -1].images[0]
    figure.colorbar(image, ax=axes, label="events in a bin", shrink=0.6, pad=0.01, ticks=ticks)
    return figure


def sound_pairs(
    before: Sequence[Sound],
    after: Sequence[Sound],
    titles: Sequence[str],
    rate: int,
    title: str,
    *,
    with_waveforms: bool = True,
) -> Figure:
    """Each clip over what an augmentation makes of it: waveforms at ``rate`` Hz, and features."""
    span = max(len(clip.waveform) for clip in before) / rate
    limits = _feature_limits(before)
    loudest = max(np.abs(clip.waveform).max() for clip in (*before, *after))
    draws = {}
    if with_waveforms:
        draws["amplitude"] = lambda axis, clip: _waveform(axis, clip.waveform, rate, span, loudest)
    draws["mel band"] = lambda axis, clip: _feature_image(axis, clip.features, span, limits)
    figure, axes = _pairs(before, after, titles, title, draws, CELL * 0.75)
    image = axes[-1, -1].images[0]
    figure.colorbar(image, ax=axes[-2:], label="ln energy", shrink=0.6, pad=0.01)
    return figure


def class_histogram(splits: dict[str, np.ndarray], names: Sequence[str]) -> Figure:
    """How many clips of each class a split has; ``splits`` maps their names to labels [N]."""
    figure = _figure(max(7.0, 0.28 * len(names) + 2), 4)
    axis = figure.subplots()
    width = 0.8 / len(splits)
    for i, (split, labels) in enumerate(splits.items()):
        places = np.arange(len(names)) + (i - (len(splits) - 1) / 2) * width
        counts = np.bincount(labels, minlength=len(names))
        label = f"{split} ({len(labels):,} clips)"
        axis.bar(places, counts, width, label=label, color=COLOURS[split])
    axis.set_xticks(np.arange(len(names)), names, rotation=60, ha="right", rotation_mode="anchor")
    axis.set(xlabel="class", ylabel="clips", xlim=(-0.7, len(names) - 0.3))
    axis.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=len(splits), frameon=False)
    return figure


class Quantity(NamedTuple):
    """A figure of each clip, [N] by split, which comes in multiples of ``step``, or in any value
    where it is None."""

    label: str
    step: float | None
    splits: dict[str, np.ndarray]


def histograms(quantities: Sequence[Quantity]) -> Figure:
    """Distributions over the clips of each split."""
    figure = _figure(4.5 * len(quantities), 3.6)
    panels = np.atleast_1d(figure.subplots(1, len(quantities)))
    for axis, quantity in zip(panels, quantities, strict=True):
        edges = _edges(np.concatenate(list(quantity.splits.values())), quantity.step)
        for split, values in quantity.splits.items():
            shares = np.full(len(values), 100 / len(values))
            style = {"histtype": "step", "linewidth": 1.5, "color": COLOURS[split]}
            axis.hist(values, edges, weights=shares, label=split, **style)
        axis.set(xlabel=quantity.label, ylabel="clips of the split (%)")
        axis.xaxis.set_major_locator(MaxNLocator(6))
        axis.grid(alpha=0.3)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    return figure


def _edges(values: np.ndarray, step: float | None) -> np.ndarray:
    """Edges of up to ``BARS`` bins, each as many steps wide."""
    if step is None:
        return np.histogram_bin_edges(values, BARS)
    width = step * np.ceil((np.ptp(values) / step + 1) / BARS)
    return values.min() - step / 2 + width * np.arange(round(np.ptp(values) / width) + 2)


def _sheet(
    clips: Sequence,
    titles: Sequence[str],
    draw: Callable,
    labels: tuple[str, str],
    ratios: tuple[int, int],
    colour_label: str,
) -> Figure:
    """Two axes for each clip, one above the other, in rows of up to ``COLUMNS`` clips."""
    columns = min(COLUMNS, len(clips))
    rows = -(-len(clips) // columns)
    figure, axes = _grid(2 * rows, columns, list(ratios) * rows, CELL / 2)
    for i in range(rows * columns):
        row, column = divmod(i, columns)
        pair = axes[2 * row : 2 * row + 2, column]
        if i >= len(clips):
            for axis in pair:
                axis.set_axis_off()
            continue
        image = draw(pair, clips[i])
        pair[0].set_title(titles[i], fontsize=FONT)
        pair[0].tick_params(labelbottom=False)
        pair[1].set_xlabel("time (s)")
    for row in range(2 * rows):
        axes[row, 0].set_ylabel(labels[row % 2])
    figure.align_ylabels(axes[:, 0])
    figure.colorbar(image, ax=axes, label=colour_label, pad=0.01, aspect=40)
    return figure


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.get_layout_engine().set(w_pad=0.1)  # inches, or the last label meets the next first
    return figure


def _grid(rows: int, columns: int, ratios: list[int], height: float):
    """A figure and its axes [rows, columns]; ``height`` is that of a row, on average."""
    figure = _figure(CELL * columns + 1, height * rows + 0.6)
    return figure, figure.subplots(rows, columns, squeeze=False, height_ratios=ratios)


def _pairs(before, after, titles, title: str, draws: dict[str, Callable], height: float):
    """A figure and its axes: what each of ``draws``, named by its y axis, makes of each clip before
    an augmentation, and below it after it; rows are ``height`` inches high on average."""
    ratios = [1 + i for i in range(len(draws)) for _ in range(2)]
    figure, axes = _grid(len(ratios), len(before), ratios, height)
    for column, pair in enumerate(zip(before, after, strict=True)):
        axes[0, column].set_title(titles[column], fontsize=FONT)
        for i, draw in enumerate(draws.values()):
            for row, clip in enumerate(pair):
                draw(axes[2 * i + row, column], clip)
    labels = [f"{when}\n{what}" for what in draws for when in ("before", "after")]
    for row, label in zip(axes, labels, strict=True):
        row[0].set_ylabel(label)
        for axis in row:
            axis.label_outer()
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    figure.suptitle(title, fontsize=FONT)
    return figure, axes


def _spike_image(axis: Axes, clip: np.ndarray, step: float, highest: float) -> AxesImage:
    span = (len(clip) - 1) * step
    norm = PowerNorm(0.5, vmin=0, vmax=max(1, highest))  # most bins hold one or two
    # Bin i holds the events between the edges i - 1 and i (see datasets.binning).
    return _image(axis, clip, (-step, span), span, cmap="Greys", norm=norm)


def _feature_image(
    axis: Axes, features: np.ndarray, span: float, limits: tuple[float, float]
) -> AxesImage:
    low, high = limits
    times = (0, len(features) * SHIFT_MS / 1000)
    return _image(axis, features, times, span, cmap="magma_r", vmin=low, vmax=high)


def _image(
    axis: Axes, clip: np.ndarray, times: tuple[float, float], span: float, **colours
) -> AxesImage:
    """A clip [T, channels] between ``times``, of which 0 to ``span`` s are shown."""
    shape = {"aspect": "auto", "extent": (*times, -0.5, clip.shape[1] - 0.5)}
    image = axis.imshow(clip.T, origin="lower", interpolation="nearest", **shape, **colours)
    axis.set_xlim(0, span)
    axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return image


def _waveform(axis: Axes, waveform: np.ndarray, rate: int, span: float, loudest: float) -> None:
    axis.plot(np.arange(len(waveform)) / rate, waveform, color="tab:blue", linewidth=0.5)
    axis.set(xlim=(0, span), ylim=(-1.05 * max(loudest, 1e-3), 1.05 * max(loudest, 1e-3)))


def _feature_limits(clips: Sequence[Sound]) -> tuple[float, float]:
    """Colour limits that no single silent frame decides."""
    values = np.concatenate([clip.features.ravel() for clip in clips])
    low, high = np.percentile(values, [1, 99.8]) if values.size else (0.0, 1.0)
    return float(low), float(max(high, low + 1))
