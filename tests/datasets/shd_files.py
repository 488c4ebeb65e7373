# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Small files in the SHD layout."""

from pathlib import Path

import h5py
import numpy as np

NB_CLIPS = 12


def random_clips(nb_clips: int = NB_CLIPS, seed: int = 0) -> dict:
    """Contents of a file: 12 clips, 4 speakers, classes 0..2, a few events past one second."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(20, 60, nb_clips)
    return {
        "times": [(1.1 * rng.random(size)).astype(np.float16) for size in sizes],
        "units": [rng.integers(0, 700, size).astype(np.uint16) for size in sizes],
        "labels": np.arange(nb_clips) % 3,
        "speakers": np.arange(nb_clips) // 3 % 4,
    }


def write_spikes(path: Path, contents: dict) -> Path:
    """Write contents as returned by ``random_clips``; a missing entry is not written."""
    with h5py.File(path, "w") as file:
        for name in ("times", "units"):
            if name in contents:
                rows = contents[name]
                dtype = h5py.vlen_dtype(rows[0].dtype if len(rows) else np.float16)
                dataset = file.create_dataset(f"spikes/{name}", (len(rows),), dtype)
                for i, row in enumerate(rows):
                    dataset[i] = row
        if "labels" in contents:
            file["labels"] = contents["labels"]
        for name, entry in (("speakers", "extra/speaker"), ("keys", "extra/keys")):
            if name in contents:
                file[entry] = contents[name]
    return path
