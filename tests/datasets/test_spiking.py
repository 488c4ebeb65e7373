# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Finding, unpacking and splitting the data sets in the SHD layout."""

import errno
import gzip
import zipfile
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from loading import load
from shd_files import random_clips, write_spikes

from datasets import files, frames, interface, spiking
from datasets.binning import Annotations
from datasets.errors import DataError
from datasets.registry import DATASETS
from datasets.spiking import SpikingDataSet
from parsers.training_config import TrainingConfig


@pytest.fixture
def shd(tmp_path) -> Path:
    """A folder with 200 training and 12 test clips."""
    rng = np.random.default_rng(5)
    train = random_clips(200)
    train |= {"labels": np.arange(200) % 5, "speakers": rng.permutation(200) % 10}
    write_spikes(tmp_path / "shd_train.h5", train)
    write_spikes(tmp_path / "shd_test.h5", random_clips(12, seed=1))
    return tmp_path


def pack(path: Path, suffix: str) -> Path:
    """Replace a file by an archive of it."""
    archive = path.with_name(path.name + suffix)
    if suffix == ".gz":
        archive.write_bytes(gzip.compress(path.read_bytes()))
    else:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            file.write(path, f"folder/{path.name}")
    path.unlink()
    return archive


class TestSplits:
    def test_shd_validates_on_test_as_published(self, shd, said, monkeypatch):
        published = replace(DATASETS["shd"], clips={"train": 200, "test": 12})
        monkeypatch.setitem(DATASETS, "shd", published)
        write_spikes(shd / "shd_valid.h5", random_clips(7, seed=2))  # by other code
        data = load("shd", shd, said)
        assert not data.unpublished
        assert data.settled == {"shd_validation": "test"}
        assert data.valid is data.test
        assert data.validation == "test split (as published)"
        assert (len(data.train), len(data.test)) == (200, 12)
        assert (data.nb_classes, data.nb_features) == (20, 140)
        assert len(said.about("shd_test.h5")) == 1

    def test_ssc_has_its_own_validation_split(self, tmp_path):
        for n, split in enumerate(("train", "valid", "test")):
            write_spikes(tmp_path / f"ssc_{split}.h5", random_clips(10 + n))
        data = load("ssc", tmp_path)
        assert [len(part) for part in (data.train, data.valid, data.test)] == [10, 11, 12]
        assert data.validation == "the dataset's own validation split"
        assert data.nb_classes == 35

    def test_only_the_splits_that_are_asked_for_are_read(self, shd):
        for how, clips in (("test", 12), ("random", 20)):
            data = load("shd", shd, splits=("valid",), shd_validation=how)
            assert data.train is data.test is None
            assert len(data.valid) == clips
        (shd / "shd_train.h5").unlink()
        for how in ("test", "speakers", "random"):
            data = load("shd", shd, splits=("test",), shd_validation=how)
            assert data.train is data.valid is None
            assert len(data.test) == 12


class TestHeldOut:
    @pytest.mark.parametrize(
        ("how", "sentence"),
        [("speakers", "held-out speakers 2, 7"), ("random", "random 10%")],
    )
    def test_the_parts_are_disjoint_complete_and_always_the_same(self, shd, how, sentence):
        whole = load("shd", shd, shd_validation="test").train
        first, second = (load("shd", shd, shd_validation=how) for _ in range(2))
        assert torch.equal(first.valid.counts, second.valid.counts)
        assert torch.equal(first.train.counts, second.train.counts)

        def clips(frames):
            return {row.numpy().tobytes() for row in frames.counts}

        assert not clips(first.train) & clips(first.valid)
        assert clips(first.train) | clips(first.valid) == clips(whole)
        assert len(first.test) == 12
        assert first.validation == f"{sentence} of the training split"
        if how == "speakers":
            assert first.valid.speakers.unique().tolist() == [2, 7]
            assert not torch.isin(first.train.speakers, torch.tensor([2, 7])).any()
        else:
            assert first.valid.labels.bincount().tolist() == [4] * 5

    def test_about_15_percent_of_the_speakers_are_held_out(self, shd):
        for nb_speakers in range(2, 31):
            speakers = np.arange(200) % nb_speakers
            clips = Annotations(np.arange(200) % 5, speakers)
            is_valid, _ = spiking._by_speaker(clips, shd / "shd_train.h5")
            held = np.unique(speakers[is_valid])
            assert len(held) == 1 or 0.1 <= len(held) / nb_speakers <= 0.2

    @pytest.mark.parametrize(
        ("how", "change", "message"),
        [
            ("speakers", {"speakers": None}, "no extra/speaker.*choose validation test or random"),
            ("speakers", {"speakers": np.full(12, 3)}, "one speaker only.*choose validation test"),
            ("speakers", {"speakers": np.arange(12) % 3}, "leaves no training clip of class 1"),
            ("random", {"labels": np.arange(12)}, "too few clips"),
        ],
    )
    def test_clips_that_cannot_be_held_out_are_an_error(self, shd, spikes, how, change, message):
        spikes(**change)
        with pytest.raises(DataError, match=message):
            load("shd", shd, shd_validation=how)


