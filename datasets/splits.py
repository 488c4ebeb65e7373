# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which recordings of a folder are for training, validation and test, and of which class each is.

Nothing is opened but the lists of files.
"""

import csv
import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datasets.errors import DataError
from datasets.recordings import SUFFIXES

SPLITS = ("train", "valid", "test")
SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}  # for the user
WORD_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
TABLES = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}
DIGIT_LISTS = {"train": "train_filenames.txt", "test": "test_filenames.txt"}
DIGIT_NAME = re.compile(r"lang-(english|german)_speaker-\d+_trial-\d+_digit-(\d)\.\w+$")
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
SHARE_PERCENT = 10  # of the clips, for validation and for test, by the SHA-1 rule
MAX_CLIPS_PER_CLASS = 2**27 - 1  # of the SHA-1 rule
NO_CLASS = -1


@dataclass(frozen=True)
class Listing:
    """The clips of a data set by split, and the names of its classes.

    ``clips`` maps train, valid and test to (path below the folder, class index) in a fixed order;
    a data set that is validated on its test split has no valid. ``rule`` says who split them.
    A clip of class -1 is named in a list but is not there.
    """

    clips: dict[str, list[tuple[str, int]]]
    classes: list[str]
    rule: str
    validation: str


def list_words(folder: Path) -> Listing:
    """Word folders as in Google Speech Commands (Warden 2018): a class for each, sorted by name.

    The splits come from ``validation_list.txt`` and ``testing_list.txt``, where train is all the
    rest; else from ``train.csv``, ``val.csv`` and ``test.csv`` with the columns file and class;
    else from the SHA-1 rule of Speech Commands, `which_set`. Folders that begin with ``_`` or ``.``
    (background noise) are left out, and so are those without a WAV or FLAC file.

    Raises:
        DataError: there are no words, a list is missing or damaged, or names a clip twice.
    """
    if _present(folder, TABLES) and not _present(folder, WORD_LISTS):
        return _by_tables(folder)
    words = {name: _recordings(folder / name) for name in _subfolders(folder)}
    words = {name: files for name, files in words.items() if files}
    if not words:
        raise DataError(_no_words(folder))
    classes = sorted(words)
    clips = [
        (f"{word}/{file}", label) for label, word in enumerate(classes) for file in words[word]
    ]
    if _present(folder, WORD_LISTS):
        return _by_lists(folder, clips, classes)
    by_split = {split: [] for split in SPLITS}
    for path, label in clips:
        by_split[which_set(path)].append((path, label))
    rule = f"the SHA-1 rule of Speech Commands (there is no {WORD_LISTS['test']})"
    return Listing(by_split, classes, rule, "10% by the SHA-1 rule of Speech Commands")


def which_set(path: str) -> str:
    """Split of a clip by a hash of its file name, as published with Google Speech Commands.

    What follows ``_nohash_`` does not count, so that the clips of one speaker stay together, and a
    clip keeps its split when others are added. 10% are for validation, 10% for test.
    """
    speaker = re.sub(r"_nohash_.*$", "", path.rsplit("/", 1)[-1])
    number = int(hashlib.sha1(speaker.encode()).hexdigest(), 16)
    percent = number % (MAX_CLIPS_PER_CLASS + 1) * (100.0 / MAX_CLIPS_PER_CLASS)
    if percent < SHARE_PERCENT:
        return "valid"
    return "test" if percent < 2 * SHARE_PERCENT else "train"


def list_digits(folder: Path) -> Listing:
    """Heidelberg Digits (Cramer et al. 2020): classes 0..9 in English, then 0..9 in German.

    Raises:
        DataError: a list is missing, or a name in it does not tell language and digit.
    """
    clips = {}
    for split, name in DIGIT_LISTS.items():
        clips[split] = []
        for line in _lines(folder / name):
            match = DIGIT_NAME.search(line)
            if match is None:
                raise DataError(
                    f"{folder / name}: {line!r} is not named like "
                    "lang-english_speaker-00_trial-0_digit-0.flac"
                )
            label = int(match[2]) + 10 * (match[1] == "german")
            clips[split].append((_find(folder, line, "audio"), label))
    _refuse_repeated(folder, clips, DIGIT_LISTS)
    return Listing(clips, ENGLISH + GERMAN, _names(DIGIT_LISTS), "test split (as published)")


def _by_lists(folder: Path, clips: list[tuple[str, int]], classes: list[str]) -> Listing:
    labels, by_split = dict(clips), {"train": []}
    for split, name in WORD_LISTS.items():
        # What is named but missing stays in: whoever reads the clips tells.
        paths = [_first_of(_tails(line), labels.__contains__) for line in _lines(folder / name)]
        by_split[split] = [(path, labels.get(path, NO_CLASS)) for path in paths]
    _refuse_repeated(folder, by_split, WORD_LISTS)
    listed = {path for split in WORD_LISTS for path, _ in by_split[split]}
    by_split["train"] = [(path, label) for path, label in clips if path not in listed]
    return Listing(by_split, classes, _names(WORD_LISTS), "the dataset's own validation split")


def _by_tables(folder: Path) -> Listing:
    rows = {split: _table(folder / name) for split, name in TABLES.items()}
    classes = sorted({word for split in rows.values() for _, word in split})
    labels = {name: label for label, name in enumerate(classes)}
    clips = {
        split: [(_find(folder, path), labels[word]) for path, word in table]
        for split, table in rows.items()
    }
    _refuse_repeated(folder, clips, TABLES)
    return Listing(clips, classes, _names(TABLES), "the dataset's own validation split")


def _table(path: Path) -> list[tuple[str, str]]:
    """(file, class) of every row of a CSV file."""
    lines = _lines(path)
    rows = csv.DictReader(lines, skipinitialspace=True)
    missing = {"file", "class"} - {name.strip() for name in rows.fieldnames or ()}
    if missing:
        raise DataError(f"{path} has no column {min(missing)}: its first line must name file,class")
    pairs = []
    for row in rows:
        if not row["file"] or not row["class"]:
            raise DataError(f"{path}, line {rows.line_num}: {lines[rows.line_num - 1]!r} is no row")
        pairs.append((row["file"].strip(), row["class"].strip()))
    return pairs


def _find(folder: Path, listed: str, home: str | None = None) -> str:
    """Path of a listed file, which may lie in ``home``, relative to ``folder`` or absolute."""
    if Path(listed).is_absolute() and Path(listed).is_file():
        return listed
    tails = _tails(listed)
    at_home = [] if home is None else [f"{home}/{tail}" for tail in tails]
    return _first_of(at_home + tails, lambda path: (folder / path).is_file())


def _tails(listed: str) -> list[str]:
    """Readings of a path that may have been written down in a folder further up."""
    parts = [part for part in listed.replace("\\", "/").split("/") if part not in ("", ".")]
    return ["/".join(parts[i:]) for i in range(len(parts))] or [listed]


def _first_of(paths: list[str], is_there: Callable[[str], bool]) -> str:
    """The first that is there, else the first."""
    return next(filter(is_there, paths), paths[0])


def _present(folder: Path, lists: dict[str, str]) -> bool:
    """Whether the lists are there; DataError where some are."""
    there = [name for name in lists.values() if (folder / name).is_file()]
    if there and len(there) < len(lists):
        missing = next(name for name in lists.values() if name not in there)
        raise DataError(f"{folder} has {there[0]} but no {missing}: both say who splits the clips")
    return bool(there)


def _lines(path: Path) -> list[str]:
    """The lines of a list without blank ones."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"there is no list {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text file in UTF-8") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(e.name for e in entries if not e.name.startswith((".", "_")) and e.is_dir())


def _recordings(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    return sorted(name for name in names if name.lower().endswith(SUFFIXES))


def _no_words(folder: Path) -> str:
    below = [name for name in _subfolders(folder) if _subfolders(folder / name)]
    hint = f"; is it {folder / below[0]}?" if len(below) == 1 else ""
    return f"{folder} has no folders of words, with WAV or FLAC files in them{hint}"


def _refuse_repeated(
    folder: Path, clips: dict[str, list[tuple[str, int]]], lists: dict[str, str]
) -> None:
    """DataError for a clip that is named twice; in two splits it would spoil the test."""
    seen: dict[str, str] = {}
    for split, name in lists.items():
        for path, _ in clips[split]:
            if path in seen:
                where = f"twice in {name}" if seen[path] == name else f"in {seen[path]} and {name}"
                raise DataError(f"{folder}: {path} is named {where}")
            seen[path] = name


def _names(lists: dict[str, str]) -> str:
    *first, last = lists.values()
    return f"{', '.join(first)} and {last}"
