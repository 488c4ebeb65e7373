# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Meters, checkpoints, files and statistics by themselves."""

import copy
import os
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from models.snns import SNN
from parsers.training_config import TrainingConfig
from training.build import build_optimizer
from training.errors import ExperimentError
from training.metrics import Meter, wilson
from training.record import checkpoint, files
from training.steps import Steps

REPO = Path(__file__).resolve().parents[2]


class Clips:
    """Random clips with the interface of a FrameSet."""

    def __init__(self, count):
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randint(0, 3, (count, 10, 6), generator=generator).float()
        self.y = torch.randint(0, 4, (count,), generator=generator)

    def __len__(self):
        return len(self.y)

    def batch(self, indices):
        return self.x[indices], self.y[indices]


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SNN((None, None, 6), [8, 8, 4], "SiLIF", dropout=0.3)


def steps_of(network, **options):
    optimizer = torch.optim.Adam(network.parameters())
    return Steps(network, optimizer, TrainingConfig(**options), nb_features=6)


def test_means_are_exact_over_uneven_batches(network):
    clips = Clips(37)
    network.eval()
    meter = Meter(torch.device("cpu"), [6, 8, 8])
    outputs, rates, sops = [], [], []
    for indices in torch.arange(37).split(8):
        x, y = clips.batch(indices)
        activity = network.activity(x)
        meter.add(activity.output, y, functional.cross_entropy(activity.output, y), activity)
        meter.samples += len(y)
        outputs.append(activity.output)
        for i, spikes in enumerate(activity.layers):
            rates.append((i, spikes.spikes.mean().item(), len(y)))
        sops.append((activity.sop.item(), len(y)))
    result = meter.result(1.0)
    output = torch.cat(outputs)
    assert result.samples == 37
    assert result.accuracy == (output.argmax(1) == clips.y).sum().item() / 37
    assert result.loss == pytest.approx(functional.cross_entropy(output, clips.y).item(), rel=1e-5)
    for layer in (0, 1):
        mean = sum(rate * n for i, rate, n in rates if i == layer) / 37
        assert result.firing_rates[layer] == pytest.approx(mean, rel=1e-5)
    assert result.sop == pytest.approx(sum(sop * n for sop, n in sops) / 37, rel=1e-6)


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),  # from Brown, Cai & DasGupta (2001)
    [(5, 10, 0.2366, 0.7634), (0, 12, 0.0, 0.2425), (12, 12, 0.7575, 1.0), (80, 100, 0.711, 0.867)],
)
def test_wilson_intervals(right, of, low, high):
    assert wilson(right / of, of) == pytest.approx((low, high), abs=1e-3)


def test_a_step_does_not_hold_on_to_spikes(network):
    """Spikes before dropout are gone when the gradients are computed."""
    steps = steps_of(network)
    clips, spikes, alive = Clips(5), [], []
    network.snn[0].folds = False
    network.snn[0].drop.register_forward_pre_hook(lambda _, x: spikes.append(weakref.ref(x[0])))
    network.snn[1].W.weight.register_hook(lambda _: alive.append(spikes[0]() is not None))
    steps.backward(clips.x, clips.y)
    assert alive == [False]


def test_recalibration_gives_the_statistics_of_the_present_weights(network):
    clips = Clips(64)
    network.train()
    for _ in range(3):
        network(clips.x)
    first = network.snn[0]
    count = first.norm.num_batches_tracked.item()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    steps_of(network, batch_size=64, seed=1).recalibrate(clips)
    assert torch.equal(before, torch.get_rng_state())
    current = first.W(clips.x).reshape(-1, 8)
    assert torch.allclose(first.norm.running_mean, current.mean(0), atol=1e-5)
    assert torch.allclose(first.norm.running_var, current.var(0), rtol=1e-4)
    assert (first.norm.momentum, first.norm.num_batches_tracked.item()) == (0.05, count)
    assert not network.training


