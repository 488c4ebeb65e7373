# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Which recordings of a folder are for training, validation and test, and of which class each is.

Nothing is opened but the lists of files.
"""

import codecs
import csv
import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datasets.errors import DataError
from datasets.files import PACKED, readable
from datasets.recordings import FORMATS, OTHER_SUFFIXES, SUFFIXES
from datasets.shares import SPLITS, share_out, speaker_numbers, speaker_pattern

SPLIT_NAMES = {"train": "training", "valid": "validation", "test": "test"}  # for the user
WORD_LISTS = {"valid": "validation_list.txt", "test": "testing_list.txt"}
LIST_WORDS = (  # the way out
    "name clips for validation in {valid} and for test in {test}, both with one WORD/FILE.wav a "
    "line; all others are for training".format(**WORD_LISTS)
)
TABLES = {"train": "train.csv", "valid": "val.csv", "test": "test.csv"}
DIGIT_LISTS = {"train": "train_filenames.txt", "test": "test_filenames.txt"}
DIGIT_NAME = re.compile(r"lang-(english|german)_speaker-\d+_trial-\d+_digit-(\d)\.\w+$")
ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
SHARE_PERCENT = 10  # of the clips, for validation and for test, by the SHA-1 rule
MAX_CLIPS_PER_CLASS = 2**27 - 1  # of the SHA-1 rule
CONVERT = "convert it (ffmpeg -i IN -ac 1 OUT.wav)"
JUNK = ("thumbs.db", "desktop.ini")  # that systems leave in folders
NO_CLASS = -1


@dataclass(frozen=True)
class Listing:
    """The clips of a data set by split, and the names of its classes.

    ``clips`` maps train, valid and test to (path below the folder, class index) in a fixed order;
    a data set that is validated on its test split has no valid. ``rule`` says what split them.
    A clip of class -1 is named in a list but is not there. ``notes`` are lines for the user about
    likely mistakes; ``way_out`` says what to do where a split has no clips.
    """

    clips: dict[str, list[tuple[str, int]]]
    classes: list[str]
    rule: str
    validation: str
    notes: tuple[str, ...] = ()
    way_out: str = "name some in such a list"


def list_words(folder: Path) -> Listing:
    """Word folders as in Google Speech Commands (Warden 2018): a class for each, sorted by name.

    The splits come from ``validation_list.txt`` and ``testing_list.txt``, where train is all the
    rest; else from ``train.csv``, ``val.csv`` and ``test.csv`` with the columns file and class;
    else from the SHA-1 rule of Speech Commands, `which_set`, or where that leaves a split empty, by
    speaker or class, see `share_out`. Folders that begin with ``_`` or ``.``
    (background noise) are skipped, and so are those without a recording. A listed file is found
    whatever the case and the encoding of its letters, and whatever its format is now. What shares
    its file name with a listed one that is not found is not for training.

    Raises DataError where there are no words or only one, a list is missing or damaged, or names a
    clip twice, or a recording is there in two formats.
    """
    words = {name: recordings_in(folder / name) for name in subfolders(folder)}
    _refuse_twins(folder, words)
    if _present(folder, TABLES) and not _present(folder, WORD_LISTS):
        listing = _by_tables(folder, words)
    else:
        listing = _by_folders(folder, words)
    if len(listing.classes) == 1:
        raise DataError(
            f"{folder} has recordings of one class only, {listing.classes[0]!r}: there is nothing "
            "to learn"
        )
    return replace(listing, notes=(*listing.notes, *_alike(listing.classes)))


def _by_folders(folder: Path, words: dict[str, list[str]]) -> Listing:
    classes = sorted({readable(name) for name, files in words.items() if files})
    if not classes:
        raise DataError(
            f"{folder} has no folders of words, with {FORMATS} files in them{_hint(folder)}"
        )
    clips = [
        (f"{word}/{file}", classes.index(readable(word)))
        for word, files in words.items()
        for file in files
    ]
    by_lists = _present(folder, WORD_LISTS)
    listing = _by_lists(folder, clips, classes) if by_lists else _by_hash(clips, classes)
    return replace(listing, notes=(*left_out(folder, words), *listing.notes))


def left_out(folder: Path, words: dict[str, list[str]]) -> Iterator[str]:
    """What lies in ``folder`` and those of ``words`` without being a clip, in a line for each
    reason."""
    if silent := sorted(name for name, files in words.items() if not files):
        yield f"no {FORMATS} file in the folder {some(silent)}: not a class"
    sounds, others, deeper = [], [], []
    for word, files in words.items():
        for name in sorted({*os.listdir(folder / word)} - {*files}):
            path = folder / word / name
            if name[0] != "." and path.is_dir():
                found = (Path(top, file) for top, _, names in os.walk(path) for file in names)
                deeper += [file for file in found if file.name.lower().endswith(SUFFIXES)]
            elif name[0] != "." and name.lower() not in JUNK:
                (sounds if name.lower().endswith(OTHER_SUFFIXES) else others).append(path)
    for paths, why in (
        (deeper, "clips lie directly in the folder of a word: move them there"),
        (sounds, f"clips are {FORMATS} files: {CONVERT}"),
        (others, "such files are no recordings"),
    ):
        if paths:
            are = "file is" if len(paths) == 1 else "files are"
            yield f"{len(paths):,} {are} left out, the first {paths[0]}, as {why}"


def _alike(classes: list[str]) -> list[str]:
    """A note on classes that are one word but for capitals, if there are any."""
    by_word: dict[str, list[str]] = {}
    for name in classes:
        by_word.setdefault(name.casefold(), []).append(name)
    twins = [" and ".join(names) for names in by_word.values() if names[1:]]
    return [f"classes that differ in capitals only: {some(twins)}"] if twins else []


def _by_hash(clips: list[tuple[str, int]], classes: list[str]) -> Listing:
    by_split = {split: [] for split in SPLITS}
    for path, label in clips:
        by_split[which_set(path)].append((path, label))
    rule = "the SHA-1 rule of Speech Commands"
    validation = f"clips chosen by {rule}"
    rule += f" (there is no {WORD_LISTS['test']} or {TABLES['test']})"
    mixed = (
        f"clips of one speaker may be in training and in test; split them with {_names(WORD_LISTS)}"
    )
    named = sum("_nohash_" in path for path, _ in clips)
    unnamed = f"file names do not begin like SPEAKER_nohash_, so that {mixed}"
    note = "" if 2 * named >= len(clips) else unnamed
    if empty := [SPLIT_NAMES[split] for split in SPLITS if not by_split[split]]:
        names = [Path(path) for path, _ in clips]
        speakers = speaker_numbers(names, speaker_pattern([path.name for path in names]))
        parts, how = share_out([label for _, label in clips], speakers, seed=0)
        if set(parts) == set(SPLITS):
            by_split = {
                split: [clip for clip, part in zip(clips, parts, strict=True) if part == split]
                for split in SPLITS
            }
            rule, validation = (
                f"{how}, as {rule} leaves no {empty[0]} clip",
                f"clips split by {how}",
            )
            note = mixed if how == "class" else ""
    return Listing(by_split, classes, rule, validation, (note,) if note else (), LIST_WORDS)


def which_set(path: str) -> str:
    """Split of a clip by a hash of its file name, as published with Google Speech Commands.

    What follows ``_nohash_`` does not count, so that the clips of one speaker stay together, and a
    clip keeps its split when others are added. 10% are for validation, 10% for test.
    """
    speaker = re.sub(r"_nohash_.*$", "", path.rsplit("/", 1)[-1])
    name = os.fsencode(unicodedata.normalize("NFC", speaker))
    number = int(hashlib.sha1(name).hexdigest(), 16)
    percent = number % (MAX_CLIPS_PER_CLASS + 1) * (100.0 / MAX_CLIPS_PER_CLASS)
    if percent < SHARE_PERCENT:
        return "valid"
    return "test" if percent < 2 * SHARE_PERCENT else "train"


def list_digits(folder: Path) -> Listing:
    """Heidelberg Digits (Cramer et al. 2020): classes 0..9 in English, then 0..9 in German.

    Raises DataError where a list is missing, or a name in it does not give language and digit.
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
    found = _finder(labels)
    for split, name in WORD_LISTS.items():
        # A clip that is named but missing stays in: the reader reports it.
        paths = [found(_tails(line)) or _tails(line)[0] for line in _lines(folder / name)]
        by_split[split] = [(path, labels.get(path, NO_CLASS)) for path in paths]
    _refuse_repeated(folder, by_split, WORD_LISTS)
    listed = {path for split in WORD_LISTS for path, _ in by_split[split]}
    # Under another name a listed clip may be here all the same, and must not be trained on.
    astray = {_stem(Path(path).name) for path in listed if path not in labels}
    unlisted = [(path, label) for path, label in clips if path not in listed]
    alike = {clip for clip in unlisted if astray and _stem(Path(clip[0]).name) in astray}
    by_split["train"] = [clip for clip in unlisted if clip not in alike]
    names = [path for path, _ in alike]
    why = "not for training, as a list names such a file elsewhere"
    return Listing(
        by_split,
        classes,
        _names(WORD_LISTS),
        "the dataset's own validation split",
        (f"{why}: {some(sorted(names))}",) if names else (),
        LIST_WORDS,
    )


