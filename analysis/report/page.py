# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A report as one self-contained HTML file, and its pictures as files beside it."""

import base64
import html
import io
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from parsers.program import check_folder
from training.errors import ExperimentError
from training.record import files
from training.record.files import writing_to

INDEX, DATA = "index.html", "report.json"
SCALE = 70  # pixels of the page for an inch of a figure, so that all have letters of one size
DPI = 2 * SCALE  # of the pictures: sharp on screens with two pixels to one of the page
STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --paper: #fbfbfd; --card: #ffffff;
  --line: #d9dde5; --faint: #5a6373; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --paper: #121212; --card: #1c1c1c;
  --line: #3c3c3c; --faint: #ababab; --link: #7fb8f5; }
  figure img { filter: invert(.89) hue-rotate(180deg); } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 84rem; padding: 1rem; background: var(--paper);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .5rem;
  border-top: 1px solid var(--line); }
p { max-width: 48rem; }
.lead { font-size: 1.1rem; }
a { color: var(--link); }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; list-style: none; padding: 0; }
nav a { display: inline-block; padding: .3rem 0; }
.grid { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
figure { margin: 0; max-width: 100%; background: var(--card); border: 1px solid var(--line);
  border-radius: .5rem; overflow: hidden; }
figure img { display: block; height: auto; } .still img { width: 100%; }
figcaption { padding: .5rem .75rem; color: var(--faint); font-size: .9rem; }
.wide { margin: 1rem 0; }
.scroll { overflow-x: auto; margin: 1rem 0; overflow-wrap: normal; }
code { white-space: nowrap; font-size: .9em; }
.pan { overflow-x: auto; }
@media (max-width: 40rem) { .pan + figcaption::after {
  content: " The picture scrolls sideways."; } }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .7rem; border-bottom: 1px solid var(--line); text-align: right;
  white-space: nowrap; }
th { color: var(--faint); font-weight: 600; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.facts td { text-align: left; }
.facts td + td { white-space: normal; overflow-wrap: anywhere; }
.note { border-left: .25rem solid #d55e00; padding: .2rem .8rem; }
details { margin: 1rem 0; } summary { cursor: pointer; }
footer { margin-top: 3rem; color: var(--faint); font-size: .9rem; }
"""


class Page:
    """Sections of a report, written out together.

    ``numbers`` goes into report.json: every figure's data that a reader may want to have.
    """

    def __init__(self, title: str):
        self.title = title
        self.numbers: dict[str, Any] = {}
        self.contents: list[tuple[str, str]] = []
        self.body: list[str] = []
        self.lead = ""
        self.pictures: dict[str, bytes] = {}

    def section(self, name: str, heading: str) -> None:
        """Begin a section; ``name`` is its anchor."""
        self.contents.append((name, heading))
        self.body.append(f'<h2 id="{name}">{html.escape(heading)}</h2>')

    def say(self, text: str, kind: str = "") -> None:
        """A paragraph of text, in which `...` marks code."""
        style = f' class="{kind}"' if kind else ""
        marked = re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text))
        self.body.append(f"<p{style}>{marked}</p>")

    def table(
        self,
        rows: Sequence[Sequence],
        headers: Sequence[str] = (),
        kind: str = "",
        folded: str = "",
    ) -> None:
        """A table that scrolls by itself where it is wider than the screen; ``folded`` is the
        summary of one that is collapsed at first."""
        style = f' class="{kind}"' if kind else ""
        lines = [f'<div class="scroll"><table{style}>']
        if headers:
            cells = "".join(f'<th scope="col">{html.escape(str(name))}</th>' for name in headers)
            lines.append(f"<thead><tr>{cells}</tr></thead>")
        lines.append("<tbody>")
        for row in rows:
            cells = "".join(f"<td>{breakable(str(cell))}</td>" for cell in row)
            lines.append(f"<tr>{cells}</tr>")
        lines.append("</tbody></table></div>")
        if folded:
            lines = [f"<details><summary>{html.escape(folded)}</summary>", *lines, "</details>"]
        self.body.append("\n".join(lines))

    def figures(self, entries: Sequence[tuple[str, Any, str]]) -> None:
        """Pictures side by side where there is room: (file name, Figure, what is seen on it)."""
        parts = [self._figure(*entry) for entry in entries]
        self.body.append('<div class="grid">\n' + "\n".join(parts) + "\n</div>")

    def wide_figure(self, name: str, figure, caption: str, *, pan: bool = False) -> None:
        """A picture that takes a line of its own; ``pan``: it keeps its size on a small screen and
        scrolls by itself."""
        picture = self._figure(name, figure, caption, "pan" if pan else "still")
        self.body.append(f'<div class="wide">{picture}</div>')

    def _figure(self, name: str, figure, caption: str, kind: str = "still") -> str:
        picture = as_png(figure)
        self.pictures[f"{name}.png"] = picture
        data = base64.b64encode(picture).decode("ascii")
        width, height = (round(SCALE * inches) for inches in figure.get_size_inches())
        text = html.escape(caption, quote=True)
        return (
            f'<figure style="width: {width + 2}px"><div class="{kind}">'
            f'<img src="data:image/png;base64,{data}" alt="{text}" width="{width}" '
            f'height="{height}"></div><figcaption>{text}</figcaption></figure>'
        )

    def html(self) -> str:
        """The whole page."""
        title = html.escape(self.title)
        links = "".join(
            f'<li><a href="#{name}">{html.escape(heading)}</a></li>'
            for name, heading in self.contents
        )
        return "\n".join(
            [
                '<!doctype html><html lang="en"><head><meta charset="utf-8">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{title}</title><style>{STYLE}</style></head><body>",
                f'<header><h1>{title}</h1><p class="lead">{html.escape(self.lead)}</p></header>',
                f'<nav aria-label="Contents"><ul>{links}</ul></nav><main>',
                *self.body,
                "</main><footer>Made by Sprache, <code>python -m analysis.report</code>. The "
                "pictures are PNG files in the same folder, the numbers are in report.json."
                "</footer></body></html>",
            ]
        )

    def write(self, folder: Path) -> Path:
        """Write page, pictures and numbers in place of an earlier report; the path of the page."""
        with writing_to(folder, "--output"):
            folder.mkdir(parents=True, exist_ok=True)
            for name in pictures_of(folder) - self.pictures.keys():
                (folder / name).unlink(missing_ok=True)
            for name, content in self.pictures.items():
                files.write_atomic(folder / name, lambda path, data=content: path.write_bytes(data))
            numbers = self.numbers | {"pictures": sorted(self.pictures)}
            files.write_json(folder / DATA, numbers)
            files.write_text(folder / INDEX, self.html())
        return folder / INDEX


def breakable(text: str) -> str:
    """Text as HTML whose paths and names may be broken at their joints, rather than in words."""
    return re.sub(r"([/_])(?=\w)", r"\1<wbr>", html.escape(text))


def as_png(figure) -> bytes:
    """The figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI)
    return buffer.getvalue()


def check_free(folder: Path) -> None:
    """ConfigError unless ``folder`` can be written, ExperimentError unless it is empty or holds an
    earlier report."""
    check_folder("--output", folder)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / DATA).is_file():
        raise ExperimentError(
            f"--output {folder} holds something that is not a report: name another folder"
        )


def pictures_of(folder: Path) -> set[str]:
    """The pictures of an earlier report in ``folder``."""
    try:
        names = json.loads((folder / DATA).read_text(encoding="utf-8"))["pictures"]
    except (OSError, ValueError, KeyError):
        return set()
    return {name for name in names if name == Path(name).name and name.endswith(".png")}
