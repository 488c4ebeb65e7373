# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Spiking Heidelberg Digits, Spiking Speech Commands (Cramer et al. 2020) and the shipped demo."""

import re
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from datasets.binning import (
    MOST_UNITS,
    NB_UNITS,
    Annotations,
    Binning,
    read_annotations,
    read_class_names,
    read_largest_label,
    read_nb_channels,
)
from datasets.errors import DataError
from datasets.files import ARCHIVES, find_file, sha256_of_file, unpacked
from datasets.frames import FramesDataSet, FrameSet, largest_unit, load_frames
from datasets.guard import ANY_LABEL, check_new_files
from datasets.interface import SPLITS, Data
from parsers.options import AUTO

HELD_OUT_SPEAKERS = 0.15
HELD_OUT_CLIPS = 0.1
MOST_HELD_OUT = 0.35  # of the training clips, by speakers that nobody asked for


@dataclass(frozen=True)
class SpikingDataSet(FramesDataSet):
    """A data set in the SHD layout: files ``{name}_{split}.h5``, also ``.gz`` or ``.zip``.

    Its splits are FrameSets of counts, binned as in the published SpArch code. Files whose
    ``extra/keys`` name another number of classes than ``nb_classes`` have as many as they name; for
    the number of channels see `_nb_channels`.
    ``url`` is the page that publishes the data, if there is one.

    Without a validation split, ``options.shd_validation`` says what to validate on: ``test``, as
    the published runs do, ``speakers`` or ``random`` clips that are held out of training, the same
    ones in every run, or a ``file`` of the name of a validation split. ``auto`` is ``test`` for the
    published clips; for others the file if it is there, else what can be held out.
    """

    name: str
    nb_classes: int
    splits: tuple[str, ...]
    default_folder: str
    url: str | None
    title: str
    clips: Mapping[str, int] = field(default_factory=dict)

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
        folder, how = self.folder(options), options.shd_validation
        if "valid" in self.splits:
            how = "file"
        files = self._files(folder, how, splits)
        if how == AUTO:
            how = self._validation(folder, files.get("train"))
            files |= self._files(folder, how, splits, known=files)
        classes = self._class_names(list(files.values()), options.nb_outputs or 0, say)
        nb_channels = options.nb_channels or self._nb_channels(list(files.values()), say)
        binning = Binning(options.nb_steps, options.max_time, options.spatial_bin, nb_channels)
        if options.augm_channel_shift >= binning.nb_features:
            raise DataError(
                f"--augm_channel_shift {options.augm_channel_shift} moves clips out of the "
                f"{binning.nb_features} channels that --spatial_bin {options.spatial_bin} leaves"
            )
        loaded = {
            source: load_frames(files[source], binning, nb_classes=len(classes), say=say)
            for source in _sources(how, splits)
        }
        train, test = loaded.get("train"), loaded.get("test")
        if how == "file":
            valid, sentence = loaded.get("valid"), "the dataset's own validation split"
        elif how == "test":
            valid, sentence = test, "test split (as published)"
        elif train is None:
            valid, sentence = None, f"{how} held out of the training split"
        else:
            train, valid, sentence = _hold_out(how, train, files["train"])
        found = {"train": train, "valid": valid, "test": test}
        return Data(
            **{split: found[split] for split in splits},
            nb_features=binning.nb_features,
            nb_channels=nb_channels,
            classes=classes,
            validation=sentence,
            checksums={file.name: sha256_of_file(file) for file in files.values()},
            unpublished=self.unpublished({name: len(clips) for name, clips in loaded.items()}),
            settled={} if "valid" in self.splits else {"shd_validation": how},
            ear_seed=next(iter(loaded.values())).ear_seed,
        )

    def _files(
        self, folder: Path, how: str, splits: Collection[str], known: Collection[str] = ()
    ) -> dict[str, Path]:
        """The files behind the splits, but those ``known``; unpacked, and fit to be read."""
        sources = [source for source in _sources(how, splits) if source not in known]
        files = {source: unpacked(self._locate(folder, source)) for source in sources}
        check_new_files(files.values())
        return files

    def _validation(self, folder: Path, train: Path | None) -> str:
        """What ``auto`` stands for by the file of the training clips; None: they are not needed."""
        if train is None:
            return "test"
        annotations = read_annotations(train, ANY_LABEL)
        if self.unpublished({"train": len(annotations.labels)}):
            if self._find(folder, "valid"):
                return "file"
            for how in ("speakers", "random"):
                with suppress(DataError):
                    is_valid, _ = _held_out(how, annotations, train)
                    if how == "random" or is_valid.mean() <= MOST_HELD_OUT:
                        return how
        return "test"

    def _find(self, folder: Path, split: str) -> Path | None:
        name = f"{self.name}_{split}.h5"
        try:
            return find_file(folder, name)
        except OSError as error:
            raise DataError(f"cannot look into {folder} for {name}: {error.strerror}") from error

    def _locate(self, folder: Path, split: str) -> Path:
        if path := self._find(folder, split):
            return path
        name = f"{self.name}_{split}.h5"
        tried = ", ".join([name, *(name + suffix for suffix in ARCHIVES)])
        where = f"no folder {folder} for {name}"
        if folder.is_dir():
            where = f"none of {tried} in {folder}"
            alike = re.compile(rf"{split}.*\.(h5|hdf5|hdf)(\.gz|\.zip)?$", re.IGNORECASE)
            files = sorted(path.name for path in folder.iterdir() if path.is_file())
            if found := list(filter(alike.search, files)):
                raise DataError(f"{where}: rename {found[0]} if it is that file")
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

    def _class_names(
        self, files: list[Path], nb_outputs: int, say: Callable[[str], None]
    ) -> list[str]:
        """What ``extra/keys`` of the files names, or else numbers, ``nb_outputs`` if that is more.

        Raises DataError where two files name different classes: a label would mean two words.
        """
        named = {file: names for file in files if (names := read_class_names(file))}
        if not named:
            return [str(label) for label in range(max(self.nb_classes, nb_outputs))]
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
                f"{self.nb_classes}: the others make no class"
            )
            names = names[: self.nb_classes]
        for label, name in enumerate(names):
            if (other := names.index(name)) < label:
                say(
                    f"{first.name} names two classes {name!r} in extra/keys, labels {other} and "
                    f"{label}: it takes one name for each label"
                )
                break
        if len(names) != self.nb_classes:
            say(
                f"{self.name}: {len(names)} classes here by extra/keys of {first.name}, where "
                f"{self.name} has {self.nb_classes}: results do not compare with published ones"
            )
        return names


