# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recordings of one's own into training, validation and test clips."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from datasets.errors import DataError
from datasets.files import readable, refuse_file
from datasets.recordings import FORMATS, read_or_refuse
from datasets.shares import SPLITS, share_out
from datasets.splits import (
    TABLES,
    WORD_LISTS,
    left_out,
    list_words,
    recordings_in,
    some,
    subfolders,
)


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
        parts, rule = share_out(labels, speakers, seed)
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
