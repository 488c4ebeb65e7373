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


def changed(**entries):
    """Write other entries of a file, by their names in `write_spikes`."""
    return lambda path: write_spikes(path, good_clips() | entries)


def rows(value, kind: str, clips: int = 24, events: int = 50) -> list[np.ndarray]:
    return [np.full(events, value, kind)] * clips


def clip_5(**faults):
    """Put a fault into clip 5 alone."""

    def damage(path):
        contents = good_clips()
        for name, fault in faults.items():
            contents[name][5] = np.asarray(fault, contents[name][5].dtype)
        write_spikes(path, contents)

    return damage


def put(name: str, value=None):
    """Replace an entry of the file by an array or a link, or remove it."""

    def damage(path):
        with h5py.File(path, "a") as file:
            del file[name]
            if value is not None:
                file[name] = value

    return damage


def attribute(value):
    """Name this number of channels."""

    def damage(path):
        with h5py.File(path, "a") as file:
            file.attrs["nb_channels"] = value

    return damage


def claim_of_many_clips(path):
    """Clips by the billion, of which the file holds none."""
    with h5py.File(path, "w") as file:
        for name, kind in (
            ("spikes/times", h5py.vlen_dtype(np.dtype("f2"))),
            ("spikes/units", h5py.vlen_dtype(np.dtype("u2"))),
            ("labels", "u2"),
        ):
            file.create_dataset(name, (2**62,), kind, chunks=(1024,))


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere.h5")


def packed_and_cut(path):
    archive(".gz", gzip.compress(path.read_bytes())[:-50])(path)


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
        (changed(labels=np.linspace(0, 1, 24)), "labels is float64"),
        (changed(labels=np.zeros((24, 2), int)), "not a list of integers"),
        (changed(labels=np.array([b"zero"] * 24)), "not a list of integers"),
        (changed(labels=np.full(24, -1)), "label -1 is negative"),
        (changed(labels=np.full(24, 2**40)), "outside 0..19"),
        (changed(labels=np.zeros(23, int)), "24 clips in spikes/times but 23 labels"),
        (changed(units=rows(10**6, "i4")), "unit 1000000"),
        (changed(units=rows(-1, "i4")), "unit -1"),
        (changed(units=rows(0.5, "f4")), "not whole numbers"),
        (changed(units=rows(1, "u2", events=49)), "50 event times but 49 units"),
        (
            changed(times=rows(0.1, "f2", events=300), units=rows(3, "u2", events=300)),
            "255 at most",
        ),
        (changed(times=rows(0, "f2", events=0), units=rows(0, "u2", events=0)), "none of the 24"),
        (changed(times=[], units=[], labels=np.zeros(0, int)), "no clips"),
        (changed(times=rows(-0.5, "f4")), "negative"),
        (changed(labels=np.array([b"up"] * 24)), "number the classes from 0, and name them"),
        (changed(times=rows(np.nan, "f4")), "not a finite number"),
        (changed(times=rows(5.0, "f4")), "in seconds"),
        (changed(times=rows(0.1, "f2", clips=23)), "23 clips in spikes/times"),
        (changed(speakers=np.arange(7)), "7 entries in extra/speaker"),
        (changed(speakers=np.linspace(0, 1, 24)), "extra/speaker is float64"),
        (attribute(10), "outside 0..9"),
        (attribute("many"), "its attribute nb_channels is many, not 1 to 524288"),
        (attribute(np.inf), "its attribute nb_channels is inf, not"),
        (attribute([6, 4]), "its attribute nb_channels is"),
        (changed(keys=np.zeros((3, 4), int)), "extra/keys is int64 (3, 4), not a list of names"),
        (changed(keys=np.array([0.5, 1.5])), "not a list of names"),
        (changed(speakers=np.zeros((24, 2), int)), "extra/speaker is int64 (24, 2), not a list"),
        (lambda path: h5py.File(path, "a").create_group("extra/keys"), "extra/keys is not a data"),
        (clip_5(times=[0.1, np.nan] * 25), "clip 5"),
        (clip_5(times=[0.1, 0.2]), "clip 5"),
        (clip_5(labels=20), "clip 5"),
        (claim_of_many_clips, "claims"),
        (put("labels"), "no data set labels"),
        (put("labels", h5py.SoftLink("/labels")), "no data set labels"),
        (put("labels", h5py.ExternalLink("/etc/passwd", "/labels")), "no data set labels"),
        (put("spikes/times", np.zeros((24, 3), "f2")), "not a list of lists"),
        (put("spikes/times", np.array([b"a word"] * 24)), "not a list of lists"),
        (put("spikes/times", h5py.SoftLink("/spikes")), "no data set spikes/times"),
        (put("spikes", np.zeros(3)), "no data set spikes/times"),
        (directory, TRAIN),
        (fifo, TRAIN),
        (symlink_loop, TRAIN),
        (dangling, TRAIN),
        (no_bytes, "not a complete HDF5 file"),
        (lambda path: path.write_bytes(bytes(5000)), "not a complete HDF5 file"),
        (cut(0.5), "download it again"),
        (cut(0.999), "download it again"),
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
