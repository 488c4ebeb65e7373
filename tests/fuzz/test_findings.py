# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What fuzzing found stays mended; seeds, whole and damaged, are read in peace or refused."""

import random

import pytest

from datasets.errors import DataError
from datasets.guard import check_new_files
from tests.fuzz.targets import FINDINGS, TARGETS, write_seeds

FOUND = sorted(path for target in TARGETS for path in FINDINGS.glob(f"{target}/*"))
DAMAGED = 12  # variants of each seed


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_findings(path):
    TARGETS[path.parent.name](path.read_bytes())


def test_a_file_that_hangs_the_hdf5_library(tmp_path):
    path = tmp_path / "shd_train.h5"
    path.write_bytes((FINDINGS / "library" / "hangs_hdf5.h5").read_bytes())
    with pytest.raises(DataError, match=r"the HDF5 library (hangs|dies)"):
        check_new_files([path], patience=2)


@pytest.mark.parametrize("target", ["yaml", "wav", "checkpoint"])
def test_damaged_seeds(target, tmp_path):
    write_seeds(target, tmp_path)
    rng = random.Random(target)
    for seed in sorted(tmp_path.iterdir()):
        content = seed.read_bytes()
        TARGETS[target](content)
        for _ in range(DAMAGED):
            damaged = bytearray(content)
            for _ in range(rng.randint(1, 4)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            TARGETS[target](bytes(damaged[: rng.choice([len(damaged), rng.randrange(1, 400)])]))
