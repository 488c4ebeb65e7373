# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Recordings to batches: values, splits by every rule, and the cache."""

import csv
import hashlib
import os
import re

import loading
import numpy as np
import pytest
import soundfile
import torch
from wav_files import RATE, WORDS, chirp, write_digits, write_wav, write_words

from datasets import audio, recordings
from datasets.audio_set import AudioSet
from datasets.features import log_mel


def load(folder, say=lambda line: None, name="sc", **options):
    return loading.load(name, folder, say, **options)


def published_which_set(filename, validation_percentage, testing_percentage):
    """As in the README of Google Speech Commands, with our names of the results."""
    hash_name = re.sub(r"_nohash_.*$", "", os.path.basename(filename))
    hash_name_hashed = hashlib.sha1(hash_name.encode("utf-8")).hexdigest()
    most = 2**27 - 1
    percentage_hash = (int(hash_name_hashed, 16) % (most + 1)) * (100.0 / most)
    if percentage_hash < validation_percentage:
        return "valid"
    if percentage_hash < (testing_percentage + validation_percentage):
        return "test"
    return "train"


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path / "words")


@pytest.fixture
def no_reading(monkeypatch):
    """From its call on, no recording may be opened."""

    return lambda: monkeypatch.setattr(recordings, "read_recording", pytest.fail)


@pytest.mark.parametrize(
    ("files", "names"),
    [
        (["yes/0a7c_nohash_0.wav", "no/0b_nohash_1.wav"], ["0a7c", "0b"]),
        (["audio/lang-german_speaker-03_trial-0_digit-1.flac"], ["03"]),
        (["yes/0a7c_nohash_0.wav", "yes/mine.wav"], []),
    ],
)
def test_the_names_of_files_tell_who_speaks(files, names):
    clips = AudioSet(None, None, None, files, sample_rate=RATE)
    assert clips.speaker_names == names


