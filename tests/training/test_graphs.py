# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Training steps as CUDA graphs: when, and with the same numbers.

Tests for GPUs also run on emulated ones, see `tests.emulated_cuda`.
"""

import copy
import weakref

import pytest
import torch

import main
from models.anns import ANN
from models.snns import SNN
from parsers.training_config import TrainingConfig
from training.device import graphs
from training.errors import ExperimentError
from training.steps import Steps

GPU = torch.device("cuda", 0)
FEATURES, CLASSES = 12, 4
MODELS = ["RadLIF", "SiLIF", "CSiLIF", "GRU"]


def launcher_of(name, mode):
    torch.manual_seed(3)
    layers, options = [10, 8, CLASSES], {"dropout": 0.3, "backend": "naive"}
    network = ANN if name == "GRU" else SNN
    model = network((None, None, FEATURES), layers, name, **options).to(GPU).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    return graphs.Launcher(Steps(model, optimizer, TrainingConfig(), FEATURES), mode)


def epoch(count=7, batch=6, last=2, steps=9):
    """Batches of an epoch, the last one smaller."""
    generator = torch.Generator().manual_seed(count)
    sizes = [batch] * (count - 1) + [last]
    return [
        (
            torch.randint(0, 3, (size, steps, FEATURES), generator=generator).float().to(GPU),
            torch.randint(0, CLASSES, (size,), generator=generator).to(GPU),
        )
        for size in sizes
    ]


def trained(launcher, epochs=3):
    """Everything that epochs leave behind; after the first, learning rate and beta1 are lowered."""
    steps = launcher.steps
    torch.manual_seed(7)
    left = []
    for number in range(epochs):
        meter = steps.empty_training_meter()
        for x, y in epoch():
            steps.train(x, y, meter, launcher)
        left += [meter.state()["sums"], meter.state()["rates"], torch.tensor(meter.samples)]
        if number == 0:
            steps.optimizer.param_groups[0] |= {"lr": 0.003, "betas": (0.7, 0.999)}
    state = copy.deepcopy(steps.optimizer.state_dict())
    left += [value.cpu() for entry in state["state"].values() for value in entry.values()]
    left += [value.cpu().clone() for value in steps.model.state_dict().values()]
    left.append(torch.rand(3, device=GPU).cpu())
    assert state["param_groups"][0]["lr"] == 0.003
    return left


def same(some, others):
    return len(some) == len(others) and all(map(torch.equal, some, others))


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["naive", "cuda"])
@pytest.mark.parametrize("model", MODELS)
def test_a_graph_gives_the_numbers_of_launched_steps(model, backend):
    """Weights, optimiser, sums and random numbers; changed rate, small last batches."""

    def run(mode):
        launcher = launcher_of(model, mode)
        for layer in getattr(launcher.steps.model, "snn", []):
            layer.backend = backend
        return launcher, trained(launcher)

    _, expected = run("off")
    launcher, found = run("on")
    assert launcher.captured.key[0] == (6, 9, FEATURES)  # the smaller last batches are launched
    assert same(found, expected)


@pytest.mark.gpu
@pytest.mark.parametrize(("host", "is_captured"), [(0.8, True), (0.2, False)])
def test_auto_captures_what_the_host_holds_up(monkeypatch, host, is_captured):
    def durations(run, device):
        run()
        return host, 1.0

    monkeypatch.setattr(graphs, "durations", durations)
    launcher = launcher_of("SiLIF", "auto")
    assert same(trained(launcher), trained(launcher_of("SiLIF", "off")))
    assert (launcher.captured is not None) == is_captured
    assert launcher.mode == ("auto" if is_captured else "off")


class Wrong(graphs.Captured):
    def replay(self, x, y):
        super().replay(x * 2, y)


class Refused(graphs.Captured):
    def __init__(self, *given):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")


class TooLargeToMake(graphs.Captured):
    def __init__(self, *given):
        raise torch.OutOfMemoryError


class TooLargeToTry(graphs.Captured):
    def replay(self, x, y):
        super().replay(x, y)
        raise torch.OutOfMemoryError("CUDA out of memory")


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Wrong, "it computes other numbers than launched steps do"),
        (Refused, r"\(operation not permitted when stream is capturing\)"),
        (TooLargeToMake, "OutOfMemoryError"),
        (TooLargeToTry, "CUDA out of memory"),
    ],
)
def test_steps_are_launched_where_a_graph_cannot_be_used(monkeypatch, fault, why):
    monkeypatch.setattr(graphs, "Captured", fault)
    monkeypatch.setattr(graphs, "LAUNCH_BOUND", 0.0)
    launcher = launcher_of("SiLIF", "auto")
    assert same(trained(launcher), trained(launcher_of("SiLIF", "off")))
    assert (launcher.mode, launcher.captured) == ("off", None)
    with pytest.raises(ExperimentError, match=f"{why}.*--cuda_graph off"):
        trained(launcher_of("SiLIF", "on"))


@pytest.mark.gpu
def test_a_step_that_waits_for_the_device_is_refused():
    launcher = launcher_of("SiLIF", "on")
    learn = launcher.steps.learn

    def waiting(x, y, meter):
        learn(x, y, meter)
        float(meter.sums[0])

    launcher.steps.learn = waiting
    with pytest.raises(ExperimentError, match="--cuda_graph off"):
        trained(launcher)
    torch.rand(3, device=GPU)  # the generator is not left waiting for the capture's end


@pytest.mark.gpu
def test_a_graph_is_given_back_when_its_run_ends():
    launcher = launcher_of("SiLIF", "on")
    trained(launcher)
    kept = weakref.ref(launcher.captured)
    launcher.release()
    assert kept() is None


@pytest.mark.gpu
def test_shapes_that_keep_changing_are_never_captured():
    launcher = launcher_of("LIF", "on")
    meter = launcher.steps.empty_training_meter()
    for number in range(24):
        (x, y), *_ = epoch(count=2, steps=5 + number % 6)
        launcher.steps.train(x, y, meter, launcher)
    assert launcher.captured is None
    assert launcher.seen.total() == 24


def test_what_is_not_a_number_equals_itself():
    some = torch.tensor([float("nan"), 1.0])
    assert graphs.same_bits(some, some.clone())
    assert graphs.same_bits(some[0], some[0].clone())
    assert not graphs.same_bits(some, torch.tensor([float("nan"), 2.0]))


def test_without_a_gpu_a_graph_is_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main.main(["--config=demo.yaml", "--debug", "--cuda_graph", "on"]) == 2
    assert capsys.readouterr().err.endswith("needs a CUDA device: use auto or off\n")
    assert not (tmp_path / "exp").exists()
