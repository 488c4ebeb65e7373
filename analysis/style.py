# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The style of all figures, in colours that colour-blind readers can distinguish; their files."""

import argparse
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from parsers.program import check_folder
from training.record.files import write_atomic

FIGURES = Path(__file__).resolve().parents[1] / "figs"
FORMATS = ("png", "pdf", "svg")
DPI = 250
INK = "#222222"
FAINT = "#8a8a8a"
# Colour and marker of each neuron in every figure; the colours are those of Okabe & Ito (2008).
LOOKS = {
    "CadLIF": ("#E69F00", "s"),
    "CSiLIF": ("#0072B2", "o"),
    "SiLIF": ("#D55E00", "D"),
    "ResonateFire": ("#009E73", "^"),
    "adLIF": ("#CC79A7", "v"),
    "LIF": ("#56B4E9", "P"),
    "RLIF": ("#6b6b6b", "X"),
    "RadLIF": ("#7a4f9e", "h"),
    "S4D": ("#a6761d", "p"),
    "SpikingS4D": ("#666633", "*"),
    "Mamba": ("#8c2d04", "<"),
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
    spare = [name for name in LOOKS if name not in model_types]
    chosen = []
    for number, name in enumerate(model_types):
        is_again = name is not None and name in model_types[:number]
        chosen.append(LOOKS.get(spare.pop(0) if is_again and spare else name, (INK, "*")))
    return chosen


def print_style() -> AbstractContextManager:
    """The settings of all figures; what is drawn and saved within looks alike."""
    return matplotlib.rc_context(SETTINGS)


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


def parse_with_output(parser: argparse.ArgumentParser, argv: list[str] | None):
    """Parse ``argv``, with two more options for where `write_figure` puts the figures.

    Raises ConfigError for a mistake, and for a folder that cannot be written.
    """
    folder = "folder to write [default: figures]"
    parser.add_argument("--output", type=Path, default=Path("figures"), help=folder)
    parser.add_argument("--format", choices=FORMATS, default="png", help="[default: png]")
    arguments = parser.parse_args(argv)
    check_folder("--output", arguments.output)
    return arguments


def write_figure(
    arguments: argparse.Namespace, name: str, draw: Callable[..., Figure], *content
) -> None:
    """Draw ``content`` in the style of all figures, write it and print where."""
    with print_style():
        path = arguments.output / f"{name}.{arguments.format}"
        print(f"Wrote {save(draw(*content), path)}")