def _by_tables(folder: Path, words: dict[str, list[str]]) -> Listing:
    rows = {split: _table(folder / name) for split, name in TABLES.items()}
    classes = sorted({word for split in rows.values() for _, word in split})
    labels = {name: label for label, name in enumerate(classes)}
    lying = [f"{word}/{file}" for word, files in words.items() for file in files]
    found = _finder(lying)
    clips = {
        split: [(_find(folder, path, found=found), labels[word]) for path, word in table]
        for split, table in rows.items()
    }
    _refuse_repeated(folder, clips, TABLES)
    listed = {readable(path): classes[label] for split in clips.values() for path, label in split}
    unlisted = [path for path in lying if readable(path) not in listed]
    elsewhere = [
        f"{path} as {word!r}"
        for path, word in listed.items()
        if Path(path).parent.name in labels and Path(path).parent.name != word
    ]
    notes = [f"{_names(TABLES)} do not name {some(unlisted)}"] if unlisted else []
    if elsewhere:
        notes.append(f"listed under a class other than its folder's: {some(elsewhere)}")
    return Listing(
        clips, classes, _names(TABLES), "the dataset's own validation split", tuple(notes)
    )


def some(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    return names[0] + (f" (and {len(names) - 1:,} more)" if len(names) > 1 else "")


def _table(path: Path) -> list[tuple[str, str]]:
    """(file, class) of every row of a CSV file."""
    lines = _lines(path)
    delimiter = max(",;\t", key=lines[0].count) if lines else ","  # spreadsheets write any
    rows = csv.DictReader(lines, skipinitialspace=True, delimiter=delimiter)
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or ()]
    if missing := [name for name in ("file", "class") if name not in rows.fieldnames]:
        raise DataError(
            f"{path} has no column {missing[0]}: its first line must name file,class"
            + (f", and is {lines[0]!r}" if lines else "")
        )
    pairs = []
    for row in rows:
        for name in ("file", "class"):
            if not row[name]:
                line = lines[rows.line_num - 1]
                raise DataError(f"{path}, line {rows.line_num}: {line!r} has no {name}")
        pairs.append((row["file"].strip(), readable(row["class"].strip())))
    return pairs


