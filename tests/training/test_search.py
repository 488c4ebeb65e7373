# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Searches by Optuna on this machine: whole, interrupted, shared."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from resumption import SMALL, last_weights, wait_until

import main
from analysis import search as pictures
from parsers.load import load_plan
from tests.command_line import arguments
from training.errors import ExperimentError
from training.experiment import Experiment
from training.record import checkpoint, files
from training.search import study, work
from training.search.folder import clear, searched_in
from training.search.study import Trials

TRIALS = 4
SEARCH = {
    "method": "bayes",
    "metric": {"name": "valid acc", "goal": "maximize"},
    "run_cap": TRIALS,
    "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 2},
    "enqueue": [{"lr": 0.02, "pdrop": 0.1}],
    "parameters": {
        "lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.1},
        "pdrop": {"distribution": "q_uniform", "min": 0.1, "max": 0.5, "q": 0.1},
        "surrogate": {"values": ["boxcar", "triangle"]},
        "nb_epochs": {"value": 2},
    },
}


@pytest.fixture
def search(train, tmp_path):
    """Make the search above in the folder out, in plain PyTorch; the exit status."""

    def call(*flags, parts=None, **options):
        path = tmp_path / "search.yaml"
        path.write_text(yaml.safe_dump(SEARCH | (parts or {}), sort_keys=False))
        options = {"nb_epochs": 2, "backend": "naive", "new_exp_folder": "out", **options}
        return train(*flags, config=path, **options)

    return call


def trials_of(folder):
    """The trials in the journal of a search."""
    return Trials(folder, searched_in(folder).search).records()


@pytest.fixture(scope="session")
def whole_search(tmp_path_factory, spikes_folder):
    """The folder of a search that nothing interrupts."""
    folder = tmp_path_factory.mktemp("search")
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(SEARCH, sort_keys=False))
    options = {**SMALL, "data_folder": spikes_folder, "nb_epochs": 2, "backend": "naive"}
    assert main.main(arguments(**options, config=path, new_exp_folder=folder / "out")) == 0
    return folder / "out"


def test_a_search_ends_in_one_table_pictures_and_a_config(whole_search, tmp_path, capsys):
    records = trials_of(whole_search)
    assert [record.number for record in records] == [1, 2, 3, 4]
    assert records[0].values["lr"] == 0.02
    assert records[0].values["pdrop"] == 0.1
    assert {record.state for record in records} == {"complete", "pruned"}
    for record in records:
        run = whole_search / f"trial_{record.number:04d}_seed13"
        values = files.recorded_options(run)
        assert {name: values[name] for name in record.values} == record.values
        history = files.read_lines(run / "metrics.jsonl")
        accuracies = [r["accuracy"] for r in history if r["split"] == "valid"]
        assert record.accuracy == max(accuracies)
        assert record.epochs == len(accuracies)
        assert (run / "summary.json").exists() == (record.state == "complete")
        assert (record.epochs == 2) == (record.state == "complete")
    assert pictures.main([str(whole_search)]) == 0
    table = capsys.readouterr().out
    best = max((r for r in records if r.state == "complete"), key=lambda r: r.accuracy)
    rows = [line.split() for line in table.splitlines() if " SHD " in line]
    assert len(rows) == TRIALS
    assert rows[0][0] == str(best.number)
    assert f"best: trial {best.number}, validation accuracy {100 * best.accuracy:.2f}%" in table
    for name in ("importance.png", "parallel.png"):
        assert (whole_search / name).read_bytes().startswith(b"\x89PNG")
    summary = json.loads((whole_search / files.SWEEP_SUMMARY).read_text())
    assert next(trial["number"] for trial in summary["trials"]) == best.number

    again = ["--config", str(whole_search / "best.yaml"), "--new_exp_folder", str(tmp_path / "run")]
    assert load_plan(again).points[0].to_dict() | {"new_exp_folder": None} == {
        **files.recorded_options(whole_search / f"trial_{best.number:04d}_seed13"),
        "new_exp_folder": None,
    }


def test_the_table_of_results_takes_the_folder_of_a_search(whole_search, capsys):
    from training.results import __main__ as results

    assert results.main([str(whole_search)]) == 0
    said = capsys.readouterr().out
    states = [record.state for record in trials_of(whole_search)]
    assert said.count("unfinished: ") == states.count("pruned")


