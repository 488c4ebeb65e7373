# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Binning against NumPy's digitize, the frame set, and the cache."""

import errno
import os
import platform
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import torch

from datasets import cache as cache_module
from datasets import files
from datasets import frames as frames_module
from datasets.binning import Binning, bin_events
from datasets.errors import DataError
from datasets.frames import load_frames

BINNING = Binning(nb_steps=25, max_time=1.0, spatial_bin=5)


def count_one_by_one(times, units, nb_steps, max_time, spatial_bin):
    """The published binning, event by event."""
    edges = np.linspace(0, max_time, nb_steps)
    by_unit = np.zeros((nb_steps, 700), int)
    dropped = 0
    for time, unit in zip(times, units, strict=True):
        time_bin = np.digitize(float(time), edges)
        if time_bin == nb_steps:
            dropped += 1
        else:
            by_unit[time_bin, unit] += 1
    grouped = [by_unit[:, i : i + spatial_bin].sum(1) for i in range(0, 700, spatial_bin)]
    return np.stack(grouped, axis=1), dropped


def load(path, say=lambda line: None, binning=BINNING, nb_classes=20):
    return load_frames(path, binning, nb_classes=nb_classes, say=say)


def rewind(path: Path, seconds: int = 10) -> None:
    os.utime(path, (path.stat().st_atime, path.stat().st_mtime - seconds))


class TestBinEvents:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
    @pytest.mark.parametrize(
        ("nb_steps", "max_time", "spatial_bin"), [(100, 1.0, 5), (300, 1.2, 7), (2, 0.3, 700)]
    )
    def test_equals_event_by_event_reference(self, dtype, nb_steps, max_time, spatial_bin):
        rng = np.random.default_rng(1)
        times = (1.5 * rng.random(3000)).astype(dtype)
        units = rng.integers(0, 700, 3000)
        choice = {"nb_steps": nb_steps, "max_time": max_time, "spatial_bin": spatial_bin}
        counts, dropped = bin_events(times, units, Binning(**choice))
        expected, expected_dropped = count_one_by_one(times, units, **choice)
        assert counts.shape == (nb_steps, 700 // spatial_bin)
        np.testing.assert_array_equal(counts, expected)
        assert dropped == expected_dropped > 0

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    @pytest.mark.parametrize(("nb_steps", "max_time"), [(100, 1.0), (300, 1.2), (17, 0.7)])
    def test_equals_digitize_on_and_beside_the_edges(self, dtype, nb_steps, max_time):
        edges = np.linspace(0, max_time, nb_steps)
        on = edges.astype(dtype)
        times = np.concatenate([on, np.nextafter(on, dtype(9)), np.nextafter(on[1:], dtype(0))])
        for time in times:
            binning = Binning(nb_steps, max_time, 5)
            counts, dropped = bin_events(np.array([time]), np.array([0]), binning)
            expected = np.digitize(np.float64(time), edges)
            assert (dropped == 1) if expected == nb_steps else (counts[expected, 0] == 1)
            assert counts.sum() + dropped == 1

    def test_bin_0_stays_empty_and_an_event_at_the_end_is_dropped(self):
        times = np.array([0.0, -0.0, 1.0])
        counts, dropped = bin_events(times, np.array([3, 3, 3]), Binning(4, 1.0, 5))
        assert counts[0].sum() == 0
        assert counts[1, 0] == 2
        assert dropped == 1

    def test_big_endian_times_and_none(self):
        times, units = np.array([0.1, 0.9], ">f2"), np.array([0, 699], ">u2")
        counts, _ = bin_events(times, units, Binning(11, 1.0, 5))
        expected, _ = count_one_by_one(times, units, 11, 1.0, 5)
        np.testing.assert_array_equal(counts, expected)
        empty, dropped = bin_events(times[:0], units[:0], Binning(4, 1.0, 5))
        assert empty.shape == (4, 140)
        assert empty.sum() == dropped == 0

    def test_counts_widen_instead_of_wrapping(self):
        for nb_events, dtype in ((255, np.uint8), (256, np.uint16)):
            units = np.zeros(nb_events, int)
            counts, _ = bin_events(np.zeros(nb_events), units, Binning(4, 1, 1))
            assert counts.dtype == dtype
            assert counts.max() == nb_events

    @pytest.mark.parametrize(
        ("choice", "message"),
        [
            ((4, 1.0, 3), "spatial_bin = 3 does not divide the 700 units"),
            ((4, 1.0, 0), "spatial_bin = 0"),
            ((1, 1.0, 5), "nb_steps = 1"),
            ((4, 0.0, 5), r"max_time = 0\.0"),
            ((4, np.nan, 5), "max_time = nan"),
        ],
    )
    def test_impossible_binnings(self, choice, message):
        with pytest.raises(DataError, match=message):
            Binning(*choice)

    @pytest.mark.parametrize("dtype", [np.float16, np.float64])
    @pytest.mark.parametrize("time", [np.nan, np.inf, -0.5])
    def test_impossible_times(self, dtype, time):
        times, units = np.array([0.1, time], dtype), np.array([3, 3])
        with pytest.raises(DataError, match=f"event time {time} s is negative or not a finite"):
            bin_events(times, units, Binning(4, 1.0, 5))


class TestFrameSet:
    def test_batch_subset_and_device(self, spikes):
        frames = load(spikes())
        assert len(frames) == 12
        assert frames.shape == (12, 25, 140)
        x, y = frames.batch(torch.tensor([3, 0, 3]))
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        torch.testing.assert_close(x, frames.counts[[3, 0, 3]].float())
        assert y.tolist() == frames.labels[[3, 0, 3]].tolist()
        assert torch.equal(frames.counted(torch.tensor([3, 0, 3]))[0], frames.counts[[3, 0, 3]])
        part = frames.subset(torch.tensor([5, 1]))
        assert torch.equal(part.counts, frames.counts[[5, 1]])
        assert part.speakers.tolist() == frames.speakers[[5, 1]].tolist()
        assert frames.to("meta").counts.device.type == "meta"

    def test_a_file_without_speakers(self, spikes):
        path = spikes(speakers=None)
        for _ in range(2):
            frames = load(path)
            assert frames.speakers is None
            assert frames.subset(torch.tensor([1])).to("cpu").speakers is None


@pytest.fixture
def no_binning(monkeypatch):
    """Lets a test see that frames came from the cache."""
    return lambda: monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("opened"))


