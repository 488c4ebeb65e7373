# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Whole runs through main.py on small data sets."""

import json
import re
import shutil
import statistics
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import main
from datasets import recordings
from models.anns import LAYERS as ANN_LAYERS
from models.snns import LAYERS as SNN_LAYERS
from models.ssms import BLOCKS
from parsers.load import Config
from training.experiment import Experiment
from training.record import files

MODELS = [*SNN_LAYERS, *ANN_LAYERS, *BLOCKS]


def summary_of(folder):
    return json.loads((folder / "summary.json").read_text())


def records_of(folder):
    return files.read_lines(folder / "metrics.jsonl")


def test_a_run_writes_down_everything(train, curves, tmp_path, capsys):
    assert train(new_exp_folder="out", model_type="SiLIF", nb_epochs=3, max_time=0.8) == 0
    out = tmp_path / "out"
    config = Config.from_dict(yaml.safe_load((out / "config.yaml").read_text()))
    assert (config.model.nb_hiddens, config.training.nb_epochs) == (16, 3)

    records = records_of(out)
    assert [(r["epoch"], r["split"]) for r in records[:-1]] == [
        (epoch, split) for epoch in (1, 2, 3) for split in ("train", "valid")
    ]
    summary = summary_of(out)
    valid = [r["accuracy"] for r in records if r["split"] == "valid"]
    assert summary["best_epoch"] == 1 + int(np.argmax(valid))
    assert summary["valid"]["accuracy"] == max(valid)
    assert records[-1]["split"] == "test"
    assert records[-1]["accuracy"] == summary["test"]["accuracy"]
    assert summary["clips"] == {"train": 160, "valid": 60, "test": 60}
    assert summary["state_variables"] == 2 * 2 * 16
    assert len(summary["test"]["firing_rates"]) == 2
    assert summary["test"]["sop"] > 0

    best = torch.load(out / "checkpoints" / "best_model.pth", weights_only=True)
    assert (
        sum(v.numel() for k, v in best.items() if "running" not in k and "num" not in k)
        == (summary["parameters"])
    )
    last = torch.load(out / "checkpoints" / "last.pth", weights_only=True)
    assert (last["progress"]["epoch"], last["progress"]["step"]) == (3, 0)
    assert last["best"]["epoch"] == summary["best_epoch"]
    assert set(last["rng"]) >= {"torch", "python", "numpy"}
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")

    said = capsys.readouterr().out
    for text in ("running on the CPU", "test split (as published)", "test accuracy", "epoch 3/3"):
        assert text in said
    log = (out / "log" / "exp.log").read_text()
    assert "epoch 3/3" in log
    assert "test accuracy" in log
    assert "are dropped" in log, "what is said before the run has a folder"
    assert not list(out.rglob("*.tmp"))


@pytest.mark.parametrize("model", MODELS)
def test_every_model_trains_and_is_tested(train, tmp_path, model, capsys):
    assert train(model_type=model, new_exp_folder="out", nb_epochs=1) == 0
    summary = summary_of(tmp_path / "out")
    assert summary["model_type"] == model
    is_snn = model in SNN_LAYERS or model == "SpikingS4D"
    assert ("sop" in summary["test"]) == is_snn
    assert (summary["state_variables"] is not None) == (is_snn or model in BLOCKS)
    assert ("mac" in summary["test"]) == (model not in SNN_LAYERS)
    recurrent = summary["test"].get("recurrent_sop", 0.0)
    assert (recurrent > 0) == (model in ("RLIF", "RadLIF", "SEadLIF", "EFadLIF"))


def test_it_learns(train, tmp_path):
    assert train(new_exp_folder="out", nb_epochs=12, lr=0.02, pdrop=0.0, nb_hiddens=64) == 0
    assert summary_of(tmp_path / "out")["test"]["accuracy"] > 0.5


def test_recalibrated_statistics_leave_training_as_it_is(train, tmp_path):
    for name in ("recalibrated", "running"):
        assert train(new_exp_folder=name, bn_statistics=name) == 0
    losses = [
        [r["loss"] for r in records_of(tmp_path / name) if r["split"] == "train"]
        for name in ("recalibrated", "running")
    ]
    assert losses[0] == losses[1]
    tests = [summary_of(tmp_path / name)["test"]["loss"] for name in ("recalibrated", "running")]
    assert tests[0] != tests[1]


