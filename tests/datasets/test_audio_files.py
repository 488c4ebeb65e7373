# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Bad recordings, lists and folders: one line that names the path, or skipped when asked."""

import struct
from pathlib import Path

import loading
import numpy as np
import pytest
import soundfile
import torch
from refusal import refused
from wav_files import RATE, WORDS, chirp, write_digits, write_wav, write_words

from datasets import splits
from datasets.errors import DataError
from datasets.recordings import BadRecordingError, read_recording

LISTS = ("validation_list.txt", "testing_list.txt")


def load(folder, say=lambda line: None, name="sc", **options):
    return loading.load(name, folder, say, **options)


@pytest.fixture
def words(tmp_path):
    return write_words(tmp_path / "words")


def cut(path, keep):
    path.write_bytes(path.read_bytes()[:keep])


def overwrite(path, position, number):
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, position, number)
    path.write_bytes(content)


def flac_of(samples):
    """A FLAC file that claims so many samples, in 36 bits behind the mark and the rates."""

    def write(path):
        soundfile.write(path, np.sin(np.arange(16000) / 5) / 2, RATE, format="FLAC")
        content = bytearray(path.read_bytes())
        content[21] = content[21] & 0xF0 | samples >> 32
        content[22:26] = (samples % 2**32).to_bytes(4, "big")
        path.write_bytes(content)

    return write


def recording(sound, rate=RATE, subtype="PCM_16"):
    return lambda path: write_wav(path, sound, rate, subtype)