def _sources(how: str, splits: Collection[str]) -> list[str]:
    """The files behind the splits, in the order train, valid, test and each once."""
    valid = {"file": "valid", "test": "test"}.get(how, "train")
    needed = {valid if split == "valid" else split for split in splits}
    return [source for source in SPLITS if source in needed]


def _hold_out(how: str, train: FrameSet, path: Path) -> tuple[FrameSet, FrameSet, str]:
    """Split ``train`` into training and validation clips; the sentence says how."""
    speakers = None if train.speakers is None else train.speakers.numpy()
    clips = Annotations(train.labels.numpy(), speakers, train.names)
    is_valid, sentence = _held_out(how, clips, path)
    kept, held = (torch.from_numpy(np.flatnonzero(mask)) for mask in (~is_valid, is_valid))
    return train.subset(kept), train.subset(held), sentence


def _held_out(how: str, clips: Annotations, path: Path) -> tuple[np.ndarray, str]:
    """Mask [N] of the clips to validate on, and the sentence that says how they were chosen."""
    choose = _by_speaker if how == "speakers" else _at_random
    is_valid, sentence = choose(clips, path)
    lost = np.setdiff1d(clips.labels, clips.labels[~is_valid])
    if lost.size:
        raise DataError(
            f"{path}: holding out {how} leaves no training clip of class {lost[0]}: choose another "
            "--shd_validation"
        )
    return is_valid, sentence


def _by_speaker(clips: Annotations, path: Path) -> tuple[np.ndarray, str]:
    """Mask [N] of the clips by about 15% of the speakers, spread evenly over their numbers."""
    speakers = [] if clips.speakers is None else np.unique(clips.speakers).tolist()
    if len(speakers) < 2:
        found = "one speaker only" if speakers else "no extra/speaker"
        raise DataError(
            f"{path} has {found}, so that none can be held out: choose validation test or random"
        )
    nb_held = max(1, round(HELD_OUT_SPEAKERS * len(speakers)))
    chosen = [speakers[int((i + 0.5) * len(speakers) / nb_held)] for i in range(nb_held)]
    noun = "speaker" if nb_held == 1 else "speakers"
    named = [clips.names[speaker] if clips.names else str(speaker) for speaker in chosen]
    sentence = f"held-out {noun} {', '.join(named)} of the training split"
    return np.isin(clips.speakers, chosen), sentence


def _at_random(clips: Annotations, path: Path) -> tuple[np.ndarray, str]:
    """Mask [N] of about 10% of the clips of every class, the same ones in every run."""
    # NumPy keeps the numbers of this old generator the same for ever; those of newer ones may move.
    generator = np.random.RandomState(0)
    is_valid = np.zeros(len(clips.labels), dtype=bool)
    for label in np.unique(clips.labels):
        own = np.flatnonzero(clips.labels == label)
        nb_held = max(round(HELD_OUT_CLIPS * len(own)), min(1, len(own) - 1), 0)
        is_valid[generator.permutation(own)[:nb_held]] = True
    if not is_valid.any():
        raise DataError(f"{path} has too few clips to hold any out: choose validation test")
    return is_valid, f"random {HELD_OUT_CLIPS:.0%} of the training split"
