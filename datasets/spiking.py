# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking Heidelberg Digits, Spiking Speech Commands (Cramer et al. 2020) and the shipped demo."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from datasets.binning import (
    MOST_UNITS,
    NB_UNITS,
    Binning,
    read_class_names,
    read_largest_label,
    read_nb_channels,
)
from datasets.errors import DataError
from datasets.files import ARCHIVES, find_file, sha256_of_file, unpacked
from datasets.frames import FramesDataSet, FrameSet, largest_unit, load_frames
from datasets.guard import check_new_files
from datasets.interface import SPLITS, Data

HELD_OUT_SPEAKERS = 0.15
HELD_OUT_CLIPS = 0.1


@dataclass(frozen=True)
class SpikingDataSet(FramesDataSet):
    """A data set in the SHD layout: files ``{name}_{split}.h5``, also ``.gz`` or ``.zip``.

    Its splits are FrameSets of counts, binned as in the published SpArch code. Files whose
    ``extra/keys`` name another number of classes than ``nb_classes`` have as many as they name; for
    the number of channels see `_nb_channels`.
    ``url`` is the page that publishes the data, if there is one.

    Without a validation split, ``options.shd_validation`` says what to validate on: ``test``, as
    the published runs do, or ``speakers`` or ``random`` clips that are held out of training, the
    same ones in every run.
    """

    name: str
    nb_classes: int
    splits: tuple[str, ...]
    default_folder: str
    url: str | None
    title: str

    @property
    def unnamed_classes(self) -> list[str]:
        """Numbers."""
        return [str(label) for label in range(self.nb_classes)]

    def look_up(self, options) -> None:
        """See `DataSet.look_up`."""
        for split in self.splits:
            self._locate(self.folder(options), split)

    def load(
        self, options, splits: Collection[str] = SPLITS, say: Callable[[str], None] = print
    ) -> Data:
        """See `DataSet.load`; also raises DataError where nothing can be held out."""
        held_out = options.shd_validation if "valid" not in self.splits else None
        files = {
            source: unpacked(self._locate(self.folder(options), source))
            for source in self._sources(held_out, splits)
        }
        check_new_files(files.values())
        classes = self._class_names(list(files.values()), say)
        nb_channels = options.nb_channels or self._nb_channels(list(files.values()), say)
        binning = Binning(options.nb_steps, options.max_time, options.spatial_bin, nb_channels)
        if options.augm_channel_shift >= binning.nb_features:
            raise DataError(
                f"--augm_channel_shift {options.augm_channel_shift} moves clips out of the "
                f"{binning.nb_features} channels that --spatial_bin {options.spatial_bin} leaves"
            )
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
        found = {"train": train, "valid": valid, "test": test}
        return Data(
            **{split: found[split] for split in splits},
            nb_features=binning.nb_features,
            nb_channels=nb_channels,
            classes=classes,
            validation=sentence,
            checksums={file.name: sha256_of_file(file) for file in files.values()},
        )

    def _sources(self, held_out: str | None, splits: Collection[str]) -> list[str]:
        """The files behind the splits, in the order train, valid, test and each once."""
        valid = {None: "valid", "test": "test"}.get(held_out, "train")
        needed = {valid if split == "valid" else split for split in splits}
        return [source for source in self.splits if source in needed]

    def _locate(self, folder: Path, split: str) -> Path:
        name = f"{self.name}_{split}.h5"
        try:
            if path := find_file(folder, name):
                return path
        except OSError as error:
            raise DataError(f"cannot look into {folder} for {name}: {error.strerror}") from error
        tried = ", ".join([name, *(name + suffix for suffix in ARCHIVES)])
        where = f"no folder {folder} for {name}"
        if folder.is_dir():
            where = f"none of {tried} in {folder}"
        if self.url is None:
            ships = "it ships with Sprache, restore it or " if self.name == "demo" else ""
            raise DataError(f"{where}: {ships}name its folder with --data_folder")
        raise DataError(
            f"{where}: `python -m datasets.download {self.name}` gets the data from {self.url}; or "
            "say where they are with --data_folder"
        )

    def _nb_channels(self, files: list[Path], say: Callable[[str], None]) -> int:
        """The attribute ``nb_channels`` of the files, else 700 as published or, where units go
        beyond these or stay in their lower half, the largest unit and those below it."""
        found = {number: file for file in files if (number := read_nb_channels(file))}
        if len(found) > 1:
            (one, first), (two, second) = list(found.items())[:2]
            raise DataError(
                f"{first} has {one} channels by its attribute nb_channels, and {second} has {two}: "
                "name the number with --nb_channels"
            )
        source = "the attribute nb_channels"
        if not found:
            number, file = max((largest_unit(file) + 1, file) for file in files)
            if NB_UNITS // 2 < number <= NB_UNITS or not 0 < number <= MOST_UNITS:
                return NB_UNITS
            found, source = {number: file}, "the largest unit"
        ((number, file),) = found.items()
        if number != NB_UNITS:
            say(
                f"{self.name}: {number} channels by {source} of {file.name}, where {self.title} "
                f"has {NB_UNITS}; --nb_channels sets another number"
            )
        return number

    def _class_names(self, files: list[Path], say: Callable[[str], None]) -> list[str]:
        """What ``extra/keys`` of the files names, or else numbers.

        Raises DataError where two files name different classes: a label would mean two words.
        """
        named = {file: names for file in files if (names := read_class_names(file))}
        if not named:
            return self.unnamed_classes
        (first, names), *others = named.items()
        for other, other_names in others:
            for label, pair in enumerate(zip_longest(names, other_names)):
                if pair[0] != pair[1]:
                    one, two = ("no class" if name is None else repr(name) for name in pair)
                    raise DataError(
                        f"{first} and {other} name different classes in extra/keys: label {label} "
                        f"is {one} in the one and {two} in the other; write both with one list of "
                        "classes"
                    )
        if len(names) == 1:
            raise DataError(
                f"{first} names one class only in extra/keys, {names[0]!r}: there is nothing to "
                "tell apart"
            )
        if len(names) > self.nb_classes and max(map(read_largest_label, files)) < self.nb_classes:
            say(
                f"{first.name} names {len(names)} classes, but its labels stay below "
                f"{self.nb_classes}"
            )
            return self.unnamed_classes
        if len(names) != self.nb_classes:
            say(
                f"{self.name}: {len(names)} classes here by extra/keys of {first.name}, where "
                f"{self.name} has {self.nb_classes}: results do not compare with published ones"
            )
        return names


