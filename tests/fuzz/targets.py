# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What is fuzzed: each target reads a file of arbitrary bytes as the program would.

A target returns in peace, or the reader refuses the file with its own kind of error in one line.
Everything else is a finding.
"""

import contextlib
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import soundfile
import torch

from datasets.binning import Binning
from datasets.errors import DataError
from datasets.frames import load_frames
from datasets.guard import check_new_files
from datasets.recordings import BadRecordingError, read_recording, resample
from models.snns import SNN
from parsers.load import ConfigError, load_plan
from tests.datasets.shd_files import random_clips, write_spikes
from training.errors import CheckpointError
from training.record import checkpoint, files

FINDINGS = Path(__file__).parent / "findings"
PATIENCE = 20  # s that any file of a few kilobytes may take
CHILD_PATIENCE = 5  # s until the HDF5 library counts as hanging


@contextlib.contextmanager
def file_of(data: bytes, name: str) -> Iterator[Path]:
    """A file that holds ``data``, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        yield path


@contextlib.contextmanager
def refusal(*kinds: type[Exception]) -> Iterator[None]:
    """Accept errors of these kinds whose message is one line that is not too long."""
    try:
        yield
    except kinds as error:
        text = str(error)
        assert text.strip(), "an empty message"
        assert "\n" not in text, text
        assert len(text) < 1500, text


def yaml_config(data: bytes) -> None:
    """A config, from its bytes to the runs to make."""
    with file_of(data, "config.yaml") as path, refusal(ConfigError):
        load_plan(["--config", str(path), "--data_folder", str(path.parent)])


def hdf5_spikes(data: bytes) -> None:
    """A file in the SHD layout, from its bytes to frames, unless the HDF5 library dies or hangs."""
    with file_of(data, "shd_train.h5") as path, refusal(DataError):
        check_new_files([path], patience=CHILD_PATIENCE)
        load_frames(path, Binning(10, 1.0, 100), nb_classes=20, say=lambda line: None)


def wav_recording(data: bytes) -> None:
    """A recording, from its bytes to samples at 16 kHz."""
    with file_of(data, "word.wav") as path, refusal(BadRecordingError):
        resample(read_recording(path), 16000)


def checkpoint_file(data: bytes) -> None:
    """A checkpoint, from its bytes to the weights of a network, and as a state to resume from."""
    with file_of(data, "best_model.pth") as path:
        with refusal(CheckpointError):
            checkpoint.load_weights(small_network(), path)
        with refusal(CheckpointError):
            checkpoint.load_state(path)


def small_network() -> SNN:
    """A network whose checkpoint is small."""
    return SNN((None, None, 2), [2, 2], "LIF")


TARGETS: dict[str, Callable[[bytes], None]] = {
    "yaml": yaml_config,
    "hdf5": hdf5_spikes,
    "wav": wav_recording,
    "checkpoint": checkpoint_file,
}


def write_seeds(target: str, folder: Path) -> None:
    """Small sound files of a target's kind, from which the fuzzer starts."""
    warnings.simplefilter("ignore")
    makers = dict(zip(TARGETS, (_yaml_seeds, _hdf5_seeds, _wav_seeds, _torch_seeds), strict=True))
    makers[target](folder)


def _yaml_seeds(folder: Path) -> None:
    texts = {
        "flat": "lr: [0.01, 1e-3]\nmodel_type: SiLIF\nseed: [1, 2]\nuse_bias: True\n",
        "published": "method: grid\nparameters:\n  lr: {values: [0.01]}\n  pdrop: {value: 0.5}\n",
        "by_model": "nb_epochs: 3\nby_model:\n  RF: {lr: 0.1}\n  LIF:\n    pdrop: 0.2\n",
        "anchors": 'lr: &a [0.1]\npdrop: *a\nnb_hiddens: !!int 12\nsweep_name: "a\\u00e9"\n',
        "block": "? lr\n: >-\n  0.1\nsweep_name: |\n  two\n  lines\n# comment\n--- \n...\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text)


def _hdf5_seeds(folder: Path) -> None:
    write_spikes(folder / "plain", random_clips(3))
    for name, options in (("latest", {"libver": "latest"}), ("gzip", {})):
        with h5py.File(folder / name, "w", **options) as file:
            for field, row in (("times", np.arange(4) / 8), ("units", np.arange(4) * 90)):
                kind = h5py.vlen_dtype(row.dtype)
                packing = {"chunks": (2,), "compression": "gzip"} if name == "gzip" else {}
                file.create_dataset(f"spikes/{field}", (3,), kind, **packing)[:] = [row] * 3
            file["labels"] = np.arange(3)
            file["extra/keys"] = np.array([b"zero", b"one", b"two"])


def _wav_seeds(folder: Path) -> None:
    sound = np.sin(np.arange(400) / 5) / 2
    for subtype in ("PCM_16", "PCM_24", "FLOAT", "PCM_U8"):
        soundfile.write(folder / subtype, sound, 16000, subtype=subtype, format="WAV")
    soundfile.write(folder / "rate", sound, 44100, subtype="PCM_16", format="WAV")
    soundfile.write(folder / "stereo", np.stack([sound, sound], 1), 16000, format="WAV")
    soundfile.write(folder / "flac", sound, 16000, subtype="PCM_16", format="FLAC")


def _torch_seeds(folder: Path) -> None:
    weights = small_network().state_dict()
    files.write_torch(folder / "weights.pth", weights)
    torch.save(weights, folder / "legacy.pth", _use_new_zipfile_serialization=False)
    content = {"format": checkpoint.FORMAT, "model": weights, "optimizer": {}, "scheduler": {}}
    content |= {"rng": {}, "progress": {"epoch": 1}, "best": None}
    files.write_torch(folder / "state.pth", content)
