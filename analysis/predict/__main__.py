# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What a trained network takes recordings for: ``python -m analysis.predict RUN FILES ...``.

Prints a table of words, and writes CSV and JSON files where asked; searches long recordings for
words, and draws what it finds.
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.listening import Listener, open_listener
from analysis.predict import output
from analysis.predict.clips import (
    LONG,
    Prediction,
    Reader,
    find_clips,
    predict_recordings,
    predict_spikes,
    read_test_clips,
)
from analysis.predict.windows import Search, Windows, search
from analysis.style import print_style, save
from analysis.trained import RUN
from datasets.features import FRAME_MS
from datasets.recordings import FORMATS
from datasets.splits import some
from parsers.load import ConfigError
from parsers.program import Parser, add_gpu_device, check_file, check_folder, numeric, program
from training.record import files
from training.terminal.console import start_logging

PROGRAM = "analysis.predict"
Searches = dict[str, tuple[Windows, Search]]  # of long recordings, by their names
HOPS = 4  # windows in the length of one
STDOUT = "-"
DESCRIPTION = (
    f"What a trained network takes {FORMATS} recordings, or clips of spikes in HDF5 files, for. "
    "Recordings longer than those of its training are searched for words by a sliding window. "
    "Where the folder of a recording is named after its word, the accuracy is printed too."
)
EXAMPLES = """\
examples:
  python -m analysis.predict MY_RUN yes.wav no.flac
  python -m analysis.predict MY_RUN FOLDER_OF_WORDS --csv words.csv
  python -m analysis.predict MY_RUN lecture.wav --threshold 0.9 --pictures timelines
  python -m analysis.predict demo_SiLIF datasets/demo/demo_test.h5.gz --json -
"""