def _hold_out(how: str, train: FrameSet, path: Path) -> tuple[FrameSet, FrameSet, str]:
    """Split ``train`` into training and validation clips; the sentence says how."""
    choose = _by_speaker if how == "speakers" else _at_random
    is_valid, sentence = choose(train, path)
    lost = np.setdiff1d(train.labels, train.labels[~is_valid])
    if lost.size:
        raise DataError(
            f"{path}: holding out {how} leaves no training clip of class {lost[0]}: choose another "
            "--shd_validation"
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


def _at_random(train: FrameSet, path: Path) -> tuple[torch.Tensor, str]:
    """Mask [N] of about 10% of the clips of every class, the same ones in every run."""
    labels = train.labels.numpy()
    # NumPy keeps the numbers of this old generator the same for ever; those of newer ones may move.
    generator = np.random.RandomState(0)
    is_valid = torch.zeros(len(labels), dtype=torch.bool)
    for label in np.unique(labels):
        clips = np.flatnonzero(labels == label)
        nb_held = max(round(HELD_OUT_CLIPS * len(clips)), min(1, len(clips) - 1), 0)
        is_valid[generator.permutation(clips)[:nb_held]] = True
    if not is_valid.any():
        raise DataError(f"{path} has too few clips to hold any out: choose validation test")
    return is_valid, f"random {HELD_OUT_CLIPS:.0%} of the training split"
