# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""What --loss minimises, and the penalty on firing rates."""

import math
import re

import pytest
import torch
from own_neuron import PAGE, python_blocks, run_block
from torch.nn import functional

import main
from models.snns import SNN
from parsers.options import options_of
from parsers.training_config import TrainingConfig
from training.loss import LOSSES, needs_potentials, rate_penalty
from training.record import files
from training.steps import Steps

B, T, F, C = 6, 8, 12, 4
OF_POTENTIALS = [name for name in LOSSES if needs_potentials(name)]
OPTIONS = ["--config=demo.yaml", "--debug", "--nb_hiddens", "12", "--nb_steps", "10"]


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(2)
    x = torch.randint(0, 3, (B, T, F), generator=generator).float()
    return x, torch.arange(B) % C


def steps_of(**options) -> Steps:
    torch.manual_seed(1)
    model = SNN((None, None, F), [16, C], "LIF", threshold=0.3)
    return Steps(model, torch.optim.Adam(model.parameters()), TrainingConfig(**options), F)


def test_the_default_is_the_published_loss(batch):
    x, y = batch
    backward = steps_of().backward(x, y)
    assert torch.equal(backward.loss, functional.cross_entropy(backward.output, y))
    assert backward.activity.potentials is None


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_losses_of_potentials(batch, smoothing):
    y = batch[1]
    potentials = torch.randn(B, T, C, generator=torch.Generator().manual_seed(3))
    options = TrainingConfig(label_smoothing=smoothing)
    target = (1 - smoothing) * functional.one_hot(y, C) + smoothing / C

    def cross_entropy(scores):
        return -(target * scores.log_softmax(-1)).sum(-1).mean()

    expected = {
        "mean_potential": cross_entropy(potentials.mean(1)),
        "last_potential": cross_entropy(potentials[:, T - 1]),
        "max_potential": cross_entropy(potentials.max(1).values),
        "nll_steps": sum(cross_entropy(potentials[:, t]) for t in range(T)),
    }
    assert expected.keys() == set(OF_POTENTIALS)
    for name, value in expected.items():
        torch.testing.assert_close(LOSSES[name](None, potentials, y, options), value)
    scores = potentials[:, 0]
    torch.testing.assert_close(
        LOSSES["cross_entropy"](scores, None, y, options), cross_entropy(scores)
    )


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_trained_and_measured(batch, name):
    x, y = batch
    steps = steps_of(loss=name, label_smoothing=0.1)
    steps.model.eval()  # neither dropout nor statistics of the batch
    losses = []
    for _ in range(2):
        torch.manual_seed(5)
        meter = steps.new_meter()
        steps.evaluate(x, y, meter)
        losses.append(meter.result(1.0).loss)
        torch.manual_seed(5)
        trained = steps.new_meter()
        steps.train(x, y, trained)
        assert trained.result(1.0).loss == losses[-1]
    assert losses[1] < losses[0]
    assert all(p.grad.isfinite().all() for p in steps.model.parameters())


def test_the_names_are_those_of_the_command_line():
    assert options_of(TrainingConfig)["loss"].rules.choices == tuple(LOSSES)


@pytest.mark.parametrize("name", OF_POTENTIALS)
@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--model_type", "GRU"], "needs the potentials of a spiking network, and GRU has none"),
        (["--readout", "spike_count"], "needs output neurons that do not spike"),
        (["--readout", "spike_count", "--list_points"], "needs output neurons that do not spike"),
    ],
)
def test_a_network_without_potentials_is_refused(name, flags, why, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main([*OPTIONS, *flags, "--loss", name]) == 2
    line = capsys.readouterr().err
    assert f"--loss {name} {why}" in line
    assert line.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_is_trained_by_the_loss_it_names(tmp_path):
    flags = [*OPTIONS, "--nb_epochs", "1", "--new_exp_folder", str(tmp_path), "--loss", "nll_steps"]
    assert main.main(flags) == 0
    for record in files.read_lines(tmp_path / "metrics.jsonl"):
        assert record["loss"] > 5 * math.log(10)  # a sum over 10 steps, of about ln 10 each


def test_the_example_of_the_page_is_a_loss(batch, monkeypatch):
    (code,) = python_blocks("Add a loss")
    body = code.split("@", 1)[1]
    assert len([line for line in body.splitlines() if line.strip()]) <= 10
    page = PAGE.read_text(encoding="utf-8")
    (name, function), *_ = re.findall(r'`"(\w+)": (\w+_potential)`', page)
    monkeypatch.setitem(LOSSES, name, getattr(run_block(code), function))
    steps = steps_of(loss=name)
    before = [p.detach().clone() for p in steps.model.parameters()]
    steps.train(*batch, steps.new_meter())
    assert any(
        not torch.equal(p, old) for p, old in zip(steps.model.parameters(), before, strict=True)
    )


def test_the_penalty_has_a_gradient_on_both_sides():
    rates = torch.tensor([0.0, 0.2, 0.9], requires_grad=True)
    options = TrainingConfig(use_regularizers=True, reg_factor=2.0, reg_fmin=0.1, reg_fmax=0.5)
    penalty = rate_penalty(rates, options)
    penalty.backward()
    assert penalty.item() == pytest.approx(2 * (0.1 + 0.4))
    assert rates.grad.tolist() == [-2.0, 0.0, 2.0]
    assert rate_penalty(rates, TrainingConfig()) is None
