# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The documents of the repository: their commands, code, headings and links."""

import re
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
PAGES = [
    *(REPO / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((REPO / "docs").glob("*.md")),
    *(
        REPO / folder / "README.md"
        for folder in ("analysis", "benchmarks", "reference_models", "datasets/demo")
    ),
    REPO / "models" / "dynamics" / "README.md",
]
EQUATIONS = {REPO / "models" / "dynamics" / "README.md"}  # its indented lines are no commands
COMMAND = re.compile(
    r"(?:\w+=\S+ )*(?:python|pip|pytest|ruff|wandb|mkdocs|pyright|scripts/\S+\.sh) \S"
)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def python_blocks(page: Path) -> list[str]:
    """The fenced Python blocks, in order."""
    return re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def code_spans(page: Path) -> list[str]:
    """What stands between backticks in the text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose(page))]


def indented(page: Path) -> list[str]:
    """The lines indented by four spaces; nested lists are not used in these documents."""
    return [line.strip() for line in prose(page).splitlines() if re.match(r"    \S", line)]


def commands(page: Path) -> list[str]:
    """Every command of a page, indented or in the text, once and without its comment."""
    lines = [] if page in EQUATIONS else indented(page)
    lines += [span for span in code_spans(page) if COMMAND.match(span)]
    parts = [part for line in lines for part in re.sub(r"\s+# .*", "", line).split(" && ")]
    return list(dict.fromkeys(parts))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[str]:
    """The targets of all links and pictures within the repository."""
    return re.findall(r"\[[^\]]*\]\((?!https?://)([^)\s]+)\)", prose(page))
