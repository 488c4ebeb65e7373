# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""A run that was interrupted, in whatever way, ends as if it had not been."""

import functools
import json
import os
import pty
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from refusal import snapshot
from resumption import OPTIONS, PLANNED, same_results, whole_run

import main
from training.experiment import Experiment
from training.record import checkpoint
from training.terminal.console import Stopped, stop_request

REPO = Path(__file__).resolve().parents[2]
STEPS = 3 * 7  # of a whole run


@pytest.mark.parametrize("model", ["RadLIF", "GRU"])
def test_a_crashed_run_resumes_as_if_nothing_had_happened(train, interrupt, tmp_path, model):
    options = {**OPTIONS, "model_type": model}
    assert train(new_exp_folder="whole", **options) == 0
    moment = random.Random(model).randrange(STEPS)
    assert interrupt(moment, new_exp_folder="crashed", **options) is None
    torch.manual_seed(99)
    assert train(new_exp_folder="crashed", resume="auto", **options) == 0
    same_results(tmp_path / "whole", tmp_path / "crashed")


AUGMENTED = {
    "shd": {"augm_channel_shift": 2, "augm_event_drop": 0.2, "augm_cutmix": 0.5},
    "sc": {"use_augm": True, "augm_time_mask": 3, "augm_freq_mask": 5, "batch_size": 8},
}


@pytest.mark.parametrize("data", AUGMENTED)
def test_a_crashed_augmented_run_resumes_as_if_nothing_had_happened(
    train, interrupt, words_folder, tmp_path, data
):
    options = {**OPTIONS, **AUGMENTED[data], "augm_time_shift": 0.1, "nb_epochs": 2}
    if data == "sc":
        options |= {"dataset_name": "sc", "data_folder": words_folder}
    assert train(new_exp_folder="whole", **options) == 0
    assert interrupt(5, new_exp_folder="crashed", **options) is None
    assert main.main(["--resume", "crashed"]) == 0
    same_results(tmp_path / "whole", tmp_path / "crashed")


def test_epochs_alone_suffice(interrupt, whole, tmp_path):
    options = {**OPTIONS, "checkpoint_minutes": 60}
    assert interrupt(17, new_exp_folder="crashed", **options) is None
    assert main.main(["--resume", "crashed"]) == 0
    same_results(whole, tmp_path / "crashed")


@pytest.mark.parametrize("signals", ["SIGTERM", "SIGINT", "SIGTERM SIGUSR1"])
def test_a_signal_saves_and_says_how_to_resume(train, interrupt, whole, tmp_path, capsys, signals):
    """Two at once: a batch system signals the script and the program that it started."""
    numbers = [signal.Signals[name] for name in signals.split()]
    options = {**OPTIONS, "checkpoint_minutes": 60, "new_exp_folder": "stopped"}

    def send():
        for number in numbers:
            os.kill(os.getpid(), number)

    assert interrupt(9, send, **options) == 128 + numbers[0]
    assert "--resume auto" in capsys.readouterr().err
    saved = torch.load(tmp_path / "stopped" / checkpoint.LAST, weights_only=True)
    assert (saved["progress"]["epoch"], saved["progress"]["step"]) == (1, 3)
    assert train(resume="auto", **options) == 0
    same_results(whole, tmp_path / "stopped")


def test_a_stop_during_validation_keeps_the_training_pass(train, whole, tmp_path, monkeypatch):
    options = {**OPTIONS, "checkpoint_minutes": 60, "new_exp_folder": "stopped"}
    evaluate = Experiment.evaluate

    def evaluate_then_stop(self, split, label):
        if label == "epoch 2/3 valid":
            os.kill(os.getpid(), signal.SIGUSR1)
        return evaluate(self, split, label)

    with monkeypatch.context() as patched:
        patched.setattr(Experiment, "evaluate", evaluate_then_stop)
        assert train(**options) == 128 + signal.SIGUSR1
    saved = torch.load(tmp_path / "stopped" / checkpoint.LAST, weights_only=True)
    assert (saved["progress"]["epoch"], saved["progress"]["step"]) == (1, 7)
    assert train(resume="auto", **options) == 0
    same_results(whole, tmp_path / "stopped")