def test_own_words_take_other_statistics_than_published_ones(train_words, tmp_path, capsys):
    auto = {"bn_statistics": "auto", "feature_backend": "auto"}
    summary = train_words(config="sc_silif.yaml", **auto, batch_size=4, nb_epochs=1)
    said = capsys.readouterr().out
    found = "Not the published data (48 clips, where GSC has 105,829)"
    assert f"{found}: --bn_statistics recalibrated\n" in said
    assert "Only 9 validation and 9 test clips: one of them is 11.1 points of accuracy" in said
    assert f"{100 * summary['test']['accuracy']:.2f}% (95%: " in said
    low, high = summary["test_accuracy_interval"]
    assert low < summary["test"]["accuracy"] < high
    (path,) = tmp_path.rglob("config.yaml")
    assert yaml.safe_load(path.read_text())["bn_statistics"] == "recalibrated"


@pytest.mark.parametrize("recorded", ["running", "recalibrated"])
def test_what_the_data_decided_is_kept_by_a_resumed_run(train, tmp_path, recorded):
    """Also by one of an earlier version, which validated on the test split unasked."""
    before = {"bn_statistics": recorded, "shd_validation": "test", "nb_epochs": 1}
    assert train(new_exp_folder="out", **before) == 0
    now = {"bn_statistics": "auto", "shd_validation": "auto", "nb_epochs": 2, "resume": "auto"}
    for _ in range(2):
        assert train(new_exp_folder="out", **now) == 0
    config = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert {name: config[name] for name in before} == {**before, "nb_epochs": 2}
    assert len(records_of(tmp_path / "out")) == 5


def test_a_run_whose_data_decided_is_found_again(train, tmp_path):
    auto = {"bn_statistics": "auto", "shd_validation": "auto"}
    assert train(**auto, nb_epochs=1) == 0
    assert train(**auto, nb_epochs=1) == 2
    assert train(**auto, nb_epochs=2, resume="auto") == 0
    (config,) = tmp_path.rglob("config.yaml")
    assert yaml.safe_load(config.read_text())["shd_validation"] == "speakers"


def test_a_grid_ends_in_one_table(train, tmp_path, capsys):
    grid = {"seed": [1, 2, 3], "dt_max": [0.3, 0.5], "nb_epochs": 1}
    assert train(new_exp_folder="out", model_type="CSiLIF", **grid) == 0
    out = tmp_path / "out"
    folders = sorted(path.name for path in out.iterdir() if path.is_dir())
    assert len(folders) == 6
    assert "shd_20steps_CSiLIF_3lay16_lr0_01_drop0_1_dt_max0_3_seed1" in folders
    sweep = json.loads((out / "sweep_summary.json").read_text())
    assert [group["values"] for group in sweep["groups"]] == [{"dt_max": 0.3}, {"dt_max": 0.5}]
    for group in sweep["groups"]:
        dt_max = str(group["values"]["dt_max"]).replace(".", "_")
        runs = sorted(out.glob(f"*_dt_max{dt_max}_seed?"))
        accuracies = [summary_of(run)["test"]["accuracy"] for run in runs]
        assert group["seeds"] == [1, 2, 3]
        assert group["test_accuracy"]["mean"] == pytest.approx(statistics.fmean(accuracies))
        assert group["test_accuracy"]["std"] == pytest.approx(statistics.stdev(accuracies))
    said = capsys.readouterr().out
    for group in sweep["groups"]:
        figures = group["test_accuracy"]
        shown = f"{100 * figures['mean']:.2f} ± {100 * figures['std']:.2f}* 3 "
        assert shown in re.sub(" +", " ", said)


def test_every_run_of_a_grid_has_its_data_in_its_log(train, tmp_path, capsys):
    assert train(seed=[1, 2], nb_epochs=1, max_time=0.8, new_exp_folder="out") == 0
    assert capsys.readouterr().out.count("are dropped") == 2  # a line for each file, said once
    logs = [path.read_text() for path in sorted(tmp_path.glob("out/*/log/exp.log"))]
    assert len(logs) == 2
    assert all(log.count("are dropped") == 2 for log in logs)
    assert all(log.count("Dynamics: ") == 1 for log in logs)


