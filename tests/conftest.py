# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[1]
os.environ["WANDB_MODE"] = "disabled"  # the tests of tracking alone turn it on


def shared_folder(name: str) -> Path:
    """Folder of material that is kept outside the repository (``SPRACHE_SHARED`` overrides); a test
    that needs it is skipped where it is not."""
    folder = Path(os.environ.get("SPRACHE_SHARED", REPO.parent / "shared")) / name
    if not folder.is_dir():
        pytest.skip(f"there is no {folder}")
    return folder


@pytest.fixture(scope="session")
def real_speech_folder() -> Path:
    """Real spoken digits as spikes (SHD layout), where they lie beside the checkout."""
    return shared_folder("data/fsdd_spikes")


@pytest.fixture(scope="session")
def original_goldens() -> Path:
    """Numbers that the original implementation computed, where they lie beside the checkout."""
    return shared_folder("goldens")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Workers of ``-n auto``: each imports PyTorch, and many only wait for the slowest test."""
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2)


def pytest_configure(config):
    """Hide GPUs from tests that were not written for one, and from the programs they start."""
    if not asks_for_gpu(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def asks_for_gpu(config) -> bool:
    """Whether this is ``pytest -m gpu``."""
    expression = config.option.markexpr
    return "gpu" in expression and "not gpu" not in expression


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU, and what is slow, unless it is asked for."""
    if not asks_for_gpu(config):
        skip_marked(items, "gpu", "needs a CUDA GPU; run with `pytest -m gpu`")
    elif any(item.get_closest_marker("gpu") for item in items):
        import torch

        if not torch.cuda.is_available():
            skip_marked(items, "gpu", "no CUDA GPU")
    if "slow" not in config.option.markexpr:
        skip_marked(items, "slow", "takes minutes; run with `pytest -m slow`")


def skip_marked(items, name: str, reason: str) -> None:
    """Skip the tests with a marker."""
    for item in items:
        if item.get_closest_marker(name):
            item.add_marker(pytest.mark.skip(reason=reason))
