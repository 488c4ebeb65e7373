# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Draw the method figure: ``python -m analysis.main_figure``.

Two recurrences carry the eight neurons. Each is a diagram with its equations, every term in a
colour of its own, and a table says which neuron has which terms.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from analysis.style import FAINT, INK, new_figure, parse_with_output, write_figure
from parsers.program import Parser, program

PROGRAM = "analysis.main_figure"
WIDTH, HEIGHT = 100.0, 78.0
INCHES = 7.8 / WIDTH
SUM_RADIUS = 1.35
STATE = 5.2
LINE = 1.1
LEAK = "#0072B2"
ADAPTATION = "#A85400"
TRIGGERED = "#00795A"
RECURRENT = "#7A3E9D"
RESET = "#C8102E"
COLOURS = {"ink": INK, "leak": LEAK, "adapt": ADAPTATION, "spike": TRIGGERED}
COLOURS |= {"recurrent": RECURRENT, "reset": RESET}

ADAPTIVE_COLUMNS = (
    ("leak", r"$\alpha$", LEAK),
    ("adapt.", r"$\beta, a$", ADAPTATION),
    ("spike", r"$b$", TRIGGERED),
    ("recurr.", r"$V$", RECURRENT),
)
ADAPTIVE_NEURONS = (
    ("LIF", "1000", r"$\alpha$ in $[e^{-1/5}, e^{-1/25}]$"),
    ("RLIF", "1001", r"as LIF;  $V_{ii} = 0$"),
    ("adLIF", "1110", r"$\alpha$ as LIF;  $\beta$ in $[e^{-1/30}, e^{-1/120}]$;  $|a| \leq 1$"),
    ("RadLIF", "1111", r"as adLIF;  $V_{ii} = 0$"),
    ("cAdLIF", "1110", r"$\alpha$ in [.36, .96];  $\beta$ in [.96, .99];  $0 \leq a \leq 1$"),
    (
        "SiLIF",
        "1110",
        r"$\alpha = e^{-\Delta e^x}$;  $\beta = e^{-\Delta e^y}$;  $0 \leq a \leq 1$",
    ),
)

Point = tuple[float, float]


def draw() -> Figure:
    """The figure: the adaptive recurrence on the left, the resonate recurrence on the right."""
    figure = new_figure(WIDTH * INCHES, HEIGHT * INCHES)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, WIDTH), ylim=(0, HEIGHT), aspect="equal")
    axes.axis("off")
    panel(axes, (0.8, 0.8), 58.2, HEIGHT - 1.6, "a   Adaptive recurrence: real $u$ and $w$")
    adaptive_diagram(axes)
    adaptive_equations(axes)
    adaptive_table(axes)
    panel(axes, (60.4, 0.8), 38.8, HEIGHT - 1.6, "b   Resonate recurrence: complex $u$")
    resonate_diagram(axes)
    resonate_equations(axes)
    resonate_plane(axes)
    return figure


def adaptive_diagram(axes: Axes) -> None:
    """Signals of one step; u, w and s are fed back from the step before."""
    y, bus, top = 53.0, 39.6, 69.0
    current, total, node, u, spike, branch = 15.0, 30.0, 35.0, 39.8, 48.6, 53.8
    adaptation = (22.5, top - 4.5)
    forward_path(axes, y, (5.0, current, total, u, spike, 57.8))
    block(axes, (22.5, y), r"$1-\alpha$", LEAK, width=7)

    feedback(axes, y, (total, node, u, branch), bus, r"$\alpha$")
    note(axes, (46.0, bus + 1.5), "reset  $s_{t-1}$", RESET)

    line(axes, [(node, bus), (current, bus), (current, y - SUM_RADIUS)], RECURRENT, dashed=True)
    dot(axes, (node, bus), RESET)
    block(axes, (current, 46), "$V$", RECURRENT)
    note(axes, (24.8, bus + 1.5), "$s_{t-1}$ of all neurons", RECURRENT)

    state(axes, adaptation, "$w_t$")
    left, right, level = adaptation[0] - 3.2, adaptation[0] + 3.2, adaptation[1]
    line(axes, [(left, level - 0.9), (current, level - 0.9), (current, y + SUM_RADIUS)], ADAPTATION)
    minus(axes, (current - 1.5, y + 2.4), ADAPTATION)
    note(axes, (current + 2.0, y + 4.4), "$w_t$", ADAPTATION)
    line(axes, [(u, y + STATE / 2), (u, level - 1.3), (right, level - 1.3)], ADAPTATION)
    block(axes, (32.4, level - 1.3), "$a$", ADAPTATION)
    note(axes, (u - 2.8, y + 5.2), "$u_{t-1}$", ADAPTATION)
    triggered = [(branch, top), (28.4, top), (28.4, level + 1.3), (right, level + 1.3)]
    line(axes, [(branch, y), *triggered], TRIGGERED)
    block(axes, (46.4, top), "$b$", TRIGGERED)
    note(axes, (branch - 2.6, top - 6.5), "$s_{t-1}$", TRIGGERED)
    loop = [(21.4, 72.6), (13.4, 72.6), (13.4, level + 1.1), (left, level + 1.1)]
    line(axes, [(21.4, level + 2.6), *loop], ADAPTATION)
    block(axes, (13.4, 69.2), r"$\beta$", ADAPTATION)
    note(axes, (24.2, 71.0), "$w_{t-1}$", ADAPTATION)