def test_one_point_of_a_grid(train, tmp_path, capsys):
    grid = {"seed": [1, 2, 3], "new_exp_folder": "out", "nb_epochs": 1}
    assert train("--list_points", **grid) == 0
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [number for number, _ in lines] == ["1", "2", "3"]
    assert not (tmp_path / "out").exists()
    assert train(only_point=2, **grid) == 0
    assert summary_of(tmp_path / lines[1][1])["seed"] == 2
    assert [path.name for path in (tmp_path / "out").iterdir()] == [Path(lines[1][1]).name]
    assert train(resume="auto", **grid) == 0
    assert "Already finished" in capsys.readouterr().out


def test_the_folder_is_noted_for_a_script(train, tmp_path, monkeypatch):
    monkeypatch.setenv("SPRACHE_FOLDER_NOTE", str(tmp_path / "note"))
    assert train(new_exp_folder="out", nb_epochs=1) == 0
    assert (tmp_path / "note").read_text() == f"{tmp_path / 'out'}\n"


def test_default_folders_have_the_published_names(train, tmp_path):
    assert train("--debug", new_exp_folder="out", seed=[7, 8], nb_epochs=1) == 0
    assert summary_of(tmp_path / "out")["seed"] == 7  # a quick try is of one seed
    auto = {"bn_statistics": "auto", "shd_validation": "auto"}
    assert train(seed=[1, 2], nb_epochs=1, **auto) == 0
    root = tmp_path / "exp" / "test_exps"
    names = {path.name for path in root.iterdir()}
    base = "shd_20steps_SiLIF_3lay16_lr0_01_drop0_1_spikes0_spatial_bin20_batch32_epochs1"
    assert names == {f"{base}_seed1", f"{base}_seed2", f"{base}_sweep"}
    assert (root / f"{base}_sweep" / "sweep_summary.json").is_file()


def test_what_replaced_one_experiment_is_not_recorded(train, tmp_path, capsys):
    def repeat(run: str, target: str) -> int:
        return main.main(["--config", f"{run}/config.yaml", "--new_exp_folder", target])

    assert train(new_exp_folder="kept", nb_epochs=1) == 0
    assert train("--overwrite", new_exp_folder="replaced", nb_epochs=1) == 0
    assert train(new_exp_folder="begun", nb_epochs=1, resume="auto") == 0
    for run in ("replaced", "begun"):
        recorded = yaml.safe_load((tmp_path / run / "config.yaml").read_text())
        assert (recorded["overwrite"], recorded["resume"]) == (False, None)
        assert repeat(run, "kept") == 2
        assert "kept already holds an experiment" in capsys.readouterr().err
    assert main.main(["--resume", "replaced", "--nb_epochs", "2"]) == 0


def test_an_evaluation_repeats_the_test_of_the_run(whole, train, tmp_path):
    options = {"load_exp_folder": whole, "new_exp_folder": "eval", "seed": [13, 42]}
    options |= {"shd_validation": "speakers"}  # the run was validated on the test split
    assert train(evaluate_pretrained=True, batch_size=24, **options) == 0
    evaluation = json.loads((tmp_path / "eval" / "evaluation_summary.json").read_text())
    first, expected = evaluation["runs"][0]["test"], summary_of(whole)["test"]
    assert (first["accuracy"], first["loss"]) == (expected["accuracy"], expected["loss"])
    assert evaluation["groups"][0]["test_accuracy"]["std"] is not None
    assert evaluation["groups"][0]["protocol"].startswith("published")
    assert not (tmp_path / "eval" / "checkpoints").exists()


def test_a_network_without_random_states_is_evaluated_once(train, tmp_path, capsys):
    assert train(model_type="S4D", state_size=4, nb_epochs=1, new_exp_folder="run") == 0
    assert train(evaluate_pretrained=True, load_exp_folder="run", seed=[13, 42]) == 0
    assert "one seed stands for all" in capsys.readouterr().out
    (written,) = tmp_path.rglob("evaluation_summary.json")
    assert len(json.loads(written.read_text())["runs"]) == 1