@pytest.mark.parametrize("readout", ["softmax_sum", "spike_count"])
def test_recalibration_gives_the_bits_of_whole_passes(readout, monkeypatch):
    """Although scores are not computed, the states of later batches are drawn as behind them."""
    torch.manual_seed(2)
    network, found = SNN((None, None, 6), [8, 8, 4], "SiLIF", readout=readout), []
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    for whole in (False, True):
        network.load_state_dict(weights)
        if whole:
            monkeypatch.setattr(SNN, "take_statistics", lambda self, x: self(x))
        steps_of(network, batch_size=16, seed=1).recalibrate(Clips(64))
        found.append([v.clone() for v in network.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_recalibration_takes_the_pass_of_a_derived_network():
    class Own(SNN):
        def activity(self, x, state=None):
            return super().activity(x + 1, state)

    network = Own((None, None, 6), [8, 4], "LIF")
    clips = Clips(64)
    steps_of(network, batch_size=64, seed=1).recalibrate(clips)
    first = network.snn[0]
    current = first.W(clips.x + 1).reshape(-1, 8)
    assert torch.allclose(first.norm.running_mean, current.mean(0), atol=1e-5)


def test_recalibration_leaves_networks_without_batchnorm_alone():
    network = SNN((None, None, 6), [8, 4], "LIF", normalization="layernorm")
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    steps_of(network, batch_size=4, seed=1).recalibrate(Clips(8))
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.json"
    files.write_text(path, "old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError(28, os.strerror(28))

    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, fail)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_overwriting_spares_what_is_not_ours(tmp_path):
    folder = tmp_path / "exp"
    files.create(folder, {"seed": 1}, {})
    for name in ("notes.txt", "summary.json", "log/exp.log"):
        (folder / name).write_text("before")
    with pytest.raises(ExperimentError, match="already holds an experiment"):
        files.check_free([folder], overwrite=False)
    files.check_free([folder], overwrite=True)
    files.create(folder, {"seed": 2}, {})
    assert (folder / "notes.txt").exists()
    assert not (folder / "summary.json").exists()
    assert (folder / "log/exp.log").exists()  # of an attempt, which is told in the same file
    files.create(folder, {"overwrite": True}, {})
    assert not (folder / "log/exp.log").exists()


def trained_one_step(fused):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1, fused=fused)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    model(torch.ones(3)).backward()
    optimizer.step()
    return checkpoint.Trained(model, optimizer, scheduler)


def test_an_optimiser_from_another_kind_of_device_runs_as_this_one_does(tmp_path):
    there, here = trained_one_step(fused=False), trained_one_step(fused=True)
    path, moments = tmp_path / "last.pth", there.optimizer.state_dict()["state"][0]
    checkpoint.save_state(path, there, checkpoint.Progress(epoch=1), best=None)
    progress, best = checkpoint.restore_state(checkpoint.load_state(path), path, here)
    assert (progress.epoch, best) == (1, None)
    assert here.optimizer.param_groups[0]["fused"] is True
    assert here.optimizer.param_groups[0]["lr"] == 0.1
    assert here.optimizer.state_dict()["state"][0]["exp_avg"].equal(moments["exp_avg"])
    assert there.optimizer.param_groups[0]["fused"] is False
    here.optimizer.found_inf = torch.zeros(())  # which only fused ones look at
    here.optimizer.step()


@pytest.mark.parametrize(("backend", "fused"), [("naive", None), ("auto", True)])
def test_adam_takes_the_steps_of_pytorchs(network, backend, fused):
    twin = copy.deepcopy(network)
    options = TrainingConfig(lr=0.01, weight_decay=0.1, backend=backend)
    ours = build_optimizer(network, options)
    theirs = torch.optim.Adam(twin.parameter_groups(0.1), lr=0.01, fused=fused)
    for _ in range(5):
        for model, optimizer in ((network, ours), (twin, theirs)):
            torch.manual_seed(1)
            optimizer.zero_grad()
            model(torch.rand(3, 10, 6))[0].square().sum().backward()
            optimizer.step()
    pairs = zip(network.parameters(), twin.parameters(), strict=True)
    assert all(torch.equal(a, b) and a.requires_grad for a, b in pairs)
    assert isinstance(ours, torch.optim.Adam)
    assert type(ours).__name__ == "Adam"


FIRST_STEP = """
import sys
import torch
from torch import nn
from models.snns import SNN
from parsers.training_config import TrainingConfig
from training import sweep
from training.build import build_optimizer, build_scheduler

model = SNN((None, None, 6), [8, 4], "SiLIF")
optimizer = build_optimizer(model, TrainingConfig())
build_scheduler(optimizer, TrainingConfig(), model)
model(torch.rand(3, 10, 6))[0].sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print(*{"torch._dynamo", "wandb", "matplotlib", "scipy.fft"} & set(sys.modules))
"""


def test_what_takes_seconds_to_import_is_not_imported_before_it_is_needed():
    command = [sys.executable, "-c", FIRST_STEP]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPO)
    assert done.stdout == "\n"
