# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Bad recordings, lists and folders: one line that names the path, or left out when asked."""

import shutil
from pathlib import Path

import loading
import numpy as np
import pytest
import soundfile
import torch
from wav_files import RATE, WORDS, chirp, write_wav, write_words

from datasets.errors import DataError
from datasets.recordings import BadRecordingError, read_recording


def load(folder, say=lambda line: None, name="sc", **options):
    return loading.load(name, folder, say, **options)


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def zero_the_size(path):
    content = path.read_bytes()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + bytes(4) + content[at + 4 :])


BAD = {
    "truncated": (lambda p: cut(p, -1000), "is truncated: its header promises 9600 bytes of sound"),
    "cut in its header": (lambda p: cut(p, 30), "is truncated"),
    "cut before its sound": (lambda p: cut(p, 44), "promises 9600 bytes of sound, 0 are there"),
    "empty": (lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    "no samples": (lambda p: write_wav(p, np.zeros(0)), "holds no samples"),
    "a size of zero": (zero_the_size, "holds no samples"),
    "too short": (lambda p: write_wav(p, chirp(0, 0, 0.024)), "is too short: 24.0 ms"),
    "stereo": (lambda p: write_wav(p, np.zeros((4800, 2))), "has 2 channels, where one is needed"),
    "8 bits": (
        lambda p: write_wav(p, chirp(0, 0), subtype="PCM_U8"),
        "is Unsigned 8 bit PCM, where 16-bit PCM or better is needed (sox IN -b 16 -e signed OUT",
    ),
    "companded": (lambda p: write_wav(p, chirp(0, 0), subtype="ULAW"), "where 16-bit PCM"),
    "text": (lambda p: p.write_text("<html>404</html>\n" * 9), "is no WAV or FLAC file"),
    "zeros": (lambda p: p.write_bytes(bytes(9644)), "is no WAV or FLAC file"),
    "not finite": (
        lambda p: write_wav(p, np.full(4800, np.nan), subtype="FLOAT"),
        "holds samples that are not finite",
    ),
    "a low rate": (lambda p: write_wav(p, np.zeros(500), 500), "has 500 samples a second"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "cannot be read (Is a directory)"),
    "a broken link": (lambda p: (p.unlink(), p.symlink_to("nowhere.wav")), "does not exist"),
}


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path / "words")


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file(words, said, fault):
    spoil, message = BAD[fault]
    path = words / "left" / "00.wav"  # 0.3 s: 9600 bytes
    spoil(path)
    for use_augm in (False, True):
        with pytest.raises(DataError) as error:
            load(words, use_augm=use_augm)
        assert str(error.value).startswith(f"{path} ")
        assert message in str(error.value)
        assert "\n" not in str(error.value)
        assert "--skip_bad_files True" in str(error.value)
    for _ in range(2):
        data = load(words, said, skip_bad_files=True)
        assert len(data.train) == 11
        assert "left/00.wav" not in data.train.files
        assert data.train.labels.tolist().count(1) == 3
    with pytest.raises(DataError, match=r"left/00\.wav"):  # also from what is cached now
        load(words)
    (line, again) = said.about("bad file")
    assert line == again
    assert line.startswith(f"1 bad file is skipped, the first: {path} ")
    kept = load(words, skip_bad_files=True, use_augm=True).train
    assert (len(kept), len(kept.durations), len(kept.lengths)) == (11, 11, 11)
    assert kept.waveforms(torch.tensor([10]))[0].shape[1] == kept.durations[10]
    assert kept.durations.sum() == len(kept.samples)


def write_digits(folder):
    """A train clip (trial 0) and the same as test clip (trial 1) of every class."""
    sound = 0.1 * np.random.default_rng(0).standard_normal(RATE)
    for trial, split in enumerate(("train", "test")):
        names = [
            f"lang-{language}_speaker-01_trial-{trial}_digit-{digit}.flac"
            for language in ("english", "german")
            for digit in range(10)
        ]
        for name in names:
            write_wav(folder / "audio" / name, sound)
        (folder / f"{split}_filenames.txt").write_text("\n".join(names))