def test_evaluations_never_replace_one_another(whole, train, tmp_path):
    for _ in range(2):
        assert train(evaluate_pretrained=True, load_exp_folder=whole) == 0
    written = sorted(path.parent.name for path in tmp_path.rglob("evaluation_summary.json"))
    assert written == ["run_evaluation", "run_evaluation_2"]


def test_held_out_speakers_leave_the_test_split_for_the_end(train, tmp_path, monkeypatch, capsys):
    seen, evaluate = [], Experiment.evaluate

    def noted(self, split, label):
        seen.append("test" if split is self.data.test else label)
        return evaluate(self, split, label)

    monkeypatch.setattr(Experiment, "evaluate", noted)
    assert train(new_exp_folder="out", shd_validation="speakers", nb_epochs=2) == 0
    assert seen == ["epoch 1/2 valid", "epoch 2/2 valid", "test"]
    assert "clean: held-out speakers" in capsys.readouterr().out
    summary = summary_of(tmp_path / "out")
    assert "held-out speaker" in summary["validated_on"]
    assert summary["protocol"] == "clean: held-out speakers"
    assert summary["clips"] == {"train": 120, "valid": 40, "test": 60}


def test_regularizer_changes_what_is_learnt(train, tmp_path):
    for name, flag in (("without", False), ("with", True)):
        options = {"reg_fmin": 0.2, "reg_factor": 5, "bn_statistics": "recalibrated"}
        assert train(new_exp_folder=name, use_regularizers=flag, **options) == 0
    rates = [summary_of(tmp_path / n)["test"]["firing_rates"][1] for n in ("without", "with")]
    assert rates[1] > 1.2 * rates[0]
    penalties = [r.get("regularization") for r in records_of(tmp_path / "with")]
    assert penalties[0] > 0


def test_the_plateau_lowers_the_learning_rate(train, tmp_path):
    options = {"lr": 1e-7, "scheduler_patience": 0, "scheduler_factor": 0.5}
    assert train(new_exp_folder="low", nb_epochs=4, **options) == 0
    assert {r["lr"] for r in records_of(tmp_path / "low") if "lr" in r} == {1e-7}
    options["lr"] = 1e-5
    assert train(new_exp_folder="out", nb_epochs=6, **options) == 0
    rates = [r["lr"] for r in records_of(tmp_path / "out") if r["split"] == "train"]
    assert rates[0] == 1e-5
    assert min(rates) < 1e-5
    assert min(rates) >= 1e-6


def test_training_can_start_from_loaded_weights(train, whole, tmp_path, capsys):
    assert train(new_exp_folder="scratch", load_exp_folder=whole, nb_epochs=1) == 0
    assert "Training from scratch" in capsys.readouterr().out
    assert train(new_exp_folder="on", load_exp_folder=whole, start_epoch=2, nb_epochs=1) == 0
    scratch, on = (records_of(tmp_path / name) for name in ("scratch", "on"))
    assert on[0]["epoch"] == 3
    assert on[0]["loss"] < scratch[0]["loss"]


def test_a_silent_layer_is_warned_of(train, capsys):
    assert train(new_exp_folder="out", model_type="RF", nb_epochs=1) == 0
    assert "Layer 1 hardly fires" in capsys.readouterr().out


def diverge_at_seed(monkeypatch, seed):
    step = Experiment.train_step

    def train_step(self, x, y, meter):
        if self.options.seed == seed:
            x = x * float("nan")
        step(self, x, y, meter)

    monkeypatch.setattr(Experiment, "train_step", train_step)


def test_a_diverged_run_says_so_and_the_others_continue(train, tmp_path, monkeypatch, capsys):
    diverge_at_seed(monkeypatch, 2)
    assert train(new_exp_folder="one", seed=2) == 1
    assert "smaller --lr" in capsys.readouterr().err
    assert "smaller --lr" in (tmp_path / "one" / "failure.json").read_text()
    assert train(new_exp_folder="out", seed=[1, 2, 3], nb_epochs=1) == 1
    sweep = json.loads((tmp_path / "out" / "sweep_summary.json").read_text())
    assert sweep["groups"][0]["runs"] == "2 of 3"
    assert len(sweep["groups"][0]["test_accuracy"]["values"]) == 2
    said = capsys.readouterr().out
    assert "2 of 3" in said
    assert "not counted: shd_20steps_SiLIF_3lay16_lr0_01_drop0_1_seed2: training diverged" in said


