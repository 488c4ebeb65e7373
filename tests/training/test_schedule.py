# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Optimisers, and learning rates and widths that are planned over the epochs of a run."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from resumption import OPTIONS, PLANNED, same_results

import main
from models.snns import SNN
from models.ssms import SSM
from parsers.training_config import TrainingConfig
from training.build import build_optimizer, build_scheduler
from training.record import checkpoint, files
from training.record.curves import courses


def rates(options):
    """Learning rate and beta1 of weights and delays in every epoch, as training makes them."""
    net = SNN((None, None, 5), [4, 3], "SiLIF", delay="axonal", delay_taps=9)
    optimizer = build_optimizer(net, options)
    scheduler = build_scheduler(optimizer, options, net)
    found = []
    for _ in range(options.nb_epochs):
        found.append([(g["lr"], g["betas"][0]) for g in optimizer.param_groups])
        optimizer.step()
        scheduler.step(0.5)
    assert [group["kind"] for group in optimizer.param_groups] == ["", "delay"]
    return torch.tensor(found, dtype=torch.float64).unbind(1)


PUBLISHED = {  # as its authors train it
    "dcls shd_150": {"max_lr": 0.005},
    "dcls ssc_60": {"max_lr": 0.005},
    "dcls gsc_100": {"max_lr": 0.005},
    "delrec ssc_100": {"max_lr": 0.001, "delay_lr_factor": 50, "delay_scheduler": "onecycle"},
    "delrec shd_150": {"lr": 0.005, "max_lr": 0.005, "delay_lr_factor": 10},
}


@pytest.mark.parametrize("case", PUBLISHED)
def test_published_schedules(original_goldens, case):
    source, name = case.split()
    path = original_goldens / "beyond" / f"{source}_schedule.pt"
    golden = torch.load(path, weights_only=True)[name]
    options = {"lr": 0.001, "scheduler": "onecycle", **PUBLISHED[case]}
    weights, delays = rates(TrainingConfig(nb_epochs=int(name.split("_")[1]), **options))
    pairs = [(weights[:, 0], "lr_w"), (weights[:, 1], "beta1_w"), (delays[:, 0], "lr_pos")]
    pairs += [(delays[:, 1], "beta1_pos")] * ("beta1_pos" in golden)
    for found, key in pairs:
        torch.testing.assert_close(found, golden[key], rtol=1e-12, atol=0)


def test_what_the_schedules_are():
    options = TrainingConfig(lr=0.01, nb_epochs=10, scheduler="linear", delay_scheduler="cosine")
    weights, delays = rates(options)
    assert weights[:, 0].tolist() == pytest.approx([0.01 * (1 - e / 10) for e in range(10)])
    cosine = [0.5 * (1 + math.cos(math.pi * e / 10)) for e in range(10)]
    assert delays[:, 0].tolist() == pytest.approx(cosine)
    assert (weights[:, 1] == 0.9).all()
    options = dataclasses.replace(options, scheduler="onecycle", delay_scheduler="plateau")
    weights, delays = rates(options)
    assert weights[0, 0] == pytest.approx(0.05 / 25)
    assert (weights[2, 0], weights[2, 1]) == pytest.approx((0.05, 0.85))
    assert (delays[:, 0] == 1).all()
    constant = dataclasses.replace(options, cycle_beta1=False)
    assert (rates(constant)[0][:, 1] == 0.9).all()
    # The first epochs may have been trained elsewhere.
    later = dataclasses.replace(options, start_epoch=4, nb_epochs=6)
    torch.testing.assert_close(rates(later)[0], weights[4:])


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_weights_decay_and_nothing_else(optimizer):
    options = TrainingConfig(lr=0.1, optimizer=optimizer, weight_decay=0.5)
    net = SNN((None, None, 5), [4, 3], "RadLIF", use_bias=True)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    adam = build_optimizer(net, options)
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    adam.step()
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert changed == {f"snn.{i}.W.{kind}" for i in (0, 1) for kind in ("weight", "bias")} | {
        "snn.0.V.weight"
    }
    space = SSM((None, None, 5), [4, 3], "S4D")
    _, decayed, _ = space.parameter_groups(0.5)
    assert [p.shape[0] for p in decayed["params"]] == [4, 8, 8, 3, 3]  # encoder, 1x1 convolution
    weight, old = net.snn[0].W.weight, before["snn.0.W.weight"]
    # Adam scales an L2 penalty to a full step; AdamW shrinks by lr times decay.
    expected = old * 0.95 if optimizer == "adamw" else old - 0.1 * old.sign()
    torch.testing.assert_close(weight, expected, atol=1e-5, rtol=0)


