# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Clips for which no list of files says where they belong, shared out by speaker or by class."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from datasets.errors import DataError

SPLITS = ("train", "valid", "test")
SHARE = 0.1  # of the clips or speakers, for validation and for test each
LEAST_TRAINING = 0.3  # of the clips, where speakers decide
ATTEMPTS = 100  # of a random choice of speakers, of which the best is kept
# Names that tell who speaks: as in Google Speech Commands, and as in Heidelberg Digits.
SPEAKER_NAMES = (r"^(.+?)_nohash_", r"speaker[-_]?(\w+?)(?:[-_.]|$)")


def speaker_pattern(names: Sequence[str]) -> str | None:
    """The one of ``SPEAKER_NAMES`` that every file name follows, None if there is none."""
    for pattern in SPEAKER_NAMES:
        if all(re.search(pattern, name) for name in names):
            return pattern
    return None


def speaker_numbers(paths: Sequence[Path], pattern: str | None) -> list[int]:
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


def share_out(labels: Sequence[int], speakers: Sequence[int], seed: int) -> tuple[np.ndarray, str]:
    """The split of each clip [N], and what decided on it.

    About a tenth of the speakers each are for validation and test where there are enough of them,
    else a tenth of the clips of every class.
    """
    labels, speakers = np.asarray(labels), np.asarray(speakers)
    parts = _by_speaker(labels, speakers, np.random.RandomState(seed))
    if parts is None:
        return _by_class(labels, np.random.RandomState(seed)), "class"
    return parts, f"speaker, of {len(np.unique(speakers))}"


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
