# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Parameters that a layer lets be trained in another way, through training and resumption."""

import pytest
import torch
from resumption import OPTIONS, same_results

from models.network import ParameterGroup
from models.snns import SNN, SiLIFLayer
from parsers.training_config import TrainingConfig
from training.build import MIN_LR, build_optimizer, build_scheduler
from training.experiment import Experiment
from training.record import checkpoint, files


@pytest.fixture(autouse=True)
def grouped(monkeypatch):
    groups = {
        "alpha": ParameterGroup(lr_factor=0.0),
        "b": ParameterGroup(lr_factor=0.1, weight_decay=0.01),
        "a": ParameterGroup(lr_factor=0.1, weight_decay=0.01, clamp=(0.3, 0.7)),
    }
    monkeypatch.setattr(SiLIFLayer, "groups", groups)


def test_a_resumed_run_keeps_its_groups(train, tmp_path, monkeypatch):
    options = OPTIONS | {"nb_epochs": 2, "lr": 0.02}
    assert train(new_exp_folder="whole", **options) == 0
    step, first = Experiment.train_step, []

    def stopped(self, *arguments):
        first.append(self.model.snn[0].alpha.clone())
        step(self, *arguments)
        if len(first) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Experiment, "train_step", stopped)
        train(new_exp_folder="stopped", **options)
    assert len(first) == 9
    assert train(new_exp_folder="stopped", resume="auto", **options) == 0
    whole = tmp_path / "whole"
    same_results(whole, tmp_path / "stopped")
    state = torch.load(whole / checkpoint.LAST, weights_only=True)
    layer = {name.removeprefix("snn.0."): value for name, value in state["model"].items()}
    assert torch.equal(layer["alpha"], first[0])
    assert 0.3 <= layer["a"].min() < layer["a"].max() <= 0.7
    assert [group["weight_decay"] for group in state["optimizer"]["param_groups"]] == [0, 0, 0.01]
    assert files.read_lines(whole / "metrics.jsonl")[0]["lr"] == 0.02


def test_every_group_is_scheduled_in_proportion():
    torch.manual_seed(0)
    net = SNN((None, None, 5), [4, 3], "SiLIF")
    before = net.snn[0].alpha.clone()
    options = TrainingConfig(lr=0.01, scheduler_factor=0.5, scheduler_patience=0)
    optimizer = build_optimizer(net, options)
    scheduler = build_scheduler(optimizer, options, net)
    for _ in range(3):
        net(torch.ones(2, 6, 5))[0].square().sum().backward()
        optimizer.step()
        scheduler.step(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.0025, 0.0, 0.00025]
    assert torch.equal(net.snn[0].alpha, before)
    assert net.snn[0].alpha.grad.any()
    for _ in range(20):
        scheduler.step(0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [MIN_LR, 0.0, MIN_LR * 0.1]