class TestOwnClips:
    """What is validated on where nobody says so, and the clips are not the published ones."""

    @pytest.mark.parametrize(
        ("change", "how", "sentence"),
        [
            ({}, "speakers", "held-out speaker 2 of the training split"),
            ({"speakers": None}, "random", "random 10% of the training split"),
            ({"speakers": np.arange(12) % 2}, "random", "random 10% of the training split"),
            ({"speakers": np.arange(12) % 3}, "random", "random 10% of the training split"),
            ({"labels": np.arange(12)}, "test", "test split (as published)"),  # one of each
        ],
    )
    def test_clips_are_held_out_where_they_can_be(self, shd, spikes, how, change, sentence):
        spikes(**change)
        data = load("shd", shd)
        assert data.unpublished == "12 train clips, where SHD has 8,156"
        assert (data.settled, data.validation) == ({"shd_validation": how}, sentence)
        again = load("shd", shd, splits=("valid",), shd_validation=how)
        assert torch.equal(again.valid.counts, data.valid.counts)
        assert len(data.test) == 12

    def test_a_validation_file_comes_first(self, shd):
        write_spikes(shd / "shd_valid.h5", random_clips(7, seed=2))
        data = load("shd", shd)
        assert (len(data.train), len(data.valid), len(data.test)) == (200, 7, 12)
        assert data.settled == {"shd_validation": "file"}
        assert len(load("shd", shd, splits=("valid",), shd_validation="file").valid) == 7
        assert len(load("shd", shd, shd_validation="test").valid) == 12


def write_named(folder: Path, train: list[str] | None, test: list[str] | None, labels=None) -> None:
    """Both files of a data set, with names of classes; None: without."""
    for split, names in (("train", train), ("test", test)):
        contents = random_clips() | ({} if labels is None else {"labels": labels})
        if names is not None:
            contents["keys"] = np.array([name.encode() for name in names])
        write_spikes(folder / f"shd_{split}.h5", contents)


