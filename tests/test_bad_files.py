# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Files that are not what they should be: one line that names the file, exit code 2, no harm."""

import gzip
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from refusal import SMALL, cut, directory, fifo, good_clips, no_bytes, refused, symlink_loop

import main
from tests.datasets.shd_files import write_spikes

TRAIN = "shd_train.h5"


def replace(path: Path, name: str, values, **options):
    with h5py.File(path, "a") as file:
        if name in file:
            del file[name]
        if values is not None:
            file.create_dataset(name, data=values, **options)


def labels_of(values):
    return lambda path: replace(path, "labels", values)


def lists(name, kind, rows):
    def damage(path):
        with h5py.File(path, "a") as file:
            del file[name]
            dataset = file.create_dataset(name, (len(rows),), h5py.vlen_dtype(np.dtype(kind)))
            for i, row in enumerate(rows):
                dataset[i] = np.asarray(row, kind)

    return damage


def unit(value, kind="i4"):
    return lists("spikes/units", kind, [[value] * 50] * 24)


def time(value, kind="f4"):
    return lists("spikes/times", kind, [[value] * 50] * 24)


def clip_5(times=None, units=None, label=None):
    """Put one fault into clip 5."""

    def damage(path):
        clips = good_clips()
        for name, new in (("times", times), ("units", units), ("labels", label)):
            if new is not None:
                clips[name][5] = np.asarray(new, clips[name][5].dtype)
        write_spikes(path, clips)

    return damage


def clips(times, units, labels):
    def damage(path):
        contents = {"times": np.asarray(times, "f2"), "units": np.asarray(units, "u2")}
        write_spikes(path, contents | {"labels": np.asarray(labels, "u2")})

    return damage


def claim(count):
    """Clips by the billion, of which the file holds none."""

    def damage(path):
        with h5py.File(path, "w") as file:
            for name, kind in (("times", "f2"), ("units", "u2")):
                lists_of = h5py.vlen_dtype(np.dtype(kind))
                file.create_dataset(f"spikes/{name}", (count,), lists_of, chunks=(1024,))
            file.create_dataset("labels", (count,), "u2", chunks=(1024,))

    return damage


def wide(path):
    replace(path, "spikes/times", None)
    with h5py.File(path, "a") as file:
        file.create_dataset("spikes/times", (24, 10**10), "f2", chunks=(1, 1024))


def strings(path):
    replace(path, "spikes/times", None)
    with h5py.File(path, "a") as file:
        file.create_dataset("spikes/times", (24,), h5py.string_dtype())


def group_for_dataset(path):
    with h5py.File(path, "a") as file:
        del file["spikes/times"]
        file.create_group("spikes/times")


def dataset_for_group(path):
    replace(path, "spikes", np.zeros(3))


def link_to_itself(path):
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = h5py.SoftLink("/labels")


def link_outside(path):
    with h5py.File(path, "a") as file:
        del file["labels"]
        file["labels"] = h5py.ExternalLink("/etc/passwd", "/labels")


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere.h5")


def content(data):
    return lambda path: path.write_bytes(data)


def packed_and_cut(path):
    packed = gzip.compress(path.read_bytes())
    path.unlink()
    path.with_suffix(".h5.gz").write_bytes(packed[:-50])


def speakers(path):
    replace(path, "extra/speaker", np.arange(7))


def speaker_names(path):
    replace(path, "extra/speaker", np.array([b"anna"] * 24))


def archive(suffix, content):
    def damage(path):
        path.unlink()
        Path(f"{path}{suffix}").write_bytes(content)

    return damage


