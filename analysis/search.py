# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Pictures of a search: ``python -m analysis.search FOLDER``, which also prints its table again.

`importance.png` has the importance of every searched option, by PED-ANOVA (Watanabe et al. 2023) on
all trials, those that were stopped early with the accuracy that they had reached; `parallel.png`
has every trial as a line through its values to its validation accuracy.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import itertools
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from analysis.style import FAINT, INK, new_figure, print_style, save
from parsers.distributions import Dimension
from parsers.program import Parser, program
from training.record import files
from training.record.files import continuing_without
from training.search.folder import searched_in
from training.search.report import report_trials
from training.search.study import JOURNAL, Trials, distribution
from training.terminal.console import log, start_logging

PROGRAM = "analysis.search"
JUDGED = ("complete", "pruned")
FEWEST = 4  # trials that tell an importance
TOP = 5  # trials at least that count as the best, which PED-ANOVA compares with all
BAR = "#0072B2"
BEST = "#D55E00"
COLOURS = "viridis"
MARGIN = 0.05  # of an axis, beyond its ends
TICKS = 5
STEPS = 60  # points of a line between two axes


def draw(folder: Path) -> None:
    """Draw the pictures of the search in ``folder``; one that fails for any reason is missed."""
    with continuing_without("the pictures", Exception, f"python -m {PROGRAM} {folder} draws them"):
        space = searched_in(folder).search.space
        trials = json.loads((folder / files.SWEEP_SUMMARY).read_text(encoding="utf-8"))["trials"]
        judged = [trial for trial in trials if trial["state"] in JUDGED]
        known = [t for t in judged if t["accuracy"] is not None and t["values"].keys() >= {*space}]
        with print_style():
            drawn = []
            if len(known) >= FEWEST:
                figure = importance_figure(importances(known, space), len(known))
                drawn.append(save(figure, folder / "importance.png"))
            if known:
                drawn.append(save(parallel_figure(known, space), folder / "parallel.png"))
        for path in drawn:
            log.info("picture: %s", path)


