# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recordings of one's own into training, validation and test clips."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from datasets.errors import DataError
from datasets.files import readable, refuse_file
from datasets.recordings import FORMATS, read_or_refuse
from datasets.splits import (
    SPLITS,
    TABLES,
    WORD_LISTS,
    left_out,
    list_words,
    recordings_in,
    some,
    subfolders,
)

SHARE = 0.1  # of the clips or speakers, for validation and for test each
LEAST_TRAINING = 0.3  # of the clips, where speakers decide
ATTEMPTS = 100  # of a random choice of speakers, of which the best is kept
# Names that tell who speaks: as in Google Speech Commands, and as in Heidelberg Digits.
SPEAKER_NAMES = (r"^(.+?)_nohash_", r"speaker[-_]?(\w+?)(?:[-_.]|$)")


def speaker_pattern(paths: Sequence[Path]) -> str | None:
    """The one of ``SPEAKER_NAMES`` that every file name follows, None if there is none."""
    for pattern in SPEAKER_NAMES:
        if all(re.search(pattern, path.name) for path in paths):
            return pattern
    return None


def partition(
    folder: Path,
    paths: Sequence[Path],
    labels: Sequence[int],
    speakers: Sequence[int],
    seed: int,
    say: Callable[[str], None] = print,
) -> tuple[dict[str, list[int]], str]:
    """Indices of the clips for training, validation and test, and what decided on them.

    Lists of files in ``folder`` decide, see `list_words`. Without them, about a tenth of the
    speakers each are for validation and test where there are enough of them, else a tenth of the
    clips of every class. The same ``seed`` gives the same parts. ``say`` takes a line on clips that
    are listed but are not among ``paths``.
    """
    if any((folder / name).is_file() for name in (*WORD_LISTS.values(), *TABLES.values())):
        listing = list_words(folder)
        chosen = {folder / path: name for name, clips in listing.clips.items() for path, _ in clips}
        parts = np.array([chosen.get(path, "") for path in paths])
        rule = listing.rule
        if absent := sorted(map(str, chosen.keys() - set(paths))):
            say(f"listed, but not converted: {some(absent)}")
    else:
        labels, speakers = np.asarray(labels), np.asarray(speakers)
        parts = _by_speaker(labels, speakers, np.random.RandomState(seed))
        rule = f"speaker, of {len(np.unique(speakers))}"
        if parts is None:
            parts, rule = _by_class(labels, np.random.RandomState(seed)), "class"
    return {split: np.flatnonzero(parts == split).tolist() for split in SPLITS}, rule


def find_wavs(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    """Recordings in ``folder``, their labels and the class names (sub-folders, sorted by name).

    Sub-folders whose name begins with ``_`` or ``.`` are no classes (``_background_noise_``), nor
    are those without a recording. Prints what is left out.
    Raises DataError where there is no folder, or no recording in a sub-folder.
    """
    refuse_file(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    words = {name: recordings_in(folder / name) for name in subfolders(folder)}
    keys = sorted({readable(name) for name, files in words.items() if files})
    if not keys:
        raise DataError(f"no {FORMATS} files in sub-folders of {folder}: one sub-folder per word")
    for note in left_out(folder, words):
        print(note)
    clips = [(folder / word / file, word) for word, files in words.items() for file in files]
    return [path for path, _ in clips], [keys.index(readable(word)) for _, word in clips], keys


def why_not(path: Path) -> str:
    """Why a recording cannot be used, with its path; nothing where it can."""
    try:
        samples = read_or_refuse(path).samples
    except DataError as error:
        return str(error)
    return "" if np.ptp(samples) else f"{path}: audio is silent"


def speaker_numbers(paths: list[Path], pattern: str | None) -> list[int]:
    """Number of each file's speaker: the rank of what group 1 of ``pattern`` finds in its name.

    All 0 without a pattern. Raises DataError for a pattern that is faulty or finds no speaker.
    """
    if pattern is None:
        return [0] * len(paths)
    names = []
    for path in paths:
        try:
            names.append(re.search(pattern, path.name)[1])
        except re.error as error:
            raise DataError(
                f"--speaker_from {pattern!r} is not a valid regular expression: {error}"
            ) from error
        except (TypeError, IndexError):
            names.append(None)
        if names[-1] is None:
            raise DataError(f"--speaker_from {pattern!r} finds no group ( ) in the name of {path}")
    ranks = {name: i for i, name in enumerate(sorted(set(names)))}
    return [ranks[name] for name in names]


def _by_speaker(labels: np.ndarray, speakers: np.ndarray, random) -> np.ndarray | None:
    """The split of each clip [N]; None where every choice would leave too few training clips, or
    none of some class."""
    numbers = np.unique(speakers)
    count = max(1, round(SHARE * len(numbers)))
    best, most = None, 0
    for _ in range(ATTEMPTS if len(numbers) > 2 * count else 0):
        order = random.permutation(numbers)
        parts = np.full(len(labels), "train")
        parts[np.isin(speakers, order[:count])] = "valid"
        parts[np.isin(speakers, order[count : 2 * count])] = "test"
        heard = {split: len(np.unique(labels[parts == split])) for split in SPLITS}
        complete = heard["train"] == len(np.unique(labels))
        if complete and (parts == "train").mean() >= LEAST_TRAINING and sum(heard.values()) > most:
            best, most = parts, sum(heard.values())
    return best


def _by_class(labels: np.ndarray, random) -> np.ndarray:
    """The split of each clip [N]; a class of one or two clips is for training alone."""
    parts = np.full(len(labels), "train")
    for label in np.unique(labels):
        own = random.permutation(np.flatnonzero(labels == label))
        count = max(1, round(SHARE * len(own))) if len(own) > 2 else 0
        parts[own[:count]] = "valid"
        parts[own[count : 2 * count]] = "test"
    return parts