def zip_of(*names):
    def damage(path):
        content = path.read_bytes()
        path.unlink()
        with zipfile.ZipFile(f"{path}.zip", "w") as file:
            for name in names:
                file.writestr(name, content)

    return damage


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (labels_of(np.linspace(0, 1, 24)), "labels is float64"),
        (labels_of(np.zeros((24, 2), int)), "not a list of integers"),
        (labels_of(np.array([b"zero"] * 24)), "not a list of integers"),
        (labels_of(np.array(3)), "labels"),
        (labels_of(np.full(24, -1)), "label -1 is outside 0..19"),
        (labels_of(np.full(24, 2**40)), "outside 0..19"),
        (labels_of(np.zeros(23, int)), "24 clips in spikes/times but 23 labels"),
        (unit(700), "unit 700"),
        (unit(-1), "unit -1"),
        (unit(2**31 - 1), "unit 2147483647"),
        (unit(0.5, "f4"), "not integers"),
        (clips([[0.1] * 300] * 24, [[3] * 300] * 24, np.arange(24) % 20), "255 at most"),
        (clip_5(units=[3, 900] * 25), "clip 5"),
        (clip_5(times=[0.1, np.nan] * 25), "clip 5"),
        (clip_5(times=[0.1, -0.1] * 25), "clip 5"),
        (clip_5(times=[0.1, 0.2]), "clip 5"),
        (clip_5(label=20), "clip 5"),
        (clips([], [], []), "no clips"),
        (clips([[]] * 4, [[]] * 4, [0, 1, 2, 3]), "none of the 4 clips"),
        (time(-0.5), "negative"),
        (time(np.nan), "not a finite number"),
        (time(np.inf), "not a finite number"),
        (time(5.0), "in seconds"),
        (lists("spikes/times", "f2", [[0.1] * 50] * 23), "23 clips in spikes/times"),
        (lists("spikes/units", "u2", [[1] * 49] * 24), "50 event times but 49 units"),
        (claim(10**9), "claims 1000000000 clips"),
        (claim(2**62), "claims"),
        (wide, "not a list of lists"),
        (strings, "not"),
        (labels_of(None), "no data set labels"),
        (group_for_dataset, "no data set spikes/times"),
        (dataset_for_group, "no data set spikes/times"),
        (link_to_itself, "no data set labels"),
        (link_outside, "no data set labels"),
        (directory, TRAIN),
        (fifo, TRAIN),
        (symlink_loop, TRAIN),
        (dangling, TRAIN),
        (no_bytes, "not a complete HDF5 file"),
        (content(bytes(5000)), "not a complete HDF5 file"),
        (content(b"times,units\n"), "not a complete HDF5 file"),
        (cut(0.1), "download it again"),
        (cut(0.5), "download it again"),
        (cut(0.9), "download it again"),
        (cut(0.999), "download it again"),
        (speakers, "7 entries in extra/speaker"),
        (speaker_names, "extra/speaker"),
        (Path.unlink, "zenkelab.org"),
        (packed_and_cut, "shd_train.h5.gz"),
        (archive(".gz", b"no gzip"), "truncated or damaged"),
        (archive(".zip", b"no zip"), "truncated or damaged"),
        (zip_of("a.h5"), "holds 0 files"),
        (zip_of("a/shd_train.h5", "b/shd_train.h5"), "holds 2 files"),
    ],
)
def test_spikes(damage, named, data, tmp_path, monkeypatch, capsys):
    damage(data / TRAIN)
    line = refused(["--data_folder", data, *SMALL], tmp_path, monkeypatch, capsys)
    assert named in line
    assert TRAIN in line


def test_no_data_folder(data, tmp_path, monkeypatch, capsys):
    shutil.rmtree(data)
    line = refused(["--data_folder", data, *SMALL], tmp_path, monkeypatch, capsys)
    assert "--data_folder" in line


def test_an_empty_clip_among_others_is_counted_and_kept(data, tmp_path, monkeypatch, capsys):
    clip_5(times=[], units=[])(data / TRAIN)
    monkeypatch.chdir(tmp_path)
    assert main.main(["--data_folder", str(data), *SMALL]) == 0
    assert "1 clip of shd_train.h5 holds no events" in capsys.readouterr().out
