# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What ``python -m analysis.quantize`` has found for a run, as a table and a picture."""

import hashlib
import json

from matplotlib.figure import Figure

from analysis.report import figures
from analysis.report.page import Page
from analysis.trained import OpenedRun
from training.terminal.console import percent

NAME = "quantization.json"
HEADERS = ["weights", "states", "test accuracy", "95% interval", "same class", "parameters (KB)"]
HEADERS += ["states (KB)", "cut off"]
KB = 1000


def bits_in_words(row: dict) -> tuple[str, str]:
    """What weights and states are held as."""
    weights, fraction = row["weight_bits"], row["fraction_bits"]
    states = "float32" if fraction is None else f"Q{15 - fraction}.{fraction}"
    return "float32" if weights is None else f"{weights} bits", states


def cells(rows: list[dict]) -> tuple[list[tuple], list[str]]:
    """The rows of a table of ``rows``, and its headers."""
    found = []
    for row in rows:
        low, high = row["interval"]
        found.append(
            (
                *bits_in_words(row),
                percent(row["accuracy"]),
                f"{100 * low:.1f} to {percent(high, 1)}",
                f"{row['same_class']:,} of {row['clips']:,}",
                f"{row['parameter_bytes'] / KB:,.1f}",
                f"{row['state_bytes'] / KB:,.1f}",
                "-" if row["cut_off"] is None else percent(row["cut_off"], 3),
            )
        )
    return found, HEADERS


def picture(rows: list[dict]) -> Figure:
    """Accuracy and its 95% interval over the size of the parameters."""
    figure, (axis,) = figures.new_figure(3.2)
    kinds = ((False, figures.BLUE, "o", "states in float32"),)
    kinds += ((True, figures.RED, "D", "states in fixed point"),)
    for is_fixed, colour, marker, label in kinds:
        chosen = [row for row in rows if (row["fraction_bits"] is not None) == is_fixed]
        shift = 1.02 if is_fixed else 1 / 1.02  # so that both can be seen
        x = [row["parameter_bytes"] / KB * shift for row in chosen]
        y = [100 * row["accuracy"] for row in chosen]
        ends = [
            [abs(100 * row["interval"][i] - 100 * row["accuracy"]) for row in chosen]
            for i in (0, 1)
        ]
        axis.errorbar(x, y, ends, fmt=marker, color=colour, capsize=3, label=label)
    names: dict[float, list[str]] = {}  # of one size: 8 bits and 6 are both a byte
    for row in rows:
        names.setdefault(row["parameter_bytes"] / KB, []).append(bits_in_words(row)[0])
    labels = [f"{', '.join(dict.fromkeys(n))}\n{size:,.0f}" for size, n in names.items()]
    axis.set_xscale("log")
    axis.set_xticks([*names], labels)
    axis.minorticks_off()
    axis.margins(x=0.15, y=0.15)
    figure.legend(fontsize=figures.FONT, loc="outside upper center", ncols=2)
    figures.label_axis(axis, "", "weights, and size of all parameters (KB)", "test accuracy (%)")
    return figure


def show(page: Page, run: OpenedRun) -> None:
    """The section of a run that was quantised."""
    path = run.folder / NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = found["rows"]
        table, drawn = cells(rows), picture(rows)
        stale = found["checkpoint"] != hashlib.sha256(run.weights.read_bytes()).hexdigest()
    except FileNotFoundError:
        return
    except (OSError, ValueError, LookupError, TypeError):
        rows, stale = [], True
    page.section("quantization", "Fewer bits")
    if stale:
        page.say(
            f"{NAME} is of other weights, or damaged: `python -m analysis.quantize` anew.", "note"
        )
        return
    page.say(
        "Weights rounded after training, each neuron's by a factor of its own, and states rounded "
        "between the steps to 16-bit fixed point: Qm.n has m bits before and n behind the point. "
        "Cut off are the states at an end of that range. Same class: as the network itself."
    )
    page.table(*table)
    page.wide_figure("quantization", drawn, "Test accuracy and its 95% interval, by size.")
    page.numbers["quantization"] = rows
