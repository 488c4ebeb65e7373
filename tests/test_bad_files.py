# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Files that are not what they should be: one line that names the file, exit code 2, no harm."""

import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from refusal import SMALL, good_clips, refused, small_data, write_clips

import main

TRAIN = "shd_train.h5"


@pytest.fixture
def data(tmp_path):
    """A small sound data set in the SHD layout; tests damage it."""
    return small_data(tmp_path / "data")


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


def crowd(path):
    write_clips(path, [[0.1] * 300] * 24, [[3] * 300] * 24, np.arange(24) % 20)


def cut(share):
    def damage(path):
        content = path.read_bytes()
        path.write_bytes(content[: int(share * len(content))])

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


def directory(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def symlink_loop(path):
    path.unlink()
    path.symlink_to(path.name)


def dangling(path):
    path.unlink()
    path.symlink_to("nowhere.h5")


def no_bytes(path):
    path.write_bytes(b"")


def zeros(path):
    path.write_bytes(bytes(5000))


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
        (crowd, "255 at most"),
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
        (group_for_dataset, "no data set spikes/times"),
        (dataset_for_group, "no data set spikes/times"),
        (link_to_itself, "no data set labels"),
        (link_outside, "no data set labels"),
        (directory, TRAIN),
        (fifo, TRAIN),
        (symlink_loop, TRAIN),
        (dangling, TRAIN),
        (no_bytes, "not a complete HDF5 file"),
        (zeros, "not a complete HDF5 file"),
        (cut(0.1), "download it again"),
        (cut(0.5), "download it again"),
        (cut(0.9), "download it again"),
        (cut(0.999), "download it again"),
        (speakers, "7 entries in extra/speaker"),
        (speaker_names, "extra/speaker"),
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


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The bytes of a run that was stopped: its config, weights, and state."""
    folder = tmp_path_factory.mktemp("trained")
    for split in ("train", "test"):
        write_clips(folder / f"shd_{split}.h5", *good_clips())
    argv = ["--data_folder", folder, *SMALL, "--new_exp_folder", folder / "out"]
    assert main.main([str(arg) for arg in argv]) == 0
    out = folder / "out"
    return {
        "config.yaml": (out / "config.yaml").read_bytes(),
        "best_model.pth": (out / "checkpoints" / "best_model.pth").read_bytes(),
        "last.pth": (out / "checkpoints" / "last.pth").read_bytes(),
    }


@pytest.fixture
def run(trained, data, tmp_path):
    """An interrupted run of the sound data set."""
    out = tmp_path / "out"
    (out / "checkpoints").mkdir(parents=True)
    config = trained["config.yaml"].decode().splitlines()
    config = [f"data_folder: {data}" if line[:12] == "data_folder:" else line for line in config]
    (out / "config.yaml").write_text("\n".join(config) + "\n")
    for name in ("best_model.pth", "last.pth"):
        (out / "checkpoints" / name).write_bytes(trained[name])
    return out


def edit(change):
    def damage(path):
        content = torch.load(path, weights_only=True)
        changed = change(content)
        torch.save(content if changed is None else changed, path)

    return damage


def other_shape(weights):
    weights["snn.0.W.weight"] = weights["snn.0.W.weight"][:, :-1]


def other_key(weights):
    weights["snn.9.W.weight"] = torch.zeros(2)


def missing_key(weights):
    del weights["snn.1.W.weight"]


def no_tensor(weights):
    weights["snn.0.W.weight"] = 3.0


def gigantic(weights):
    weights["snn.0.W.weight"] = torch.zeros(1).expand(10**6, 10**6)


def pickled(path):
    path.write_bytes(pickle.dumps({"snn.0.W.weight": Bomb()}))


def pickled_in_archive(path):
    torch.save({"snn.0.W.weight": Bomb()}, path)


def zip_bomb(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("archive/data.pkl", bytes(1 << 24))


def other_zip(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no weights")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x55
    path.write_bytes(content)


def text(path):
    path.write_text("weights\n")


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (edit(other_shape), "'snn.0.W.weight' is"),
        (edit(other_key), "'snn.9.W.weight' is not in the model"),
        (edit(missing_key), "'snn.1.W.weight' is missing"),
        (edit(no_tensor), "'snn.0.W.weight' is not a tensor"),
        (edit(gigantic), "1000000"),
        (edit(lambda _: [1, 2]), "holds a list"),
        (edit(lambda _: {}), "is missing"),
        (edit(lambda _: torch.zeros(3)), "holds a Tensor"),
        (pickled, "more than tensors"),
        (pickled_in_archive, "more than tensors"),
        (zip_bomb, "claims to hold more"),
        (other_zip, "not a readable checkpoint"),
        (cut(0.5), "not a readable checkpoint"),
        (cut(0.99), "not a readable checkpoint"),
        (flipped, "not a readable checkpoint"),
        (text, "not a readable checkpoint"),
        (no_bytes, "not a readable checkpoint"),
        (directory, "no checkpoint"),
        (fifo, "no checkpoint"),
        (symlink_loop, "no checkpoint"),
    ],
)
def test_weights(damage, named, run, tmp_path, monkeypatch, capsys):
    path = run / "checkpoints" / "best_model.pth"
    damage(path)
    argv = [run, "--evaluate_pretrained", "True"]
    line = refused(argv, tmp_path, monkeypatch, capsys)
    assert named in line
    assert str(path) in line
    assert not (tmp_path / "exploded").exists()


def moments(content):
    content["optimizer"]["state"][0]["exp_avg"] = torch.zeros(3)


def scheduler(content):
    content["scheduler"] = {"best": "high"}


def progress(content):
    content["progress"]["epochs"] = 3


def rng(content):
    content["rng"]["torch"] = torch.zeros(3)


def model_of_state(content):
    content["model"] = {}


def best_of_state(content):
    content["best"]["weights"]["snn.0.W.weight"] = torch.zeros(2)


def format_of_later(content):
    content["format"] = 99


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (edit(moments), "does not fit"),
        (edit(progress), "does not fit"),
        (edit(rng), "does not fit"),
        (edit(model_of_state), "is missing"),
        (edit(best_of_state), "'snn.0.W.weight' is [2]"),
        (edit(format_of_later), "no training state"),
        (edit(lambda content: content["model"]), "no training state"),
        (pickled, "more than tensors"),
        (cut(0.5), "not a readable checkpoint"),
        (no_bytes, "not a readable checkpoint"),
    ],
)
def test_states(damage, named, run, tmp_path, monkeypatch, capsys):
    path = run / "checkpoints" / "last.pth"
    damage(path)
    line = refused(["--resume", run], tmp_path, monkeypatch, capsys)
    assert named in line
    assert "last.pth" in line


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda path: path.write_text("lrr: 1\n"), "lrr"),
        (lambda path: path.write_text("lr: [1, 2\n"), "line"),
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "UTF-8"),
        (no_bytes, "empty"),
        (directory, "config.yaml"),
        (fifo, "config.yaml"),
    ],
)
def test_recorded_configs(damage, named, run, tmp_path, monkeypatch, capsys):
    damage(run / "config.yaml")
    line = refused(["--resume", run], tmp_path, monkeypatch, capsys)
    assert named in line
    assert "config.yaml" in line