def test_a_crash_within_a_schedule(train, interrupt, tmp_path, capsys):
    """Rates, beta1, decay and widths are as in a whole run; other numbers of epochs are refused."""
    options = {**OPTIONS, **PLANNED, "delay_scheduler": "linear"}
    assert train(new_exp_folder="whole", **options) == 0
    assert interrupt(9, new_exp_folder="crashed", **options) is None
    capsys.readouterr()
    for more in (2, 6):
        argv = {**options, "nb_epochs": more, "resume": "auto", "new_exp_folder": "crashed"}
        assert train(**argv) == 2
        assert "are planned over 3 epochs" in capsys.readouterr().err
    assert train(new_exp_folder="crashed", resume="auto", **options) == 0
    same_results(tmp_path / "whole", tmp_path / "crashed")
    records = files.read_lines(tmp_path / "crashed" / "metrics.jsonl")[:-1]
    assert [r["lr_groups"]["delay"] for r in records[::2]] == pytest.approx([1, 2 / 3, 1 / 3])
    assert [r["lr_groups"]["weights"] == r["lr"] for r in records] == [True] * 6
    assert [r["sigma"]["snn.0.delay"] for r in records[::2]] == pytest.approx([2, 0.23, 0.23])
    curves = courses(records)
    assert curves["learning rate"].keys() == {"weights", "delay"}
    widths = {"snn.0.delay", "snn.0.recurrent_delay"}  # those of other layers are the same
    assert curves["width of delays (steps)"].keys() == widths


def test_rates_that_stay_are_not_drawn():
    history = [{"split": "valid", "epoch": e, "lr": 0.1} for e in (1, 2)]
    assert courses(history) == {}
    assert courses([*history, {"split": "valid", "epoch": 3, "lr": 0.01}]) == {
        "learning rate": {"weights": ([1, 2, 3], [0.1, 0.1, 0.01])}
    }


def test_a_state_of_earlier_versions(train, whole, tmp_path):
    """Its groups name neither a factor nor a kind."""
    options = {**OPTIONS, "nb_epochs": 2}
    assert train(new_exp_folder="out", **options) == 0
    path = tmp_path / "out" / checkpoint.LAST
    state = torch.load(path, weights_only=True)
    for group in state["optimizer"]["param_groups"]:
        del group["lr_factor"], group["kind"]
    torch.save(state, path)
    assert train(new_exp_folder="out", resume="auto", **OPTIONS) == 0
    same_results(whole, tmp_path / "out")


def test_the_demo_recipe(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    argv = ["--config=demo_silif_axonal.yaml", "--debug", "--nb_epochs", "4", "--nb_hiddens", "16"]
    assert main.main([*argv, "--new_exp_folder", "out"]) == 0
    assert "clean: held-out speakers" in capsys.readouterr().out
    train = files.read_lines(Path("out") / "metrics.jsonl")[:-1:2]
    assert train[-1]["loss"] < train[0]["loss"]
    assert [r["sigma"]["snn.2.delay"] for r in train] == pytest.approx([6, 0.23, 0.23, 0.23])
    assert [r["lr_groups"]["delay"] for r in train][::2] == pytest.approx([0.1, 0.05])
