# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs side by side: the same figures as one after another, whatever dies on the way."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from filelock import FileLock

from training.grid import parallel
from training.grid.live_lines import newest
from training.grid.worker import Drawing
from training.record import checkpoint
from training.terminal import console

REPO = Path(__file__).resolve().parents[2]
LONG = {"nb_steps": 20, "spatial_bin": 20, "nb_hiddens": 16, "nb_epochs": 40, "batch_size": 32}


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """Sums come out the same to the last bit only with the same number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    for name in parallel.THREAD_LIMITS:
        monkeypatch.setenv(name, "1")
    yield
    torch.set_num_threads(before)


def folder_of(root, seed):
    (folder,) = root.glob(f"*_seed{seed}")
    return folder


def weights(folder):
    return torch.load(folder / checkpoint.LAST, weights_only=True)["model"]


def same_weights(first, second):
    ours, others = weights(first), weights(second)
    return ours.keys() == others.keys() and all(torch.equal(ours[k], others[k]) for k in ours)


def wait_until(true, seconds=180):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def worker_of(folder):
    """The process that writes to a folder."""
    return int((folder / ".lock.owner").read_text().split()[1])


def start(spikes_folder, tmp_path, **options):
    """A grid side by side in another process, as soon as seeds 1 and 2 have saved a state."""
    command = [sys.executable, str(REPO / "main.py"), "--data_folder", str(spikes_folder)]
    for name, value in {**LONG, "jobs": 2, "new_exp_folder": "out", **options}.items():
        command += [f"--{name}", *(map(str, value) if isinstance(value, list) else [str(value)])]
    output = (tmp_path / "output.txt").open("w")
    parent = subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output)

    def begun():
        assert parent.poll() is None, (tmp_path / "output.txt").read_text()
        return len(list(tmp_path.glob("out/*/checkpoints/last.pth"))) >= 2

    wait_until(begun)
    return parent


def test_the_same_figures_as_one_after_another(train, tmp_path, capsys):
    """One of the two diverges, and the other is left alone."""
    grid = {"use_regularizers": [False, True], "reg_fmin": 0.5, "reg_factor": 1e300, "seed": 1}
    assert train(new_exp_folder="turns", **grid) == 1
    in_turn = capsys.readouterr().out
    assert train(new_exp_folder="jobs", jobs=2, **grid) == 1
    side_by_side = capsys.readouterr().out
    sweeps = [
        json.loads((tmp_path / name / "sweep_summary.json").read_text())
        for name in ("turns", "jobs")
    ]
    for sweep in sweeps:
        assert sweep["groups"][0].pop("seconds") > 0
    assert sweeps[0]["groups"] == sweeps[1]["groups"]
    errors = [sweep["runs"][1]["error"] for sweep in sweeps]
    assert errors[0].replace("/turns/", "/jobs/") == errors[1]
    assert "diverged" in errors[0]
    assert sweeps[1]["runs"][1]["exit_status"] == 1
    sound = "shd_20steps_SiLIF_3lay16_lr0_01_drop0_1_use_regularizersFalse_seed1"
    assert same_weights(tmp_path / "turns" / sound, tmp_path / "jobs" / sound)

    tables = [
        [line.split()[:9] for line in said.splitlines() if line.startswith("SHD")]
        for said in (in_turn, side_by_side)
    ]
    assert len(tables[0]) == 2
    assert tables[0] == tables[1]
    assert f"not counted: {sound.replace('False', 'True')}" in side_by_side
    assert "2 runs, 2 at a time, 1 thread each" in side_by_side
    assert side_by_side.count("started use_reg") == 2
    assert "use_regularizers False: test accuracy" in side_by_side


def test_a_run_that_is_killed_and_a_signal_to_all(spikes_folder, train, tmp_path, capsys):
    options = {"seed": [1, 2, 3], "checkpoint_minutes": 60}
    parent = start(spikes_folder, tmp_path, **options)
    os.kill(worker_of(folder_of(tmp_path / "out", 1)), signal.SIGKILL)
    killed = "seed 1: exit status -9: killed by SIGKILL"
    wait_until(lambda: killed in (tmp_path / "output.txt").read_text())
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(60) == 128 + signal.SIGTERM
    assert "stopping after this step" in log_of(folder_of(tmp_path / "out", 2))
    assert train(**{**LONG, **options}, jobs=3, resume="auto", new_exp_folder="out") == 0
    assert train(**{**LONG, **options}, jobs=3, resume="auto", new_exp_folder="out") == 0
    assert capsys.readouterr().out.count("finished before") == 3
    assert train(**{**LONG, **options, "seed": [1, 2]}, new_exp_folder="whole") == 0
    for seed in (1, 2):
        assert same_weights(*(folder_of(tmp_path / name, seed) for name in ("out", "whole")))


def log_of(folder):
    return (folder / "log" / "exp.log").read_text()


def test_runs_whose_parent_is_killed_save_and_stop(spikes_folder, tmp_path):
    parent = start(spikes_folder, tmp_path, seed=[1, 2], nb_epochs=4000, checkpoint_minutes=60)
    folders = [folder_of(tmp_path / "out", seed) for seed in (1, 2)]
    parent.kill()
    parent.wait()
    for folder in folders:
        with FileLock(folder / ".lock", timeout=60):
            assert "stopping after this step" in log_of(folder)


def test_faults_of_the_data_are_told_before_any_run(train, tmp_path, capsys):
    assert train(seed=[1, 2], jobs=2, data_folder=tmp_path / "none", new_exp_folder="out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_devices_are_dealt_out(monkeypatch, tmp_path):
    orders = []

    class Process:
        def __init__(self, *args, **options):
            self.stdin = io.BytesIO()
            orders.append(self.stdin)

    monkeypatch.setattr(parallel.subprocess, "Popen", Process)
    lines = SimpleNamespace(slots=4, live=False, pipe=lambda: (None, None), columns=lambda: 80)
    pool = parallel.Pool((0, 2), {}, tmp_path, 4, lines)
    for number in range(1, 5):
        pool.start(parallel.Run(number, f"seed {number}", {"seed": number}, tmp_path))
    assert pool.free == []
    told = [json.loads(stdin.getvalue())["values"] for stdin in orders]
    assert told == [{"seed": n, "gpu_device": (n - 1) % 2 * 2} for n in range(1, 5)]


def test_threads_are_shared(monkeypatch):
    for name in parallel.THREAD_LIMITS:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert set(parallel.thread_limits(4).values()) == {"4"}
    assert set(parallel.thread_limits(40).values()) == {"1"}
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert set(parallel.thread_limits(4).values()) == {"2"}


def test_progress_crosses_a_pipe(monkeypatch):
    reading, drawing = os.pipe()
    os.set_blocking(reading, False)
    monkeypatch.setattr(console, "_bars", {})
    console.send_progress(Drawing(drawing), 70)
    assert newest(reading, "starting") == "starting"
    with console.progress_bar(200, "epoch 3/20 train") as bar:
        bar.update(100)
        bar.refresh()
        assert newest(reading, "starting").startswith("epoch 3/20 train:  50%")
    assert newest(reading, "as before") == "as before"
    os.close(reading)
    Drawing(drawing).write("nobody reads this")
    os.close(drawing)
