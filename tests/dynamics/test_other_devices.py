# SPDX-FileCopyrightText: 2026 The Sprache authors
# SPDX-License-Identifier: MIT
"""Devices without kernels of ours: plain PyTorch computes, and one line says so."""

import pytest
import torch

from models.dynamics import OPERATIONS, backends
from models.snns import SNN

ADAPTIVE = OPERATIONS["adaptive"]


class Elsewhere(torch.Tensor):
    """A tensor that says it lies on a device which this machine has not."""

    place = "mps"
    device = property(lambda self: torch.device(self.place))


class OnGpu(Elsewhere):
    place = "cuda"


@pytest.fixture
def lines(caplog):
    """The lines that a user who sets up no logging sees."""
    backends.say_plain.cache_clear()
    caplog.set_level("WARNING", logger="sprache")
    yield lambda: caplog.messages
    backends.say_plain.cache_clear()


def test_on_apples_gpu_plain_pytorch_computes_and_says_so_once(lines):
    for operation in OPERATIONS.values():
        choice = backends.choose(operation, "auto", torch.zeros(1).as_subclass(Elsewhere))
        assert str(choice) == "plain PyTorch (device mps)"
    assert lines() == [
        "Plain PyTorch computes the recurrences on mps devices, for which there are no kernels"
    ]


def test_on_rocm_plain_pytorch_computes_and_says_so_once(lines, monkeypatch):
    monkeypatch.setattr(torch.version, "hip", "6.4")
    x = torch.zeros(1).as_subclass(OnGpu)
    for operation in OPERATIONS.values():
        assert backends.choose(operation, "auto", x).backend == "naive"
    reason = "its kernels are for CUDA, and this PyTorch is for ROCm"
    assert lines() == [f"Plain PyTorch computes the recurrences on this GPU: {reason}"]
    assert not backends.compiled("cuda", "auto", x)
    with pytest.raises(ValueError, match=f"backend 'cuda' cannot run here: {reason}"):
        backends.choose(ADAPTIVE, "cuda", x)


@pytest.mark.parametrize("neuron", ["SiLIF", "CSiLIF", "BRF"])
def test_nothing_of_a_network_stays_behind_when_it_moves(neuron, lines):
    """Tensors made on another device than the weights' would be refused by any real one."""
    net = SNN((None, None, 6), [8, 4], neuron, threshold=torch.ones(8), dropout=0.1).to("meta")
    scores, firing_rates, operations = net(torch.empty(2, 9, 6, device="meta"))
    assert {x.device.type for x in (scores, firing_rates, operations)} == {"meta"}
    assert scores.shape == (2, 4)
    assert lines() == []  # nothing is computed there
