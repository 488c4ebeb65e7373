# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Runs that are tracked by the real wandb client; its server is a stand-in on this machine."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from training.experiment import Experiment
from training.record import files
from training.tracking import wandb_run


def rows_of(server):
    """The rows that the one run of the server has, those of epochs first, then the test's."""
    (run,) = server.runs.values()
    return run, run["history"][:-1], run["history"][-1]


def test_curves_arrive_under_the_published_names(train, tmp_path, wandb_server, capsys):
    assert train(new_exp_folder="out", nb_epochs=3, lr=0.02) == 0
    assert not wandb_server.sweeps
    run, epochs, test = rows_of(wandb_server)
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    records = files.read_lines(tmp_path / "out" / "metrics.jsonl")
    for name, figure in (("loss", "loss"), ("acc", "accuracy"), ("sop", "sop")):
        for split in ("train", "valid"):
            expected = [r[figure] for r in records if r["split"] == split]
            assert [row[f"{split} {name}"] for row in epochs] == pytest.approx(expected)
        assert test[f"test {name}"] == pytest.approx(records[-1][figure])
    rates = [r["firing_rates"] for r in records if r["split"] == "valid"]
    assert [row["valid sparsity"] for row in epochs] == pytest.approx(
        [1 - sum(r) / len(r) for r in rates]
    )
    accuracies = [row["valid acc"] for row in epochs]
    assert [row["best valid acc"] for row in epochs] == [max(accuracies[: i + 1]) for i in range(3)]
    assert {row["lr"] for row in epochs} == {0.02}
    assert all(row["train clips/s"] > 0 for row in epochs)
    assert (run["project"], run["exit"]) == ("SiLIF_SHD_runs", 0)
    config = {name: value for name, value in run["config"].items() if name != "_wandb"}
    assert (config["lr"], config["nb_epochs"], config["model_type"]) == (0.02, 3, "SiLIF")
    assert run["summary"]["test acc"] == records[-1]["accuracy"]
    assert f"{wandb_server.url}/lab/SiLIF_SHD_runs/runs/" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_rates_and_widths_of_delays_arrive(train, wandb_server):
    assert train(new_exp_folder="out", nb_epochs=1, lr=0.02, delay="axonal") == 0
    _, (row,), _ = rows_of(wandb_server)
    assert (row["lr"], row["lr weights"], row["lr delay"]) == (0.02, 0.02, 2)
    assert (row["sigma snn.0.delay"], row["sigma snn.2.delay"]) == (2, 2)


def test_a_network_without_spikes_has_no_sparsity():
    record = {"split": "test", "loss": 1.0, "accuracy": 0.5, "firing_rates": []}
    assert wandb_run.named_figures(record) == {"test loss": 1.0, "test acc": 0.5}


@contextlib.contextmanager
def before_validation(epoch, action):
    """Call ``action`` when the training pass of ``epoch`` has ended."""
    validate = Experiment.validate

    def act(self, label):
        if label.startswith(f"epoch {epoch}/"):
            action()
        return validate(self, label)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Experiment, "validate", act)
        yield


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_resumed_run_continues_in_the_same_wandb_run(train, tmp_path, wandb_server, epoch):
    class Crash(BaseException):
        pass

    def crash():
        raise Crash

    with before_validation(epoch, crash), pytest.raises(Crash):
        train(new_exp_folder="out", nb_epochs=3)
    assert train(new_exp_folder="out", nb_epochs=3, resume="auto") == 0
    _, epochs, test = rows_of(wandb_server)
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    assert "test acc" in test
    records = files.read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [row["valid loss"] for row in epochs] == pytest.approx(
        [r["loss"] for r in records if r["split"] == "valid"]
    )


def test_epochs_that_the_server_missed_are_sent_on_resume(train, tmp_path, wandb_server):
    assert train("--tracking", "none", new_exp_folder="out", nb_epochs=2) == 0
    assert not wandb_server.runs
    assert train(new_exp_folder="out", nb_epochs=3, resume="auto") == 0
    _, epochs, _ = rows_of(wandb_server)
    assert [row["epoch"] for row in epochs] == [1, 2, 3]


