# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The command behind ``partial_figure3_synops.py``: accuracy against synaptic operations.

One figure has them on two axes side by side, the other is a scatter with the Pareto front.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from matplotlib.transforms import Bbox

from analysis.evaluations import KEPT, Evaluations, over_seeds
from analysis.style import FAINT, looks, new_figure, parse_with_output, write_figure
from analysis.trained import (
    AUTHORS,
    OURS,
    REPO,
    Trained,
    add_models,
    is_there,
    labels_apart,
    names_apart,
    open_all,
)
from datasets.files import find_file
from datasets.registry import DATASETS
from parsers.options import ConfigError
from parsers.program import Parser, numeric, program
from training.results.groups import are_other_data, tested_on
from training.terminal.console import start_logging, table

PROGRAM = "partial_figure3_synops.py"
TEST_SEEDS = (13, 42, 73, 190, 268)
ACCURACY, OPERATIONS = "#0072B2", "#D55E00"
OFFSET = 0.13
LETTER = 0.065  # inches, of the names below the axis
MARK = 8  # pixels around the centre of a mark


@dataclass(frozen=True)
class Cost:
    """A network's accuracy (%) and synaptic operations per clip, with deviations over seeds.

    ``operations`` include multiply-accumulates of what does not spike; ``recurrent`` ones are those
    through V, not in ``operations``. A value that was computed
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


# State-space models on SSC: published accuracy, and operations as the published figure counts them:
# 250 steps of 21,751; 8000 events, then 1000, through layers of 64 by 64.
ANALYTIC = (
    Cost("S5-RF", 78.8, 250 * 21_751),
    Cost("Event-SSM", 85.3, 8000 * 64 * 64 * 2 + 1000 * 64 * 64 * 8),
)


def read_arguments(argv: list[str] | None) -> argparse.Namespace:
    """The options of the command; ConfigError for a mistake."""
    parser = Parser(
        PROGRAM,
        description="Draw test accuracy against synaptic operations of trained networks, as Fabre "
        "et al. (2025, Figure 3) do and as a scatter with its Pareto front. Evaluations are kept "
        f"in {KEPT} beside the figures; those of our networks come with the code.",
    )
    default = "the authors' SSC models if they and SSC are there, else ours on the demo"
    add_models(parser, "folders of runs on one data set", default)
    parser.add_argument("--data_folder", help="folder of the data set [default: by the config]")
    seeds = "seeds of the random initial states [default: 13 42 73 190 268]"
    parser.add_argument("--seeds", nargs="+", type=numeric(int, 0), default=TEST_SEEDS, help=seeds)
    parser.add_argument("--refresh", action="store_true", help="measure again what is known")
    return parse_with_output(parser, argv)


def choose_models(arguments: argparse.Namespace) -> list[Trained]:
    """The networks to compare; ConfigError if they are for different data."""
    names = arguments.models
    if names is None:
        names = AUTHORS if ssc_is_there(arguments.data_folder) else OURS
    seeds = tuple(dict.fromkeys(arguments.seeds))
    models = open_all(names, seeds, arguments.data_folder, spiking=False)
    first = models[0]
    for model in models:
        data, expected = (m.config.training.dataset_name for m in (model, first))
        if data != expected:
            raise ConfigError(
                f"--models: {first.name} is for {expected} and {model.name} for {data}; their "
                "accuracies do not compare"
            )
    if arguments.data_folder is None:
        check_same_data(models)
    return models


def check_same_data(models: list[Trained]) -> None:
    """ConfigError if checksums in the networks' folders show that their test data differ."""
    tests = {model.folder: tested_on(model.record()) for model in models}
    known = [model for model in models if tests[model.folder][1]]
    for model in known[1:]:
        if are_other_data(tests[known[0].folder], tests[model.folder]):
            first, second = names_apart([known[0], model])
            raise ConfigError(
                f"--models: {first} and {second} come from different data, by their "
                "checksums, so that their accuracies do not compare; --data_folder names one test "
                "for all"
            )