class TestCache:
    def test_second_load_does_not_open_the_source(self, spikes, said, no_binning):
        path = spikes()
        first = load(path, said)
        no_binning()
        second = load(path, said)
        for name in ("counts", "labels", "speakers"):
            assert torch.equal(getattr(first, name), getattr(second, name))
        assert second.speaker_names == [str(clip // 3 % 4) for clip in range(12)]
        assert said[0] == said[1]
        assert ": 0.00% of" not in said[0]
        assert [file.name for file in path.parent.glob(".frames/*")] == [
            "shd_train-25steps-1.0s-bin5.frames"
        ]

    @pytest.mark.parametrize(
        "other", [Binning(26, 1.0, 5), Binning(25, 1.0 + 1e-12, 5), Binning(25, 1.0, 7)]
    )
    def test_another_binning_has_its_own_frames(self, spikes, other):
        path = spikes()
        load(path)
        frames = load(path, binning=other)
        assert frames.shape[1:] == (other.nb_steps, other.nb_features)
        with h5py.File(path) as file:
            expected, _ = count_one_by_one(
                file["spikes/times"][0],
                file["spikes/units"][0],
                other.nb_steps,
                other.max_time,
                other.spatial_bin,
            )
        np.testing.assert_array_equal(frames.counts[0], expected)

    def test_a_changed_source_is_binned_again(self, spikes, said):
        path = spikes()
        load(path)
        spikes(labels=np.full(12, 2))
        rewind(path)
        assert load(path, said).labels.tolist() == [2] * 12
        assert not said.about("damaged")

    @pytest.mark.parametrize("position", [3, 20, 50, 4096, 4200, -1])
    @pytest.mark.parametrize("keep", [False, True])
    def test_a_changed_byte_and_a_lost_end_are_noticed(self, spikes, said, position, keep):
        path = spikes()
        first = load(path)
        (cache,) = path.parent.glob(".frames/*")
        whole = cache.read_bytes()
        changed = bytearray(whole)
        changed[position] ^= 0x15
        cache.write_bytes(changed if keep else whole[:position])
        assert torch.equal(load(path, said).counts, first.counts)
        # Where the header differs, the cache may be another binning's.
        assert len(said.about("is damaged: binning shd_train.h5 again")) == 1 or (
            keep and 10 < position < 4096
        )
        assert cache.read_bytes() == whole

    def test_a_read_only_folder_uses_the_user_cache(self, spikes, user_cache, no_binning):
        path = spikes()
        path.parent.chmod(0o555)
        try:
            first = load(path)
            assert [file.name for file in path.parent.iterdir()] == [path.name]
            assert len(list(user_cache.rglob("*.frames"))) == 1
            no_binning()
            assert torch.equal(load(path).counts, first.counts)
        finally:
            path.parent.chmod(0o755)

    def test_without_a_writable_folder_there_is_no_cache(self, spikes, said, monkeypatch):
        path = spikes()
        expected = load(path)
        shutil.rmtree(path.parent / ".frames")

        def refuse(self, *args, **kwargs):
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "mkdir", refuse)
        assert torch.equal(load(path, said).counts, expected.counts)
        (line,) = said.about("the frames of shd_train.h5 are not cached")
        assert line.count("Permission denied") == 2

    def test_too_little_space_is_seen_before_binning(self, spikes, said, monkeypatch):
        path = spikes()
        monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1000))
        monkeypatch.setattr(cache_module, "LEAST_SHOWN", 1000)
        assert len(load(path, said)) == 12
        assert len(said.about("not cached")) == 1
        assert said.about("No space left on device: 0.0 MB are needed, 0.0 MB are free")
        assert not said.about("take")
        assert not list(path.parent.glob(".frames/*"))

    def test_what_will_not_fit_in_memory_is_not_written(self, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 60))
        with open(tmp_path / "x.frames", "wb") as file:
            sink = cache_module.Sink(file, tmp_path)
            with pytest.raises(MemoryError):
                sink.append("x", np.zeros((1, 1000)), of=10**12)
            assert file.tell() == 0

    def test_a_large_size_is_said_before_it_is_written(self, spikes, said, monkeypatch):
        path = spikes()
        monkeypatch.setattr(cache_module, "LEAST_SHOWN", 1000)
        load(path, said)
        assert said[0] == f"the frames of shd_train.h5 take 0.0 MB in {path.parent / '.frames'}"

    def test_what_killed_processes_left_is_removed_whatever_its_name(self, spikes):
        path = spikes()
        (path.parent / ".frames").mkdir()
        gone = subprocess.Popen(["true"])
        gone.wait()
        name = f".shd_train-9steps-1.0s-bin5.frames.{platform.node()}-{gone.pid}-beef.tmp"
        (path.parent / ".frames" / name).write_text("half")
        load(path)
        assert not (path.parent / ".frames" / name).exists()

    def test_a_disk_that_fills_up_leaves_no_file(self, spikes, said, user_cache, monkeypatch):
        def disk_full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        path = spikes()
        expected = load(path)
        shutil.rmtree(path.parent / ".frames")
        monkeypatch.setattr(files.os, "fsync", disk_full)
        assert torch.equal(load(path, said).counts, expected.counts)
        assert len(said.about("No space left")) == 1
        assert not list(path.parent.glob(".frames/*"))
        assert not list(user_cache.rglob("*.frames"))

    def test_an_interrupt_leaves_no_file(self, spikes, monkeypatch):
        path = spikes()

        def interrupt(*args):
            raise KeyboardInterrupt

        monkeypatch.setattr(frames_module, "bin_clips", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(path)
        assert not list(path.parent.glob(".frames/*"))


class TestContents:
    def test_the_share_of_dropped_events_is_reported_once(self, spikes, said):
        late = np.array([0.1, 0.2, 0.3, 1.0], np.float16)
        path = spikes(times=[late] * 12, units=[np.arange(4, dtype=np.uint16)] * 12)
        load(path, said)
        assert said == [
            "shd_train.h5: 25.00% of 48 events lie at or after max_time = 1.0 s and are dropped"
        ]

    def test_nothing_is_said_where_no_event_is_dropped(self, spikes, said):
        early = np.array([0.1, 0.2], np.float16)
        load(spikes(times=[early] * 12, units=[np.arange(2, dtype=np.uint16)] * 12), said)
        assert said == []

    def test_empty_clips_are_counted(self, spikes, said):
        none, some = np.array([], np.float16), np.array([0.1], np.float16)
        times = [some, none, none, *[some] * 9]
        path = spikes(times=times, units=[np.zeros(len(t), np.uint16) for t in times])
        assert load(path, said).counts[1].sum() == 0
        assert said[0] == "2 clips of shd_train.h5 hold no events"

    @pytest.mark.parametrize("cached", [False, True])
    def test_next_to_no_event_left_is_refused(self, spikes, cached, monkeypatch):
        rng = np.random.default_rng(0)
        in_ms = [np.append(0.5, rng.uniform(1, 1000, 299)).astype(np.float16) for _ in range(12)]
        path = spikes(times=in_ms, units=[np.zeros(300, np.uint16)] * 12)
        if cached:  # by a version that did not mind
            with monkeypatch.context() as earlier:
                earlier.setattr(frames_module, "LOST", 1.0)
                load(path)
        with pytest.raises(DataError, match=r"all events .* but 12 of 3.6 k .* in seconds\?") as e:
            load(path)
        assert str(path) in str(e.value)

    @pytest.mark.parametrize(("max_time", "asked"), [(0.05, True), (0.4, True), (0.6, False)])
    def test_a_short_max_time_is_questioned(self, spikes, said, max_time, asked):
        times = np.linspace(0, 1, 100, endpoint=False)
        path = spikes(times=[times] * 12, units=[np.arange(100, dtype=np.uint16)] * 12)
        load(path, said, binning=Binning(nb_steps=25, max_time=max_time, spatial_bin=5))
        line = f"are its times in seconds, and is --max_time {max_time} meant?"
        assert bool(said.about(line)) == asked
