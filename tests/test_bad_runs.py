# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Weights, states and configs of runs that are not what they should be: one line, no harm."""

import math
import shutil
import zipfile

import pytest
import torch
from refusal import (
    SMALL,
    Bomb,
    cut,
    directory,
    fifo,
    no_bytes,
    pickled,
    refused,
    symlink_loop,
)

import main
from training.record import checkpoint


@pytest.fixture(scope="session")
def trained(sound_data, tmp_path_factory):
    """A run of the sound data set, not to be changed."""
    out = tmp_path_factory.mktemp("trained") / "out"
    argv = ["--data_folder", sound_data, *SMALL, "--new_exp_folder", out]
    assert main.main([str(arg) for arg in argv]) == 0
    return out


@pytest.fixture
def run(trained, tmp_path):
    """An interrupted run of the sound data set, which a test may damage."""
    out = tmp_path / "out"
    (out / "checkpoints").mkdir(parents=True)
    for name in ("config.yaml", "checkpoints/best_model.pth", "checkpoints/last.pth"):
        shutil.copyfile(trained / name, out / name)
    return out


def edit(change):
    def damage(path):
        content = torch.load(path, weights_only=True)
        torch.save(change(content), path)

    return damage


def replace(*keys, value):
    """Replace one entry of nested dicts; ``value`` is the new one, or makes it of the old one."""

    def change(content):
        inner = content
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = value(inner[keys[-1]]) if callable(value) else value
        return content

    return edit(change)


def in_moments(name, value):
    return replace("optimizer", "state", 0, name, value=value)


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


WEIGHT = "snn.0.W.weight"


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (replace(WEIGHT, value=lambda x: x[:, :-1]), f"'{WEIGHT}' is"),
        (replace(WEIGHT, value=3.0), f"'{WEIGHT}' is not a tensor"),
        (replace(WEIGHT, value=torch.zeros(1).expand(10**6, 10**6)), "1000000"),
        (edit(lambda content: {**content, "more": torch.zeros(2)}), "'more' is not in the model"),
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
        (lambda path: path.write_text("weights\n"), "not a readable checkpoint"),
        (no_bytes, "not a readable checkpoint"),
        (directory, "no checkpoint"),
        (fifo, "no checkpoint"),
        (symlink_loop, "no checkpoint"),
        (lambda path: shutil.rmtree(path.parent), "no checkpoint"),
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


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model_state_dict": weights},
        lambda weights: {f"module.{name}": value for name, value in weights.items()},
        lambda weights: {"model": {f"_orig_mod.module.{k}": v for k, v in weights.items()}},
    ],
)
def test_weights_that_other_code_has_wrapped(wrap, run):
    path = run / "checkpoints" / "best_model.pth"
    before = checkpoint.read_weights(path)
    edit(wrap)(path)
    after = checkpoint.read_weights(path)
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_a_whole_pickled_network_is_to_be_converted(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(checkpoint.CheckpointError, match=r"state_dict\(\), NEW_FILE"):
        checkpoint.read(tmp_path / "network.pth")


def test_a_checkpoint_of_another_model(run, sound_data, tmp_path, monkeypatch, capsys):
    argv = ["--data_folder", sound_data, *SMALL, "--evaluate_pretrained", "True"]
    (run / "config.yaml").unlink()
    line = refused([*argv, run, "--model_type", "GRU"], tmp_path, monkeypatch, capsys)
    assert "does not fit this model" in line


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (in_moments("exp_avg", torch.zeros(3)), "does not fit"),
        (in_moments("exp_avg", lambda x: x.double()), "does not fit"),
        (in_moments("exp_avg", lambda x: x * math.nan), "does not fit"),
        (in_moments("exp_avg_sq", lambda x: x + math.inf), "does not fit"),
        (in_moments("exp_avg_sq", lambda x: x - 1), "does not fit"),
        (in_moments("step", torch.tensor(-1.0)), "does not fit"),
        (replace("optimizer", "param_groups", 0, "lr", value="high"), "does not fit"),
        (replace("scheduler", value={}), "does not fit"),
        (replace("scheduler", "best", value="high"), "does not fit"),
        (replace("scheduler", "best", value=math.nan), "does not fit"),
        (replace("progress", "epochs", value=3), "does not fit"),
        (replace("rng", "torch", value=torch.zeros(3)), "does not fit"),
        (replace("model", value={}), "is missing"),
        (replace("best", "weights", WEIGHT, value=torch.zeros(2)), "is [2] instead"),
        (replace("format", value=99), "no training state"),
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
