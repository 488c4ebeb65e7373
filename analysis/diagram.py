# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Parts of block diagrams: states, gains, sums, lines, and equations in several colours."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from analysis.style import FAINT, INK

Point = tuple[float, float]
SUM_RADIUS = 1.35
STATE = 5.2
LINE = 1.1


def panel(axes: Axes, corner: Point, width: float, height: float, title: str) -> None:
    """A pale field with a title in its upper left corner."""
    look = {"facecolor": "#f6f6f4", "edgecolor": "#d9d9d4", "linewidth": 0.6, "zorder": 0}
    box(axes, (corner[0] + width / 2, corner[1] + height / 2), width, height, rounding=1.2, **look)
    axes.text(corner[0] + 1.4, corner[1] + height - 1.4, title, fontsize=9, weight="bold", va="top")


def block(axes: Axes, centre: Point, text: str, colour: str, *, width: float = 4.0) -> None:
    """A factor that a signal is multiplied by."""
    box(axes, centre, width, 3.8, facecolor="white", edgecolor=colour, linewidth=1.2)
    axes.text(*centre, text, color=colour, ha="center", va="center_baseline", fontsize=8.5)


def state(axes: Axes, centre: Point, text: str, *, width: float = 6.4) -> None:
    """A state variable of the neuron."""
    box(axes, centre, width, STATE, facecolor="#e4e4df", edgecolor=INK, linewidth=1.0)
    axes.text(*centre, text, ha="center", va="center_baseline", fontsize=9.5)


def box(axes: Axes, centre: Point, width: float, height: float, rounding=0.8, **look) -> None:
    """A rounded rectangle around a point."""
    corner = (centre[0] - width / 2, centre[1] - height / 2)
    style = f"round,pad=0,rounding_size={rounding}"
    axes.add_patch(FancyBboxPatch(corner, width, height, boxstyle=style, **{"zorder": 3, **look}))


def summation(axes: Axes, centre: Point) -> None:
    """A circle in which signals add up."""
    axes.add_patch(Circle(centre, SUM_RADIUS, facecolor="white", edgecolor=INK, lw=0.9, zorder=3))
    axes.text(*centre, "+", ha="center", va="center_baseline", fontsize=8, zorder=4)


def line(
    axes: Axes,
    points: Sequence[Point],
    colour: str = INK,
    *,
    dashed: bool = False,
    head: bool = True,
) -> None:
    """Straight pieces from point to point, an arrow head at the end."""
    style = {"color": colour, "linewidth": LINE, "zorder": 2}
    style["linestyle"] = (0, (3, 1.6)) if dashed else "-"
    xs, ys = zip(*points, strict=True)
    axes.plot(xs, ys, solid_capstyle="round", solid_joinstyle="round", **style)
    if head:
        look = {"arrowstyle": "-|>,head_length=3.2,head_width=1.6", "shrinkA": 0, "shrinkB": 0}
        look |= {"color": colour, "linewidth": 0, "zorder": 2.5}
        axes.add_patch(FancyArrowPatch(points[-2], points[-1], **look))


def dot(axes: Axes, point: Point, colour: str = INK) -> None:
    """A place where a line branches."""
    axes.add_patch(Circle(point, 0.42, color=colour, linewidth=0, zorder=2.6))


def note(axes: Axes, point: Point, text: str, colour: str = INK, **options) -> None:
    """A few words beside a line."""
    look = {"fontsize": 7.5, "ha": "center", "va": "center", **options}
    axes.text(*point, text, color=colour, zorder=5, **look)


def equation(axes: Axes, point: Point, text: str, colours: dict[str, str]) -> None:
    """An equation from ``point`` to the right. Its pieces stand between ``|``, each behind the name
    of its colour and a colon: ``"ink:$u =$|leak:$\\alpha$"``."""
    areas = []
    for piece in text.split("|"):
        colour, words = piece.split(":", 1)
        areas.append(TextArea(words, textprops={"color": colours[colour], "fontsize": 9.5}))
    packed = HPacker(children=areas, align="baseline", pad=0, sep=0)
    axes.add_artist(
        AnnotationBbox(packed, point, frameon=False, box_alignment=(0, 0.5), pad=0, zorder=5)
    )


def mark(axes: Axes, point: Point, colour: str, filled: bool) -> None:
    """A cell of the table: whether a neuron has a term."""
    if filled:
        axes.add_patch(Circle(point, 0.85, color=colour, linewidth=0, zorder=3))
    else:
        x, y = point
        axes.plot([x - 0.5, x + 0.5], [y, y], color=FAINT, linewidth=0.7, zorder=3)