def _find(
    folder: Path,
    listed: str,
    home: str | None = None,
    found: Callable[[list[str]], str | None] = lambda _: None,
) -> str:
    """Path of a listed file, which may lie in ``home``, relative to ``folder`` or absolute.

    Where no file has the name, what ``found`` says, see `_finder`.
    """
    tails = _tails(listed)
    places = [*([] if home is None else [f"{home}/{tail}" for tail in tails]), *tails]
    there = [path for path in places if (folder / path).is_file()]
    if Path(listed).is_absolute() and Path(listed).is_file():
        return next((path for path in there if (folder / path).samefile(listed)), listed)
    return next(iter(there), None) or found(tails) or places[0]


def _finder(paths: Iterable[str]) -> Callable[[list[str]], str | None]:
    """A function that finds the first of several readings among ``paths``, if any.

    One in other letters, such as .WAV for .wav, serves where there is none in the same, and then
    one in another format.
    """
    tables = [(form, {form(path): path for path in paths}) for form in (readable, _folded, _stem)]

    def found(readings: list[str]) -> str | None:
        hits = (table.get(form(reading)) for form, table in tables for reading in readings)
        return next(filter(None, hits), None)

    return found


def _folded(path: str) -> str:
    return readable(path).casefold()


def _stem(path: str) -> str:
    """A path without its suffix, in small letters."""
    return os.path.splitext(_folded(path))[0]


