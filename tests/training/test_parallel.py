# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs side by side: the same figures as one after another, whatever dies on the way."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest
import torch
import yaml
from resumption import last_weights, wait_until

from training.grid import parallel
from training.record import files

LONG = {"nb_hiddens": 4, "nb_epochs": 4000, "batch_size": 160, "backend": "naive"}


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


def worker_of(folder):
    """The process that writes to a folder."""
    return int((folder / ".lock.owner").read_text().split()[1])


def log_of(folder):
    return (folder / "log" / "exp.log").read_text()


def test_the_same_figures_as_one_after_another(train, tmp_path, capsys):
    """One of the two diverges, and the other is left alone."""
    grid = {"use_regularizers": [False, True], "reg_fmin": 0.5, "reg_factor": 1e300, "seed": 1}
    grid |= {"nb_epochs": 1, "nb_hiddens": 4, "backend": "naive"}
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
    sound = "shd_20steps_SiLIF_3lay4_lr0_01_drop0_1_use_regularizersFalse_seed1"
    ours, others = (last_weights(tmp_path / name / sound) for name in ("turns", "jobs"))
    assert ours.keys() == others.keys()
    assert all(torch.equal(ours[name], others[name]) for name in ours)

    tables = [
        [line.split()[:9] for line in said.splitlines() if "SHD   SiLIF" in line]
        for said in (in_turn, side_by_side)
    ]
    assert len(tables[0]) == 2
    assert tables[0] == tables[1]
    assert f"not counted: {sound.replace('False', 'True')}" in side_by_side
    assert "2 runs, 2 at a time, 1 thread each" in side_by_side
    assert side_by_side.count("started use_reg") == 2
    assert "use_regularizers False: test accuracy" in side_by_side
    assert train(new_exp_folder="jobs", jobs=2, resume="auto", **grid) == 1
    assert "use_regularizers False: already finished" in capsys.readouterr().out


def test_runs_are_killed_and_stopped_and_resumed(train, tmp_path, capsys):
    """One by SIGKILL, the other by SIGTERM, and the first again by the end of its parent."""
    out = tmp_path / "out"

    def interrupt():
        try:
            wait_until(lambda: len(list(out.glob("*/checkpoints/last.pth"))) == 2)
            killed = worker_of(folder_of(out, 1))
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: not Path(f"/proc/{killed}").exists())
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=interrupt, daemon=True).start()
    options = {**LONG, "seed": [1, 2], "jobs": 2, "checkpoint_minutes": 60}
    assert train(**options, new_exp_folder="out") == 128 + signal.SIGTERM
    assert "seed 1: exit status -9: killed by SIGKILL" in capsys.readouterr().out
    first, second = (folder_of(out, seed) for seed in (1, 2))
    assert "stopping after this step" in log_of(second)

    values = {**yaml.safe_load((first / "config.yaml").read_text()), "resume": "auto"}
    orphan = parallel.RunProcess(1, "seed 1", values, first)
    orphan.start(0, parallel.environment(1))
    wait_until(lambda: "Resuming after" in log_of(first))
    orphan.process.stdin.close()
    assert orphan.process.wait() == 128 + signal.SIGTERM
    assert "stopping after this step" in log_of(first)


def test_faults_of_the_data_are_reported_before_any_run(train, tmp_path, capsys):
    assert train(seed=[1, 2], jobs=2, data_folder=tmp_path / "none", new_exp_folder="out") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_devices_are_assigned_in_turn(monkeypatch, tmp_path):
    devices = []
    monkeypatch.setattr(
        parallel.RunProcess, "start", lambda self, device, environment: devices.append(device)
    )
    pool = parallel.Pool((0, 2), 4, {}, tmp_path)
    for number in range(1, 5):
        pool.start(parallel.RunProcess(number, f"seed {number}", {"seed": number}, tmp_path))
    assert pool.free == []
    assert devices == [0, 2, 0, 2]


def test_threads_are_shared(monkeypatch):
    for name in parallel.THREAD_LIMITS:
        monkeypatch.delenv(name)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    assert parallel.thread_limit(4) == 4
    assert parallel.thread_limit(40) == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert parallel.thread_limit(4) == 2
    given = parallel.environment(2)
    assert {given[name] for name in parallel.THREAD_LIMITS} == {"2"}


def test_the_accuracies_of_a_run_are_read_from_its_folder(tmp_path):
    assert parallel.accuracies(tmp_path) == []
    for split in ("train", "valid", "train"):
        line = {"epoch": 1, "split": split, "accuracy": 0.5}
        files.append_line(tmp_path / "metrics.jsonl", line)
    assert parallel.accuracies(tmp_path) == [0.5]
