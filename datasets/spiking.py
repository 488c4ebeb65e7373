# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking Heidelberg Digits, Spiking Speech Commands (Cramer et al. 2020) and the shipped demo."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from datasets import guard
from datasets.binning import read_class_names, read_largest_label
from datasets.checksums import sha256_of_file
from datasets.errors import DataError
from datasets.frames import Binning, FrameSet, load_frames
from datasets.unpack import ARCHIVES, find_file, unpacked

REPO = Path(__file__).resolve().parents[1]
ZENKE_LAB = "https://zenkelab.org/resources/spiking-heidelberg-datasets-shd/"
SPLITS = ("train", "valid", "test")
VALIDATION = ("test", "speakers", "random")
HELD_OUT_SPEAKERS = 0.15
HELD_OUT_CLIPS = 0.1


@dataclass(frozen=True)
class SpikingDataset:
    """One data set in the SHD layout: files ``{prefix}_{split}.h5``, also ``.gz`` or ``.zip``.

    Files whose ``extra/keys`` name another number of classes than ``nb_classes`` have as many as
    they name. ``default_folder`` is relative to the repository; ``url`` is the page that publishes
    the data, if there is one.
    """

    prefix: str
    nb_classes: int
    splits: tuple[str, ...]
    default_folder: str
    url: str


SPIKING = {
    "shd": SpikingDataset("shd", 20, ("train", "test"), "data/SHD", ZENKE_LAB),
    "ssc": SpikingDataset("ssc", 35, ("train", "valid", "test"), "data/SSC", ZENKE_LAB),
    "demo": SpikingDataset("demo", 20, ("train", "test"), "datasets/demo", ""),
}


@dataclass(frozen=True)
class SpikingData:
    """The splits that were asked for, None for the others, and what validation means here.

    ``checksums`` holds the SHA-256 of every file that was read, by name; ``classes`` are the names
    of the labels.
    """

    train: FrameSet | None
    valid: FrameSet | None
    test: FrameSet | None
    nb_classes: int
    nb_features: int
    validation: str
    checksums: dict[str, str] = field(default_factory=dict)
    classes: list[str] = field(default_factory=list)


def load_spiking(
    name: str,
    folder: str | Path | None = None,
    *,
    nb_steps: int,
    max_time: float,
    spatial_bin: int,
    validation: str = "test",
    splits: Collection[str] = SPLITS,
    say: Callable[[str], None] = print,
) -> SpikingData:
    """Load a data set of the SHD layout as frames, binned as in the published SpArch code.

    Args:
        name: key of ``SPIKING``.
        folder: where the files lie; None is the data set's default folder in the repository.
        nb_steps: time bins T of a frame.
        max_time: seconds they cover; later events are dropped.
        spatial_bin: neighbouring units summed into one channel, a divisor of 700.
        validation: for data sets without a validation split. ``test`` validates on the test split,
            as the published runs do; ``speakers`` and ``random`` hold clips out of training, the
            same ones in every run.
        splits: those of train, valid, test that are needed; the files of others are not opened.
        say: takes one line at a time for the user.

    Returns:
        SpikingData whose splits are FrameSets of counts [N, nb_steps, 700 // spatial_bin].

    Raises:
        DataError: a name, file or its contents is not as it should be, or nothing can be held out.
    """
    dataset = _choose("dataset_name", name, SPIKING)
    _choose("validation", validation, dict.fromkeys(VALIDATION))
    for split in splits:
        _choose("split", split, dict.fromkeys(SPLITS))
    binning = Binning(nb_steps, max_time, spatial_bin)
    folder = REPO / dataset.default_folder if folder is None else Path(folder).expanduser()

    held_out = validation if "valid" not in dataset.splits else None
    sources = _sources(dataset, held_out, splits)
    files = {source: unpacked(_locate(dataset, folder, source)) for source in sources}
    guard.look_at(files.values())
    classes = _class_names(name, list(files.values()), say)
    loaded = {
        source: load_frames(file, binning, nb_classes=len(classes), say=say)
        for source, file in files.items()
    }
    train, test = loaded.get("train"), loaded.get("test")
    if held_out is None:
        valid, sentence = loaded.get("valid"), "the dataset's own validation split"
    elif held_out == "test":
        valid, sentence = test, "test split (as published)"
    elif train is None:
        valid, sentence = None, f"{held_out} held out of the training split"
    else:
        train, valid, sentence = _hold_out(held_out, train, files["train"])
    return SpikingData(
        train=train if "train" in splits else None,
        valid=valid if "valid" in splits else None,
        test=test if "test" in splits else None,
        nb_classes=len(classes),
        nb_features=binning.nb_features,
        validation=sentence,
        checksums={file.name: sha256_of_file(file) for file in files.values()},
        classes=classes,
    )


def _choose(what: str, name: str, choices: dict) -> SpikingDataset | None:
    if name not in choices:
        raise DataError(f"{what} {name!r} is not one of {', '.join(choices)}")
    return choices[name]