def forward_path(axes: Axes, y: float, stations: tuple[float, ...]) -> None:
    """From the input through the sums (all but the last four stations) to u, spike and output."""
    start, *sums, u, spike, end = stations
    note(axes, (start - 1.6, y), "$I_t$", fontsize=9.5)
    for before, after in zip((start, *sums), sums, strict=False):
        begin = before if before == start else before + SUM_RADIUS
        line(axes, [(begin, y), (after - SUM_RADIUS, y)])
        summation(axes, (after, y))
    line(axes, [(sums[-1] + SUM_RADIUS, y), (u - 3.2, y)])
    state(axes, (u, y), "$u_t$")
    line(axes, [(u + 3.2, y), (spike - 2.5, y)])
    threshold(axes, (spike, y))
    line(axes, [(spike + 2.5, y), (end, y)])
    note(axes, (end - 1.6, y + 2.0), "$s_t$", fontsize=9.5)


def feedback(axes: Axes, y: float, stations: tuple[float, ...], bus: float, leak: str) -> None:
    """From u, and from the spike that branches off behind it, back to the sum before u."""
    total, node, u, branch = stations
    low = bus + 4.6
    line(axes, [(u, y - STATE / 2), (u, low), (node + SUM_RADIUS, low)], LEAK)
    note(axes, (u + 2.8, low + 3.4), "$u_{t-1}$", LEAK)
    summation(axes, (node, low))
    line(axes, [(node - SUM_RADIUS, low), (total, low), (total, y - SUM_RADIUS)], LEAK)
    block(axes, (total, low + 4.0), leak, LEAK)
    line(axes, [(branch, y), (branch, bus), (node, bus), (node, low - SUM_RADIUS)], RESET)
    minus(axes, (node + 1.4, low - 2.3), RESET)
    dot(axes, (branch, y))


def threshold(axes: Axes, centre: Point) -> None:
    """A box with a step in it."""
    state(axes, centre, "", width=5.0)
    x, y = centre
    step = [(x - 1.7, y - 1.4), (x, y - 1.4), (x, y + 1.4), (x + 1.7, y + 1.4)]
    axes.plot(*zip(*step, strict=True), color=INK, linewidth=1.1, zorder=4)


def minus(axes: Axes, point: Point, colour: str) -> None:
    """The sign of what enters a sum."""
    note(axes, point, "\N{MINUS SIGN}", colour, fontsize=8.5, weight="bold")


def adaptive_equations(axes: Axes) -> None:
    """The step in formulas, in the colours of the diagram."""
    adaptation = r"ink:$w_t = $|adapt:$\,\beta\, w_{t-1} \, + \, a\, u_{t-1}$"
    membrane = r"ink:$u_t = $|leak:$\,\alpha\,(u_{t-1}$|reset:$\; - \; s_{t-1}$"
    membrane += r"|leak:$) \, + \, (1-\alpha)$|ink:$\,(I_t$|recurrent:$\; + \; s_{t-1} V$"
    equation(axes, (2.6, 34.8), rf"{adaptation}|spike:$\; + \; b\, s_{{t-1}}$", COLOURS)
    equation(axes, (2.6, 31.2), rf"{membrane}|adapt:$\; - \; w_t$|ink:$)$", COLOURS)
    equation(axes, (2.6, 27.6), r"ink:$s_t = 1$ if $u_t > \theta$, else $0$", COLOURS)
    for y, text in ((34.8, r"$I_t = \mathrm{norm}(W x_t)$"), (27.6, r"$\theta = 1$")):
        note(axes, (57.4, y), text, fontsize=8.5, ha="right")


def adaptive_table(axes: Axes) -> None:
    """Which neuron has which terms, and the range of its learned parameters."""
    columns = (12.4, 16.9, 21.4, 25.9)
    for x, (word, symbol, colour) in zip(columns, ADAPTIVE_COLUMNS, strict=True):
        note(axes, (x, 23.9), word, colour, fontsize=6.8)
        note(axes, (x, 21.6), symbol, colour, fontsize=8.5)
    note(axes, (29.4, 21.6), "learned parameters", fontsize=7, ha="left")
    note(axes, (57.4, 21.6), r"$0 \leq b \leq 2$", TRIGGERED, fontsize=7.5, ha="right")
    axes.plot([2.4, 57.4], [20.0, 20.0], color=FAINT, linewidth=0.6)
    for row, (name, terms, where) in enumerate(ADAPTIVE_NEURONS):
        y = 18.0 - 3.0 * row
        note(axes, (2.6, y), name, fontsize=8.5, ha="left", weight="bold")
        for x, term, (_, _, colour) in zip(columns, terms, ADAPTIVE_COLUMNS, strict=True):
            mark(axes, (x, y), colour, term == "1")
        note(axes, (29.4, y), where, fontsize=7.5, ha="left")


