# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A clip is the same by whatever name a list, a table or the disk has for it."""

import os
import unicodedata

import loading
import pytest
from wav_files import WORDS, write_words

from datasets import splits
from datasets.errors import DataError

LISTS = ("validation_list.txt", "testing_list.txt")


def load(folder, say=lambda line: None, name="sc", **options):
    return loading.load(name, folder, say, **options)


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path / "words")


def composed(name):
    return unicodedata.normalize("NFC", name)


def decomposed(name):
    return unicodedata.normalize("NFD", name)


def as_latin_1(name):
    return os.fsdecode(composed(name).encode("latin-1"))


@pytest.mark.parametrize(
    ("on_disk", "in_list"),
    [(decomposed, composed), (composed, decomposed), (as_latin_1, decomposed)],
)
@pytest.mark.parametrize("by_tables", [False, True])
def test_names_are_one_in_every_encoding(tmp_path, on_disk, in_list, by_tables):
    words = ["grün", "rot", "öl"]
    write_words(tmp_path, words=[on_disk(word) for word in words], lists=False)
    for split, (name, clips) in enumerate((("train", range(4)), ("val", [4]), ("test", [5]))):
        rows = [f"{in_list(word)}/{clip:02d}.wav" for clip in clips for word in words]
        if by_tables:
            rows = ["file,class", *(f"{row},{row.split('/')[0]}" for row in rows)]
            (tmp_path / f"{name}.csv").write_text("\n".join(rows), encoding="utf-8")
        elif split:
            (tmp_path / LISTS[split - 1]).write_text("\n".join(rows), encoding="utf-8")
    data = load(tmp_path, skip_bad_files=True)
    assert data.classes == words
    assert [len(split) for split in (data.train, data.valid, data.test)] == [12, 3, 3]
    assert {file[-6:] for file in data.test.files} == {"05.wav"}


def test_the_hash_takes_names_in_every_encoding(tmp_path):
    word = as_latin_1("grün")
    assert splits.which_set(f"{word}/{word}_nohash_0.wav") in splits.SPLITS
    assert {
        splits.which_set(decomposed(f"ü{i}")) == splits.which_set(f"ü{i}") for i in range(99)
    } == {True}


def test_what_a_list_may_mean_is_not_trained_on(words, said):
    (words / "up").rename(words / "upward")
    data = load(words, said, skip_bad_files=True)
    assert sorted({file[-6:] for file in data.train.files}) == [f"0{n}.wav" for n in range(4)]
    assert said.about(
        "not for training, as a list names such a file elsewhere: upward/04.wav (and 1 more)"
    )


@pytest.mark.parametrize(
    ("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-16"), (",", "latin-1")]
)
def test_lists_are_read_as_spreadsheets_write_them(tmp_path, separator, encoding):
    write_words(tmp_path, words=["grün", "rot"], lists=False)
    for name, clips in (("train", range(4)), ("val", [4]), ("test", [5])):
        rows = [(f"{word}/{clip:02d}.wav", word) for clip in clips for word in ("grün", "rot")]
        text = "\r\n".join(separator.join(row) for row in [("file", "class"), *rows])
        (tmp_path / f"{name}.csv").write_bytes(text.encode(encoding))
    data = load(tmp_path)
    assert data.classes == ["grün", "rot"]
    assert [len(split) for split in (data.train, data.valid, data.test)] == [8, 2, 2]


def test_absolute_paths_are_those_of_clips_in_the_folder(words, said):
    for name, clips in (("train", [0, 1]), ("val", [4]), ("test", [5])):
        rows = [f"{words}/{word}/{clip:02d}.wav,{word}" for clip in clips for word in WORDS]
        (words / f"{name}.csv").write_text("\n".join(["file,class", *rows]))
    for name in LISTS:
        (words / name).unlink()
    assert load(words, said).test.files == [f"{word}/05.wav" for word in WORDS]
    assert said.about("train.csv, val.csv and test.csv do not name down/02.wav (and 5 more)")
    with open(words / "train.csv", "a") as table:
        table.write("\nup/05.wav,up")
    with pytest.raises(DataError, match=r"up/05.wav is named in train.csv and test.csv"):
        load(words)


@pytest.mark.parametrize("by_tables", [False, True])
def test_listed_names_are_found_in_other_letters(words, by_tables):
    expected = load(words)
    names = {"train": "train", "valid": "val", "test": "test"}
    if by_tables:
        for split, table in names.items():
            rows = [f"{clip},{clip.split('/')[0]}" for clip in getattr(expected, split).files]
            (words / f"{table}.csv").write_text("\n".join(["file,class", *rows]))
        for name in LISTS:
            (words / name).unlink()
    for path in words.glob("*/*.wav"):
        path.rename(path.with_suffix(".WAV"))
    found = load(words)
    for split in names:
        upper = [file.replace(".wav", ".WAV") for file in getattr(expected, split).files]
        assert getattr(found, split).files == upper
