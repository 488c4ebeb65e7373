# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What the model of the inner ear reads, folders of WAV files, and writes, the SHD layout."""

import os
import re
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from datasets.errors import DataError


class Clip(NamedTuple):
    """One spoken clip of a file in the SHD layout: ``times`` [E] float16 in s, ascending, and
    ``units`` [E] uint16."""

    times: np.ndarray
    units: np.ndarray
    label: int
    speaker: int


def write_shd(path: Path, clips: list[Clip], keys: list[str], overwrite: bool = False) -> None:
    """Write clips in the layout of the Heidelberg files: HDF5 with ``spikes/times`` (ragged
    float16, s), ``spikes/units`` (ragged uint16), ``labels`` and ``extra/speaker`` (uint16), and
    ``extra/keys``, the names of the classes.

    The same clips give the same bytes. The file appears whole or not at all. Raises DataError where
    ``path`` exists and ``overwrite`` is off, or cannot be written.
    """
    if path.exists() and not overwrite:
        raise DataError(f"{path} exists: choose another name or pass --overwrite")
    partial = path.with_name(f".{path.name}.partial")
    try:
        with h5py.File(partial, "w", libver="earliest") as file:
            for name, kind in (("times", np.float16), ("units", np.uint16)):
                ragged = file.create_dataset(
                    f"spikes/{name}", len(clips), h5py.vlen_dtype(kind), track_times=False
                )
                for i, clip in enumerate(clips):
                    ragged[i] = getattr(clip, name)
            for name, data in (
                ("labels", np.uint16([clip.label for clip in clips])),
                ("extra/speaker", np.uint16([clip.speaker for clip in clips])),
                ("extra/keys", np.array([key.encode() for key in keys])),
            ):
                file.create_dataset(name, data=data, track_times=False)
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {' '.join(str(error).split())}") from error
    finally:
        partial.unlink(missing_ok=True)


def find_wavs(folder: Path) -> tuple[list[Path], list[int], list[str]]:
    """WAV files of ``folder``, their labels and the class names (sub-folders, sorted by name).

    Sub-folders whose name begins with ``_`` or ``.`` are no classes (``_background_noise_``).
    Raises DataError where there is no folder, no WAV file in a sub-folder, or a class without one.
    """
    if not folder.is_dir():
        raise DataError(f"no folder {folder}")
    keys = sorted(f.name for f in folder.iterdir() if f.is_dir() and f.name[0] not in "_.")
    paths, labels = [], []
    for label, key in enumerate(keys):
        found = sorted(f for f in (folder / key).iterdir() if f.suffix.lower() == ".wav")
        if not found:
            raise DataError(f"no .wav file in {folder / key}: remove the folder or fill it")
        paths += found
        labels += [label] * len(found)
    if not paths:
        raise DataError(f"no .wav files in sub-folders of {folder}: one sub-folder per word")
    return paths, labels, keys


def speaker_numbers(paths: list[Path], pattern: str | None) -> list[int]:
    """Number of each file's speaker: the rank of what group 1 of ``pattern`` finds in its name.

    All 0 without a pattern. Raises DataError for a pattern that is faulty or finds no speaker.
    """
    if pattern is None:
        return [0] * len(paths)
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise DataError(f"--speaker_from {pattern!r} is no regular expression: {error}") from error
    names = []
    for path in paths:
        match = regex.search(path.name)
        if match is None or regex.groups < 1 or match[1] is None:
            raise DataError(f"--speaker_from {pattern!r} finds no group ( ) in the name of {path}")
        names.append(match[1])
    ranks = {name: i for i, name in enumerate(sorted(set(names)))}
    return [ranks[name] for name in names]
