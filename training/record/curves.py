# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The learning curves of a run as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from training.record.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 14, 4.2  # inches of the curves of groups, without their legend
DPI = 160  # sharp on screens with two pixels to one of the page
FONT = 10  # of titles, as Matplotlib has it for all else


def draw_curves(history: list[dict], summary: dict, path: Path) -> None:
    """Draw loss, accuracy and firing rate over epochs from the records of metrics.jsonl.

    Learning rates are there unless they are constant, and the widths of delays if there are any.
    """
    from matplotlib.figure import Figure

    rates = [record for record in history if record.get("firing_rates")]
    titles = ["loss", "accuracy (%)", *(["firing rate (%)"] if rates else [])]
    scheduled = courses(history)
    columns = len(titles) + len(scheduled)
    width = 4 * columns + 1
    figure = Figure(figsize=(width, 4))
    # Margins that hold labels of any run: to fit them takes as long as to draw all else.
    figure.subplots_adjust(0.6 / width, 0.12, 1 - 0.2 / width, 0.86, wspace=0.22)
    axes = figure.subplots(1, columns)
    for split, colour in (("train", "tab:blue"), ("valid", "tab:orange")):
        draw_band(axes[0], [history], split, "loss", 1, color=colour, label=split)
        draw_band(axes[1], [history], split, "accuracy", 100, color=colour, label=split)
    test = 100 * summary["test"]["accuracy"]
    axes[1].plot(
        summary["best_epoch"], test, "*", color="tab:red", markersize=12, label=f"test {test:.2f}%"
    )
    if rates:
        records = [record for record in rates if record["split"] == "valid"]
        epochs = [record["epoch"] for record in records]
        for layer, figures in enumerate(zip(*(r["firing_rates"] for r in records), strict=True)):
            shares = [100 * rate for rate in figures]
            axes[2].plot(epochs, shares, marker="o", markersize=3, label=f"layer {layer + 1}")
    for axis, curves in zip(axes[len(titles) :], scheduled.values(), strict=True):
        axis.set_yscale("log")
        for label, points in curves.items():
            axis.plot(*points, marker="o", markersize=3, label=label)
    for axis, title in zip(axes, [*titles, *scheduled], strict=True):
        axis.set_xlabel("epoch")
        axis.set_title(title, fontsize=FONT)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(
        f"{summary['model_type']} on {summary['dataset_name']}, seed {summary['seed']}, "
        f"{summary['parameters']:,} parameters",
        fontsize=FONT,
    )
    write_atomic(path, lambda temporary: figure.savefig(temporary, format="png", dpi=DPI))


def courses(history: list[dict]) -> dict[str, dict[str, tuple[list, list]]]:
    """Learning rates and widths of delays by title and label, as (epochs, values): rates if they
    change, and of widths that are the same the first."""
    records = [record for record in history if record["split"] == "valid"]
    epochs = [record["epoch"] for record in records]
    found = {
        "learning rate": [r.get("lr_groups", {"weights": r.get("lr")}) for r in records],
        "width of delays (steps)": [r.get("sigma", {}) for r in records],
    }
    curves: dict[str, dict] = {title: {} for title in found}
    for title, entries in found.items():
        for label in entries[0] if entries else ():
            points = epochs, [entry.get(label) for entry in entries]
            if points not in curves[title].values():
                curves[title][label] = points
    if all(len({*values}) == 1 for _, values in curves["learning rate"].values()):
        del curves["learning rate"]
    return {title: labels for title, labels in curves.items() if labels}


def draw_bands(groups: list[tuple[str, list[list[dict]]]], path: Path) -> None:
    """Draw the learning curves of groups of runs: mean over seeds, and a band of ± one sample
    standard deviation.

    ``groups`` are a label and the records of metrics.jsonl of every run. The suffix of ``path``
    decides on the format.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    colours = matplotlib.colormaps["tab10" if len(groups) <= 10 else "turbo"]
    figure = Figure(figsize=(WIDTH, HEIGHT), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    panels = (("train", "loss", 1), ("valid", "loss", 1), ("valid", "accuracy", 100))
    for number, (label, histories) in enumerate(groups):
        colour = colours(number if len(groups) <= 10 else number / (len(groups) - 1))
        for axis, (split, figure_name, scale) in zip(axes, panels, strict=True):
            draw_band(axis, histories, split, figure_name, scale, color=colour, label=label)
    for axis, title in zip(
        axes, ("training loss", "validation loss", "validation accuracy (%)"), strict=True
    ):
        axis.set_xlabel("epoch")
        axis.set_title(title, fontsize=FONT)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axis.grid(alpha=0.3)
    figure.suptitle("mean and ± 1 sample standard deviation over seeds", fontsize=FONT)
    add_legend(figure, *axes[0].get_legend_handles_labels())
    suffix = path.suffix.lstrip(".").lower()
    write_atomic(path, lambda temporary: figure.savefig(temporary, format=suffix, dpi=DPI))


def add_legend(figure: "Figure", handles: list, labels: list[str]) -> None:
    """Put a legend below, in as many columns as fit, and make the figure taller by it."""
    for columns in range(min(3, len(labels)), 0, -1):
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=columns)
        box = legend.get_window_extent(figure.canvas.get_renderer())
        if box.width < figure.bbox.width:
            break
        if columns > 1:
            legend.remove()
    figure.set_figheight(HEIGHT + box.height / figure.dpi)


def draw_band(
    axis: "Axes", histories: list[list[dict]], split: str, name: str, scale: float, **style
) -> None:
    """One curve: over the epochs that every run has, so that a mean is always over all of them."""
    runs = [{r["epoch"]: scale * r[name] for r in h if r["split"] == split} for h in histories]
    epochs = sorted(set.intersection(*(set(run) for run in runs)))
    values = np.array([[run[epoch] for epoch in epochs] for run in runs])  # [runs, epochs]
    mean = values.mean(axis=0)
    axis.plot(epochs, mean, marker="o", markersize=3, **style)
    if len(runs) > 1:
        deviation = values.std(axis=0, ddof=1)
        axis.fill_between(
            epochs, mean - deviation, mean + deviation, color=style["color"], alpha=0.2, lw=0
        )