def importances(trials: Sequence[dict], space: Mapping[str, Dimension]) -> dict[str, float]:
    """The share of each option in what makes trials good, largest first; the shares sum to 1.

    At least `TOP` trials count as good, or half of them where there are few.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    spaces = {name: distribution(dimension) for name, dimension in space.items()}
    for trial in trials:
        params = {name: space[name].drawn(trial["values"][name]) for name in space}
        study.add_trial(
            optuna.create_trial(params=params, distributions=spaces, value=trial["accuracy"])
        )
    share = min(max(0.1, TOP / len(trials)), 0.5)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=share)
    return optuna.importance.get_param_importances(study, evaluator=evaluator)


def importance_figure(shares: Mapping[str, float], count: int) -> Figure:
    """A bar for each option, the most important on top."""
    figure = new_figure(4.6, 0.8 + 0.32 * len(shares))
    axes = figure.subplots()
    names = list(shares)[::-1]
    bars = axes.barh(names, [shares[name] for name in names], color=BAR, height=0.62)
    axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=7, color=INK)
    axes.set_xlim(0, 1.12 * max(shares.values()))
    axes.set_xlabel("importance for validation accuracy (sum: 1)")
    axes.set_title(f"PED-ANOVA on {count} trials", loc="left")
    axes.tick_params(axis="y", length=0)
    return figure


def parallel_figure(trials: Sequence[dict], space: Mapping[str, Dimension]) -> Figure:
    """Every trial as a line through its values, coloured by its accuracy, and the best marked.

    ``trials`` are in the order of the table, the best first.
    """
    scales = [Scale(name, dimension, trials) for name, dimension in space.items()]
    accuracies = [100 * trial["accuracy"] for trial in trials]
    low, high = min(accuracies), max(accuracies)
    norm = matplotlib.colors.Normalize(low, high if high > low else low + 1)
    colours = matplotlib.colormaps[COLOURS]
    figure = new_figure(1.3 * len(scales) + 2.2, 3.4)
    axes = figure.subplots()
    best = trials[0] if trials[0]["state"] == "complete" else None
    for trial in reversed(trials):
        heights = [scale.height(trial["values"][scale.name]) for scale in scales]
        heights.append(norm(100 * trial["accuracy"]))
        is_whole = trial["state"] == "complete"
        style = {
            "linestyle": "-" if is_whole else (0, (4, 2)),
            "linewidth": 1.1 if is_whole else 0.7,
        }
        colour = colours(norm(100 * trial["accuracy"]))
        if trial is best:
            colour, style["linewidth"] = BEST, 2.2
        axes.plot(*smooth(heights), color=colour, alpha=0.9, **style)
    for place, scale in enumerate(scales):
        draw_scale(axes, place, scale.name, scale.ticks())
    ticks = [
        (norm(value), f"{value:.1f}") for value in np.linspace(low, high, 5 if high > low else 1)
    ]
    draw_scale(axes, len(scales), "validation\naccuracy (%)", ticks)
    axes.set_xlim(-0.35, len(scales) + 0.45)
    axes.set_ylim(-MARGIN, 1 + MARGIN)
    axes.axis("off")
    legend = [("trained to the end", "-", FAINT), ("stopped early", "--", FAINT)]
    legend += [(f"best: trial {best['number']}", "-", BEST)] if best else []
    handles = [
        matplotlib.lines.Line2D([], [], linestyle=line, color=colour, label=label)
        for label, line, colour in legend
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    return figure


class Scale:
    """One axis of the parallel coordinates: where the values of an option lie on it, 0 to 1."""

    def __init__(self, name: str, dimension: Dimension, trials: Sequence[dict]):
        self.name, self.choices = name, list(dimension.values)
        if not self.choices:
            found = [trial["values"][name] for trial in trials]
            ends = [dimension.value(end) for end in dimension.draw[:2]]
            self.low, self.high = min([*found, *ends]), max([*found, *ends])
            self.log = "log" in dimension.distribution and self.low > 0

    def height(self, value: Any) -> float:
        """Where a value lies; in the middle if there is no other."""
        if self.choices:
            return self.choices.index(value) / max(len(self.choices) - 1, 1)
        ends = self.low, self.high, value
        low, high, x = map(math.log, ends) if self.log else ends
        return (x - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Heights and labels of the ticks."""
        if self.choices:
            return [(self.height(value), str(value)) for value in self.choices]
        space = np.geomspace if self.log else np.linspace
        values = space(self.low, self.high, TICKS)
        if isinstance(self.low, int):
            values = {round(float(value)) for value in values}
        return [(self.height(value), f"{value:.3g}") for value in values]


def smooth(heights: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """A line that passes every axis at a right angle, so that lines can be told apart there."""
    t = np.linspace(0, 1, STEPS)
    ease = t * t * (3 - 2 * t)
    xs = [place + t for place in range(len(heights) - 1)]
    ys = [a + (b - a) * ease for a, b in itertools.pairwise(heights)]
    return np.concatenate(xs), np.concatenate(ys)


def draw_scale(axes: Axes, place: int, name: str, ticks: list[tuple[float, str]]) -> None:
    """An upright axis with its ticks and its name above."""
    axes.plot([place, place], [0, 1], color=INK, linewidth=0.8)
    for height, label in ticks:
        axes.plot([place, place + 0.03], [height, height], color=INK, linewidth=0.8)
        halo = [withStroke(linewidth=2, foreground="white")]
        style = {"fontsize": 6.5, "va": "center", "color": INK, "path_effects": halo}
        axes.text(place + 0.05, height, label, zorder=3, **style)
    title = name.replace("_", "_\n") if "\n" not in name else name
    axes.text(place, 1 + MARGIN, title, fontsize=7.5, ha="center", va="bottom", color=INK)


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Print the table of a search, write its best trial as a config, and draw its pictures."""
    parser = Parser(PROGRAM, description="The table and the pictures of a search.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of a search")
    folder = parser.parse_args(argv).folder
    start_logging()
    plan = searched_in(folder)
    if (folder / JOURNAL).exists():  # else a server has made the trials
        report_trials(plan, Trials(folder, plan.search).records(), folder)
    draw(folder)


if __name__ == "__main__":
    sys.exit(main())