BAD = {
    "truncated": (lambda p: cut(p, -1000), "is truncated: its header promises 9600 bytes of sound"),
    "cut in its header": (lambda p: cut(p, 30), "is truncated"),
    "cut before its sound": (lambda p: cut(p, 44), "promises 9600 bytes of sound but 0 are there"),
    "empty": (lambda p: p.write_bytes(b""), "is empty (0 bytes)"),
    "no samples": (recording(np.zeros(0)), "holds no samples"),
    "a size of zero": (lambda p: overwrite(p, 40, 0), "holds no samples"),
    "stereo": (recording(np.zeros((4800, 2))), "has 2 channels, where one is needed"),
    "8 bits": (
        recording(chirp(0, 0), subtype="PCM_U8"),
        "is Unsigned 8 bit PCM, where 16-bit PCM or better is needed (sox IN -b 16 -e signed OUT",
    ),
    "companded": (recording(chirp(0, 0), subtype="ULAW"), "where 16-bit PCM"),
    "text": (
        lambda p: p.write_text("<html>404</html>\n" * 9),
        "is not a WAV, FLAC, MP3 or Ogg file",
    ),
    "another format": (
        lambda p: p.write_bytes(b"\0\0\0 ftypM4A " + bytes(400)),
        "Format not recognised; ffmpeg -i IN -ac 1 OUT.wav converts others",
    ),
    "zeros": (lambda p: p.write_bytes(bytes(9644)), "is not a WAV, FLAC, MP3 or Ogg file"),
    "not finite": (
        recording(np.full(4800, np.nan), subtype="FLOAT"),
        "holds samples that are not finite",
    ),
    "a low rate": (recording(np.zeros(500), 500), "has 500 samples a second"),
    "a rate of millions": (
        lambda p: overwrite(p, 24, 318_783_104),
        "has 318783104 samples a second",
    ),
    "flac of unknown length": (flac_of(0), "does not say how long it is"),
    "flac of billions": (
        flac_of(2**30),
        "claims 1,073,741,824 samples, where at most 268,435,456 can be used",
    ),
    "flac of more than there is": (flac_of(10**6), "damaged"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "cannot be read (Is a directory)"),
    "a broken link": (lambda p: (p.unlink(), p.symlink_to("nowhere.wav")), "does not exist"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_file_is_named(tmp_path, fault):
    spoil, message = BAD[fault]
    path = write_wav(tmp_path / "00.wav", chirp(0, 0))  # 0.3 s: 9600 bytes
    spoil(path)
    with pytest.raises(BadRecordingError) as error:
        read_recording(path)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [BAD["truncated"], (recording(chirp(0, 0, 0.024)), "is too short: 24.0 ms")],
)
def test_a_bad_file_stops_a_run_or_is_skipped(words, said, spoil, message):
    path = words / "left" / "00.wav"
    spoil(path)
    for use_augm in (False, True):
        with pytest.raises(DataError) as error:
            load(words, use_augm=use_augm)
        assert str(error.value).startswith(f"{path} {message}")
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


def test_bad_files_are_counted_before_they_stop_a_run(words, said):
    for number in range(3):
        write_wav(words / "left" / f"0{number}.wav", np.zeros((4800, 2)))
    for _ in range(2):  # afresh, and from what is cached
        with pytest.raises(DataError, match=r"left/00\.wav has 2 .* 2 other training clips cannot"):
            load(words)
        assert len(load(words, said, skip_bad_files=True).train) == 9
    assert said.about(f"3 bad files are skipped, the first: {words / 'left' / '00.wav'} ")


def test_a_split_or_a_set_of_bad_files_only_is_an_error(words):
    for path in words.glob("*/05.wav"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match="no test clip remains"):
        load(words, skip_bad_files=True)
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
    data = load(words, said, skip_bad_files=True)
    assert len(data.test) == 3
    assert said.about("1 bad file is skipped")


def lists(**contents):
    """A folder of words with such lists, None for none, instead of both of its own."""

    def prepare(folder):
        write_words(folder, lists=False)
        for name, content in contents.items():
            suffix = "csv" if name in ("train", "val", "test") else "txt"
            data = content if isinstance(content, bytes) else content.encode()
            (folder / f"{name}.{suffix}").write_bytes(data)

    return prepare


def tables(train, val="", test=""):
    return lists(train=train, val=val, test=test)


def words_in_another_format(folder):
    for word in WORDS:
        (folder / word).mkdir()
        (folder / word / ".hidden").write_bytes(b"")
        (folder / word / "1.m4a").write_bytes(b"ftyp")


def words_below_folders_of_splits(folder):
    for split in ("test", "train"):
        write_words(folder / split, lists=False)


def no_clip_for_test(folder):
    write_words(folder, nb_clips=1, lists=False)


def digits_with(line):
    def prepare(folder):
        write_digits(folder)
        (folder / "train_filenames.txt").write_bytes(line)

    return prepare


def digits_without_a_list(folder):
    write_digits(folder)
    (folder / "train_filenames.txt").unlink()


NAME_SOME = (
    "name clips for validation in validation_list.txt and for test in testing_list.txt, both with "
    "one WORD/FILE.wav a line; all others are for training$"
)
BAD_FOLDERS = [
    ("sc", words_in_another_format, "no folders of words.*down/1.m4a is neither: convert it"),
    ("sc", lambda f: write_wav(f / "a_yes.wav", chirp(0, 0)), "a_yes.wav must lie in a folder"),
    ("sc", lambda f: ((f / "up").mkdir(), (f / "up" / "a.zip").touch()), "; unpack .*up/a.zip$"),
    ("sc", words_below_folders_of_splits, r"not in test \(and 1 more\): .*WORD/FILE"),
    ("sc", lambda folder: write_words(folder, words=["up"]), "of one class only, 'up'"),
    ("sc", lambda folder: write_words(folder / "below"), r"; is it .*below\?"),
    ("sc", lambda folder: None, "no folders of words"),
    ("sc", Path.rmdir, "no folder .*speech_commands_v0.02.tar.gz.* --data_folder"),
    ("sc", lambda folder: (folder.rmdir(), folder.write_text("")), "is a file: .*name the folder"),
    ("hd", Path.rmdir, "no folder .*zenkelab.org.* --data_folder"),
    ("sc", no_clip_for_test, NAME_SOME),
    ("sc", lists(validation_list="", testing_list=""), NAME_SOME),
    ("sc", lists(validation_list="up/0.wav"), "has validation_list.txt but no testing_list.txt"),
    (
        "sc",
        lists(validation_list="up/05.wav", testing_list="up/05.wav"),
        "up/05.wav is named in validation_list.txt and testing_list.txt",
    ),
    (
        "sc",
        lists(validation_list="up/00.wav\nup/00.wav", testing_list="up/05.wav"),
        "named twice in validation_list.txt",
    ),
    (
        "sc",
        lists(validation_list=b"up/\0\xff.wav", testing_list=""),
        "validation_list.txt is not a text file: save it as text in UTF-8",
    ),
    ("sc", lists(validation_list="../../etc/passwd", testing_list="up/05.wav"), "passwd does not"),
    (
        "sc",
        tables("a,b\n1,2\n"),
        "train.csv has no column file: its first line must name file,class, and is 'a,b'",
    ),
    ("sc", tables(""), "train.csv has no column file"),
    ("sc", tables("file,class\nup/00.wav\n"), "train.csv, line 2: 'up/00.wav' has no class"),
    (
        "sc",
        tables("file,class\n./data/up/99.wav,up\nleft/00.wav,left\n", *2 * ["file,class"]),
        "data/up/99.wav does not exist.*: correct the list that",
    ),
    ("hd", digits_with(b"one.flac\n"), "train_filenames.txt: 'one.flac' is not named like"),
    (
        "hd",
        digits_with(b"lang-french_speaker-00_trial-0_digit-0.flac\n"),
        "is not named like lang-english_speaker-00_trial-0_digit-0.flac",
    ),
    ("hd", digits_without_a_list, "there is no list .*train_filenames.txt"),
]


@pytest.mark.parametrize(("name", "prepare", "message"), BAD_FOLDERS)
def test_a_bad_folder_is_named_with_the_way_out(tmp_path, name, prepare, message):
    folder = tmp_path / "data"
    folder.mkdir()
    prepare(folder)
    with pytest.raises(DataError, match=message) as error:
        load(folder, name=name)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fault", ["truncated", "a folder"])
def test_main_refuses_a_bad_recording_in_one_line(words, fault, tmp_path, monkeypatch, capsys):
    BAD[fault][0](words / "left" / "00.wav")
    argv = ["--dataset_name", "sc", "--data_folder", words, "--nb_hiddens", "8", "--seed", "1"]
    assert "left/00.wav" in refused(argv, tmp_path, monkeypatch, capsys)


def test_a_link_to_nowhere_is_no_fault_of_a_list(tmp_path):
    words = write_words(tmp_path, lists=False, nb_clips=40)
    (words / "up" / "broken.wav").symlink_to("nowhere.wav")
    with pytest.raises(DataError, match=r"broken.wav does not exist: repair or remove it"):
        load(words)


def test_likely_mistakes_are_reported(words, said):
    (words / "empty").mkdir()
    (words / "songs").mkdir()
    (words / "songs" / "1.m4a").write_bytes(b"ftyp")
    (words / "songs" / "Thumbs.db").write_bytes(b"")
    (words / "songs" / "1.TextGrid").write_bytes(b"")
    write_words(words / "left" / "more", lists=False)
    write_wav(words / "Left" / "x.wav", chirp(0, 0))
    write_wav(words / "left" / "00.wav", chirp(0, 0, seconds=3.0))
    load(words, said)
    assert said.about(f"1 file is left out, the first {words}/songs/1.m4a, as clips are WAV")
    assert said.about(f"1 file is left out, the first {words}/songs/1.TextGrid, as such files are")
    assert said.about(f"19 files are left out, the first {words}/left/more/")
    assert said.about("classes that differ in capitals only: Left and left")
    assert said.about("no WAV, FLAC, MP3 or Ogg file in the folder empty (and 1 more): not a class")
    assert said.about("left/00.wav takes 3.0 s and most clips about 0.3 s")


def test_names_that_tell_no_speaker_are_reported(tmp_path, said):
    write_words(tmp_path, nb_clips=40, lists=False)
    load(tmp_path, said)
    assert said.about("file names do not begin like SPEAKER_nohash_, so that clips of")


@pytest.mark.parametrize(
    ("names", "rule"),
    [
        ("{0}.wav", "class, as the SHA-1 rule of Speech Commands"),
        ("speaker{0}_{1}.wav", "speaker, of 4, as the SHA-1 rule"),
    ],
)
def test_few_clips_are_split_otherwise_than_by_the_hash(tmp_path, said, names, rule):
    for word in WORDS:
        for clip in range(4):
            write_wav(tmp_path / word / names.format(clip, word), chirp(0, clip))
    clips = [names.format(clip, word) for clip in range(4) for word in WORDS]
    assert len(set(map(splits.which_set, clips))) == 2
    data = load(tmp_path, said)
    assert said.about(
        f"sc: 6 training, 3 validation and 3 test clips of 3 classes, split by {rule}"
    )
    assert load(tmp_path).test.files == data.test.files
    assert bool(said.about("clips of one speaker may be")) == rule.startswith("class")
    assert len(set(data.train.speaker_names)) == (2 if rule.startswith("speaker") else 0)


def test_tables_that_may_be_wrong_are_reported(words, said):
    for name in LISTS:
        (words / name).unlink()
    for name, clips in (("train", [0, 1]), ("val", [4]), ("test", [5])):
        rows = [f"{word}/{clip:02d}.wav, {word}" for clip in clips for word in WORDS]
        if name == "test":
            rows.append(f"{WORDS[0]}/03.wav,{WORDS[1]}")
        (words / f"{name}.csv").write_text("\n".join(["File, Class", *rows]))
    data = load(words, said)
    assert [len(split) for split in (data.train, data.valid, data.test)] == [6, 3, 4]
    assert said.about("train.csv, val.csv and test.csv do not name down/02.wav (and 4 more)")
    assert said.about("listed under a class other than its folder's: down/03.wav as 'left'")
