# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Accuracy against synaptic operations, on two axes side by side and as a scatter."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from analysis.style import FAINT, looks, new_figure

ACCURACY, OPERATIONS = "#0072B2", "#D55E00"
OFFSET = 0.13
LETTER = 0.065  # inches, of the names below the axis
MARK = 8  # pixels around the centre of a mark


@dataclass(frozen=True)
class Cost:
    """A network's accuracy (%) and synaptic operations per clip, with deviations over seeds.

    ``recurrent`` operations are those through V, not in ``operations``. A value that was computed
    or read, not measured here, has no deviation and no ``model_type``.
    """

    label: str
    accuracy: float
    operations: float
    model_type: str | None = None
    accuracy_deviation: float = 0.0
    operations_deviation: float = 0.0
    recurrent: float = 0.0
    recurrent_deviation: float = 0.0

    @property
    def total(self) -> float:
        """All operations that a clip costs."""
        return self.operations + self.recurrent


def pareto_front(costs: Sequence[Cost]) -> list[Cost]:
    """The Pareto front: networks that no other beats in both accuracy and cost, cheapest first."""
    front = []
    for cost in sorted(costs, key=lambda c: (c.total, -c.accuracy)):
        if not front or cost.accuracy > front[-1].accuracy:
            front.append(cost)
    return front


def draw_side_by_side(costs: Sequence[Cost], title: str) -> Figure:
    """One place for each network: accuracy on the left axis, operations on the right."""
    longest = max(len(line) for cost in costs for line in cost.label.split("\n"))
    place = max(0.75, LETTER * longest)
    figure = new_figure(max(4.2, place * len(costs) + 1.4), 3.3)
    left = figure.add_subplot()
    right = left.twinx()
    right.spines["right"].set_visible(True)
    places = np.arange(len(costs))
    operations = [c.operations for c in costs]
    accuracy = [c.accuracy for c in costs], [c.accuracy_deviation for c in costs]
    spent = operations, [c.operations_deviation for c in costs]
    for axes, at, (values, deviations), colour, marker, size in (
        (left, places - OFFSET, accuracy, ACCURACY, "o", 30),
        (right, places + OFFSET, spent, OPERATIONS, "s", 26),
    ):
        bars = {"fmt": "none", "elinewidth": 1.0, "capsize": 2.5, "ecolor": colour}
        axes.errorbar(at, values, deviations, **bars)
        axes.scatter(at, values, color=colour, marker=marker, s=size, zorder=3)
    draw_recurrent(right, places + OFFSET, costs)
    log_axis(right.yaxis, [c.total for c in costs] + operations)
    dress_side_by_side(left, right, costs)
    left.set_title(title, fontsize=9)
    figure.legend(handles=handles(costs), loc="outside lower center", ncols=3)
    return figure


def draw_recurrent(axes: Axes, places: np.ndarray, costs: Sequence[Cost]) -> None:
    """Open squares where operations through V come on top of the feed-forward ones."""
    dotted = {"color": OPERATIONS, "linewidth": 0.9, "linestyle": ":"}
    square = {"facecolor": "white", "edgecolor": OPERATIONS, "marker": "s", "s": 26, "zorder": 3}
    for place, cost in zip(places, costs, strict=True):
        if cost.recurrent:
            axes.plot([place, place], [cost.operations, cost.total], **dotted)
            axes.scatter(place, cost.total, **square)


def dress_side_by_side(left: Axes, right: Axes, costs: Sequence[Cost]) -> None:
    """Labels, colours and limits of the two axes."""
    left.set_xticks(range(len(costs)), [cost.label for cost in costs])
    left.set_xlim(-0.6, len(costs) - 0.4)
    left.set_xlabel("neuron model, and neurons in a hidden layer")
    for axes, colour, label in (
        (left, ACCURACY, "test accuracy (%)"),
        (right, OPERATIONS, "synaptic operations per clip"),
    ):
        axes.set_ylabel(label, color=colour)
        axes.tick_params(axis="y", which="both", colors=colour)
    left.spines["left"].set_color(ACCURACY)
    right.spines["left"].set_visible(False)
    right.spines["right"].set_color(OPERATIONS)
    left.margins(y=0.12)
    for place in range(len(costs) - 1):
        left.axvline(place + 0.5, color="#e4e4e4", linewidth=0.6, zorder=0)


def handles(costs: Sequence[Cost]) -> list[Line2D]:
    """What the marks of the two axes mean."""
    style = {"linestyle": "none", "markersize": 5.5}
    found = [
        Line2D([], [], marker="o", color=ACCURACY, label="accuracy", **style),
        Line2D([], [], marker="s", color=OPERATIONS, label="feed-forward operations", **style),
    ]
    if any(cost.recurrent for cost in costs):
        look = {"markerfacecolor": "white", "markeredgecolor": OPERATIONS, **style}
        found.append(Line2D([], [], marker="s", label="with recurrent ones", **look))
    return found