class TestBatches:
    def test_a_batch_holds_the_features_of_its_files(self, words, monkeypatch):
        monkeypatch.setattr(audio, "GROUP_SAMPLES", 10_000)  # features of few clips at a time
        write_wav(words / "left" / "00.wav", chirp(1, 0, seconds=2.0))
        data = load(words)
        assert (data.nb_classes, data.nb_features) == (3, 40)
        assert data.classes == list(WORDS)
        split = data.train
        assert len(split) == len(split.files) == len(split.labels) == 12
        indices = torch.tensor([7, 0, 3, 7])
        x, y = split.batch(indices)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        lengths = split.lengths[indices]
        assert x.shape == (4, lengths.max(), 40)
        assert len(set(lengths.tolist())) > 1
        for clip, label, length, i in zip(x, y, lengths, indices.tolist(), strict=True):
            wave, rate = soundfile.read(words / split.files[i], dtype="float32")
            expected = log_mel(torch.from_numpy(wave)[None], rate)[0]
            assert len(expected) == length
            torch.testing.assert_close(clip[:length], expected, rtol=0, atol=1e-5)
            assert clip[length:].abs().sum() == 0
            assert data.classes[label] == split.files[i].split("/")[0]
        on_meta = split.to("meta")
        assert on_meta.features.device.type == on_meta.labels.device.type == "meta"

    def test_waveforms_are_kept_when_asked_for(self, words):
        plain, kept = load(words).valid, load(words, use_augm=True).valid
        assert plain.samples is None
        assert torch.equal(kept.features, plain.features)
        indices = torch.tensor([2, 0])
        waves, lengths = kept.waveforms(indices)
        assert waves.shape == (2, lengths.max())
        for wave, length, i in zip(waves, lengths, indices.tolist(), strict=True):
            expected, _ = soundfile.read(words / kept.files[i], dtype="float32")
            assert np.array_equal(wave[:length].numpy(), expected)
            assert wave[length:].abs().sum() == 0
        x, _ = kept.batch(indices)
        torch.testing.assert_close(log_mel(waves, kept.sample_rate, lengths), x)

    def test_only_the_splits_that_are_asked_for_are_read(self, words):
        data = load(words, splits=("test",))
        assert data.train is None
        assert data.valid is None
        assert len(data.test) == 3
        assert [file.name for file in words.glob(".frames/*")] == ["sc-test-features.frames"]

    @pytest.mark.parametrize("rate", [8000, 44100])
    def test_clips_are_resampled_to_the_rate_of_most_with_a_line(self, words, said, rate):
        clip = words / "up" / "00.wav"
        plain = load(words).train
        write_wav(clip, chirp(2, 0, rate=rate), rate)
        data = load(words, said)
        assert {data.train.sample_rate, data.valid.sample_rate, data.test.sample_rate} == {RATE}
        index = data.train.files.index("up/00.wav")
        x, _ = data.train.batch(torch.tensor([index]))
        expected, _ = plain.batch(torch.tensor([index]))
        assert x.shape == expected.shape
        # Below the noise floor of the clip, and above 4 kHz, the two recordings differ.
        loud = expected[..., :25] > expected[..., :25].amax(-1, keepdim=True) - 2
        torch.testing.assert_close(x[..., :25][loud], expected[..., :25][loud], atol=0.2, rtol=0)
        assert said.about(f"1 file is resampled, the first: {clip}, from {rate} to 16000 Hz")

    @pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus"])
    def test_compressed_recordings(self, words, suffix):
        sound, rate = soundfile.read(words / "up" / "00.wav")
        path = (words / "up" / "00.wav").with_suffix(suffix)
        kind = {".mp3": ("MP3", None), ".ogg": ("OGG", "VORBIS"), ".opus": ("OGG", "OPUS")}[suffix]
        soundfile.write(path, sound, rate, format=kind[0], subtype=kind[1])
        (words / "up" / "00.wav").unlink()
        assert f"up/00{suffix}" in load(words).train.files
        found = recordings.read_recording(path).samples[: len(sound)] / recordings.FULL_SCALE
        assert len(found) >= 0.95 * len(sound)
        assert max(np.correlate(sound, found, "same")) > 0.8 * (sound**2).sum()

    def test_the_same_sound_in_other_files(self, words):
        path = words / "up" / "00.wav"
        expected = recordings.read_recording(path).samples
        content, sound = path.read_bytes(), soundfile.read(path)[0]
        at = content.index(b"data") + 4
        extra = b"LIST" + (5).to_bytes(4, "little") + b"words\0"  # odd, and so padded
        for same in (
            content[:12] + extra + content[12:] + extra,
            content[:at] + b"\xff\xff\xff\xff" + content[at + 4 :],  # from a pipe
        ):
            path.write_bytes(same)
            assert np.array_equal(recordings.read_recording(path).samples, expected)
        for finer in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
            write_wav(path, sound, subtype=finer)
            assert np.array_equal(recordings.read_recording(path).samples, expected)