def _tails(listed: str) -> list[str]:
    """Readings of a path that may have been written down in a folder further up."""
    parts = [part for part in listed.replace("\\", "/").split("/") if part not in ("", ".")]
    return ["/".join(parts[i:]) for i in range(len(parts))] or [listed]


def _present(folder: Path, lists: dict[str, str]) -> bool:
    """Whether the lists are there; DataError where some are."""
    there = [name for name in lists.values() if (folder / name).is_file()]
    if there and len(there) < len(lists):
        missing = next(name for name in lists.values() if name not in there)
        raise DataError(
            f"{folder} has {there[0]} but no {missing}: {_names(lists)} belong together"
        )
    return bool(there)


def _lines(path: Path) -> list[str]:
    """The lines of a list without blank ones; in UTF-8, or Latin-1 or UTF-16 as on Windows."""
    try:
        content = path.read_bytes()
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = content.decode("utf-16" if is_wide else "utf-8-sig", "surrogateescape")
    except FileNotFoundError:
        raise DataError(f"there is no list {path}") from None
    except OSError as error:
        raise DataError(f"cannot read {path} ({error.strerror})") from error
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise DataError(f"{path} is not a text file: save it as text in UTF-8")
    return [line.strip() for line in readable(text).splitlines() if line.strip()]


def subfolders(folder: Path) -> list[str]:
    """Names of the folders of words, sorted; those that begin with ``_`` or ``.`` are not."""
    names = sorted(f.name for f in folder.iterdir() if f.name[0] not in "._" and f.is_dir())
    return sorted(names, key=readable)


def recordings_in(folder: Path) -> list[str]:
    """Names of the recordings that lie directly in a folder, sorted."""
    names = [name for name in os.listdir(folder) if not name.startswith(".")]
    return sorted((n for n in names if n.lower().endswith(SUFFIXES)), key=readable)


def _refuse_twins(folder: Path, words: dict[str, list[str]]) -> None:
    """One of two files with the same recording may be for training and the other for test."""
    for word, files in words.items():
        seen: dict[str, str] = {}
        for file in files:
            other = seen.setdefault(readable(Path(file).stem), file)
            if other != file:
                raise DataError(
                    f"{folder / word} holds {other} and {file}, which would count as two clips: "
                    "remove one of them"
                )


def _hint(folder: Path) -> str:
    """What there is instead of words."""
    names = subfolders(folder)
    deeper = {name: words for name in names if (words := subfolders(folder / name))}
    if len(deeper) == 1:
        return f"; is it {folder / next(iter(deeper))}?"
    spoken = [
        name
        for name, words in deeper.items()
        if any(recordings_in(folder / name / word) for word in words)
    ]
    if spoken:
        return f"; words have to lie directly in it, not in {some(spoken)}: {LIST_WORDS}"
    if loose := recordings_in(folder):
        return f"; {some(loose)} must lie in a folder that is named after the word"
    files = [path for name in names for path in sorted((folder / name).iterdir())]
    for path in (*files, *sorted(folder.iterdir())):
        if path.is_file() and path.name.lower().endswith(PACKED):
            return f"; unpack {path}"
        if path.is_file() and path.name.lower().endswith(OTHER_SUFFIXES):
            return f"; {path} is neither: {CONVERT}"
    return ""


def _refuse_repeated(
    folder: Path, clips: dict[str, list[tuple[str, int]]], lists: dict[str, str]
) -> None:
    """DataError for a clip that is named twice; in two splits it would spoil the test."""
    seen: dict[str, str] = {}
    for split, name in lists.items():
        for path in (readable(path) for path, _ in clips[split]):
            if path in seen:
                where = f"twice in {name}" if seen[path] == name else f"in {seen[path]} and {name}"
                raise DataError(f"{folder}: {path} is named {where}")
            seen[path] = name


def _names(lists: dict[str, str]) -> str:
    *first, last = lists.values()
    return f"{', '.join(first)} and {last}"
