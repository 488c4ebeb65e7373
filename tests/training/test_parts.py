# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Meters, checkpoints, files and statistics by themselves."""

import os
import pickle
import weakref

import pytest
import torch
from torch.nn import functional

from models.snns import SNN
from parsers.load import load_plan
from training.batchnorm import recalibrate
from training.device.choice import choose_device
from training.errors import CheckpointError, ExperimentError
from training.metrics import Meter
from training.record import checkpoint, files
from training.results.groups import mean_and_deviation
from training.steps import Steps


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


def test_a_step_does_not_hold_on_to_spikes(network):
    """Spikes before dropout are gone when the gradients are computed."""
    options = load_plan(["--config", "demo"]).points[0].training
    steps = Steps(network, torch.optim.Adam(network.parameters()), options, nb_features=6)
    clips, spikes, alive = Clips(5), [], []
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
    recalibrate(network, clips, batch_size=64, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    current = first.W(clips.x).reshape(-1, 8)
    assert torch.allclose(first.norm.running_mean, current.mean(0), atol=1e-5)
    assert torch.allclose(first.norm.running_var, current.var(0), rtol=1e-4)
    assert (first.norm.momentum, first.norm.num_batches_tracked.item()) == (0.05, count)
    assert not network.training


def test_recalibration_leaves_networks_without_batchnorm_alone():
    network = SNN((None, None, 6), [8, 4], "LIF", normalization="layernorm")
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    recalibrate(network, Clips(8), batch_size=4, seed=1)
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


def test_weights_survive_a_checkpoint(network, tmp_path):
    path = tmp_path / "best.pth"
    files.write_torch(path, network.state_dict())
    torch.manual_seed(1)
    other = SNN((None, None, 6), [8, 8, 4], "SiLIF")
    checkpoint.load_weights(other, path)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())


class Bomb:
    """Runs a command when it is unpickled carelessly."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def network_of(sizes, neuron):
    return SNN((None, None, 6), sizes, neuron).state_dict()


BAD = {  # what is written, bytes as they are
    "bomb": lambda net, folder: {"snn.0.W.weight": Bomb(folder / "exploded")},
    "raw bomb": lambda net, folder: pickle.dumps(Bomb(folder / "exploded")),
    "truncated": lambda net, folder: whole_file(net, folder)[:-400],
    "empty": lambda net, folder: b"",
    "text": lambda net, folder: b"not a checkpoint",
    "a list": lambda net, folder: [1, 2],
    "another size": lambda net, folder: network_of([9, 8, 4], "SiLIF"),
    "another neuron": lambda net, folder: network_of([8, 8, 4], "LIF"),
    "an extra key": lambda net, folder: {**net.state_dict(), "more": torch.zeros(1)},
    "no tensor": lambda net, folder: {**net.state_dict(), "snn.0.a": 3},
}


def whole_file(net, folder) -> bytes:
    files.write_torch(folder / "whole.pth", net.state_dict())
    return (folder / "whole.pth").read_bytes()


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_checkpoint_gives_one_line(network, tmp_path, bad):
    path, content = tmp_path / "best.pth", BAD[bad](network, tmp_path)
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        files.write_torch(path, content)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoint.load_weights(network, path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "exploded").exists()
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_an_absent_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device(1) == torch.device("cuda", 1)
    with pytest.raises(ExperimentError, match="numbered from 0 to 1"):
        choose_device(2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device(0) == torch.device("cpu")
    with pytest.raises(ExperimentError, match="0 CUDA devices"):
        choose_device(3)


def test_statistics_over_seeds():
    runs = [{"test": {"accuracy": a}} for a in (0.5, 0.7)] + [{"error": "diverged"}]
    statistic = mean_and_deviation(runs, "test", "accuracy")
    assert statistic["mean"] == pytest.approx(0.6)
    assert statistic["std"] == pytest.approx(0.1414213562)
    assert mean_and_deviation(runs[:1], "test", "accuracy")["std"] is None
    assert mean_and_deviation(runs[2:], "test", "accuracy") is None


def test_overwriting_spares_what_is_not_ours(tmp_path):
    folder = tmp_path / "exp"
    files.create(folder, {"seed": 1}, {})
    (folder / "notes.txt").write_text("mine")
    (folder / "summary.json").write_text("{}")
    with pytest.raises(ExperimentError, match="already holds an experiment"):
        files.check_free([folder], overwrite=False)
    files.check_free([folder], overwrite=True)
    files.create(folder, {"seed": 2}, {})
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "summary.json").exists()


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
