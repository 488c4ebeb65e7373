# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recordings of one's own into training, validation and test clips."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.splits import SPLITS, TABLES, WORD_LISTS, list_words

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
    folder: Path, paths: Sequence[Path], labels: Sequence[int], speakers: Sequence[int], seed: int
) -> tuple[dict[str, list[int]], str]:
    """Indices of the clips for training, validation and test, and what decided on them.

    Lists of files in ``folder`` decide, see `list_words`. Without them, about a tenth of the
    speakers each are for validation and test where there are enough of them, else a tenth of the
    clips of every class. The same ``seed`` gives the same parts.
    """
    if any((folder / name).is_file() for name in (*WORD_LISTS.values(), *TABLES.values())):
        listing = list_words(folder)
        chosen = {folder / path: name for name, clips in listing.clips.items() for path, _ in clips}
        parts = np.array([chosen.get(path, "") for path in paths])
        rule = listing.rule
    else:
        labels, speakers = np.asarray(labels), np.asarray(speakers)
        parts = _by_speaker(labels, speakers, np.random.RandomState(seed))
        rule = f"speaker, of {len(np.unique(speakers))}"
        if parts is None:
            parts, rule = _by_class(labels, np.random.RandomState(seed)), "class"
    return {split: np.flatnonzero(parts == split).tolist() for split in SPLITS}, rule


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
