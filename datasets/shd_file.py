# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Files of the SHD layout (Cramer et al. 2020), written."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from datasets.binning import EAR_SEED, RECORDINGS
from datasets.errors import DataError
from datasets.files import readable


class Clip(NamedTuple):
    """One spoken clip of a file in the SHD layout: ``times`` [E] float16 in s, ascending, and
    ``units`` [E] uint16."""

    times: np.ndarray
    units: np.ndarray
    label: int
    speaker: int


def write_shd(
    path: Path,
    clips: list[Clip],
    keys: list[str],
    recordings: Sequence[str] = (),
    ear_seed: int | None = None,
) -> None:
    """Write clips in the layout of the Heidelberg files: HDF5 with ``spikes/times`` (ragged
    float16, s), ``spikes/units`` (ragged uint16), ``labels`` and ``extra/speaker`` (uint16), and
    ``extra/keys``, the names of the classes.

    ``recordings`` are the files that the clips come from, by way of the inner ear of
    `datasets.cochlea` with the seed ``ear_seed``; they are written as ``extra/recording``. The same
    clips give the same bytes. The file appears whole or not at all. Raises DataError where it
    cannot be written.
    """
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
                ("extra/keys", np.array([readable(key).encode() for key in keys])),
            ):
                file.create_dataset(name, data=data, track_times=False)
            if recordings:
                names = np.array([readable(name).encode() for name in recordings])
                entry = file.create_dataset(RECORDINGS, data=names, track_times=False)
                entry.attrs[EAR_SEED] = ear_seed
        os.replace(partial, path)
    except OSError as error:
        raise DataError(f"cannot write {path}: {error}") from error
    finally:
        partial.unlink(missing_ok=True)
