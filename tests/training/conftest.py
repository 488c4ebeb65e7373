# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A small data set in the SHD layout, and the program run on it."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from resumption import SMALL, whole_run
from wandb_server import WandbServer

import main
from tests.command_line import arguments
from tests.datasets.shd_files import write_spikes
from training.experiment import Experiment
from training.tracking import wandb_run

NB_CLASSES = 20
GLIDES = {"fall": -1500, "rise": 1500, "stay": 0}  # words, Hz per second


def glide(rng: np.random.Generator, label: int) -> tuple[np.ndarray, np.ndarray]:
    """A clip of a class: a tone whose place and direction of glide the label decides."""
    times = np.sort(rng.uniform(0, 0.9, 300))
    center = 60 + 60 * (label // 2) + 250 * times * (1 if label % 2 else -1)
    units = np.clip(center + rng.normal(0, 12, 300), 0, 699)
    return times.astype("f2"), units.astype("u2")


@pytest.fixture(scope="session")
def spikes_folder(tmp_path_factory) -> Path:
    """Folder with shd_train.h5 (8 clips a class, 4 speakers) and shd_test.h5 (3 clips a class)."""
    folder = tmp_path_factory.mktemp("spikes")
    rng = np.random.default_rng(0)
    for split, repeats in (("train", 8), ("test", 3)):
        labels = np.repeat(np.arange(NB_CLASSES), repeats)
        times, units = zip(*(glide(rng, label) for label in labels), strict=True)
        speakers = np.tile(np.arange(repeats) % 4, NB_CLASSES)
        contents = {"times": times, "units": units, "labels": labels, "speakers": speakers}
        write_spikes(folder / f"shd_{split}.h5", contents)
    return folder


@pytest.fixture(scope="session")
def words_folder(tmp_path_factory) -> Path:
    """Three words as tones that glide, 0.2 to 0.3 s, 16 clips each, and the lists."""
    folder = tmp_path_factory.mktemp("words")
    rng = np.random.default_rng(0)
    for word, glide in GLIDES.items():
        (folder / word).mkdir()
        for clip in range(16):
            t = np.arange(rng.integers(3200, 4800)) / 16000
            tone = np.sin(2 * np.pi * (rng.uniform(900, 1300) * t + glide * t**2))
            sound = 0.3 * tone + 0.01 * rng.standard_normal(len(t))
            path = folder / word / f"{clip:02d}.wav"
            soundfile.write(path, sound, 16000, subtype="PCM_16")
    for name, clips in (("validation_list.txt", range(3)), ("testing_list.txt", range(3, 6))):
        (folder / name).write_text("".join(f"{w}/{c:02d}.wav\n" for w in GLIDES for c in clips))
    return folder


@pytest.fixture
def train(spikes_folder, tmp_path, monkeypatch):
    """Call main.py with small defaults, from an empty working directory; the exit status."""
    monkeypatch.chdir(tmp_path)

    def call(*flags: str, **options) -> int:
        values = {**SMALL, "data_folder": spikes_folder, **options}
        return main.main([*flags, *arguments(**values)])

    return call


class Crash(BaseException):
    """Nothing that the program does after it counts, as after kill -9."""


def crash():
    raise Crash


@pytest.fixture
def interrupt(train, monkeypatch):
    """Train, and let the step after ``steps`` others raise a crash, or do something else."""

    def call(steps, how=crash, **options):
        done, step = iter(range(10_000)), Experiment.train_step

        def train_step(self, *args):
            step(self, *args)
            if next(done) == steps:
                how()

        with monkeypatch.context() as patched:
            patched.setattr(Experiment, "train_step", train_step)
            try:
                return train(**options)
            except Crash:
                return None

    return call


@pytest.fixture(scope="session")
def whole(spikes_folder, tmp_path_factory) -> Path:
    """What a training with the ``OPTIONS`` of `resumption` leaves where nothing interrupts it."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main.main([*whole_run(spikes_folder, folder), "--tracking", "none"]) == 0
    return folder


@pytest.fixture
def no_login(monkeypatch, tmp_path_factory):
    """wandb turned on, without a login, and with a server's address where nobody listens."""
    import wandb
    from wandb.sdk.lib import wbauth

    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NETRC", str(home / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(wandb_run.link, "known", False)
    wandb.teardown()
    wbauth.unauthenticate_session(update_settings=False)
    yield
    wandb.teardown()


@pytest.fixture
def wandb_server(no_login, monkeypatch):
    """wandb turned on, with a login at a stand-in server on this machine."""
    server = WandbServer()
    monkeypatch.setenv("WANDB_BASE_URL", server.url)
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    yield server
    server.die()
