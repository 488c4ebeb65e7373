# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The progress of runs in other processes: lines at the foot of the terminal, one for each."""

import shutil
import sys
from pathlib import Path

from tqdm import tqdm

from training.record import files
from training.terminal.console import percent


class Display:
    """Lines that are drawn over and over; nothing where standard error is no terminal."""

    def __init__(self):
        self.live = sys.stderr.isatty()
        self.lines: list[tqdm] = []

    def show(self, runs: list[str], total: str) -> None:
        """Draw a line for each run that is going on, as far as there is room, and the total."""
        room = max(shutil.get_terminal_size().lines - 3, 1)  # tqdm keeps two rows free
        if len(runs) > room:
            runs = [*runs[: room - 1], f"and {len(runs) - room + 1} more"]
        texts = [*runs, total]
        while len(self.lines) > len(texts):
            self.lines.pop().close()
        while len(self.lines) < len(texts):
            self.lines.append(
                tqdm(bar_format="{desc}", position=len(self.lines), leave=False, dynamic_ncols=True)
            )
        for line, text in zip(self.lines, texts, strict=True):
            if line.desc != text:
                line.set_description_str(text)

    def close(self) -> None:
        """Clear every line, and put the cursor where the first began."""
        if self.lines:
            while self.lines:
                self.lines.pop().close()
            sys.stderr.write("\r")


def progress(folder: Path, nb_epochs: int) -> str:
    """How far the run in ``folder`` is, by its metrics.jsonl."""
    records = files.read_lines(folder / "metrics.jsonl")
    accuracies = [record["accuracy"] for record in records if record.get("split") == "valid"]
    if not accuracies:
        return f"epoch 1/{nb_epochs}"
    if len(accuracies) >= nb_epochs:
        return "testing"
    return (
        f"epoch {len(accuracies) + 1}/{nb_epochs}  valid acc {percent(accuracies[-1])}, "
        f"best {percent(max(accuracies))}"
    )
