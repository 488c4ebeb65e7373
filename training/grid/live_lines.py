# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The progress of several processes, one line each, at the foot of the terminal."""

import os
import shutil
import sys
import time

from tqdm import tqdm

from training.terminal.console import duration

TIME_COLUMNS = 11


class LiveLines:
    """Shows the progress bars that other processes draw into pipes.

    Where standard error is no terminal, nothing is shown and no pipe is made.
    """

    def __init__(self, slots: int, names: list[str]):
        self.name_columns = max(map(len, names))
        self.live = sys.stderr.isatty()
        self.slots = slots
        self.lines: dict[int, tqdm] = {}
        self.texts: dict[int, str] = {}
        self.begin = time.monotonic()

    def pipe(self) -> tuple[int | None, int | None]:
        """Ends (to read, to draw into) of a pipe for one process."""
        if not self.live:
            return None, None
        reading, drawing = os.pipe()
        os.set_blocking(reading, False)
        return reading, drawing

    def columns(self) -> int:
        """Width of the progress bar beside the name and the time."""
        width = shutil.get_terminal_size().columns
        return max(20, width - self.name_columns - TIME_COLUMNS - 3)

    def show(self, running: list, waiting: int, count: int) -> None:
        """Draw a line for each run, and one for all of them."""
        if not self.live:
            return
        for run in running:
            self.texts[run.slot] = newest(run.progress, self.texts.get(run.slot, "starting"))
            head = f"{run.name:<{self.name_columns}} {self.elapsed(run.started):>{TIME_COLUMNS}}"
            self.draw(run.slot, f"{head}  {self.texts[run.slot]}")
        done = count - waiting - len(running)
        elapsed = self.elapsed(self.begin)
        text = f"{done} of {count} runs done, {len(running)} running, {waiting} waiting, {elapsed}"
        self.draw(self.slots, text)

    @staticmethod
    def elapsed(begin: float) -> str:
        """Time since ``begin`` in whole seconds."""
        return duration(round(time.monotonic() - begin)).replace(".0", "")

    def draw(self, position: int, text: str) -> None:
        """Put ``text`` on one of the lines."""
        if position not in self.lines:
            self.lines[position] = tqdm(
                bar_format="{desc}", position=position, leave=False, dynamic_ncols=True
            )
        if self.lines[position].desc != text:
            self.lines[position].set_description_str(text)

    def forget(self, run) -> None:
        """Clear the line of a run that is over."""
        if run.progress is None:
            return
        os.close(run.progress)
        self.texts.pop(run.slot, None)
        if run.slot in self.lines:
            self.lines.pop(run.slot).close()

    def close(self) -> None:
        """Clear every line, and go back to the begin of the first."""
        if self.lines:
            for position in sorted(self.lines, reverse=True):
                self.lines.pop(position).close()
            sys.stderr.write("\r")


def newest(pipe: int, before: str) -> str:
    """The last whole line that was drawn into ``pipe``, or the one ``before``."""
    drawn = b""
    try:
        while block := os.read(pipe, 65536):
            drawn += block
    except BlockingIOError:
        pass
    texts = [text.strip() for text in drawn.decode(errors="ignore").split("\r")]
    return next((text for text in reversed(texts) if text), before)
