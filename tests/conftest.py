# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]


def shared_folder(name: str) -> Path:
    """Folder of material that is kept outside the repository (``SPRACHE_SHARED`` overrides)."""
    return Path(os.environ.get("SPRACHE_SHARED", REPO.parent / "shared")) / name


@pytest.fixture(scope="session")
def real_speech_folder() -> Path:
    """Real spoken digits as spikes (SHD layout), where they lie beside the checkout."""
    folder = shared_folder("data/fsdd_spikes")
    if not folder.is_dir():
        pytest.skip(f"no real-speech spikes at {folder}")
    return folder


@pytest.fixture(scope="session")
def original_goldens() -> Path:
    """Numbers that the original implementation computed, where they lie beside the checkout."""
    folder = shared_folder("goldens")
    if not folder.is_dir():
        pytest.skip(f"no golden cases of the original implementation at {folder}")
    return folder