class TestClasses:
    @pytest.mark.parametrize("count", [0, 5, 20, 30])
    def test_names_decide_the_number_of_classes(self, tmp_path, said, count):
        words = [f"word {i}" for i in range(count)] or None
        write_named(tmp_path, words, words, labels=np.arange(12) * max(count - 1, 0) // 11)
        data = load("shd", tmp_path, said)
        assert data.classes == (words or [str(label) for label in range(20)])
        lines = said.about("classes here by extra/keys of shd_train.h5, where shd has 20")
        assert len(lines) == (count in (5, 30))

    def test_names_that_no_clip_needs_make_no_class(self, tmp_path, said):
        words = [f"word {i}" for i in range(21)]
        write_named(tmp_path, words, words)
        assert load("shd", tmp_path, said).classes == words[:20]
        assert said.about("names 21 classes, but its labels stay below 20")

    def test_one_name_for_two_labels_is_said(self, tmp_path, said):
        write_named(tmp_path, ["a", "b ", "b"], None)
        assert load("shd", tmp_path, said).classes == ["a", "b", "b"]
        assert said.about("names two classes 'b' in extra/keys, labels 1 and 2")

    def test_more_classes_without_names_are_asked_for(self, tmp_path):
        write_named(tmp_path, None, None, labels=np.arange(12) * 2)
        with pytest.raises(DataError, match=r"label 20 is outside 0\.\.19: .* --nb_outputs"):
            load("shd", tmp_path)
        assert load("shd", tmp_path, nb_outputs=23).classes[19:] == ["19", "20", "21", "22"]

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            (["a", "b"], r"clip 2: label 2 is outside 0\.\.1: .*extra/keys"),
            (["up"], "one class only in extra/keys, 'up'"),
        ],
    )
    def test_too_few_names_are_an_error(self, tmp_path, names, message):
        write_named(tmp_path, names, names)
        with pytest.raises(DataError, match=message):
            load("shd", tmp_path)

    @pytest.mark.parametrize(
        "keys",
        [
            [[b"up"], [b"gr\xfcn"], ["o\u0308l".encode()]],
            [[b"up", b"b", b"c"]],
            "up; b,c",
            b"up\nb\nc",
        ],
    )
    def test_their_list_has_any_shape_and_encoding(self, spikes, tmp_path, keys):
        for name in ("shd_train.h5", "shd_test.h5"):
            path = spikes(name)
            with h5py.File(path, "a") as file:
                kind = None if isinstance(keys, str | bytes) else h5py.string_dtype()
                file.create_dataset("extra/keys", data=keys, dtype=kind)
        assert load("shd", tmp_path).classes in (["up", "grün", "öl"], ["up", "b", "c"])

    def test_one_file_may_name_them_for_all(self, tmp_path):
        write_named(tmp_path, None, ["a", "b", "c"])
        assert load("shd", tmp_path).classes == ["a", "b", "c"]

    @pytest.mark.parametrize(
        ("test", "difference"),
        [
            (["a", "c", "d"], "label 1 is 'b' in the one and 'c' in the other"),
            (["a", "b"], "label 2 is 'c' in the one and no class in the other"),
            (["a", "b", "c", "d"], "label 3 is no class in the one and 'd' in the other"),
        ],
    )
    def test_other_classes_in_another_file_are_refused(self, tmp_path, test, difference):
        write_named(tmp_path, ["a", "b", "c"], test)
        with pytest.raises(DataError) as error:
            load("shd", tmp_path)
        files = f"{tmp_path}/shd_train.h5 and {tmp_path}/shd_test.h5"
        assert str(error.value).startswith(
            f"{files} name different classes in extra/keys: {difference}"
        )
        assert not (tmp_path / ".frames").exists(), "reported after some work"


