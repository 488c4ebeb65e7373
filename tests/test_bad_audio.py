# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Folders of recordings with something wrong: one line that names it, exit code 2, no harm."""

import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from refusal import cut, directory, no_bytes, refused

from tests.datasets.wav_files import RATE, chirp, write_wav, write_words

SMALL = ["--nb_hiddens", "8", "--nb_epochs", "1", "--seed", "1", "--num_workers", "1"]
CLIP = Path("left") / "00.wav"


@pytest.fixture
def words(tmp_path):
    """Three words with six clips each."""
    return write_words(tmp_path / "words")


def no_folder(folder):
    shutil.rmtree(folder)


def a_file(folder):
    shutil.rmtree(folder)
    folder.write_text("no folder")


def no_words(folder):
    for word in ("down", "left", "up"):
        shutil.rmtree(folder / word)


def one_deeper(folder):
    (folder / "speech").mkdir()
    for word in ("down", "left", "up"):
        (folder / word).rename(folder / "speech" / word)


def clip(damage):
    return lambda folder: damage(folder / CLIP)


def content(data):
    return clip(lambda path: path.write_bytes(data))


def recording(sound, rate=RATE, subtype="PCM_16"):
    return lambda folder: write_wav(folder / CLIP, sound, rate, subtype)


def rate_of_millions(folder):
    sound = bytearray((folder / CLIP).read_bytes())
    struct.pack_into("<I", sound, 24, 318_783_104)
    (folder / CLIP).write_bytes(sound)


def samples_by_the_billion(folder):
    soundfile.write(folder / CLIP, chirp(0, 0), RATE, format="FLAC")
    sound = bytearray((folder / CLIP).read_bytes())
    sound[21] |= 0x0F  # the highest of 36 bits that count the samples
    (folder / CLIP).write_bytes(sound)


def list_of(text, name="testing_list.txt"):
    data = text if isinstance(text, bytes) else text.encode()
    return lambda folder: (folder / name).write_bytes(data)


def one_list(folder):
    (folder / "testing_list.txt").unlink()


def table(text):
    def damage(folder):
        for name in ("testing_list.txt", "validation_list.txt"):
            (folder / name).unlink()
        for name in ("train.csv", "val.csv", "test.csv"):
            (folder / name).write_text(text)

    return damage


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (no_folder, "no folder"),
        (a_file, "no folder"),
        (no_words, "no folders of words"),
        (one_deeper, "speech"),
        (clip(no_bytes), "left/00.wav is empty"),
        (content(b"no sound at all"), "left/00.wav is no WAV"),
        (content(b"RIFF\xff\xff\xff\xffWAVE"), "left/00.wav is truncated"),
        (content(bytes(4000)), "left/00.wav is no WAV"),
        (clip(cut(0.5)), "left/00.wav is truncated"),
        (clip(lambda path: path.write_bytes(path.read_bytes()[:30])), "left/00.wav is truncated"),
        (recording(np.stack([chirp(0, 0)] * 2, 1)), "left/00.wav has 2 channels"),
        (recording(chirp(0, 0), subtype="PCM_U8"), "left/00.wav is"),
        (recording(np.zeros(0)), "left/00.wav holds no samples"),
        (recording(chirp(0, 0, 0.01)), "left/00.wav is too short"),
        (recording(chirp(0, 0), rate=500), "left/00.wav has 500 samples a second"),
        (rate_of_millions, "left/00.wav has 318783104 samples a second"),
        (samples_by_the_billion, "left/00.wav"),
        (
            recording(np.full(4000, np.nan), subtype="FLOAT"),
            "left/00.wav holds samples that are not finite",
        ),
        (clip(directory), "left/00.wav"),
        (list_of("left/99.wav\n"), "left/99.wav"),
        (list_of("left/05.wav\nleft/05.wav\n"), "named twice"),
        (list_of("left/04.wav\n"), "left/04.wav is named"),
        (list_of("../../../etc/passwd\n"), "passwd"),
        (list_of("left/a b\r\nc.wav\n"), "a b"),
        (list_of(b"left/\xff\xfe.wav\n"), "not a UTF-8 text file"),
        (list_of(""), "there is no test clip"),
        (one_list, "validation_list.txt but no testing_list.txt"),
        (table("file,word\nleft/00.wav,left\n"), "no column class"),
        (table("file,class\nleft/00.wav\n"), "line 2"),
        (table(""), "no column"),
        (table("file,class\n../../../etc/passwd,left\n"), "passwd"),
    ],
)
def test_words(damage, named, words, tmp_path, monkeypatch, capsys):
    damage(words)
    argv = ["--dataset_name", "sc", "--data_folder", words, *SMALL]
    assert named in refused(argv, tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize(
    ("train", "test", "named"),
    [
        (None, "", "train_filenames.txt"),
        ("left.flac\n", "", "not named like"),
        ("lang-french_speaker-00_trial-0_digit-0.flac\n", "", "not named like"),
        ("lang-english_speaker-00_trial-0_digit-0.flac\n", "", "does not exist"),
        (b"\xff", "", "UTF-8"),
    ],
)
def test_digits(train, test, named, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "hd"
    (folder / "audio").mkdir(parents=True)
    for name, lines in (("train", train), ("test", test)):
        if lines is not None:
            data = lines if isinstance(lines, bytes) else lines.encode()
            (folder / f"{name}_filenames.txt").write_bytes(data)
    argv = ["--dataset_name", "hd", "--data_folder", folder, *SMALL]
    assert named in refused(argv, tmp_path, monkeypatch, capsys)