def resonate_diagram(axes: Axes) -> None:
    """Signals of one step; the two neurons differ in where a spike is subtracted."""
    y, bus, high = 60.0, 46.6, 68.4
    total, node, u, spike, branch = 76.0, 80.0, 83.7, 92.0, 95.5
    forward_path(axes, y, (65.0, total, u, spike, 98.8))
    block(axes, (70, y), r"$b$ or $\delta$", INK, width=6.6)
    note(axes, (88.2, y + 1.5), "Re", fontsize=6.8)

    feedback(axes, y, (total, node, u, branch), bus, "$A$")
    note(axes, (88.6, bus + 1.7), r"C-SiLIF:  $\frac{1}{2}\, s_{t-1}$", RESET)
    outside = [(branch, y), (branch, high), (total, high), (total, y + SUM_RADIUS)]
    line(axes, outside, RESET, dashed=True)
    minus(axes, (total + 1.5, y + 2.4), RESET)
    note(axes, (86.1, high + 1.6), "RF:  $s_{t-1}$", RESET)


def resonate_equations(axes: Axes) -> None:
    """The two neurons in formulas."""
    x, right = 62.2, 97.8
    silif = r"ink:$u_t = $|leak:$\,A\,(u_{t-1}$|reset:$\; - \; \frac{1}{2}\, s_{t-1}$|leak:$)$"
    fire = r"ink:$u_t = $|leak:$\,u_{t-1}$|ink:$\; + \; \delta\,($|leak:$\lambda\, u_{t-1}$"
    note(axes, (x, 42.4), "C-SiLIF", fontsize=8.5, ha="left", weight="bold")
    equation(axes, (x, 39.0), rf"{silif}|ink:$\; + \; b\, I_t$", COLOURS)
    equation(axes, (x, 35.4), r"leak:$A = e^{\Delta(-e^x + i y)}$", COLOURS)
    axes.plot([x, right], [32.6, 32.6], color=FAINT, linewidth=0.6)
    note(axes, (x, 30.2), "RF", fontsize=8.5, ha="left", weight="bold")
    equation(axes, (x, 26.8), rf"{fire}|ink:$\; + \; I_t)$|reset:$\; - \; s_{{t-1}}$", COLOURS)
    equation(axes, (x, 23.2), r"leak:$A = 1 + \delta\lambda$", COLOURS)
    for y, size, text in (
        (42.4, 7.5, r"learned: $\Delta, x, y, b$"),
        (35.4, 8.5, r"$s_t = 1$ if $2\,\mathrm{Re}\,u_t > \theta$"),
        (30.2, 7.5, r"learned: $\lambda$, Re $\lambda \leq -0.1$;  $\delta = 4$ ms"),
        (23.2, 8.5, r"$s_t = 1$ if $\mathrm{Re}\,u_t > \theta$"),
    ):
        note(axes, (right, y), text, fontsize=size, ha="right")


def resonate_plane(axes: Axes) -> None:
    """What multiplication by A does: a state that turns and shrinks."""
    centre, radius = 70.6 + 11.2j, 8.2
    axes.add_patch(Circle((centre.real, centre.imag), radius, fill=False, color=FAINT, lw=0.6))
    for end in (radius, radius * 1j):
        (x0, y0), (x1, y1) = ((p.real, p.imag) for p in (centre - 1.06 * end, centre + 1.06 * end))
        axes.plot([x0, x1], [y0, y1], color=FAINT, linewidth=0.6)
    path = centre + radius * (0.93 * np.exp(0.33j)) ** np.arange(30)
    axes.plot(path.real, path.imag, color=LEAK, marker="o", markersize=2.4, linewidth=0.9)
    for y, text in (
        (14.8, "Without input and"),
        (12.4, "spikes, every step turns"),
        (10.0, r"$u$ by $\arg A$ and scales"),
        (7.6, r"it by $|A|$."),
    ):
        note(axes, (82.0, y), text, fontsize=7.5, ha="left")


def panel(axes: Axes, corner: Point, width: float, height: float, title: str) -> None:
    """A pale panel with a title in its upper left corner."""
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
    """An equation from ``point`` to the right. Its pieces are separated by ``|``, each preceded by
    the name of its colour and a colon: ``"ink:$u =$|leak:$\\alpha$"``."""
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


@program(PROGRAM)
def main(argv: list[str] | None) -> None:
    """Write figures/main_figure.png, or the file that the arguments name."""
    parser = Parser(PROGRAM, description=__doc__.split("\n")[0])
    write_figure(parse_with_output(parser, argv), "main_figure", draw)


if __name__ == "__main__":
    sys.exit(main())