@pytest.mark.parametrize(
    ("claimed", "complaint"),
    [
        (0, "does not say how long it is"),
        (2**30, "claims 1,073,741,824 samples, where at most 268,435,456 can be used"),
        (10**6, "damaged"),
    ],
)
def test_a_flac_of_another_length_than_it_says(claimed, complaint, tmp_path):
    path = tmp_path / "word.flac"
    soundfile.write(path, np.sin(np.arange(16000) / 5) / 2, 16000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = 4 + 4 + 13  # behind the mark, the header of STREAMINFO and its rates: 36 bits
    content[at] = content[at] & 0xF0 | claimed >> 32
    content[at + 1 : at + 5] = (claimed % 2**32).to_bytes(4, "big")
    path.write_bytes(content)
    with pytest.raises(BadRecordingError, match=complaint):
        read_recording(path)


def test_several_bad_files_are_counted(words, said):
    for word in WORDS:
        for clip in ("00", "05"):
            (words / word / f"{clip}.wav").write_bytes(b"")
    with pytest.raises(DataError, match="no test clip remains"):
        load(words, skip_bad_files=True)
    write_wav(words / "up" / "05.wav", chirp(2, 5))
    data = load(words, said, skip_bad_files=True)
    assert (len(data.train), len(data.valid), len(data.test)) == (9, 3, 1)
    (line,) = said.about("bad files")
    assert line.startswith(f"5 bad files are skipped, the first: {words / 'down' / '00.wav'} ")


def test_nothing_but_bad_files(words):
    for path in words.glob("*/*.wav"):
        path.write_text("no sound")
    with pytest.raises(DataError, match=r"none of 18 recordings can be used, the first: .*00.wav"):
        load(words, skip_bad_files=True)


@pytest.mark.parametrize("name", ["up/nothing.wav", "ghost/00.wav", "_background_noise_/hum.wav"])
def test_a_list_that_names_what_is_no_clip(words, said, name):
    with open(words / "testing_list.txt", "a") as file:
        file.write(f"{name}\n")
    with pytest.raises(DataError) as error:
        load(words)
    assert str(error.value).startswith(f"{words / name} ")
    assert "\n" not in str(error.value)
    data = load(words, said, skip_bad_files=True)
    assert len(data.test) == 3
    assert said.about("1 bad file is skipped")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"testing_list.txt": None}, "has validation_list.txt but no testing_list.txt"),
        ({"validation_list.txt": "up/05.wav\n"}, "up/05.wav is named in validation_list.txt and t"),
        ({"validation_list.txt": "up/00.wav\nup/00.wav"}, "named twice in validation_list.txt"),
        ({"validation_list.txt": "\n"}, "there is no validation clip by validation_list.txt and"),
        ({"validation_list.txt": b"\xff\xfe\x00"}, "validation_list.txt is not a UTF-8 text file"),
        (
            {"train.csv": "a,b\n1,2\n", "val.csv": "", "test.csv": "", **dict.fromkeys(
                ("validation_list.txt", "testing_list.txt"))},
            r"train.csv has no column file: its first line must name file,class, and is 'a,b'",
        ),
        (
            {"train.csv": "file,class\nup/00.wav\n", "val.csv": "", "test.csv": "",
             **dict.fromkeys(("validation_list.txt", "testing_list.txt"))},
            r"train.csv, line 2: 'up/00.wav' has no class",
        ),
    ],
)  # fmt: skip
def test_bad_lists(words, change, message):
    for name, content in change.items():
        if content is None:
            (words / name).unlink()
        else:
            (words / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as error:
        load(words)
    assert str(words) in str(error.value)


@pytest.mark.parametrize("lists", [True, False])
def test_a_split_without_clips_says_how_to_name_some(tmp_path, lists):
    write_words(tmp_path, nb_clips=1, lists=False)
    if lists:
        for name in ("validation_list.txt", "testing_list.txt"):
            (tmp_path / name).write_text("")
    with pytest.raises(DataError) as error:
        load(tmp_path)
    assert str(error.value).endswith(
        "name clips for validation in validation_list.txt and for test in testing_list.txt, both "
        "with one WORD/FILE.wav a line; all others are for training"
    )


def tables_of_a_missing_clip(folder):
    write_words(folder, lists=False)
    for split, clip in (("train", 0), ("val", 1), ("test", 99)):
        rows = f"./data/up/{clip:02d}.wav,up\nleft/{clip:02d}.wav,left\n"
        (folder / f"{split}.csv").write_text(f"file,class\n{rows}")


def words_in_another_format(folder):
    for word in WORDS:
        (folder / word).mkdir()
        (folder / word / ".hidden").write_bytes(b"")
        (folder / word / "1.mp3").write_bytes(b"ID3")


def words_below_folders_of_splits(folder):
    for split in ("test", "train"):
        write_words(folder / split, lists=False)


def digits_of_another_name(folder):
    write_digits(folder)
    (folder / "train_filenames.txt").write_text("one.flac\n")


def digits_without_a_list(folder):
    write_digits(folder)
    (folder / "train_filenames.txt").unlink()


def a_truncated_flac(folder):
    write_digits(folder)
    cut(folder / "audio" / "lang-german_speaker-01_trial-0_digit-7.flac", -2000)


@pytest.mark.parametrize(
    ("name", "prepare", "message"),
    [
        ("sc", tables_of_a_missing_clip, "data/up/99.wav does not exist .*: correct the list that"),
        ("sc", words_in_another_format, "no folders of words.*down/1.mp3 is neither: convert it"),
        ("sc", words_below_folders_of_splits, r"not in test \(and 1 more\): .*WORD/FILE"),
        ("sc", lambda folder: write_words(folder, words=["up"]), "of one class only, 'up'"),
        ("sc", lambda folder: write_words(folder / "below"), r"; is it .*below\?"),
        ("sc", lambda folder: None, "no folders of words"),
        ("sc", Path.rmdir, "no folder .*speech_commands_v0.02.tar.gz.* --data_folder"),
        ("hd", Path.rmdir, "no folder .*zenkelab.org.* --data_folder"),
        ("hd", digits_of_another_name, "train_filenames.txt: 'one.flac' is not named like"),
        ("hd", digits_without_a_list, "there is no list .*train_filenames.txt"),
        ("hd", a_truncated_flac, "digit-7.flac is "),
    ],
)
def test_a_bad_folder(tmp_path, name, prepare, message):
    folder = tmp_path / "data"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(DataError, match=message) as error:
        load(folder, name=name)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_bad_files_are_counted_before_they_stop_a_run(words, said):
    for number in range(3):
        write_wav(words / "left" / f"0{number}.wav", np.zeros((4800, 2)))
    for _ in range(2):  # afresh, and from what is cached
        with pytest.raises(DataError, match=r"left/00\.wav has 2 .* 2 other training clips cannot"):
            load(words)
        assert len(load(words, said, skip_bad_files=True).train) == 9


def test_what_may_not_be_meant_is_said(words, said):
    (words / "empty").mkdir()
    (words / "songs").mkdir()
    (words / "songs" / "1.mp3").write_bytes(b"ID3")
    shutil.copytree(words / "up", words / "Up")
    write_wav(words / "left" / "00.wav", chirp(0, 0, seconds=3.0))
    load(words, said)
    assert said.about("no WAV or FLAC file lies in the folder empty (and 1 more): no class")
    assert said.about("classes that differ only in capitals: Up and up")
    assert said.about("no test clip is of class 'Up'")
    assert said.about("left/00.wav takes 3.0 s and most clips about 0.3 s")


def test_names_that_tell_no_speaker(tmp_path, said):
    write_words(tmp_path, nb_clips=40, lists=False)
    load(tmp_path, said)
    assert said.about("file names are not like SPEAKER_nohash_0.wav and name no speaker")


def test_tables_that_may_be_wrong(words, said):
    for name, clips in (("train", [0, 1]), ("val", [4]), ("test", [5])):
        rows = [f"{word}/{clip:02d}.wav, {word}" for clip in clips for word in WORDS]
        if name == "test":
            rows.append(f"{WORDS[0]}/03.wav,{WORDS[1]}")
        (words / f"{name}.csv").write_text("\n".join(["File, Class", *rows]))
    for name in ("validation_list.txt", "testing_list.txt"):
        (words / name).unlink()
    data = load(words, said)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [6, 3, 4]
    assert said.about("train.csv, val.csv and test.csv do not name down/02.wav (and 4 more)")
    assert said.about("listed under a class other than its folder's: down/03.wav as 'left'")


@pytest.mark.parametrize("tables", [False, True])
def test_listed_names_in_other_letters(words, tables):
    expected = load(words)
    if tables:
        for name in ("train", "valid", "test"):
            clips = getattr(expected, name).files
            rows = [f"{clip},{clip.split('/')[0]}" for clip in clips]
            name = name.removesuffix("id")
            (words / f"{name}.csv").write_text("\n".join(["file,class", *rows]))
        for name in ("validation_list.txt", "testing_list.txt"):
            (words / name).unlink()
    for path in words.glob("*/*.wav"):
        path.rename(path.with_suffix(".WAV"))
    found = load(words)
    for name in ("train", "valid", "test"):
        upper = [file.replace(".wav", ".WAV") for file in getattr(expected, name).files]
        assert getattr(found, name).files == upper
