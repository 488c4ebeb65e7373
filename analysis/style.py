# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The style of all figures: font sizes, and colours that colour-blind readers can distinguish."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from training.record.files import write_atomic

FORMATS = ("png", "pdf", "svg")
DPI = 250
INK = "#222222"
FAINT = "#8a8a8a"
# The palette of Okabe & Ito (2008), one colour for each neuron in every figure.
COLOURS = {
    "CadLIF": "#E69F00",
    "CSiLIF": "#0072B2",
    "SiLIF": "#D55E00",
    "ResonateFire": "#009E73",
    "adLIF": "#CC79A7",
    "LIF": "#56B4E9",
    "RLIF": "#6b6b6b",
    "RadLIF": "#7a4f9e",
}
MARKERS = {
    "CadLIF": "s",
    "CSiLIF": "o",
    "SiLIF": "D",
    "ResonateFire": "^",
    "adLIF": "v",
    "LIF": "P",
    "RLIF": "X",
    "RadLIF": "h",
}
SETTINGS = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "mathtext.fontset": "dejavusans",
    "text.color": INK,
    "svg.fonttype": "none",
    "pdf.fonttype": 42,
}


def looks(model_types: Sequence[str | None]) -> list[tuple[str, str]]:
    """Colour and marker of every network: those of its neuron, or of a neuron that is not drawn
    where another network of the same neuron has them."""
    spare = [name for name in COLOURS if name not in model_types]
    chosen = []
    for number, name in enumerate(model_types):
        is_again = name is not None and name in model_types[:number]
        look = spare.pop(0) if is_again and spare else name
        chosen.append((COLOURS.get(look, INK), MARKERS.get(look, "*")))
    return chosen


@contextlib.contextmanager
def print_style() -> Iterator[None]:
    """The settings of all figures; what is drawn and saved within looks alike."""
    with matplotlib.rc_context(SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of a size in inches, which needs no display."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def save(figure: Figure, path: Path) -> Path:
    """Write the figure in the format of the suffix (png, pdf, svg), making the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = path.suffix.removeprefix(".")
    # No dates or versions: the same figure gives the same bytes.
    metadata = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    write_atomic(
        path,
        lambda temporary: figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata[kind]),
    )
    return path
