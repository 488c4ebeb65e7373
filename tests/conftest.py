# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Fixtures shared by all tests."""

import gc
import logging
import os
import random
import shutil
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as in main.py, before PyTorch is imported

import numpy as np
import pytest
import torch
from refusal import small_data

from datasets import spiking
from training.record import recorder

REPO = Path(__file__).resolve().parents[1]
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2
# The cores are shared among the workers of pytest-xdist, with the programs that they start.
THREADS = max(1, CORES // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
os.environ["WANDB_MODE"] = "disabled"  # the tests of tracking alone turn it on


@pytest.fixture(scope="session")
def shared_folder() -> Path:
    """Folder of material kept outside the repository; tests of it run where SPRACHE_SHARED names
    it, and are left out of every other run."""
    return Path(os.environ["SPRACHE_SHARED"])


@pytest.fixture(scope="session")
def original_goldens(shared_folder) -> Path:
    """Numbers that the original implementation computed."""
    return shared_folder / "goldens"


@pytest.fixture
def caplog(caplog):
    """What Sprache logs: threads of wandb, started by other tests, may log at any time."""
    ours = logging.Filter("sprache")
    caplog.handler.addFilter(ours)
    yield caplog
    caplog.handler.removeFilter(ours)


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    """Every test draws the same numbers: alone, in any order, on any worker."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def plain_curves(request, monkeypatch):
    """Spare every run its picture, which takes longer than the training; `curves` asks for it."""
    if "curves" not in request.fixturenames:
        monkeypatch.setattr(recorder, "draw_curves", lambda history, summary, path: path.touch())


@pytest.fixture
def curves():
    """Let runs draw their curves."""


@pytest.fixture(autouse=True)
def no_guard(monkeypatch):
    """Do not first read new HDF5 files in another process; tests of the guard override this."""
    monkeypatch.setattr(spiking, "check_new_files", lambda paths: None)


@pytest.fixture(scope="session")
def sound_data(tmp_path_factory) -> Path:
    """A small data set in the SHD layout, not to be changed."""
    return small_data(tmp_path_factory.mktemp("sound") / "data")


@pytest.fixture
def data(sound_data, tmp_path) -> Path:
    """A copy of the small sound data set, which a test may damage."""
    return shutil.copytree(sound_data, tmp_path / "data")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Workers of ``-n auto``: each imports PyTorch, and many only wait for the slowest test."""
    return min(4, CORES)


def pytest_configure(config):
    """Set the number of threads, which decides the last digits. Hide GPUs from tests that were not
    written for one. Wait for no disk: what tests write need not outlast a loss of power."""
    os.fsync = lambda file: None
    torch.set_num_threads(THREADS)
    os.environ["OMP_NUM_THREADS"] = str(THREADS)
    if not asks_for_gpu(config):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(autouse=True)
def same_number_of_threads():
    """Give every test as many threads: Numba's own loops, as of the cochlea, take all cores, also
    where a fixture of the session runs them before its first test."""
    take_threads()
    yield
    take_threads()


def take_threads() -> None:
    """Set the number of threads where something has changed it."""
    if torch.get_num_threads() != THREADS:
        torch.set_num_threads(THREADS)


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Look for garbage neither while modules are imported nor in what they hold, and less often:
    among a million objects, most of them PyTorch's, that took a fifth of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(10_000)
        gc.enable()


def pytest_unconfigure():
    """Let the end of the process find what nothing refers to; libraries report what is left."""
    gc.unfreeze()


def asks_for_gpu(config) -> bool:
    """Whether this is ``pytest -m gpu``."""
    expression = config.option.markexpr
    return "gpu" in expression and "not gpu" not in expression


def pytest_collection_modifyitems(config, items):
    """Leave out what needs a GPU or a shared folder that is not there."""
    if "SPRACHE_SHARED" not in os.environ:
        deselect_users_of(config, items, "shared_folder")
    if not asks_for_gpu(config):
        skip_marked(items, "gpu", "needs a CUDA GPU; run with `pytest -m gpu`")
    elif not torch.cuda.is_available():
        skip_marked(items, "gpu", "no CUDA GPU")


def deselect_users_of(config, items: list, fixture: str) -> None:
    """Leave out the tests that ask for a fixture, themselves or through another one."""
    users = [item for item in items if fixture in getattr(item, "fixturenames", ())]
    config.hook.pytest_deselected(items=users)
    items[:] = [item for item in items if item not in users]


def skip_marked(items, name: str, reason: str) -> None:
    """Skip the tests with a marker."""
    for item in items:
        if item.get_closest_marker(name):
            item.add_marker(pytest.mark.skip(reason=reason))