def ssc_is_there(data_folder: str | None) -> bool:
    """Whether this machine has the authors' networks and their test split."""
    folder = Path(os.path.expanduser(data_folder or REPO / DATASETS["ssc"].default_folder))
    return all(map(is_there, AUTHORS)) and find_file(folder, "ssc_test.h5") is not None


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Evaluate, draw both figures and print the table."""
    arguments = read_arguments(argv)
    start_logging()
    models = choose_models(arguments)
    evaluations = Evaluations(arguments.output / KEPT, refresh=arguments.refresh)
    results = evaluations.of(models)
    labels = [f"{model.title}\n{model.config.model.nb_hiddens}" for model in models]
    labels = labels_apart(labels, models, "\n")
    costs = [cost_of(*network) for network in zip(labels, models, results, strict=True)]
    data = models[0].config.training.dataset_name
    shown = [*costs, *ANALYTIC] if data == "ssc" else costs
    print(f"\n{table(rows_of(models, shown), HEADERS)}\n")
    seeds = len(models[0].configs)
    over = f"mean ± sample standard deviation over {seeds} test seeds" if seeds > 1 else "one seed"
    print(
        f"Accuracy and synaptic operations per clip: {over}.\n"
        "Operations are feed-forward ones; those through recurrent weights come on top. What does "
        "not spike,\nstates of state-space models included, counts by its multiply-accumulates.\n"
        "Pareto: no other network is at least as accurate and at most as costly, with these."
    )
    title = f"Accuracy and synaptic operations on {data_title(models[0])}"
    write_figure(arguments, "figure3_partial", draw_side_by_side, shown, title)
    write_figure(arguments, "figure3_scatter", draw_scatter, shown, title)


def data_title(model: Trained) -> str:
    """The data set of a network as a title spells it."""
    return "the demo's test split" if model.data == "demo" else model.data


def cost_of(label: str, model: Trained, runs: list[dict]) -> Cost:
    """Mean and deviation over the seeds of one network."""
    figures = ("accuracy", "sop", "recurrent_sop", "mac")
    accuracy, sop, recurrent, mac = (over_seeds(runs, figure) for figure in figures)
    operations = sop[0] + mac[0], sop[1]  # how many MACs there are depends on no seed
    spread = 100 * accuracy[1], operations[1]
    return Cost(label, 100 * accuracy[0], operations[0], model.model_type, *spread, *recurrent)


HEADERS = ["model", "hidden", "test accuracy (%)", "operations", "recurrent ones", "Pareto"]


def rows_of(models: list[Trained], costs: list[Cost]) -> list[tuple]:
    """The rows of the table; costs beyond the models are published ones."""

    def text(value: float, deviation: float, kind: str) -> str:
        return f"{value:{kind}}" + (f" ± {deviation:{kind}}" if deviates else "")

    front, names, rows = pareto_front(costs), names_apart(models), []
    for number, cost in enumerate(costs):
        model = models[number] if number < len(models) else None
        deviates = model and len(model.configs) > 1
        accuracy = text(cost.accuracy, cost.accuracy_deviation, ".2f")
        operations = text(cost.operations, cost.operations_deviation, ",.0f")
        recurrent = "-"
        if cost.recurrent:
            recurrent = text(cost.recurrent, cost.recurrent_deviation, ",.0f")
        name = names[number] if model else f"{cost.label} (published)"
        hidden = str(model.config.model.nb_hiddens) if model else "-"
        mark = "*" if cost in front else ""
        rows.append((name, hidden, accuracy, operations, recurrent, mark))
    return rows


def draw_side_by_side(costs: Sequence[Cost], title: str) -> Figure:
    """One place for each network: accuracy on the left axis, operations on the right."""
    longest = max(len(line) for cost in costs for line in cost.label.split("\n"))
    place = max(0.75, LETTER * longest)
    figure = new_figure(max(4.2, place * len(costs) + 1.4), 3.3)
    left = figure.add_subplot()
    right = left.twinx()
    right.spines["right"].set_visible(True)
    places = np.arange(len(costs))
    for axes, at, name, colour, marker, size, label in (
        (left, places - OFFSET, "accuracy", ACCURACY, "o", 30, "test accuracy (%)"),
        (right, places + OFFSET, "operations", OPERATIONS, "s", 26, "synaptic operations per clip"),
    ):
        values = [getattr(cost, name) for cost in costs]
        deviations = [getattr(cost, f"{name}_deviation") for cost in costs]
        bars = {"fmt": "none", "elinewidth": 1.0, "capsize": 2.5, "ecolor": colour}
        axes.errorbar(at, values, deviations, **bars)
        mark = "accuracy" if axes is left else "feed-forward operations"
        axes.scatter(at, values, color=colour, marker=marker, s=size, zorder=3, label=mark)
        axes.set_ylabel(label, color=colour)
        axes.tick_params(axis="y", which="both", colors=colour)
    recurrent = [(at, c) for at, c in zip(places + OFFSET, costs, strict=True) if c.recurrent]
    if recurrent:
        at, totals = [at for at, _ in recurrent], [cost.total for _, cost in recurrent]
        low = [cost.operations for _, cost in recurrent]
        right.vlines(at, low, totals, color=OPERATIONS, linewidth=0.9, linestyle=":")
        square = {"facecolor": "white", "edgecolor": OPERATIONS, "marker": "s", "s": 26}
        right.scatter(at, totals, zorder=3, label="with recurrent ones", **square)
    log_axis(right.yaxis, [size for c in costs for size in (c.total, c.operations)])
    left.set_xticks(range(len(costs)), [cost.label for cost in costs])
    left.set_xlim(-0.6, len(costs) - 0.4)
    left.set_xlabel("neuron model, and neurons in a hidden layer")
    left.spines["left"].set_color(ACCURACY)
    right.spines["left"].set_visible(False)
    right.spines["right"].set_color(OPERATIONS)
    left.margins(y=0.12)
    for place in places[:-1]:
        left.axvline(place + 0.5, color="#e4e4e4", linewidth=0.6, zorder=0)
    left.set_title(title, fontsize=9)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


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
    """Accuracy over all operations of a clip; the staircase is the Pareto front."""
    figure = new_figure(5.2, 3.8)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=9)
    front = pareto_front(costs)
    stair = [cost.total for cost in front], [cost.accuracy for cost in front]
    look = {"color": FAINT, "linewidth": 1.2, "label": "Pareto front"}
    line = axes.step(*stair, where="post", zorder=1, **look)
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
    figure.legend(handles=line, loc="outside lower right")
    return figure


def place_labels(axes: Axes, costs: Sequence[Cost]) -> None:
    """Label every point where the label covers no other label, point or line."""
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
    """Where a label may go, the best first: offset in points, and horizontal alignment."""
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