@pytest.fixture
def hangups():
    """SIGHUP as a shell leaves it, even where pytest itself runs under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups")
def test_a_closed_terminal_saves(train, spikes_folder, whole, tmp_path):
    folder = tmp_path / "stopped"
    command = [sys.executable, str(REPO / "main.py"), *whole_run(spikes_folder, folder)]
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], [*command, "--tracking", "none"])
    while not (folder / checkpoint.LAST).exists() and os.read(terminal, 1 << 16):
        continue
    os.close(terminal)  # the system sends SIGHUP
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    assert not (folder / "summary.json").exists()
    assert train(new_exp_folder=folder, resume="auto", **OPTIONS) == 0
    same_results(whole, folder)


def test_nohup_lets_a_training_continue():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_request() as request:
            os.kill(os.getpid(), signal.SIGHUP)
        assert request.signum is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("hangups")
def test_a_second_hangup_kills_nothing():
    with stop_request() as request:
        os.kill(os.getpid(), signal.SIGHUP)
        request.since -= 10
        os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Stopped):
            request.check()


@pytest.mark.parametrize("planned", [{}, pytest.param(PLANNED, marks=pytest.mark.slow)])
def test_kill_9_from_outside(train, spikes_folder, whole, tmp_path, planned):
    """The real thing, in another process; planned: in the middle of a schedule."""
    folder, options = tmp_path / "killed", {**OPTIONS, **planned}
    command = [sys.executable, str(REPO / "main.py"), *whole_run(spikes_folder, folder, **planned)]
    killed = subprocess.Popen([*command, "--tracking", "none"], stdout=subprocess.DEVNULL)
    second = folder / checkpoint.previous(checkpoint.LAST)
    while not second.exists() and killed.poll() is None:
        time.sleep(0.005)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert train(new_exp_folder=folder, resume="auto", **options) == 0
    if planned:
        whole = tmp_path / "whole"
        assert train(new_exp_folder=whole, **options) == 0
    same_results(whole, folder)


def test_a_sweep_skips_what_is_finished(train, interrupt, tmp_path, capsys):
    grid = {"seed": [1, 2, 3], "nb_epochs": 2}
    assert interrupt(13, new_exp_folder="out", **grid) is None
    assert train(new_exp_folder="out", resume="auto", **grid) == 0
    assert capsys.readouterr().out.count("Already finished") == 1
    assert train(new_exp_folder="whole", **grid) == 0
    groups = [
        json.loads((tmp_path / name / "sweep_summary.json").read_text())["groups"]
        for name in ("out", "whole")
    ]
    for group in groups[0] + groups[1]:
        assert group.pop("seconds") > 0
    assert groups[0] == groups[1]


def test_more_epochs_continue_from_the_end(train, whole, tmp_path):
    options = {k: v for k, v in OPTIONS.items() if k != "nb_epochs"}
    assert train(new_exp_folder="longer", nb_epochs=2, **options) == 0
    assert train(new_exp_folder="longer", nb_epochs=3, resume="auto", **options) == 0
    same_results(whole, tmp_path / "longer")
    assert "nb_epochs: 3" in (tmp_path / "longer" / "config.yaml").read_text()


def test_a_debug_run_is_not_tracked_when_it_is_resumed(train, tmp_path, no_login):
    assert train("--debug", new_exp_folder="out", **(OPTIONS | {"nb_epochs": 1})) == 0
    assert main.main(["--resume", "out", "--nb_epochs", "2"]) == 0
    assert not (tmp_path / "out" / "wandb").exists()


@pytest.fixture
def finished(whole, tmp_path):
    """A run that has ended, which a test may change."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ({"new_exp_folder": "out", "resume": "auto", "lr": 0.5}, "started with lr 0.01, not 0.5"),
        ({"new_exp_folder": "out", "resume": "auto", "nb_epochs": 1}, "3 epochs are done"),
        ({"resume": "out", "new_exp_folder": "other"}, "remove --new_exp_folder"),
        ({"resume": "out", "seed": [13, 14]}, "give --seed one value"),
        ({"resume": "out", "lr": [0.1, 0.2]}, "give --lr one value"),
        ({"resume": "nowhere"}, "config.yaml"),
    ],
)
@pytest.mark.usefixtures("finished")
def test_what_is_not_the_same_run_is_refused(train, tmp_path, capsys, typed, named):
    before = snapshot(tmp_path)
    assert train(**{**OPTIONS, **typed}) == 2
    line = capsys.readouterr().err
    assert named in line
    assert line.count("\n") == 1
    assert snapshot(tmp_path) == before


def test_a_fresh_start_is_reported(train, tmp_path, capsys):
    assert train(new_exp_folder="out", resume="auto") == 0
    assert f"Nothing to resume in {tmp_path / 'out'}: the training starts from scratch" in (
        capsys.readouterr().out
    )


def test_results_without_a_state_are_not_replaced(train, finished, tmp_path, capsys):
    """The state may have been removed to save room."""
    for name in ("checkpoints/last.pth", "summary.json"):
        (finished / name).unlink()
    before = snapshot(tmp_path)
    assert train(new_exp_folder="out", resume="auto") == 2
    assert "3 epochs are done, but checkpoints/last.pth is not there" in capsys.readouterr().err
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("left", ["log/exp.log", "data.json", "metrics.jsonl", "failure.json"])
def test_a_run_killed_before_its_first_state_starts_again(train, finished, left):
    """At whatever moment: files appear one after another."""
    order = ["config.yaml", "data.json", "log/exp.log", "failure.json", "metrics.jsonl"]
    (finished / "failure.json").write_text('{"diverged": "before"}')
    metrics = finished / "metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
    for path in finished.rglob("*"):
        name = str(path.relative_to(finished))
        if path.is_file() and name not in order[: order.index(left) + 1]:
            path.unlink()
    assert train(new_exp_folder="out", nb_epochs=1, resume="auto") == 0
    assert (finished / "summary.json").exists()
    assert not (finished / "failure.json").exists()


