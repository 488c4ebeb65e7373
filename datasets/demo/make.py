# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Make the demo data set again, or check the shipped files against what this code makes.

    python -m datasets.demo.make [--out FOLDER]     # write demo_train.h5.gz and demo_test.h5.gz
    python -m datasets.demo.make --check            # make both and compare with the shipped bytes

Needs ``espeakng-loader`` (requirements-dev.txt).
"""

if __name__ == "__main__":
    from parsers.start import start

    start()

import argparse
import gzip
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from datasets.cochlea import spikes_from_audio
from datasets.demo.augment import CLIP, background_voices, random_clip
from datasets.demo.speech import (
    BABBLE_SPEAKERS,
    BABBLE_TEXT,
    TEST_SPEAKERS,
    TRAIN_SPEAKERS,
    WORDS,
    Speaker,
    Synthesizer,
    voice_name,
)
from datasets.errors import DataError
from datasets.files import atomic_file
from datasets.shd_file import Clip, write_shd
from parsers.program import Parser, program

PROGRAM = "datasets.demo.make"
FOLDER = Path(__file__).resolve().parent
SEED = 2026
BABBLE_SECONDS = 20
SPEED = (140, 200)  # words per minute
PITCH_SPREAD = 10  # around the speaker's own, on eSpeak's scale
INTONATION = (20, 90)  # eSpeak's pitch range
# Times are multiples of 2^-10 s, which float16 holds exactly. Finer ones would make the files a
# sixth larger and are out of reach of time bins of milliseconds.
TICKS = 1024


class Split(NamedTuple):
    """Every speaker says every word ``repeats`` times; ``number`` seeds the split."""

    name: str
    number: int
    speakers: list[Speaker]
    first_speaker: int
    repeats: int

    @property
    def nb_clips(self) -> int:
        return self.repeats * len(self.speakers) * len(KEYS)


KEYS = [word for words in WORDS.values() for word in words]
SPLITS = [
    Split("train", 0, TRAIN_SPEAKERS, 0, 2),
    Split("test", 1, TEST_SPEAKERS, len(TRAIN_SPEAKERS), 2),
]


def make_clips(split: Split) -> Iterator[Clip]:
    """The clips of a split in the order of its file, made one at a time."""
    synthesizer = Synthesizer()
    voices = [
        synthesizer.speak(BABBLE_TEXT, voice_name(speaker, "english"))
        for speaker in BABBLE_SPEAKERS
    ]
    babble = background_voices(voices, BABBLE_SECONDS * synthesizer.rate)
    order = product(range(split.repeats), enumerate(split.speakers), range(len(KEYS)))
    for i, (_, (position, speaker), label) in enumerate(order):
        rng = np.random.default_rng([SEED, split.number, i])
        word = synthesizer.speak(
            KEYS[label],
            voice_name(speaker, "english" if label < 10 else "german"),
            speed=rng.integers(*SPEED),
            pitch=speaker.pitch + rng.integers(-PITCH_SPREAD, PITCH_SPREAD + 1),
            intonation=rng.integers(*INTONATION),
        )
        audio, gain = random_clip(rng, word, babble, synthesizer.rate)
        times, units = spikes_from_audio(audio, synthesizer.rate, [SEED, split.number, i], gain)
        yield Clip(*_on_ticks(times, units), label, split.first_speaker + position)


def _on_ticks(times: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Times rounded down to a tick, and units ascending within a tick: gzip gains a lot by it."""
    ticks = np.floor(times.astype(np.float64) * TICKS)
    # float16 has rounded the last quarter of a millisecond up to the end of the clip.
    ticks = np.minimum(ticks, CLIP * TICKS - 1)
    order = np.lexsort((units, ticks))
    return (ticks[order] / TICKS).astype(np.float16), units[order]


def write_split(split: Split, folder: Path) -> Path:
    """Make a split and write ``demo_{name}.h5.gz`` into ``folder``, whole or not at all."""
    clips = list(tqdm(make_clips(split), split.name, split.nb_clips, unit="clip", disable=None))
    target = folder / f"demo_{split.name}.h5.gz"
    with tempfile.TemporaryDirectory() as work, atomic_file(target) as file:
        write_shd(Path(work) / "clips.h5", clips, KEYS)
        # No name and no time in the header: the same clips give the same bytes.
        file.write(gzip.compress((Path(work) / "clips.h5").read_bytes(), compresslevel=9, mtime=0))
    return target


def check(folder: Path = FOLDER) -> list[str]:
    """Make all files anew and return the names of those in ``folder`` that differ by any byte."""
    differing = []
    with tempfile.TemporaryDirectory() as work:
        for split in SPLITS:
            made = write_split(split, Path(work))
            if made.read_bytes() != (folder / made.name).read_bytes():
                differing.append(made.name)
    return differing


@program(PROGRAM)
def main(argv: list[str] | None) -> int:
    """Do what the command line asks for; the exit status (1: the shipped files differ, 2: something
    the user can mend)."""
    parser = Parser(
        PROGRAM, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder to write to")
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    args = parser.parse_args(argv)
    if args.check:
        differing = check()
        print(f"differs: {', '.join(differing)}" if differing else "the same bytes")
        return 1 if differing else 0
    if not args.out.is_dir():
        raise DataError(f"--out {args.out}: there is no such folder; make it first")
    for split in SPLITS:
        path = write_split(split, args.out)
        print(f"{path}: {split.nb_clips} clips, {path.stat().st_size / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