def test_nothing_is_saved_that_was_not_asked_for(train, tmp_path, capsys):
    assert train(new_exp_folder="out", save_best=False, log_tofile=False, nb_epochs=1) == 0
    out = tmp_path / "out"
    assert not (out / "checkpoints" / "best_model.pth").exists()
    assert not (out / "log" / "exp.log").exists()
    assert (out / "summary.json").exists()
    assert train(load_exp_folder="out", evaluate_pretrained=True, new_exp_folder="test") == 0
    assert "out/checkpoints/last.pth on 60 test clips" in capsys.readouterr().out


def test_a_clip_by_itself_is_refused_where_it_cannot_be_normalised(train, tmp_path, capsys):
    for size in (53, 1):  # of 160 clips
        assert train(new_exp_folder="out", model_type="GRU", batch_size=size) == 2
        line = capsys.readouterr().err
        assert f"--batch_size {size} leaves one of the 160 training clips in a batch" in line
        assert not (tmp_path / "out").exists()
    assert train(new_exp_folder="out", model_type="SiLIF", batch_size=53) == 0
    options = {"model_type": "GRU", "normalization": "layernorm"}
    assert train(new_exp_folder="gru", batch_size=53, **options) == 0


@pytest.fixture
def train_words(train, words_folder, tmp_path):
    """Call main.py on the words; the summary of the run."""

    def call(**options):
        values = {"dataset_name": "sc", "data_folder": words_folder, "new_exp_folder": "out"}
        status = train(**{**values, "batch_size": 8, **options})
        assert status == 0
        return summary_of(tmp_path / "out")

    return call


@pytest.mark.parametrize("model", ["RadLIF", "GRU"])
def test_a_model_trains_on_words(train_words, model):
    summary = train_words(model_type=model, nb_epochs=1)
    assert summary["dataset_name"] == "sc"
    assert summary["clips"] == {"train": 30, "valid": 9, "test": 9}
    assert summary["validated_on"] == "the dataset's own validation split"
    assert ("sop" in summary["test"]) == (model == "RadLIF")


def test_it_learns_and_starts_again_without_the_recordings(train_words, monkeypatch, capsys):
    options = {"nb_hiddens": 64, "pdrop": 0.0, "lr": 0.02, "nb_epochs": 15}
    options["bn_statistics"] = "recalibrated"  # running ones lag behind so few steps
    first = train_words(**options)
    assert first["test"]["accuracy"] > 0.75
    assert first["split_by"] == "validation_list.txt and testing_list.txt"
    assert first["files_left_out"] == 0
    monkeypatch.setattr(recordings, "read_recording", None)
    again = train_words(**options, new_exp_folder="again")
    assert again["test"]["accuracy"] == first["test"]["accuracy"]
    assert capsys.readouterr().out.count("split by validation_list.txt and testing_list.txt") == 2


def test_bad_files_are_refused_or_skipped(train, words_folder, tmp_path, capsys):
    data = shutil.copytree(words_folder, tmp_path / "data", ignore=lambda *_: [".frames"])
    bad = data / "rise" / "07.wav"
    bad.write_text("no sound")
    options = {"dataset_name": "sc", "data_folder": data, "nb_epochs": 1}
    assert train(**options) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(f"main.py: error: {bad} is not a WAV, FLAC, MP3 or Ogg file")
    assert "--skip_bad_files True" in line
    assert not (tmp_path / "exp").exists()
    assert train(**options, skip_bad_files=True) == 0
    assert "1 bad file is skipped" in capsys.readouterr().out


def test_a_missing_data_folder_says_where_to_get_the_data(train, tmp_path, capsys):
    assert train(dataset_name="sc", data_folder=tmp_path / "GSC") == 2
    line = capsys.readouterr().err
    for part in (str(tmp_path / "GSC"), "speech_commands_v0.02.tar.gz", "--data_folder"):
        assert part in line
    assert train(skip_bad_files=True) == 2
    assert "--skip_bad_files" in capsys.readouterr().err