def test_a_killed_search_goes_on_with_the_same_trials(
    search, whole_search, tmp_path, monkeypatch, capsys
):
    """Killed in the middle of trials, it ends as one that nothing interrupted, to the last bit."""
    done, step = iter(range(10_000)), Experiment.train_step

    def crashing(self, *args):
        step(self, *args)
        if next(done) in (7, 12, 20):
            raise KeyboardInterrupt  # nothing of ours catches it on the way

    with monkeypatch.context() as patched:
        patched.setattr(Experiment, "train_step", crashing)
        for _ in range(3):
            assert search() == 130
    begun = [record for record in trials_of(tmp_path / "out") if record.state != "waiting"]
    assert begun[-1].state == "running"
    assert search() == 0
    assert "trials have ended before" in capsys.readouterr().out
    expected = trials_of(whole_search)
    assert trials_of(tmp_path / "out") == expected
    for record in expected:
        name = f"trial_{record.number:04d}_seed13"
        ours, others = last_weights(tmp_path / "out" / name), last_weights(whole_search / name)
        assert all(torch.equal(ours[key], others[key]) for key in others)

    monkeypatch.setattr(Experiment, "fit", lambda self: pytest.fail("nothing is left to train"))
    assert search(resume="auto") == 0
    assert f"{TRIALS} of {TRIALS} trials have ended before" in capsys.readouterr().out


def test_more_trials_are_added_to_a_search(search, tmp_path):
    assert search(parts={"run_cap": 1}) == 0
    assert search(parts={"run_cap": 2}) == 0
    assert [record.has_ended for record in trials_of(tmp_path / "out")] == [True, True]


def test_a_trial_is_trained_with_every_seed(search, tmp_path):
    assert search(seed=[1, 2], parts={"run_cap": 1}) == 0
    (record,) = trials_of(tmp_path / "out")
    accuracies = [
        files.read_summary(tmp_path / "out" / f"trial_0001_seed{seed}")["valid"]["accuracy"]
        for seed in (1, 2)
    ]
    assert record.accuracy == pytest.approx(sum(accuracies) / 2)
    assert yaml.safe_load((tmp_path / "out" / "best.yaml").read_text())["seed"] == [1, 2]


def test_what_stops_trials(whole_search):
    early = searched_in(whole_search).search.early
    assert isinstance(study.pruner(early), study.optuna.pruners.SuccessiveHalvingPruner)
    median = dataclasses.replace(early, kind="median")
    assert isinstance(study.pruner(median), study.optuna.pruners.MedianPruner)
    assert isinstance(study.pruner(None), study.optuna.pruners.NopPruner)


def test_values_that_do_not_go_together_are_a_trial_without_accuracy(search, tmp_path, capsys):
    space = {
        "reg_fmin": {"min": 0.1, "max": 0.9},
        "use_regularizers": {"value": True},
        "reg_fmax": {"value": 0.5},
    }
    parts = {"parameters": space, "enqueue": [{"reg_fmin": 0.2}, {"reg_fmin": 0.8}], "run_cap": 2}
    assert search(parts=parts) == 0
    first, second = trials_of(tmp_path / "out")
    assert first.state == "complete"
    assert (second.state, second.accuracy) == ("refused", None)
    assert second.reason == "--reg_fmin 0.8 is larger than --reg_fmax 0.5"
    assert "trial 2 was refused: --reg_fmin 0.8" in capsys.readouterr().out


def test_a_search_without_any_accuracy(search, monkeypatch, capsys):
    ends = iter([{"error": "training diverged"}, RuntimeError("out of memory")])

    def fail(*_, **__):
        if isinstance(end := next(ends), Exception):
            raise end
        return end

    monkeypatch.setattr(work, "train_point", fail)
    assert search(parts={"run_cap": 2}) == 1
    said = capsys.readouterr()
    assert "trial 1 was refused: training diverged" in said.out
    assert "trial 2 was refused: out of memory" in said.out
    assert "No trial was trained to its end" in said.out
    assert "Cannot write" not in said.out


