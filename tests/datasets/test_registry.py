# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The registry of data sets, and the data set that CONTRIBUTING.md adds to it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datasets.audio import AudioDataSet
from datasets.errors import DataError
from datasets.interface import REPO
from datasets.registry import DATASETS
from datasets.spiking import SpikingDataSet
from parsers.training_config import (
    AUDIO_DATASETS,
    SPIKING_DATASETS,
    WITHOUT_VALIDATION,
    TrainingConfig,
)
from tests.own_neuron import PAGE, python_blocks, run_block

SECTION = "Add a data set"


def test_every_name_is_in_the_registry_and_in_the_parser():
    options = "SPIKING_DATASETS and AUDIO_DATASETS in parsers/training_config.py"
    names = {*SPIKING_DATASETS, *AUDIO_DATASETS}
    assert not (missing := names - set(DATASETS)), f"not in datasets/registry.py: {missing}"
    assert not (missing := set(DATASETS) - names), f"not in {options}: {missing}"


def test_the_parser_knows_their_kinds():
    for name, dataset in DATASETS.items():
        assert isinstance(dataset, SpikingDataSet) <= (name in SPIKING_DATASETS), name
        assert isinstance(dataset, AudioDataSet) <= (name in AUDIO_DATASETS), name
    ours = {name: dataset for name, dataset in DATASETS.items() if hasattr(dataset, "name")}
    assert list(ours) == [dataset.name for dataset in ours.values()]
    spiking = [name for name in SPIKING_DATASETS if name in ours]
    assert list(WITHOUT_VALIDATION) == [n for n in spiking if "valid" not in ours[n].splits]


def write_events(path: Path, clips: int, seed: int) -> None:
    """Two words, of low and of high units."""
    rng = np.random.default_rng(seed)
    labels, lengths = np.arange(clips) % 2, rng.integers(50, 90, clips)
    units = rng.integers(0, 300, lengths.sum()) + 350 * np.repeat(labels, lengths)
    np.savez(
        path, times=rng.uniform(0, 0.9, len(units)), units=units, lengths=lengths, labels=labels
    )


@pytest.fixture
def program(tmp_path) -> Path:
    """The program with the example in it, as the page says."""
    root = tmp_path / "program"
    for package in ("datasets", "parsers"):
        (root / package).mkdir(parents=True)
        for path in (REPO / package).iterdir():
            (root / package / path.name).symlink_to(path)
    for name in ("models", "training"):
        (root / name).symlink_to(REPO / name)
    shutil.copy(REPO / "main.py", root)  # Python seeks packages beside the file behind a link
    (block,) = python_blocks(SECTION)
    (root / "datasets" / "event_files.py").write_text(block)
    (line,) = re.findall(r'`("words": .*,)`', PAGE.read_text(encoding="utf-8"))
    edit(
        root / "datasets" / "registry.py",
        (
            "\nfrom datasets.interface",
            "\nfrom datasets.event_files import EventFiles\nfrom datasets.interface",
        ),
        ("DataSet] = {", f"DataSet] = {{\n    {line}"),
    )
    edit(root / "parsers" / "training_config.py", ('"demo"', '"demo", "words"'))
    return root


def edit(path: Path, *changes: tuple[str, str]) -> None:
    """Replace a link by the file behind it, changed."""
    text = path.read_text(encoding="utf-8")
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    path.unlink()
    path.write_text(text, encoding="utf-8")


def test_the_example_is_short():
    (block,) = python_blocks(SECTION)
    assert len([line for line in block.partition("class ")[2].splitlines() if line.strip()]) <= 30


def test_the_example_trains(program, tmp_path):
    for seed, (split, clips) in enumerate((("train", 24), ("valid", 8), ("test", 8))):
        write_events(tmp_path / f"{split}.npz", clips, seed)
    flags = "--dataset_name words --nb_hiddens 8 --nb_steps 20 --batch_size 8 --nb_epochs 1"
    flags += " --augm_event_drop 0.1 --seed 3 --backend naive --new_exp_folder run"

    done = subprocess.run(
        [sys.executable, program / "main.py", *flags.split(), "--data_folder", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["clips"] == {"train": 24, "valid": 8, "test": 8}
    assert summary["validated_on"] == "valid.npz"
    assert set(summary["data_checksums"]) == {"train.npz", "valid.npz", "test.npz"}


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\x03\x04 half a zip"])
def test_the_example_refuses_bad_files(tmp_path, content):
    path = tmp_path / "test.npz"
    if content is not None:
        path.write_bytes(content)
    (block,) = python_blocks(SECTION)
    options = TrainingConfig(data_folder=tmp_path)
    with pytest.raises(DataError, match=r"test\.npz cannot be read"):
        run_block(block).EventFiles().load(options, ("test",))
