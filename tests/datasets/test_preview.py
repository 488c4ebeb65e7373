# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The pages that show a data set: which pictures there are, and what is refused."""

from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from shd_files import random_clips
from wav_files import write_words

from datasets.preview import __main__ as command
from datasets.preview import figures, views
from datasets.preview.__main__ import choose_clips

ALWAYS = {"clips", "classes", "lengths"}


@pytest.fixture
def shd_folder(spikes, tmp_path) -> Path:
    spikes("data/shd_train.h5")
    spikes("data/shd_test.h5", **random_clips(seed=1))
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def data_subfolder(tmp_path):
    (tmp_path / "data").mkdir()


@pytest.fixture
def show(tmp_path, capsys, monkeypatch):
    """Run the command; (exit status, folder it writes, last line that it said)."""
    monkeypatch.setattr(command, "PAIRS", 1)

    def call(*flags: str) -> tuple[int, Path, str]:
        status = command.main(["--out", str(tmp_path / "page"), "--clips", "2", *flags])
        out, err = capsys.readouterr()
        assert err.count("\n") == (status != 0)
        return status, tmp_path / "page", (err or out).splitlines()[-1]

    return call


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are empty files, where a test asks only which there are."""
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)


def pictures(folder: Path) -> set[str]:
    """The names of the pictures, each of which is listed on the page."""
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme:dark" in page
    assert 'name="viewport"' in page
    found = {path.stem for path in folder.glob("*.png")}
    assert all(f'src="{name}.png"' in page for name in found)
    assert page.count("<img") == len(found)
    return found


def check_drawn(folder: Path) -> None:
    for path in folder.glob("*.png"):
        image = matplotlib.image.imread(path)
        assert min(image.shape[:2]) > 200
        assert image[..., :3].std() > 0.05, "the picture is empty"


def test_spikes_with_every_augmentation(show, shd_folder):
    status, folder, line = show("--dataset_name", "shd", "--data_folder", str(shd_folder))
    assert status == 0
    assert str(folder / "index.html") in line
    changes = {"time_shift", "channel_shift", "event_drop", "cutmix", "together"}
    assert pictures(folder) == ALWAYS | changes
    check_drawn(folder)
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert "shd_train.h5: " in page
    assert "100 bins of 10 ms, 140 channels" in page


def test_audio_with_every_augmentation(show, tmp_path):
    data = write_words(tmp_path / "data")
    status, folder, _ = show("--dataset_name", "gsc", "--data_folder", str(data))
    assert status == 0
    changes = {"polarity", "noise", "gain", "reverb", "time_shift", "time_mask", "freq_mask"}
    assert pictures(folder) == ALWAYS | changes | {"together"}
    check_drawn(folder)


def test_noise_alone_asks_for_the_published_set(undrawn, show, tmp_path):
    data = write_words(tmp_path / "data")
    _, folder, _ = show("--dataset_name", "sc", "--data_folder", str(data), "--max_snr", "0.3")
    assert pictures(folder) == ALWAYS | {"polarity", "noise", "gain", "reverb", "together"}
    assert "0.0001 to 0.3 times" in (folder / "index.html").read_text()


def test_nothing_is_overwritten_unasked(undrawn, show, shd_folder):
    _, folder, _ = show("--data_folder", str(shd_folder), "--augm_event_drop", "0.5")
    assert pictures(folder) == ALWAYS | {"event_drop"}
    assert "with probability 0.5" in (folder / "index.html").read_text()
    (folder / "notes.txt").write_text("mine")
    (folder / "clips.png").write_text("old")
    status, _, line = show("--data_folder", str(shd_folder))
    assert status == 2
    assert f"--out {folder} is not empty" in line
    assert (folder / "clips.png").read_text() == "old"
    status, _, _ = show("--data_folder", str(shd_folder), "--augm_cutmix", "0", "--overwrite")
    assert status == 0
    assert '"event_drop.png"' not in (folder / "index.html").read_text()
    assert (folder / "clips.png").read_text() != "old"
    assert (folder / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ("--data_folder /nowhere", "/nowhere"),
        ("--dataset_name sc --data_folder /nowhere", "/nowhere"),
        ("--nb_steps 1", "--nb_steps"),
        ("--spatial_bin 3", "spatial_bin"),
        ("--augm_event_drop 1.5", "< 1"),
        ("--augm_time_shift nan", "'nan'"),
        ("--use_augm maybe", "'maybe'"),
        ("--augm_freq_mask 3", "not for --dataset_name shd"),
        ("--dataset_name hd --augm_cutmix 1", "not for --dataset_name hd"),
        ("--dataset_name sc --min_snr 2", "--max_snr 0.9"),
        ("--lr 3", "--lr"),
    ],
)
def test_mistakes_are_one_line(show, flags, named, tmp_path):
    status, folder, line = show(*flags.split())
    assert status == 2
    assert named in line
    assert not folder.exists() or not any(folder.iterdir())


def test_clips_are_of_many_classes():
    labels = torch.arange(100) % 7
    for count in (1, 5, 7, 20, 200):
        chosen = choose_clips(labels, count, torch.Generator().manual_seed(count))
        assert len(chosen) == min(count, 100) == len(set(chosen.tolist()))
        found = labels[chosen]
        assert found.equal(found.sort().values)
        assert found.bincount(minlength=7).max() - found.bincount(minlength=7).min() <= 1


def test_events_and_the_last_of_them(monkeypatch):
    monkeypatch.setattr(views, "BLOCK", 3)
    counts = torch.zeros(8, 20, 4, dtype=torch.uint8)
    for clip in range(1, 8):
        counts[clip, 2 * clip] = 255
    events, last = views.events_and_last_bins(counts)
    assert events.tolist() == [0] + [4 * 255] * 7
    assert last.tolist() == [2 * clip for clip in range(8)]


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (np.arange(10, 15), 1),
        (np.array([0.1, 0.9]), 0.01),
        (np.arange(100, 5000), 1),
        (np.full(5, 3), 1),
        (np.full(5, 0.3), None),
        (np.linspace(-5, 2, 9), None),
    ],
)
def test_bars_hold_whole_steps_and_every_value(values, step):
    edges = figures._edges(values, step)
    assert edges[0] <= values.min()
    assert values.max() <= edges[-1]
    assert len(edges) <= figures.BARS + 2
    if step is not None:
        widths = np.diff(edges) / step
        np.testing.assert_allclose(widths, np.round(widths), atol=1e-6)


def test_the_data_of_a_config(undrawn, show, shd_folder, tmp_path):
    config = tmp_path / "my.yaml"
    config.write_text(
        f"dataset_name: shd\ndata_folder: {shd_folder}\nnb_steps: 50\nspatial_bin: 20\n"
    )
    for flags, steps in (([], 50), (["--nb_steps", "25", "--overwrite"], 25)):
        status, folder, _ = show("--config", str(config), *flags)
        assert status == 0
        page = (folder / "index.html").read_text(encoding="utf-8")
        assert f"{steps} bins" in page
        assert "35 channels" in page
    status, _, line = show("--config", "nowhere.yaml")
    assert status == 2
    assert "nowhere.yaml" in line