class TestSplits:
    def test_by_the_lists(self, words, said):
        data = load(words, said)
        assert data.valid.files == [f"{word}/04.wav" for word in WORDS]
        assert data.test.files == [f"{word}/05.wav" for word in WORDS]
        assert len(data.train) == 12
        assert data.validation == "the dataset's own validation split"
        assert said[0] == (
            "sc: 12 training, 3 validation and 3 test clips of 3 classes, split by "
            "validation_list.txt and testing_list.txt"
        )
        assert said.about("3 words here, where GSC has 35")

    def test_by_the_published_hash(self, tmp_path, said):
        names = [f"{speaker:08x}_nohash_{take}.wav" for speaker in range(40) for take in range(2)]
        for word in ("left", "up"):
            for name in [*names, "plain.wav"]:
                write_wav(tmp_path / word / name, chirp(0, 0, 0.03))
        data = load(tmp_path, said)
        assert said.about("split by the SHA-1 rule of Speech Commands")
        assert "SHA-1" in data.validation
        for split, name in ((data.train, "train"), (data.valid, "valid"), (data.test, "test")):
            assert split.files
            assert all(published_which_set(file, 10, 10) == name for file in split.files)

    @pytest.mark.parametrize("prefix", ["./words/", "words/", "", "./", "some/where/words/"])
    def test_by_tables(self, tmp_path, said, prefix):
        folder = write_words(tmp_path / "words", lists=False)
        home = tmp_path if prefix.endswith("words/") else folder
        for name, clips in (("train", range(4)), ("val", [4]), ("test", [5])):
            with open(home / f"{name}.csv", "w", newline="") as file:
                table = csv.writer(file)
                table.writerow(["file", "class"])
                for word in reversed(WORDS):
                    table.writerows([f"{prefix}{word}/{clip:02d}.wav", word] for clip in clips)
        data = load(home, said)
        assert data.classes == list(WORDS)
        assert [len(split) for split in (data.train, data.valid, data.test)] == [12, 3, 3]
        assert data.test.files[0].endswith("up/05.wav")
        assert data.test.labels.tolist() == [2, 1, 0]
        assert said.about("split by train.csv, val.csv and test.csv")

    def test_heidelberg_digits(self, tmp_path, said):
        data = load(write_digits(tmp_path), said, name="hd")
        assert data.valid is data.test
        assert data.validation == "test split (as published)"
        assert data.test.labels.tolist() == list(range(20))
        assert (data.classes[3], data.classes[15]) == ("three", "fünf")
        assert data.train.sample_rate == 48000
        assert data.train.lengths.tolist() == [8] * 20
        assert said == [
            "hd: 20 training and 20 test clips of 20 classes, split by train_filenames.txt and "
            "test_filenames.txt"
        ]
        only_valid = load(tmp_path, name="hd", splits=("valid",))
        assert only_valid.test is None
        assert len(only_valid.valid) == 20

    def test_by_tables_with_absolute_paths(self, tmp_path, said):
        elsewhere = write_words(tmp_path / "elsewhere", lists=False)
        home = tmp_path / "home"
        home.mkdir()
        for clip, (name, words) in enumerate(
            [("train", ("up", "down")), ("val", ("up",)), ("test", ("left",))]
        ):
            rows = [f"{elsewhere}/{word}/{clip:02d}.wav,{word}" for word in words]
            (home / f"{name}.csv").write_text("\n".join(["file,class", *rows]))
        data = load(home, said)
        assert data.test.labels.tolist() == [1]
        assert len(data.train) == 2
        assert said.about("no training clip is of class 'left': it cannot be learnt")


class TestCache:
    @pytest.mark.parametrize("use_augm", [False, True])
    def test_a_second_load_opens_no_recording(self, words, said, no_reading, use_augm):
        first = load(words, said, use_augm=use_augm)
        if use_augm:  # features follow from waveforms
            (words / ".frames" / "sc-train-features.frames").unlink()
        no_reading()
        second = load(words, said, use_augm=use_augm)
        for split in ("train", "valid", "test"):
            a, b = getattr(first, split), getattr(second, split)
            assert torch.equal(a.features, b.features)
            assert torch.equal(a.labels, b.labels)
            assert a.files == b.files
        assert said[: len(said) // 2] == said[len(said) // 2 :]

    @pytest.mark.parametrize("change", ["content", "time", "list", "new file", "lost file"])
    def test_a_change_of_the_data_is_noticed(self, words, change):
        before = load(words)
        clip = words / "up" / "00.wav"
        if change == "content":
            write_wav(clip, chirp(0, 0, 0.25))
        elif change == "time":
            os.utime(clip, ns=(1, 1))
        elif change == "list":
            (words / "validation_list.txt").write_text("up/00.wav\nup/01.wav\n")
        elif change == "new file":
            write_wav(words / "up" / "new.wav", chirp(2, 9))
        else:
            clip.unlink()
        caches = {file: file.read_bytes() for file in words.glob(".frames/*")}
        after = load(words)
        difference = {"new file": 1, "lost file": -1, "list": 1}.get(change, 0)
        assert len(after.train) == len(before.train) + difference
        assert all(file.read_bytes() != content for file, content in caches.items())

    def test_reading_is_bounded(self, words, monkeypatch):
        monkeypatch.setattr(recordings, "READ_AHEAD", 2)
        read = []
        monkeypatch.setattr(recordings, "read_recording", lambda path: read.append(path))
        results = recordings.read_in_order(range(100), num_workers=4)
        next(results)
        assert len(read) <= 2 + 4
        results.close()