def log_axis(axis, values: Sequence[float]) -> None:
    """A logarithmic axis around ``values`` that reads 200 k, 1 M."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    low, high = min(values), max(values)
    room = max((high / low) ** 0.16, 1.12)
    axis.axes.set(**{f"{axis.axis_name}lim": (low / room, high * room)})
    axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high / low < 20 else (1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: in_units(value)))
    axis.set_minor_formatter(NullFormatter())


def in_units(value: float) -> str:
    """1500000 -> '1.5 M'."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def draw_scatter(costs: Sequence[Cost], title: str) -> Figure:
    """Accuracy over all operations of a clip; the stair is the Pareto front."""
    figure = new_figure(5.2, 3.8)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9)
    front = pareto_front(costs)
    stair = [cost.total for cost in front], [cost.accuracy for cost in front]
    line = {"color": FAINT, "linewidth": 1.2, "label": "Pareto front"}
    axes.step(*stair, where="post", zorder=1, **line)
    styles = looks([cost.model_type for cost in costs])
    look = {"markeredgecolor": "white", "markeredgewidth": 0.4, "elinewidth": 1.0, "capsize": 2}
    for cost, (colour, marker) in zip(costs, styles, strict=True):
        errors = cost.accuracy_deviation, cost.operations_deviation + cost.recurrent_deviation
        look |= {"color": colour, "marker": marker, "markersize": 6.5 if cost.model_type else 10}
        axes.errorbar(cost.total, cost.accuracy, *errors, zorder=3, **look)
    log_axis(axes.xaxis, [cost.total for cost in costs])
    axes.margins(y=0.16)
    recurrent = ", recurrent ones included" if any(cost.recurrent for cost in costs) else ""
    axes.set(xlabel=f"synaptic operations per clip{recurrent}", ylabel="test accuracy (%)")
    axes.grid(color="#e9e9e9", linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    place_labels(axes, costs)
    figure.legend(handles=[Line2D([], [], **line)], loc="outside lower right")
    return figure


def place_labels(axes: Axes, costs: Sequence[Cost]) -> None:
    """Name every point beside it, where no other name, point or line lies."""
    figure = axes.figure
    figure.canvas.draw()
    taken = [mark_box(axes, cost) for cost in costs] + stair_boxes(axes, pareto_front(costs))
    halo = [withStroke(linewidth=2.5, foreground="white")]
    look = {"textcoords": "offset points", "fontsize": 7.5, "path_effects": halo, "zorder": 4}
    for cost in costs:
        name, point = cost.label.replace("\n", " "), (cost.total, cost.accuracy)
        for x, y, side in places_around(axes, cost):
            label = axes.annotate(name, point, (x, y), ha=side, **look)
            box = label.get_window_extent()
            inside = box.x0 > axes.bbox.x0 + MARK and box.x1 < axes.bbox.x1 - MARK
            if inside and not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:
            axes.add_artist(label)
        taken.append(box.padded(2))


def stair_boxes(axes: Axes, front: Sequence[Cost]) -> list[Bbox]:
    """What the steps of the Pareto front cover, in pixels."""
    boxes = []
    for lower, upper in pairwise(front):
        corner = (upper.total, lower.accuracy)
        for end in ((lower.total, lower.accuracy), (upper.total, upper.accuracy)):
            pixels = axes.transData.transform([end, corner])
            boxes.append(Bbox([pixels.min(axis=0), pixels.max(axis=0)]).padded(1))
    return boxes


def places_around(axes: Axes, cost: Cost) -> list[tuple[float, float, str]]:
    """Where a name may stand, the best first: offset in points, and its side on that point."""
    box = mark_box(axes, cost)
    half = box.height / 2 * 72 / axes.figure.dpi
    above, below = half + 1, -half - 8
    near = [(8, 4, "left"), (8, -9, "left"), (-8, 4, "right"), (-8, -9, "right")]
    middle = [(0, above, "center"), (0, below, "center")]
    far = [(8, y, side) for y in (18, -23, 32, -37) for side in ("left", "right")]
    return near + middle + far


def mark_box(axes: Axes, cost: Cost) -> Bbox:
    """What the mark of a network and its error bars cover, in pixels."""
    low = (cost.total, cost.accuracy - cost.accuracy_deviation)
    high = (cost.total, cost.accuracy + cost.accuracy_deviation)
    return Bbox(axes.transData.transform([low, high])).padded(MARK)