def test_a_sweep_spares_a_run_that_another_has_made_meanwhile(train, tmp_path, monkeypatch):
    fit, runs = Experiment.fit, []

    def meanwhile(self):
        if not runs:
            runs.append(self.folder)
            name = self.folder.name.replace("seed13", "seed14")
            assert train(new_exp_folder=f"sweep/{name}", seed=14, nb_epochs=1) == 0
            runs.append(snapshot(tmp_path / "sweep" / name))
        return fit(self)

    monkeypatch.setattr(Experiment, "fit", meanwhile)
    assert train(new_exp_folder="sweep", seed=[13, 14], nb_epochs=2) == 1
    other = Path(str(runs[0]).replace("seed13", "seed14"))
    assert snapshot(other) == runs[1]
    summary = json.loads((tmp_path / "sweep" / "sweep_summary.json").read_text())
    assert ["error" in run for run in summary["runs"]] == [False, True]


def test_a_narrower_resumption_keeps_the_table_of_the_others(train, tmp_path):
    assert train(new_exp_folder="out", seed=[13, 14, 15], nb_epochs=1) == 0
    before = (tmp_path / "out" / "sweep_summary.json").read_bytes()
    assert train(new_exp_folder="out", seed=[13, 14], nb_epochs=1, resume="auto") == 0
    assert (tmp_path / "out" / "sweep_summary_before1.json").read_bytes() == before
    now = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert len(now["runs"]) == 2


def test_an_attempt_that_left_no_epoch_may_be_made_again(train, interrupt, tmp_path):
    assert interrupt(0, new_exp_folder="out", nb_epochs=1) is None
    first = (tmp_path / "out/log/exp.log").read_text()
    assert train(new_exp_folder="out", nb_epochs=1) == 0
    log = (tmp_path / "out/log/exp.log").read_text()
    assert log.startswith(first)
    assert "test accuracy" in log


def test_a_damaged_state_falls_back_to_the_one_before(train, interrupt, whole, tmp_path, capsys):
    assert interrupt(16, new_exp_folder="damaged", **OPTIONS) is None
    path = tmp_path / "damaged" / checkpoint.LAST
    weights = torch.load(path, weights_only=True)["model"]["snn.1.W.weight"]
    content = bytearray(path.read_bytes())
    content[content.index(weights.numpy().tobytes())] ^= 0xFF
    path.write_bytes(content)
    assert train(new_exp_folder="damaged", resume="auto", **OPTIONS) == 0
    assert "resuming from the state before it" in capsys.readouterr().out
    same_results(whole, tmp_path / "damaged")


def test_a_folder_in_use_is_refused(train, tmp_path, capsys):
    folder = tmp_path / "out"
    folder.mkdir()
    with FileLock(folder / ".lock"):
        (folder / ".lock.owner").write_text("process 7 on elsewhere")
        assert train(new_exp_folder="out") == 2
    assert "process 7 on elsewhere" in capsys.readouterr().err
    assert train(new_exp_folder="out") == 0


def test_what_a_killed_writer_left_is_removed(train, finished):
    weights = finished / checkpoint.BEST
    left = [weights.with_name(".last.pth.123456.tmp"), finished / ".summary.json.7.tmp"]
    mine = finished / ".notes.tmp"
    for path in (*left, mine):
        path.write_text("half")
    assert train(resume="out", **(OPTIONS | {"nb_epochs": 4})) == 0
    assert mine.exists()
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("moment", [3, 10, 20])
def test_a_folder_deleted_within_a_run_is_made_again(interrupt, whole, tmp_path, capsys, moment):
    delete = functools.partial(shutil.rmtree, tmp_path / "out")
    assert interrupt(moment, delete, new_exp_folder="out", **OPTIONS) == 0
    assert "was deleted or moved away; it is created again" in capsys.readouterr().out
    same_results(whole, tmp_path / "out")
    for name in ("config.yaml", "data.json"):
        assert (tmp_path / "out" / name).exists()
    assert "test accuracy" in (tmp_path / "out" / "log" / "exp.log").read_text()


def test_a_folder_that_cannot_be_made_again(interrupt, tmp_path, capsys):
    def replace_by_file():
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").write_text("in the way")

    assert interrupt(10, replace_by_file, new_exp_folder="out", **OPTIONS) == 1
    captured = capsys.readouterr()
    assert "No summary.json without the best model" in captured.out
    assert "test accuracy" in captured.out
    assert captured.err == ""