def test_a_server_that_dies_in_a_run_loses_nothing(
    train, tmp_path, wandb_server, monkeypatch, capsys
):
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "1")
    with before_validation(2, wandb_server.die):
        assert train(new_exp_folder="out", nb_epochs=3) == 0
    said = capsys.readouterr().out
    assert said.count("wandb failed") == 1
    assert "wandb sync" in said
    records = files.read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [r["epoch"] for r in records if r["split"] == "valid"] == [1, 2, 3]
    assert (tmp_path / "out" / "summary.json").exists()
    assert not wandb_run.answers(wandb_server.url, 1)


def test_a_wandb_process_that_dies_takes_one_run_with_it(train, tmp_path, wandb_server, capsys):
    def kill():
        for pid in children_named("wandb-core"):
            os.kill(pid, signal.SIGKILL)

    with before_validation(2, kill):
        assert train(new_exp_folder="out", nb_epochs=3) == 0
    assert capsys.readouterr().out.count("wandb failed") == 1
    records = files.read_lines(tmp_path / "out" / "metrics.jsonl")
    assert [r["epoch"] for r in records if r["split"] == "valid"] == [1, 2, 3]
    assert train(new_exp_folder="next", nb_epochs=1) == 0
    assert [run.get("exit") for run in wandb_server.runs.values()] == [None, 0]


def children_named(name):
    """Processes that this one has started, by the name of their program."""
    lists = Path("/proc/self/task").glob("*/children")
    pids = [pid for listed in lists for pid in listed.read_text().split()]
    return [int(pid) for pid in pids if name in Path(f"/proc/{pid}/cmdline").read_text()]


def offline_runs(folder):
    return list(folder.glob("wandb/offline-run-*/run-*.wandb"))


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({}, "no login"),
        ({"WANDB_API_KEY": "a" * 40}, "http://127.0.0.1:9 cannot be reached"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_MODE": "offline"}, "wandb: logging offline"),
    ],
)
def test_without_a_server_it_logs_offline(
    train, tmp_path, no_login, monkeypatch, capsys, variables, named
):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert train(new_exp_folder="out", nb_epochs=1) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "wandb" in line]
    assert named in line
    assert len(offline_runs(tmp_path / "out")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_resumed_offline_run_can_be_sent_later(train, tmp_path, wandb_server, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setenv("WANDB_MODE", "offline")
        assert train(new_exp_folder="out", nb_epochs=2) == 0
        assert train(new_exp_folder="out", nb_epochs=3, resume="auto") == 0
    runs = sorted(path.parent for path in offline_runs(tmp_path / "out"))
    assert len(runs) == 2
    command = [sys.executable, "-m", "wandb", "sync", *map(str, runs)]
    subprocess.run(command, cwd=tmp_path, stdin=subprocess.DEVNULL, check=True)
    (run,) = wandb_server.runs.values()
    assert [row["epoch"] for row in run["history"] if "valid acc" in row] == [1, 2, 3]
    assert "test acc" in run["history"][-1]


def test_insisting_on_wandb_without_a_login_is_an_error(train, tmp_path, no_login, capsys):
    assert train("--tracking", "wandb", new_exp_folder="out") == 2
    assert "--tracking wandb: no login" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "mode"), [(["--tracking", "none"], ""), ([], "disabled"), (["--debug"], "online")]
)
def test_nothing_is_logged_where_tracking_is_off(
    train, tmp_path, wandb_server, monkeypatch, flags, mode
):
    monkeypatch.setenv("WANDB_MODE", mode)
    assert train(*flags, new_exp_folder="out", nb_epochs=1) == 0
    assert not wandb_server.operations
    assert not list(tmp_path.rglob("*wandb*"))


def test_without_the_package_it_trains_untracked(
    train, tmp_path, wandb_server, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert train(new_exp_folder="out", nb_epochs=1) == 0
    assert "wandb cannot be imported" in capsys.readouterr().out
    monkeypatch.setattr(wandb_run.link, "known", False)
    assert train("--tracking", "wandb", new_exp_folder="other") == 2