class TestChannels:
    @pytest.fixture
    def channels(self, tmp_path):
        """Load a data set whose units end at ``largest``; ``named`` are its files' attributes."""

        def read(largest, named=(None, None), say=lambda line: None, **options):
            for split, number in zip(("train", "test"), named, strict=True):
                contents = random_clips()
                contents["units"] = [units % (largest + 1) for units in contents["units"]]
                contents["units"][3][0] = largest if split == "train" else 0
                path = write_spikes(tmp_path / f"shd_{split}.h5", contents)
                if number is not None:
                    with h5py.File(path, "a") as file:
                        file.attrs["nb_channels"] = number
            return load("shd", tmp_path, say, **options)

        return read

    @pytest.mark.parametrize(
        ("largest", "named", "option", "number", "line"),
        [
            (699, (None, None), None, 700, None),
            (680, (None, None), None, 700, None),
            (63, (None, None), None, 64, "64 channels by the largest unit of shd_train.h5"),
            (1023, (None, None), None, 1024, "1024 channels by the largest unit of shd_train.h5"),
            (63, (64, None), None, 64, "64 channels by the attribute nb_channels of shd_train.h5"),
            (63, (80, None), None, 80, "80 channels by the attribute nb_channels of shd_train.h5"),
            (63, ([80], "80"), None, 80, "80 channels by the attribute nb_channels"),
            (63, (80.0, None), None, 80, "80 channels by the attribute nb_channels"),
            (63, (700, 700), None, 700, None),
            (63, (80, 90), 100, 100, None),
        ],
    )
    def test_their_number(self, channels, said, largest, named, option, number, line):
        data = channels(largest, named, said, nb_channels=option, spatial_bin=5)
        assert (data.nb_channels, data.nb_features) == (number, -(-number // 5))
        assert data.train.shape[2] == data.test.shape[2] == data.nb_features
        assert len(said.about("channels")) == (line is not None)
        assert line is None or said.about(line)

    def test_files_that_differ_are_refused(self, channels):
        with pytest.raises(DataError, match=r"has 80 channels .* has 90: .* --nb_channels"):
            channels(63, (80, 90))

    def test_a_shift_out_of_them_is_refused(self, channels):
        with pytest.raises(DataError, match="augm_channel_shift 13 moves clips out of the 13 chan"):
            channels(63, augm_channel_shift=13)

    def test_the_largest_unit_is_looked_for_once(self, channels, tmp_path, monkeypatch):
        channels(63)
        monkeypatch.setattr(frames, "read_largest_unit", lambda path: pytest.fail("again"))
        assert load("shd", tmp_path, nb_steps=12).nb_channels == 64

    @pytest.mark.parametrize("kind", ["i1", "i8", "u8", "f2", "f8"])
    def test_integers_may_be_stored_in_any_type(self, spikes, tmp_path, kind):
        clips = random_clips() | {
            "units": [np.arange(30) * 2] * 12,
            "times": [np.ones(30) / 2] * 12,
        }
        loaded = []
        for units, labels in ((np.uint16, np.int64), (kind, float)):
            clips |= {"units": [row.astype(units) for row in clips["units"]]}
            write_spikes(
                tmp_path / "shd_test.h5", clips | {"labels": clips["labels"].astype(labels)}
            )
            loaded.append(load("shd", tmp_path, splits=("test",)))
        assert loaded[0].nb_channels == loaded[1].nb_channels == 59
        assert torch.equal(loaded[0].test.counts, loaded[1].test.counts)
        assert loaded[0].test.labels.tolist() == loaded[1].test.labels.tolist()

    def test_speakers_may_be_named(self, shd):
        names = [b"bo", b"gr\xfcn", b"anna", b"eve"]
        write_spikes(
            shd / "shd_train.h5",
            random_clips(60) | {"speakers": np.array([names[i // 3 % 4] for i in range(60)])},
        )
        for _ in range(2):  # the second time from the cache
            data = load("shd", shd)
            assert data.validation == "held-out speaker eve of the training split"
            assert set(data.train.speaker_names) == {"anna", "bo", "grün"}
            assert set(data.valid.speaker_names) == {"eve"}

    @pytest.mark.parametrize("speakers", [7, np.full((12, 1), 7), np.full((1, 12), 7)])
    def test_lists_may_be_columns_rows_or_one_value(self, spikes, tmp_path, speakers):
        expected = load("shd", tmp_path, splits=("test",)) if spikes("shd_test.h5") else None
        path = spikes("shd_test.h5", speakers=speakers, labels=(np.arange(12) % 3)[:, None])
        with h5py.File(path, "a") as file:
            for name in ("spikes/times", "spikes/units"):
                rows = file[name]
                column = file.create_dataset("column", (12, 1), rows.dtype)
                column[:, 0] = rows[:]
                del file[name]
                file.move("column", name)
        test = load("shd", tmp_path, splits=("test",)).test
        assert test.speakers.tolist() == [7] * 12
        assert torch.equal(test.counts, expected.test.counts)
        assert torch.equal(test.labels, expected.test.labels)


def test_a_file_of_another_name_is_named(shd):
    (shd / "shd_test.h5").rename(shd / "MyLab_Test.HDF5")
    with pytest.raises(
        DataError, match=r"none of shd_test\.h5, .*rename MyLab_Test\.HDF5 if it is"
    ):
        load("shd", shd)


class TestOwnDataSet:
    @pytest.fixture
    def mine(self, tmp_path) -> SpikingDataSet:
        return SpikingDataSet("mine", 3, ("train", "test"), str(tmp_path), None, "Mine")

    def test_missing_files_do_not_ship_with_sprache(self, mine, tmp_path):
        with pytest.raises(DataError, match="name its folder with --data_folder") as error:
            mine.load(TrainingConfig())
        assert "ships" not in str(error.value)

    def test_clips_can_be_held_out_of_it(self, mine, tmp_path):
        for split in ("train", "test"):
            write_spikes(tmp_path / f"mine_{split}.h5", random_clips())
        data = mine.load(TrainingConfig(shd_validation="random"))
        assert (len(data.train), len(data.valid)) == (9, 3)


class TestFiles:
    @pytest.mark.parametrize("suffix", [".gz", ".zip"])
    def test_archives_are_unpacked_once(self, shd, suffix, monkeypatch):
        expected = load("shd", shd).test
        content = (shd / "shd_test.h5").read_bytes()
        pack(shd / "shd_test.h5", suffix)
        assert torch.equal(load("shd", shd).test.counts, expected.counts)
        assert (shd / "shd_test.h5").read_bytes() == content

        monkeypatch.setattr(files, "unpack", lambda *_: pytest.fail("unpacked again"))
        load("shd", shd)

    @pytest.mark.parametrize("suffix", [".gz", ".zip"])
    @pytest.mark.parametrize("damage", ["truncated", "flipped", "text"])
    def test_a_damaged_archive(self, shd, suffix, damage):
        archive = pack(shd / "shd_test.h5", suffix)
        content = bytearray(archive.read_bytes())
        middle = len(content) // 2
        content[middle] ^= 0xFF
        broken = {"truncated": content[:middle], "flipped": content, "text": b"<html>404</html>"}
        archive.write_bytes(broken[damage])
        with pytest.raises(DataError, match="download it again") as error:
            load("shd", shd)
        assert str(archive) in str(error.value)
        assert not [file for file in shd.iterdir() if file.suffix == ".tmp"]
        assert not (shd / "shd_test.h5").exists()

    def test_a_read_only_folder_unpacks_into_the_user_cache(self, shd, user_cache):
        for split in ("train", "test"):
            pack(shd / f"shd_{split}.h5", ".gz")
        before = sorted(shd.iterdir())
        shd.chmod(0o555)
        try:
            first, second = (load("shd", shd) for _ in range(2))
        finally:
            shd.chmod(0o755)
        assert torch.equal(first.train.counts, second.train.counts)
        assert sorted(shd.iterdir()) == before
        assert len(list(user_cache.rglob("shd_*.h5"))) == 2

    def test_nowhere_to_unpack(self, shd, user_cache, monkeypatch):
        archive = pack(shd / "shd_test.h5", ".gz")

        def disk_full(*args):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(files.os, "fsync", disk_full)
        with pytest.raises(DataError, match=r"No space left on device.*make room") as error:
            load("shd", shd, splits=("test",))
        assert str(archive) in str(error.value)
        assert not [*shd.glob(".*.tmp"), *user_cache.rglob("*.tmp"), *user_cache.rglob("*.h5")]

    def test_a_missing_file_says_where_to_get_it(self, shd):
        (shd / "shd_test.h5").unlink()
        with pytest.raises(DataError) as error:
            load("shd", shd)
        for words in (
            "none of shd_test.h5, shd_test.h5.gz, shd_test.h5.zip",
            str(shd),
            DATASETS["shd"].url,
            "--data_folder",
        ):
            assert words in str(error.value)
        assert not (shd / ".frames").exists(), "missing files are found before any work"

    def test_a_missing_folder(self, tmp_path, monkeypatch):
        monkeypatch.setattr(interface, "REPO", tmp_path)
        with pytest.raises(DataError, match=f"no folder {tmp_path}/data/SSC"):
            load("ssc", None)
        with pytest.raises(DataError, match="ships with Sprache"):
            load("demo", None)
