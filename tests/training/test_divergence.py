# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Numbers gone wrong: the step is found, named, kept, and repeated."""

import pytest
import torch

from models.snns import SNN
from parsers.training_config import TrainingConfig
from training import diverged
from training.diverged import KEPT, rate_option
from training.experiment import Experiment
from training.steps import BadStepError, Steps, Watch

BROKEN = "snn.1.norm.weight"  # of the second of two hidden layers


def break_at(monkeypatch, step, seed=13):
    """Put an infinite weight into the network before a step, which counts from 1."""
    train_step = Experiment.train_step

    def broken(self, x, y, meter):
        if self.progress.step + 1 == step and self.options.seed == seed:
            with torch.no_grad():
                dict(self.model.named_parameters())[BROKEN][0] = float("inf")
        train_step(self, x, y, meter)

    monkeypatch.setattr(Experiment, "train_step", broken)


def act_like_a_gpu(monkeypatch):
    """Let the device look at its gradients itself, on the CPU."""
    make = Watch.__init__

    def init(self, *arguments):
        make(self, *arguments)
        self.on_host = False

    class Fused(torch.optim.Adam):
        def __init__(self, groups, **options):
            super().__init__(groups, **options | {"fused": True, "foreach": False})

    monkeypatch.setattr(Watch, "__init__", init)
    monkeypatch.setattr(torch.optim, "Adam", Fused)


def test_advice_names_the_option_that_the_rate_follows_from():
    given = ({}, {"scheduler": "onecycle"}, {"max_lr": 1}, {"scheduler": "onecycle", "max_lr": 1})
    named = [rate_option(TrainingConfig(**options)) for options in given]
    assert named == ["--lr", "--lr", "--lr", "--max_lr"]


@pytest.mark.parametrize(("on_gpu", "minutes"), [(False, "60"), (True, "60"), (True, "1e-9")])
def test_the_step_is_named_and_can_be_repeated(
    train, tmp_path, monkeypatch, capsys, on_gpu, minutes
):
    if on_gpu:
        act_like_a_gpu(monkeypatch)
    break_at(monkeypatch, 3)
    options = {"pdrop": 0.3, "lr": 0.01, "checkpoint_minutes": minutes}
    assert train(new_exp_folder="out", **options) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    assert "diverged in epoch 1, step 3, at learning rate 0.01" in line
    assert f"the weight '{BROKEN}' is the first that is not finite" in line
    assert "Try a smaller --lr, or --max_grad_norm 1" in line
    assert line.endswith(f"python -m training.diverged {tmp_path / 'out'} repeats the step\n")

    step = torch.load(tmp_path / "out" / KEPT, weights_only=True)
    assert step["x"].shape == (32, 20, 35)
    assert (step["epoch"], step["number"], step["lr"]) == (1, 3, 0.01)
    assert diverged.main(["out"]) == 0
    assert f"First that is not finite: the weight '{BROKEN}'" in capsys.readouterr().out


def test_both_ways_keep_the_same_step(train, tmp_path, monkeypatch):
    for name, prepare in (("cpu", lambda _: None), ("gpu", act_like_a_gpu)):
        with monkeypatch.context() as patched:
            prepare(patched)
            break_at(patched, 2)
            assert train(new_exp_folder=name, pdrop=0.3) == 1
    cpu, gpu = (torch.load(tmp_path / n / KEPT, weights_only=True) for n in ("cpu", "gpu"))
    for name in ("x", "y", "random"):
        assert torch.equal(cpu[name], gpu[name]), name
    for name, value in cpu["weights"].items():
        if "running" not in name and "num_batches" not in name:  # of later batches too
            torch.testing.assert_close(gpu["weights"][name], value, rtol=1e-5, atol=1e-7)