def test_a_task_makes_its_trial_alone(search, tmp_path, capsys):
    assert search("--list_points") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == TRIALS
    number, place = lines[1].split("\t")
    assert (number, place) == ("2", str(tmp_path / "out" / "trial_0002_seed13"))
    assert search(only_point=2) == 0
    assert [r.state for r in trials_of(tmp_path / "out")].count("waiting") == TRIALS - 1
    assert not (tmp_path / "out" / files.SWEEP_SUMMARY).exists()


def test_a_trial_of_another_process_is_left_to_it(whole_search, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole_search, folder)
    (folder / "journal.log").unlink()
    ours, others = (Trials(folder, searched_in(folder).search) for _ in range(2))
    with ours.take(1) as trial, others.take(1) as same, others.take(2) as other:
        assert same is None
        assert trial.values["lr"] == 0.02
        assert other.values != trial.values
        assert not study.are_free(folder)
        with pytest.raises(ExperimentError, match="another process works on the search"):
            clear(folder)
    with others.take(1) as again:
        assert again.values == trial.values


def test_the_status_is_that_of_the_table(search, tmp_path, monkeypatch):
    """What another process ends after the table is not in it."""
    assert search(only_point=1, parts={"run_cap": 2}) == 0
    others = Trials(tmp_path / "out", searched_in(tmp_path / "out").search)
    with others.take(2) as trial:
        monkeypatch.setattr(pictures, "draw", lambda folder: trial.end(0.5))
        assert search(parts={"run_cap": 2}) == 1


def test_another_search_in_the_folder_is_refused_and_replaced(search, tmp_path, capsys):
    assert search(parts={"run_cap": 1}) == 0
    capsys.readouterr()
    for parts, flags, named in (
        ({"method": "random"}, {}, "another method"),
        ({"parameters": {**SEARCH["parameters"], "lr": [0.02, 0.2]}}, {}, "another space of lr"),
        ({}, {"nb_hiddens": 8}, "nb_hiddens (16, not 8)"),
        ({}, {"seed": 5}, "another seed"),
    ):
        assert search(parts=parts, **flags) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert named in error
        assert "--overwrite" in error
    assert search("--overwrite", parts={"run_cap": 1}, nb_hiddens=8) == 0
    assert files.recorded_options(tmp_path / "out" / "trial_0001_seed13")["nb_hiddens"] == 8


def test_a_line_cut_short_is_dropped_and_a_damaged_journal_refused(whole_search, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole_search, folder)
    journal = folder / "journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker')
    assert trials_of(folder) == trials_of(whole_search)
    for damage in (b"nonsense\n" + whole, b'{"op_code": 6}\n' + whole, b"[]\n"):
        journal.write_bytes(damage)
        with pytest.raises(ExperimentError, match="is damaged"):
            trials_of(folder)


def test_what_is_no_search_or_cannot_be_one(search, tmp_path, monkeypatch, capsys):
    assert pictures.main([str(tmp_path)]) == 2
    assert "it has no search.yaml" in capsys.readouterr().err
    monkeypatch.setattr(study, "optuna", None)
    assert search() == 2
    assert "needs Optuna, which is not installed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def killed(command, moment, folder):
    """Start a search, and kill it at the ``moment``."""
    process = subprocess.Popen(command, cwd=folder, start_new_session=True)
    try:
        wait_until(moment)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_kill_9_and_the_same_command_again(jobs, spikes_folder, tmp_path, monkeypatch):
    """Every trial is made once, whatever is killed."""
    path, out = tmp_path / "search.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump(SEARCH, sort_keys=False))
    options = {**SMALL, "data_folder": spikes_folder, "nb_epochs": 2, "backend": "naive"}
    flags = arguments(**options, config=path, new_exp_folder=out, jobs=jobs)
    command = [sys.executable, str(files.Path(main.__file__)), *flags]
    killed(command, lambda: list(out.glob(f"trial_*/{checkpoint.LAST}")), tmp_path)
    wait_until(lambda: study.are_free(out))
    states = [record.state for record in trials_of(out)]
    assert "running" in states
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    records = trials_of(out)
    assert len(records) == TRIALS
    assert all(record.state in ("complete", "pruned") for record in records)
    assert len(list(out.glob("trial_*_seed13"))) == TRIALS