def _sources(dataset: SpikingDataset, held_out: str | None, splits: Collection[str]) -> list[str]:
    """The files behind the splits, in the order train, valid, test and each once."""
    valid = {None: "valid", "test": "test"}.get(held_out, "train")
    needed = {valid if split == "valid" else split for split in splits}
    return [source for source in dataset.splits if source in needed]


def _locate(dataset: SpikingDataset, folder: Path, split: str) -> Path:
    name = f"{dataset.prefix}_{split}.h5"
    try:
        if path := find_file(folder, name):
            return path
    except OSError as error:
        raise DataError(f"cannot look into {folder} for {name}: {error.strerror}") from error
    tried = ", ".join([name, *(name + suffix for suffix in ARCHIVES)])
    where = f"none of {tried} in {folder}" if folder.is_dir() else f"no folder {folder} for {name}"
    if dataset.url:
        raise DataError(
            f"{where}: `python -m datasets.download {dataset.prefix}` gets the data from "
            f"{dataset.url}; or say where they are with --data_folder"
        )
    ships = "it ships with Sprache, restore it or " if dataset is SPIKING["demo"] else ""
    raise DataError(f"{where}: {ships}say where with --data_folder")


def _class_names(name: str, files: list[Path], say: Callable[[str], None]) -> list[str]:
    """What ``extra/keys`` of the files names, or else numbers, as many as the data set has classes.

    Raises DataError where two files name other classes, so that a label would mean two words.
    """
    named = {file: names for file in files if (names := read_class_names(file))}
    expected = SPIKING[name].nb_classes
    if not named:
        return [str(label) for label in range(expected)]
    (first, names), *others = named.items()
    for other, other_names in others:
        if other_names != names:
            raise DataError(
                f"{first} and {other} name other classes in extra/keys: "
                f"{_first_difference(names, other_names)}; write both with one list of classes"
            )
    if len(names) == 1:
        raise DataError(
            f"{first} names one class only in extra/keys, {names[0]!r}: there is nothing to tell "
            "apart"
        )
    if len(names) > expected and max(map(read_largest_label, files)) < expected:
        say(f"{first.name} names {len(names)} classes, but its labels stay below {expected}")
        return [str(label) for label in range(expected)]
    if len(names) != expected:
        say(
            f"{name}: {len(names)} classes here by extra/keys of {first.name}, where {name} has "
            f"{expected}: results do not compare with published ones"
        )
    return names


def _first_difference(names: list[str], others: list[str]) -> str:
    for label, (one, other) in enumerate(zip_longest(names, others)):
        if one != other:
            one, other = ("no class" if name is None else repr(name) for name in (one, other))
            return f"label {label} is {one} in the one and {other} in the other"
    raise AssertionError("there is none")


def _hold_out(how: str, train: FrameSet, path: Path) -> tuple[FrameSet, FrameSet, str]:
    """Split ``train`` into training and validation clips; the sentence says how."""
    if how == "speakers":
        is_valid, sentence = _by_speaker(train, path)
    else:
        is_valid = _at_random(train, path)
        sentence = f"random {HELD_OUT_CLIPS:.0%} of the training split"
    lost = np.setdiff1d(train.labels, train.labels[~is_valid])
    if lost.size:
        raise DataError(
            f"{path}: holding out {how} leaves no training clip of class {lost[0]}: choose another "
            f"validation of {', '.join(VALIDATION)}"
        )
    kept, held = torch.nonzero(~is_valid).flatten(), torch.nonzero(is_valid).flatten()
    return train.subset(kept), train.subset(held), sentence


def _by_speaker(train: FrameSet, path: Path) -> tuple[torch.Tensor, str]:
    """Mask [N] of the clips by about 15% of the speakers, spread evenly over their numbers."""
    speakers = [] if train.speakers is None else torch.unique(train.speakers).tolist()
    if len(speakers) < 2:
        found = "one speaker only" if speakers else "no extra/speaker"
        raise DataError(
            f"{path} has {found}, so that none can be held out: choose validation test or random"
        )
    nb_held = max(1, round(HELD_OUT_SPEAKERS * len(speakers)))
    chosen = [speakers[int((i + 0.5) * len(speakers) / nb_held)] for i in range(nb_held)]
    noun = "speaker" if nb_held == 1 else "speakers"
    sentence = f"held-out {noun} {', '.join(map(str, chosen))} of the training split"
    return torch.isin(train.speakers, torch.tensor(chosen)), sentence


def _at_random(train: FrameSet, path: Path) -> torch.Tensor:
    """Mask [N] of about 10% of the clips of every class, the same ones in every run."""
    labels = train.labels.numpy()
    # NumPy keeps the numbers of this old generator the same for ever; those of newer ones may move.
    generator = np.random.RandomState(0)
    is_valid = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(train.nb_classes):
        clips = np.flatnonzero(labels == label)
        nb_held = max(round(HELD_OUT_CLIPS * len(clips)), min(1, len(clips) - 1), 0)
        is_valid[generator.permutation(clips)[:nb_held]] = True
    if not is_valid.any():
        raise DataError(f"{path} has too few clips to hold any out: choose validation test")
    return is_valid
