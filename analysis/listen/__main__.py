# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a trained network hears right now: ``python -m analysis.listen RUN``.

Listens to a microphone, or to a file at the speed at which it was spoken; shows the leading words
while somebody speaks, prints each word that is sure enough, and in the end how late answers came.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import shutil
import statistics
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from analysis.listen.ears import Ear, Heard, make_ear
from analysis.listen.sources import Block, Microphone, from_file
from analysis.listening import Listener, open_listener
from datasets.features import FRAME_MS
from parsers.load import ConfigError
from parsers.program import Parser, numeric, program
from training.terminal.console import percent, start_logging

PROGRAM = "analysis.listen"
HOPS = 4  # windows in the length of one
LEADING = 3  # words that are shown
BAR = 12  # characters, of a probability of 1
REDRAWN = 0.05  # s, at least, between two lines on the screen
DESCRIPTION = (
    "What a trained network hears: in a microphone, until Ctrl-C, or in a recording. Networks of "
    "features hear each frame of 10 ms once; networks of spikes hear the last window again and "
    "again. Latency is the time from a sound to an answer that knows it; the real-time factor is "
    "the time of computing for a second of sound."
)


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(PROGRAM, description=textwrap.fill(DESCRIPTION, width=100))
    add = parser.add_argument
    add("run", metavar="RUN", help="folder of a run, or a name in reference_models/")
    add("--file", type=Path, help="a recording instead of the microphone")
    add("--fast", action="store_true", help="hear the file as fast as this machine can")
    add("--device", metavar="NAME", help="number of a microphone, or part of its name")
    text = "s that a word has [default: of most clips of the training]"
    add("--window", type=numeric(float, 2 * FRAME_MS / 1000, 60), metavar="S", help=text)
    text = "s from one window to the next [default: a quarter of a window]"
    add("--hop", type=numeric(float, 0.01, 60), metavar="S", help=text)
    text = "lowest probability of a word that is printed [default: %(default)g]"
    add("--threshold", type=numeric(float, 0, 1), default=0.5, metavar="P", help=text)
    text = "windows below this level are silence, in dB of full scale [default: %(default)g]"
    add("--quiet", type=numeric(float, -120, 0), default=-60.0, metavar="DB", help=text)
    add("--config", metavar="NAME", help="options of a folder without a config.yaml")
    arguments = parser.parse_args(argv)
    if arguments.fast and arguments.file is None:
        raise ConfigError("--fast is for a --file: nobody speaks faster into a microphone")
    if arguments.device is not None and arguments.file is not None:
        raise ConfigError("--device is a microphone and --file a recording: give one of them")
    return arguments


class Display:
    """The live line on a terminal, and the words."""

    def __init__(self, listener: Listener, window: float, threshold: float, quiet: float):
        self.classes, self.window = listener.classes, window
        self.threshold, self.quiet = threshold, quiet
        self.live = sys.stderr.isatty()
        self.drawn = -1.0
        self.last: tuple[str, float] = "", -1.0  # word and its end in s

    def show(self, heard: Heard) -> None:
        """Draw what is heard now, and print it if it is a word."""
        chances = torch.softmax(heard.scores.double(), dim=0)
        best = chances.topk(min(LEADING, len(chances)))
        leading = [
            (self.classes[label], chance)
            for chance, label in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        (word, chance), *_ = leading
        silent = heard.level < self.quiet
        new = word != self.last[0] or heard.start >= self.last[1]
        if heard.whole and not silent and chance >= self.threshold and new:
            self.clear()
            times = f"{heard.start:7.2f} to {heard.end:6.2f} s"
            print(f"{times}  {word:<12} {percent(chance, 1):>8}", flush=True)
            self.last = word, heard.end
        now = time.perf_counter()
        if self.live and now - self.drawn >= REDRAWN:
            self.drawn = now
            words = [f"{name} {percent(p, 0)}" for name, p in leading]
            bar = "" if silent else "#" * round(BAR * chance)
            text = f"{heard.end:7.2f} s  {bar:<{BAR}}  {'(quiet)' if silent else '  '.join(words)}"
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write("\r\x1b[K" + text[:width])
            sys.stderr.flush()

    def clear(self) -> None:
        """Remove the live line."""
        if self.live:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


class Clock:
    """How late answers come, and what they cost."""

    def __init__(self):
        self.begin = time.perf_counter()
        self.sound = self.computing = 0.0  # s
        self.late: list[float] = []  # s, of every answer while sound came

    def summary(self, ear: Ear, source: Iterable[Block]) -> str:
        """What was measured."""
        took = time.perf_counter() - self.begin
        said = f"heard {self.sound:.1f} s of sound in {took:.1f} s"
        if not self.late:
            return f"{said}, less than a window, of which latency could be told"
        late = sorted(1000 * x for x in self.late)
        usual, worst = statistics.median(late), late[int(0.99 * len(late))]
        parts = [ear.delay, f"{usual:.1f} ms (99%: {worst:.1f} ms) of computing"]
        if isinstance(source, Microphone):
            parts.insert(0, f"{1000 * source.latency:.0f} ms of the microphone")
            if source.lost:
                said += f", of which the microphone lost some {source.lost} times"
        factor = self.computing / self.sound
        return f"{said}; latency: {', '.join(parts)}; real-time factor {factor:.3f}"


def listen(source: Iterable[Block], ear: Ear, display: Display) -> Clock:
    """Show what is heard until the sound ends, or Ctrl-C."""
    clock = Clock()
    try:
        for block in source:
            start = time.perf_counter()
            found = ear.hear(block.samples)
            for heard in found:
                display.show(heard)
            done = time.perf_counter()
            clock.sound += len(block.samples) / ear.rate
            clock.computing += done - start
            if found:
                clock.late.append(done - block.when)
        for heard in ear.end():
            display.show(heard)
    except KeyboardInterrupt:
        pass
    display.clear()
    return clock


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Listen; see the module's docstring."""
    arguments = read_arguments(argv)
    start_logging()
    listener = open_listener(arguments.run, config=arguments.config)
    listener.model.cpu()  # which is faster at a single step than a GPU
    torch.set_num_threads(1)
    for note in (*listener.notes, *([listener.ear_note] if listener.ear_note else [])):
        print(f"note: {note}")
    seconds = arguments.window or listener.seconds[1]
    hop = arguments.hop or seconds / HOPS
    if hop > seconds:
        raise ConfigError(f"--hop {hop:g} s leaves sound between windows of {seconds:g} s unheard")
    ear = make_ear(listener, seconds, hop)
    if arguments.file is None:
        source = Microphone(ear.rate, arguments.device)
    else:
        source = from_file(arguments.file, ear.rate, fast=arguments.fast)
    print(f"a window of {seconds:g} s every {hop:g} s, at {ear.rate} Hz; getting ready", flush=True)
    ear.warm_up()
    if arguments.file is None:
        source.start()
        print("listening, until Ctrl-C", flush=True)
    display = Display(listener, ear.seconds, arguments.threshold, arguments.quiet)
    clock = listen(source, ear, display)
    print(clock.summary(ear, source))


if __name__ == "__main__":
    sys.exit(main())
