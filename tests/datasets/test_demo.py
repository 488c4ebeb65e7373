# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""The shipped demo files: what their README says of them, and that the code still makes them."""

import re
from collections import Counter
from itertools import islice

import numpy as np
import pytest

from datasets.binning import read_annotations, read_clips
from datasets.demo import augment, make
from datasets.demo.readout import FOLDER, linear_readout_accuracies
from datasets.demo.speech import BABBLE_SPEAKERS, TEST_SPEAKERS, TRAIN_SPEAKERS
from datasets.files import unpacked
from datasets.shd_file import Clip


@pytest.fixture(scope="module")
def demo():
    """The clips of each split."""
    splits = {}
    for split in make.SPLITS:
        path = unpacked(FOLDER / f"demo_{split.name}.h5.gz")
        events = [pair for _, *chunk in read_clips(path) for pair in zip(*chunk, strict=True)]
        labels, speakers, *_ = read_annotations(path, 20)
        notes = zip(labels, speakers, strict=True)
        splits[split.name] = [Clip(*a, *b) for a, b in zip(events, notes, strict=True)]
    return splits


def test_every_speaker_says_every_word_equally_often(demo):
    for split in make.SPLITS:
        spoken = Counter((clip.speaker, clip.label) for clip in demo[split.name])
        speakers = range(split.first_speaker, split.first_speaker + len(split.speakers))
        assert spoken == {(s, label): split.repeats for s in speakers for label in range(20)}


def test_voices_of_train_test_and_background_are_disjoint(demo):
    variants = [s.variant for s in TRAIN_SPEAKERS + TEST_SPEAKERS + BABBLE_SPEAKERS]
    assert len(set(variants)) == len(variants)
    train, test = ({clip.speaker for clip in demo[name]} for name in ("train", "test"))
    assert not train & test


def test_events_are_valid_and_of_a_plausible_number(demo):
    for clips in demo.values():
        for clip in clips:
            assert clip.times.dtype == np.float16
            assert clip.units.dtype == np.uint16
            assert clip.units.max() < 700
            assert clip.times.min() >= 0
            assert clip.times.max() < augment.CLIP
            assert (np.diff(clip.times.astype(np.float32)) >= 0).all()
        counts = [len(clip.times) for clip in clips]
        assert 3000 < np.mean(counts) < 9000
        assert min(counts) > 300


@pytest.mark.slow
def test_readout_without_time_stays_below_60_percent():
    """The set would be no test of a network with memory otherwise; chance is 5 %."""
    # The weight decay that suits the readout best, by `python -m datasets.demo.readout`.
    accuracies = linear_readout_accuracies(spatial_bin=5, decays=(1e-2,))
    assert 0.05 < max(accuracies.values()) < 0.60


def test_readme_states_the_counts_of_the_files(demo):
    readme = (FOLDER / "README.md").read_text()
    for name, clips in demo.items():
        events = [len(clip.times) for clip in clips]
        row = re.search(rf"^\| {name} \|.*$", readme, re.MULTILINE)[0]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        expected = [len(clips), len({clip.speaker for clip in clips}), min(events)]
        expected += [round(np.mean(events)), max(events)]
        assert [int(cell.replace(",", "")) for cell in cells[1:6]] == expected


@pytest.mark.parametrize(("split", "count"), [(make.SPLITS[0], 2), (make.SPLITS[1], 12)])
def test_first_clips_are_made_again_the_same(demo, split, count):
    pytest.importorskip("espeakng_loader", reason="eSpeak NG speaks the clips")
    clips = islice(make.make_clips(split), count)  # words of both languages
    for made, shipped in zip(clips, demo[split.name][:count], strict=True):
        assert (made.label, made.speaker) == (shipped.label, shipped.speaker)
        np.testing.assert_array_equal(made.times, shipped.times)
        np.testing.assert_array_equal(made.units, shipped.units)