def test_a_penalty_that_is_too_large_at_the_first_step(train, tmp_path, capsys):
    options = {"use_regularizers": True, "reg_fmin": 0.5, "reg_factor": 1e300}
    assert train(new_exp_folder="out", **options) == 1
    line = capsys.readouterr().err
    assert "epoch 1, step 1" in line
    assert "the gradient of 'snn.1." in line
    assert "No smaller --lr helps at the first step, before any update: look at " in line
    assert "the input, or at --reg_factor; python -m training.diverged" in line
    assert diverged.main([str(tmp_path / "out")]) == 0
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_what_was_best_is_kept_from_the_first_epoch_on(train, tmp_path, monkeypatch, capsys):
    train_step = Experiment.train_step

    def broken(self, x, y, meter):
        train_step(self, x * (float("nan") if self.progress.epoch == 1 else 1), y, meter)

    monkeypatch.setattr(Experiment, "train_step", broken)
    assert train(new_exp_folder="out") == 1
    line = capsys.readouterr().err.strip()
    assert "epoch 2, step 1" in line
    assert "Try a smaller --lr" in line
    assert line.endswith(f". What was best before is kept in {tmp_path / 'out'}")


def test_a_validation_loss_that_is_not_finite(train, monkeypatch, capsys):
    validate = Experiment.validate

    def broken(self, label):
        metrics = validate(self, label)
        metrics.loss = float("nan")
        return metrics

    monkeypatch.setattr(Experiment, "validate", broken)
    assert train(new_exp_folder="out") == 1
    line = capsys.readouterr().err
    assert "in epoch 1, the loss (nan) is not finite: try a smaller --lr (now 0.01)\n" in line


def test_nothing_to_repeat(train, tmp_path, capsys):
    assert diverged.main([str(tmp_path)]) == 2
    assert "no config.yaml" in capsys.readouterr().err
    assert train(new_exp_folder="out", nb_epochs=1) == 0
    assert diverged.main(["out"]) == 2
    assert "this run did not diverge" in capsys.readouterr().err


def steps_of(max_grad_norm, on_host=True):
    torch.manual_seed(0)
    model = SNN((None, None, 4), [8, 3], "LIF")
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    options = TrainingConfig(max_grad_norm=max_grad_norm)
    steps = Steps(model, optimizer, options, 4)
    steps.watch.on_host = on_host
    return steps


BATCH = torch.rand(5, 7, 4).round(), torch.arange(5) % 3


def gradient_norm(steps):
    return torch.cat([p.grad.flatten() for p in steps.model.parameters()]).norm().item()


def test_gradients_are_clipped():
    steps = steps_of(None)
    steps.train(*BATCH, steps.new_meter())
    free = gradient_norm(steps)
    for factor, expected in ((0.5, 0.5 * free), (2.0, free)):
        steps = steps_of(factor * free)
        steps.train(*BATCH, steps.new_meter())
        assert gradient_norm(steps) == pytest.approx(expected, rel=1e-4)


def test_a_device_leaves_out_every_update_from_the_first_bad_step_on():
    steps = steps_of(None, on_host=False)
    bad = BATCH[0] * float("nan"), BATCH[1]
    for batch in (BATCH, BATCH):
        steps.train(*batch, steps.new_meter())
    assert steps.watch.first_bad_step() is None
    steps.train(*BATCH, steps.new_meter())
    weights = {name: p.detach().clone() for name, p in steps.model.named_parameters()}
    for batch in (bad, BATCH):
        steps.train(*batch, steps.new_meter())
    for name, parameter in steps.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name
    assert steps.watch.first_bad_step() == 1


def test_the_host_stops_before_the_update():
    steps = steps_of(None)
    weights = {name: p.detach().clone() for name, p in steps.model.named_parameters()}
    with pytest.raises(BadStepError):
        steps.train(BATCH[0] * float("nan"), BATCH[1], steps.new_meter())
    for name, parameter in steps.model.named_parameters():
        assert torch.equal(parameter, weights[name]), name


@pytest.mark.gpu
def test_a_gpu_finds_the_step(train, tmp_path, monkeypatch, capsys):
    break_at(monkeypatch, 3)
    assert train(new_exp_folder="out", pdrop=0.3) == 1
    assert "diverged in epoch 1, step 3" in capsys.readouterr().err
    assert diverged.main(["out"]) == 0