def read_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line; ConfigError for a mistake in it."""
    parser = Parser(
        PROGRAM,
        usage=f"python -m {PROGRAM} RUN FILE_OR_FOLDER ... [options]",
        description=textwrap.fill(DESCRIPTION, width=100),
        epilog=EXAMPLES,
        formatter_class=lambda prog: argparse.RawDescriptionHelpFormatter(prog, width=100),
    )
    add = parser.add_argument
    add("run", metavar="RUN", help=RUN)
    text = f"{FORMATS} or HDF5 files, or folders with such files in them"
    add("paths", nargs="+", type=Path, metavar="FILE_OR_FOLDER", help=text)
    text = "write all predictions to a file; without FILE, or with -, to standard output"
    add("--csv", nargs="?", const=STDOUT, metavar="FILE", help=text)
    add("--json", nargs="?", const=STDOUT, metavar="FILE", help="the same, with the windows")
    seconds = numeric(float, 0)
    text = "s of the sliding window; longer recordings are searched; 0: none is [default: the usual"
    text += f" clip of the training, for recordings over {LONG:g} times its longest]"
    add("--window", type=seconds, metavar="S", help=text)
    text = "s from one window to the next [default: a quarter of a window]"
    add("--hop", type=numeric(float, 0.01), metavar="S", help=text)
    text = "lowest probability of a word in a long recording [default: %(default)g]"
    add("--threshold", type=numeric(float, 0, 1), default=0.5, metavar="P", help=text)
    text = "folder for the timelines of long recordings [default: %(default)s]"
    add("--pictures", type=Path, default=Path("timelines"), metavar="FOLDER", help=text)
    add("--skip_bad_files", "--skip-bad-files", action="store_true", help="that cannot be used")
    add("--overwrite", action="store_true", help="replace CSV and JSON files that exist")
    add("--config", metavar="NAME", help="options of a folder without a config.yaml")
    add_gpu_device(parser)
    arguments = parser.parse_args(argv)
    if arguments.csv == arguments.json == STDOUT:
        raise ConfigError("--csv and --json cannot both go to standard output: name a file")
    for kind in ("csv", "json"):
        check_target(f"--{kind}", getattr(arguments, kind), arguments.overwrite)
    check_folder("--pictures", arguments.pictures)
    return arguments


def check_target(flag: str, target: str | None, overwrite: bool) -> None:
    """ConfigError for a file that cannot be written, or is there and not to be replaced."""
    if target in (None, STDOUT):
        return
    check_file(f"{flag}, after the recordings", Path(target))
    if not target.lower().endswith(f".{flag.removeprefix('--')}"):
        raise ConfigError(f"{flag} {target}: the file must end in .{flag.removeprefix('--')}")
    if Path(target).exists() and not overwrite:
        raise ConfigError(f"{flag} {target} exists; --overwrite replaces it")


@program(PROGRAM)
def main(argv: Sequence[str] | None) -> None:
    """Do what the command line asks for."""
    arguments = read_arguments(argv)
    start_logging()
    sounds, spikes = find_clips(arguments.paths)
    listener = open_listener(
        arguments.run, config=arguments.config, gpu_device=arguments.gpu_device
    )
    how = windows(listener, arguments)
    say = print if STDOUT not in (arguments.csv, arguments.json) else to_stderr
    for note in (*listener.notes, *([listener.ear_note] if sounds and listener.ear_note else [])):
        say(f"note: {note}")
    test = read_test_clips(listener.folder)
    longest = LONG * listener.seconds[2] if arguments.window is None else arguments.window
    reader = Reader(listener, longest, skip_bad_files=arguments.skip_bad_files)
    found, long = predict_recordings(listener, reader, sounds, test)
    searches = {}
    for index, sound in long.items():
        name = str(sounds[index].path)
        searches[name] = how, search(listener, name, sound, how)
    clips = [found[index] for index in sorted(found)]
    clips += [clip for path in spikes for clip in predict_spikes(listener, path, test)]
    if reader.bad:
        say(f"skipped {len(reader.bad)}: {some(reader.bad)}")
    report(say, listener, clips, searches, output.accuracy_lines(clips, test))
    for path in draw(arguments.pictures, listener, searches):
        say(f"timeline: {path}")
    write(arguments, listener, clips, searches)


def to_stderr(text: str) -> None:
    """Print beside a file that goes to standard output."""
    print(text, file=sys.stderr)


def windows(listener: Listener, arguments: argparse.Namespace) -> Windows:
    """How long recordings are searched; ConfigError for windows that the network does not hear."""
    seconds = arguments.window or listener.seconds[0]
    if 1000 * seconds < 2 * FRAME_MS:
        raise ConfigError(f"--window {seconds:g}: a window takes {2 * FRAME_MS} ms at least")
    if listener.binning is not None and seconds > listener.binning.max_time:
        raise ConfigError(
            f"--window {seconds:g}: the network hears clips of {listener.binning.max_time:g} s"
        )
    return Windows(seconds, arguments.hop or seconds / HOPS, arguments.threshold)


def report(
    say,
    listener: Listener,
    clips: list[Prediction],
    searches: Searches,
    accuracy: list[str],
) -> None:
    """Print the tables."""
    if clips:
        say(output.clip_table(clips))
    if accuracy:
        lines = [*accuracy, "", output.confusion_table(clips, listener.classes)]
        say("\n" + "\n".join(lines).rstrip())
    for name, (how, result) in searches.items():
        say("\n" * bool(clips) + output.word_lines(name, how, result))


def draw(folder: Path, listener: Listener, searches: Searches) -> Iterator[Path]:
    """Draw the timelines of long recordings, and name their files."""
    drawn: Counter[str] = Counter()
    for name, (how, result) in searches.items():
        stem = Path(name).stem
        drawn[stem] += 1
        path = folder / (f"{stem}.png" if drawn[stem] == 1 else f"{stem}_{drawn[stem]}.png")
        with print_style():
            figure = output.timeline(Path(name).name, listener.classes, how, result)
            yield save(figure, path)


def write(
    arguments: argparse.Namespace,
    listener: Listener,
    clips: list[Prediction],
    searches: Searches,
) -> None:
    """Write the files that were asked for."""
    words = [word for _, result in searches.values() for word in result.words]
    content = output.as_json(str(listener.folder), listener.classes, clips, searches)
    texts = {"csv": output.as_csv([*clips, *words]), "json": output.json_text(content)}
    for kind, text in texts.items():
        target = getattr(arguments, kind)
        if target == STDOUT:
            sys.stdout.write(text)
        elif target is not None:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            files.write_text(Path(target), text)


if __name__ == "__main__":
    sys.exit(main())
